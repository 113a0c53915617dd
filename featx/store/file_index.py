"""File index: path and state of a file → digest of its bytes, so that unchanged files are not read again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sqlite3
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path

from featx.errors import StoreWarning
from featx.store.layout import CORRUPT_SUFFIX, quarantine
from featx.system.formatting import format_count

_STATE_BYTES = 8
_ENTRY_BYTES = 4
_COMMIT_ENTRIES = 10_000
_QUERY_PATHS = 500
_ERRORS = (sqlite3.Error, ValueError)
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "Another process is using it. It is used again when that process is done.",
    sqlite3.SQLITE_IOERR: "Check the disk.",
}
#: SQLite errors that do not show a corrupt file.
_NOT_CORRUPT = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


class FileIndex:
    """Map the path and state of a file to the digest of its bytes.

    The index only saves time. If it is missing, corrupt, locked or read-only, files are read again. Each entry has a
    checksum of path, size, inode, times and digest, so that a changed file or a corrupt entry is never used.

    Parameters
    ----------
    path : Path
        Path of the SQLite file, which the first commit creates.
    read_only : bool, default=False
        Whether nothing is changed: nothing is added, and a corrupt file stays where it is.

    Attributes
    ----------
    racy_seconds : float, default=2.0
        A file that was modified less than this before it was read may change again with the same time stamps, and is
        not added (as for git's "racy" files).
    """

    racy_seconds = 2.0

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._pending: dict[bytes, tuple[bytes, bytes]] = {}
        self._is_usable = True

    def find(self, states: Iterable[tuple[str, os.stat_result]]) -> list[bytes | None]:
        """Return the digest of each file, or None if it is not known for this state of the file.

        Parameters
        ----------
        states : iterable of (str, os.stat_result)
            Path and state of each file.
        """
        entries = [(os.fsencode(os.path.abspath(path)), state) for path, state in states]
        if not self._is_usable or (self._connection is None and not os.path.lexists(self._path)):
            return [None] * len(entries)
        try:
            known = self._read_entries([key for key, _ in entries])
        except _ERRORS as error:
            self._disable(error)
            return [None] * len(entries)
        return [_verified_digest(key, state, *known.get(key, (None, None))) for key, state in entries]

    def _read_entries(self, keys: list[bytes]) -> dict[bytes, tuple[object, object]]:
        entries: dict[bytes, tuple[object, object]] = {}
        if self._read_only and not _has_table(self._connect()):  # an index of an older version, or an empty file
            return entries
        for start in range(0, len(keys), _QUERY_PATHS):
            block = keys[start : start + _QUERY_PATHS]
            marks = ",".join("?" * len(block))
            query = f"SELECT path, digest, checksum FROM file_digests WHERE path IN ({marks})"  # noqa: S608
            for key, digest, checksum in self._connect().execute(query, block):
                entries[key] = (digest, checksum)
        return entries

    def check(self) -> IndexCheck:
        """Read the whole index without changing it."""
        if not os.path.lexists(self._path):
            return IndexCheck(0)
        if not _is_regular_file(self._path):
            return IndexCheck(0, "not a regular file", is_corrupt=True)
        n_entries, n_corrupt = 0, 0
        try:
            with contextlib.closing(self._open_read_only()) as connection:
                result = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
                if _has_table(connection):  # an index of an older version has none
                    for entry in connection.execute("SELECT path, digest, checksum FROM file_digests"):
                        n_entries += 1
                        n_corrupt += not _is_intact(*entry)
        except _ERRORS as error:
            return IndexCheck(0, str(error), _is_corrupt(error))
        if result == "ok" and n_corrupt:
            result = f"the checksums of {format_count(n_corrupt, 'entry')} of {n_entries:,} do not match"
        return IndexCheck(n_entries) if result == "ok" else IndexCheck(n_entries, result, is_corrupt=True)

    def _open_read_only(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)

    def add(self, path: str, state: os.stat_result, digest: bytes, read_at: float) -> None:
        """Add the digest of a file.

        Parameters
        ----------
        path : str
        state : os.stat_result
            State of the file while it was read.
        digest : bytes
        read_at : float
            Time at which reading began, in seconds since the epoch.
        """
        if self._is_usable and read_at - max(state.st_mtime, state.st_ctime) >= self.racy_seconds:
            key = os.fsencode(os.path.abspath(path))
            self._pending[key] = (digest, _checksum(key, state, digest))
            if len(self._pending) >= _COMMIT_ENTRIES:
                self.commit()

    def commit(self) -> None:
        """Write the added entries, if the cache folder exists."""
        if self._read_only or not self._pending or not self._is_usable or not os.path.isdir(self._path.parent):
            return
        rows = [(key, digest, checksum) for key, (digest, checksum) in self._pending.items()]
        try:
            with self._connect() as transaction:
                transaction.executemany("INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?)", rows)
        except _ERRORS as error:
            self._disable(error)
        self._pending.clear()

    def discard(self) -> None:
        """Forget the added entries."""
        self._pending.clear()

    def close(self) -> None:
        """Write the added entries and close the file."""
        self.commit()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            if os.path.lexists(self._path) and not _is_regular_file(self._path):
                # A link may lead to another database, and a pipe would block.
                raise _NotAFileError("not a regular file")
            if self._read_only:
                self._connection = self._open_read_only()
                return self._connection
            self._connection = sqlite3.connect(self._path, timeout=2)
            # Losing the last entries in a power failure costs less than waiting for the disk.
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS file_digests (path BLOB PRIMARY KEY, digest BLOB, checksum BLOB) "
                "WITHOUT ROWID"
            )
        return self._connection

    def _disable(self, error: Exception) -> None:
        """Do not use the index any more in this process; quarantine it if it is corrupt; issue a warning."""
        self._is_usable = False
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return  # the store reports the full disk
        remedy = _REMEDIES.get(code, "Fix its permissions, or remove it.")
        if self._read_only and code == sqlite3.SQLITE_READONLY:
            remedy = "A killed process did not finish it; the next call that adds to the cache repairs it."
        if _is_corrupt(error):
            self._disconnect()
            remedy = "Remove it."
        if _is_corrupt(error) and not self._read_only:
            with contextlib.suppress(OSError):  # it stays, and the next run warns again
                quarantine(self._path)
                remedy = f"It was renamed to *{CORRUPT_SUFFIX}, and the next run creates a new one."
            with contextlib.suppress(OSError):  # SQLite would apply it to the new index
                os.unlink(f"{self._path}-journal")
        warnings.warn(
            f"Cannot use the file index {str(self._path)!r}: {error}. All files are read again. {remedy}",
            StoreWarning,
            stacklevel=2,
        )


@dataclasses.dataclass(frozen=True)
class IndexCheck:
    """Result of :meth:`FileIndex.check`.

    Attributes
    ----------
    entries : int
        Number of files in the index.
    problem : str
        Why the index cannot be used; "" if it can.
    is_corrupt : bool
        Whether the index is corrupt. False if it cannot be read now.
    """

    entries: int
    problem: str = ""
    is_corrupt: bool = False


def _has_table(connection: sqlite3.Connection) -> bool:
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'file_digests'"
    return bool(connection.execute(query).fetchone()[0])


class _NotAFileError(sqlite3.OperationalError):
    """The path of the index is not a regular file."""


def _is_regular_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_corrupt(error: Exception) -> bool:
    """Return whether an error shows a corrupt file, not one that is locked, protected or on a failing disk."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # sqlite3 cannot decode some of its own messages about corruption
        return isinstance(error, ValueError | _NotAFileError)
    return code & 0xFF not in _NOT_CORRUPT


def _verified_digest(key: bytes, state: os.stat_result, digest: object, checksum: object) -> bytes | None:
    """Return the digest of an entry if its checksum matches this state of the file."""
    return digest if isinstance(digest, bytes) and _checksum(key, state, digest) == checksum else None


def _checksum(key: bytes, state: os.stat_result, digest: bytes) -> bytes:
    """Return the checksum of an entry. The change time detects new bytes under a restored modification time."""
    numbers = b"%d %d %d %d %d " % (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
    state_checksum = hashlib.blake2b(numbers + digest + key, digest_size=_STATE_BYTES).digest()
    return state_checksum + _entry_checksum(key, digest, state_checksum)


def _entry_checksum(key: bytes, digest: bytes, state_checksum: bytes) -> bytes:
    """Return the part of the checksum that can be verified without the file."""
    return hashlib.blake2b(state_checksum + digest + key, digest_size=_ENTRY_BYTES).digest()


def _is_intact(key: object, digest: object, checksum: object) -> bool:
    if not (isinstance(key, bytes) and isinstance(digest, bytes) and isinstance(checksum, bytes)):
        return False
    return checksum[_STATE_BYTES:] == _entry_checksum(key, digest, checksum[:_STATE_BYTES])
