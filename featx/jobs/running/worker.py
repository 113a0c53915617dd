"""A worker of a job: one shard after the other, with the network kept between them."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import threading
from pathlib import Path
from typing import Any

from featx.backbones import registry as backbones
from featx.errors import EngineError, FeatxError, JobError, OutputError, RecipeMismatchError
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.resolved import resolve_with_recipe
from featx.features.job_format import again_name, table_name
from featx.jobs.backends.worker_exit import interruptible
from featx.jobs.job import Job
from featx.jobs.running import heartbeats as attempts
from featx.jobs.running import retries as outcomes
from featx.jobs.running.shard import SourceAwayError, run_shard
from featx.jobs.storage import Place

#: A worker of a cluster may have several threads; the network uses all cores for one shard.
_one_at_a_time = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Task:
    """One shard, and what a worker must know to compute it.

    Attributes
    ----------
    address : str
        Of the job.
    job_id : str
    shard : int
    client : str
        Token of the client that gives it out.
    n_round : int
        In which of its rounds.
    cache : str or None
        As a whole path: the working folder of a worker may be another than the client's.
    is_cache_auto : bool
        Whether nobody named it, so that ``FEATX_CACHE`` of the worker goes before it.
    raise_on_error : bool
    here : dict
        Options that concern one machine alone: ``engine``, ``batch_size``.
    backbone : Backbone or None
        One that was registered, and that other processes do not know.
    witnesses : tuple of str
        Images of other shards: if one of them is in reach, and none of this shard, the latter are gone for good.
    has_others : bool
        Whether there are shards to begin with that have not failed before.
    """

    address: str
    job_id: str
    shard: int
    client: str
    n_round: int
    cache: str | None
    is_cache_auto: bool
    raise_on_error: bool
    here: dict[str, Any]
    backbone: Any = None
    witnesses: tuple[str, ...] = ()
    has_others: bool = True


def work(task: Task) -> None:
    """Compute and commit a shard, unless somebody has.

    What is the shard's own fault counts as a try of it, and the rest of the job goes on.

    Raises
    ------
    FeatxError
        What is no fault of the shard.
    """
    with _one_at_a_time:
        _work(task)


def _work(task: Task) -> None:
    if task.backbone is not None:
        backbones.register_backbone(task.backbone, replace=True)
    job = _job(task.address, task.job_id)
    if job.manifest.id != task.job_id:
        raise JobError(
            f"In {job.place.address!r} another job has been planned since this run began. Nothing was computed for it. "
            f"Run that one: featx job run {job.place.address}"
        )
    resolved = _resolved(task.address, task.job_id, tuple(sorted(task.here.items())))
    again = job.place.has(table_name(task.shard))
    if again and not job.place.has(again_name(task.shard)):
        return
    n_tries = _count_tries(job, task)
    if (n_tries or 0) >= attempts.TRIES:
        return  # the client sets it aside
    note = attempts.Note(job.place, task.shard, task.client, task.n_round, always=n_tries is not None)
    with interruptible(), note as progress:
        try:
            run_shard(
                job,
                task.shard,
                resolved,
                cache=_cache(task),
                raise_on_error=task.raise_on_error,
                progress=progress,
                witnesses=task.witnesses,
                again=again,
            )
            outcomes.tell_done(job.place, task.client)
            if again:
                job.place.remove(again_name(task.shard))
        except SourceAwayError as error:
            _note_away(job.place, task, error)
        except Exception as error:
            if isinstance(error, FeatxError) and not isinstance(error, EngineError):
                raise
            if isinstance(error, OSError):  # of the system, for what is wrong with images is said otherwise
                raise OutputError(
                    f"Shard {task.shard} of {job.place.address!r} cannot be written: {error.strerror or error}. Make "
                    "room or unlock it, and run the same command again: what is done is kept."
                ) from error
            reason = str(error) if isinstance(error, FeatxError) else f"{type(error).__name__}: {error}"
            _note_failed(job.place, task, " ".join(reason.split()))


def _cache(task: Task) -> Path | None:
    """Return the cache: that of the client, unless it was not named and this machine has one of its own."""
    own = os.environ.get("FEATX_CACHE") if task.is_cache_auto else None
    found = own or task.cache
    return Path(found).expanduser() if found else None


def _note_away(place: Place, task: Task, error: SourceAwayError) -> None:
    """Leave a shard for later of which no image is in reach, unless nothing is."""
    outcomes.mark(place, task.client, task.shard, "away", str(error))
    is_first = len(outcomes.marked(place, task.client, "away")) >= outcomes.AWAY_AT_ONCE
    if task.witnesses or (is_first and not outcomes.is_any_done(place, task.client)):
        raise error


def _note_failed(place: Place, task: Task, reason: str) -> None:
    """Count a try of a shard, unless it is no fault of its own: nothing works."""
    attempts.count_try(place, task.shard, reason)
    outcomes.mark(place, task.client, task.shard, "failed", reason)
    n_failed = len(outcomes.marked(place, task.client, "failed"))
    if task.has_others and n_failed >= outcomes.FAILED_AT_ONCE and not outcomes.is_any_done(place, task.client):
        raise JobError(
            f"The first {n_failed} shards of this run have all failed, the last on {socket.gethostname()}: "
            f"{reason.rstrip('.')}. "
            "Is it the machine, or the network? None of them is set aside; run the same again when it is well."
        )


def _count_tries(job: Job, task: Task) -> int | None:
    """Count the tries of a shard that the cluster gives out again, as its worker died; return how many there were.

    Of an earlier round's, it is the client who knows whether they live.
    """
    for note in attempts.at_work(job.place, task.shard):
        # Of a worker on another machine the cluster knows more than its note.
        is_ours = (note.client, note.n_round) == (task.client, task.n_round)
        if is_ours and not (note.is_here and note.is_alive):
            job.place.remove(note.name)
            attempts.count_try(job.place, task.shard, f"{attempts.DIED} {around(job, note)}")
    return attempts.tried(job.place).get(task.shard)


def around(job: Job, note: attempts.AtWork) -> str:
    """Return at which image a worker was when it gave its last sign."""
    paths = job.planned(note.shard).paths
    at = min(note.n_done, len(paths) - 1)
    return f"around image {note.shard * job.manifest.shard_size + at:,} of the plan ({paths[at]!r})"


@functools.lru_cache(maxsize=2)
def _job(address: str, job_id: str) -> Job:
    return Job(Place(address))


@functools.lru_cache(maxsize=2)
def _resolved(address: str, job_id: str, here: tuple[tuple[str, Any], ...]) -> Resolved:
    return resolve(_job(address, job_id), dict(here))


def resolve(job: Job, here: dict[str, Any]) -> Resolved:
    """Return what runs, if it gives the features that were planned.

    Raises
    ------
    JobError
        Here the options mean another recipe.
    """
    manifest = job.manifest
    try:
        return resolve_with_recipe(ExtractionOptions(**{**manifest.options, **here}), manifest.recipe)
    except TypeError as error:
        raise JobError(
            f"The job in {job.place.address!r} was planned by featx {manifest.featx} with options that this one does "
            f"not have ({error}). Run it with that version, or plan it anew in another folder."
        ) from error
    except RecipeMismatchError as error:
        said = "; ".join(
            f"{name} was {str(planned)[:16]!r}, here it is {str(found)[:16]!r}"
            for name, (planned, found) in error.differences.items()
        )
        raise JobError(
            f"The job in {job.place.address!r} was planned (by featx {manifest.featx}) with another recipe than this "
            f"machine has: {said}. Nothing was computed. Run it where the recipe is the same, or plan it anew in "
            "another folder: rows that are in the store are not computed again."
        ) from error
