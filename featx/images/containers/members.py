"""Images in other files: paths such as ``photos.zip/cat/1.jpg``, ``table.parquet#3`` and ``data.npz#x_train/3``."""

from __future__ import annotations

import functools
import os
import re
from typing import Any

from featx.errors import ImageTooLargeError, ResourceError, UnreachableImageError, UnreadableImageError
from featx.images.containers import archives
from featx.images.containers.array_files import ArrayFile
from featx.images.containers.tables import ARROW_SUFFIXES, PARQUET_SUFFIXES, ArrowRows, ImageRows, ParquetRows
from featx.system.formatting import first_line

#: Of larger files that are in memory, fewer are kept.
_LARGE_FILE = 2**28
_ROW = re.compile(r"(?:.+/)?\d+", re.DOTALL)


def split_member_path(path: str) -> tuple[str, str] | None:
    """Return the file and the member of the path of an image in another file. None: no part is such a file.

    The member of a row begins with ``#``.
    """
    position = path.rfind("#")
    while position > 0:  # the name of an array or column may contain "#" and "/"
        container, row = path[:position], path[position + 1 :]
        if _ROW.fullmatch(row) and (os.path.isfile(container) or archives.split_archive_path(container)):
            return container, f"#{row}"
        position = path.rfind("#", 0, position)
    return archives.split_archive_path(path)


def has_member(container: str, name: str) -> bool:
    """Return whether an image is in a file."""
    if not name.startswith("#"):
        return archives.has_member(container, name)
    try:
        return open_rows(container).has(name[1:])
    except MemoryError:
        raise
    except Exception:  # libraries raise many types for corrupt files; reading the image reports the reason
        return False


def read_member(container: str, name: str, max_bytes: int) -> tuple[Any, os.stat_result]:
    """Return an image in another file, and the state of the file.

    Returns
    -------
    content : bytes, ndarray or str
        str: the path of a file that has the image.
    state : os.stat_result

    Raises
    ------
    UnreachableImageError
        The file or this part of it cannot be read.
    ImageTooLargeError
        The image has more than `max_bytes`.
    """
    if not name.startswith("#"):
        return archives.read_member(container, name, max_bytes)
    try:
        return open_rows(container).read(name[1:], max_bytes), container_state(container)
    except KeyError:
        raise UnreachableImageError(f"{container!r} contains no image {name[1:]!r}") from None
    except (UnreadableImageError, ImageTooLargeError, ResourceError, MemoryError):
        raise
    except Exception as error:  # libraries raise many types for corrupt files
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UnreachableImageError(f"this part of the file cannot be read ({reason})") from error


def container_state(container: str) -> os.stat_result:
    """Return the state of a file that has images, or of the archive that contains it."""
    member = None if os.path.isfile(container) else archives.split_archive_path(container)
    return os.stat(container if member is None else member[0])


def open_rows(container: str) -> ImageRows | ArrayFile:
    """Return an open table or file of arrays."""
    state = container_state(container)
    is_in_memory = not container.lower().endswith((*PARQUET_SUFFIXES, *ARROW_SUFFIXES, ".npz"))
    open_cached = _open_large_cached if is_in_memory and state.st_size > _LARGE_FILE else _open_cached
    return open_cached(os.path.abspath(container), state.st_size, state.st_mtime_ns, state.st_ino, os.getpid())


@functools.lru_cache(maxsize=8)
def _open_cached(container: str, *state: int) -> ImageRows | ArrayFile:
    """Open a file. `state` makes a changed file, or one of another process, be opened again."""
    return _open(container)


@functools.lru_cache(maxsize=2)
def _open_large_cached(container: str, *state: int) -> ImageRows | ArrayFile:
    return _open(container)


def _open(container: str) -> ImageRows | ArrayFile:
    name = container.lower()
    if name.endswith(PARQUET_SUFFIXES):
        return ParquetRows(container)
    if name.endswith(ARROW_SUFFIXES):
        return ArrowRows(container)
    return ArrayFile(container)
