"""A worker process: it computes one shard after another and keeps the network between them."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import threading
from pathlib import Path
from typing import Any, Literal

from featx.backbones import registry
from featx.errors import EngineError, FeatxError, JobError, OutputError, RecipeMismatchError
from featx.extraction.engines.engine import is_supported
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.recorded import resolve_with_recipe
from featx.features.job_files import table_name
from featx.jobs.job import Job, open_job
from featx.jobs.running.heartbeats import HeartbeatWriter
from featx.jobs.running.local import interruptible
from featx.jobs.running.shard import UnreachableSourceError, run_shard
from featx.system.formatting import first_line

#: A worker of a cluster may have several threads; the network uses all cores for one shard.
_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Task:
    """One shard, and what a worker needs to compute it."""

    location: str  # of the job
    job_id: str
    client: str  # token of the client that submits the task
    cache: str | None  # absolute path
    is_cache_auto: bool  # the caller named no cache: FEATX_CACHE of the worker takes precedence
    raise_on_error: bool  # whether an unreadable image ends the run
    machine_options: dict[str, Any]  # engine, device, batch_size
    shard: int = 0
    round: int = 0  # of the client
    backbone: Any = None  # a registered one that other processes do not know
    recompute: bool = False  # whether to compute a committed shard again
    is_suspect: bool = False  # it failed before: each batch sends a heartbeat, to know the image at which a worker dies


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a task: a value, since not every error can be pickled."""

    status: Literal["done", "present", "failed", "unreachable"]  # "present": it was committed already
    reason: str = ""  # of a failure


def classify(error: Exception) -> Literal["failed", "unreachable", "stop"]:
    """Return whether an error is a failure of the shard, of its source, or a reason to stop the run."""
    if isinstance(error, UnreachableSourceError):
        return "unreachable"
    if isinstance(error, EngineError):
        return "failed"
    if isinstance(error, FeatxError | OSError):  # an unreadable image is no error here: it has a line in the table
        return "stop"
    return "failed"


def work(task: Task) -> Outcome:
    """Compute and commit a shard, unless it is committed. A FeatxError means that the run must stop."""
    with _one_at_a_time:
        if task.backbone is not None:
            registry.register_backbone(task.backbone, replace=True)
        job = _job(task.location, task.job_id)
        if job.manifest.id != task.job_id:
            raise JobError(
                f"Another job has been planned in {task.location!r} since this run began. Run the new job: featx job "
                f"run {shlex.quote(task.location)}"
            )
        resolved = _resolved(task.location, task.job_id, tuple(sorted(task.machine_options.items())))
        if not task.recompute and job.folder.exists(table_name(task.shard)):
            return Outcome("present")
        seconds = 0.0 if task.is_suspect else job.folder.poll_seconds
        heartbeat = HeartbeatWriter(job.folder, task.shard, task.client, task.round, seconds)
        with interruptible(), heartbeat as progress:
            try:
                run_shard(
                    job,
                    task.shard,
                    resolved,
                    cache=_cache(task),
                    raise_on_error=task.raise_on_error,
                    progress=progress,
                    recompute=task.recompute,
                )
            except Exception as error:
                return _failed(task, error, resolved)
        return Outcome("done")


def _failed(task: Task, error: Exception, resolved: Resolved) -> Outcome:
    """Return the outcome of a task that raised `error`; raise if the run must stop."""
    status, precision, engine = classify(error), resolved.recipe.precision, resolved.engine
    if isinstance(error, EngineError) and engine == "openvino" and not is_supported(precision):  # as for every shard
        raise JobError(
            f"The job in {task.location!r} was planned in {precision}, which this CPU does not support. Run it where "
            'the CPU does, or plan the job again under a new name with precision="float32" (--precision float32).'
        ) from error
    if status != "stop":
        message = str(error) if isinstance(error, FeatxError) else f"{type(error).__name__}: {first_line(error)}"
        return Outcome(status, " ".join(message.split()))
    if isinstance(error, OSError) and not isinstance(error, FeatxError):
        raise OutputError(
            f"Cannot write shard {task.shard} of {task.location!r}: {error.strerror or error}. Free space or fix the "
            "permissions, then run the same command again: completed work is kept."
        ) from error
    raise error


def _cache(task: Task) -> Path | None:
    """Return the cache of the client, or of this machine if the client did not name one."""
    cache = (task.is_cache_auto and os.environ.get("FEATX_CACHE")) or task.cache
    return Path(cache).expanduser() if cache else None


@functools.lru_cache(maxsize=2)
def _job(location: str, job_id: str) -> Job:
    return open_job(location)


@functools.lru_cache(maxsize=2)
def _resolved(location: str, job_id: str, machine_options: tuple[tuple[str, Any], ...]) -> Resolved:
    return resolve_job(_job(location, job_id), dict(machine_options))


def resolve_job(job: Job, machine_options: dict[str, Any]) -> Resolved:
    """Return the extraction that gives the planned features on this machine, or raise JobError."""
    manifest = job.manifest
    try:
        return resolve_with_recipe(ExtractionOptions(**{**manifest.options, **machine_options}), manifest.recipe)
    except TypeError as error:
        raise JobError(
            f"The job in {job.folder.location!r} has options that this version of featx does not know ({error}). Run "
            f"it with featx {manifest.featx}, or plan the job again under a new name."
        ) from error
    except RecipeMismatchError as error:
        raise JobError(
            f"The job in {job.folder.location!r} was planned (by featx {manifest.featx}) with another recipe than this "
            f"machine has: {error.described_differences()} Run it where the recipe is the same, or plan the job again "
            "under a new name."
        ) from error
