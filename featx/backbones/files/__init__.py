"""Networks in custom model files: Keras's formats, ONNX, SavedModel and OpenVINO. No code of a file is run.

``network_file``    NetworkFile: a custom model file as a backbone
``model_source``    the file on disk: format, parts and digest
``describe``        contents of a file, read by a child process and cached
``description``     what a description holds
``keras_file``      files of Keras: loaded safely, described, cut at layers
``keras_layers``    layers of a Keras network, nested networks included
``safe_config``     check of a Keras configuration for code
``openvino_file``   ONNX, SavedModel and OpenVINO files: described, cut at layers
``channel_axes``    which axis of a tensor holds channels
``model_cache``     ``keras.Model`` objects and files in the user's cache folder
``archived_network``  custom model files within model files
``display_name``    names of networks in messages, and the cache folder

May import: ``backbones`` (not ``backbones.registry``), ``recipe``, ``system``, ``errors``.
"""
