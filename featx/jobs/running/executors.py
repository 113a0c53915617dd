"""Where the tasks of a job run: the interface of the executors in ``local``, ``dask`` and ``ray``."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from featx.errors import OptionError
from featx.system.option_checks import check_choice, is_integer

_Task = TypeVar("_Task")
BACKENDS = ("sequential", "loky", "dask", "ray")
CLUSTERS = ("dask", "ray")
#: Number of tasks submitted to a cluster beyond two for each worker, for workers that start later.
PENDING_ON_CLUSTER = 1000
#: Pause between two calls of a function that reports progress.
_WAIT_SECONDS = 0.25


class ClusterLostError(Exception):
    """The connection to a cluster is lost; its workers may go on."""


class WorkerLostError(Exception):
    """The worker of a task died, as often as the engine retries the task."""


class TaskExecutor:
    """Executor like those of ``concurrent.futures``, which runs tasks in the process of the client."""

    max_pending = 1  # tasks to submit ahead

    def submit(self, function: Callable[[Any], Any], task: Any) -> Future[Any]:
        """Return the future of a task."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(task))
        except Exception as error:
            future.set_exception(error)
        return future

    def convert(self, error: BaseException) -> BaseException:
        """Return the error of a future: WorkerLostError or ClusterLostError if the engine failed."""
        return error


def check_backend(backend: str, n_jobs: int, scheduler: str | None = None) -> None:
    """Raise OptionError if the options of a backend are invalid."""
    check_choice("backend", backend, BACKENDS)
    if scheduler is not None and backend not in CLUSTERS:
        raise OptionError(
            f"scheduler (--scheduler) must be None with backend={backend!r}, got {scheduler!r}. Set backend "
            "(--backend) to 'dask' or 'ray', or omit it."
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
) -> Iterator[tuple[_Task, Any]]:
    """Yield each task with its result, or its error, as it completes; call `on_wait` now and then."""
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
        try:
            error = future.exception()
        except CancelledError as cancelled:
            error = cancelled
        yield running.pop(future), future.result() if error is None else executor.convert(error)
        submit()
