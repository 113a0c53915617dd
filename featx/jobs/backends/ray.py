"""A cluster of Ray that runs the tasks of a job, as a backend of joblib."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from typing import Any

from featx.errors import JobError, MissingDependencyError
from featx.jobs.backends.errors import CONNECT_SECONDS, ClusterLostError, WorkerLostError


@contextlib.contextmanager
def ray_workers(address: str | None) -> Iterator[str]:
    """Yield a backend of joblib: the cores of a Ray cluster, or of this machine.

    Parameters
    ----------
    address : str or None
        ``ray://host:10001``, ``host:6379``; None is what ``RAY_ADDRESS`` says, else a cluster of this machine alone.

    Raises
    ------
    JobError
        It is not there.
    WorkerLostError
        A worker has died.
    MissingDependencyError
    """
    ray, register_ray = _ray()
    started = not ray.is_initialized()
    if started:
        _start_ray(ray, address or os.environ.get("RAY_ADDRESS"))
    register_ray()
    try:
        yield "ray"
    except ray.exceptions.RayActorError as error:
        raise WorkerLostError(" ".join(str(error).split())[:200], living=set()) from error  # the others end, too
    except (ray.exceptions.RaySystemError, ConnectionError) as error:
        raise ClusterLostError(" ".join(str(error).split())[:200]) from error
    finally:
        if started:
            ray.shutdown()


def _ray() -> tuple[Any, Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own default to come; unset, it warns
    try:
        import ray
        import ray.exceptions
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise MissingDependencyError(
            f"The backend 'ray' needs ray: it is not installed ({error}). Install it, here and on the workers: "
            "pip install 'featx[ray]'."
        ) from error
    return ray, register_ray


def knock_at_ray(address: str | None) -> None:
    """Raise soon if there is no cluster where one is named; errors as of :func:`ray_workers`."""
    _ray()
    _knock(address or os.environ.get("RAY_ADDRESS"))


def _knock(address: str | None) -> None:
    if address and (found := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address)):
        try:
            socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise JobError(
                f"There is no cluster of Ray at {address} ({error.strerror or error}). Check the address "
                "(ray://HOST:10001), and that it runs; what is done is kept."
            ) from error


def _start_ray(ray: Any, address: str | None) -> None:
    _knock(address)
    try:
        ray.init(
            address=address,
            logging_level="error",
            log_to_driver=False,
            include_dashboard=False if not address else None,
        )
    except Exception as error:  # of many kinds, some of them bare
        raise JobError(
            f"Ray does not start ({' '.join(str(error).split())[:200]}). Check --scheduler, and `ray status`."
        ) from error
