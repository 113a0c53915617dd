"""What runs the tasks of a job: joblib, in a process beside this one, in several, or on a cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from featx.errors import OptionError, did_you_mean
from featx.jobs.clusters import WorkerLostError, dask_workers, ray_workers
from featx.progress import show_messages

#: "sequential" is one supervised process that uses all cores; "loky" is several on this machine; the others are
#: clusters, whose workers see the folder of the job.
BACKENDS = ("sequential", "loky", "dask", "ray")
CLUSTERS = ("dask", "ray")
#: Seconds that workers have to commit what they have computed, when they are to end.
_GRACE_SECONDS = 10.0
_LOOK_AFTER_PARENT = 0.5
_PROCESSES = "featx-processes"


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

    with contextlib.ExitStack() as cluster:
        options: dict[str, Any] = {"n_jobs": n_jobs, "pre_dispatch": "n_jobs"}
        if not is_shared:
            options |= {"n_jobs": 1, "backend": "sequential"}
        elif backend == "dask":
            # One more for each worker than it can run, so that none waits for this process.
            workers = cluster.enter_context(dask_workers(scheduler, patience))
            options |= {"n_jobs": -1, "backend": workers, "pre_dispatch": "2*n_jobs"}
        elif backend == "ray":
            options |= {"backend": cluster.enter_context(ray_workers(scheduler))}
        else:
            options |= {"n_jobs": 1 if backend == "sequential" else n_jobs, "backend": _processes(joblib)}
        parallel = joblib.Parallel(**options, batch_size=1)
        try:
            parallel(joblib.delayed(function)(task) for task in tasks)
        except BrokenProcessPool as error:
            raise WorkerLostError(" ".join(str(error).split())) from error


def _processes(joblib: Any) -> str:
    """Return the name of a backend of joblib: loky's processes, even for a single worker, ended gently."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.parallel import ParallelBackendBase

    class Processes(ParallelBackendBase):  # type: ignore[misc]
        supports_retrieve_callback = True

        def effective_n_jobs(self, n_jobs: int) -> int:
            return int(n_jobs) if n_jobs > 0 else max(1, joblib.cpu_count() + 1 + n_jobs)

        def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
            n_workers = self.effective_n_jobs(n_jobs)
            environment = self._prepare_worker_env(n_jobs=n_workers) if n_workers > 1 else {}
            self._workers = ProcessPoolExecutor(
                n_workers, timeout=None, env=environment, initializer=_begin, initargs=(os.getpid(), _is_quiet())
            )
            self._running: set[Any] = set()
            self.parallel = parallel
            return max(2, n_workers)  # of one, joblib would do the tasks here, where a crash would be the client's

        def submit(self, func: Any, callback: Any = None) -> Any:
            with _signals_held():  # processes start here, and are to begin without them
                future = self._workers.submit(func)
            self._running.add(future)
            future.add_done_callback(self._running.discard)
            if callback is not None:
                future.add_done_callback(callback)
            return future

        apply_async = submit  # as joblib before 1.5 calls it

        def retrieve_result_callback(self, future: Any) -> Any:
            return future.result()

        def terminate(self) -> None:
            if self._workers is not None:
                self._workers.shutdown(wait=True)
                self._workers = None

        def abort_everything(self, ensure_ready: bool = True) -> None:
            if self._workers is not None:
                workers, self._workers = self._workers, None
                _end(list(workers._processes), self._running)
                workers.shutdown(wait=True, kill_workers=True)

    if _PROCESSES not in joblib.parallel.BACKENDS:
        joblib.register_parallel_backend(_PROCESSES, Processes)
    return _PROCESSES


def _end(pids: list[int], running: set[Any]) -> None:
    """Let workers commit what they have, within a time."""
    if running:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        concurrent.futures.wait(list(running), timeout=_GRACE_SECONDS)


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


# In a worker ---------------------------------------------------------------------------------------------

_is_busy = _is_ending = _is_worker = False


def _is_quiet() -> bool | None:
    """Return whether this process shows no messages; None if it shows them in its own way."""
    log = logging.getLogger("featx")
    return log.level > logging.INFO if log.handlers else None


def _begin(client: int, quiet: bool | None) -> None:
    """Leave a worker's end to its client, who gives it time; without its client, end."""
    global _is_worker  # noqa: PLW0603  # of this process
    _is_worker = True
    if quiet is not None:
        show_messages(quiet)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody at once
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    threading.Thread(target=_end_without, args=(client,), daemon=True, name="featx-client").start()


def _interrupt(number: int, frame: object) -> None:
    global _is_ending  # noqa: PLW0603  # of this process
    if _is_busy and not _is_ending:
        _is_ending = True
        raise KeyboardInterrupt
    _is_ending = True


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let the block be interrupted by SIGTERM; when it has cleared up, a worker ends, and its client sees that."""
    global _is_busy  # noqa: PLW0603  # of this process
    try:
        if _is_ending:
            raise KeyboardInterrupt
        _is_busy = True
        yield
    except KeyboardInterrupt:
        if _is_worker:
            os._exit(1)
        raise
    finally:
        _is_busy = False


def _end_without(client: int) -> None:
    """End this process when its client has gone."""
    while os.getppid() == client:
        time.sleep(_LOOK_AFTER_PARENT)
    if _is_busy:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
    os._exit(1)
