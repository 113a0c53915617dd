"""Images in any form, read and decoded to upright RGB pixels of a given size.

An image is a path, a URL, a path in an archive, the bytes of a file, a Pillow image or an array. It is read once, its
content is identified by a digest, and its pixels are decoded: orientation, color profile, transparency and depth are
resolved here. The content decides the format, not the name. Whatever changes a pixel raises ``PIXELS`` in
:mod:`featx.recipe`.

``image``           reads images and computes their digests
``archives``        reads images in zip and tar archives
``zip_names``       the encodings of file names in zip archives
``formats``         opens images by their content, and names other files
``decode``          decodes images to pixels, with limits against decompression bombs
``to_rgb``          converts an opened image to upright RGB
``color_profiles``  converts colors with an ICC profile to sRGB
``truncated``       fills the missing end of truncated JPEG and PNG files
``resize``          resizes pixels to the input size of a network
``tta``             views of test-time augmentation
``augment``         random copies of training images
``thumbnails``      thumbnails of many images in one file

Sub-room: ``quality`` (sharpness, exposure and information of an image).

May import: ``recipe``, ``system``, ``errors``.
"""
