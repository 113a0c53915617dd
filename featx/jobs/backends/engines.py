"""What runs the tasks of a job: joblib, in a process beside this one, in several, or on a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from featx.errors import OptionError, did_you_mean
from featx.jobs.backends.dask import dask_workers, knock_at_dask
from featx.jobs.backends.errors import WorkerLostError
from featx.jobs.backends.ray import knock_at_ray, ray_workers

#: "sequential" is one supervised process that uses all cores; "loky" is several on this machine; the others are
#: clusters, whose workers see the folder of the job.
BACKENDS = ("sequential", "loky", "dask", "ray")
CLUSTERS = ("dask", "ray")
#: Tasks that a scheduler of Dask holds, of 250 bytes each, beside two for each worker that is there at first.
_AHEAD = 1000


def check_backend(backend: str, n_jobs: int, scheduler: str | None = None) -> None:
    """Raise OptionError if tasks cannot be run so."""
    if backend not in BACKENDS:
        hint = did_you_mean(str(backend), BACKENDS)
        raise OptionError(f"backend={backend!r}: expected one of {', '.join(map(repr, BACKENDS))}.{hint}")
    if scheduler is not None and backend not in CLUSTERS:
        raise OptionError(
            f"scheduler={scheduler!r}: {backend!r} has none. Say backend='dask' or 'ray' (--backend), or leave it out."
        )
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0:
        raise OptionError(f"n_jobs={n_jobs!r}: expected a number of workers, or -1 for one to each core.")


def knock(backend: str, scheduler: str | None) -> None:
    """Raise soon if a cluster is not there, before anything is read or cleared up for it.

    Raises
    ------
    JobError, MissingDependencyError
    """
    if backend == "dask":
        knock_at_dask(scheduler)
    elif backend == "ray":
        knock_at_ray(scheduler)


def run_tasks(
    function: Callable[[Any], Any],
    tasks: Iterable[Any],
    *,
    backend: str,
    n_jobs: int,
    scheduler: str | None = None,
    patience: float = 0,
    is_shared: bool = True,
) -> None:
    """Call a function with each task, whatever it returns.

    Parameters
    ----------
    function : callable
        Importable by its name, as other processes call it.
    tasks : iterable
        Taken one after the other, as workers become free.
    backend : {"sequential", "loky", "dask", "ray"}
    n_jobs : int
        Workers; ``"sequential"`` has one, and a cluster those it has.
    scheduler : str or None, default=None
        Address of a cluster.
    patience : float, default=0
        Seconds to wait for a cluster that is not there.
    is_shared : bool, default=True
        Whether other processes can do the tasks; if not, they are done here, unsupervised.

    Raises
    ------
    WorkerLostError
        A worker has died; what the others on this machine were at has ended, too.
    ClusterLostError
        The cluster went away.
    JobError
        It was not there.
    """
    import joblib
    from joblib.externals.loky.process_executor import BrokenProcessPool

    from featx.jobs.backends import local as processes

    with contextlib.ExitStack() as cluster:
        options: dict[str, Any] = {"n_jobs": n_jobs, "pre_dispatch": "n_jobs"}
        if not is_shared:
            options |= {"n_jobs": 1, "backend": "sequential"}
        elif backend == "dask":
            # joblib counts the workers once: there is to be work for those that come later, too.
            workers = cluster.enter_context(dask_workers(scheduler, patience))
            options |= {"n_jobs": -1, "backend": workers, "pre_dispatch": f"{_AHEAD} + 2*n_jobs"}
        elif backend == "ray":
            options |= {"backend": cluster.enter_context(ray_workers(scheduler))}
        else:
            options |= {"n_jobs": 1 if backend == "sequential" else n_jobs, "backend": processes.backend()}
        parallel = joblib.Parallel(**options, batch_size=1)
        try:
            parallel(joblib.delayed(function)(task) for task in tasks)
        except BrokenProcessPool as error:
            raise WorkerLostError(" ".join(str(error).split()), living=set()) from error
