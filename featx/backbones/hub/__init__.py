"""Files of the Hugging Face Hub. The client, huggingface_hub, is imported when a file is first needed.

``repository``  download of a file, and the license that its repository states
``hub_file``    HubFile: a ready-made ONNX network of the hub as a backbone
``licenses``    which licenses restrict the use of weights
``refused``     whether a model file is being read, which downloads nothing
``processor``   image size, resize and scaling that a ``preprocessor_config.json`` states

May import: ``backbones`` (not ``backbones.registry``), ``recipe``, ``system``, ``errors``.
"""
