"""Content of an image → upright RGB uint8 pixels of the wanted size."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx.errors import MissingDependencyError, UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: What is left of an image once it has been read: encoded bytes, or pixels.
Content: TypeAlias = "bytes | np.ndarray[Any, Any]"

#: No more pixels than this are decoded: twice what Pillow warns of, the limit at which it refuses.
MAX_PIXELS = 178_956_970
#: `resize="crop"`: the shorter side becomes size · 256 / 224 before the centre is cut out, as
#: ImageNet networks are evaluated.
CROP_RATIO = 256 / 224

#: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where this many times the wanted pixels remain. Decoding
#: small aliases a little: measured on mosaics of aerial photos, the sharpest images at hand, the mean cosine of
#: features to the full decode is 0.995 at 1.5, but 0.985 at 1.
_SHRINK_MARGIN = 1.5
_ORIENTATION = 0x0112

_pillow_images = threading.Lock()


def _after_fork() -> None:
    global _pillow_images  # noqa: PLW0603  # another thread of the parent may have held it
    _pillow_images = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def decode(content: Content, size: tuple[int, int], resize: str = "squash") -> np.ndarray[Any, Any]:
    """Return upright RGB pixels of the wanted size.

    EXIF orientation is applied, transparency is composited on white, 16-bit values are scaled (not
    clipped) to 8, an animation gives its first frame, and everything becomes RGB; then an
    antialiased bilinear resize. Grey pixels in float or 32-bit integers are scaled from the smallest of
    the usual ranges that holds them: 0–1 (float only), 0–255 or 0–65535.

    Parameters
    ----------
    content : bytes or ndarray of uint8, shape (h, w, 3) or (h, w)
        What :func:`featx.images.read` returned.
    size : tuple of (int, int)
        Height and width of the result.
    resize : {"squash", "crop", "pad"}
        Change the aspect ratio; cut out the centre after scaling the shorter side to
        size · 256 / 224; or fit the whole image and fill the rest with black.

    Returns
    -------
    ndarray of uint8, shape (size[0], size[1], 3)

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name.

    Examples
    --------
    >>> decode(np.full((10, 20, 3), 255, dtype=np.uint8), (4, 4), "pad")[:, :, 0]
    array([[  0,   0,   0,   0],
           [255, 255, 255, 255],
           [255, 255, 255, 255],
           [  0,   0,   0,   0]], dtype=uint8)
    """
    load_decoders()
    with _telling_the_reason(content):
        image = open_upright(content, size, resize) if isinstance(content, bytes) else _from_pixels(content)
        return np.asarray(fit(image, size, resize))


@functools.cache
def load_decoders() -> None:
    """Load every decoder, before threads do: Pillow's own loading on demand is not safe in several.

    Raises
    ------
    MissingDependencyError
        A decoder is not installed, which is no fault of an image.
    """
    try:
        import PIL.Image
        import simplejpeg  # noqa: F401  # that it can be imported is what is wanted
    except ImportError as error:
        raise MissingDependencyError(
            f"Images cannot be decoded: {error}. Install featx anew: pip install --force-reinstall pillow simplejpeg."
        ) from error
    PIL.Image.init()


def from_pillow(image: PILImage) -> np.ndarray[Any, Any]:
    """Return the upright RGB pixels of a whole Pillow image.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name.
    """
    # A Pillow image may still be reading its file, and several may share one: not for two threads at once.
    with _telling_the_reason(image), _pillow_images:
        _check_size(image)
        return np.asarray(_upright_rgb(image))


@contextlib.contextmanager
def _telling_the_reason(content: object) -> Iterator[None]:
    """Turn whatever a decoder raises into an UnreadableImageError."""
    try:
        yield
    except UnreadableImageError:
        raise
    except Exception as error:
        # Every decoder has its own zoo of errors for bad data; nothing but decoding happens here.
        raise UnreadableImageError(_reason(content, error)) from error


def _reason(content: object, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError) and isinstance(content, bytes):
        return f"it is no image of a known format (its first bytes are {content[:8]!r})"
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    return str(error) or type(error).__name__


def _from_pixels(pixels: np.ndarray[Any, Any]) -> PILImage:
    import PIL.Image

    return PIL.Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def open_upright(data: bytes, size: tuple[int, int], resize: str) -> PILImage:
    """Return the upright RGB image, of its own size or shrunk as far as `size` allows: decoding's first half."""
    import PIL.Image

    if not data:
        raise UnreadableImageError("it is empty (0 bytes)")
    with PIL.Image.open(io.BytesIO(data)) as image:
        _check_size(image)
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            scaled = _decode_jpeg(data, image, size, resize)
            if scaled is not None:
                return scaled
        return _upright_rgb(image)


def _check_size(image: PILImage) -> None:
    """Refuse a decompression bomb by what its header says, before anything is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(
            f"it has {image.width} × {image.height} pixels, more than the limit of {MAX_PIXELS:,}"
        )


def _decode_jpeg(data: bytes, image: PILImage, size: tuple[int, int], resize: str) -> PILImage | None:
    """Decode with libjpeg-turbo, scaled down on the way where that is harmless; None: it cannot."""
    import PIL.Image
    import simplejpeg

    orientation = image.getexif().get(_ORIENTATION, 1)
    turned = size[::-1] if orientation in (5, 6, 7, 8) else size
    shrink = _shrink_factor((image.height, image.width), turned, resize)
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError:
        return None  # Pillow, the reference, decides whether the file is bad, and words the reason
    return _turned(PIL.Image.fromarray(pixels), orientation)


def _shrink_factor(full: tuple[int, int], size: tuple[int, int], resize: str) -> int:
    """Largest of 1, 2, 4, 8 that leaves enough pixels for the antialiased resize to do the rest."""
    scales = [wanted / whole for wanted, whole in zip(size, full, strict=True)]
    scale = {"squash": max(scales), "crop": max(scales) * CROP_RATIO, "pad": min(scales)}[resize]
    return next((factor for factor in (8, 4, 2) if factor * scale * _SHRINK_MARGIN <= 1), 1)


def _turned(image: PILImage, orientation: int) -> PILImage:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _upright_rgb(image: PILImage) -> PILImage:
    """Return a whole Pillow image upright and in RGB: the reference path."""
    import PIL.Image
    import PIL.ImageOps

    image.load()
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return PIL.Image.fromarray(_scaled_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("La", "RGBa"):  # premultiplied, which Pillow turns into nothing but its plain kind
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, "white")
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scaled_to_8_bits(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scale deep grey pixels to 0–255 by the range they are stored in, told by their type or largest value."""
    values = np.nan_to_num(pixels.astype(np.float64))
    top = float(values.max())
    ranges = {"f": [1.0, 255.0, 65535.0], "i": [255.0, 65535.0, 2.0**31 - 1], "u": [65535.0]}[pixels.dtype.kind]
    full = next((limit for limit in ranges if top <= limit), top)
    scaled: np.ndarray[Any, Any] = np.clip(values * (255.0 / full), 0, 255).round().astype(np.uint8)
    return scaled


def fit(image: PILImage, size: tuple[int, int], resize: str) -> PILImage:
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
