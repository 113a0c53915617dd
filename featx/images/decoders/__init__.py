"""Libraries that decode images in ways of their own.

``libtiff``  the messages that libtiff would print, as reasons of the image
``tiff_bands``  selected bands of TIFF files, read by tifffile
``deep_colors``  colors of 16 bits in PNG and TIFF files
``dicom``    medical images in DICOM files, read by pydicom

May import: ``images``, ``recipe``, ``system``, ``errors``.
"""
