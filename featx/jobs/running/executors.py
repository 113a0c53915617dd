"""Executors that run the tasks of a job: their interface, and the worker processes of this machine.

The executors of clusters are in ``dask`` and ``ray``.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from featx.errors import OptionError
from featx.system.option_checks import check_choice, is_integer
from featx.system.processes import n_cores
from featx.system.worker_process import GRACE_SECONDS, WorkerDiedError, WorkerProcess

_Task = TypeVar("_Task")
BACKENDS = ("sequential", "loky", "dask", "ray")
CLUSTERS = ("dask", "ray")
#: Number of tasks submitted to a cluster beyond two for each worker, for workers that start later.
PENDING_ON_CLUSTER = 1000
#: Pause between two calls of a function that reports progress.
_WAIT_SECONDS = 0.25
#: Variables that limit the threads of numerical libraries.
_THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)


class ClusterLostError(Exception):
    """The connection to a cluster is lost; its workers may go on."""


class WorkerLostError(Exception):
    """The worker of a task died, as often as the engine retries the task."""


class TaskExecutor(Protocol):
    """Runs tasks as the executors of ``concurrent.futures`` do."""

    max_pending: int  # tasks to submit ahead

    def submit(self, function: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Return the future of a task; its exception is WorkerLostError or ClusterLostError if the engine failed."""


def check_backend(backend: str, n_jobs: int, scheduler: str | None = None) -> None:
    """Raise OptionError if the options of a backend are invalid."""
    check_choice("backend", backend, BACKENDS)
    if scheduler is not None and backend not in CLUSTERS:
        raise OptionError(
            f"scheduler (--scheduler) must be None with backend={backend!r}, got {scheduler!r}. Pass backend='dask' or "
            "'ray' (--backend), or omit it."
        )
    if not is_integer(n_jobs) or n_jobs == 0:
        raise OptionError(
            f"n_jobs (--n-jobs) must be an integer of at least 1, or -1 for one worker per core, got {n_jobs!r}."
        )


def run_tasks(
    executor: TaskExecutor,
    function: Callable[[_Task], Any],
    tasks: Iterable[_Task],
    *,
    on_wait: Callable[[], object] | None = None,
) -> Iterator[tuple[_Task, Future[Any]]]:
    """Yield each task with its future as it completes; call `on_wait` now and then."""
    waiting = iter(tasks)
    completed: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    running: dict[Future[Any], _Task] = {}

    def submit() -> None:
        for task in itertools.islice(waiting, max(0, executor.max_pending - len(running))):
            future = executor.submit(function, task)
            running[future] = task
            future.add_done_callback(completed.put)

    submit()
    while running:
        if on_wait is not None:
            on_wait()
        try:
            future = completed.get(timeout=None if on_wait is None else _WAIT_SECONDS)
        except queue.Empty:
            continue
        yield running.pop(future), future
        submit()


def convert_errors(future: Future[Any], convert: Callable[[BaseException], BaseException]) -> Future[Any]:
    """Return a future with the same result and a converted exception."""
    converted: Future[Any] = Future()

    def finish(done: Future[Any]) -> None:
        try:
            error = done.exception()
        except concurrent.futures.CancelledError as cancelled:
            error = cancelled
        if error is None:
            converted.set_result(done.result())
        else:
            converted.set_exception(convert(error))

    future.add_done_callback(finish)
    return converted


class InlineExecutor:
    """Runs tasks in this process, where no other process can see the job."""

    max_pending = 1

    def submit(self, function: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Return the future of a task, which is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(task))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalExecutor:
    """Runs tasks in processes of this machine: one pool of a single process for each worker; a context manager.

    If a process of a shared pool dies, ``concurrent.futures`` and loky end all of its processes and do not report
    which task was running. Here a broken pool identifies its task, and the other workers go on.
    """

    def __init__(self, n_jobs: int) -> None:
        n_workers = n_jobs if n_jobs > 0 else max(1, n_cores() + 1 + n_jobs)
        self.max_pending = 2 * n_workers
        n_threads = str(max(1, n_cores() // n_workers))
        self._environment = dict.fromkeys(_THREAD_VARIABLES, n_threads) if n_workers > 1 else {}
        self._threads = concurrent.futures.ThreadPoolExecutor(n_workers, thread_name_prefix="featx-worker")
        self._of_thread = threading.local()
        self._workers: set[WorkerProcess] = set()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            busy = [task for worker in list(self._workers) if (task := worker.terminate())]
            concurrent.futures.wait(busy, timeout=GRACE_SECONDS)
        for worker in list(self._workers):
            worker.shutdown(kill=kind is not None)
        self._threads.shutdown(wait=True)

    def submit(self, function: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Return the future of a task."""
        return self._threads.submit(self._run, function, task)

    def _run(self, function: Callable[[Any], Any], task: Any) -> Any:
        try:
            worker = getattr(self._of_thread, "worker", None)
            if worker is None:
                worker = self._of_thread.worker = WorkerProcess(self._environment)
                self._workers.add(worker)
                worker.start()
            return worker.run(function, task)
        except WorkerDiedError as error:
            self._workers.discard(worker)
            self._of_thread.worker = None
            raise WorkerLostError(str(error)) from error
