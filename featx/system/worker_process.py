"""Worker processes of this machine that end cleanly: they store what they have computed, and end with their client.

No library covers this: loky and ``concurrent.futures`` kill a worker at once, or let it finish its task, and a worker
whose client was killed goes on with its task.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

from featx.system.progress import show_messages

#: Time for a worker to store what it has computed before it is killed.
GRACE_SECONDS = 10.0
_PARENT_POLL_SECONDS = 0.5


class _WorkerProcess:
    """State of this process: whether it is a worker, is busy, and must end."""

    def __init__(self) -> None:
        self._is_busy = self._is_ending = self._is_worker = False

    def start(self, client: int, quiet: bool | None) -> int:
        """Set up a process that works for the process `client`; return its number."""
        self._is_worker = True
        if quiet is not None:
            show_messages(quiet)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes at once
        signal.signal(signal.SIGTERM, self._terminate)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        threading.Thread(target=self._end_with, args=(client,), daemon=True, name="featx-client").start()
        return os.getpid()

    def _terminate(self, number: int, frame: object) -> None:
        is_first, self._is_ending = not self._is_ending, True
        if self._is_busy and is_first:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let SIGTERM interrupt the block; a worker process ends when the block has cleaned up."""
        try:
            if self._is_ending:
                raise KeyboardInterrupt
            self._is_busy = True
            yield
        except KeyboardInterrupt:
            if self._is_worker:
                os._exit(1)
            raise
        finally:
            self._is_busy = False

    def _end_with(self, client: int) -> None:
        """End this process when its client has ended."""
        while os.getppid() == client:
            time.sleep(_PARENT_POLL_SECONDS)
        if self._is_busy:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
        os._exit(1)


_process = _WorkerProcess()


def start_worker(client: int, quiet: bool | None) -> int:
    """Set up this process as a worker of the process `client`; return its number."""
    return _process.start(client, quiet)


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM interrupt the block; a worker process ends when the block has cleaned up."""
    return _process.interruptible()


def is_quiet() -> bool | None:
    """Return whether this process shows no messages; None if the application configures the logger of featx."""
    log = logging.getLogger("featx")
    return log.level > logging.INFO if log.handlers else None


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Block signals in a new process, which inherits this, until :func:`start_worker` has set up its handlers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
