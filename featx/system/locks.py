"""Locks between the processes of one user on one machine."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from featx.errors import ResourceError
from featx.system.files.temporary import temporary_place

try:
    import fcntl
except ImportError:  # Windows: processes do not wait for each other and may compute a row twice
    fcntl = None  # type: ignore[assignment]

_POLL_SECONDS = 0.02

_log = logging.getLogger("featx")
#: Lock files whose holder this process no longer waits for, and the holder's last heartbeat.
_stale_heartbeats: dict[Path, int] = {}


class FairLock:
    """A lock that processes on the same cores hold one after the other, so that each row is computed once.

    The lock files lie in the temporary folder of the machine, so the lock does not depend on a shared file system. The
    operating system releases the lock of a process that dies. Where file locks are not available, :meth:`acquire`
    returns at once.

    The files remain: they are empty, at most 32, in one folder of the user, ``featx-UID``. A holder could not delete
    them safely, since a waiting process reads the heartbeat of the holder from the same file.

    Parameters
    ----------
    name : str
        Processes that use the same name wait for each other.

    Attributes
    ----------
    hold_seconds : float, default=2.0
        Time after which a holder should release the lock if another process waits.
    stale_seconds : float, default=30.0
        Age of the holder's last heartbeat after which other processes stop waiting for it.
    heartbeat_seconds : float, default=1.0
        Minimum time between two heartbeats.
    """

    hold_seconds = 2.0
    stale_seconds = 30.0
    heartbeat_seconds = 1.0

    def __init__(self, name: str) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        # One of 16 names: lock files are never deleted. Two locks that share one only wait longer than they must.
        stem = _lock_folder() / _digest(f"{name} {cores}", 1)[:1]
        self._path = stem.with_suffix(".lock")
        self._waiting_path = stem.with_suffix(".waiting")
        self._descriptor: int | None = None
        self._acquired_at = 0.0
        self._heartbeat_at = 0.0
        self._not_before = 0.0
        self._locked = False

    @property
    def locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._locked

    def acquire(self) -> None:
        """Wait for the lock."""
        self._locked = True
        if fcntl is not None:
            with contextlib.suppress(OSError):
                self._wait()
        self._acquired_at = time.monotonic()

    @property
    def should_release(self) -> bool:
        """Whether the lock has been held for `hold_seconds` and another process waits for it."""
        if self._descriptor is None:
            return False
        try:
            self._send_heartbeat()
            if time.monotonic() - self._acquired_at < self.hold_seconds:
                return False
            unclaimed = _lock_file(self._waiting_path, exclusive=True)
        except OSError:
            return False
        _unlock_file(unclaimed)
        return unclaimed is None

    def release(self) -> None:
        """Release the lock. The next :meth:`acquire` lets waiting processes go first."""
        if self._descriptor is not None:
            _unlock_file(self._descriptor)
            self._descriptor = None
            self._heartbeat_at = 0.0
            self._not_before = time.monotonic() + 3 * _POLL_SECONDS
        self._locked = False

    def _wait(self) -> None:
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        waiting: int | None = None
        try:
            while True:
                self._descriptor = _lock_file(self._path, exclusive=True)
                if self._descriptor is not None:
                    self._send_heartbeat()
                    return
                if waiting is None:  # None again while a holder checks whether a process waits
                    waiting = _lock_file(self._waiting_path, exclusive=False)
                if self._holder_is_stale():
                    return
                time.sleep(_POLL_SECONDS)
        finally:
            _unlock_file(waiting)

    def _holder_is_stale(self) -> bool:
        heartbeat = os.stat(self._path).st_mtime_ns
        if _stale_heartbeats.get(self._path) == heartbeat:
            return True
        if time.time() - heartbeat / 1e9 <= self.stale_seconds:
            return False
        _stale_heartbeats[self._path] = heartbeat
        _log.warning(
            "Another featx process has held the cores of this machine for %.0f s without progress. This process no "
            "longer waits for it. Check whether the other process is stopped (Ctrl-Z) or stuck.",
            self.stale_seconds,
        )
        return True

    def _send_heartbeat(self) -> None:
        """Set the modification time of the lock file, which waiting processes read."""
        now = time.monotonic()
        if self._descriptor is not None and now - self._heartbeat_at >= self.heartbeat_seconds:
            self._heartbeat_at = now
            os.utime(self._descriptor)


@contextlib.contextmanager
def try_lock(name: str) -> Iterator[bool]:
    """Yield whether this process got the lock `name`, without waiting; it is released when the block ends.

    Where file locks are not available, every process gets it. The lock file is deleted on release, by its holder alone:
    a process that opened it before looks whether it is still in its place.
    """
    path = _lock_folder() / f"{_digest(name, 8)}.lock"
    descriptor: int | None = None
    is_locked = True
    if fcntl is not None:
        with contextlib.suppress(OSError):
            descriptor = _lock_file(path, exclusive=True)
            while descriptor is not None and not _is_in_place(descriptor, path):
                _unlock_file(descriptor)
                descriptor = _lock_file(path, exclusive=True)
            is_locked = descriptor is not None
    try:
        yield is_locked
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                path.unlink()
            _unlock_file(descriptor)


@contextlib.contextmanager
def wait_lock(name: str, max_seconds: float = 600.0) -> Iterator[None]:
    """Hold the lock `name`. After `max_seconds`, the block runs without it: its holder may be stopped."""
    deadline = time.monotonic() + max_seconds
    while True:
        with try_lock(name) as is_locked:
            if is_locked or time.monotonic() > deadline:
                yield
                return
        time.sleep(_POLL_SECONDS)


def _is_in_place(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one with this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _lock_folder() -> Path:
    """Return the folder of lock files of this user; without one that can be written, processes do not wait.

    A folder of this name that another user made is not used: they could replace the files.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = temporary_place() / f"featx-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        is_own = folder.lstat().st_uid == user and not folder.is_symlink()
    except (ResourceError, OSError):
        return Path(os.devnull)
    return folder if is_own or os.name == "nt" else Path(os.devnull)


def _digest(name: str, n_bytes: int) -> str:
    return hashlib.blake2b(os.fsencode(name), digest_size=n_bytes).hexdigest()


def _lock_file(path: Path, *, exclusive: bool) -> int | None:
    """Return the descriptor of a locked file, or None if another process holds the lock. Never wait."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlock_file(descriptor: int | None) -> None:
    if descriptor is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing does not unlock if a forked process has the descriptor too
        os.close(descriptor)
