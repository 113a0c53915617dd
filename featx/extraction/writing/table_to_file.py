"""Extract the images of a table into a file: what `featx extract` does once it has found the images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from featx.datasets.failures import readable_positions
from featx.datasets.image_table import ImageTable
from featx.datasets.pixel_range import pixel_range_note
from featx.datasets.tables.stored import check_tags_of_text
from featx.extraction.extract import extract_into
from featx.extraction.options import ExtractionOptions, Resolved, check_on_error
from featx.extraction.writing.summary import ExtractionSummary
from featx.extraction.writing.written_rows import AUDIT_BLOCK_ROWS, WrittenRows, as_resource_error
from featx.features.csv_table import PARQUET_SUFFIX
from featx.features.npy_writer import NpyWriter
from featx.features.outputs import check_output, replacing_outputs
from featx.system.terminal.progress import stage


def extract_to_file(
    table: ImageTable,
    resolved: Resolved,
    output: Path,
    *,
    cache: Path | None,
    on_error: Literal["skip", "raise"] = "skip",
    options: ExtractionOptions | None = None,
    audit_block_rows: int = AUDIT_BLOCK_ROWS,
) -> ExtractionSummary:
    """Extract the images of a table into a ``.npy`` file. See :func:`extract_images`.

    Parameters
    ----------
    table : ImageTable
    resolved : Resolved
    output : Path
    cache : Path or None
        Cache folder. None: no caching.
    on_error : {"skip", "raise"}, default="skip"
    options : ExtractionOptions or None, default=None
        Options of `resolved`: a Parquet file records it with the recipe. None: it records neither.
    audit_block_rows : int, default=4096
        Number of rows that are checked at a time at the end.
    """
    check_output(output)
    check_on_error(on_error)
    if output.suffix != PARQUET_SUFFIX:
        check_tags_of_text(table.labels)
    started = time.perf_counter()
    with replacing_outputs(output) as files:
        rows = NpyWriter(files.matrix, len(table), resolved.n_features)
        with as_resource_error(), stage("extract", len(table), message=resolved.backbone.name) as progress:
            ledger = extract_into(
                rows, table.paths, resolved, cache=cache, raise_on_error=on_error == "raise", progress=progress
            )
        failures = ledger.failures
        kept = readable_positions(len(table), failures)
        rows.keep(kept)
        written = WrittenRows(
            table.select(kept.tolist()),
            ledger.digests[kept],
            failures,
            ledger.n_computed,
            ledger.n_cached,
            len(ledger.padded),
        )
        written.write_tables(files, output, resolved, cache=cache, options=options, block_rows=audit_block_rows)
    notes = [*table.all_notes(), *filter(None, [pixel_range_note(table.paths, resolved.recipe.window)])]
    return written.summary(resolved, output, started, notes)
