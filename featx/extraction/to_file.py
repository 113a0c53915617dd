"""What `featx extract` leaves: the feature matrix, a table of its rows, a table of failures; audited."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import readable_positions
from featx.datasets.image_table import ImageTable
from featx.errors import AuditError, FeatxError, OutputError, ResourceError
from featx.extraction.extract import Extraction
from featx.extraction.options import Resolved
from featx.features.csv_table import (
    FAILURES_HEADER,
    TABLE_HEADER,
    failures_path,
    table_path,
    write_failures,
    write_table,
)
from featx.features.npy_writer import MatrixFile
from featx.store.view_store import ViewStores
from featx.system.array_types import DigestArray, FloatArray, IntArray
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
        rows = MatrixFile(matrix, len(table), resolved.n_features)
        extraction = Extraction(
            table.paths, resolved, rows, cache=cache, raise_on_error=on_error == "raise", progress=progress
        )
        _run(extraction)
        kept = readable_positions(len(table), extraction.failures)
        rows.keep(kept)
        write_table(listing, _table_rows(table, extraction.digests, kept))
        _audit(matrix, listing, extraction, kept)
        write_failures(output, extraction.failures)
    seconds = time.perf_counter() - started
    recipe = resolved.recipe
    return ExtractionSummary(
        rows=len(kept),
        features=resolved.n_features,
        computed=extraction.n_computed,
        cached=extraction.n_cached,
        failed=len(extraction.failures),
        padded=len(extraction.padded),
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


def _run(extraction: Extraction) -> None:
    try:
        extraction.run()
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise ResourceError(f"The system refused something ({error}). Run the same command again.") from error


def _table_rows(table: ImageTable, digests: DigestArray, kept: Iterable[int]) -> Iterator[tuple[str, Any, str]]:
    for index in kept:
        yield table.paths[index], table.labels[index], digests[index].tobytes().hex()


def _audit(matrix: Path, listing: Path, extraction: Extraction, kept: IntArray) -> None:
    """Read both files back: a row for each line, in order, finite, and the one of its digest in the store."""
    store = extraction.store
    if store is not None:
        store.refresh()
    checked = 0
    with open(listing, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for lines in _blocks(csv.DictReader(file)):
            # Mapped anew for each block, so that pages read do not add up.
            rows = np.load(matrix, mmap_mode="r", allow_pickle=False)
            block = np.array(rows[checked : checked + len(lines)])
            if [int(line["row"]) for line in lines] != list(range(checked, checked + len(block))):
                raise _audit_error(f"row numbers from {checked} on do not match")
            joined = np.frombuffer(bytes.fromhex("".join(line["digest"] for line in lines)), dtype=np.uint8)
            digests = joined.reshape(len(lines), -1)
            right = np.array_equal(digests, extraction.digests[kept[checked : checked + len(lines)]])
            if not right or not np.isfinite(block).all() or not _agree_with_store(digests, block, store):
                raise _audit_error(f"a row among {checked} to {checked + len(lines) - 1} is not the one of its image")
            checked += len(lines)
    n_rows = len(np.load(matrix, mmap_mode="r", allow_pickle=False))
    if checked != n_rows:
        raise _audit_error(f"{n_rows} rows, {checked} lines")


def _agree_with_store(digests: DigestArray, rows: FloatArray, store: ViewStores | None) -> bool:
    """Whether these are the rows that the store has, or as near to them as another engine or CPU would come.

    Two processes may have computed one image at the same time, and the store then has either's row.
    """
    if store is None:
        return True
    found, kept = store.read(digests)
    rows = rows[found]  # the others were cleared or found damaged since they were copied from it
    largest = np.abs(kept).max(axis=1, initial=0)
    return bool((np.abs(kept - rows).max(axis=1, initial=0) <= 0.05 * largest + 1e-6).all())


def _blocks(lines: Iterable[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    block: list[dict[str, str]] = []
    for line in lines:
        block.append(line)
        if len(block) == _BLOCK_ROWS:
            yield block
            block = []
    if block:
        yield block


def _audit_error(found: str) -> AuditError:
    return AuditError(
        f"The matrix and the table of its rows do not match: {found}. Neither was kept; the rows in the cache are "
        "untouched. Run the same command again, and please report this."
    )
