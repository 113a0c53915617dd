"""Decode the content of an image to upright RGB uint8 pixels of a given size."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx.errors import (
    ImageTooLargeError,
    MissingDependencyError,
    TruncatedImageError,
    UnknownFormatError,
    UnreadableImageError,
)
from featx.images.decoders.libtiff import collected_messages
from featx.images.formats import declared_size, open_image, strip_metadata
from featx.images.resize import fast_resizer, resize_image
from featx.images.to_rgb import LARGE_IMAGE, load_upright, to_upright_rgb
from featx.images.truncated import pad_truncated
from featx.recipe import Window
from featx.system.array_types import PixelArray
from featx.system.formatting import first_line
from featx.system.processes import n_cores

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Content of an image that was read: encoded bytes, or pixels.
Content: TypeAlias = "bytes | np.ndarray[Any, Any]"

#: Default maximum number of pixels of an image: twice the number at which Pillow warns, where it raises an error.
MAX_PIXELS = 178_956_970
#: Decoders of formats with animations keep several whole frames: the limit is divided by their number.
_FRAMES_IN_MEMORY = {"WEBP": 3, "AVIF": 3, "GIF": 3}
#: Maximum number of pixels of a PPM that Python decodes (text, or unusual depth): they take four seconds.
_MAX_TEXT_PPM_PIXELS = 4_000_000
#: Number of pixels that one byte of a PNG may hold: Deflate compresses at most 1,032 bytes into one.
_MAX_PNG_PIXELS_PER_BYTE = 1100.0
#: Messages of decoders for a file that ends too early.
_TRUNCATED = re.compile(
    "truncat|premature|unexpected end|end of file|incomplete|not enough (image data|data|values)|EOF", re.IGNORECASE
)

#: Messages of decoders that quote a value of the file, which may be no image but a secret text.
_QUOTES_VALUE = re.compile("invalid literal|could not convert|invalid token|token too long", re.IGNORECASE)

#: Images with more pixels are decoded as many at a time as there are cores, and small ones meanwhile.
_MEDIUM_IMAGE = 4_000_000


def _new_locks() -> tuple[threading.Lock, threading.Lock, threading.Semaphore]:
    return threading.Lock(), threading.Lock(), threading.BoundedSemaphore(n_cores())


def _renew_locks() -> None:
    global _pillow_lock, _large_image_lock, _medium_images  # another thread of the parent may have held them
    _pillow_lock, _large_image_lock, _medium_images = _new_locks()


_pillow_lock, _large_image_lock, _medium_images = _new_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def decode_image(
    content: Content,
    size: tuple[int, int],
    resize: str = "squash",
    max_pixels: int = MAX_PIXELS,
    window: Window | None = None,
) -> np.ndarray[Any, Any]:
    """Return upright RGB pixels of a given size.

    EXIF orientation is applied, colors with an ICC profile are converted to sRGB, transparency is composited on white,
    16-bit values are scaled to 8 bits, only the first frame or page is used, and all modes become RGB. An antialiased
    bilinear resize follows. Float and 32-bit gray pixels are scaled from the smallest range that holds them: 0–1 (float
    only), 0–255 or 0–65535.

    Parameters
    ----------
    content : bytes or ndarray of uint8 of shape (height, width, 3) or (height, width)
        Content that :func:`featx.images.image.read_image` returned.
    size : tuple of (int, int)
        Height and width of the result.
    resize : {"squash", "crop", "pad"}, default="squash"
        See :func:`featx.images.resize.resize_image`.
    max_pixels : int, default=178_956_970
        Maximum number of pixels by the header of the image; for WebP, AVIF and GIF, a third of it.
    window : Window or None, default=None
        Values of pixels with more than 8 bits that become 0 and 255, and bands of TIFF files that are colors. None: the
        range of their type, and the colors of the file.

    Returns
    -------
    ndarray of uint8 of shape (size[0], size[1], 3)

    Raises
    ------
    UnreadableImageError
        The image cannot be decoded. The error has a reason, but not the name of the image. Subclasses:
        TruncatedImageError, ImageTooLargeError and UnknownFormatError.

    Examples
    --------
    >>> decode_image(np.full((10, 20, 3), 255, dtype=np.uint8), (4, 4), "pad")[:, :, 0]
    array([[  0,   0,   0,   0],
           [255, 255, 255, 255],
           [255, 255, 255, 255],
           [  0,   0,   0,   0]], dtype=uint8)
    """
    load_decoders()
    with _as_unreadable(content if isinstance(content, bytes) else b""):
        if isinstance(content, bytes):
            return _decode_bytes(content, size, resize, max_pixels, window)
        return resize_image(_as_rgb(content), size, resize)


def decode_truncated(
    content: Content,
    size: tuple[int, int],
    resize: str = "squash",
    max_pixels: int = MAX_PIXELS,
    window: Window | None = None,
) -> np.ndarray[Any, Any]:
    """Return pixels of a truncated JPEG or PNG. Its decoder fills the missing part, or it is black.

    Parameters
    ----------
    content, size, resize, max_pixels, window
        See :func:`decode_image`, which raised TruncatedImageError for them.

    Raises
    ------
    TruncatedImageError
        The image has another format, or ends before its first pixel.
    """
    assert isinstance(content, bytes)
    with _as_unreadable(content):
        return _decode_bytes(pad_truncated(content), size, resize, max_pixels, window, is_strict=False)


def decode_full_size(content: Content) -> np.ndarray[Any, Any]:
    """Return all upright RGB pixels of an image, without resizing.

    Raises
    ------
    UnreadableImageError
        The image cannot be decoded. The error has a reason, but not the name of the image.
    """
    load_decoders()
    with _as_unreadable():
        if not isinstance(content, bytes):
            return _as_rgb(content)

        def decode(data: bytes) -> np.ndarray[Any, Any]:
            with open_image(data) as image:
                _check_n_pixels(image)
                return np.asarray(to_upright_rgb(image))

        return _retry_without_metadata(decode, content)


def decode_pillow(image: PILImage, max_pixels: int = MAX_PIXELS, window: Window | None = None) -> np.ndarray[Any, Any]:
    """Return all upright RGB pixels of a Pillow image with at most `max_pixels`.

    Returns
    -------
    ndarray of uint8 of shape (height, width, 3)

    Raises
    ------
    UnreadableImageError
        The image cannot be decoded. The error has a reason, but not the name of the image.
    """
    # A Pillow image may still read its file, and several images may share one: only one thread at a time.
    with _as_unreadable(), _pillow_lock:
        _check_n_pixels(image, max_pixels)
        return np.asarray(to_upright_rgb(image, window=window))


@functools.cache
def load_decoders() -> None:
    """Load all decoders before threads use them: Pillow's loading on demand is not thread-safe.

    Raises
    ------
    MissingDependencyError
        A decoder is not installed.
    """
    try:
        import PIL.Image
        import simplejpeg  # noqa: F401  # checks that it can be imported
    except ImportError as error:
        raise MissingDependencyError(
            f"Cannot decode images: {first_line(error)}. Install the decoders again: "
            "pip install --force-reinstall pillow simplejpeg."
        ) from error
    PIL.Image.init()
    fast_resizer()


def _decode_bytes(
    data: bytes,
    size: tuple[int, int],
    resize: str,
    max_pixels: int,
    window: Window | None = None,
    *,
    is_strict: bool = True,
) -> np.ndarray[Any, Any]:
    def decode(data: bytes) -> np.ndarray[Any, Any]:
        with open_image(data, window, max_pixels) as image:
            _check_n_pixels(image, max_pixels)
            _check_n_bytes(image, len(data))
            with _decoding(image.width * image.height):
                upright = load_upright(data, image, size, resize, window=window, is_strict=is_strict)
                return resize_image(upright, size, resize)

    return _retry_without_metadata(decode, data)


@contextlib.contextmanager
def _decoding(n_pixels: int) -> Iterator[None]:
    """Limit the memory of all threads: large images are decoded one at a time, medium ones on all cores."""
    with (
        _large_image_lock
        if n_pixels > LARGE_IMAGE
        else contextlib.nullcontext(),  # first: waiting for it takes no place
        _medium_images if n_pixels > _MEDIUM_IMAGE else contextlib.nullcontext(),
    ):
        yield


def _retry_without_metadata(decode: Callable[[bytes], np.ndarray[Any, Any]], data: bytes) -> np.ndarray[Any, Any]:
    """Decode data; if that fails, try again without its metadata, which may be the cause."""
    try:
        return decode(data)
    except ImageTooLargeError:
        raise
    except Exception:
        stripped = strip_metadata(data)
        if stripped == data:
            raise
        with contextlib.suppress(Exception):  # the first error is the one to raise
            return decode(stripped)
        raise


@contextlib.contextmanager
def _as_unreadable(data: bytes = b"") -> Iterator[None]:
    """Raise an UnreadableImageError for any error of a decoder. `data` shows whether the file is truncated."""
    import PIL.Image

    messages: list[str] = []
    try:
        with collected_messages() as messages:
            yield
    except (ImageTooLargeError, TruncatedImageError, UnknownFormatError):
        raise
    except MemoryError as error:
        raise ImageTooLargeError("there is not enough memory to decode the image") from error
    except PIL.Image.DecompressionBombError as error:
        # Pillow's decoders of WebP and of TIFF tiles check its global limit themselves.
        limit = 2 * (PIL.Image.MAX_IMAGE_PIXELS or 0)
        raise ImageTooLargeError(
            f"the image has more than {limit:,} pixels, Pillow's own limit for its format; max_pixels (--max-pixels) "
            "does not change it"
        ) from error
    except Exception as error:  # decoders raise many types for invalid data
        raise _unreadable_error(error, data, messages) from error


def _unreadable_error(error: Exception, data: bytes, messages: Sequence[str]) -> UnreadableImageError:
    reason = error.reason if isinstance(error, UnreadableImageError) else first_line(error)
    if _QUOTES_VALUE.search(reason):
        reason = "a value in the image is invalid"
    if reason == "Truncated File Read":  # of Pillow
        reason = "the file is truncated"
    if messages:
        reason = f"{reason} ({messages[0]})"
    n_declared = declared_size(data)
    if n_declared > len(data):
        reason = f"the file is truncated: it has {len(data):,} of {n_declared:,} bytes ({reason})"
    if isinstance(error, EOFError | IndexError) or _TRUNCATED.search(reason):
        return TruncatedImageError(reason)
    return UnreadableImageError(reason)


def _as_rgb(pixels: PixelArray) -> PixelArray:
    """Return pixels of shape (height, width, 3) of an array, which may be gray."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, np.newaxis], 3, axis=2)


def _check_n_pixels(image: PILImage, max_pixels: int | None = None) -> None:
    """Raise an error for an image without pixels, or a decompression bomb by its header, before anything is decoded.

    `max_pixels` is the limit that the user can change. None: the default limit applies and cannot be changed.
    """
    n_pixels = image.width * image.height
    if not n_pixels:
        raise UnreadableImageError(f"the image of {image.width} × {image.height} pixels has no pixels")
    size = f"{image.width} × {image.height} pixels"
    if image.format == "PPM" and not _is_raw(image) and n_pixels > _MAX_TEXT_PPM_PIXELS:
        raise ImageTooLargeError(
            f"the image has {size}, more than the limit of {_MAX_TEXT_PPM_PIXELS:,} for PPM files in text; save it as "
            "a PNG"
        )
    limit = (max_pixels or MAX_PIXELS) // _FRAMES_IN_MEMORY.get(image.format or "", 1)
    if n_pixels > limit:
        remedy = "; if this size is correct, raise max_pixels (--max-pixels)" if max_pixels else ""
        raise ImageTooLargeError(f"the image has {size}, more than the limit of {limit:,}{remedy}")


def _is_raw(image: PILImage) -> bool:
    """Return whether the pixels of an image are stored uncompressed."""
    return all(tile[0] == "raw" for tile in getattr(image, "tile", [("",)]))


def _check_n_bytes(image: PILImage, n_bytes: int) -> None:
    """Raise an error, before memory is allocated, for a header that declares more pixels than its bytes can hold."""
    if image.format in ("TIFF", "BMP", "PPM") and _is_raw(image):
        pixels_per_byte = 1.0
    elif image.format == "PNG":
        pixels_per_byte = _MAX_PNG_PIXELS_PER_BYTE
    else:
        return
    bits_per_pixel = 1 if image.mode in ("1", "L", "P") else 8 * len(image.getbands())  # 1 is the minimum of L and P
    if image.width * image.height * bits_per_pixel / 8 <= n_bytes * pixels_per_byte:
        return
    mismatch = f"{n_bytes:,} bytes cannot hold {image.width} × {image.height} pixels"
    if image.format == "PNG":  # too much is missing for padding
        raise UnreadableImageError(f"the header is wrong: {mismatch}")
    raise TruncatedImageError(f"the file is truncated, or its header is wrong: {mismatch}")
