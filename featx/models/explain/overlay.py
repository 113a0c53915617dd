"""Attribution drawn over the image: orange where it speaks for the class, blue where it speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from featx.models.explain.activation_maps import Attribution

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Told apart also by the colour-blind: vermilion and blue of Okabe and Ito's colours.
_FOR, _AGAINST = np.array([213, 94, 0]), np.array([0, 114, 178])
_STRONGEST = 0.75
#: The shorter side of an overlay, in pixels, at the least.
_SIDE = 336


def beside(attribution: Attribution) -> PILImage:
    """Return the image as the network sees it, beside it the same with the attribution over it, in RGB."""
    from PIL import Image

    height, width = attribution.pixels.shape[:2]
    factor = max(1.0, _SIDE / min(height, width))
    size = (round(width * factor), round(height * factor))
    image = np.asarray(Image.fromarray(attribution.pixels).resize(size, Image.Resampling.BICUBIC))
    gap = np.full((size[1], 8, 3), 255, dtype=np.uint8)
    return Image.fromarray(np.concatenate([image, gap, np.asarray(overlay(attribution, size))], axis=1))


def overlay(attribution: Attribution, size: tuple[int, int]) -> PILImage:
    """Return the image in grey, with the attribution over it in colour.

    Parameters
    ----------
    attribution : Attribution
    size : (int, int)
        Width and height of the result, in pixels.

    Returns
    -------
    PIL.Image.Image
        RGB; the colour is the stronger, the more a place speaks for (orange) or against (blue) the class.
    """
    from PIL import Image

    image = Image.fromarray(attribution.pixels).resize(size, Image.Resampling.BICUBIC)
    strength = np.asarray(Image.fromarray(_relative(attribution)).resize(size, Image.Resampling.BICUBIC))
    colour = np.where(strength[..., None] > 0, _FOR, _AGAINST)
    opacity = np.clip(np.abs(strength), 0, 1)[..., None] * _STRONGEST
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32)
    return Image.fromarray((grey * (1 - opacity) + colour * opacity).round().astype(np.uint8))


def _relative(attribution: Attribution) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the attribution as a share of the strongest."""
    largest = float(np.abs(attribution.map).max()) or 1.0
    shares: np.ndarray[Any, np.dtype[np.float32]] = (attribution.map / largest).astype(np.float32)
    return shares
