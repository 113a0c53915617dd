"""One shard: compute its rows, and commit them so that the work of no other client is damaged."""

from __future__ import annotations

import collections
import concurrent.futures
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import JobError, SourceError, UnreachableImageError
from featx.extraction.extract import extract_into
from featx.extraction.ledger import UNKNOWN_STATE, Ledger
from featx.extraction.options import Resolved
from featx.features.job_files import CommittedShard, PlannedShard, checksum_of, matrix_name, table_name
from featx.features.job_tables import make_shard_table, shard_table_bytes
from featx.features.npy_writer import NpyWriter
from featx.images.image import find_file_state
from featx.jobs.job import Job

#: A shard with at least this number of images, none of them reachable, has a source that is away.
_MIN_UNREACHABLE = 4

_log = logging.getLogger("featx")


class UnreachableSourceError(SourceError):
    """No image of a shard is reachable."""


def run_shard(
    job: Job,
    shard: int,
    resolved: Resolved,
    *,
    cache: Path | None,
    raise_on_error: bool = False,
    progress: Callable[[int], object] | None = None,
    recompute: bool = False,
) -> CommittedShard:
    """Compute the rows of a shard and commit them; return what is committed, by this worker or another.

    `recompute` replaces the committed rows if images that failed have a row now. UnreachableSourceError: no image is
    reachable. For other parameters and errors, see :func:`featx.extraction.extract.extract_into`.
    """
    started = time.perf_counter()
    planned = job.planned(shard)
    paths = job.resolve_paths(planned.paths)
    with job.folder.scratch("shards") as matrix, concurrent.futures.ThreadPoolExecutor(1) as thread:
        rows = NpyWriter(matrix, len(paths), resolved.n_features)
        ledger = extract_into(rows, paths, resolved, cache=cache, raise_on_error=raise_on_error, progress=progress)
        _check_reachable(shard, len(paths), ledger.failures)
        failed = {failure.position: failure for failure in ledger.failures}
        rows.keep(np.array([position for position in range(len(paths)) if position not in failed], dtype=np.int64))
        checksum = thread.submit(checksum_of, matrix)
        table = make_shard_table(planned, job.manifest.labels, ledger.digests, failed)
        done = CommittedShard(
            job=job.manifest.id,
            fingerprint=job.manifest.fingerprint,
            shard=shard,
            rows=len(paths) - len(failed),
            computed=ledger.n_computed,
            cached=ledger.n_cached,
            failed=len(failed),
            padded=len(ledger.padded),
            changed=_count_changed(paths, planned, ledger),
            checksum=checksum.result(),
            seconds=round(time.perf_counter() - started, 3),
        )
        if recompute and (committed := _keep_committed(job, shard, table)):
            return committed
        return _commit(job, done, matrix, shard_table_bytes(done, table), replace=recompute)


def _check_reachable(shard: int, n_images: int, failures: Sequence[Failure]) -> None:
    """Raise an error if none of many images is reachable: the disk may not be mounted here."""
    unreachable = [failure for failure in failures if failure.error == UnreachableImageError.__name__]
    if n_images >= _MIN_UNREACHABLE and len(unreachable) == n_images:
        raise UnreachableSourceError(
            f"None of the {n_images:,} images of shard {shard} is reachable, the first is {unreachable[0].image!r}: "
            f"{unreachable[0].reason.rstrip('.')}. Mount their disk or start their server, then run the same command "
            "again. If they are gone for good, plan the job again under a new name: cached rows are not computed again."
        )


def _count_changed(paths: list[str], planned: PlannedShard, ledger: Ledger) -> int:
    """Return the number of files that changed since the job was planned."""

    def is_changed(path: str, before: tuple[int, int] | None, now: tuple[int, ...]) -> bool:
        if before is None or now == before:
            return False
        state = find_file_state(path) if now == UNKNOWN_STATE else None  # cached or unreadable
        return now != UNKNOWN_STATE if state is None else (state.st_size, state.st_mtime_ns) != before

    files = zip(paths, planned.states, map(tuple, ledger.file_states.tolist()), strict=True)
    return sum(is_changed(path, before, now) for path, before, now in files)


def _keep_committed(job: Job, shard: int, table: Any) -> CommittedShard | None:
    """Return what is committed of a shard if the new rows do not improve on it."""
    try:
        committed = job.read_committed(shard)
        before = job.table(committed)["status"]
    except (FileNotFoundError, JobError):
        return None
    changes = collections.Counter(zip(before, table.column("status").to_pylist(), strict=True))
    if n_lost := changes["done", "failed"]:
        _log.warning("Shard %d is kept as it was: %d of its images that have a row cannot be read now.", shard, n_lost)
    return committed if n_lost or not changes["failed", "done"] else None


def _commit(job: Job, done: CommittedShard, matrix: Path, table: bytes, *, replace: bool) -> CommittedShard:
    """Publish the rows of a shard, and then the table that commits them; return what is committed in the end.

    The first table wins, unless `replace`. Other rows have another checksum and another name, so no table is ever
    next to rows of another writer. No engine covers this: a shard may run twice at the same time (two clients, or a
    worker that an engine wrongly takes for dead), and the writers share only the folder.
    """
    folder, name = job.folder, table_name(done.shard)
    folder.replace(matrix_name(done.shard, done.checksum), matrix)
    if not replace and folder.create(name, table):
        return done
    winner, loser = done, _read_valid(job, done.shard)
    if loser is not None and not replace:
        winner, loser = loser, done
    else:  # a table of an earlier job commits nothing
        with folder.scratch("shards") as temporary:
            temporary.write_bytes(table)
            folder.replace(name, temporary)
    if loser is not None and loser.checksum != winner.checksum:
        folder.remove(matrix_name(loser.shard, loser.checksum))
    return winner


def _read_valid(job: Job, shard: int) -> CommittedShard | None:
    """Return what is committed of a shard; None if nothing is."""
    try:
        return job.read_committed(shard)
    except (FileNotFoundError, JobError):
        return None
