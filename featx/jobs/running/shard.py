"""One shard: its rows computed, and committed so that nobody else's work is damaged."""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import JobError, OutputError, SourceError, UnreachableImageError, UnreadableImageError
from featx.extraction.extract import extract_into
from featx.extraction.ledger import UNKNOWN_STATE, Ledger
from featx.extraction.options import Resolved
from featx.features.job_columns import import_pyarrow, text_columns
from featx.features.job_format import FORMAT, METADATA, CommittedShard, PlannedShard, matrix_name, table_name
from featx.images.image import DIGEST_SIZE, file_state, read_image
from featx.jobs.job import Job
from featx.jobs.running.hashed_npy import HashedMatrixFile, checksum_of, new_hash
from featx.system.files import remote

#: How long one whose rows differ from those that lie there waits for the table of whoever wrote them, in seconds.
_PATIENCE_SECONDS = 3.0
_ASK_AGAIN = 0.1
_BLOCK = 2**20
_ROUNDS = 5
_log = logging.getLogger("featx")

#: A shard of so many images, of which not one can be reached, is taken for one whose source is away.
_SEVERAL = 10


class SourceAwayError(SourceError):
    """Not one image of a shard is in reach."""


def run_shard(
    job: Job,
    shard: int,
    resolved: Resolved,
    *,
    cache: Path | None,
    raise_on_error: bool = False,
    progress: Callable[[int], object] | None = None,
    witnesses: Sequence[str] = (),
    again: bool = False,
) -> CommittedShard:
    """Compute the rows of a shard and commit them; return what is committed, by whomever.

    Parameters
    ----------
    job : Job
    shard : int
    resolved : Resolved
    cache, raise_on_error, progress
        As of :func:`featx.extraction.extract.extract_into`.
    witnesses : sequence of str, default=()
        Images of other shards: if one of them is in reach, and none of this shard, the latter are listed as failed.
    again : bool, default=False
        Put the rows in place of those that are committed, if images that failed have a row now.

    Raises
    ------
    SourceAwayError
        Not one of its images is in reach.
    FeatxError
        As of :func:`featx.extraction.to_file.extract_to_file`, and JobError of a damaged plan.
    """
    started = time.perf_counter()
    planned = job.planned(shard)
    paths = job.located(planned.paths)
    width = resolved.n_features
    with job.place.scratch("shards") as temporary, HashedMatrixFile(temporary, len(paths), width) as rows:
        ledger = extract_into(rows, paths, resolved, cache=cache, raise_on_error=raise_on_error, progress=progress)
        if not any(map(_is_in_reach, job.located(witnesses))):
            _refuse_source_away(shard, len(paths), ledger.failures)
        failed = {failure.position for failure in ledger.failures}
        rows.keep(np.array([at for at in range(len(paths)) if at not in failed], dtype=np.int64))
        checksum = rows.finish()
        table = _table(job, planned, ledger)
        done = CommittedShard(
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
        if again and (old := _standing(job, shard, table)):
            return old
        return _commit(job, done, temporary, _as_file(job, done, table), again=again)


def _is_in_reach(path: str) -> bool:
    try:
        read_image(path)
    except UnreadableImageError as error:
        return not isinstance(error, UnreachableImageError)
    return True


def _refuse_source_away(shard: int, n_images: int, failures: Sequence[Failure]) -> None:
    """Raise if not one of many images is to be reached: a disk that is not mounted here is no fault of the images."""
    away = [failure for failure in failures if failure.error == UnreachableImageError.__name__]
    if n_images >= _SEVERAL and len(away) == n_images:
        raise SourceAwayError(
            f"Not one of the {n_images:,} images of shard {shard} can be reached, the first {away[0].image!r}: "
            f"{away[0].reason.rstrip('.')}. Is their disk mounted here, their server up? Then run the same again; if "
            "they are gone for good, plan the job anew without them: rows that are in the store are not computed again."
        )


def _count_changed(paths: list[str], planned: PlannedShard, ledger: Ledger) -> int:
    """Return how many files were no longer what they were when the job was planned."""
    seen = map(tuple, ledger.file_states.tolist())
    return sum(
        before is not None and now != before and (now != UNKNOWN_STATE or state_of(path) != before)
        for path, before, now in zip(paths, planned.states, seen, strict=True)
    )


def state_of(path: str) -> tuple[int, int] | None:
    """Return size and time of change of a file, or of the archive that it is in; None where there is none."""
    if remote.is_url(path):
        return None
    try:
        state = file_state(path)
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns


def _table(job: Job, planned: PlannedShard, ledger: Ledger) -> Any:
    """Return a line for each image of a shard."""
    pa = import_pyarrow()
    n_images = len(planned.paths)
    failures = {failure.position: failure for failure in ledger.failures}
    known = np.any(ledger.digests, axis=1)
    joined = ledger.digests.tobytes().hex()
    size = 2 * DIGEST_SIZE
    kinds = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
    kind = kinds.get(job.manifest.labels)
    labels = {"label": pa.array(planned.labels, kind)} if kind else text_columns("label", planned.labels)
    columns = {
        **text_columns("path", planned.paths),
        **labels,
        "digest": pa.array(
            [joined[at * size : (at + 1) * size] if known[at] else None for at in range(n_images)], pa.string()
        ),
        "status": pa.array(["failed" if at in failures else "done" for at in range(n_images)], pa.string()),
        "reason": pa.array([failures[at].reason if at in failures else None for at in range(n_images)], pa.string()),
        "error": pa.array([failures[at].error if at in failures else None for at in range(n_images)], pa.string()),
    }
    return pa.table(columns)


def _as_file(job: Job, done: CommittedShard, table: Any) -> bytes:
    """Return the table of a shard as a Parquet file, which vouches for the rows."""
    manifest = job.manifest
    said = {"format": FORMAT, "job": manifest.id, "fingerprint": manifest.fingerprint, **dataclasses.asdict(done)}
    buffer = io.BytesIO()
    import_pyarrow().parquet.write_table(
        table.replace_schema_metadata({METADATA: json.dumps(said)}),
        buffer,
        compression="zstd",
        use_dictionary=["label", "status", "reason", "error"],
        write_statistics=False,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def _standing(job: Job, shard: int, table: Any) -> CommittedShard | None:
    """Return what is committed of a shard, if it is not worse than what was computed again; else None."""
    try:
        old = job.read_committed(shard)
        before = job.lines(old)["status"]
    except (FileNotFoundError, JobError):
        return None
    both = collections.Counter(zip(before, table.column("status").to_pylist(), strict=True))
    if n_lost := both["done", "failed"]:
        _log.warning("Shard %d is left as it was: %d of its images that have a row cannot be read now.", shard, n_lost)
    return old if n_lost or not both["failed", "done"] else None


def _commit(job: Job, done: CommittedShard, matrix: Path, table: bytes, *, again: bool = False) -> CommittedShard:
    """Publish the rows and then the table that vouches for them; the first table stands, unless it is done again."""
    place, shard = job.place, done.shard
    if again:
        place.remove(table_name(shard))  # first: what comes now vouches for nothing
        place.replace_from(matrix_name(shard), matrix)
    for _ in range(_ROUNDS):
        if not place.create_from(matrix_name(shard), matrix) and not _is_same(job, done):
            if won := _wait_for_table(job, shard):
                return won
            place.replace_from(matrix_name(shard), matrix)
        if place.create(table_name(shard), table):
            return done
        try:
            winner = job.read_committed(shard)
        except FileNotFoundError:  # a third writer has just removed it
            continue
        except JobError:  # of a worker that a job planned here before has left behind
            place.remove(table_name(shard))
            continue
        if winner.checksum == done.checksum or _is_same(job, winner):
            return winner
        # A writer that was held up has vouched for rows that were taken for a dead one's and replaced.
        place.remove(table_name(shard))
    raise OutputError(
        f"The shard {place.path(table_name(shard))!r} is written by others again and again. Run one client at a time."
    )


def _is_same(job: Job, done: CommittedShard) -> bool:
    """Return whether the matrix that lies there is the one of a checksum."""
    name = matrix_name(done.shard)
    try:
        if job.place.is_local:
            return checksum_of(Path(job.place.path(name))) == done.checksum
        hashed = new_hash()
        hashed.update(job.place.read(name))
        return bool(hashed.hexdigest() == done.checksum)
    except FileNotFoundError:
        return False


def _wait_for_table(job: Job, shard: int) -> CommittedShard | None:
    """Return what the writer of the matrix that lies there has committed; None if nothing comes of it."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            return job.read_committed(shard)
        except FileNotFoundError:
            time.sleep(_ASK_AGAIN)
        except JobError:
            return None
    return None
