"""Reads images: accepted collections, the content of one image, and the digest that identifies the content.

This file is long because it alone knows all forms of an image: each is accepted, allowed, described and read here.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import stat
import time
import typing
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from featx.errors import (
    ImageTooLargeError,
    InputError,
    OptionError,
    ResourceError,
    UnreachableImageError,
    UnreadableImageError,
)
from featx.images.archives import read_member, split_archive_path
from featx.images.decode import MAX_PIXELS, Content, decode_pillow
from featx.images.to_rgb import Window
from featx.system.files import remote
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_bytes

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: One image: a path, the bytes of a file, a Pillow image, or uint8 pixels of shape (h, w) or (h, w, 3).
Image: TypeAlias = "str | os.PathLike[str] | bytes | PILImage | np.ndarray[Any, Any]"

#: Kinds of images that a caller may allow. Pillow images count as arrays.
Kind: TypeAlias = Literal["path", "url", "bytes", "array"]
KINDS: tuple[str, ...] = typing.get_args(Kind)

DIGEST_SIZE = 16
#: Default maximum size of a file, which is held in memory.
MAX_BYTES = 2**30
#: Number of attempts to read a file that is being written.
_MAX_ATTEMPTS = 3


@dataclasses.dataclass(slots=True)
class Source:
    """Where the content of an image came from.

    Attributes
    ----------
    digest : bytes
        Digest of the content. Empty if the image could not be read.
    name : str
        Path of the image, or a description of the object, for messages. Empty if the file was not read.
    path : str
        Path of the file. Empty for images without a file.
    state : os.stat_result or None
        State of the file when it was read. None for images without a file.
    read_at : float
        Time just before the image was read, in seconds since 1970.
    is_padded : bool
        Whether the file ended too early and the missing part was filled.
    """

    digest: bytes = b""
    name: str = ""
    path: str = ""
    state: os.stat_result | None = None
    read_at: float = 0.0
    is_padded: bool = False

    @classmethod
    def of(cls, image: Image) -> Source:
        """Return the source of an image that is about to be read."""
        path = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
        return cls(name=describe_image(image), path=path, read_at=time.time())


@dataclasses.dataclass(frozen=True)
class RefusedImage:
    """An image that must not be read.

    Attributes
    ----------
    reason : str
    """

    reason: str


def as_image_list(images: Any, name: str = "images") -> Sequence[Image]:
    """Return the images of any accepted collection as a sequence.

    Parameters
    ----------
    images : list, tuple, ndarray, Series, one-column DataFrame, ImageTable or iterable
        Paths, bytes, Pillow images or uint8 arrays; or one uint8 array of shape (n, h, w, 3) or (n, h, w). An iterator
        is read to its end.
    name : str, default="images"
        Name of the parameter, for messages.

    Raises
    ------
    InputError
        `images` is a single image, a table of several columns, a set, or an array without pixels or paths.

    Examples
    --------
    >>> as_image_list(np.array(["a.jpg", "b.jpg"]))
    ['a.jpg', 'b.jpg']
    >>> len(as_image_list(np.zeros((5, 8, 8, 3), dtype=np.uint8)))
    5
    """
    _check_collection(images, name)
    if hasattr(images, "paths") and hasattr(images, "labels"):  # an ImageTable, which this room does not know
        images = images.paths
    if hasattr(images, "columns") and len(getattr(images, "shape", ())) == 2:
        images = _only_column(images, name)
    if hasattr(images, "to_pylist"):  # pyarrow
        return list(images.to_pylist())
    if hasattr(images, "to_numpy"):
        images = images.to_numpy()
    if isinstance(images, np.ndarray):
        return _images_in_array(images, name)
    try:
        return images if isinstance(images, list | tuple) else list(images)
    except TypeError:
        raise InputError(
            f"{name} must be a list, tuple, array, Series or one-column DataFrame of paths, bytes, Pillow images or "
            f"uint8 arrays, got {type(images).__name__}."
        ) from None


def _check_collection(images: Any, name: str) -> None:
    kind = type(images).__name__
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike):
        raise InputError(f"{name} must be a list of images, got a single {kind}. {_single_remedy(images)}")
    if isinstance(images, Mapping | Set):
        raise InputError(f"{name} must have an order, got {kind}. Pass list(...) of it.")
    if hasattr(images, "mode") and hasattr(images, "getexif"):
        raise InputError(f"{name} must be a list of images, got a single Pillow image. Put it in a list: [image].")


def _single_remedy(image: Any) -> str:
    """Return what to pass instead of a single path: a list, or the images of a folder."""
    if isinstance(image, str | os.PathLike) and os.path.isdir(image):
        return f"Find the images of the folder: featx.find_images({os.fspath(image)!r})."
    return "Put it in a list: [image]."


def _only_column(table: Any, name: str) -> Any:
    """Return the column of a one-column table of pandas, polars or pyarrow."""
    names = list(getattr(table, "column_names", table.columns))
    if len(names) != 1:
        raise InputError(
            f"{name} must be one column, got {len(names)} columns ({', '.join(map(str, names[:5]))}). "
            "Select one: X[['path']], or use a ColumnTransformer."
        )
    return table.iloc[:, 0] if hasattr(table, "iloc") else table[names[0]]


def _images_in_array(array: np.ndarray[Any, Any], name: str) -> Sequence[Image]:
    if array.dtype.kind in "OUST":
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1:
            return list(array.tolist())
        raise InputError(f"{name} must be one column, got an array of shape {array.shape}. Select one: X[:, [0]].")
    if array.dtype == np.uint8:
        if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
            return list(array)
        if array.ndim in (2, 3):
            raise InputError(
                f"{name} must be a list of images, got one image of shape {array.shape}. Pass a list, [image], or an "
                "array of shape (n, h, w, 3)."
            )
    is_column = array.ndim == 1 or array.shape[1:] == (1,)
    if is_column and array.size == 0:
        return []
    if is_column and array.dtype.kind == "f" and np.isnan(array).all():
        return list(array.ravel().tolist())  # a column in which all images are missing
    raise InputError(
        f"{name} must be paths or uint8 pixels of shape (n, h, w, 3), got {array.dtype} of shape {array.shape}. "
        "Scale pixels to 0–255 and convert them with .astype('uint8')."
    )


def check_allow(allow: Any) -> tuple[str, ...] | None:
    """Return the allowed kinds of images; None: all.

    Raises
    ------
    OptionError
        `allow` is not a sequence of kinds.
    """
    if allow is None:
        return None
    is_sequence = isinstance(allow, list | tuple | set | frozenset)
    if not is_sequence or not allow or not set(map(str, allow)) <= set(KINDS):
        raise OptionError(
            f"allow must be None or a list of {', '.join(map(repr, KINDS))}, got {allow!r}. For the requests of "
            'clients, pass allow=("bytes", "array").'
        )
    return tuple(kind for kind in KINDS if kind in allow)


def restrict(images: Sequence[Any], allow: Sequence[str] | None) -> Sequence[Any]:
    """Return images, with an unreadable object for each that is not allowed. No file is opened.

    Parameters
    ----------
    images : sequence of images
    allow : sequence of str or None
        Result of :func:`check_allow`. Pillow images count as arrays.
    """
    if allow is None:
        return images
    return [image if (kind := _kind_of(image)) in allow or not kind else _refused(kind, allow) for image in images]


def _kind_of(image: Any) -> str:
    """Return the kind of an image; "" for other objects."""
    if isinstance(image, str):
        return "url" if remote.is_url(image) and remote.local_path(image) is None else "path"
    if isinstance(image, os.PathLike):
        return "path"
    if isinstance(image, bytes | bytearray | memoryview):
        return "bytes"
    return "array" if hasattr(image, "__array_interface__") or hasattr(image, "getexif") else ""


def _refused(kind: str, allow: Sequence[str]) -> RefusedImage:
    return RefusedImage(f"expected {' or '.join(allow)} (allow=), got a {kind}")


def describe_image(image: Any) -> str:
    """Return the name of an image for messages: its path, or a description of the object."""
    if isinstance(image, str | os.PathLike):
        return redact_secrets(os.fspath(image))
    if isinstance(image, bytes):
        return f"{len(image)} bytes"
    if isinstance(image, np.ndarray):
        return f"array of shape {image.shape}"
    if isinstance(image, RefusedImage):
        return "refused image"
    return type(image).__name__


def is_remote_image(image: Any) -> bool:
    """Return whether an image is a URL that is downloaded."""
    return isinstance(image, str) and remote.is_url(image) and remote.local_path(image) is None


def read_image(
    image: Any, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES, window: Window | None = None
) -> tuple[Content, os.stat_result | None]:
    """Return the content of an image, and the state of its file.

    Parameters
    ----------
    image : path, URL, bytes, Pillow image or ndarray
    max_pixels : int, default=178_956_970
        Maximum number of pixels of a Pillow image. Other images are checked when they are decoded.
    max_bytes : int, default=2**30
        Maximum number of bytes of a file or URL.
    window : tuple of (float, float) or None, default=None
        Values of a Pillow image, see :func:`featx.images.decode.decode_image`. Files are scaled when they are decoded.

    Returns
    -------
    content : bytes or ndarray of uint8 of shape (height, width, 3) or (height, width)
    state : os.stat_result or None
        State of the file when it was read. None: the image is not a file.

    Raises
    ------
    UnreadableImageError
        The image cannot be read. The error has a reason, but not the name of the image.
    """
    if isinstance(image, str) and remote.is_url(image):
        path = remote.local_path(image)
        return (remote.read_url(image, max_bytes), None) if path is None else _read_file(path, max_bytes)
    if isinstance(image, str | os.PathLike):
        return _read_file(os.fspath(image), max_bytes)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image), None
    if isinstance(image, np.ndarray):
        return _validate_pixels(image), None
    if hasattr(image, "getexif"):
        return decode_pillow(image, max_pixels, window), None
    if isinstance(image, RefusedImage):
        raise UnreadableImageError(image.reason)
    is_missing = (
        image is None or isinstance(image, float | np.floating) or type(image).__name__ in ("NAType", "NaTType")
    )
    kind = "a missing value" if is_missing else type(image).__name__
    raise UnreadableImageError(f"expected a path, bytes, a Pillow image or a uint8 array, got {kind}")


def file_state(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the state of a file, or of the archive that contains it.

    Raises
    ------
    OSError, ValueError
        The file does not exist.
    """
    try:
        return os.stat(path)
    except (NotADirectoryError, FileNotFoundError):
        member = split_archive_path(os.fspath(path))
        if member is None:
            raise
        return os.stat(member[0])


def find_file_state(path: str) -> os.stat_result | None:
    """Return the state of a file as :func:`file_state` does; None for a URL and for a file that does not exist."""
    try:
        return None if remote.is_url(path) else file_state(path)
    except (OSError, ValueError):
        return None


def _read_file(path: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
    try:
        for _ in range(_MAX_ATTEMPTS):
            data, before, after = _read_once(path, max_bytes)
            if len(data) == after.st_size and _is_unchanged(before, after):
                return data, after
    except (NotADirectoryError, FileNotFoundError) as error:
        member = split_archive_path(path)
        if member is None:
            raise UnreachableImageError(error.strerror or str(error)) from error
        return read_member(*member, max_bytes)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, UnreadableImageError):
            raise
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise ResourceError(
                f"Cannot open {path!r}: {error.strerror}. This process has reached a limit of the system. Raise the "
                "limit (ulimit -n) or close files, then try again."
            ) from error
        raise UnreachableImageError(getattr(error, "strerror", None) or str(error)) from error
    raise UnreachableImageError("the file changed during each attempt to read it; try again when it is complete")


def _read_once(path: str, max_bytes: int) -> tuple[bytes, os.stat_result, os.stat_result]:
    # Only regular files are opened: a FIFO or device could block forever or have side effects.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UnreachableImageError(_irregular_file_reason(path))
    with open(path, "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if before.st_size > max_bytes:
            raise ImageTooLargeError(
                f"the file has {format_bytes(before.st_size)}, more than the limit of {format_bytes(max_bytes)}"
            )
        data = file.read()
        return data, before, os.fstat(file.fileno())


def _irregular_file_reason(path: str) -> str:
    if not os.path.isdir(path):
        return "the path is not a regular file"
    try:
        os.scandir(path).close()
    except OSError as error:
        return f"the path is a folder that cannot be listed ({error.strerror})"
    return "the path is a folder"


def _is_unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    """Return whether a file was not written between two states. The change time reveals a restored mtime."""
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _validate_pixels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    is_gray = array.ndim == 2
    if array.dtype != np.uint8 or not (is_gray or (array.ndim == 3 and array.shape[2] == 3)):
        raise UnreadableImageError(
            f"expected a uint8 array of shape (h, w, 3) or (h, w), got {array.dtype} of shape {array.shape}"
        )
    if 0 in array.shape:
        raise UnreadableImageError(f"the array of shape {array.shape} has no pixels")
    return array


def content_digest(content: Content) -> bytes:
    """Return the 16-byte digest (BLAKE2b) that identifies the content of an image.

    Encoded images are identified by their bytes, pixels by their shape and values: a Pillow image and the array of its
    upright RGB pixels have the same digest.
    """
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()
    pixels = hashlib.blake2b(digest_size=DIGEST_SIZE, person=b"featx-pixels")
    pixels.update(repr(content.shape).encode())
    pixels.update(np.ascontiguousarray(content).data)
    return pixels.digest()


def padded_digest(digest: bytes) -> bytes:
    """Return the digest of a padded truncated image, from the digest of its bytes."""
    return hashlib.blake2b(digest, digest_size=DIGEST_SIZE, person=b"featx-padded").digest()
