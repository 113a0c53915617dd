"""ONNX Runtime: the engine of GPUs and other devices. It runs the graphs that OpenVINO runs on the CPU.

``device``       which device "auto" is, whether a device is here, and sessions on it
``engine``       a compiled graph on a device, in batches of one size
``translation``  a graph of OpenVINO as ONNX, operation by operation

May import: ``extraction.engines``, ``backbones``, ``store``, ``system``, ``errors``.
"""
