"""What counts as an image; its content, read once; and the digest that names that content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx.errors import ImageTooLargeError, InputError, ResourceError, UnreachableImageError, UnreadableImageError
from featx.images.archives import read_member, split_archive_path
from featx.images.decode import MAX_PIXELS, Content, decode_pillow
from featx.system.files import remote
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_bytes

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: One image: the path of a file, a file's bytes, a Pillow image, or uint8 pixels (h, w) or (h, w, 3).
Image: TypeAlias = "str | os.PathLike[str] | bytes | PILImage | np.ndarray[Any, Any]"

DIGEST_SIZE = 16
#: A larger file is not read: it would have to be held in memory.
MAX_BYTES = 2**30
#: How often a file is read that is written to meanwhile.
_ATTEMPTS = 3


def as_image_list(images: Any) -> Sequence[Image]:
    """Return the images of any accepted collection as a sequence.

    Parameters
    ----------
    images : list, tuple, ndarray, pandas Series or one-column DataFrame
        Paths, bytes, Pillow images or uint8 arrays; or one (n, h, w, 3) or (n, h, w) uint8 array.

    Raises
    ------
    InputError
        A single image, a table of several columns, an iterator, or numbers that are no pixels.

    Examples
    --------
    >>> as_image_list(np.array(["a.jpg", "b.jpg"]))
    ['a.jpg', 'b.jpg']
    >>> len(as_image_list(np.zeros((5, 8, 8, 3), dtype=np.uint8)))
    5
    """
    kind = type(images).__name__
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike):
        raise InputError(f"Expected a list of images, got a single {kind}. Put it in a list: [image].")
    if isinstance(images, Iterator | Mapping | Set):
        raise InputError(f"Expected images in an order that can be read twice, got a {kind}. Pass list(...) of it.")
    if hasattr(images, "columns") and len(getattr(images, "shape", ())) == 2:
        names = list(getattr(images, "column_names", images.columns))  # of pyarrow, and of pandas and polars
        if len(names) != 1:
            raise InputError(
                f"Expected one column of images, got {len(names)} ({', '.join(map(str, names[:5]))}). "
                "Select one: X[['path']], or use a ColumnTransformer."
            )
        images = images.iloc[:, 0] if hasattr(images, "iloc") else images[names[0]]
    if hasattr(images, "to_pylist"):  # of pyarrow
        return list(images.to_pylist())
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
            f"Expected a list of images, got {kind}. Pass a list, tuple, array, Series or "
            "one-column DataFrame of paths, bytes, Pillow images or uint8 arrays."
        ) from None


def _rows_of_array(array: np.ndarray[Any, Any]) -> Sequence[Image]:
    if array.dtype.kind in "OUST":
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1:
            return list(array.tolist())
        raise InputError(f"Expected one column of images, got an array of shape {array.shape}. Select one: X[:, [0]].")
    if array.dtype == np.uint8:
        if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
            return list(array)
        if array.ndim in (2, 3):
            raise InputError(
                f"An array of shape {array.shape} reads as one image. Pass a list, [image], or an array of "
                "shape (n, h, w, 3)."
            )
    if array.size == 0 and (array.ndim == 1 or array.shape[1:] == (1,)):
        return []
    if array.dtype.kind == "f" and np.isnan(array).all() and (array.ndim == 1 or array.shape[1:] == (1,)):
        return list(array.ravel().tolist())  # a column in which every image is missing
    raise InputError(
        f"Expected uint8 pixels of shape (n, h, w, 3) or an array of paths, got {array.dtype} of shape "
        f"{array.shape}. Scale pixels to 0–255 and convert them with .astype('uint8')."
    )


def describe_image(image: Any) -> str:
    """Return what to call an image in a message: its path, or the kind of object it is."""
    if isinstance(image, str | os.PathLike):
        return redact_secrets(os.fspath(image))
    if isinstance(image, bytes):
        return f"{len(image)} bytes"
    if isinstance(image, np.ndarray):
        return f"array of shape {image.shape}"
    return type(image).__name__


def is_remote_image(image: Any) -> bool:
    """Return whether an image lies at an address, and is waited for rather than read from a disk."""
    return isinstance(image, str) and remote.is_url(image) and remote.local_path(image) is None


def read_image(
    image: Any, max_pixels: int = MAX_PIXELS, most_bytes: int | None = None
) -> tuple[Content, os.stat_result | None]:
    """Return the content of an image, and for a file its state when it was read.

    Parameters
    ----------
    image : path, bytes, Pillow image or array
    max_pixels : int, default=178_956_970
        A Pillow image of more pixels is refused; other images when they are decoded.
    most_bytes : int or None, default=None
        An image at an address that has more is refused; None is the limit of files.

    Returns
    -------
    content : bytes or ndarray of uint8, shape (h, w, 3) or (h, w)
    state : os.stat_result or None
        None for what is no file.

    Raises
    ------
    UnreadableImageError
        The reason, without the image's name.
    """
    if is_remote_image(image):
        return remote.read_url(image, MAX_BYTES if most_bytes is None else most_bytes), None
    if isinstance(image, str) and remote.is_url(image):
        return _read_file(remote.local_path(image) or "")
    if isinstance(image, str | os.PathLike):
        return _read_file(os.fspath(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image), None
    if isinstance(image, np.ndarray):
        return _checked_pixels(image), None
    if hasattr(image, "getexif"):
        return decode_pillow(image, max_pixels), None
    missing = image is None or isinstance(image, float | np.floating) or type(image).__name__ in ("NAType", "NaTType")
    found = "a missing value" if missing else f"a {type(image).__name__}"
    raise UnreadableImageError(f"expected a path, bytes, a Pillow image or a uint8 array, got {found}")


def file_state(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the state of a file, or of the archive that it lies in.

    Raises
    ------
    OSError, ValueError
        There is none.
    """
    try:
        return os.stat(path)
    except (NotADirectoryError, FileNotFoundError):
        place = split_archive_path(os.fspath(path))
        if place is None:
            raise
        return os.stat(place[0])


def _read_file(path: str) -> tuple[bytes, os.stat_result]:
    try:
        for _ in range(_ATTEMPTS):
            data, before, after = _read_once(path)
            if len(data) == after.st_size and _is_same_state(before, after):
                return data, after
    except (NotADirectoryError, FileNotFoundError) as error:
        place = split_archive_path(path)
        if place is None:
            raise UnreachableImageError(error.strerror or str(error)) from error
        return read_member(*place, MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, UnreadableImageError):
            raise
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise ResourceError(
                f"{path!r} cannot be opened now ({error.strerror}): this process has come to a limit of the "
                "system. Raise it (ulimit -n) or close files, and run the same again."
            ) from error
        raise UnreachableImageError(getattr(error, "strerror", None) or str(error)) from error
    raise UnreachableImageError("it was written to whenever it was read; try again when it is complete")


def _read_once(path: str) -> tuple[bytes, os.stat_result, os.stat_result]:
    # A FIFO or a device could block for ever or have side effects: only regular files are opened.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UnreachableImageError(f"it is {_kind_of(path)}")
    with open(path, "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if before.st_size > MAX_BYTES:
            raise ImageTooLargeError(
                f"it has {format_bytes(before.st_size)}, more than the limit of {format_bytes(MAX_BYTES)}"
            )
        data = file.read()
        return data, before, os.fstat(file.fileno())


def _kind_of(path: str) -> str:
    if not os.path.isdir(path):
        return "not a regular file"
    try:
        os.scandir(path).close()
    except OSError as error:
        return f"a folder that cannot be listed ({error.strerror}), with whatever is in it"
    return "a folder"


def _is_same_state(before: os.stat_result, after: os.stat_result) -> bool:
    """Return whether nobody wrote to a file between two looks; the change time shows it under a restored mtime."""
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _checked_pixels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        raise UnreadableImageError(
            f"expected a uint8 array of shape (h, w, 3) or (h, w), got {array.dtype} of shape {array.shape}"
        )
    if 0 in array.shape:
        raise UnreadableImageError(f"an array of shape {array.shape} has no pixels")
    return array


def content_digest(content: Content) -> bytes:
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


def padded_digest(digest: bytes) -> bytes:
    """Return the name of an image that ended too early and was made complete, from that of its bytes."""
    return hashlib.blake2b(digest, digest_size=DIGEST_SIZE, person=b"featx-padded").digest()
