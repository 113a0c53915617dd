"""Attribution maps: which parts of an image a prediction is based on.

``explain``  :func:`featx.explain_images`
``explainer``  the map of one image, by class activation or by occlusion
``attribution``  the map of an image
``explanation``  a map as a picture, or why an image has none
``activation_maps``  feature maps behind class activation maps
``overlay``  draws a map over its image
``map_files``  writes maps as image files

May import: ``models``, ``extraction``, ``backbones``, ``datasets``, ``images``, ``system``, ``errors``.
"""
