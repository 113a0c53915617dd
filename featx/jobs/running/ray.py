"""Run the tasks of a job on a Ray cluster, or on this machine.

Ray runs a task again if its worker dies (``max_retries``), and then raises an error that belongs to the task.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

from featx.errors import JobError, missing_dependency
from featx.jobs.running.executors import PENDING_ON_CLUSTER, ClusterLostError, TaskExecutor, WorkerLostError
from featx.jobs.running.rounds import MAX_FAILURES
from featx.system.formatting import first_line

_CONNECT_SECONDS = 5.0


class RayExecutor(TaskExecutor):
    """Executor of remote functions of Ray, each on one core; `n_jobs` at a time (-1: one per core of the cluster)."""

    def __init__(self, ray: Any, n_jobs: int) -> None:
        self._ray = ray
        n_cores = int(ray.cluster_resources().get("CPU", 1))
        self.max_pending = n_jobs if n_jobs > 0 else PENDING_ON_CLUSTER + 2 * n_cores
        # A death of the worker is retried; an exception is not.
        self._remote = ray.remote(max_retries=MAX_FAILURES - 1, retry_exceptions=False)(
            lambda function, task: function(task)
        )

    def submit(self, function: Callable[[Any], Any], task: Any) -> concurrent.futures.Future[Any]:
        """Return the future of a task."""
        future: concurrent.futures.Future[Any] = self._remote.remote(function, task).future()
        return future

    def convert(self, error: BaseException) -> BaseException:
        """Return the error of a task."""
        errors = self._ray.exceptions
        reason = first_line(error)
        if isinstance(error, errors.RayTaskError) and isinstance(cause := getattr(error, "cause", None), BaseException):
            return cause
        if isinstance(error, errors.WorkerCrashedError | errors.OutOfMemoryError | errors.NodeDiedError):
            return WorkerLostError(reason)
        return ClusterLostError(reason) if isinstance(error, errors.RayError | ConnectionError) else error


@contextlib.contextmanager
def ray_executor(address: str | None, n_jobs: int) -> Iterator[RayExecutor]:
    """Yield an executor on a Ray cluster: that of `address` or ``RAY_ADDRESS``, or else one of this machine.

    JobError: there is no cluster. ClusterLostError: the connection broke.
    """
    ray = _import_ray()
    is_started = not ray.is_initialized()
    if is_started:
        _start(ray, address or os.environ.get("RAY_ADDRESS"))
    try:
        yield RayExecutor(ray, n_jobs)
    except (ray.exceptions.RaySystemError, ConnectionError) as error:
        raise ClusterLostError(first_line(error)) from error
    finally:
        if is_started:
            ray.shutdown()


def check_cluster(address: str | None) -> None:
    """Raise JobError soon if a named cluster does not answer, or MissingDependencyError."""
    _import_ray()
    _check_listener(address or os.environ.get("RAY_ADDRESS"))


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's future default; it warns if unset
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise missing_dependency("backend='ray'", "ray", "'featx[ray]'") from error
    return ray


def _check_listener(address: str | None) -> None:
    match = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or "")
    if match:
        try:
            socket.create_connection((match[1], int(match[2])), timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            raise JobError(
                f"There is no Ray cluster at {address} ({error.strerror or error}). Check "
                "scheduler='ray://HOST:10001' (--scheduler ray://HOST:10001) and that the cluster "
                "runs; completed work is kept."
            ) from error


def _start(ray: Any, address: str | None) -> None:
    _check_listener(address)
    try:
        has_dashboard = None if address else False
        ray.init(address=address, logging_level="error", log_to_driver=False, include_dashboard=has_dashboard)
    except Exception as error:  # of many types, some without a common base
        reason = f"{first_line(error)}. Check scheduler (--scheduler) and `ray status`"
        raise JobError(f"Cannot connect to Ray: {reason}.") from error
