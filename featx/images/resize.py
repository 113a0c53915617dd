"""Pixels → the size that a network wants, and how far an image may be shrunk beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: `resize="crop"`: the shorter side becomes size · 256 / 224 before the centre is cut out, as
#: ImageNet networks are evaluated.
CROP_RATIO = 256 / 224

#: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where this many times the wanted pixels remain. Decoding
#: small aliases a little: measured on mosaics of aerial photos, the sharpest images at hand, the mean cosine of
#: features to the full decode is 0.995 at 1.5, but 0.985 at 1.
_SHRINK_MARGIN = 1.5


def shrink_factor(full: tuple[int, int], size: tuple[int, int], resize: str) -> int:
    """Largest of 1, 2, 4, 8 that leaves enough pixels for the antialiased resize to do the rest."""
    scales = [wanted / whole for wanted, whole in zip(size, full, strict=True)]
    scale = {"squash": max(scales), "crop": max(scales) * CROP_RATIO, "pad": min(scales)}[resize]
    return next((factor for factor in (8, 4, 2) if factor * scale * _SHRINK_MARGIN <= 1), 1)


def resize_image(image: PILImage, size: tuple[int, int], resize: str) -> PILImage:
    """Return the image resized to exactly `size`: decoding's second half."""
    import PIL.Image
    from PIL.Image import Resampling

    height, width = size
    if resize == "squash":
        return image.resize((width, height), Resampling.BILINEAR)
    if resize == "crop":
        scale = max(height / image.height, width / image.width) * CROP_RATIO
        half_width, half_height = width / scale / 2, height / scale / 2
        x, y = image.width / 2, image.height / 2
        box = (x - half_width, y - half_height, x + half_width, y + half_height)
        return image.resize((width, height), Resampling.BILINEAR, box=box)
    scale = min(height / image.height, width / image.width)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    padded = PIL.Image.new("RGB", (width, height))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded.paste(image.resize(inner, Resampling.BILINEAR), (left, top))
    return padded
