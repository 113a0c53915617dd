"""Draw an attribution map over its image: orange supports the class, blue opposes it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from featx.models.explain.attribution import Attribution
from featx.system.array_types import FloatArray

#: Vermilion and blue of the palette of Okabe and Ito, which color-blind people can distinguish:
#: https://jfly.uni-koeln.de/color/
_POSITIVE, _NEGATIVE = np.array([213, 94, 0]), np.array([0, 114, 178])
_MAX_OPACITY = 0.75
#: Minimum length of the shorter side of an overlay, in pixels.
_MIN_SIDE = 336
_GAP_PIXELS = 8


def side_by_side(attribution: Attribution) -> Image.Image:
    """Return the image as the network receives it, and next to it the overlay, as RGB."""
    height, width = attribution.pixels.shape[:2]
    factor = max(1.0, _MIN_SIDE / min(height, width))
    size = (round(width * factor), round(height * factor))
    image = np.asarray(Image.fromarray(attribution.pixels).resize(size, Image.Resampling.BICUBIC))
    gap = np.full((size[1], _GAP_PIXELS, 3), 255, dtype=np.uint8)
    return Image.fromarray(np.concatenate([image, gap, np.asarray(overlay(attribution, size))], axis=1))


def overlay(attribution: Attribution, size: tuple[int, int]) -> Image.Image:
    """Return the image in gray with the attribution map over it in color.

    Parameters
    ----------
    attribution : Attribution
    size : (int, int)
        Width and height of the result in pixels.

    Returns
    -------
    PIL.Image.Image
        RGB. The more intense the color, the more a place supports (orange) or opposes (blue) the class.
    """
    image = Image.fromarray(attribution.pixels).resize(size, Image.Resampling.BICUBIC)
    strength = np.asarray(Image.fromarray(_scale_to_one(attribution)).resize(size, Image.Resampling.BICUBIC))
    color = np.where(strength[..., None] > 0, _POSITIVE, _NEGATIVE)
    opacity = np.clip(np.abs(strength), 0, 1)[..., None] * _MAX_OPACITY
    gray = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32)
    return Image.fromarray((gray * (1 - opacity) + color * opacity).round().astype(np.uint8))


def _scale_to_one(attribution: Attribution) -> FloatArray:
    """Return the map divided by its largest magnitude."""
    largest = float(np.abs(attribution.map).max()) or 1.0
    scaled: FloatArray = (attribution.map / largest).astype(np.float32)
    return scaled
