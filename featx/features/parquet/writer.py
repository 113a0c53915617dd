"""Write rows of features with their table as one Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featx.features.parquet.schema import FeatureSchema, TableRow
from featx.system.files.parquet import import_pyarrow


def write_parquet(
    path: Path,
    read: Callable[[int, int], np.ndarray[Any, Any]],
    shape: tuple[int, int],
    table: Callable[[], Iterable[TableRow]],
    record: Mapping[str, Any],
) -> None:
    """Write rows of features in row groups, of which one is in memory.

    Parameters
    ----------
    path : Path
    read : callable
        Function of start and stop that returns rows of features.
    shape : (int, int)
        Number of rows and of features.
    table : callable
        Function that returns path, label and digest of each row. It is called twice: the first pass finds the types.
    record : mapping
        Recipe and the like, in JSON types.

    Raises
    ------
    AuditError
        The table has another number of rows.
    """
    n_rows, n_features = shape
    schema = FeatureSchema.of(table(), n_features, record)
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["label"]}
    with import_pyarrow().parquet.ParquetWriter(
        path, schema.arrow_schema(), **options, write_statistics=["path", "label"], write_page_checksum=True
    ) as file:
        for batch in schema.batches(read, n_rows, table()):
            file.write_batch(batch, row_group_size=schema.group_rows)
