"""Content of an image → upright RGB uint8 pixels of the wanted size."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx import color, formats
from featx.errors import (
    ImageTooLargeError,
    MissingDependencyError,
    TruncatedImageError,
    UnknownFormatError,
    UnreadableImageError,
)
from featx.truncation import padded

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
#: Scans times pixels of a progressive JPEG: more take longer than four seconds, and are a bomb.
_MOST_SCANNED = 4_000_000_000
#: Bytes of a JPEG that belong to nothing; more of them were once pixels.
_MOST_STRAY_BYTES = 1000
#: Images of more pixels are decoded one at a time, and made smaller before their colours are converted: memory would
#: grow with the number of threads.
_LARGE = 16_000_000
#: `resize="crop"`: the shorter side becomes size · 256 / 224 before the centre is cut out, as
#: ImageNet networks are evaluated.
CROP_RATIO = 256 / 224

#: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where this many times the wanted pixels remain. Decoding
#: small aliases a little: measured on mosaics of aerial photos, the sharpest images at hand, the mean cosine of
#: features to the full decode is 0.995 at 1.5, but 0.985 at 1.
_SHRINK_MARGIN = 1.5
_ORIENTATION = 0x0112

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


def decode(
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
        What :func:`featx.images.read` returned.
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
    >>> decode(np.full((10, 20, 3), 255, dtype=np.uint8), (4, 4), "pad")[:, :, 0]
    array([[  0,   0,   0,   0],
           [255, 255, 255, 255],
           [255, 255, 255, 255],
           [  0,   0,   0,   0]], dtype=uint8)
    """
    load_decoders()
    with _telling_the_reason(content if isinstance(content, bytes) else b""):
        if isinstance(content, bytes):
            return _decode_bytes(content, size, resize, max_pixels)
        return np.asarray(fit(_from_pixels(content), size, resize))


def _decode_bytes(
    data: bytes, size: tuple[int, int], resize: str, max_pixels: int, *, is_strict: bool = True
) -> np.ndarray[Any, Any]:
    with formats.open_image(data) as image:
        _check_size(image, max_pixels)
        _check_that_it_fits(image, len(data))
        is_large = image.width * image.height > _LARGE
        with _large_images if is_large else contextlib.nullcontext():
            return np.asarray(fit(open_upright(data, image, size, resize, is_strict=is_strict), size, resize))


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
        return _decode_bytes(padded(content), size, resize, max_pixels, is_strict=False)


def decode_whole(content: Content) -> np.ndarray[Any, Any]:
    """Return the upright RGB pixels of what :func:`featx.images.read` returned, all of them.

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name.
    """
    load_decoders()
    with _telling_the_reason():
        if not isinstance(content, bytes):
            return np.asarray(_from_pixels(content))
        with formats.open_image(content) as image:
            _check_size(image)
            return np.asarray(_upright_rgb(image))


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
    with _telling_the_reason(), _pillow_images:
        _check_size(image)
        return np.asarray(_upright_rgb(image))


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
    except PIL.Image.DecompressionBombError as error:  # of WebP, whose decoder looks itself
        raise ImageTooLargeError(str(error)) from error
    except Exception as error:
        # Every decoder has its own zoo of errors for bad data; nothing but decoding happens here.
        reason = str(error) or type(error).__name__
        if isinstance(error, UnreadableImageError):
            reason = error.reason
        if (expected := formats.n_bytes_declared(data)) > len(data):
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


def open_upright(
    data: bytes, image: PILImage, size: tuple[int, int], resize: str, *, is_strict: bool = True
) -> PILImage:
    """Return an image upright and in RGB, of its own size or shrunk as far as `size` allows: decoding's first half.

    Parameters
    ----------
    data : bytes
    image : PIL.Image.Image
        As :func:`featx.formats.open_image` returned it for them.
    size, resize
        As for :func:`decode`.
    is_strict : bool, default=True
        Refuse a JPEG whose data ends before its pixels do.
    """
    if image.format == "JPEG" and (image.mode == "RGB" or (image.mode == "L" and "icc_profile" not in image.info)):
        scaled = _decode_jpeg(data, image, size, resize, is_strict=is_strict)
        if scaled is not None:
            return scaled
    return _upright_rgb(image, (size, resize))


def _check_size(image: PILImage, max_pixels: int | None = None) -> None:
    """Refuse a decompression bomb by what its header says, before anything is decoded.

    `max_pixels` is a user's limit; None is the default, of images to which no other applies.
    """
    limit = (max_pixels or MAX_PIXELS) // _FRAMES_IN_MEMORY.get(image.format or "", 1)
    if image.format == "PPM" and not _is_raw(image):
        limit = min(limit, _MOST_IN_PYTHON)
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


def _decode_jpeg(
    data: bytes, image: PILImage, size: tuple[int, int], resize: str, *, is_strict: bool
) -> PILImage | None:
    """Decode with libjpeg-turbo, scaled down on the way where that is harmless; None: it cannot."""
    import PIL.Image
    import simplejpeg

    orientation = _orientation(image)
    turned = size[::-1] if orientation in (5, 6, 7, 8) else size
    shrink = _shrink_factor((image.height, image.width), turned, resize)
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    n_scans = data.count(b"\xff\xda")
    if n_scans * image.width * image.height > _MOST_SCANNED:
        raise ImageTooLargeError(f"it has {n_scans} scans of {image.width} × {image.height} pixels, as a bomb would")
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError as error:
        if is_strict:
            _refuse_what_is_missing(str(error))
        return None  # Pillow, the reference, decides whether the file is bad, and words the reason
    return _turned(color.to_srgb(PIL.Image.fromarray(pixels), image.info.get("icc_profile")), orientation)


def _orientation(image: PILImage) -> int:
    """Return how an image is turned, 1 where its EXIF does not tell or is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels are no worse for it
        return 1


def _refuse_what_is_missing(said: str) -> None:
    """Raise if a strict decoder says that part of a JPEG is missing or overwritten, which Pillow takes for grey.

    A few stray bytes, which some cameras write, are no harm.
    """
    if "premature end" in said.lower():
        raise TruncatedImageError(f"it is truncated ({said})")
    stray = re.search(r"(\d+) extraneous bytes", said)
    if stray and int(stray[1]) > _MOST_STRAY_BYTES:
        raise UnreadableImageError(f"its data is damaged ({said})")


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


def _upright_rgb(image: PILImage, target: tuple[tuple[int, int], str] | None = None) -> PILImage:
    """Return a Pillow image upright and in RGB: the reference path. A large one is made smaller, as `target` allows."""
    import PIL.ImageChops

    image.load()
    orientation = 1 if image.format == "HEIF" else _orientation(image)  # a HEIC turns itself
    profile = image.info.get("icc_profile")
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow takes all of them for Adobe's, which stores inks inverted and says so.
        image = PIL.ImageChops.invert(image)
    if image.mode in ("F", "I"):
        image = _made_smaller(image, orientation, target)
    image = _made_smaller(_with_plain_channels(image), orientation, target)
    return _turned(_on_white(color.to_srgb(image, profile)), orientation)


def _with_plain_channels(image: PILImage) -> PILImage:
    """Return an image in channels of 8 bits, without a palette, and with transparency as a channel."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _scaled_to_8_bits(image)
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "RGB") and image.has_transparency_data:
        return image.convert("RGBA")
    return image


def _made_smaller(image: PILImage, orientation: int, target: tuple[tuple[int, int], str] | None) -> PILImage:
    """Return a large image with fewer pixels, as far as the wanted size allows; others as they are."""
    if target is None or image.width * image.height <= _LARGE:
        return image
    (height, width), resize = target
    turned = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    factor = _shrink_factor((image.height, image.width), turned, resize)
    return image.reduce(factor) if factor > 1 else image


def _on_white(image: PILImage) -> PILImage:
    import PIL.Image

    if image.mode in ("La", "RGBa"):  # premultiplied, which Pillow turns into nothing but its plain kind
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, "white")
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled_to_8_bits(image: PILImage) -> PILImage:
    """Return deep grey pixels as 0–255, by the range they are stored in, told by their type or largest value."""
    import PIL.Image

    pixels = np.asarray(image)
    blocks = range(0, len(pixels), max(1, 2**20 // pixels.shape[1]))  # at a time: wide copies of all would be large
    of_block = [np.nan_to_num(pixels[at : at + blocks.step].astype(np.float64)).max() for at in blocks]
    top = float(max(of_block))
    ranges = {"f": [1.0, 255.0, 65535.0], "i": [255.0, 65535.0, 2.0**31 - 1], "u": [65535.0]}[pixels.dtype.kind]
    full = next((limit for limit in ranges if top <= limit), top)
    scaled = np.empty(pixels.shape, dtype=np.uint8)
    for at in blocks:
        block = np.nan_to_num(pixels[at : at + blocks.step].astype(np.float64)) * (255.0 / full)
        scaled[at : at + blocks.step] = np.clip(block, 0, 255).round()
    return PIL.Image.fromarray(scaled)


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
