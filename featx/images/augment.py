"""One image, altered at random: cut, turned, mirrored, and its colours changed."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Share of the sides that a cut has at least, degrees that it is turned at most, and by what share colours change.
_LEAST_CUT, _MOST_DEGREES, _MOST_COLOUR = 0.8, 15.0, 0.2
#: What a turned cut shows beyond an edge is mirrored there: this share of a side is never exceeded.
_BEYOND = 0.125


def augment(pixels: np.ndarray[Any, Any], size: tuple[int, int], chance: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return one altered copy of an image: what a photographer could have taken instead.

    A cut of 80 to 100 % of each side, turned by up to 15 degrees, mirrored in half of the cases; then brightness,
    contrast and saturation changed by up to 20 % each.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (h, w, 3)
        Somewhat larger than the result.
    size : tuple of (int, int)
        Height and width of the result.
    chance : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, shape (*size, 3)

    Examples
    --------
    >>> grey = np.full((16, 16, 3), 100, dtype=np.uint8)
    >>> augment(grey, (14, 14), np.random.default_rng(0)).shape
    (14, 14, 3)
    """
    import PIL.Image
    import PIL.ImageEnhance

    height, width = size
    margins = [int(np.ceil(_BEYOND * side)) for side in pixels.shape[:2]]
    wider = np.pad(pixels, [(margins[0],) * 2, (margins[1],) * 2, (0, 0)], mode="symmetric")
    places = _places(pixels.shape[:2], margins, size, chance)
    image = PIL.Image.fromarray(wider).transform(
        (width, height), PIL.Image.Transform.AFFINE, places, PIL.Image.Resampling.BILINEAR
    )
    for enhance in (PIL.ImageEnhance.Brightness, PIL.ImageEnhance.Contrast, PIL.ImageEnhance.Color):
        image = enhance(image).enhance(chance.uniform(1 - _MOST_COLOUR, 1 + _MOST_COLOUR))
    return np.asarray(image)


def _places(
    full: tuple[int, ...], margins: list[int], size: tuple[int, int], chance: np.random.Generator
) -> tuple[float, ...]:
    """Return where each pixel of the copy comes from, as Pillow has it: x' = ax + by + c, y' = dx + ey + f."""
    share = chance.uniform(_LEAST_CUT, 1, 2) * full
    corner = chance.uniform(0, 1, 2) * (full - share) + margins
    angle = np.radians(chance.uniform(-_MOST_DEGREES, _MOST_DEGREES))
    mirror = -1.0 if chance.random() < 0.5 else 1.0
    (centre_y, centre_x), (step_y, step_x) = corner + share / 2, share / size
    a, b = mirror * step_x * np.cos(angle), -step_y * np.sin(angle)
    d, e = mirror * step_x * np.sin(angle), step_y * np.cos(angle)
    middle_y, middle_x = size[0] / 2, size[1] / 2
    return (
        float(a),
        float(b),
        float(centre_x - a * middle_x - b * middle_y),
        float(d),
        float(e),
        float(centre_y - d * middle_x - e * middle_y),
    )
