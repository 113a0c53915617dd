"""Images in any form, read and decoded to upright RGB pixels of a given size.

An image is a path, a URL, a path in a container, the bytes of a file, a Pillow image, an array or an open file.
It is read once, its content is identified by a digest, and its pixels are decoded: orientation, color profile,
transparency and depth are resolved here. The content decides the format, not the name. Whatever changes a pixel raises
``PIXELS`` in :mod:`featx.recipe`.

``image``           reads images and computes their digests
``image_lists``     collections of images, and names of images in memory
``arrays``          arrays as images: axes, channels and values
``formats``         opens images by their content, and names other files
``decode``          decodes images to pixels, with limits against decompression bombs
``to_rgb``          converts an opened image to upright RGB
``color_profiles``  converts colors with an ICC profile to sRGB
``truncated``       fills the missing end of truncated JPEG and PNG files
``resize``          resizes pixels to the input size of a network
``tta``             views of test-time augmentation
``augment``         random copies of training images
``thumbnails``      thumbnails of many images in one file

Sub-rooms: ``containers`` (archives, tables and arrays that contain images), ``decoders`` (libraries that decode in ways
of their own), ``quality`` (sharpness, exposure and information of an image).

May import: ``recipe``, ``system``, ``errors``.
"""
