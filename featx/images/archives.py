"""Zip and tar archives of images: what is in them, and its bytes, read where they lie and never unpacked."""

from __future__ import annotations

import abc
import collections
import contextlib
import functools
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, Literal

from featx.errors import ImageTooLargeError, SourceError, UnreachableImageError
from featx.system.formatting import format_bytes

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")
_ZIP = (b"PK\3\4", b"PK\5\6", b"PK\7\x08")
#: How a file begins that gzip, bzip2 or xz has written.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
#: Of a compressed tar, which can only be read from its beginning, so much is kept that was passed on the way.
_KEPT_BYTES = 256 * 2**20


def is_archive(path: str) -> bool:
    """Return whether a path is that of a file whose name is an archive's."""
    return path.lower().endswith(ARCHIVE_SUFFIXES) and os.path.isfile(path)


def split_archive_path(path: str) -> tuple[str, str] | None:
    """Return the archive and the name within it that a path such as ``photos.zip/cat/1.jpg`` means; None if none."""
    at = -1
    while (at := path.find("/", at + 1)) >= 0:
        if path[:at].lower().endswith(ARCHIVE_SUFFIXES) and os.path.isfile(path[:at]):
            return path[:at], path[at + 1 :]
    return None


def list_archive(archive: str) -> tuple[list[str], dict[str, int]]:
    """Return the names of the files in an archive, in its order, each once; and how many of its members are none.

    These are links to what is not in it, and names that lead out of it (``../``, absolute ones), by kind.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    try:
        opened = _opened(archive)
        damage = opened.damage
    except MemoryError:
        raise
    except Exception as error:  # whatever a library finds in a damaged archive
        damage = getattr(error, "strerror", None) or str(error)
    if damage:
        raise SourceError(
            f"The archive {archive!r} cannot be read: {damage}. Fetch it anew, or unpack what can be unpacked and "
            "point at the folder."
        )
    return list(opened.names), dict(+opened.left_out)  # without zeros


def read_member(archive: str, name: str, most_bytes: int) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a file in an archive, and the state of the archive.

    Raises
    ------
    UnreachableImageError
        The archive or this part of it cannot be read.
    ImageTooLargeError
        It has more than `most_bytes`.
    """
    try:
        state = os.stat(archive)
        return _opened(archive).read(name, most_bytes), state
    except KeyError:
        damage = _opened(archive).damage
        reason = f"the archive is damaged ({damage})" if damage else f"{archive!r} has no file {name!r}"
        raise UnreachableImageError(reason) from None
    except (UnreachableImageError, ImageTooLargeError):
        raise
    except MemoryError:
        raise
    except Exception as error:  # whatever a library finds in a damaged archive
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableImageError(f"this part of the archive cannot be read ({reason})") from error


def _opened(archive: str) -> _Archive:
    state = os.stat(archive)
    return _open(os.path.abspath(archive), state.st_size, state.st_mtime_ns, state.st_ino, os.getpid())


@functools.lru_cache(maxsize=8)
def _open(archive: str, *state: int) -> _Archive:
    with open(archive, "rb") as file:  # content decides what it is, whatever its name
        head = file.read(512)
    if head[257:262] == b"ustar":
        return _Tar(archive)
    if head.startswith(_ZIP) or (not head.startswith(_COMPRESSED) and zipfile.is_zipfile(archive)):
        return _Zip(archive)
    return _CompressedTar(archive) if head.startswith(_COMPRESSED) else _Tar(archive)


def _plain(name: str) -> str:
    """Return a name without ``./`` and the like, "" if it leads out of the archive."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "" if name.startswith("/") or ".." in parts else "/".join(parts)


class _Archive(abc.ABC):
    """An open archive, for any number of threads.

    Attributes
    ----------
    names : dict of str to object
        The files in it, and where each is.
    left_out : Counter
        How many of its members are no files of it, by kind.
    damage : str
        Why there may be more in it than could be listed; "" if it is whole.
    """

    names: dict[str, Any]
    damage: str = ""

    def __init__(self) -> None:
        self.names = {}
        self.left_out: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def _add(self, name: str, place: Any) -> None:
        """List a file; a later one of the same name takes its place, as when unpacking."""
        if plain := _plain(name):
            self.left_out["replaced by a later file of the same name"] += plain in self.names
            self.names[plain] = place
        else:
            self.left_out["leading out of the archive"] += 1

    def _add_members(self, path: str, mode: Literal["r:", "r:*"], place: Callable[[int, tarfile.TarInfo], Any]) -> None:
        """List the files of a tar."""
        with tarfile.open(path, mode) as tar:
            try:
                for at, member in enumerate(tar):
                    target = _plain(member.linkname) if member.islnk() else ""
                    if member.isreg() and not member.issparse() and member.size >= 0:
                        self._add(member.name, place(at, member))
                    elif target in self.names:  # a second name of a file that came before
                        self._add(member.name, self.names[target])
                    elif not member.isdir():
                        self.left_out["links and special files"] += 1
                self.damage = _damage_after(tar)
            except Exception as error:  # whatever tarfile finds in a damaged archive
                self.damage = str(error) or type(error).__name__

    @abc.abstractmethod
    def read(self, name: str, most_bytes: int) -> bytes:
        """Return the bytes of a file; KeyError if it is not there."""


def _damage_after(tar: tarfile.TarFile) -> str:
    """Return why there may be more in a tar than tarfile has listed, which takes a damaged header for the end."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    end = tar.fileobj.read(tarfile.BLOCKSIZE)
    if any(end):
        return f"there is no header of a file at byte {tar.offset:,}, where one should be"
    while tar.fileobj.read(2**20):  # what is compressed has its checksum at the end
        pass
    return ""


def _check_bytes(n_bytes: int, most_bytes: int) -> None:
    if n_bytes > most_bytes:
        raise ImageTooLargeError(f"it has {format_bytes(n_bytes)}, more than the limit of {format_bytes(most_bytes)}")


class _Zip(_Archive):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = zipfile.ZipFile(path)
        for info in self._file.infolist():
            if _is_link(info):
                self.left_out["links and special files"] += 1
            elif not info.is_dir():
                self._add(info.filename, info)

    def read(self, name: str, most_bytes: int) -> bytes:
        info = self.names[name]
        if info.flag_bits & 1:
            raise UnreachableImageError("it is encrypted")
        _check_bytes(info.file_size, most_bytes)
        with self._lock, self._file.open(info) as file:
            data = file.read(most_bytes + 1)  # whatever its header says of its size
        _check_bytes(len(data), most_bytes)
        return data


def _is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


class _Tar(_Archive):
    """A plain tar: each file is somewhere in it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._add_members(path, "r:", lambda at, member: (member.offset_data, member.size))
        self._file: IO[bytes] = open(path, "rb", buffering=0)  # noqa: SIM115  # for as long as the archive is in use

    def read(self, name: str, most_bytes: int) -> bytes:
        offset, size = self.names[name]
        _check_bytes(size, most_bytes)
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) < size:
            raise UnreachableImageError(f"the archive ends too early: {len(data):,} of {size:,} bytes are there")
        return data

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


class _CompressedTar(_Archive):
    """A compressed tar, which can only be read from the beginning: in its own order it is read once.

    What lies before the file that is wanted is kept, up to a limit: threads ask for neighbours in any order.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._passed: collections.OrderedDict[int, bytes] = collections.OrderedDict()
        self._passed_bytes = 0
        self._add_members(path, "r:*", lambda at, member: at)
        self._wanted = frozenset(self.names.values())
        self._members = self._walk()

    def _walk(self) -> Iterator[tuple[int, int, IO[bytes]]]:
        with tarfile.open(self._path, "r|*") as tar:
            for at, member in enumerate(tar):
                if at in self._wanted and (file := tar.extractfile(member)):
                    yield at, member.size, file

    def read(self, name: str, most_bytes: int) -> bytes:
        place = self.names[name]
        with self._lock:
            if place not in self._passed:
                self._go_to(place, most_bytes)
            data = self._passed.pop(place)
            self._passed_bytes -= len(data)
        return data

    def _go_to(self, place: int, most_bytes: int) -> None:
        for _ in range(2):  # to the end, and once more from the beginning
            for found, size, file in self._members:
                if found == place:
                    _check_bytes(size, most_bytes)
                if size <= most_bytes:
                    self._keep(found, file.read(), wanted=place)
                if found == place:
                    return
            self._members = self._walk()
        raise UnreachableImageError("the archive has changed while it was read")

    def _keep(self, place: int, data: bytes, wanted: int) -> None:
        with contextlib.suppress(KeyError):
            self._passed_bytes -= len(self._passed.pop(place))
        self._passed[place] = data
        self._passed_bytes += len(data)
        while self._passed_bytes > _KEPT_BYTES and next(iter(self._passed)) != wanted:
            self._passed_bytes -= len(self._passed.popitem(last=False)[1])
