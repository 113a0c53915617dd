"""The rows of an extraction that were written: their tables, their audit, and what is reported about them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.datasets.image_table import ImageTable
from featx.errors import FeatxError, ResourceError
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.recorded import portable_options
from featx.extraction.row_cache import RowCache, open_row_cache
from featx.extraction.writing.summary import ExtractionSummary
from featx.features.csv_table import write_failures
from featx.features.outputs import OutputFiles, audit_error
from featx.features.table_rows import TableRow
from featx.system.array_types import DigestArray, FloatArray

#: Number of rows that are checked at a time.
AUDIT_BLOCK_ROWS = 4096


@dataclasses.dataclass
class WrittenRows:
    """Rows in the file of a matrix, and the images that have none.

    Attributes
    ----------
    images : ImageTable
        Images of the rows, in order.
    digests : ndarray of uint8 of shape (n_rows, 16)
    failures : sequence of Failure
        Images that cannot be read, and have no row.
    n_computed, n_cached, n_padded : int
    """

    images: ImageTable
    digests: DigestArray
    failures: Sequence[Failure]
    n_computed: int
    n_cached: int
    n_padded: int

    def write_tables(
        self,
        files: OutputFiles,
        output: Path,
        resolved: Resolved,
        *,
        cache: Path | None,
        options: ExtractionOptions | None,
        block_rows: int = AUDIT_BLOCK_ROWS,
    ) -> None:
        """Write the table of rows and that of failures, and read the rows back.

        Raises
        ------
        AuditError
            The rows that were read back differ.
        """
        shape = len(self.images), resolved.n_features
        files.write_table(self._lines, shape, _record(resolved, options))
        row_cache = open_row_cache(cache, resolved.recipe, resolved.n_features)
        _audit(files, self.digests, row_cache, block_rows)
        files.sync()
        write_failures(output, self.failures)

    def _lines(self) -> Iterator[TableRow]:
        images = self.images
        none: list[str | None] = [None] * len(images)
        splits, groups = images.splits or none, images.groups or none
        for row in zip(images.paths, images.labels, self.digests, splits, groups, strict=True):
            path, label, digest, split, group = row
            yield TableRow(path, label, digest.tobytes().hex(), split, group)

    def summary(self, resolved: Resolved, output: Path, started: float, notes: list[str]) -> ExtractionSummary:
        """Return counts, speed since `started`, and recipe."""
        seconds = time.perf_counter() - started
        return ExtractionSummary(
            rows=len(self.images),
            features=resolved.n_features,
            computed=self.n_computed,
            cached=self.n_cached,
            failed=len(self.failures),
            padded=self.n_padded,
            seconds=round(seconds, 3),
            images_per_second=round((len(self.images) + len(self.failures)) / seconds, 1),
            backbone=resolved.recipe.backbone,
            precision=resolved.recipe.precision,
            engine=resolved.engine_and_device,
            fingerprint=resolved.recipe.fingerprint,
            output=str(output),
            notes=notes,
        )


def _record(resolved: Resolved, options: ExtractionOptions | None) -> dict[str, Any]:
    """Return recipe and options in JSON types; nothing if an option has none, such as a network in memory."""
    if options is None:
        return {}
    portable = portable_options(dataclasses.replace(options, precision=resolved.recipe.precision))
    try:
        json.dumps(portable)
    except TypeError:
        return {}
    return {"recipe": resolved.recipe.as_dict(), "options": portable}


@contextlib.contextmanager
def as_resource_error() -> Iterator[None]:
    """Raise ResourceError for an error of the operating system."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise ResourceError(
            f"The operating system reported an error: {error.strerror or error}. Repeat the command."
        ) from error


def _audit(files: OutputFiles, digests: DigestArray, cache: RowCache, block_rows: int) -> None:
    """Read the files back: one finite row per line, in order, equal to the cached row of its digest."""
    checked = 0
    for rows, digests_of_block in files.read_back(block_rows):
        end = checked + len(rows)
        joined = np.frombuffer(bytes.fromhex("".join(digests_of_block)), dtype=np.uint8)
        listed = joined.reshape(len(digests_of_block), -1)
        is_valid = np.array_equal(listed, digests[checked:end]) and np.isfinite(rows).all()
        if not is_valid or not _agrees_with_cache(listed, rows, cache):
            raise audit_error(f"a row from {checked} to {end - 1} does not belong to its image")
        checked = end
    if checked != len(digests):
        raise audit_error(f"{len(digests):,} rows, {checked:,} lines")


def _agrees_with_cache(digests: DigestArray, rows: FloatArray, cache: RowCache) -> bool:
    """Return whether these are the cached rows, up to the differences between engines and CPUs.

    Two processes may have computed the same image at the same time; the cache then has the row of either.
    """
    is_cached, expected = cache.read_rows(digests)
    rows = rows[is_cached]  # the others were cleared, or found corrupt, since they were read
    largest = np.abs(expected).max(axis=1, initial=0)
    return bool((np.abs(expected - rows).max(axis=1, initial=0) <= 0.05 * largest + 1e-6).all())
