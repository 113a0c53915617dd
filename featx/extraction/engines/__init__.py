"""Engines: run a backbone on pixels, with OpenVINO or Keras.

``engine``          selection of engine and precision; started engines
``openvino``        the fast engine: a compiled graph on the CPU
``keras``           the reference engine: Keras in float32
``fixed_batch``     any number of images in batches of one size
``compile``         compiled graphs: cached, or converted by a child process
``compile_worker``  the conversion, in a child process

May import: featx.backbones, featx.store, featx.recipe, featx.system, featx.errors.
"""
