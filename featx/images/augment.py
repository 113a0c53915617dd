"""Random augmentation of one image: crop, rotation, mirror image, and changes of color."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Minimum side of a crop as a fraction, maximum rotation in degrees, maximum relative change of colors.
_MIN_CROP, _MAX_DEGREES, _MAX_COLOR_CHANGE = 0.8, 15.0, 0.2
#: Fraction of a side that is padded by reflection: rotated crops never reach beyond it.
_PADDING = 0.125


def augment(pixels: np.ndarray[Any, Any], size: tuple[int, int], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return a randomly augmented copy of an image.

    The copy is a crop of 80 to 100 % of each side, rotated by up to 15 degrees, and mirrored with a probability of
    0.5. Brightness, contrast and saturation change by up to 20 % each.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width, 3)
        Pixels of the image, somewhat larger than the result.
    size : tuple of (int, int)
        Height and width of the result.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8 of shape (*size, 3)

    Examples
    --------
    >>> gray = np.full((16, 16, 3), 100, dtype=np.uint8)
    >>> augment(gray, (14, 14), np.random.default_rng(0)).shape
    (14, 14, 3)
    """
    import PIL.Image
    import PIL.ImageEnhance

    height, width = size
    padding = [int(np.ceil(_PADDING * side)) for side in pixels.shape[:2]]
    padded = np.pad(pixels, [(padding[0],) * 2, (padding[1],) * 2, (0, 0)], mode="symmetric")
    transform = _random_transform(pixels.shape[:2], padding, size, rng)
    image = PIL.Image.fromarray(padded).transform(
        (width, height), PIL.Image.Transform.AFFINE, transform, PIL.Image.Resampling.BILINEAR
    )
    for enhance in (PIL.ImageEnhance.Brightness, PIL.ImageEnhance.Contrast, PIL.ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(1 - _MAX_COLOR_CHANGE, 1 + _MAX_COLOR_CHANGE))
    return np.asarray(image)


def _random_transform(
    full_size: tuple[int, ...], padding: list[int], size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, ...]:
    """Return the affine transform of Pillow from output to input pixels: x' = ax + by + c, y' = dx + ey + f."""
    crop = rng.uniform(_MIN_CROP, 1, 2) * full_size
    corner = rng.uniform(0, 1, 2) * (full_size - crop) + padding
    angle = np.radians(rng.uniform(-_MAX_DEGREES, _MAX_DEGREES))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    (center_y, center_x), (step_y, step_x) = corner + crop / 2, crop / size
    a, b = mirror * step_x * np.cos(angle), -step_y * np.sin(angle)
    d, e = mirror * step_x * np.sin(angle), step_y * np.cos(angle)
    middle_y, middle_x = size[0] / 2, size[1] / 2
    return (
        float(a),
        float(b),
        float(center_x - a * middle_x - b * middle_y),
        float(d),
        float(e),
        float(center_y - d * middle_x - e * middle_y),
    )
