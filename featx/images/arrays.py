"""Arrays as images: which axes are pixels and channels, and which values are black and white."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from featx.errors import InputError, UnreadableImageError
from featx.recipe import Window

_CHANNELS = (1, 3, 4)
#: Ranges of values without a window. Other integers have the range of uint8.
_RANGES: dict[str, tuple[float, float]] = {"f": (0.0, 1.0), "b": (0.0, 1.0)}
#: How far a resize with overshoot, such as bicubic, may go beyond black and white, as a part of their distance.
_MAX_OVERSHOOT = 0.1
#: Standardized pixels, (x - mean) / std, are smaller.
_MAX_STANDARDIZED = 12
#: Pixels from 0 to 255 have larger values: others, such as 0 to 16, are black by that range.
_MIN_OF_BYTES = 64


def as_pixels(array: np.ndarray[Any, Any], window: Window | None = None) -> np.ndarray[Any, Any]:
    """Return an array as pixels of 8 bits.

    Parameters
    ----------
    array : ndarray of shape (h, w), (h, w, channels) or (channels, h, w)
        With 1, 3 or 4 channels; the fourth is opacity, on white. Floats are from 0 to 1, uint16 from 0 to 65535, other
        integers from 0 to 255.
    window : Window or None, default=None
        Values that become 0 and 255, except for uint8. None: the range of the type.

    Returns
    -------
    ndarray of uint8 of shape (h, w) or (h, w, 3)

    Raises
    ------
    UnreadableImageError
        The array has another shape or type, no pixels, or values outside of the range.

    Examples
    --------
    >>> as_pixels(np.array([[0.0, 1.0]])).tolist(), as_pixels(np.zeros((3, 8, 10), np.uint8)).shape
    ([[0, 255]], (8, 10, 3))
    """
    array = _channels_last(array)
    if array.dtype.kind not in "fbui":
        raise UnreadableImageError(f"expected an array of numbers, got {array.dtype} of shape {array.shape}")
    if 0 in array.shape:
        raise UnreadableImageError(f"the array of shape {array.shape} has no pixels")
    pixels = array if array.dtype == np.uint8 else _scaled(array, window)
    return _on_white(pixels) if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels


def _channels_last(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array of shape (h, w), (h, w, 3) or (h, w, 4)."""
    if array.ndim == 3 and is_channels_first(array.shape):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS):
        return array
    raise UnreadableImageError(
        "expected an array of shape (h, w), (h, w, 3), (h, w, 4) or (3, h, w), got shape " + str(array.shape)
    )


def is_channels_first(shape: Sequence[int]) -> bool:
    """Return whether the channels of one image are its first axis. If the last axis may be channels, it is."""
    return shape[-1] not in _CHANNELS and shape[0] in _CHANNELS


def _scaled(array: np.ndarray[Any, Any], window: Window | None) -> np.ndarray[Any, Any]:
    with np.errstate(invalid="ignore"):  # some patterns of bits are no number, which the next line finds
        values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise UnreadableImageError("the array has NaN or infinity")
    limits = None if window is None else window.limits
    low, high = limits or _value_range(array.dtype)
    if limits is None and (values.min() < low or values.max() > high):
        remedy = _range_remedy(float(values.min()), float(values.max()), array.dtype)
        raise UnreadableImageError(
            f"expected {array.dtype} pixels from {low:g} to {high:g}, got {values.min():g} to {values.max():g}; "
            f"{remedy[0].lower()}{remedy[1:]}"
        )
    scaled: np.ndarray[Any, Any] = ((np.clip(values, low, high) - low) * (255.0 / (high - low))).round()
    return scaled.astype(np.uint8)


def _value_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype == np.uint16:
        return 0.0, 65535.0
    return _RANGES.get(dtype.kind, (0.0, 255.0))


def _on_white(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import PIL.Image

    rgba = PIL.Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    white = PIL.Image.new("RGBA", rgba.size, "white")
    return np.asarray(PIL.Image.alpha_composite(white, rgba).convert("RGB"))


def check_values(images: Iterable[Any], window: Window | None) -> None:
    """Check that arrays of one call have the values of their type: one image alone may be dark by chance.

    Raises
    ------
    InputError
        Arrays of floats, or of integers that are not uint8 or uint16, have other values.
    """
    if window is not None and window.limits is not None:
        return
    ranges: list[tuple[float, float]] = []
    wrong: np.dtype[Any] | None = None
    for image in images:
        if not isinstance(image, np.ndarray) or image.dtype == np.uint8 or image.dtype.kind not in "fui":
            continue
        least, largest = (float(image.min()), float(image.max())) if image.size else (np.nan, np.nan)
        if math.isfinite(least) and math.isfinite(largest):
            low, high = _value_range(image.dtype)
            wrong = image.dtype if wrong is None and (least < low or largest > high) else wrong
            ranges.append((least, largest))
    if wrong is not None:
        low, high = _value_range(wrong)
        least, largest = min(least for least, _ in ranges), max(largest for _, largest in ranges)
        raise InputError(
            f"images must have {wrong} pixels from {low:g} to {high:g}, got {least:g} to {largest:g}. "
            f"{_range_remedy(least, largest, wrong)}."
        )


def _range_remedy(least: float, largest: float, dtype: np.dtype[Any]) -> str:
    """Return what to do with arrays of a type that have other values than it implies."""
    start, end = _likely_range(least, largest) if dtype.kind == "f" else (min(0.0, least), largest)
    is_known = start == 0 or (start, end) == (-1, 1)
    if dtype.kind == "f" and not is_known and least > -_MAX_STANDARDIZED and largest < _MAX_STANDARDIZED:
        return "They look standardized: undo this with np.clip(images * std + mean, 0, 1)"
    end = max(end, start + 1)
    text = (
        "Pass the range of all images to the extractor, such as "
        f"window=({start:g}, {end:g}) (--window {start:g} {end:g})"
    )
    return f"{text}. Or convert the pixels with .astype('uint8') if they are from 0 to 255" if end == 255 else text


def _likely_range(least: float, largest: float) -> tuple[float, float]:
    """Return the values of black and white in floats: -1 or 0, and 1 or 255, if the values are close to them."""
    if least >= -255 * _MAX_OVERSHOOT and _MIN_OF_BYTES < largest <= 255 * (1 + _MAX_OVERSHOOT):
        return 0.0, 255.0
    if least >= -1 - _MAX_OVERSHOOT and largest <= 1 + _MAX_OVERSHOOT:
        return 0.0 if least >= -_MAX_OVERSHOOT else -1.0, 1.0
    return min(0.0, least), largest  # such as 0 to 16, or Hounsfield units


def as_batch(array: np.ndarray[Any, Any], name: str) -> list[np.ndarray[Any, Any]]:
    """Return the images of an array of pixels.

    Parameters
    ----------
    array : ndarray of shape (n, h, w), (n, h, w, channels) or (n, channels, h, w)
    name : str
        Name of the parameter, for messages.

    Raises
    ------
    InputError
        The array has another shape.
    """
    is_image = array.ndim == 3 and array.shape[-1] in _CHANNELS
    if array.ndim in (3, 4) and not is_image:
        return list(array)
    if is_image:
        raise InputError(
            f"{name} must be a list of images, got one image of shape {array.shape}. Pass a list, [image], or an "
            "array of shape (n, h, w, 3)."
        )
    raise InputError(
        f"{name} must be paths or pixels of shape (n, h, w, 3), got {array.dtype} of shape {array.shape}. "
        f"{_reshape_remedy(array.shape)}"
    )


def _reshape_remedy(shape: Sequence[int]) -> str:
    """Return how to reshape flat rows into images."""
    if len(shape) == 2 and shape[0] == shape[1]:
        return "Put it in a list if it is one image: [image]."
    n_values = shape[-1] if len(shape) == 2 else 0
    if n_values > 3 and n_values % 3 == 0 and (side := math.isqrt(n_values // 3)) ** 2 * 3 == n_values:
        return (
            f"Reshape the rows with .reshape(-1, 3, {side}, {side}) if all red values come first, as in CIFAR, or with "
            f".reshape(-1, {side}, {side}, 3)."
        )
    if n_values > 3 and (side := math.isqrt(n_values)) ** 2 == n_values:
        return f"Reshape the rows with .reshape(-1, {side}, {side})."
    if len(shape) == 2:
        return "Put it in a list if it is one image, [image], or pass an array of shape (n, h, w)."
    return "Pass one array for each image, or reshape the array."
