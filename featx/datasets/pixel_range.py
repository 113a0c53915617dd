"""The range of pixels with more than 8 bits: what users pass, and what a sample of the images contains."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import FeatxError, OptionError
from featx.images.decode import load_decoders
from featx.images.formats import PNG_SIGNATURE, open_image, tiff_tags
from featx.images.image import is_in_memory, is_path, read_image
from featx.images.image_lists import NamedImage
from featx.system.files import remote
from featx.system.files.atomic import open_regular_file

_MAX_BIT_DEPTH = 32
#: Suffixes of formats whose pixels may have more than 8 bits.
_DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".pnm", ".jp2", ".j2k")
#: Number of files that are opened, of images with more than 8 bits that are decoded, and maximum size of a file.
_MAX_OPENED, _MAX_DECODED, _MAX_BYTES = 48, 16, 64 * 2**20
#: The byte after the size of a PNG is its bit depth.
_PNG_HEADER_BYTES = 25
#: Bit depths of cameras, scanners and detectors that are stored in 16 bits.
_BIT_DEPTHS = (8, 10, 12, 14)


def format_window(bit_depth: Any, window: Any) -> str:
    """Return the lowest and highest value of pixels with more than 8 bits, as a recipe records them. Empty: none given.

    Raises
    ------
    OptionError
        A value is invalid, or both are given.

    Examples
    --------
    >>> format_window(12, None), format_window(None, (-1000, 400)), format_window(None, None)
    ('0:4095', '-1000:400', '')
    """
    if bit_depth is not None and window is not None:
        raise OptionError("bit_depth (--bit-depth) and window (--window) cannot be combined. Remove one of them.")
    if bit_depth is not None:
        is_integer = isinstance(bit_depth, numbers.Integral) and not isinstance(bit_depth, bool)
        if not is_integer or not 1 <= bit_depth <= _MAX_BIT_DEPTH:
            raise OptionError(
                f"bit_depth (--bit-depth) must be an int from 1 to {_MAX_BIT_DEPTH}, got {bit_depth!r}. Pass 12 for "
                "pixels from 0 to 4,095."
            )
        return f"0:{2 ** int(bit_depth) - 1}"
    if window is None:
        return ""
    values = list(window) if isinstance(window, tuple | list | np.ndarray) else []
    are_numbers = len(values) == 2 and all(isinstance(value, numbers.Real) for value in values)
    if not are_numbers or not -np.inf < values[0] < values[1] < np.inf:
        raise OptionError(
            "window (--window) must be the lowest and the highest value of pixels, such as (0, 4095) "
            f"(--window 0 4095), got {window!r}."
        )
    return ":".join(repr(float(value)).removesuffix(".0") for value in values)


def format_bands(bands: Any) -> str:
    """Return the bands that are red, green and blue, as a recipe records them. Empty: none given.

    Raises
    ------
    OptionError
        They are not three numbers from 1.

    Examples
    --------
    >>> format_bands((4, 3, 2)), format_bands(None)
    ('4,3,2', '')
    """
    if bands is None:
        return ""
    values = list(bands) if isinstance(bands, tuple | list | np.ndarray) else []
    are_integers = all(isinstance(band, numbers.Integral) and not isinstance(band, bool) for band in values)
    if len(values) != 3 or not are_integers or min(values) < 1:
        raise OptionError(
            "bands (--bands) must be the numbers of the red, the green and the blue band, from 1, such as (4, 3, 2) "
            f"(--bands 4,3,2), got {bands!r}."
        )
    return ",".join(map(str, values))


@dataclasses.dataclass(frozen=True)
class PixelRange:
    """Values of the pixels of a sample of images with more than 8 bits.

    Attributes
    ----------
    n_images : int
        Number of images with more than 8 bits in the sample.
    low, high : float
        Lowest and highest value.
    is_integer : bool
        Whether no image has floats.
    is_color : bool, default=False
        Whether images have colors, whose upper 8 bits are read.
    """

    n_images: int
    low: float
    high: float
    is_integer: bool
    is_color: bool = False

    def note(self) -> str:
        """Return a note if the images are probably too dark without an option. Empty: they are not."""
        if self.low < 0:
            low, high = (f"{value:g}" for value in (self.low, self.high))
            return (
                f"Pixels have values from {low} to {high} in a sample of {self.n_images}. Values below 0 become black. "
                f"Pass the range of interest, for example window=({low}, {high}) (--window {low} {high})."
            )
        depth = next((depth for depth in _BIT_DEPTHS if self.high < 2**depth), None)
        if not self.is_integer or depth is None:
            return ""
        if self.is_color:
            high = 2**depth - 1
            return (
                f"Images have 16 bits per color, but values up to {high:,} only in a sample of {self.n_images}: they "
                f"are nearly black. If they have {depth} bits, multiply them by {2 ** (16 - depth)}; for TIFF, pass "
                f"bands=(1, 2, 3) and window=(0, {high}) (--bands 1,2,3 --window 0 {high})."
            )
        return (
            f"Images have 16 bits per pixel, but values up to {self.high:,.0f} only in a sample of {self.n_images}: "
            f"they are nearly black. If they have {depth} bits, pass bit_depth={depth} (--bit-depth {depth})."
        )


def pixel_range_note(images: Sequence[Any], window: object = None) -> str:
    """Return a note if a sample of images has more than 8 bits and is too dark. Empty: it is not, or a window is given.

    Parameters
    ----------
    images : sequence
        Arrays of uint16, and local files with the suffix of a format with up to 16 bits are examined, evenly spread.
    window : object, default=None
        Given window. None: none.
    """
    if window:
        return ""
    pixel_range = sample_pixel_range(images)
    return "" if pixel_range is None else pixel_range.note()


def sample_pixel_range(images: Sequence[Any]) -> PixelRange | None:
    """Return the range of pixels in a sample of images with more than 8 bits. None: there are none."""
    step = max(1, len(images) // _MAX_OPENED)
    lows, highs, are_integers, are_colors = [], [], [], []
    for image in images[::step]:
        pixels = _deep_array(image) if is_in_memory(image) else _deep_pixels(image)
        if pixels is None:
            continue
        values = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
        if values.size:
            lows.append(float(values.min()))
            highs.append(float(values.max()))
            are_integers.append(pixels.dtype == np.uint16)
            are_colors.append(not is_in_memory(image) and pixels.ndim == 3)
        if len(lows) == _MAX_DECODED:
            break
    if not lows:
        return None
    return PixelRange(len(lows), min(lows), max(highs), all(are_integers), all(are_colors))


def _has_16_bits(data: bytes) -> bool:
    """Return whether the colors of a PNG or TIFF have 16 bits, of which Pillow keeps 8."""
    if data.startswith(PNG_SIGNATURE):
        return data[_PNG_HEADER_BYTES - 1] == 16
    return data[:2] in (b"II", b"MM") and tiff_tags(data).get(258) == 16


def _is_png_of_8_bits(path: str) -> bool:
    """Return whether a file is a PNG with at most 8 bits by its header; most images need not be read then."""
    try:
        with open_regular_file(Path(path)) as file:
            header = file.read(_PNG_HEADER_BYTES) or b""
    except (OSError, ValueError):
        return False  # reading the image reports the reason
    return header.startswith(PNG_SIGNATURE) and len(header) == _PNG_HEADER_BYTES and header[-1] <= 8


def _deep_array(image: Any) -> np.ndarray[Any, Any] | None:
    """Return an array of uint16 in memory, or None for other images."""
    try:
        array = image.load() if isinstance(image, NamedImage) else image
    except FeatxError:
        return None  # reading it again reports the reason
    return array if isinstance(array, np.ndarray) and array.dtype == np.uint16 else None


def _deep_pixels(image: Any) -> np.ndarray[Any, Any] | None:
    """Return the pixels of an image file with more than 8 bits, or None for other and unreadable images.

    Of colors with 16 bits, the lower 8 are 1.
    """
    path = os.fspath(image) if is_path(image) else ""
    if not path.lower().endswith(_DEEP_SUFFIXES) or remote.is_url(path) or _is_png_of_8_bits(path):
        return None
    load_decoders()
    try:
        content, _ = read_image(path, max_bytes=_MAX_BYTES)
        assert isinstance(content, bytes)  # the content of a path
        with open_image(content) as opened:
            if opened.mode in ("RGB", "RGBA") and _has_16_bits(content):
                return np.asarray(opened.convert("RGB")).astype(np.uint16) * 256 + 255
            return np.asarray(opened) if opened.mode == "F" or opened.mode.startswith("I") else None
    except FeatxError:
        return None  # reading it again reports the reason
    except Exception:  # decoders raise many types for invalid data
        return None
