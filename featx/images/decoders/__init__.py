"""Libraries that decode images in ways of their own.

``libtiff``  the messages that libtiff would print, as reasons of the image
``dicom``    medical images in DICOM files, read by pydicom

May import: ``errors``.
"""
