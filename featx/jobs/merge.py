"""Join the shards of a job into one matrix with its tables, in constant memory."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from featx.datasets.failures import Failure
from featx.errors import JobError, OptionError, SourceError
from featx.features.csv_table import failures_path, write_failures
from featx.features.job_files import CommittedShard, matrix_name, sum_counts
from featx.features.job_tables import committed_rows, failed_images
from featx.features.npy_writer import HEADER_BYTES, allocate_space
from featx.features.outputs import check_output, describe_output, replacing_outputs
from featx.images.image import DIGEST_SIZE
from featx.jobs.job import Job, open_job
from featx.jobs.preconditions import check_outside_job
from featx.system.arrays import npy_header
from featx.system.files import remote
from featx.system.files.parquet import import_pyarrow
from featx.system.formatting import format_count, format_list
from featx.system.notebook.html import TextResult
from featx.system.terminal.progress import ProgressFunction, reporting, stage

_BLOCK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class JobMerge(TextResult):
    """Result of :func:`featx.merge_job`; its fields are those of ``featx job merge --json``.

    Attributes
    ----------
    rows, features, failed : int
        Number of rows, of features of a row, and of unreadable images.
    shards, missing : int
        Number of shards that were joined, and of images of the other shards.
    seconds : float
        Duration.
    output : str
        Path of the matrix.

    See Also
    --------
    merge_job : Join the shards of a job.

    Examples
    --------
    >>> from featx import JobMerge
    >>> print(JobMerge(rows=5, features=512, failed=0, shards=3, missing=0, seconds=0.1, output="f.npy").as_text())
    5 rows of 512 features in f.npy; paths and labels in f.csv
    3 shards joined in 0.1 s
    """

    rows: int
    features: int
    failed: int
    shards: int
    missing: int
    seconds: float
    output: str

    def as_text(self) -> str:
        """Return a human-readable summary."""
        output = Path(self.output)
        size = f"{format_count(self.rows, 'row')} of {format_count(self.features, 'feature')}"
        shards = format_count(self.shards, "shard")
        lines = [f"{size} in {describe_output(output)}", f"{shards} joined in {self.seconds:.1f} s"]
        if self.missing:
            lines.append(f"{format_count(self.missing, 'image')} missing: their shards are not done")
        if self.failed:
            lines.append(f"Failures and their reasons: {failures_path(output)}")
        return "\n".join(lines)


def merge_job(
    job: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    allow_incomplete: bool = False,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> JobMerge:
    """Join the shards of a job into one ``.npy`` file with a table of its rows next to it, or into one Parquet file.

    The ``.npy`` file and its tables are byte for byte those of :command:`featx extract`. Memory use does not depend on
    the number of rows, and each shard is checked against the checksum of its table.

    Parameters
    ----------
    job : str or Path
        Path or URL of the job.
    output : str or Path
        Path of the matrix, a local file. It ends in ``.npy`` or ``.parquet``.
    allow_incomplete : bool, default=False
        Whether to join the shards that are done if the job is incomplete.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    JobMerge
        Number of rows and of shards, and path of the output.

    Raises
    ------
    JobError
        The job is incomplete, or shards are corrupt. Nothing is written.
    OptionError, OutputError
        The output is a URL, or cannot be written.
    SourceError
        No image of the job could be read.

    See Also
    --------
    run_job : Process the remaining shards of a job.
    open_features : Read the shards of a job without joining them.

    Examples
    --------
    >>> import tempfile, PIL.Image
    >>> from featx import merge_job, plan_job, run_job
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (32, 32)).save(f"{folder}/0.png")
    ...     plan = plan_job(f"{folder}/0.png", f"{folder}/job", backbone="color_histogram", sample=0, cache=None)
    ...     run = run_job(f"{folder}/job", cache=None)
    ...     merged = merge_job(f"{folder}/job", f"{folder}/features.npy")
    >>> merged.shards, merged.missing, merged.rows
    (1, 0, 1)
    """
    started = time.perf_counter()
    import_pyarrow()
    if remote.is_url(os.fspath(output)):
        raise OptionError(
            f"output (-o) must be a local file, got {os.fspath(output)!r}. Write features.npy, and copy it to the URL."
        )
    opened, path = open_job(job), Path(output)
    location, n_features = opened.folder.location, opened.manifest.n_features
    check_output(path)
    check_outside_job(path, opened.folder)
    shards, n_missing = _shards_to_join(opened, allow_incomplete=allow_incomplete)
    counts = sum_counts(shards)
    if not shards:
        raise JobError(f"No shard of the job in {location!r} is done. Run it: featx job run {shlex.quote(location)}")
    if not counts["rows"]:
        first = next(_failures(opened, shards))
        raise SourceError(
            f"None of the {counts['failed']:,} images can be read; the first is {first.image!r}: {first.reason}. Check "
            "the files or the source."
        )
    manifest, n_images = opened.manifest, sum(shard.n_images for shard in shards)
    # Relative paths start where the job was planned; the table next to a .npy file does not record it.
    record = {"recipe": manifest.recipe, "options": manifest.options, "folder": manifest.folder}
    with replacing_outputs(path) as files:
        with reporting(verbose, progress), stage("merge", n_images) as advance:
            _join(opened, shards, files.matrix, advance)
        shape, tables = (counts["rows"], n_features), (lambda shard: committed_rows(opened.table(shard)))
        files.write_table(lambda: itertools.chain.from_iterable(map(tables, shards)), shape, record)
        files.sync()
        write_failures(path, _failures(opened, shards))
    return JobMerge(
        rows=counts["rows"],
        features=n_features,
        failed=counts["failed"],
        shards=len(shards),
        missing=n_missing,
        seconds=round(time.perf_counter() - started, 3),
        output=str(path),
    )


def _shards_to_join(job: Job, *, allow_incomplete: bool) -> tuple[list[CommittedShard], int]:
    """Return the shards that are done in order, and the number of images of the others."""
    done, corrupt = job.committed()
    location, n_shards = job.folder.location, job.manifest.n_shards
    if corrupt:
        first, reason = next(iter(corrupt.items()))
        raise JobError(
            f"{format_count(len(corrupt), 'corrupt shard')} in {location!r}, the first is {first} ({reason}). Compute "
            f"corrupt shards again: featx job run {shlex.quote(location)}"
        )
    left = [shard for shard in range(n_shards) if shard not in done]
    if left and not allow_incomplete:
        quarantined = sorted(job.quarantined())
        hint = f" Quarantined: {format_list(quarantined)}; featx job run --retry-quarantined tries them again."
        raise JobError(
            f"{len(left):,} of {format_count(n_shards, 'shard')} of {location!r} are not done, the first is "
            f"{left[0]}. Run featx job run {shlex.quote(location)}, or join the others with allow_incomplete=True "
            f"(--allow-incomplete).{hint if quarantined else ''}"
        )
    return [done[shard] for shard in sorted(done)], sum(job.n_images(shard) for shard in left)


def _join(job: Job, shards: list[CommittedShard], matrix: Path, progress: Callable[[int], object]) -> None:
    """Write all rows, one shard after another."""
    n_rows, row_bytes = sum(shard.rows for shard in shards), 4 * job.manifest.n_features
    with open(matrix, "xb") as joined:
        joined.write(npy_header((n_rows, job.manifest.n_features)))
        allocate_space(joined, HEADER_BYTES + n_rows * row_bytes)
        for shard in shards:
            checksum = hashlib.blake2b(digest_size=DIGEST_SIZE)
            with job.folder.local_copy(matrix_name(shard.shard, shard.checksum)) as path, open(path, "rb") as file:
                checksum.update(file.read(HEADER_BYTES))
                while block := file.read(_BLOCK_BYTES):
                    checksum.update(block)
                    joined.write(block)
            if checksum.hexdigest() != shard.checksum:
                raise JobError(
                    f"The rows of shard {shard.shard} of {job.folder.location!r} differ from what was committed. "
                    "Nothing was written. Compute corrupt shards again: featx job run "
                    f"{shlex.quote(job.folder.location)} --verify"
                )
            progress(shard.n_images)


def _failures(job: Job, shards: Iterable[CommittedShard]) -> Iterator[Failure]:
    for shard in (shard for shard in shards if shard.failed):
        yield from failed_images(job.table(shard), shard.shard * job.manifest.shard_size)
