"""The side index: which file had which digest, so that an unchanged file is not read again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sqlite3
import stat
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from featx.errors import StoreWarning
from featx.store.layout import DAMAGED
from featx.system.formatting import format_count

#: A file touched this recently may change again without its time stamp moving (as git's "racy" files).
RACY_SECONDS = 2.0
_SEAL_SIZE = 8
_CHECK_SIZE = 4
_COMMIT_AFTER = 10_000
_ASKED_AT_ONCE = 500
_TROUBLE = (sqlite3.Error, ValueError)
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "Another process holds it; when that is done, it is used again.",
    sqlite3.SQLITE_IOERR: "Look after the disk.",
}
_NO_DAMAGE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


class DigestIndex:
    """Map the path and state of a file to the digest of its bytes.

    An accelerator only: whatever is wrong with it (missing, damaged, locked, read-only) costs reading
    the files again, never a wrong digest. Each entry is sealed with a hash of the path, the file's
    size, inode and times, and the digest, so a changed file and a damaged entry both miss.

    Parameters
    ----------
    path : Path
        The SQLite file; made when first written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._new: dict[bytes, tuple[bytes, bytes]] = {}
        self._usable = True

    def find(self, states: Iterable[tuple[str, os.stat_result]]) -> list[bytes | None]:
        """Return the digest of each file in the given state, None where it is not known."""
        entries = [(os.fsencode(os.path.abspath(path)), state) for path, state in states]
        if not self._usable or (self._connection is None and not os.path.lexists(self._path)):
            return [None] * len(entries)
        try:
            known = self._entries([key for key, _ in entries])
        except _TROUBLE as error:
            self._give_up(error)
            return [None] * len(entries)
        return [_unsealed(key, state, *known.get(key, (None, None))) for key, state in entries]

    def _entries(self, keys: list[bytes]) -> dict[bytes, tuple[object, object]]:
        found: dict[bytes, tuple[object, object]] = {}
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            block = keys[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(block))
            query = f"SELECT path, digest, seal FROM files WHERE path IN ({marks})"  # noqa: S608  # only question marks
            for key, digest, seal in self._connected().execute(query, block):
                found[key] = (digest, seal)
        return found

    def check(self) -> IndexCheck:
        """Read the whole index without changing it."""
        if not os.path.lexists(self._path):
            return IndexCheck(0)
        if not _is_regular(self._path):
            return IndexCheck(0, "not a regular file", is_damage=True)
        try:
            said = str(next(self._asked("PRAGMA quick_check(1)"))[0])
            entries, damaged = 0, 0
            for entry in self._asked("SELECT path, digest, seal FROM files"):
                entries += 1
                damaged += not _is_whole(*entry)
        except _TROUBLE as error:
            return IndexCheck(0, str(error), _is_damage(error))
        if said == "ok" and damaged:
            said = f"{format_count(damaged, 'entry')} of {entries:,} do not match their seals"
        return IndexCheck(entries) if said == "ok" else IndexCheck(entries, said, is_damage=True)

    def _asked(self, question: str) -> Iterator[tuple[Any, ...]]:
        address = f"{self._path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=1)) as opened:
            yield from opened.execute(question)

    def add(self, path: str, state: os.stat_result, digest: bytes, read_at: float) -> None:
        """Remember the digest of a file that was in this state while it was read, not before `read_at`."""
        if self._usable and read_at - max(state.st_mtime, state.st_ctime) >= RACY_SECONDS:
            key = os.fsencode(os.path.abspath(path))
            self._new[key] = (digest, _seal(key, state, digest))
            if len(self._new) >= _COMMIT_AFTER:
                self.commit()

    def commit(self) -> None:
        """Write what was added, if the cache folder is there."""
        if not self._new or not self._usable or not os.path.isdir(self._path.parent):
            return
        rows = [(key, digest, seal) for key, (digest, seal) in self._new.items()]
        try:
            with self._connected() as transaction:
                transaction.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
        except _TROUBLE as error:
            self._give_up(error)
        self._new.clear()

    def close(self) -> None:
        """Write what was added and close the file."""
        self.commit()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            if os.path.lexists(self._path) and not _is_regular(self._path):
                # A link might lead to a database that is somebody else's, and a pipe would be waited for.
                raise _NoFileError("not a regular file")
            self._connection = sqlite3.connect(self._path, timeout=2)
            # Losing recent entries in a power cut costs reading files again; waiting for the disk costs more.
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, digest BLOB, seal BLOB) WITHOUT ROWID"
            )
        return self._connection

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return  # the store, which matters more, says so; all that is lost is that files are read again
        remedy = _REMEDIES.get(code, "Unlock or remove it.")
        if _is_damage(error):
            self._disconnect()
            remedy = "Remove it."
            with contextlib.suppress(OSError):  # it stays, and is warned of again
                os.replace(self._path, f"{self._path}{DAMAGED}")
                remedy = f"It is set aside as '*{DAMAGED}'; the next run starts a new one."
            with contextlib.suppress(OSError):  # or SQLite would apply it to the new one
                os.unlink(f"{self._path}-journal")
        warnings.warn(
            f"The index {str(self._path)!r} cannot be used ({error}); files are read again. {remedy}",
            StoreWarning,
            stacklevel=2,
        )


@dataclasses.dataclass(frozen=True)
class IndexCheck:
    """What is to be said of an index.

    Attributes
    ----------
    entries : int
        Files whose digest is known.
    problem : str
        "" if there is none.
    is_damage : bool
        False if it cannot be looked at just now, which says nothing about it.
    """

    entries: int
    problem: str = ""
    is_damage: bool = False


class _NoFileError(sqlite3.OperationalError):
    """Something lies there that is no database and no file."""


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_damage(error: Exception) -> bool:
    """Tell a damaged file from one that is locked, that there is no permission for, or that the disk refuses."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # sqlite3 cannot even decode some of its own messages of damage
        return isinstance(error, ValueError | _NoFileError)
    return code & 0xFF not in _NO_DAMAGE


def _unsealed(key: bytes, state: os.stat_result, digest: object, seal: object) -> bytes | None:
    """Return the digest of an entry that is whole and of this state of the file, or None."""
    return digest if isinstance(digest, bytes) and _seal(key, state, digest) == seal else None


def _seal(key: bytes, state: os.stat_result, digest: bytes) -> bytes:
    """Hash what an entry stands for; the change time catches new bytes under a restored mtime."""
    numbers = b"%d %d %d %d %d " % (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
    own = hashlib.blake2b(numbers + digest + key, digest_size=_SEAL_SIZE).digest()
    return own + _check_of(key, digest, own)


def _check_of(key: bytes, digest: bytes, own: bytes) -> bytes:
    """Hash the entry itself, so that it can be checked without the file that it is of."""
    return hashlib.blake2b(own + digest + key, digest_size=_CHECK_SIZE).digest()


def _is_whole(key: object, digest: object, seal: object) -> bool:
    if not (isinstance(key, bytes) and isinstance(digest, bytes) and isinstance(seal, bytes)):
        return False
    return seal[_SEAL_SIZE:] == _check_of(key, digest, seal[:_SEAL_SIZE])
