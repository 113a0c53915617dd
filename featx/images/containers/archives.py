"""Read images in zip and tar archives without unpacking them."""

from __future__ import annotations

import abc
import collections
import functools
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, Literal

from featx.errors import ImageTooLargeError, SourceError, UnreachableImageError
from featx.images.containers.sequential import MAX_BUFFERED_BYTES, Item, SequentialReader, check_n_bytes
from featx.images.containers.zip_names import ZIP_ENCODINGS, checked_zip_encoding, decode_zip_name
from featx.system.formatting import first_line, format_count

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz")
_ZIP_SIGNATURES = (b"PK\3\4", b"PK\5\6", b"PK\7\x08")
#: Signatures of gzip, bzip2 and xz.
_COMPRESSED_SIGNATURES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")


def is_archive(path: str) -> bool:
    """Return whether a path is a file with the suffix of an archive."""
    return path.lower().endswith(ARCHIVE_SUFFIXES) and os.path.isfile(path)


def split_archive_path(path: str) -> tuple[str, str] | None:
    """Return the archive and the member of a path such as ``photos.zip/cat/1.jpg``. None: no part is an archive."""
    slash = path.find("/")
    while slash >= 0:
        if is_archive(path[:slash]):
            return path[:slash], path[slash + 1 :]
        slash = path.find("/", slash + 1)
    return None


def list_archive(archive: str, zip_encoding: str | None = None) -> tuple[list[str], dict[str, int], list[str]]:
    """Return the files in an archive, how many members were ignored, and notes.

    Parameters
    ----------
    archive : str
    zip_encoding : str or None, default=None
        Encoding of names in a zip archive that are neither declared nor valid UTF-8. None: that of the system.

    Returns
    -------
    names : list of str
        Names in the order of the archive, without duplicates.
    ignored : dict of str to int
        Number of ignored members by kind: links that lead nowhere, special files, and names outside of the archive
        (absolute ones, and those with ``..``).
    notes : list of str
        How names that are in no known encoding are read.

    Raises
    ------
    SourceError
        The archive cannot be read.
    OptionError
        `zip_encoding` is unknown.
    """
    encoding = None if zip_encoding is None else checked_zip_encoding(zip_encoding)
    try:
        opened = _open_archive(archive)
        problem = opened.problem
    except MemoryError:
        raise
    except Exception as error:  # libraries raise many types for corrupt archives
        problem = getattr(error, "strerror", None) or first_line(error)
    if problem:
        raise SourceError(
            f"Cannot read archive {archive!r}: {problem}. Download or create it again, or unpack what can be unpacked "
            "and pass the folder."
        )
    ignored = {kind: count for kind, count in opened.ignored.items() if count}
    names, notes = opened.names_in(encoding) if isinstance(opened, Zip) else (list(opened.names), [])
    return names, ignored, [f"{archive!r}: {note}" for note in notes]


def has_member(archive: str, name: str) -> bool:
    """Return whether a file is in an archive."""
    try:
        return _open_archive(archive).has(name)
    except MemoryError:
        raise
    except Exception:  # libraries raise many types for corrupt archives; reading the file reports the reason
        return False


def read_member(archive: str, name: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a file in an archive, and the state of the archive.

    Raises
    ------
    UnreachableImageError
        The archive or this part of it cannot be read.
    ImageTooLargeError
        The file has more than `max_bytes`.
    """
    try:
        state = os.stat(archive)
        return _open_archive(archive).read(name, max_bytes), state
    except KeyError:
        problem = _open_archive(archive).problem
        reason = f"the archive is corrupt ({problem})" if problem else f"{archive!r} contains no file {name!r}"
        raise UnreachableImageError(reason) from None
    except (UnreachableImageError, ImageTooLargeError, MemoryError):
        raise
    except Exception as error:  # libraries raise many types for corrupt archives
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UnreachableImageError(f"this part of the archive cannot be read ({reason})") from error


def _open_archive(archive: str) -> _Archive:
    state = os.stat(archive)
    return _open_cached(os.path.abspath(archive), state.st_size, state.st_mtime_ns, state.st_ino, os.getpid())


@functools.lru_cache(maxsize=8)
def _open_cached(archive: str, *state: int) -> _Archive:
    """Open an archive. `state` makes a changed archive, or one of another process, be opened again."""
    with open(archive, "rb") as file:  # the content decides the format, not the suffix
        head = file.read(512)
    if head[257:262] == b"ustar":
        return _Tar(archive)
    if head.startswith(_ZIP_SIGNATURES) or (
        not head.startswith(_COMPRESSED_SIGNATURES) and zipfile.is_zipfile(archive)
    ):
        return Zip(archive)
    return CompressedTar(archive) if head.startswith(_COMPRESSED_SIGNATURES) else _Tar(archive)


def _normalize_name(name: str) -> str:
    """Return a name without ``./`` and the like. Empty: it leads out of the archive."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "" if name.startswith("/") or ".." in parts else "/".join(parts)


class _Archive(abc.ABC):
    """An open archive, for any number of threads.

    Attributes
    ----------
    names : dict of str to object
        Name and place of each file.
    ignored : Counter
        Number of ignored members by kind.
    problem : str
        Reason why files may be missing in `names`. Empty: the archive is complete.
    """

    names: dict[str, Any]
    problem: str = ""

    def __init__(self) -> None:
        self.names = {}
        self.ignored: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def _add(self, name: str, place: Any) -> None:
        """List a file. It replaces an earlier file of the same name, as in unpacking."""
        if normalized := _normalize_name(name):
            self.ignored["replaced by a later file of the same name"] += normalized in self.names
            self.names[normalized] = place
        else:
            self.ignored["outside of the archive"] += 1

    def _add_members(self, path: str, mode: Literal["r:", "r:*"], place: Callable[[int, tarfile.TarInfo], Any]) -> None:
        """List the files of a tar."""
        with tarfile.open(path, mode) as tar:
            try:
                for index, member in enumerate(tar):
                    target = _normalize_name(member.linkname) if member.islnk() else ""
                    if member.isreg() and not member.issparse() and member.size >= 0:
                        self._add(member.name, place(index, member))
                    elif target in self.names:  # a hard link to an earlier file
                        self._add(member.name, self.names[target])
                    elif not member.isdir():
                        self.ignored["links and special files"] += 1
                self.problem = _problem_at_end(tar)
            except Exception as error:  # tarfile raises many types for corrupt archives
                self.problem = first_line(error)

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return name in self.names

    @abc.abstractmethod
    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a file. Raise KeyError if it does not exist."""


def _problem_at_end(tar: tarfile.TarFile) -> str:
    """Return why a tar may contain more files than tarfile listed, which takes a corrupt header for the end."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    end = tar.fileobj.read(tarfile.BLOCKSIZE)
    if any(end):
        return f"expected the header of a file at byte {tar.offset:,}"
    while tar.fileobj.read(2**20):  # compressed data has its checksum at the end
        pass
    return ""


class Zip(_Archive):
    """A zip archive."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = zipfile.ZipFile(path)
        self._undeclared: dict[str, bytes] = {}
        self._names_by_encoding: dict[str, dict[str, str]] = {}
        for info in self._file.infolist():
            if _is_link(info):
                self.ignored["links and special files"] += 1
            elif not info.is_dir():
                name, raw = decode_zip_name(info)
                self._add(name, info)
                if raw:
                    self._undeclared[_normalize_name(name)] = raw

    def names_in(self, encoding: str | None) -> tuple[list[str], list[str]]:
        """Return the names of all files if those in no known encoding have this one, and notes on them.

        Raises
        ------
        SourceError
            A name is not in this encoding.
        """
        if not self._undeclared:
            return list(self.names), []
        first = next(iter(self._undeclared))
        if encoding is None:
            note = (
                f"{format_count(len(self._undeclared), 'name')} in no declared encoding, such as {first!r}. If this is "
                'wrong, pass the encoding, for example zip_encoding="cp932" (--zip-encoding cp932) for Japanese.'
            )
            return list(self.names), [note]
        try:
            decoded = {_normalize_name(raw.decode(encoding)): name for name, raw in self._undeclared.items()}
        except UnicodeDecodeError:
            raise SourceError(
                f"Cannot read names of the archive in zip_encoding (--zip-encoding) {encoding}: {first!r} is not in "
                "this encoding. Pass another."
            ) from None
        renamed = {name: new for new, name in decoded.items()}
        return [renamed.get(name, name) for name in self.names], []

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return self._info(name) is not None

    def _info(self, name: str) -> zipfile.ZipInfo | None:
        """Return a file by its name, also by one that :meth:`names_in` returned for another encoding."""
        info: zipfile.ZipInfo | None = self.names.get(name)
        if info is not None or not self._undeclared:
            return info
        for encoding in ZIP_ENCODINGS:
            if encoding not in self._names_by_encoding:
                self._names_by_encoding[encoding] = {
                    _normalize_name(raw.decode(encoding, "replace")): known for known, raw in self._undeclared.items()
                }
            known = self._names_by_encoding[encoding].get(name)
            if known is not None:
                return self.names.get(known)
        return None

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a file. Raise KeyError if it does not exist."""
        info = self._info(name)
        if info is None:
            raise KeyError(name)
        if info.flag_bits & 1:
            raise UnreachableImageError("the file is encrypted")
        check_n_bytes(info.file_size, max_bytes)
        with self._lock, self._file.open(info) as file:
            data = file.read(max_bytes + 1)  # the declared size may be wrong
        check_n_bytes(len(data), max_bytes)
        return data


def _is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 16) & 0o170000 == 0o120000


class _Tar(_Archive):
    """A plain tar: files are read at their offset."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._add_members(path, "r:", lambda index, member: (member.offset_data, member.size))
        self._file: IO[bytes] = open(path, "rb", buffering=0)  # noqa: SIM115  # open as long as the archive is in use

    def read(self, name: str, max_bytes: int) -> bytes:
        offset, size = self.names[name]
        check_n_bytes(size, max_bytes)
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) < size:
            raise UnreachableImageError(f"the archive is truncated: it has {len(data):,} of {size:,} bytes of the file")
        return data

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


class CompressedTar(_Archive):
    """A compressed tar, which can be read only from its beginning: in its own order, it is read once.

    Parameters
    ----------
    path : str
    max_buffered_bytes : int, default=268_435_456
        See :class:`SequentialReader`.
    """

    def __init__(self, path: str, max_buffered_bytes: int = MAX_BUFFERED_BYTES) -> None:
        super().__init__()
        self._path = path
        self._add_members(path, "r:*", lambda index, member: index)
        self._indices = frozenset(self.names.values())
        self.reader = SequentialReader(self._walk, max_buffered_bytes=max_buffered_bytes)

    def _walk(self, start: int) -> Iterator[Item]:
        with tarfile.open(self._path, "r|*") as tar:
            for index, member in enumerate(tar):
                if index in self._indices and (file := tar.extractfile(member)):
                    yield Item(index, member.size, file.read)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a file. Raise KeyError if it does not exist."""
        data: bytes = self.reader.read(self.names[name], max_bytes)
        return data
