"""A cluster of Dask that runs the tasks of a job, as a backend of joblib."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from featx.errors import JobError, MissingDependencyError
from featx.jobs.backends.dask_workers import cause_of, check_workers, living_workers, watching_workers
from featx.jobs.backends.errors import CONNECT_SECONDS, ClusterLostError, WorkerLostError

#: Seconds to find a worker, beside those for the scheduler: an error comes within 15.
_WORKER_SECONDS = 6.0
_ASK_AGAIN = 1.0

_ADDRESS = re.compile(r"([a-z][a-z0-9+]*)://(\[[^\]]+\]|[^:/\[\]@]+):(\d{1,5})/?")


@contextlib.contextmanager
def dask_workers(scheduler: str | None, patience: float) -> Iterator[Any]:
    """Yield a backend of joblib: the workers of a Dask cluster.

    Parameters
    ----------
    scheduler : str or None
        Its address, ``tcp://host:8786``; None is what Dask's own configuration says (``DASK_SCHEDULER_ADDRESS``).
    patience : float
        Seconds to wait for a scheduler that is not there.

    Raises
    ------
    JobError
        It is not there, or has no worker.
    ClusterLostError
        It went away while the block ran.
    WorkerLostError
        A task was given up, after several workers had died of it.
    MissingDependencyError
    """
    dask, distributed = _dask()
    address = _address(dask, scheduler)
    with _quiet("distributed", "distributed.client", "tornado.application"):
        client = _connected(distributed, address, patience)
        try:
            if not client.ncores():
                _wait_for_worker(client, address, patience)
            check_workers(client)
            with watching_workers(client, address):
                yield _dask_backend()(client=client)
        except distributed.scheduler.KilledWorker as error:
            said = "Dask has given a shard up after several workers had died"
            raise WorkerLostError(said, living_workers(client)) from error
        except (RuntimeError, ModuleNotFoundError) as error:
            if isinstance(error, RuntimeError) and "deserialization" not in str(error):
                raise
            raise JobError(
                f"The cluster at {address} cannot read what it is to do ({cause_of(error)}). Install this featx, with "
                "its extra 'dask', for the scheduler and for the workers; what is done is kept."
            ) from error
        except (
            distributed.CancelledError,
            concurrent.futures.CancelledError,
            distributed.comm.CommClosedError,
            distributed.client.FutureCancelledError,
        ) as error:
            raise ClusterLostError("its scheduler is gone") from error
        finally:
            with contextlib.suppress(Exception):  # a client that has lost its scheduler may fail to say so
                client.close(timeout=2)


def knock_at_dask(scheduler: str | None) -> None:
    """Raise soon if there is no scheduler; errors as of :func:`dask_workers`."""
    dask, _ = _dask()
    address = _address(dask, scheduler)
    try:
        _knock(address)
    except OSError as error:
        raise _not_there(address, error) from error


def _address(dask: Any, scheduler: str | None) -> str:
    address = scheduler or dask.config.get("scheduler-address", None)
    if not address:
        raise JobError(
            "No scheduler of Dask is named. Pass --scheduler tcp://HOST:8786 (scheduler=), or set "
            "DASK_SCHEDULER_ADDRESS. `dask scheduler` starts one, and "
            "`dask worker tcp://HOST:8786 --nthreads 1 --memory-limit 0` a worker."
        )
    return _whole_address(str(address))


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
        import distributed.client
        import distributed.comm
        import distributed.scheduler
    except ImportError as error:
        raise MissingDependencyError(
            f"The backend 'dask' needs distributed: it is not installed ({error}). Install it, here and on the "
            "workers: pip install 'featx[dask]'."
        ) from error
    return dask, distributed


def _connected(distributed: Any, address: str, patience: float) -> Any:
    """Return a client of the scheduler."""
    until = time.monotonic() + patience
    while True:
        try:
            _knock(address)
            return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            if time.monotonic() < until:
                time.sleep(_ASK_AGAIN)
                continue
            raise _not_there(address, error) from error


def _not_there(address: str, error: Exception) -> JobError:
    said = urllib.parse.urlsplit(address)
    reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return JobError(
        f"There is no scheduler of Dask at {said.scheme}://{said.netloc.rpartition('@')[2]} ({reason[:200]}). "
        "Check the address (tcp://HOST:8786), and that it runs; what is done is kept."
    )


def _whole_address(address: str) -> str:
    """Return an address as Dask takes it, ``tcp://`` before it where nothing is."""
    whole = address if "://" in address else f"tcp://{address}"
    if _ADDRESS.fullmatch(whole) is None:
        shown = whole.rpartition("@")[2] if "@" in whole else whole
        raise JobError(
            f"{shown!r} is no address of a scheduler of Dask. Pass --scheduler tcp://HOST:8786 (scheduler=), with the "
            "port that `dask scheduler` says."
        )
    return whole


def _knock(address: str) -> None:
    """Raise soon if nobody listens there, or somebody else: Dask would try on, and wait without end."""
    found = _ADDRESS.fullmatch(address)
    if found and found[1] in ("tcp", "tls"):
        where = (found[2].strip("[]"), int(found[3]))
        with socket.create_connection(where, timeout=CONNECT_SECONDS) as listener:
            if found[1] == "tcp" and not listener.recv(1):  # Dask greets whoever connects
                raise OSError("what listens there is none")


def _wait_for_worker(client: Any, address: str, patience: float) -> None:
    until = time.monotonic() + max(_WORKER_SECONDS, patience)
    while not client.ncores():
        if time.monotonic() > until:
            raise JobError(
                f"The scheduler at {address} has no workers. Start one: dask worker {address} --nthreads 1 "
                "--memory-limit 0. What is done is kept."
            )
        time.sleep(_ASK_AGAIN / 4)


def _dask_backend() -> Any:
    """Return joblib's backend for Dask, to which a task that was given up is an error and not a wait without end."""
    from joblib._dask import DaskDistributedBackend

    class Workers(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            # Of a single worker, joblib would do the tasks in this process. Others may come as it runs.
            return max(2, int(super().effective_n_jobs(n_jobs)))

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)

            def tell(done: Any) -> None:  # joblib 1.6 calls back of what tasks return or raise, and of nothing else
                if callback is not None and not done.cancelled() and (error := done.exception()) is not None:
                    callback(_GivenUp(error))

            future.add_done_callback(tell)
            return future

        apply_async = submit  # as joblib before 1.5 calls it

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, _GivenUp):
                raise out.error
            return super().retrieve_result_callback(out)

    return Workers


class _GivenUp:
    """The end of a task that neither returned nor raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep libraries from telling at length what is told in one line."""
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        for logger, (handlers, propagates) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagates
