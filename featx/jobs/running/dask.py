"""Run the tasks of a job on a Dask cluster, through the futures of ``distributed``.

Dask runs a task again if its worker dies, and gives it up with ``KilledWorker`` after
``distributed.scheduler.allowed-failures`` deaths; nannies restart workers. Tasks wait for a
worker as long as ``distributed.scheduler.no-workers-timeout`` allows. Its ``retries=`` concern tasks that raise:
those of featx return their failures, so that each is counted.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import pkgutil
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from featx.errors import JobError, OptionError, missing_dependency
from featx.jobs.running.executors import PENDING_ON_CLUSTER, ClusterLostError, TaskExecutor, WorkerLostError
from featx.system.files.remote import run_with_timeout
from featx.system.formatting import format_count
from featx.system.version import __version__

#: Time to find a scheduler, and a worker: an error comes within 15 seconds.
CONNECT_SECONDS, _WORKER_SECONDS = 5.0, 6.0
_RETRY_SECONDS = 1.0
#: Time for workers to report their version of featx.
_ANSWER_SECONDS = 5.0
#: Maximum number of workers in a message.
_MAX_NAMED = 3
_ADDRESS = re.compile(r"([a-z][a-z0-9+]*)://(\[[^\]]+\]|[^:/\[\]@]+):(\d{1,5})/?")


class DaskExecutor(TaskExecutor):
    """Executor on the workers of a connected ``distributed.Client``."""

    def __init__(self, client: Any, address: str) -> None:
        self._executor = client.get_executor(pure=False)
        self._address = address
        self.max_pending = PENDING_ON_CLUSTER + 2 * sum(client.ncores().values())

    def submit(self, function: Callable[[Any], Any], task: Any) -> concurrent.futures.Future[Any]:
        """Return the future of a task."""
        future: concurrent.futures.Future[Any] = self._executor.submit(function, task)
        return future

    def convert(self, error: BaseException) -> BaseException:
        """Return the error of a task."""
        _, distributed = _import_dask()
        if isinstance(error, distributed.scheduler.KilledWorker):
            return WorkerLostError("Dask gave the shard up after its workers died")
        if isinstance(error, _lost_errors(distributed)):
            return ClusterLostError("its scheduler is gone")
        if type(error).__name__ in ("NoWorkerError", "NoValidWorkerError"):
            return _no_workers(self._address)
        is_unreadable = isinstance(error, RuntimeError) and "deserialization" in str(error)
        if is_unreadable or isinstance(error, ModuleNotFoundError):
            return JobError(
                f"The cluster at {self._address} cannot read the tasks ({_cause(error)}). Install this version of "
                "featx with its extra 'dask' on the scheduler and on the workers; completed work is kept."
            )
        return error


@contextlib.contextmanager
def dask_executor(scheduler: str | None, connect_seconds: float) -> Iterator[DaskExecutor]:
    """Yield an executor on a Dask cluster; wait up to `connect_seconds` for a scheduler that does not answer.

    JobError: there is no scheduler, it has no workers, or they have another version of featx. ClusterLostError: the
    connection broke.
    """
    dask, distributed = _import_dask()
    address = _scheduler_address(dask, scheduler)
    with _silenced("distributed", "distributed.client", "tornado.application"):
        client = _connect(distributed, address, connect_seconds)
        try:
            _check_workers(client, address, connect_seconds)
            yield DaskExecutor(client, address)
        except _lost_errors(distributed) as error:
            raise ClusterLostError("its scheduler is gone") from error
        finally:
            with contextlib.suppress(Exception):  # a client without its scheduler may fail to close
                client.close(timeout=2)


def _lost_errors(distributed: Any) -> tuple[type[BaseException], ...]:
    return concurrent.futures.CancelledError, distributed.CancelledError, distributed.comm.CommClosedError


def check_cluster(scheduler: str | None) -> None:
    """Raise JobError soon if there is no scheduler, OptionError without its address, or MissingDependencyError."""
    dask, _ = _import_dask()
    _check_listener(_scheduler_address(dask, scheduler))


def _import_dask() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
        import distributed.client
        import distributed.comm
        import distributed.scheduler
    except ImportError as error:
        raise missing_dependency("backend='dask'", "distributed", "'featx[dask]'") from error
    return dask, distributed


# The scheduler


def _scheduler_address(dask: Any, scheduler: str | None) -> str:
    address = scheduler or dask.config.get("scheduler-address", None)
    if not address:
        raise OptionError(
            "backend='dask' (--backend dask) needs the address of a scheduler. Pass scheduler='tcp://HOST:8786' "
            "(--scheduler tcp://HOST:8786), or set DASK_SCHEDULER_ADDRESS. `dask scheduler` starts one, and "
            "`dask worker tcp://HOST:8786 --nthreads 1 --memory-limit 0` a worker."
        )
    address = str(address) if "://" in str(address) else f"tcp://{address}"
    if _ADDRESS.fullmatch(address) is None:
        raise OptionError(
            f"scheduler (--scheduler) must be an address such as tcp://HOST:8786, got {address.rpartition('@')[2]!r}. "
            "Pass scheduler='tcp://HOST:8786' (--scheduler tcp://HOST:8786), with the port that `dask scheduler` "
            "prints."
        )
    return address


def _connect(distributed: Any, address: str, connect_seconds: float) -> Any:
    deadline = time.monotonic() + connect_seconds
    while True:
        try:
            _check_listener(address)
            return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (JobError, OSError, ValueError) as error:
            if time.monotonic() >= deadline:
                raise _no_scheduler(address, error) from error
        time.sleep(_RETRY_SECONDS)


def _check_listener(address: str) -> None:
    """Raise JobError soon if nothing, or something else, listens at an address: Dask would wait forever."""
    match = _ADDRESS.fullmatch(address)
    if match and match[1] in ("tcp", "tls"):
        try:
            with socket.create_connection((match[2].strip("[]"), int(match[3])), CONNECT_SECONDS) as connection:
                if match[1] == "tcp" and not connection.recv(1):  # a scheduler sends a greeting
                    raise OSError("the server is not a Dask scheduler")
        except OSError as error:
            raise _no_scheduler(address, error) from error


def _no_scheduler(address: str, error: Exception) -> JobError:
    if isinstance(error, JobError):
        return error
    reason = _cause(error) or type(error).__name__
    return JobError(
        f"There is no Dask scheduler at {address} ({reason}). Check scheduler='tcp://HOST:8786' "
        "(--scheduler tcp://HOST:8786) and that the scheduler runs; completed work is kept."
    )


# The workers


def _check_workers(client: Any, address: str, connect_seconds: float) -> None:
    """Raise JobError if there are no workers, or if some would end when they receive a task: they have no featx."""
    try:
        client.wait_for_workers(1, timeout=max(_WORKER_SECONDS, connect_seconds))
    except TimeoutError as error:
        raise _no_workers(address) from error

    def request() -> dict[str, Any]:  # with a function of Python: workers may have no featx
        return dict(client.run(pkgutil.resolve_name, "featx:__version__", on_error="return") or {})

    try:
        answers = run_with_timeout(request, _ANSWER_SECONDS)  # Client.run itself has no timeout
    except TimeoutError:
        return
    problems = [
        f"{worker} ({f'it has {answer}' if isinstance(answer, str) else _cause(answer)})"
        for worker, answer in sorted(answers.items())
        if answer != __version__ and not isinstance(answer, OSError)  # one that cannot be reached is about to end
    ]
    if problems:
        named = ", ".join([*problems[:_MAX_NAMED], *(["…"] if len(problems) > _MAX_NAMED else [])])
        raise JobError(
            f"{len(problems)} of {format_count(len(answers), 'worker')} on the cluster cannot run the tasks, which "
            f"need featx {__version__}: {named}. Install it there with its extra 'dask' and restart them; completed "
            "work is kept."
        )


def _no_workers(address: str) -> JobError:
    return JobError(
        f"The scheduler at {address} has no workers. Start one: dask worker {address} --nthreads 1 --memory-limit 0. "
        "Completed work is kept."
    )


def _cause(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error.__cause__ or error).split())[:200]


@contextlib.contextmanager
def _silenced(*names: str) -> Iterator[None]:
    """Silence loggers whose messages featx reports in one line."""
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        for logger, (handlers, propagates) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagates
