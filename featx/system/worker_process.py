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
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from featx.system.terminal.messages import show_messages

#: Time for a worker to store what it has computed before it is killed.
GRACE_SECONDS = 10.0
_PARENT_POLL_SECONDS = 0.5
#: Maximum time for a task to reach its process.
_SUBMIT_SECONDS = 2.0


class WorkerDiedError(Exception):
    """A worker process died. The message is its exit code."""


class WorkerProcess:
    """A process that runs one task after another, for its client.

    Parameters
    ----------
    environment : dict of str to str
        Additional environment variables of the process.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._pool = ProcessPoolExecutor(1, timeout=None, env=environment)
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._task: Future[Any] | None = None
        self._is_ending = False

    def start(self) -> None:
        """Start the process, or raise WorkerDiedError."""
        with _signals_blocked():
            self._pid = self.run(_start_worker, os.getpid(), _is_quiet())

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a function in the process; raise its error, or WorkerDiedError."""
        with self._lock:
            if self._is_ending:
                raise CancelledError
            self._task = task = self._pool.submit(function, *arguments)
        try:
            return task.result()
        except BrokenProcessPool as error:
            text = " ".join(str(error).split())
            codes = text.partition("exit codes of the workers are")[2].partition("}")[0].strip(" {}.")
            raise WorkerDiedError(codes or text[:200]) from error

    def terminate(self) -> Future[Any] | None:
        """Ask the process to store its rows and end; return the task that it is at, if any."""
        with self._lock:
            self._is_ending = True
            task = self._task
        if task is None:
            return None
        deadline = time.monotonic() + _SUBMIT_SECONDS
        while not (task.running() or task.done()) and time.monotonic() < deadline:
            time.sleep(0.01)  # loky fails if its process is killed before it has passed the task on
        if self._pid is None or not task.running():
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        return task

    def shutdown(self, *, kill: bool) -> None:
        """End the process, at once or after its task."""
        self._pool.shutdown(wait=True, kill_workers=kill)


class _WorkerState:
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


_state = _WorkerState()


def _start_worker(client: int, quiet: bool | None) -> int:
    """Set up this process as a worker of the process `client`; return its number."""
    return _state.start(client, quiet)


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM interrupt the block; a worker process ends when the block has cleaned up."""
    return _state.interruptible()


def _is_quiet() -> bool | None:
    """Return whether this process shows no messages; None if the application configures the logger of featx."""
    log = logging.getLogger("featx")
    return log.level > logging.INFO if log.handlers else None


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals in a new process, which inherits this, until :func:`_start_worker` has set up its handlers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
