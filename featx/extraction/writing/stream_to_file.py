"""Extract the images of a streamed data set into a file. A part of the images is in memory at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from featx.datasets.failures import Failure, all_unreadable_error
from featx.datasets.folders.layout import normalize_splits
from featx.datasets.image_table import ImageTable
from featx.datasets.pixel_range import pixel_range_note
from featx.errors import SourceError
from featx.extraction.extract import extract_into
from featx.extraction.options import ExtractionOptions, Resolved, check_on_error
from featx.extraction.writing.summary import ExtractionSummary
from featx.extraction.writing.written_rows import WrittenRows, as_resource_error
from featx.features.npy_writer import NpyAppender
from featx.features.outputs import check_output, replacing_outputs
from featx.images.image import DIGEST_SIZE
from featx.system.terminal.progress import Stage, stage


def extract_stream(
    parts: Iterable[ImageTable],
    resolved: Resolved,
    output: Path,
    *,
    cache: Path | None,
    on_error: Literal["skip", "raise"] = "skip",
    options: ExtractionOptions | None = None,
) -> ExtractionSummary:
    """Extract the images of several tables into one file. See :func:`extract_images`.

    Parameters
    ----------
    parts : iterable of ImageTable
        Each is extracted before the next one is read.
    resolved : Resolved
    output : Path
    cache : Path or None
        Cache folder. None: no caching.
    on_error : {"skip", "raise"}, default="skip"
    options : ExtractionOptions or None, default=None
        Options of `resolved`; see :func:`extract_to_file`.
    """
    check_output(output)
    check_on_error(on_error)
    started = time.perf_counter()
    notes: dict[str, None] = {}
    with replacing_outputs(output) as files:
        rows = _StreamedRows(NpyAppender(files.matrix, resolved.n_features), resolved)
        with as_resource_error(), rows.matrix, stage("extract", None, message=resolved.backbone.name) as progress:
            for part in parts:
                if not notes:
                    notes.update(dict.fromkeys(filter(None, [pixel_range_note(part.paths, resolved.recipe.window)])))
                rows.add(part, cache, progress, raise_on_error=on_error == "raise")
                notes.update(dict.fromkeys(part.all_notes()))
        written = rows.written()
        written.write_tables(files, output, resolved, cache=cache, options=options)
    return written.summary(resolved, output, started, list(notes))


class _StreamedRows:
    """Rows that are appended to a matrix, and what is known of their images."""

    def __init__(self, matrix: NpyAppender, resolved: Resolved) -> None:
        self.matrix = matrix
        self._resolved = resolved
        self._n_images = 0
        self._digests = [np.empty((0, DIGEST_SIZE), dtype=np.uint8)]
        self._failures: list[Failure] = []
        self._labels: list[object] = []
        self._splits: list[str | None] = []
        self._groups: list[str | None] = []
        self._images = ImageTable([], self._labels)
        self._written = WrittenRows(self._images, self._digests[0], self._failures, 0, 0, 0)

    def add(self, part: ImageTable, cache: Path | None, progress: Stage, *, raise_on_error: bool) -> None:
        """Extract the images of a part."""
        rows = np.empty((len(part), self._resolved.n_features), dtype=np.float32)
        ledger = extract_into(
            rows, part.paths, self._resolved, cache=cache, raise_on_error=raise_on_error, progress=progress
        )
        failures = ledger.failures
        failed = {failure.position for failure in failures}
        kept = [index for index in range(len(part)) if index not in failed]
        self.matrix.append(rows[kept])
        self._keep(part.select(kept))
        self._digests.append(ledger.digests[kept])
        self._failures += [
            dataclasses.replace(failure, position=self._n_images + failure.position) for failure in failures
        ]
        self._n_images += len(part)
        self._written.n_computed += ledger.n_computed
        self._written.n_cached += ledger.n_cached
        self._written.n_padded += len(ledger.padded)

    def _keep(self, part: ImageTable) -> None:
        """Add the images of a part, which have a row."""
        none: list[str | None] = [None] * len(part)
        self._images.paths.extend(map(str, part.paths))  # a name in memory would keep its image
        self._labels.extend(part.labels)
        self._splits.extend(part.splits or none)
        self._groups.extend(part.groups or none)

    def written(self) -> WrittenRows:
        """Return the rows.

        Raises
        ------
        SourceError
            There are no images, or none of them can be read.
        """
        if not self._n_images:
            raise SourceError("The data set has no rows. Pass another one, or another split of it.")
        images = self._images
        if not images.paths:
            raise all_unreadable_error(self._n_images, self._failures[0])
        images = dataclasses.replace(
            images,
            splits=normalize_splits(self._splits) if any(self._splits) else None,
            groups=self._groups if any(self._groups) else None,
        )
        return dataclasses.replace(self._written, images=images, digests=np.concatenate(self._digests))
