"""Resizes images to the input size of a network, and decides how far a JPEG may be reduced while it is decoded."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import numpy as np

from featx.system.array_types import PixelArray

#: With resize="crop", the shorter side becomes size · 256 / 224 before the center is cut out: the usual evaluation of
#: ImageNet networks.
CROP_RATIO = 256 / 224

#: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if this many times the target size remains. Decoding at a reduced
#: size causes slight aliasing. On mosaics of aerial photos, the sharpest images at hand, the mean cosine of features to
#: the full decode is 0.995 with a margin of 1.5, but 0.985 with 1.
_SHRINK_MARGIN = 1.5


def shrink_factor(image_size: tuple[int, int], target_size: tuple[int, int], resize: str) -> int:
    """Return the largest of 1, 2, 4 and 8 that leaves enough pixels for the antialiased resize.

    Parameters
    ----------
    image_size, target_size : tuple of (int, int)
        Height and width.
    resize : {"squash", "crop", "pad"}
        See :func:`resize_image`.
    """
    ratios = [target / side for target, side in zip(target_size, image_size, strict=True)]
    scale = {"squash": max(ratios), "crop": max(ratios) * CROP_RATIO, "pad": min(ratios)}[resize]
    return next((factor for factor in (8, 4, 2) if factor * scale * _SHRINK_MARGIN <= 1), 1)


def resize_image(pixels: PixelArray, size: tuple[int, int], resize: str) -> PixelArray:
    """Return RGB pixels resized to exactly `size`, with antialiased bilinear interpolation.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width, 3)
    size : tuple of (int, int)
        Height and width of the result.
    resize : {"squash", "crop", "pad"}
        How to change the aspect ratio. "squash": stretch the image. "crop": cut out the center after scaling the
        shorter side to size · 256 / 224. "pad": fit the whole image and fill the rest with black.

    Returns
    -------
    ndarray of uint8 of shape (size[0], size[1], 3)
    """
    height, width = pixels.shape[:2]
    if resize == "squash":
        return _resample(pixels, size)
    if resize == "crop":
        scale = max(size[0] / height, size[1] / width) * CROP_RATIO
        crop_height, crop_width = size[0] / scale, size[1] / scale
        box = ((width - crop_width) / 2, (height - crop_height) / 2, crop_width, crop_height)
        return _resample(pixels, size, box)
    scale = min(size[0] / height, size[1] / width)
    inner = _resample(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    top, left = (size[0] - inner.shape[0]) // 2, (size[1] - inner.shape[1]) // 2
    padded = np.zeros((*size, 3), dtype=np.uint8)
    padded[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return padded


def _resample(
    pixels: PixelArray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> PixelArray:
    """Return pixels at another size.

    A value differs by at most 1 between Pillow and the faster resizer.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width, 3)
    size : tuple of (int, int)
        Height and width of the result.
    box : tuple of (left, top, width, height), or None, default=None
        Part of the image to use. None: all of it.
    """
    resizer = fast_resizer()
    if resizer is None:
        import PIL.Image

        corners = None if box is None else (box[0], box[1], box[0] + box[2], box[1] + box[3])
        image = PIL.Image.fromarray(pixels)
        return np.asarray(image.resize(size[::-1], PIL.Image.Resampling.BILINEAR, box=corners))
    height, width = pixels.shape[:2]
    source = resizer.ImageData(width, height, resizer.PixelType.U8x3, pixels.tobytes())
    result = resizer.ImageData(size[1], size[0], resizer.PixelType.U8x3)
    bilinear = resizer.ResizeAlg.convolution(resizer.FilterType.bilinear)
    crop = None if box is None else resizer.CropBox(*box)
    options = resizer.ResizeOptions(bilinear, use_alpha=False, crop_box=crop)
    resizer.Resizer().resize(source, result, options)
    return np.frombuffer(result.get_buffer(), dtype=np.uint8).reshape(*size, 3)


@functools.cache
def fast_resizer() -> ModuleType | None:
    """Return the package cykooz_resizer (fast_image_resize in Rust), which takes a quarter of Pillow's time.

    None where it is not installed: it has no wheels for some systems, such as Linux on ARM. Pillow takes its place.
    """
    try:
        return importlib.import_module("cykooz_resizer")
    except ImportError:
        return None
