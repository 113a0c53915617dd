"""What `featx extract` leaves: the feature matrix, a table of its rows, a table of failures; audited."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx import files
from featx.errors import AuditError, FeatxError, OutputError
from featx.extraction import Extraction, Failure, readable_positions
from featx.options import Resolved
from featx.segments import FloatArray
from featx.sources import ImageTable
from featx.store import Store

_HEADER_BYTES = 128
_BLOCK_ROWS = 4096


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
    seconds, images_per_second : float
        Wall-clock time of the extraction, and images over it.
    backbone, precision, engine, fingerprint : str
        What ran, and the recipe's folder in the store.
    output : str
        The matrix.
    """

    rows: int
    features: int
    computed: int
    cached: int
    failed: int
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
        if self.failed:
            lines.append(f"What failed, and why: {failures_path(output)}")
        return "\n".join(lines)


def table_path(output: Path) -> Path:
    """Where the table of rows is: ``features.csv`` beside ``features.npy``."""
    return output.with_suffix(".csv")


def failures_path(output: Path) -> Path:
    """Where the table of failures is: ``features.failures.csv`` beside ``features.npy``."""
    return output.with_suffix(".failures.csv")


def check_output(output: Path) -> None:
    """Raise if the outputs cannot be written, before any work is done.

    Raises
    ------
    OutputError
    """
    folder = output.parent
    if output.suffix != ".npy" or output.is_dir():
        raise OutputError(
            f"The output {str(output)!r} is no file name ending in .npy. Pass for example -o features.npy."
        )
    if not folder.is_dir():
        raise OutputError(
            f"The folder {str(folder)!r} of the output {output.name!r} does not exist. Make it, or choose another -o."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {str(folder)!r} cannot be written. Unlock it, or choose another -o.")


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

    Rows and files are audited against each other before any of them gets its name, so there is
    either the whole result or what was there before.

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
    try:
        with files.replacing(output) as matrix, files.replacing(table_path(output)) as listing:
            rows = _MatrixFile(matrix, len(table), resolved.n_features)
            extraction = Extraction(
                table.paths,
                resolved,
                rows,
                cache=cache,
                on_error="nan" if on_error == "skip" else "raise",
                progress=progress,
            )
            extraction.run()
            kept = readable_positions(len(table), extraction.failures)
            rows.keep(kept)
            _write_table(listing, table, extraction, kept)
            _audit(matrix, listing, extraction.store)
            _write_failures(failures_path(output), extraction.failures)
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise OutputError(
            f"The output {str(output)!r} cannot be written: {error.strerror or error}. Rows extracted so far are kept "
            "in the cache. Make room or choose another -o, and run the same command again."
        ) from error
    files.sync_folder(output.parent)
    seconds = time.perf_counter() - started
    return ExtractionSummary(
        rows=len(kept),
        features=resolved.n_features,
        computed=extraction.n_computed,
        cached=extraction.n_cached,
        failed=len(extraction.failures),
        seconds=round(seconds, 3),
        images_per_second=round(len(table) / seconds, 1),
        backbone=resolved.recipe.backbone,
        precision=resolved.recipe.precision,
        engine=resolved.engine,
        fingerprint=resolved.recipe.fingerprint,
        output=str(output),
    )


class _MatrixFile:
    """A float32 ``.npy`` file filled row by row through a memory map, never held whole."""

    def __init__(self, path: Path, n_rows: int, n_features: int) -> None:
        self._path = path
        self._shape = (n_rows, n_features)
        self._touched = 0
        size = _HEADER_BYTES + n_rows * n_features * 4
        with open(path, "xb") as file:
            file.write(_npy_header(self._shape))
            # Space is taken now: a disk that fills up under a memory map kills the process (SIGBUS).
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                _write_zeros(file, size - _HEADER_BYTES)
        self._rows = self._map()

    def _map(self) -> Any:
        return np.memmap(self._path, dtype=np.float32, mode="r+", offset=_HEADER_BYTES, shape=self._shape)

    def __setitem__(self, positions: Any, rows: Any) -> None:
        self._rows[positions] = rows
        self._touched += np.size(rows) * 4
        if self._touched > 32 * 2**20:
            # A new map leaves the written pages to the system, so that they do not count as ours.
            self._rows = self._map()
            self._touched = 0

    def __getitem__(self, position: Any) -> Any:
        return self._rows[position]

    def keep(self, kept: np.ndarray[Any, Any]) -> None:
        """Close the gaps of all other rows, in place: a row only ever moves towards the start."""
        if len(kept) < self._shape[0]:
            for start in range(0, len(kept), _BLOCK_ROWS):
                block = kept[start : start + _BLOCK_ROWS]
                self[start : start + len(block)] = np.array(self._rows[block])
            self._shape = (len(kept), self._shape[1])
            with open(self._path, "rb+") as file:
                file.write(_npy_header(self._shape))
                file.truncate(_HEADER_BYTES + self._shape[0] * self._shape[1] * 4)
        del self._rows


def _npy_header(shape: tuple[int, int]) -> bytes:
    """Return a version 1.0 header of constant length, so that the number of rows can change later.

    Layout: numpy's documentation, "numpy.lib.format".
    """
    fields = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    prefix = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER_BYTES - 10)
    return prefix + fields.encode().ljust(_HEADER_BYTES - 11) + b"\n"


def _write_zeros(file: Any, size: int) -> None:
    block = bytes(2**20)
    while size > 0:
        size -= file.write(block[: min(size, len(block))])


@contextlib.contextmanager
def _csv_writer(path: Path) -> Iterator[Any]:
    # surrogateescape: a file name that is not UTF-8 comes out as the bytes it is.
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield csv.writer(file)


def _write_table(path: Path, table: ImageTable, extraction: Extraction, kept: Iterable[int]) -> None:
    with _csv_writer(path) as writer:
        writer.writerow(["row", "path", "label", "digest"])
        for row, at in enumerate(kept):
            writer.writerow([row, table.paths[at], table.labels[at] or "", extraction.digests[at].tobytes().hex()])


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    if not failures:
        path.unlink(missing_ok=True)  # of an earlier run
        return
    with files.replacing(path) as temporary, _csv_writer(temporary) as writer:
        writer.writerow(["path", "reason"])
        writer.writerows([failure.image, failure.reason] for failure in failures)


def _audit(matrix: Path, listing: Path, store: Store | None) -> None:
    """Read both files back: a row for each line, in order, finite, and equal to the store's row of its digest."""
    rows = np.load(matrix, mmap_mode="r", allow_pickle=False)
    if store is not None:
        store.refresh()
    checked = 0
    with open(listing, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for lines in _blocks(csv.DictReader(file)):
            block = np.array(rows[checked : checked + len(lines)])
            if [int(line["row"]) for line in lines] != list(range(checked, checked + len(block))):
                raise _audit_error(f"row numbers from {checked} on do not match")
            digests = np.frombuffer(bytes.fromhex("".join(line["digest"] for line in lines)), dtype=np.uint8)
            if not np.isfinite(block).all() or not _stored(digests.reshape(len(lines), -1), block, store):
                raise _audit_error(f"a row among {checked} to {checked + len(lines) - 1} is not the one of its image")
            checked += len(lines)
    if checked != len(rows):
        raise _audit_error(f"{len(rows)} rows, {checked} lines")


def _stored(digests: np.ndarray[Any, Any], rows: FloatArray, store: Store | None) -> bool:
    if store is None:
        return True
    found, kept = store.read(digests)
    return bool(found.all()) and np.array_equal(kept, rows)


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
