"""Engines: run a backbone on pixels, with OpenVINO, Keras or ONNX Runtime.

``engine``          selection of engine and precision; started engines
``capabilities``    what OpenVINO computes natively on this CPU
``openvino``        the fast engine: a compiled graph on the CPU
``keras``           the reference engine: Keras in float32
``fixed_batch``     any number of images in batches of one size
``compile``         compiled graphs: packaged, cached, or converted by a child process
``compile_worker``  the conversion, in a child process
``quantize_worker`` the quantization to int8, in a child process
``calibration``     photographs from which the ranges of an int8 network are measured
``quality``         how similar the features of an int8 network are to those in float32
``packaged``        graphs that are distributed with featx
``archived_graph``  the graph in a model file
``onnx_runtime``    the engine of GPUs and other devices

May import: ``features``, ``backbones``, ``store``, ``recipe``, ``system``, ``errors``.
"""
