"""Run the tasks of a job in processes of this machine, which store what they have computed before they end.

No library covers this: loky and ``concurrent.futures`` kill a worker at once, or let it finish its task; a worker whose
client was killed goes on with its task; and if one process of a pool dies, all of them end, and the task that was
running is unknown. So each process is a pool of its own.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from joblib.externals.loky.process_executor import BrokenProcessPool

from featx.jobs.running.executors import TaskExecutor, WorkerLostError
from featx.system.processes import make_process_pool, n_cores
from featx.system.terminal.messages import show_messages

#: Time for a worker to store what it has computed before it is killed.
GRACE_SECONDS = 10.0
_PARENT_POLL_SECONDS = 0.5
#: Maximum time for a task to reach its process.
_SUBMIT_SECONDS = 2.0
#: Variables that limit the threads of numerical libraries.
_THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)


class LocalExecutor(TaskExecutor):
    """Executor that runs each task in an idle process, or in a new one; a context manager."""

    def __init__(self, n_jobs: int) -> None:
        self.max_pending = n_jobs if n_jobs > 0 else max(1, n_cores() + 1 + n_jobs)
        n_threads = str(max(1, n_cores() // self.max_pending))
        self._environment = dict.fromkeys(_THREAD_VARIABLES, n_threads) if self.max_pending > 1 else {}
        self._workers: list[_Worker] = []

    def submit(self, function: Callable[[Any], Any], task: Any) -> concurrent.futures.Future[Any]:
        """Return the future of a task; at most `max_pending` are pending."""
        worker = next((worker for worker in list(self._workers) if worker.task is None), None)
        if worker is None:
            self._workers.append(worker := _Worker(self._environment))
        return worker.submit(function, task, self._workers.remove)

    def convert(self, error: BaseException) -> BaseException:
        """Return the error of a task: WorkerLostError if its process died."""
        if not isinstance(error, BrokenProcessPool):
            return error
        text = " ".join(str(error).split())
        codes = text.partition("exit codes of the workers are")[2].partition("}")[0].strip(" {}.")
        return WorkerLostError(codes or text[:200])

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        workers = list(self._workers)
        if kind is not None:
            concurrent.futures.wait([task for worker in workers if (task := worker.terminate())], GRACE_SECONDS)
        for worker in workers:
            worker.pool.shutdown(wait=True, kill_workers=kind is not None)


class _Worker:
    """A process of this machine, and the task that it is at."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.pool = make_process_pool(1, timeout=None, env=environment)
        self.task: concurrent.futures.Future[Any] | None = None
        with _signals_blocked():  # the process starts here
            self._pid = self.pool.submit(_start_worker, os.getpid(), _is_quiet())

    def submit(
        self, function: Callable[[Any], Any], task: Any, on_death: Callable[[_Worker], object]
    ) -> concurrent.futures.Future[Any]:
        """Return the future of a task."""

        def release(done: concurrent.futures.Future[Any]) -> None:
            self.task = None
            if not done.cancelled() and isinstance(done.exception(), BrokenProcessPool):
                on_death(self)

        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future = self.pool.submit(function, task)
        except BrokenProcessPool as error:  # it died while it had no task
            future.set_exception(error)
        self.task = future
        future.add_done_callback(release)
        return future

    def terminate(self) -> concurrent.futures.Future[Any] | None:
        """Ask the process to store its rows and end; return its task, or None if it has not begun one."""
        task, deadline = self.task, time.monotonic() + _SUBMIT_SECONDS
        while task is not None and not (task.running() or task.done()) and time.monotonic() < deadline:
            time.sleep(0.01)  # loky fails if its process is killed before it has passed the task on
        if task is None or not self._pid.done() or self._pid.exception():
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid.result(), signal.SIGTERM)
        return task


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


# In the worker

_is_worker, _is_busy = threading.Event(), threading.Event()


def _start_worker(client: int, quiet: bool | None) -> int:
    """Set up this process as a worker of the process `client`; return its number."""
    _is_worker.set()
    if quiet is not None:
        show_messages(quiet)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes at once
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    threading.Thread(target=_end_with, args=(client,), daemon=True, name="featx-client").start()
    return os.getpid()


def _terminate(number: int, frame: object) -> None:
    if not _is_busy.is_set():
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with(client: int) -> None:
    """End this process when its client has ended."""
    while os.getppid() == client:
        time.sleep(_PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM interrupt the block; a worker process ends when the block has cleaned up."""
    _is_busy.set()
    try:
        yield
    except KeyboardInterrupt:
        if _is_worker.is_set():
            os._exit(1)
        raise
    finally:
        _is_busy.clear()
