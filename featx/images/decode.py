"""Content of an image → upright RGB uint8 pixels of the wanted size."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx.errors import (
    ImageTooLargeError,
    MissingDependencyError,
    TruncatedImageError,
    UnknownFormatError,
    UnreadableImageError,
)
from featx.images.formats import declared_size, open_image, strip_metadata
from featx.images.resize import resize_image
from featx.images.to_rgb import LARGE_IMAGE, load_upright, to_upright_rgb
from featx.images.truncated import pad_truncated

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: What is left of an image once it has been read: encoded bytes, or pixels.
Content: TypeAlias = "bytes | np.ndarray[Any, Any]"

#: No more pixels than this are decoded if nothing else is said: twice what Pillow warns of, where it refuses.
MAX_PIXELS = 178_956_970
#: Of formats that may hold an animation, whose decoders keep several whole frames, a third of it.
_FRAMES_IN_MEMORY = {"WEBP": 3, "AVIF": 3, "GIF": 3}
#: PPM files in words, or of unusual depth, are read by Python: four megapixels take as many seconds.
_MOST_IN_PYTHON = 4_000_000
#: What decoders say of a file that ends too early.
_TRUNCATED = re.compile(
    "truncat|premature|unexpected end|end of file|incomplete|not enough (image data|data|values)|EOF", re.IGNORECASE
)

_pillow_images = threading.Lock()
_large_images = threading.Lock()


def _after_fork() -> None:
    global _pillow_images, _large_images  # another thread of the parent may have held them
    _pillow_images, _large_images = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def decode_image(
    content: Content, size: tuple[int, int], resize: str = "squash", max_pixels: int = MAX_PIXELS
) -> np.ndarray[Any, Any]:
    """Return upright RGB pixels of the wanted size.

    EXIF orientation is applied, colours with an ICC profile are converted to sRGB, transparency is composited on white,
    16-bit values are scaled (not clipped) to 8, an animation gives its first frame and a document its first page, and
    everything becomes RGB; then an antialiased bilinear resize. Grey pixels in float or 32-bit integers are scaled from
    the smallest of the usual ranges that holds them: 0–1 (float only), 0–255 or 0–65535.

    Parameters
    ----------
    content : bytes or ndarray of uint8, shape (h, w, 3) or (h, w)
        What :func:`featx.images.image.read_image` returned.
    size : tuple of (int, int)
        Height and width of the result.
    resize : {"squash", "crop", "pad"}
        Change the aspect ratio; cut out the centre after scaling the shorter side to
        size · 256 / 224; or fit the whole image and fill the rest with black.
    max_pixels : int, default=178_956_970
        Refuse an image of more pixels by its header; of WebP, AVIF and GIF, a third of it.

    Returns
    -------
    ndarray of uint8, shape (size[0], size[1], 3)

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name. :class:`TruncatedImageError`, :class:`ImageTooLargeError` and
        :class:`UnknownFormatError` are such.

    Examples
    --------
    >>> decode_image(np.full((10, 20, 3), 255, dtype=np.uint8), (4, 4), "pad")[:, :, 0]
    array([[  0,   0,   0,   0],
           [255, 255, 255, 255],
           [255, 255, 255, 255],
           [  0,   0,   0,   0]], dtype=uint8)
    """
    load_decoders()
    with _telling_the_reason(content if isinstance(content, bytes) else b""):
        if isinstance(content, bytes):
            return _decode_bytes(content, size, resize, max_pixels)
        return np.asarray(resize_image(_from_pixels(content), size, resize))


def _decode_bytes(
    data: bytes, size: tuple[int, int], resize: str, max_pixels: int, *, is_strict: bool = True
) -> np.ndarray[Any, Any]:
    def decode_one(data: bytes) -> np.ndarray[Any, Any]:
        with open_image(data) as image:
            _check_size(image, max_pixels)
            _check_that_it_fits(image, len(data))
            # Large ones one at a time: memory would grow with the number of threads.
            is_large = image.width * image.height > LARGE_IMAGE
            with _large_images if is_large else contextlib.nullcontext():
                upright = load_upright(data, image, size, resize, is_strict=is_strict)
                return np.asarray(resize_image(upright, size, resize))

    return _despite_metadata(decode_one, data)


def _despite_metadata(work: Callable[[bytes], np.ndarray[Any, Any]], data: bytes) -> np.ndarray[Any, Any]:
    """Return what a function makes of an image; of one that it fails at, without metadata."""
    try:
        return work(data)
    except ImageTooLargeError:
        raise
    except Exception:  # whatever it is, it may be of metadata only; otherwise it goes on
        plain = strip_metadata(data)
        if plain == data:
            raise
        with contextlib.suppress(Exception):  # the error to tell is the first one
            return work(plain)
        raise


def decode_truncated(
    content: Content, size: tuple[int, int], resize: str = "squash", max_pixels: int = MAX_PIXELS
) -> np.ndarray[Any, Any]:
    """Return the pixels of a JPEG or PNG that ends too early, what is missing filled by its decoder or black.

    The parameters are those of :func:`decode`, which has found it to be truncated.

    Raises
    ------
    TruncatedImageError
        It is of another format, or ends before its first pixel.
    """
    assert isinstance(content, bytes)
    with _telling_the_reason(content):
        return _decode_bytes(pad_truncated(content), size, resize, max_pixels, is_strict=False)


def decode_full_size(content: Content) -> np.ndarray[Any, Any]:
    """Return the upright RGB pixels of what :func:`featx.images.image.read_image` returned, all of them.

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name.
    """
    load_decoders()
    with _telling_the_reason():
        if not isinstance(content, bytes):
            return np.asarray(_from_pixels(content))

        def decode_one(data: bytes) -> np.ndarray[Any, Any]:
            with open_image(data) as image:
                _check_size(image)
                return np.asarray(to_upright_rgb(image))

        return _despite_metadata(decode_one, content)


def decode_pillow(image: PILImage, max_pixels: int = MAX_PIXELS) -> np.ndarray[Any, Any]:
    """Return the upright RGB pixels of a whole Pillow image, unless it has more than `max_pixels`.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name.
    """
    # A Pillow image may still be reading its file, and several may share one: not for two threads at once.
    with _telling_the_reason(), _pillow_images:
        _check_size(image, max_pixels)
        return np.asarray(to_upright_rgb(image))


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


@contextlib.contextmanager
def _telling_the_reason(data: bytes = b"") -> Iterator[None]:
    """Turn whatever a decoder raises into an UnreadableImageError; `data` tells whether the file is whole."""
    import PIL.Image

    try:
        yield
    except (ImageTooLargeError, TruncatedImageError, UnknownFormatError):
        raise
    except MemoryError as error:
        raise ImageTooLargeError("there is not enough memory to decode it") from error
    except PIL.Image.DecompressionBombError as error:
        # Of WebP and tiles of TIFF, whose decoders look themselves, at a limit that is all of the process's.
        most = 2 * (PIL.Image.MAX_IMAGE_PIXELS or 0)
        raise ImageTooLargeError(
            f"it has more than the {most:,} pixels that Pillow decodes of its format, whatever max_pixels is"
        ) from error
    except Exception as error:
        # Every decoder has its own zoo of errors for bad data; nothing but decoding happens here.
        reason = str(error) or type(error).__name__
        if isinstance(error, UnreadableImageError):
            reason = error.reason
        if (expected := declared_size(data)) > len(data):
            reason = f"it is truncated: {len(data):,} of {expected:,} bytes are there ({reason})"
        kind = (
            TruncatedImageError
            if isinstance(error, EOFError | IndexError) or _TRUNCATED.search(reason)
            else UnreadableImageError
        )
        raise kind(reason) from error


def _from_pixels(pixels: np.ndarray[Any, Any]) -> PILImage:
    import PIL.Image

    return PIL.Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def _check_size(image: PILImage, max_pixels: int | None = None) -> None:
    """Refuse a decompression bomb by what its header says, before anything is decoded.

    `max_pixels` is a user's limit; None is the default, of images to which no other applies.
    """
    limit = (max_pixels or MAX_PIXELS) // _FRAMES_IN_MEMORY.get(image.format or "", 1)
    if image.format == "PPM" and not _is_raw(image) and image.width * image.height > _MOST_IN_PYTHON:
        raise ImageTooLargeError(
            f"it has {image.width} × {image.height} pixels, and a PPM in words is read up to {_MOST_IN_PYTHON:,}; save "
            "it as a PNG"
        )
    if image.width * image.height > limit:
        remedy = "; raise max_pixels (--max-pixels) if that is what it should have" if max_pixels else ""
        raise ImageTooLargeError(
            f"it has {image.width} × {image.height} pixels, more than the limit of {limit:,}{remedy}"
        )


def _is_raw(image: PILImage) -> bool:
    """Return whether the pixels of an image lie in its file as they are."""
    return all(tile[0] == "raw" for tile in getattr(image, "tile", [("",)]))


def _check_that_it_fits(image: PILImage, n_bytes: int) -> None:
    """Refuse an image whose header promises more pixels than its bytes can hold, before memory is taken for them."""
    if image.format in ("TIFF", "BMP", "PPM") and _is_raw(image):
        pixels_of_byte = 1.0
    elif image.format == "PNG":
        pixels_of_byte = 1100.0  # Deflate packs 1,032 bytes into one
    else:
        return
    # A pixel of these modes may take one bit only.
    bits = 1 if image.mode in ("1", "L", "P") else 8 * len(image.getbands())
    if image.width * image.height * bits / 8 > n_bytes * pixels_of_byte:
        cannot_hold = f"{n_bytes:,} bytes cannot hold {image.width} × {image.height} pixels"
        if image.format == "PNG":  # which is not to be made complete if so much of it is lacking
            raise UnreadableImageError(f"its header lies: {cannot_hold}")
        raise TruncatedImageError(f"it is truncated, or its header lies: {cannot_hold}")
