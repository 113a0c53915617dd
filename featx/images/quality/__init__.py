"""How good an image is as a photograph: sharpness, exposure and information, measured on its pixels.

``measures``  the measures, and descriptions of images that are blurred, dark, overexposed or almost empty

May import: ``images``, ``system``, ``errors``.
"""
