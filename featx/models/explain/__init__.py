"""Attribution maps: which parts of an image a prediction is based on.

``explain``  :func:`featx.explain_images`, and the image files that it writes
``explainer``  the map of one image, by class activation or by occlusion
``activation_maps``  the feature maps behind class activation maps
``overlay``  a map drawn over its image

May import: the other files of models, extraction, backbones, images, system, errors.
"""
