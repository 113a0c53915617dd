"""A model as one network for programs without featx.

``export``  :func:`featx.export_model`
``comparison``  compares the outputs of the network with those of the model
``worker``  child process that builds and writes the network with Keras and OpenVINO

May import: ``models``, ``extraction``, ``backbones``, ``images``, ``recipe``, ``system``, ``errors``.
"""
