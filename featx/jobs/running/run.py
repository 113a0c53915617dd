"""Run what is missing of a job."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable

from featx.backbones import registry as backbones
from featx.errors import FeatxWarning, OptionError
from featx.extraction.options import resolve_cache
from featx.features.job_columns import import_pyarrow
from featx.jobs.backends.engines import CLUSTERS, check_backend, knock
from featx.jobs.job import Job
from featx.jobs.running.coordinator import Client
from featx.jobs.running.monitor import noted, watching
from featx.jobs.running.summary import JobRun, summary
from featx.jobs.running.worker import Task, resolve
from featx.jobs.storage import Place
from featx.system.version import __version__


def run_job(
    output: str | os.PathLike[str],
    *,
    backend: str = "sequential",
    n_jobs: int = -1,
    scheduler: str | None = None,
    cache: str | os.PathLike[str] | None = "auto",
    on_error: str = "skip",
    retry_quarantined: bool = False,
    retry_failed: bool = False,
    verify: bool = False,
    engine: str = "auto",
    batch_size: int = 32,
    progress: Callable[[int], object] | None = None,
) -> JobRun:
    """Run what is missing of a job; what is done is not done again.

    Any number of clients may run the same job at once, on any machines that see its folder.

    Parameters
    ----------
    output : str or Path
        As it was planned.
    backend : {"sequential", "loky", "dask", "ray"}, default="sequential"
        One process that uses all cores, several, or the workers of a cluster, which must see `output` and the images,
        and have this featx. What ends its worker is set aside after three tries.
    n_jobs : int, default=-1
        Processes of ``"loky"`` and ``"ray"``; -1 is one for each core. Of Dask all workers are used.
    scheduler : str or None, default=None
        Address of the cluster: ``tcp://host:8786`` of Dask, ``ray://host:10001`` of Ray. None is what
        ``DASK_SCHEDULER_ADDRESS`` or ``RAY_ADDRESS`` says; without either Ray uses this machine alone.
    cache : str, Path or None, default="auto"
        As of :class:`featx.FeatureExtractor`. With a cache, a shard that is broken off goes on where it was.
    on_error : {"skip", "raise"}, default="skip"
        What to do about an image that cannot be read: list it, or stop.
    retry_quarantined : bool, default=False
        Try the shards again that were set aside.
    retry_failed : bool, default=False
        Do the shards again in which images could not be read; the rows of the others are in the store.
    verify : bool, default=False
        Read every shard that is done, and do those again whose bytes are not what was committed.
    engine, batch_size
        As of :class:`featx.FeatureExtractor`.
    progress : callable, default=None
        Called with the number of images done since the last call.

    Returns
    -------
    JobRun

    Raises
    ------
    JobError
        There is no job, or this machine cannot give the features that were planned.
    OptionError, OutputError, StoreError, EngineError, SourceError, UnreadableImageError

    Examples
    --------
    >>> import os, tempfile, PIL.Image
    >>> from featx import open_features, plan_job, run_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/photos")
    ...     for number in range(3):
    ...         PIL.Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(f"{folder}/photos/{number}.png")
    ...     options = {"backbone": "color_histogram", "shard_size": 2, "sample": 0, "cache": None}
    ...     plan = plan_job(f"{folder}/photos", f"{folder}/job", **options)
    ...     run = run_job(f"{folder}/job", cache=None)
    ...     shape = open_features(f"{folder}/job").shape
    >>> run.done, run.computed, run.failed, shape
    (2, 3, 0, (3, 512))
    """
    started = time.perf_counter()
    import_pyarrow()
    check_backend(backend, n_jobs, scheduler)
    if on_error not in ("skip", "raise"):
        raise OptionError(f"on_error={on_error!r}: expected 'skip' or 'raise'.")
    job = Job(Place(output))
    if backend in CLUSTERS and not job.place.is_shared:
        raise OptionError(f"The workers of {backend} do not see {job.place.address!r}: it is that of one process.")
    knock(backend, scheduler)
    folder = resolve_cache(cache)
    here = {"engine": engine, "batch_size": batch_size}
    resolve(job, here)
    if job.manifest.featx != __version__:
        warnings.warn(
            f"The job in {job.place.address!r} was planned by featx {job.manifest.featx}, and this is {__version__}: "
            "the recipe is the same, and so are the rows.",
            FeatxWarning,
            stacklevel=2,
        )
    client = Client(job, backend, n_jobs, scheduler)
    client.task = Task(
        address=job.place.address,
        job_id=job.manifest.id,
        shard=0,
        client=client.token,
        n_round=0,
        cache=os.path.abspath(folder) if folder else None,
        is_cache_auto=cache == "auto",
        raise_on_error=on_error == "raise",
        here=here,
        backbone=backbones.registered_backbone(job.manifest.options.get("backbone", "mobilenet")),
    )
    redone = client.clear_up(verify=verify, retry_quarantined=retry_quarantined, retry_failed=retry_failed)
    n_before = client.n_images_done
    with noted(job.place, client.token, n_before), watching(job, client.token, n_before, progress):
        client.run()
    return summary(job, n_before, redone, time.perf_counter() - started)
