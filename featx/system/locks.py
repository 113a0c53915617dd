"""Processes that share cores take turns at computing rows: each row once, and one network at a time on the cores."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: processes do not wait for each other there, and may compute a row twice
    fcntl = None  # type: ignore[assignment]

#: A turn is given up after this many seconds, if somebody waits.
TURN_SECONDS = 2.0
#: A holder that shows no sign of life for so long is stopped or stuck: then nobody waits for it any more.
PATIENCE_SECONDS = 30.0
_SIGN_SECONDS = 1.0
_ASK_AGAIN = 0.02

_log = logging.getLogger("featx")
#: Queues whose holder this process has lost patience with, and its last sign of life.
_stuck: dict[Path, int] = {}


class Turns:
    """A queue of the processes of one user, on the same cores of one machine.

    It needs no cooperation of a file system that machines share, and a process that dies holds nothing: the system
    frees its lock. Where locks cannot be had, everybody has the turn always.

    Parameters
    ----------
    name : str
        Those with the same name wait for each other.
    """

    def __init__(self, name: str) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        # One of 256 names: lock files stay, and two queues that share one do no harm.
        self._path = Path(tempfile.gettempdir()) / f"featx-{_user()}-{_token(f'{name} {cores}', 1)}"
        self._held: int | None = None
        self._since = 0.0
        self._signed = 0.0
        self._not_before = 0.0
        self._is_mine = False

    @property
    def is_mine(self) -> bool:
        """Whether it is this one's turn."""
        return self._is_mine

    def take(self) -> None:
        """Wait for the turn."""
        self._is_mine = True
        if fcntl is not None:
            with contextlib.suppress(OSError):
                self._wait()
        self._since = time.monotonic()

    def _wait(self) -> None:
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        turn = self._path.with_suffix(".turn")
        shown: int | None = None
        try:
            while True:
                self._held = _lock(turn, exclusive=True)
                if self._held is not None:
                    self._sign()
                    return
                if shown is None:  # a holder who is just looking whether somebody waits is in the way for a moment
                    shown = _lock(self._path.with_suffix(".waiting"), exclusive=False)
                sign = os.stat(turn).st_mtime_ns
                if _stuck.get(turn) == sign:
                    return
                if time.time() - sign / 1e9 > PATIENCE_SECONDS:
                    _stuck[turn] = sign
                    _log.warning(
                        "Another featx process has held this machine's cores for %.0f s without going on; this one no "
                        "longer waits for it. Is one stopped (Ctrl-Z) or stuck?",
                        PATIENCE_SECONDS,
                    )
                    return
                time.sleep(_ASK_AGAIN)
        finally:
            _unlock(shown)

    def _sign(self) -> None:
        """Show those who wait that this process is alive: by the time of the file."""
        now = time.monotonic()
        if self._held is not None and now - self._signed >= _SIGN_SECONDS:
            self._signed = now
            os.utime(self._held)

    @property
    def should_be_given_up(self) -> bool:
        """Whether the turn has lasted long enough, and somebody waits."""
        if self._held is None:
            return False
        try:
            self._sign()
            if time.monotonic() - self._since < TURN_SECONDS:
                return False
            alone = _lock(self._path.with_suffix(".waiting"), exclusive=True)
        except OSError:
            return False
        _unlock(alone)
        return alone is None

    def give_up(self) -> None:
        """Let the next one have it."""
        if self._held is not None:
            _unlock(self._held)
            self._held = None
            self._signed = 0.0
            self._not_before = time.monotonic() + 3 * _ASK_AGAIN  # whoever waits has asked by then
        self._is_mine = False


@contextlib.contextmanager
def alone(name: str) -> Iterator[bool]:
    """Tell whether nobody else of this machine is inside a block of this name; nobody waits."""
    path = Path(tempfile.gettempdir()) / f"featx-{_user()}-{_token(name, 8)}.alone"
    held: int | None = None
    is_alone = True
    if fcntl is not None:
        with contextlib.suppress(OSError):
            held = _lock(path, exclusive=True)
            is_alone = held is not None
    try:
        yield is_alone
    finally:
        _unlock(held)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _token(name: str, n_bytes: int) -> str:
    return hashlib.blake2b(name.encode(), digest_size=n_bytes).hexdigest()


def _lock(path: Path, *, exclusive: bool) -> int | None:
    """Return an open file that holds the lock, None if another one has it; never wait."""
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


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would leave it to a process forked meanwhile
        os.close(descriptor)
