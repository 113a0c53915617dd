"""What `featx extract` leaves: the feature matrix, a table of its rows, a table of failures; audited."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import readable_positions
from featx.datasets.image_table import ImageTable
from featx.errors import AuditError, FeatxError, OutputError, ResourceError
from featx.extraction.extract import extract_into
from featx.extraction.options import Resolved
from featx.extraction.row_cache import RowCache, open_row_cache
from featx.features.csv_table import (
    FAILURES_HEADER,
    TABLE_HEADER,
    failures_path,
    table_path,
    write_failures,
    write_table,
)
from featx.features.npy_writer import NpyWriter
from featx.system.array_types import DigestArray, FloatArray
from featx.system.files.atomic import atomic_write, remove_abandoned, sync_folder
from featx.system.files.output_paths import (
    as_output_error,
    check_output_file,
    header_pattern,
    output_error,
    starts_with,
)
from featx.system.formatting import format_count

_BLOCK_ROWS = 4096
_OTHER_OUTPUT = "choose another output (-o)."


@dataclasses.dataclass(frozen=True)
class ExtractionSummary:
    """What `featx extract` says when it is done; the fields of its ``--json``.

    Attributes
    ----------
    rows : int
        Rows of the matrix.
    features : int
        Length of a row.
    computed, cached, failed : int
        Images that went through the network, whose row was there already, that cannot be read.
    padded : int
        Images that ended too early and were made complete.
    seconds, images_per_second : float
        Wall-clock time of the extraction, and images over it.
    backbone, precision, engine, fingerprint : str
        What ran, and the recipe's folder in the store; of averaged views, each of which has a folder of its own, the
        name of the whole recipe.
    output : str
        The matrix.
    """

    rows: int
    features: int
    computed: int
    cached: int
    failed: int
    padded: int
    seconds: float
    images_per_second: float
    backbone: str
    precision: str
    engine: str
    fingerprint: str
    output: str

    def as_text(self) -> str:
        """Return a summary for people."""
        output = Path(self.output)
        lines = [
            f"{self.rows} rows of {self.features} features in {output}; paths and labels in {table_path(output)}",
            f"{self.computed} computed, {self.cached} from the store, {self.failed} failed; "
            f"{self.seconds:.1f} s, {self.images_per_second:.0f} images/s "
            f"({self.backbone}, {self.precision}, {self.engine})",
        ]
        if self.padded:
            lines.append(
                f"{format_count(self.padded, 'truncated image')} made complete: what is missing is grey or black"
            )
        if self.failed:
            lines.append(f"What failed, and why: {failures_path(output)}")
        return "\n".join(lines)


def check_output(output: Path, *, otherwise: str = "") -> None:
    """Raise if the outputs cannot be written, before any work is done.

    Parameters
    ----------
    output : Path
    otherwise : str, default=""
        What else may be given than the name of a matrix, said where it is none.

    Raises
    ------
    OutputError
        A name that does not end in ``.npy``, a folder that is absent or locked, or a table beside it that is
        not featx's to replace.
    """
    if output.suffix != ".npy" or os.path.isdir(output):
        raise OutputError(
            f"The output (-o) must be the name of a .npy file, got {str(output)!r}. Pass for example -o features.npy."
            f"{otherwise and f' {otherwise}'}"
        )
    if not os.path.isdir(output.parent):
        raise output_error(output, f"there is no folder {str(output.parent)!r}", f"Create it, or {_OTHER_OUTPUT}")
    check_output_file(output, lambda _: True, remedy=f"Fix its permissions, or {_OTHER_OUTPUT}")
    for path, header in ((table_path(output), TABLE_HEADER), (failures_path(output), FAILURES_HEADER)):
        check_output_file(path, starts_with(header_pattern(header)), remedy=f"Move the file, or {_OTHER_OUTPUT}")


def extract_to_file(
    table: ImageTable,
    resolved: Resolved,
    output: Path,
    *,
    cache: Path | None,
    on_error: str = "skip",
    progress: Callable[[int], object] | None = None,
) -> ExtractionSummary:
    """Extract images into a ``.npy`` matrix on disk, with a table of its rows beside it.

    Rows and files are audited against each other before any of them gets its name. The matrix gets its
    name first and the table last: where there is a table, it is the one of the matrix beside it.

    Parameters
    ----------
    table : ImageTable
    resolved : Resolved
    output : Path
        The matrix; the tables lie beside it, as ``.csv`` and (if any image failed) ``.failures.csv``.
    cache : Path or None
    on_error : {"skip", "raise"}, default="skip"
        Leave out an image that cannot be read, or stop at the first.
    progress : callable, default=None
        Called with the number of images done since the last call.

    Raises
    ------
    OutputError
        The output cannot be written.
    SourceError
        Not one of the images can be read.
    UnreadableImageError
        With ``on_error="raise"``.
    """
    check_output(output)
    started = time.perf_counter()
    with replacing_outputs(output) as (matrix, listing):
        rows = NpyWriter(matrix, len(table), resolved.n_features)
        with _as_resource_error():
            ledger = extract_into(
                rows, table.paths, resolved, cache=cache, raise_on_error=on_error == "raise", progress=progress
            )
        failures = ledger.failures
        kept = readable_positions(len(table), failures)
        rows.keep(kept)
        write_table(listing, _table_rows(table, ledger.digests, kept))
        _audit(matrix, listing, ledger.digests[kept], open_row_cache(cache, resolved.recipe, resolved.n_features))
        write_failures(output, failures)
    seconds = time.perf_counter() - started
    recipe = resolved.recipe
    return ExtractionSummary(
        rows=len(kept),
        features=resolved.n_features,
        computed=ledger.n_computed,
        cached=ledger.n_cached,
        failed=len(failures),
        padded=len(ledger.padded),
        seconds=round(seconds, 3),
        images_per_second=round(len(table) / seconds, 1),
        backbone=recipe.backbone,
        precision=recipe.precision,
        engine=resolved.engine,
        fingerprint=recipe.fingerprint,
        output=str(output),
    )


@contextlib.contextmanager
def replacing_outputs(output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield temporary names for the matrix and its table, which get their own if the block ends well.

    The matrix gets its name first and the table last: a table that is there proves its matrix.
    """
    remedy = f"Free some disk space, or {_OTHER_OUTPUT} Then repeat the command; rows in the cache are not recomputed."
    with as_output_error(output, remedy):
        with atomic_write(table_path(output)) as listing, atomic_write(output) as matrix:
            remove_abandoned(output.parent)
            yield matrix, listing
        sync_folder(output.parent)


@contextlib.contextmanager
def _as_resource_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise ResourceError(f"The operating system reported an error: {error}. Repeat the command.") from error


def _table_rows(table: ImageTable, digests: DigestArray, kept: Iterable[int]) -> Iterator[tuple[str, Any, str]]:
    for index in kept:
        yield table.paths[index], table.labels[index], digests[index].tobytes().hex()


def _audit(matrix: Path, listing: Path, digests: DigestArray, cache: RowCache) -> None:
    """Read both files back: one finite row per line, in order, equal to the cached row of its digest."""
    checked = 0
    with open(listing, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for lines in _blocks(csv.DictReader(file)):
            # A new map for each block, so that the pages read do not add up.
            rows = np.load(matrix, mmap_mode="r", allow_pickle=False)
            end = checked + len(lines)
            block = np.array(rows[checked:end])
            if [int(line["row"]) for line in lines] != list(range(checked, checked + len(block))):
                raise _audit_error(f"row numbers from {checked} on do not match")
            joined = np.frombuffer(bytes.fromhex("".join(line["digest"] for line in lines)), dtype=np.uint8)
            listed = joined.reshape(len(lines), -1)
            is_valid = np.array_equal(listed, digests[checked:end]) and np.isfinite(block).all()
            if not is_valid or not _agrees_with_cache(listed, block, cache):
                raise _audit_error(f"a row from {checked} to {end - 1} does not belong to its image")
            checked = end
    n_rows = len(np.load(matrix, mmap_mode="r", allow_pickle=False))
    if checked != n_rows:
        raise _audit_error(f"{n_rows} rows, {checked} lines")


def _agrees_with_cache(digests: DigestArray, rows: FloatArray, cache: RowCache) -> bool:
    """Return whether these are the cached rows, up to the differences between engines and CPUs.

    Two processes may have computed the same image at the same time; the cache then has the row of either.
    """
    is_cached, expected = cache.read_rows(digests)
    rows = rows[is_cached]  # the others were cleared, or found corrupt, since they were read
    largest = np.abs(expected).max(axis=1, initial=0)
    return bool((np.abs(expected - rows).max(axis=1, initial=0) <= 0.05 * largest + 1e-6).all())


def _blocks(lines: Iterable[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    remaining = iter(lines)
    while block := list(itertools.islice(remaining, _BLOCK_ROWS)):
        yield block


def _audit_error(problem: str) -> AuditError:
    return AuditError(
        f"The matrix and the table of its rows do not match: {problem}. Neither was kept; the cache was not changed. "
        "Repeat the command, and please report this."
    )
