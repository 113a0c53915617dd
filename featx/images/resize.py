"""Resizes images to the input size of a network, and decides how far a JPEG may be reduced while it is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

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


def resize_image(image: PILImage, size: tuple[int, int], resize: str) -> PILImage:
    """Return an RGB image resized to exactly `size`, with antialiasing.

    Parameters
    ----------
    image : PIL.Image.Image
    size : tuple of (int, int)
        Height and width.
    resize : {"squash", "crop", "pad"}
        How to change the aspect ratio. "squash": stretch the image. "crop": cut out the center after scaling the
        shorter side to size · 256 / 224. "pad": fit the whole image and fill the rest with black.
    """
    import PIL.Image
    from PIL.Image import Resampling

    height, width = size
    if resize == "squash":
        return image.resize((width, height), Resampling.BILINEAR)
    if resize == "crop":
        scale = max(height / image.height, width / image.width) * CROP_RATIO
        half_width, half_height = width / scale / 2, height / scale / 2
        center_x, center_y = image.width / 2, image.height / 2
        box = (center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height)
        return image.resize((width, height), Resampling.BILINEAR, box=box)
    scale = min(height / image.height, width / image.width)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    padded = PIL.Image.new("RGB", (width, height))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded.paste(image.resize(inner, Resampling.BILINEAR), (left, top))
    return padded
