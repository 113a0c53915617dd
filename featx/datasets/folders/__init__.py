"""Meaning of the folders of a source: classes, parts of a split, or masks next to images.

``words``    the meaning of a folder name by its words
``names``    names of files and classes: which are images, which are ignored
``tree``     the first levels of folders of a directory, archive or URL
``infer``    decides from a tree of folders which ones are classes
``class_level``  splits and groups around classes of a given depth
``questions``  why folders define no labels, with an option for each reading
``layout``   the result: label, split and group of an image by its name
``several``  what the names of several sources mean
``masks``    ignores masks and annotations of other images
``sidecars`` labels in files next to the images of an archive, as in WebDataset
``absent``   messages for sources that do not exist or have no images
``listers``  list the images of a folder, an archive or a URL, in two passes

May import: ``datasets``, ``images``, ``system``, ``errors``.
"""
