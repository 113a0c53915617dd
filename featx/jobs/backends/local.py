"""joblib on this machine: loky's processes, which are given time to commit what they have when they are to end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import joblib
from joblib.externals.loky import ProcessPoolExecutor
from joblib.parallel import BACKENDS, ParallelBackendBase

from featx.jobs.backends.worker_exit import GRACE_SECONDS, begin, is_quiet

_NAME = "featx-processes"


def backend() -> str:
    """Return the name under which joblib knows these processes."""
    if _NAME not in BACKENDS:
        joblib.register_parallel_backend(_NAME, Processes)
    return _NAME


class Processes(ParallelBackendBase):  # type: ignore[misc]
    """A backend of joblib: loky's processes, even for a single worker, ended gently."""

    supports_retrieve_callback = True

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many workers a number asks for."""
        return int(n_jobs) if n_jobs > 0 else max(1, joblib.cpu_count() + 1 + n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Start with so many workers; they are made as tasks come."""
        n_workers = self.effective_n_jobs(n_jobs)
        environment = self._prepare_worker_env(n_jobs=n_workers) if n_workers > 1 else {}
        self._workers = ProcessPoolExecutor(
            n_workers, timeout=None, env=environment, initializer=begin, initargs=(os.getpid(), is_quiet())
        )
        self._running: set[Any] = set()
        self.parallel = parallel
        return max(2, n_workers)  # of one, joblib would do the tasks here, where a crash would be the client's

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Give a task to a worker."""
        with _signals_held():  # processes start here, and are to begin without them
            future = self._workers.submit(func)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # as joblib before 1.5 calls it

    def retrieve_result_callback(self, future: Any) -> Any:
        """Return what a task gave."""
        return future.result()

    def terminate(self) -> None:
        """End the workers when all is done."""
        if self._workers is not None:
            self._workers.shutdown(wait=True)
            self._workers = None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the workers, which may commit what they have."""
        if self._workers is not None:
            workers, self._workers = self._workers, None
            _end(list(workers._processes), self._running)
            workers.shutdown(wait=True, kill_workers=True)


def _end(pids: list[int], running: set[Any]) -> None:
    """Let workers commit what they have, within a time."""
    if running:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        concurrent.futures.wait(list(running), timeout=GRACE_SECONDS)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
