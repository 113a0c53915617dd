"""Process the remaining shards of a job."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import time
import uuid
from typing import Literal

from featx.backbones import registry
from featx.errors import OptionError
from featx.extraction.options import check_on_error, resolve_cache
from featx.jobs.job import Job, open_job
from featx.jobs.running.coordinator import Coordinator, recover
from featx.jobs.running.executors import CLUSTERS, TaskExecutor, check_backend
from featx.jobs.running.heartbeats import DoneImages, registered_client
from featx.jobs.running.worker import Task, resolve_job
from featx.jobs.status import JobStatus, status_of
from featx.system.files.parquet import import_pyarrow
from featx.system.terminal.progress import ProgressFunction, reporting, stage


def run_job(
    job: str | os.PathLike[str],
    *,
    backend: Literal["sequential", "loky", "dask", "ray"] = "sequential",
    n_jobs: int = -1,
    scheduler: str | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    on_error: Literal["skip", "raise"] = "skip",
    retry_quarantined: bool = False,
    retry_failed: bool = False,
    verify: bool = False,
    engine: Literal["auto", "openvino", "keras", "onnxruntime"] = "auto",
    device: str = "auto",
    batch_size: int | None = None,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> JobStatus:
    """Process the remaining shards of a job.

    Shards that are done are not computed again. Several clients may run the same job at the same time, on all machines
    that see its folder.

    Parameters
    ----------
    job : str or Path
        Path or URL of the job.
    backend : {"sequential", "loky", "dask", "ray"}, default="sequential"
        Where shards run: in one worker process that uses all cores, in several processes, or on the workers of a
        cluster. Workers of a cluster must see `job` and the images, and need the same version of featx. A shard that
        ends its worker is quarantined after three failures, or after as many as the cluster retries it.
    n_jobs : int, default=-1
        Number of processes of ``"loky"`` and ``"ray"``; -1 is one per core. Dask uses all workers.
    scheduler : str or None, default=None
        Address of the cluster: ``tcp://host:8786`` of Dask, ``ray://host:10001`` of Ray. None is
        ``DASK_SCHEDULER_ADDRESS`` or ``RAY_ADDRESS``; without it, Ray uses this machine.
    cache : str, Path or None, default="auto"
        Folder of the feature cache; see :class:`featx.FeatureExtractor`. With a cache, an interrupted shard resumes
        where it was.
    on_error : {"skip", "raise"}, default="skip"
        How to handle an unreadable image: list it as failed, or raise an error.
    retry_quarantined : bool, default=False
        Whether to run quarantined shards again.
    retry_failed : bool, default=False
        Whether to run shards with unreadable images again. Their other rows are cached.
    verify : bool, default=False
        Whether to read all done shards, and to compute those again whose bytes differ from what was committed.
    engine : {"auto", "openvino", "keras", "onnxruntime"}, default="auto"
        Engine that runs the backbone; see :class:`featx.FeatureExtractor`.
    device : str, default="auto"
        Device of each worker that runs the backbone; see :class:`featx.FeatureExtractor`. "auto" has the precision of
        the plan.
    batch_size : int or None, default=None
        Number of images per batch. None: 32 on the CPU, more on other devices.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    JobStatus
        State of the job after the run, with the duration and speed of the run.

    Raises
    ------
    JobError
        There is no job, this machine cannot compute the planned features, or the run cannot go on.
    OptionError, OutputError, StoreError, EngineError, SourceError, UnreadableImageError
        See :class:`featx.FeatureExtractor`.

    See Also
    --------
    plan_job : Plan a job.
    job_status : Report the progress of a job.
    merge_job : Join the shards of a job.

    Examples
    --------
    >>> import tempfile, PIL.Image
    >>> from featx import open_features, plan_job, run_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (32, 32)).save(f"{folder}/0.png")
    ...     plan = plan_job(f"{folder}/0.png", f"{folder}/job", backbone="color_histogram", sample=0, cache=None)
    ...     run = run_job(f"{folder}/job", cache=None)
    ...     shape = open_features(f"{folder}/job").shape
    >>> run.is_complete, run.computed, run.failed, shape
    (True, 1, 0, (1, 512))
    """
    started = time.perf_counter()
    import_pyarrow()
    check_backend(backend, n_jobs, scheduler)
    check_on_error(on_error)
    opened = open_job(job)
    options: dict[str, object] = {"engine": engine, "device": device, "batch_size": batch_size}
    _check_runnable(opened, backend, scheduler, options)
    task = _make_task(opened, cache, raise_on_error=on_error == "raise", machine_options=options)
    done, corrupt = recover(opened, verify=verify, retry_quarantined=retry_quarantined)
    recompute = {shard for shard, committed in done.items() if committed.failed} if retry_failed else None
    n_before = sum(shard.n_images for shard in done.values())
    n_left = opened.manifest.n_images - n_before
    with (
        reporting(verbose, progress),
        registered_client(opened.folder, task.client, n_before),
        stage("extract", n_left, message=str(opened.manifest.recipe["backbone"])) as advance,
    ):
        watch = DoneImages(opened, advance) if advance.is_reported else None
        where = backend if opened.folder.is_shared else "inline"  # no other process can see the job
        executor = functools.partial(_open_executor, where, n_jobs, scheduler)
        Coordinator(opened, task, executor, recompute=recompute, on_wait=watch).run()
    state, seconds = status_of(opened), time.perf_counter() - started
    speed = round((state.images_done - n_before) / seconds, 1)
    return dataclasses.replace(state, recomputed=corrupt, seconds=round(seconds, 3), images_per_second=speed)


def _make_task(
    job: Job, cache: str | os.PathLike[str] | None, *, raise_on_error: bool, machine_options: dict[str, object]
) -> Task:
    """Return what all tasks of a new run have in common."""
    folder = resolve_cache(cache)
    return Task(
        location=job.folder.location,
        job_id=job.manifest.id,
        client=uuid.uuid4().hex,
        cache=os.path.abspath(folder) if folder else None,
        is_cache_auto=cache == "auto",
        raise_on_error=raise_on_error,
        machine_options=machine_options,
        backbone=registry.registered_backbone(job.manifest.options.get("backbone", "mobilenet")),
    )


def _check_runnable(job: Job, backend: str, scheduler: str | None, options: dict[str, object]) -> None:
    """Raise an error if the job cannot run here, before anything in its folder changes."""
    if backend in CLUSTERS and not job.folder.is_shared:
        raise OptionError(
            f"Workers of backend={backend!r} (--backend {backend}) cannot access {job.folder.location!r}. Plan the job "
            "in a folder that they share."
        )
    if backend in CLUSTERS:  # each has a file of its own, which imports the engine
        importlib.import_module(f"featx.jobs.running.{backend}").check_cluster(scheduler)
    resolve_job(job, {**options, "device": "auto"} if backend in CLUSTERS else options)  # devices are of its workers


def _open_executor(
    backend: str, n_jobs: int, scheduler: str | None, connect_seconds: float
) -> contextlib.AbstractContextManager[TaskExecutor]:
    """Return the executor of a backend; ``"inline"`` is the process of the client. See :func:`featx.run_job`.

    `connect_seconds` is the time to wait for a cluster that does not answer. JobError: there is no cluster, or it
    cannot run the tasks. ClusterLostError: the connection broke.
    """
    if backend == "inline":
        return contextlib.nullcontext(TaskExecutor())
    if backend == "dask":
        from featx.jobs.running.dask import dask_executor

        return dask_executor(scheduler, connect_seconds)
    if backend == "ray":
        from featx.jobs.running.ray import ray_executor

        return ray_executor(scheduler, n_jobs)
    from featx.jobs.running.local import LocalExecutor

    return LocalExecutor(1 if backend == "sequential" else n_jobs)
