"""The range of pixels with more than 8 bits: what users pass, and what a sample of the images contains."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.dicom_windows import dicom_note
from featx.errors import FeatxError, OptionError, UnreadableImageError
from featx.images.arrays import is_channels_first
from featx.images.containers.members import read_member, split_member_path
from featx.images.decode import load_decoders
from featx.images.decoders.deep_colors import low_bytes
from featx.images.decoders.dicom import WINDOW
from featx.images.formats import PNG_SIGNATURE, open_image
from featx.images.image import is_path, read_image
from featx.images.image_lists import NamedImage, listed_images
from featx.images.to_rgb import upper_limit
from featx.system.files import remote
from featx.system.files.atomic import open_regular_file
from featx.system.formatting import format_list

_MAX_BIT_DEPTH = 32
#: Suffixes of formats whose pixels may have more than 8 bits.
_DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".pnm", ".jp2", ".j2k")
#: Number of files that are opened, of images with more than 8 bits that are decoded, and maximum size of a file.
_MAX_OPENED, _MAX_DECODED, _MAX_BYTES = 48, 16, 64 * 2**20
#: The byte after the size of a PNG is its bit depth.
_PNG_HEADER_BYTES = 25
_JPEG_SIGNATURE = b"\xff\xd8\xff"
#: Bit depths of cameras, scanners and detectors that are stored in 16 bits.
_BIT_DEPTHS = (8, 10, 12, 14)
#: Arrays with larger values are dark, but not nearly black.
_MAX_SMALL = 31


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
            "window (--window) must be the lowest and the highest value of pixels, such as window=(0, 4095) "
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
            "bands (--bands) must be the numbers of the red, the green and the blue band, from 1, such as "
            f"bands=(4, 3, 2) (--bands 4,3,2), got {bands!r}."
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
    limits : tuple of float
        The values that become white without an option, in increasing order.
    n_bits : int
        Largest number of bits that a pixel is stored in.
    """

    n_images: int
    low: float
    high: float
    limits: tuple[float, ...]
    n_bits: int

    def note(self) -> str:
        """Return a note if the images are probably too dark without an option. Empty: they are not."""
        if self.low < 0:
            low, high = (f"{value:g}" for value in (self.low, self.high))
            return (
                f"Pixels have values from {low} to {high} in a sample of {self.n_images:,}. Values below 0 become "
                f"black. Pass the range of interest, for example window=({low}, {high}) (--window {low} {high})."
            )
        if len(self.limits) > 1:
            ranges = format_list([f"0–{limit:g}" for limit in self.limits])
            return (
                f"Images in a sample of {self.n_images:,} are scaled from different ranges ({ranges}), as the largest "
                f"value of each decides. Pass one for all of them, for example window=(0, {self.high:g}) (--window 0 "
                f"{self.high:g})."
            )
        depth = next((depth for depth in _BIT_DEPTHS if self.high < 2**depth), None)
        if depth is None or 2**depth > self.limits[0]:
            return ""
        return (
            f"Images have {self.n_bits} bits per pixel, but values up to {self.high:,.0f} only in a sample of "
            f"{self.n_images:,}: they are nearly black. If they have {depth} bits, pass "
            f"bit_depth={depth} (--bit-depth {depth})."
        )


def pixel_range_note(images: Sequence[Any], window: object = None) -> str:
    """Return a note if a sample of images has more than 8 bits and is too dark. Empty: it is not, or a window is given.

    Parameters
    ----------
    images : sequence
        Arrays of uint16, Pillow images, encoded images in memory or in tables, and local files with the suffix of a
        format with more than 8 bits are examined, evenly spread.
    window : object, default=None
        Given window. None: none.
    """
    if window:
        return ""
    pixel_range = sample_pixel_range(images)
    note = "" if pixel_range is None else pixel_range.note()
    return note or _note_of_small_values(images) or dicom_note(_sample(images, _MAX_DECODED), _MAX_BYTES)


def _note_of_small_values(images: Sequence[Any]) -> str:
    """Return a note if gray PNGs of 8 bits, or arrays, have small values or opacities only: 0 and 1, or 0 to 16."""
    highs, opacities, whites = [], [], set()
    for image in _sample(images, _MAX_DECODED):
        pixels = _gray_of_8_bits(image)
        if pixels is None or not pixels.size:
            return ""
        white = 1 if pixels.dtype.kind == "f" else 255
        colors, opacity = _split_opacity(pixels)
        highs.append(float(colors.max()))
        opacities.append(white if opacity is None else float(opacity.max()))
        whites.add(white)
        if not min(highs[-1], opacities[-1]) * 255 <= _MAX_SMALL * white:  # also NaN
            return ""
    if len(highs) < 2 or len(whites) > 1:
        return ""
    return _small_note(max(highs), max(opacities), max(whites), len(highs))


def _split_opacity(pixels: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Return the colors or gray of an array, and its opacity, if any."""
    if pixels.ndim == 3 and is_channels_first(pixels.shape):
        pixels = np.moveaxis(pixels, 0, 2)
    has_opacity = pixels.ndim == 3 and pixels.shape[2] == 4
    return (pixels[:, :, :3], pixels[:, :, 3]) if has_opacity else (pixels, None)


def _small_note(high: float, opacity: float, white: int, n_images: int) -> str:
    """Return the note on the largest color and opacity of a sample of dark or transparent images."""
    if opacity * 255 <= _MAX_SMALL * white:
        return (
            f"The fourth channel of arrays is opacity, with values up to {opacity:.3g} of {white} only in a sample of "
            f"{n_images}: they are nearly white. If it is something else, pass the others: images[..., :3]."
        )
    if high * 255 > _MAX_SMALL * white or not high > 0:
        return ""
    return (
        f"Pixels, whose white is {white}, have values up to {high:.3g} only in a sample of {n_images}: they are nearly "
        f"black. If {high:.3g} is white, multiply the pixels by {white / high if white == 1 else white // high:.3g}."
    )


def _gray_of_8_bits(image: Any) -> np.ndarray[Any, Any] | None:
    """Return the pixels of an array or of a PNG in gray of 8 bits, or None for other images."""
    try:
        if isinstance(image, NamedImage):
            image = image.load() if isinstance(next(listed_images([image]), None), np.ndarray | bytes) else None
        elif _is_row(image):
            member = split_member_path(image)
            image = (read_member(*member, _MAX_BYTES) if member else read_image(image, max_bytes=_MAX_BYTES))[0]
        elif is_path(image) and not remote.is_url(os.fspath(image)):
            image = _png_in_gray(os.fspath(image))
        if isinstance(image, bytes) and _is_gray_png(image):
            load_decoders()
            with open_image(image) as opened:
                image = np.asarray(opened) if opened.mode == "L" else None
    except (FeatxError, OSError, ValueError):
        return None  # reading it again reports the reason
    return image if isinstance(image, np.ndarray) and image.dtype.kind in "iuf" else None


def _png_in_gray(path: str) -> bytes | None:
    if not path.lower().endswith(".png"):
        return None
    with open_regular_file(Path(path)) as file:
        header = file.read(_PNG_HEADER_BYTES + 1) or b""
        return header + (file.read(_MAX_BYTES) or b"") if _is_gray_png(header) else None


def _is_gray_png(data: bytes) -> bool:
    """Return whether the header is that of a PNG in gray of 8 bits, without a palette."""
    return data.startswith(PNG_SIGNATURE) and data[_PNG_HEADER_BYTES - 1 : _PNG_HEADER_BYTES + 1] == b"\x08\x00"


def _sample(images: Sequence[Any], n_images: int) -> Sequence[Any]:
    """Return images that are evenly spread, or the first rows of a table: its last ones take the time of all."""
    step = 1 if len(images) and _is_row(images[0]) else max(1, len(images) // n_images)
    return images[: step * n_images : step]


def sample_pixel_range(images: Sequence[Any]) -> PixelRange | None:
    """Return the range of pixels in a sample of images with more than 8 bits. None: there are none."""
    lows, highs, limits, n_bits = [], [], set(), 0
    for image in _sample(images, _MAX_OPENED):
        pixels = _deep_pixels(image)
        if pixels is None:
            continue
        values = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
        if values.size:
            lows.append(float(values.min()))
            highs.append(float(values.max()))
            limits.add(upper_limit(pixels.dtype, highs[-1]))
            n_bits = max(n_bits, 8 * pixels.itemsize)
        if len(lows) == _MAX_DECODED:
            break
    if not lows:
        return None
    return PixelRange(len(lows), min(lows), max(highs), tuple(sorted(limits)), n_bits)


def _is_png_of_8_bits(path: str) -> bool:
    """Return whether a file is a PNG with at most 8 bits by its header; most images need not be read then."""
    try:
        with open_regular_file(Path(path)) as file:
            header = file.read(_PNG_HEADER_BYTES) or b""
    except (OSError, ValueError):
        return False  # reading the image reports the reason
    return header.startswith(PNG_SIGNATURE) and len(header) == _PNG_HEADER_BYTES and header[-1] <= 8


def _deep_pixels(image: Any) -> np.ndarray[Any, Any] | None:
    """Return the pixels of an image with more than 8 bits, or None for other and unreadable images."""
    try:
        if isinstance(image, NamedImage):
            load_decoders()
            image = image.load()
        if isinstance(image, np.ndarray):
            return image if image.dtype == np.uint16 else None
        if hasattr(image, "getexif"):
            return _deep_gray(image)
        return _read_deep(image) if _may_be_deep(image) else None
    except FeatxError:
        return None  # reading it again reports the reason
    except Exception:  # decoders raise many types for invalid data
        return None


def _read_deep(image: Any) -> np.ndarray[Any, Any] | None:
    load_decoders()  # here, as most images need not be read
    if _is_row(image) and (member := split_member_path(image)):
        content = read_member(*member, _MAX_BYTES)[0]
    else:
        content = read_image(image, max_bytes=_MAX_BYTES)[0]
    if isinstance(content, np.ndarray):
        return content if content.dtype == np.uint16 else None
    return _decode_deep(content) if isinstance(content, bytes) else None


def _may_be_deep(image: Any) -> bool:
    """Return whether an image may have more than 8 bits by its name or first bytes. URLs are not read."""
    if isinstance(image, Mapping):
        image = image.get("path") if image.get("bytes") is None else image["bytes"]
    if not is_path(image):
        return not isinstance(image, bytes) or not image.startswith(_JPEG_SIGNATURE)
    path = os.fspath(image)
    has_name = path.lower().endswith(_DEEP_SUFFIXES) or _is_row(path)
    return has_name and not remote.is_url(path) and not _is_png_of_8_bits(path)


def _is_row(image: Any) -> bool:
    """Return whether a path means a row of a table or array, such as ``data.npz#images/3``."""
    return isinstance(image, str) and "#" in image


def _decode_deep(content: bytes) -> np.ndarray[Any, Any] | None:
    with open_image(content) as image:
        try:
            low: Any = low_bytes(content, image)
        except UnreadableImageError:
            low = 255  # the maximum, for compressed planes
        if low is not None:
            colors: np.ndarray[Any, Any] = np.asarray(image)[:, :, :3].astype(np.uint16) * 256 + low
            return colors
        return _deep_gray(image)


def _deep_gray(image: Any) -> np.ndarray[Any, Any] | None:
    """Return the pixels of a Pillow image in gray of more than 8 bits. Files of DICOM have their own range."""
    if WINDOW in image.info or not (image.mode == "F" or image.mode.startswith("I")):
        return None
    return np.asarray(image)
