"""Read images: the content of one image in any form, and the digest that identifies the content."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import numbers
import os
import stat
import time
import typing
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard

import numpy as np

from featx.errors import (
    ImageTooLargeError,
    InputError,
    OptionError,
    ResourceError,
    UnreachableImageError,
    UnreadableImageError,
)
from featx.images.arrays import as_pixels
from featx.images.containers.members import container_state, read_member, split_member_path
from featx.images.decode import MAX_PIXELS, Content, decode_pillow
from featx.images.image_lists import NamedImage, as_numpy
from featx.recipe import Window
from featx.system.files import remote
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import first_line, format_bytes
from featx.system.threads import lock_of

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: One image: a path, bytes of a file, a Pillow image, an array of pixels, an open file, or a dict of bytes and path.
Image: TypeAlias = "str | os.PathLike[str] | bytes | PILImage | np.ndarray[Any, Any] | IO[bytes] | Mapping[str, Any]"

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
        path = os.fspath(image) if is_path(image) else ""
        return cls(name=describe_image(image), path=path, read_at=time.time())


@dataclasses.dataclass(frozen=True)
class RefusedImage:
    """An image that must not be read.

    Attributes
    ----------
    reason : str
    """

    reason: str


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
    return [_restrict_one(image, allow) for image in images]


def _restrict_one(image: Any, allow: Sequence[str]) -> Any:
    if isinstance(image, NamedImage):
        return NamedImage(str(image), _AllowedImage(image, allow), 0)
    kind = _kind_of(image)
    if kind in allow or not kind:
        return image
    return RefusedImage(f"expected {' or '.join(allow)}, got a {kind}; other kinds are not allowed (allow=)")


class _AllowedImage(Sequence[Any]):
    """An image in a collection, which is checked when it is read: it may be a path."""

    def __init__(self, image: NamedImage, allow: Sequence[str]) -> None:
        self._image, self._allow = image, allow

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return _restrict_one(self._image.load(), self._allow)


def _kind_of(image: Any) -> str:
    """Return the kind of an image; "" for other objects."""
    if is_path(image):
        return "url" if is_remote_image(image) else "path"
    if isinstance(image, bytes | bytearray | memoryview) or hasattr(image, "read"):
        return "bytes"
    if isinstance(image, Mapping):
        return _kind_of(image.get("path") if image.get("bytes") is None else image["bytes"])
    is_array = hasattr(image, "__array__") and getattr(image, "shape", None) != ()  # a number of NumPy has no axes
    return "array" if is_array or hasattr(image, "getexif") or isinstance(image, NamedImage) else ""


def is_path(image: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Return whether an image is a path or URL, and not in memory."""
    return isinstance(image, str | os.PathLike) and not isinstance(image, NamedImage)


def is_in_memory(image: Any) -> bool:
    """Return whether an object is an image without a path."""
    return not is_path(image) and _kind_of(image) != ""


def describe_image(image: Any) -> str:
    """Return the name of an image for messages: its path, or a description of the object."""
    if isinstance(image, str | os.PathLike):
        return redact_secrets(str(os.fspath(image)))  # a plain str, which does not keep an image in memory
    if isinstance(image, bytes):
        return f"{len(image):,} bytes"
    if hasattr(image, "__array__") and hasattr(image, "shape"):
        return f"array of shape {tuple(image.shape)}"
    if isinstance(image, Mapping):
        return describe_image(image.get("path") or image.get("bytes"))
    if isinstance(image, RefusedImage):
        return "refused image"
    return str(image) if image is None or isinstance(image, numbers.Number) else type(image).__name__


def is_remote_image(image: Any) -> bool:
    """Return whether an image is a URL that is downloaded."""
    return is_path(image) and remote.is_url(os.fspath(image)) and remote.local_path(os.fspath(image)) is None


def read_image(
    image: Any, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES, window: Window | None = None
) -> tuple[Content, os.stat_result | None]:
    """Return the content of an image, and the state of its file.

    Parameters
    ----------
    image : path, URL, bytes, Pillow image, array, open file or dict
    max_pixels : int, default=178_956_970
        Maximum number of pixels of a Pillow image. Other images are checked when they are decoded.
    max_bytes : int, default=2**30
        Maximum number of bytes of a file or URL.
    window : Window or None, default=None
        Values of a Pillow image or array, see :func:`featx.images.decode.decode_image`. Files are scaled when they are
        decoded.

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
    if isinstance(image, NamedImage):
        image = image.load()
    if isinstance(image, Mapping) and {"bytes", "path"} & set(image):  # as datasets of Hugging Face store images
        image = image.get("path") if image.get("bytes") is None else image["bytes"]
    if isinstance(image, str) and image.startswith("data:"):
        raise UnreadableImageError(no_path_reason(image))
    if isinstance(image, str) and remote.is_url(image):
        path = remote.local_path(image)
        return (remote.read_url(image, max_bytes), None) if path is None else _read_path(path, max_bytes, window)
    if isinstance(image, str | os.PathLike):
        return _read_path(os.fspath(image), max_bytes, window)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image), None
    if hasattr(image, "getexif"):
        return decode_pillow(image, max_pixels, window), None
    if hasattr(image, "read"):
        return _read_stream(image, max_bytes), None
    if hasattr(image, "__array__"):
        return _read_array(image, window), None
    if isinstance(image, RefusedImage):
        raise UnreadableImageError(image.reason)
    is_missing = (
        image is None or isinstance(image, float | np.floating) or type(image).__name__ in ("NAType", "NaTType")
    )
    kind = "a missing value" if is_missing else type(image).__name__
    if isinstance(image, list | tuple):
        kind += " (make an array of nested lists of pixels: numpy.array(image, dtype='uint8'))"
    raise UnreadableImageError(f"expected a path, bytes, a Pillow image or an array, got {kind}")


def _read_stream(file: Any, max_bytes: int) -> bytes:
    """Return the bytes of an open file from its beginning, whatever was read before."""
    try:
        with lock_of(file):  # a list may contain the same file twice
            if hasattr(file, "seek"):
                file.seek(0)
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise UnreachableImageError(getattr(error, "strerror", None) or str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # of another library
        raise UnreachableImageError(f"read() raised {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(data, bytes):
        raise UnreadableImageError(f"expected a file opened in binary mode, got {type(data).__name__} from read()")
    if len(data) > max_bytes:
        raise ImageTooLargeError(f"it has more than the limit of {format_bytes(max_bytes)}")
    return data


def _read_array(image: Any, window: Window | None) -> np.ndarray[Any, Any]:
    try:
        array = as_numpy(image)
    except InputError as error:
        raise UnreadableImageError(str(error)) from error
    if array.ndim == 0:  # a missing value of NumPy, or a number
        raise UnreadableImageError(f"expected a path, bytes, a Pillow image or an array, got {type(image).__name__}")
    return as_pixels(array, window)


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
        member = split_member_path(os.fspath(path))
        if member is None:
            raise
        return container_state(member[0])


def find_file_state(path: str) -> os.stat_result | None:
    """Return the state of a file as :func:`file_state` does; None for a URL and for a file that does not exist."""
    try:
        return None if remote.is_url(path) else file_state(path)
    except (OSError, ValueError):
        return None


def _read_path(path: str, max_bytes: int, window: Window | None) -> tuple[Content, os.stat_result]:
    content, state = _read_file(path, max_bytes)
    if isinstance(content, str):  # a table may have the path of a file instead of its bytes
        content, state = _read_file(content, max_bytes)
    return as_pixels(content, window) if isinstance(content, np.ndarray) else content, state


def _read_file(path: str, max_bytes: int) -> tuple[Any, os.stat_result]:
    try:
        for _ in range(_MAX_ATTEMPTS):
            data, before, after = _read_once(path, max_bytes)
            if len(data) == after.st_size and _is_unchanged(before, after):
                return data, after
    except (NotADirectoryError, FileNotFoundError) as error:
        member = split_member_path(path)
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
        if getattr(error, "errno", None) == errno.ENAMETOOLONG:
            raise UnreachableImageError(no_path_reason(path)) from error
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


def no_path_reason(path: str) -> str:
    """Return that text is no path, but probably an image in base64, such as a data: URL."""
    text = 'text.partition(",")[2]' if path.startswith("data:") else "text"
    decode = f"decode it with base64.b64decode({text})"
    return f"a text of {len(path):,} characters is no path; if it is an image in base64, {decode}"


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
