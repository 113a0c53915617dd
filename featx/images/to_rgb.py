"""Convert an opened image to upright RGB.

The fast path decodes JPEG files at a reduced size. All other images take the reference path, through Pillow.
"""

from __future__ import annotations

import dataclasses
import os
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ImageTooLargeError, TruncatedImageError, UnreadableImageError
from featx.images.color_profiles import to_srgb
from featx.images.decoders.deep_colors import low_bytes
from featx.images.decoders.dicom import INVERTED, WINDOW
from featx.images.resize import shrink_factor
from featx.recipe import Window
from featx.system.array_types import PixelArray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Images with more pixels are reduced before their colors are converted.
LARGE_IMAGE = 16_000_000
#: Maximum number of scans times pixels of a progressive JPEG. More take over four seconds: a decompression bomb.
_MAX_SCANNED_PIXELS = 4_000_000_000
#: Maximum number of stray bytes in a JPEG, which belong to no segment. More of them are lost image data.
_MAX_STRAY_BYTES = 1000
#: Tags of EXIF and TIFF.
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 0x0112, 258, 262, 339
#: EXIF orientations that swap width and height.
_TRANSPOSED = (5, 6, 7, 8)
#: Pillow decodes gray of 2 or 4 bits to 8: factor of its values, by raw mode.
_RAW_MODE_FACTORS = {"L;2": 85, "L;4": 17}
#: Number of pixels that are scaled to 8 bits at a time, since the copies of all of them would be large.
_BLOCK_PIXELS = 2**20
#: Filters of warnings belong to the process, so that only one thread at a time may change them.
_warnings_lock = threading.Lock()


def _renew_lock() -> None:
    global _warnings_lock  # noqa: PLW0603  # another thread of the parent may have held it
    _warnings_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def load_upright(
    data: bytes,
    image: PILImage,
    size: tuple[int, int],
    resize: str,
    *,
    window: Window | None = None,
    is_strict: bool = True,
) -> PixelArray:
    """Return the pixels of an image, upright and in RGB: the first half of decoding.

    Parameters
    ----------
    data : bytes
        Content of the file.
    image : PIL.Image.Image
        Image that :func:`featx.images.formats.open_image` returned for `data`.
    size, resize
        See :func:`featx.images.decode.decode_image`. The image may be reduced as far as they allow.
    window : Window or None, default=None
        See :func:`featx.images.decode.decode_image`.
    is_strict : bool, default=True
        Whether to raise an error for a JPEG whose data ends before its last pixel.
    """
    if image.format == "JPEG" and (image.mode == "RGB" or (image.mode == "L" and "icc_profile" not in image.info)):
        decoded = _decode_jpeg(data, image, size, resize, is_strict=is_strict)
        if decoded is not None:
            return decoded
    if window is not None and window.limits is not None and (low := low_bytes(data, image)) is not None:
        _scale_colors(image, low, window.limits)
    return np.asarray(to_upright_rgb(image, (size, resize), window))


def _decode_jpeg(
    data: bytes, image: PILImage, size: tuple[int, int], resize: str, *, is_strict: bool
) -> PixelArray | None:
    """Decode with libjpeg-turbo, at a reduced size where that is harmless. None: libjpeg-turbo cannot decode it."""
    import PIL.Image
    import simplejpeg

    orientation = _orientation(image)
    shrink = shrink_factor((image.height, image.width), _stored_size(size, orientation), resize)
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    # A baseline JPEG has one scan: further markers belong to data after the image, as in a motion photo.
    n_scans = data.count(b"\xff\xda") if image.info.get("progressive") else 1
    if n_scans * image.width * image.height > _MAX_SCANNED_PIXELS:
        raise ImageTooLargeError(
            f"the file has {n_scans} scans of {image.width} × {image.height} pixels, like a decompression bomb"
        )
    try:
        pixels: PixelArray = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError as error:
        if is_strict:
            _check_complete(str(error))
        return None  # Pillow, the reference, decides whether the file is corrupt, and gives the reason
    profile = image.info.get("icc_profile")
    if profile is None and orientation == 1:
        return pixels
    return np.asarray(_transpose(to_srgb(PIL.Image.fromarray(pixels), profile), orientation))


def _check_complete(message: str) -> None:
    """Raise an error if a strict decoder reports missing or overwritten data, which Pillow decodes as gray.

    Some cameras write a few stray bytes, which are harmless.
    """
    if "premature end" in message.lower():
        raise TruncatedImageError(f"the file is truncated ({message})")
    stray = re.search(r"(\d+) extraneous bytes", message)
    if stray and int(stray[1]) > _MAX_STRAY_BYTES:
        raise UnreadableImageError(f"the image data is corrupt ({message})")


def to_upright_rgb(
    image: PILImage, target: tuple[tuple[int, int], str] | None = None, window: Window | None = None
) -> PILImage:
    """Return a Pillow image upright and in RGB: the reference path.

    Parameters
    ----------
    image : PIL.Image.Image
    target : tuple of (size, resize), or None, default=None
        Arguments of :func:`featx.images.resize.resize_image`. A large image is reduced as far as they allow. None: it
        keeps its size.
    window : Window or None, default=None
        See :func:`featx.images.decode.decode_image`.
    """
    import PIL.ImageChops

    gray = _GrayFormat.of(image)
    _load(image)
    orientation = 1 if image.format == "HEIF" else _orientation(image)  # its decoder applies the orientation
    profile = image.info.get("icc_profile")
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow inverts the inks of all files, but only those with Adobe's marker are stored inverted.
        image = PIL.ImageChops.invert(image)
    if image.mode == "F" or (image.mode == "I" and not gray.is_unsigned):
        image = _reduce_large(image, orientation, target)
    image = _reduce_large(_with_8_bit_channels(image, gray, window), orientation, target)
    return _transpose(_on_white(to_srgb(image, profile)), orientation)


def _load(image: PILImage) -> None:
    """Decode the pixels, without Pillow's warning about large ones, as max_pixels limits them."""
    import PIL.Image

    if image.format != "TIFF" or image.width * image.height <= (PIL.Image.MAX_IMAGE_PIXELS or 0):
        image.load()
        return
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        image.load()


@dataclasses.dataclass(frozen=True)
class _GrayFormat:
    """Properties of gray pixels in a header that Pillow leaves to its caller.

    Attributes
    ----------
    transparent : int or None
        Decoded value of transparent pixels.
    is_inverted : bool
        Whether zero is white.
    is_unsigned : bool
        Whether 32-bit integers are unsigned. Pillow decodes them as signed.
    """

    transparent: int | None = None
    is_inverted: bool = False
    is_unsigned: bool = False

    @classmethod
    def of(cls, image: PILImage) -> _GrayFormat:
        """Return the properties of an image that is not loaded yet."""
        if image.format == "DICOM":
            return cls(is_inverted=image.info.get(INVERTED, False))
        if image.format == "TIFF" and image.mode.startswith("I"):
            tags = getattr(image, "tag_v2", {})
            unsigned = tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1
            return cls(is_inverted=image.mode == "I;16" and tags.get(_PHOTOMETRIC) == 0, is_unsigned=unsigned)
        value = image.info.get("transparency")
        if image.format == "PNG" and isinstance(value, int) and image.mode in ("L", "I;16"):
            tiles = getattr(image, "tile", [])
            return cls(transparent=value * _RAW_MODE_FACTORS.get(tiles[0][3] if tiles else "", 1))
        return cls()


def _with_8_bit_channels(image: PILImage, gray: _GrayFormat, window: Window | None) -> PILImage:
    """Return an image in channels of 8 bits, without a palette, and with transparency as a channel."""
    import PIL.Image

    if image.mode == "F" or image.mode.startswith("I"):
        scaled = _scale_to_8_bits(image, gray, window)
        if gray.transparent is None:
            return scaled
        alpha = np.where(np.asarray(image) == gray.transparent, 0, 255).astype(np.uint8)
        return PIL.Image.merge("LA", (scaled, PIL.Image.fromarray(alpha)))
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "RGB") and image.has_transparency_data:
        if gray.transparent is not None:
            image.info["transparency"] = gray.transparent
        return image.convert("RGBA")
    return image


def _scale_to_8_bits(image: PILImage, gray: _GrayFormat, window: Window | None) -> PILImage:
    """Return gray pixels of 16 or 32 bits or of float as 0–255.

    Without a window, the type of the pixels or their largest value decides from which range they are scaled.
    """
    import PIL.Image

    pixels = np.asarray(image)
    if gray.is_unsigned:
        pixels = pixels.view(np.uint32)
    limits = image.info.get(WINDOW) if window is None or window.limits is None else window.limits
    low, high = limits or (0.0, upper_limit(pixels.dtype, max(_largest(pixels[rows]) for rows in _blocks(pixels))))
    scaled = np.empty(pixels.shape, dtype=np.uint8)
    for rows in _blocks(pixels):
        scaled[rows] = _scale(pixels[rows], low, high)
    return PIL.Image.fromarray(255 - scaled if gray.is_inverted else scaled)


def _scale_colors(image: PILImage, low_bytes: PixelArray, limits: tuple[float, float]) -> None:
    """Replace the high bytes of colors of 16 bits, which Pillow decoded, by the colors scaled to 8 bits."""
    import PIL.Image

    scaled = np.array(image)
    for rows in _blocks(scaled):
        colors = scaled[rows, :, :3].astype(np.uint16) * 256 + low_bytes[rows]
        scaled[rows, :, :3] = _scale(colors, *limits)
    image.paste(PIL.Image.fromarray(scaled))


def _blocks(pixels: np.ndarray[Any, Any]) -> list[slice]:
    """Return the rows of the parts that are scaled at a time."""
    n_rows = max(1, _BLOCK_PIXELS // pixels.shape[1])
    return [slice(start, start + n_rows) for start in range(0, len(pixels), n_rows)]


def _scale(pixels: np.ndarray[Any, Any], low: float, high: float) -> PixelArray:
    values = (np.clip(pixels.astype(np.float64), low, high) - low) * (255.0 / (high - low))
    scaled: PixelArray = np.nan_to_num(values).round().astype(np.uint8)
    return scaled


def upper_limit(dtype: np.dtype[Any], largest: float) -> float:
    """Return the value that becomes 255: the smallest common limit of at least the largest value, else that value."""
    if dtype == np.uint16:
        limits = [65535.0]
    else:
        limits = {"f": [1.0, 255.0, 65535.0], "i": [255.0, 65535.0], "u": [255.0, 65535.0]}[dtype.kind]
    return next((limit for limit in limits if largest <= limit), largest)


def _largest(pixels: np.ndarray[Any, Any]) -> float:
    """Return the largest finite value, at least 0."""
    return float(pixels.max(initial=0, where=np.isfinite(pixels)))


def _reduce_large(image: PILImage, orientation: int, target: tuple[tuple[int, int], str] | None) -> PILImage:
    """Return a large image with fewer pixels, as far as the target allows. Other images are unchanged."""
    if target is None or image.width * image.height <= LARGE_IMAGE:
        return image
    size, resize = target
    factor = shrink_factor((image.height, image.width), _stored_size(size, orientation), resize)
    return image.reduce(factor) if factor > 1 else image


def _on_white(image: PILImage) -> PILImage:
    import PIL.Image

    if image.mode in ("La", "RGBa"):  # premultiplied: Pillow converts it only to its plain mode
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, "white")
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: PILImage) -> int:
    """Return the EXIF orientation, 1 if it is missing or invalid."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # invalid EXIF does not make the pixels unreadable
        return 1


def _stored_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the height and width that an upright size has in the file."""
    return size[::-1] if orientation in _TRANSPOSED else size


def _transpose(image: PILImage, orientation: int) -> PILImage:
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(methods[orientation]) if orientation in methods else image
