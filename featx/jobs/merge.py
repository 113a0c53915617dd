"""The shards of a job → one matrix and its tables, as `featx extract` leaves them, in constant memory."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from featx.datasets.failures import Failure
from featx.errors import AuditError, JobError, OutputError, SourceError
from featx.extraction.to_file import check_output, replacing_outputs
from featx.features.csv_table import failures_path, table_path, write_failures, write_table
from featx.features.job_columns import import_pyarrow, texts_of
from featx.features.job_format import CommittedShard, totals
from featx.features.npy_writer import HEADER_BYTES, allocate_space, npy_header
from featx.images.image import DIGEST_SIZE
from featx.jobs.job import Job
from featx.jobs.planning.preconditions import refuse_in_job
from featx.jobs.running.heartbeats import which_aside
from featx.jobs.running.monitor import matrix_here
from featx.jobs.storage import Place
from featx.system.files import remote
from featx.system.formatting import format_count, format_list

_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class JobMerge:
    """What `featx job merge` says; the fields of its ``--json``.

    Attributes
    ----------
    rows, features, failed : int
    shards : int
        That were joined.
    missing : int
        Images of shards that are not done, which were left out.
    seconds : float
    output : str
    """

    rows: int
    features: int
    failed: int
    shards: int
    missing: int
    seconds: float
    output: str

    def as_text(self) -> str:
        """Return a summary for people."""
        output = Path(self.output)
        lines = [
            f"{self.rows} rows of {self.features} features in {output}; paths and labels in {table_path(output)}",
            f"{format_count(self.shards, 'shard')} joined in {self.seconds:.1f} s",
        ]
        if self.missing:
            lines.append(f"{format_count(self.missing, 'image')} left out: their shards are not done")
        if self.failed:
            lines.append(f"What failed, and why: {failures_path(output)}")
        return "\n".join(lines)


def merge_job(
    job: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    allow_incomplete: bool = False,
    progress: Callable[[int], object] | None = None,
) -> JobMerge:
    """Join the shards of a job into one ``.npy`` file with a table of its rows beside it.

    They are byte for byte what :command:`featx extract` leaves. Rows are copied through a block of memory, however
    many there are, and every shard is checked against what was committed.

    Parameters
    ----------
    job : str or Path
        Where it is.
    output : str or Path
        The matrix, a local file.
    allow_incomplete : bool, default=False
        Join the shards that are done although others are not.
    progress : callable, default=None
        Called with the number of images joined since the last call.

    Returns
    -------
    JobMerge

    Raises
    ------
    JobError
        Shards are not done, or damaged: nothing was written.
    OutputError
        The output cannot be written.
    SourceError
        Not one of the images could be read.

    Examples
    --------
    >>> import os, tempfile, PIL.Image
    >>> import numpy as np
    >>> from featx import merge_job, plan_job, run_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(f"{folder}/photos")
    ...     for number in range(3):
    ...         PIL.Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(f"{folder}/photos/{number}.png")
    ...     options = {"backbone": "color_histogram", "shard_size": 2, "sample": 0, "cache": None}
    ...     plan = plan_job(f"{folder}/photos", f"{folder}/job", **options)
    ...     run = run_job(f"{folder}/job", cache=None)
    ...     merged = merge_job(f"{folder}/job", f"{folder}/features.npy")
    ...     shape = np.load(f"{folder}/features.npy").shape
    >>> merged.shards, merged.missing, shape
    (2, 0, (3, 512))
    """
    started = time.perf_counter()
    import_pyarrow()
    if remote.is_url(os.fspath(output)):
        raise OutputError(
            f"{os.fspath(output)!r} is an address; the matrix is written to a local file. Pass -o features.npy, and "
            "copy it there."
        )
    whole, path = Job(Place(job)), Path(output)
    check_output(path)
    refuse_in_job(path, whole.place)
    shards, missing = _complete(whole, allow_incomplete=allow_incomplete)
    sums = totals(shards)
    if not shards:
        raise JobError(f"Nothing is done yet of the job in {whole.place.address!r}. Run it: featx job run {job}")
    if not sums["rows"]:
        first = next(_failures(whole, shards), None)
        why = f"; the first is {first.image!r}: {first.reason}" if first else ""
        raise SourceError(f"None of the {sums['failed']} images can be read{why}. Look at the files, or at the source.")
    with replacing_outputs(path) as (matrix, listing):
        _join(whole, shards, matrix, progress or (lambda n_images: None))
        n_lines = write_table(listing, _table_rows(whole, shards))
        if n_lines != sums["rows"] or os.path.getsize(matrix) != HEADER_BYTES + 4 * n_lines * whole.manifest.n_features:
            raise AuditError(
                f"The matrix has {sums['rows']:,} rows and its table {n_lines:,} lines. Neither was kept. Run: featx "
                f"job run {whole.place.address} --verify"
            )
        write_failures(path, _failures(whole, shards))
    return JobMerge(
        rows=sums["rows"],
        features=whole.manifest.n_features,
        failed=sums["failed"],
        shards=len(shards),
        missing=missing,
        seconds=round(time.perf_counter() - started, 3),
        output=str(path),
    )


def _complete(job: Job, *, allow_incomplete: bool) -> tuple[list[CommittedShard], int]:
    """Return the shards in order, and how many images are missing."""
    done, damaged = job.committed()
    address, n_shards = job.place.address, job.manifest.n_shards
    if damaged:
        first, reason = next(iter(damaged.items()))
        raise JobError(
            f"{format_count(len(damaged), 'shard')} of {address!r} damaged, the first is {first} ({reason}). Do "
            f"what is "
            f"damaged again: featx job run {address}"
        )
    left = [shard for shard in range(n_shards) if shard not in done]
    if left and not allow_incomplete:
        aside = which_aside(job.place)
        hint = f" Set aside are {format_list(sorted(aside))}: --retry-quarantined tries them again." if aside else ""
        raise JobError(
            f"{len(left):,} of {format_count(n_shards, 'shard')} of {address!r} are not done, the first is "
            f"{left[0]}. Run "
            f"featx job run {address}, or join what there is with --allow-incomplete.{hint}"
        )
    return [done[shard] for shard in sorted(done)], sum(job.n_images(shard) for shard in left)


def _join(job: Job, shards: list[CommittedShard], matrix: Path, progress: Callable[[int], object]) -> None:
    """Write all rows, one shard after the other."""
    n_rows, width = sum(shard.rows for shard in shards), 4 * job.manifest.n_features
    with open(matrix, "xb") as joined:
        joined.write(npy_header((n_rows, job.manifest.n_features)))
        allocate_space(joined, HEADER_BYTES + n_rows * width)
        for shard in shards:
            with matrix_here(job, shard.shard) as path:
                if _copy(path, joined) != shard.checksum:
                    raise JobError(
                        f"The rows of shard {shard.shard} of {job.place.address!r} are not those that were committed. "
                        f"Nothing was written. Do what is damaged again: featx job run {job.place.address} --verify"
                    )
            progress(shard.n_images)


def _copy(path: Path, joined: Any) -> str:
    """Append the rows of a shard; return the checksum of its file."""
    hashed = hashlib.blake2b(digest_size=DIGEST_SIZE)
    with open(path, "rb", buffering=0) as file:
        hashed.update(file.read(HEADER_BYTES))
        while block := file.read(_BLOCK):
            hashed.update(block)
            joined.write(block)
    return hashed.hexdigest()


def _table_rows(job: Job, shards: Iterable[CommittedShard]) -> Iterator[tuple[str, Any, str]]:
    """Yield path, label and digest of each row of the matrix."""
    for _, columns in _tables(job, shards):
        lines = zip(
            texts_of("path", columns), texts_of("label", columns), columns["digest"], columns["status"], strict=True
        )
        yield from ((path, label, digest) for path, label, digest, status in lines if status == "done")


def _failures(job: Job, shards: Iterable[CommittedShard]) -> Iterator[Failure]:
    failed = (shard for shard in shards if shard.failed)
    for shard, columns in _tables(job, failed):
        before = shard * job.manifest.shard_size
        for at, path in enumerate(texts_of("path", columns)):
            if columns["status"][at] == "failed":
                yield Failure(before + at, path, columns["reason"][at], columns["error"][at])


def _tables(job: Job, shards: Iterable[CommittedShard]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    """Yield the tables of shards, one in memory at a time."""
    for shard in shards:
        yield shard.shard, job.lines(shard)
