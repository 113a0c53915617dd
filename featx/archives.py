"""Zip and tar archives of images: what is in them, and its bytes, read where they lie and never unpacked."""

from __future__ import annotations

import collections
import contextlib
import functools
import lzma
import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, Literal

from featx.errors import ImageTooLargeError, SourceError, UnreachableImageError
from featx.wording import in_bytes

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")
#: Of a compressed tar, which can only be read from its beginning, so much is kept that was passed on the way.
_KEPT_BYTES = 256 * 2**20
#: Whatever reading an archive raises if it is damaged.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(OSError, RuntimeError, NotImplementedError),
)


def is_archive(path: str) -> bool:
    """Return whether a path is that of a file whose name is an archive's."""
    return path.lower().endswith(SUFFIXES) and os.path.isfile(path)


def split(path: str) -> tuple[str, str] | None:
    """Return the archive and the name within it that a path such as ``photos.zip/cat/1.jpg`` means; None if none."""
    at = -1
    while (at := path.find("/", at + 1)) >= 0:
        if path[:at].lower().endswith(SUFFIXES) and os.path.isfile(path[:at]):
            return path[:at], path[at + 1 :]
    return None


def names(archive: str) -> list[str]:
    """Return the names of the files in an archive, as its writer has ordered them; each once.

    Names that lead out of the archive (``../``, absolute ones) and links are not among them.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    try:
        opened = _opened(archive)
        damage = opened.damage
    except _DAMAGED as error:
        damage = getattr(error, "strerror", None) or str(error)
    if damage:
        raise SourceError(
            f"The archive {archive!r} cannot be read: {damage}. Fetch it anew, or unpack what can be unpacked and "
            "point at the folder."
        )
    return list(opened.names)


def read(archive: str, name: str, most_bytes: int) -> tuple[bytes, os.stat_result]:
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
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreachableImageError(f"this part of the archive cannot be read ({reason})") from error


def _opened(archive: str) -> _Archive:
    state = os.stat(archive)
    return _open(os.path.abspath(archive), state.st_size, state.st_mtime_ns, state.st_ino, os.getpid())


@functools.lru_cache(maxsize=8)
def _open(archive: str, *state: int) -> _Archive:
    lower = archive.lower()
    if lower.endswith(".zip"):
        return _Zip(archive)
    return _Tar(archive) if lower.endswith(".tar") else _CompressedTar(archive)


def _is_safe(name: str) -> bool:
    return bool(name) and not name.startswith("/") and ".." not in PurePosixPath(name.replace("\\", "/")).parts


class _Archive:
    """An open archive, for any number of threads.

    Attributes
    ----------
    names : dict of str to object
        The files in it, and where each is.
    damage : str
        Why there may be more in it than could be listed; "" if it is whole.
    """

    names: dict[str, Any]
    damage: str = ""

    def read(self, name: str, most_bytes: int) -> bytes:
        """Return the bytes of a file; KeyError if it is not there."""
        raise NotImplementedError


def _check_bytes(n_bytes: int, most_bytes: int) -> None:
    if n_bytes > most_bytes:
        raise ImageTooLargeError(f"it has {in_bytes(n_bytes)}, more than the limit of {in_bytes(most_bytes)}")


class _Zip(_Archive):
    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._file = zipfile.ZipFile(path)
        self.names = {info.filename: info for info in self._file.infolist() if not info.is_dir()}
        self.names = {name: info for name, info in self.names.items() if _is_safe(name) and not _is_link(info)}

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
        self._lock = threading.Lock()
        members, self.damage = _members(path, "r:")
        self.names = {one.name: (one.offset_data, one.size) for _, one in members}
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


def _members(path: str, mode: Literal["r:", "r:*"]) -> tuple[list[tuple[int, tarfile.TarInfo]], str]:
    """Return the regular files of a tar with their places in its order, and why there may be more of them."""
    found = []
    with tarfile.open(path, mode) as tar:
        try:
            for at, member in enumerate(tar):
                if member.isreg() and not member.issparse() and _is_safe(member.name):
                    found.append((at, member))
        except _DAMAGED as error:
            return found, str(error) or type(error).__name__
    return found, ""


class _CompressedTar(_Archive):
    """A compressed tar, which can only be read from the beginning: in its own order it is read once.

    What lies before the file that is wanted is kept, up to a limit: threads ask for neighbours in any order.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._passed: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._passed_bytes = 0
        members, self.damage = _members(path, "r:*")
        self.names = {one.name: at for at, one in members}  # of several with one name the last, as unpacking leaves
        self._members = self._walk()

    def _walk(self) -> Iterator[tuple[str, int, IO[bytes]]]:
        with tarfile.open(self._path, "r|*") as tar:
            for at, member in enumerate(tar):
                if self.names.get(member.name) == at and (file := tar.extractfile(member)):
                    yield member.name, member.size, file

    def read(self, name: str, most_bytes: int) -> bytes:
        if name not in self.names:
            raise KeyError(name)
        with self._lock:
            if name not in self._passed:
                self._go_to(name, most_bytes)
            data = self._passed.pop(name)
            self._passed_bytes -= len(data)
        return data

    def _go_to(self, name: str, most_bytes: int) -> None:
        for _ in range(2):  # to the end, and once more from the beginning
            for found, size, file in self._members:
                if found == name:
                    _check_bytes(size, most_bytes)
                if size <= most_bytes:
                    self._keep(found, file.read(), wanted=name)
                if found == name:
                    return
            self._members = self._walk()
        raise UnreachableImageError("the archive has changed while it was read")

    def _keep(self, name: str, data: bytes, wanted: str) -> None:
        with contextlib.suppress(KeyError):
            self._passed_bytes -= len(self._passed.pop(name))
        self._passed[name] = data
        self._passed_bytes += len(data)
        while self._passed_bytes > _KEPT_BYTES and next(iter(self._passed)) != wanted:
            self._passed_bytes -= len(self._passed.popitem(last=False)[1])
