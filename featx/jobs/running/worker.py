"""A worker process: it computes one shard after another and keeps the network between them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from featx.backbones import registry
from featx.errors import EngineError, FeatxError, JobError, OutputError, RecipeMismatchError
from featx.extraction.options import ExtractionOptions, Resolved, resolve_with_recipe
from featx.features.job_files import table_name
from featx.jobs.job import Job, open_job
from featx.jobs.running.heartbeats import HeartbeatWriter
from featx.jobs.running.shard import UnreachableSourceError, run_shard
from featx.system.progress import show_messages

#: Time for a worker to store what it has computed before it is killed.
GRACE_SECONDS = 10.0
_PARENT_POLL_SECONDS = 0.5

#: A worker of a cluster may have several threads; the network uses all cores for one shard.
_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Task:
    """One shard, and what a worker needs to compute it.

    Attributes
    ----------
    location : str
        Path or URL of the job.
    job_id : str
        Identifier of the plan.
    shard : int
        Index of the shard.
    client : str
        Token of the client that submits the task.
    round : int
        Round of that client.
    cache : str or None
        Absolute path of the cache.
    is_cache_auto : bool
        Whether the caller did not name the cache, so that ``FEATX_CACHE`` of the worker takes precedence.
    raise_on_error : bool
        Whether an unreadable image ends the run.
    machine_options : dict
        Options that concern a single machine: ``engine``, ``batch_size``.
    backbone : Backbone or None
        Registered backbone that other processes do not know.
    probe_images : tuple of str
        Images of other shards: if one of them is reachable, and none of this shard, the latter are missing for good.
    recompute : bool
        Whether to compute a committed shard again.
    is_suspect : bool
        Whether the shard failed before: then each batch sends a heartbeat, to know the image at which a worker dies.
    """

    location: str
    job_id: str
    shard: int
    client: str
    round: int
    cache: str | None
    is_cache_auto: bool
    raise_on_error: bool
    machine_options: dict[str, Any]
    backbone: Any = None
    probe_images: tuple[str, ...] = ()
    recompute: bool = False
    is_suspect: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a task: a value, since not every error can be pickled.

    Attributes
    ----------
    status : {"done", "present", "failed", "unreachable"}
        Whether the shard was computed, was committed already, failed, or none of its images is reachable.
    reason : str
        Reason of a failure.
    """

    status: Literal["done", "present", "failed", "unreachable"]
    reason: str = ""


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
    """Compute and commit a shard, unless it is committed.

    Raises
    ------
    FeatxError
        The run must stop.
    """
    with _one_at_a_time:
        if task.backbone is not None:
            registry.register_backbone(task.backbone, replace=True)
        job = _job(task.location, task.job_id)
        if job.manifest.id != task.job_id:
            raise JobError(
                f"Another job has been planned in {task.location!r} since this run began. Run that one: featx job run "
                f"{shlex.quote(task.location)}"
            )
        resolved = _resolved(task.location, task.job_id, tuple(sorted(task.machine_options.items())))
        if not task.recompute and job.folder.exists(table_name(task.shard)):
            return Outcome("present")
        seconds = 0.0 if task.is_suspect else job.folder.poll_seconds
        heartbeat = HeartbeatWriter(job.folder, task.shard, task.client, task.round, seconds)
        with _process.interruptible(), heartbeat as progress:
            try:
                run_shard(
                    job,
                    task.shard,
                    resolved,
                    cache=_cache(task),
                    raise_on_error=task.raise_on_error,
                    progress=progress,
                    probe_images=task.probe_images,
                    recompute=task.recompute,
                )
            except Exception as error:
                return _failed(task, error)
        return Outcome("done")


def _failed(task: Task, error: Exception) -> Outcome:
    """Return the outcome of a task that raised `error`; raise if the run must stop."""
    status = classify(error)
    if status != "stop":
        message = str(error) if isinstance(error, FeatxError) else f"{type(error).__name__}: {error}"
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
    """Return the extraction that gives the planned features on this machine.

    Raises
    ------
    JobError
        On this machine the options mean another recipe.
    """
    manifest = job.manifest
    remedy = "or plan the job again under a new name: cached rows are not computed again"
    try:
        return resolve_with_recipe(ExtractionOptions(**{**manifest.options, **machine_options}), manifest.recipe)
    except TypeError as error:
        raise JobError(
            f"The job in {job.folder.location!r} has options that this version of featx does not know ({error}). Run "
            f"it with featx {manifest.featx}, {remedy}."
        ) from error
    except RecipeMismatchError as error:
        differences = "; ".join(
            f"{name} was {str(planned)[:16]!r}, but is {str(current)[:16]!r} here"
            for name, (planned, current) in error.differences.items()
        )
        raise JobError(
            f"The job in {job.folder.location!r} was planned (by featx {manifest.featx}) with another recipe than this "
            f"machine has: {differences}. Run it where the recipe is the same, {remedy}."
        ) from error


class _WorkerProcess:
    """Ends a local worker process cleanly: rows that it has computed are stored first.

    No engine covers this: loky and ``concurrent.futures`` kill a worker at once, or let it finish its task, and a
    worker whose client was killed goes on with its task.
    """

    def __init__(self) -> None:
        self._is_busy = self._is_ending = self._is_worker = False

    def start(self, client: int, quiet: bool | None) -> int:
        """Set up a process that works for the process `client`; return its number."""
        self._is_worker = True
        if quiet is not None:
            show_messages(quiet)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes at once
        signal.signal(signal.SIGTERM, self._terminate)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        threading.Thread(target=self._end_with, args=(client,), daemon=True, name="featx-client").start()
        return os.getpid()

    def _terminate(self, number: int, frame: object) -> None:
        is_first, self._is_ending = not self._is_ending, True
        if self._is_busy and is_first:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let SIGTERM interrupt the block; a worker process ends when the block has cleaned up."""
        try:
            if self._is_ending:
                raise KeyboardInterrupt
            self._is_busy = True
            yield
        except KeyboardInterrupt:
            if self._is_worker:
                os._exit(1)
            raise
        finally:
            self._is_busy = False

    def _end_with(self, client: int) -> None:
        """End this process when its client has ended."""
        while os.getppid() == client:
            time.sleep(_PARENT_POLL_SECONDS)
        if self._is_busy:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
        os._exit(1)


_process = _WorkerProcess()


def start_worker(client: int, quiet: bool | None) -> int:
    """Set up this process as a worker of the process `client`; return its number."""
    return _process.start(client, quiet)


def is_quiet() -> bool | None:
    """Return whether this process shows no messages; None if the application configures the logger of featx."""
    log = logging.getLogger("featx")
    return log.level > logging.INFO if log.handlers else None
