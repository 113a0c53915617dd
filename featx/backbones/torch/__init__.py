"""Networks of timm, torchvision and open_clip as backbones, by name.

A child process builds the network with torch and converts it to an OpenVINO graph, once. After that, neither torch nor
the library is imported. This process imports neither. Room within: ``text`` (text towers of open_clip).

``torch_backbone``      TorchBackbone: a network of one of the libraries as a backbone
``names``               names of networks: library, architecture and weights
``description``         what is known about a network: image size, preprocessing, layers, license
``describe``            descriptions and catalogs, made by a child process and cached
``search``              search of the networks that the installed libraries know
``weights``             a local checkpoint, or a file of the hub or of the library's server
``checkpoints``         checkpoints, loaded without running their code
``network``             a module of torch as a network from pixels to the outputs of layers
``timm_library``        building networks of timm
``torchvision_library`` building networks of torchvision
``open_clip_library``   building image towers of open_clip
``worker``              the child process that describes networks

May import: ``backbones`` (not ``backbones.registry``), ``recipe``, ``system``, ``errors``.
"""
