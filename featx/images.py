"""Any image → upright RGB uint8 pixels of the wanted size; and the digest that names its content."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx.errors import InputError, UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: One image: the path of a file, a file's bytes, a Pillow image, or uint8 pixels (h, w) or (h, w, 3).
Image: TypeAlias = "str | os.PathLike[str] | bytes | PILImage | np.ndarray[Any, Any]"
#: What is left of an image once it has been read: encoded bytes, or pixels.
Content: TypeAlias = "bytes | np.ndarray[Any, Any]"

DIGEST_SIZE = 16
#: No more pixels than this are decoded: twice what Pillow warns of, the limit at which it refuses.
MAX_PIXELS = 178_956_970
#: `resize="crop"`: the shorter side becomes size · 256 / 224 before the centre is cut out, as
#: ImageNet networks are evaluated.
CROP_RATIO = 256 / 224

_ORIENTATION = 0x0112


def as_image_list(images: Any) -> Sequence[Image]:
    """Return the images of any accepted collection as a sequence.

    Parameters
    ----------
    images : list, tuple, ndarray, pandas Series or one-column DataFrame
        Paths, bytes, Pillow images or uint8 arrays; or one (n, h, w, 3) or (n, h, w) uint8 array.

    Raises
    ------
    InputError
        A single image, a table of several columns, or numbers that are no pixels.
    """
    if isinstance(images, str | bytes | os.PathLike):
        kind = type(images).__name__
        raise InputError(f"Expected a list of images, got a single {kind}. Put it in a list: [image].")
    if hasattr(images, "columns") and hasattr(images, "iloc"):
        if images.shape[1] != 1:
            names = ", ".join(map(str, images.columns[:5]))
            raise InputError(
                f"Expected one column of images, got {images.shape[1]} ({names}). "
                "Select one: X[['path']], or use a ColumnTransformer."
            )
        images = images.iloc[:, 0]
    if hasattr(images, "to_numpy"):
        images = images.to_numpy()
    if isinstance(images, np.ndarray):
        return _rows_of_array(images)
    if hasattr(images, "mode") and hasattr(images, "getexif"):
        raise InputError("Expected a list of images, got a single Pillow image. Put it in a list: [image].")
    try:
        return images if isinstance(images, list | tuple) else list(images)
    except TypeError:
        raise InputError(
            f"Expected a list of images, got {type(images).__name__}. Pass a list, tuple, array, Series or "
            "one-column DataFrame of paths, bytes, Pillow images or uint8 arrays."
        ) from None


def _rows_of_array(array: np.ndarray[Any, Any]) -> Sequence[Image]:
    if array.dtype.kind in "OUS":
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1:
            return list(array.tolist())
        raise InputError(
            f"Expected one column of images, got an array of shape {array.shape}. Select one: X[:, [0]]."
        )
    if array.dtype == np.uint8:
        if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
            return list(array)
        if array.ndim in (2, 3):
            raise InputError(
                f"An array of shape {array.shape} reads as one image. Pass a list, [image], or an array of "
                "shape (n, h, w, 3)."
            )
    if array.size == 0 and array.ndim == 1:
        return []
    raise InputError(
        f"Expected uint8 pixels of shape (n, h, w, 3) or an array of paths, got {array.dtype} of shape "
        f"{array.shape}. Scale pixels to 0–255 and convert them with .astype('uint8')."
    )


def describe(image: Any) -> str:
    """Return what to call an image in a message: its path, or the kind of object it is."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    if isinstance(image, bytes):
        return f"{len(image)} bytes"
    if isinstance(image, np.ndarray):
        return f"array of shape {image.shape}"
    return type(image).__name__


def read(image: Any) -> tuple[Content, os.stat_result | None]:
    """Return the content of an image, and for a file its state when it was read.

    Returns
    -------
    content : bytes or ndarray of uint8, shape (h, w, 3) or (h, w)
    state : os.stat_result or None
        None for what is no file, and for a file that changed while it was read.

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name.
    """
    if isinstance(image, str | os.PathLike):
        return _read_file(os.fspath(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image), None
    if isinstance(image, np.ndarray):
        return _checked_pixels(image), None
    if hasattr(image, "getexif"):
        return np.asarray(_to_rgb(image)), None
    missing = image is None or isinstance(image, float) or type(image).__name__ in ("NAType", "NaTType")
    found = "a missing value" if missing else f"a {type(image).__name__}"
    raise UnreadableImageError(f"expected a path, bytes, a Pillow image or a uint8 array, got {found}")


def _read_file(path: str) -> tuple[bytes, os.stat_result | None]:
    try:
        # A FIFO or a device could block for ever or have side effects: only regular files are opened.
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a folder" if os.path.isdir(path) else "not a regular file"
            raise UnreadableImageError(f"it is {kind}")
        with open(path, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            data = file.read()
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, UnreadableImageError):
            raise
        raise UnreadableImageError(getattr(error, "strerror", None) or str(error)) from error
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return data, after if unchanged and after.st_size == len(data) else None


def _checked_pixels(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    grey = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise UnreadableImageError(
            f"expected a uint8 array of shape (h, w, 3) or (h, w), got {pixels.dtype} of shape {pixels.shape}"
        )
    if 0 in pixels.shape:
        raise UnreadableImageError(f"an array of shape {pixels.shape} has no pixels")
    return pixels


def digest(content: Content) -> bytes:
    """Return the 16 bytes (BLAKE2b) that name an image's content.

    Encoded bytes are named by the bytes; pixels by their shape and values, so a Pillow image and the
    array of its upright RGB pixels have one name.
    """
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()
    named = hashlib.blake2b(digest_size=DIGEST_SIZE, person=b"featx-pixels")
    named.update(repr(content.shape).encode())
    named.update(np.ascontiguousarray(content).data)
    return named.digest()


def decode(content: Content, size: tuple[int, int], resize: str = "squash") -> np.ndarray[Any, Any]:
    """Return upright RGB pixels of the wanted size.

    EXIF orientation is applied, transparency is composited on white, 16-bit values are scaled (not
    clipped) to 8, an animation gives its first frame, and everything becomes RGB; then an
    antialiased bilinear resize.

    Parameters
    ----------
    content : bytes or ndarray of uint8, shape (h, w, 3) or (h, w)
        What :func:`read` returned.
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
    """
    try:
        image = _open(content, size, resize) if isinstance(content, bytes) else _from_pixels(content)
        return np.asarray(_fit(image, size, resize))
    except UnreadableImageError:
        raise
    except Exception as error:
        # Every decoder has its own zoo of errors for bad data; nothing but decoding happens here.
        raise UnreadableImageError(_reason(content, error)) from error


def _reason(content: Content, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError) and isinstance(content, bytes):
        return f"it is no image of a known format (its first bytes are {content[:8]!r})"
    return str(error) or type(error).__name__


def _from_pixels(pixels: np.ndarray[Any, Any]) -> PILImage:
    from PIL import Image as PIL

    return PIL.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def _open(data: bytes, size: tuple[int, int], resize: str) -> PILImage:
    from PIL import Image as PIL

    if not data:
        raise UnreadableImageError("it is empty (0 bytes)")
    with PIL.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImageError(
                f"it has {image.width} × {image.height} pixels, more than the limit of {MAX_PIXELS:,}"
            )
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            scaled = _decode_jpeg(data, image, size, resize)
            if scaled is not None:
                return scaled
        return _to_rgb(image)


def _decode_jpeg(data: bytes, image: PILImage, size: tuple[int, int], resize: str) -> PILImage | None:
    """Decode at 1/2, 1/4 or 1/8 of the size where that leaves more than is wanted; None: it cannot."""
    import simplejpeg
    from PIL import Image as PIL

    orientation = image.getexif().get(_ORIENTATION, 1)
    turned = size[::-1] if orientation in (5, 6, 7, 8) else size
    shrink = _shrink_factor((image.height, image.width), turned, resize)
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError:
        return None  # Pillow, the reference, decides whether the file is bad, and words the reason
    return _turned(PIL.fromarray(pixels), orientation)


def _shrink_factor(full: tuple[int, int], size: tuple[int, int], resize: str) -> int:
    """Largest of 1, 2, 4, 8 that leaves no fewer pixels than the resize will keep."""
    scales = [wanted / whole for wanted, whole in zip(size, full, strict=True)]
    if resize == "squash":
        scale = max(scales)
    else:
        scale = max(scales) * CROP_RATIO if resize == "crop" else min(scales)
    return next((factor for factor in (8, 4, 2) if factor * scale <= 1), 1)


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


def _to_rgb(image: PILImage) -> PILImage:
    """Return a whole Pillow image upright and in RGB: the reference path."""
    from PIL import Image as PIL
    from PIL import ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return PIL.fromarray(_scaled_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.new("RGBA", rgba.size, "white")
        return PIL.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scaled_to_8_bits(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scale deep grey pixels to 0–255 by the range they are stored in, told by their type or largest value."""
    values = np.nan_to_num(pixels.astype(np.float64))
    top = float(values.max())
    ranges = [1.0, 255.0, 65535.0] if pixels.dtype.kind == "f" else [65535.0, 2.0**31 - 1]
    full = next((limit for limit in ranges if top <= limit), top)
    return np.clip(values * (255.0 / full), 0, 255).round().astype(np.uint8)


def _fit(image: PILImage, size: tuple[int, int], resize: str) -> PILImage:
    from PIL import Image as PIL
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
    padded = PIL.new("RGB", (width, height))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded.paste(image.resize(inner, Resampling.BILINEAR), (left, top))
    return padded
