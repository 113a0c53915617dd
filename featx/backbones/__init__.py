"""Which frozen networks exist, what is known about them, and how they are built.

A backbone is a frozen function from pixels to features. Built-in networks are records in ``data/``; users add their own
by registration, by an entry point of an installed package, or as a custom model file. Engines run backbones, see
``featx.extraction.engines``. Rooms within: ``keras`` (networks of keras.applications), ``torch`` (networks of timm,
torchvision and open_clip, and their text towers), ``hub`` (files of the Hugging Face Hub), ``files`` (custom model
files), ``workers`` (child processes).

``base``             base classes: Backbone, NetworkBackbone, DirectBackbone
``registry``         backbones by name: load, list, register, unregister
``described``        networks that a model file describes
``entry_points``     backbones that installed packages declare
``records``          records of the built-in networks, read from data/
``layers``           layers of a network and their selection by name, index or relative depth
``preprocessing``    pixel scaling that a custom model file expects
``weights``          weights: found, downloaded and checked
``download``         download of one weights file
``digests``          MD5 and SHA-256 of files
``color_histogram``  the backbone without a network
``openvino_import``  import of OpenVINO

May import: ``images``, ``recipe``, ``system``, ``errors``.
"""
