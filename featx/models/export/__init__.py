"""A model as one network for programs without featx.

``export``  :func:`featx.export_model`: checks, the child process, the comparison with the model
``worker``  the child process that builds and writes the network with Keras and OpenVINO

May import: the other files of models, extraction, backbones, images, recipe, system, errors.
"""
