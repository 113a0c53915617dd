"""Write rows of features with their table as one Parquet file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from featx.features.parquet.schema import FeatureSchema
from featx.features.shard_table import TableColumns
from featx.features.table_rows import ROW_COLUMNS, TableRow
from featx.system.files.atomic import atomic_write
from featx.system.files.output_paths import as_output_error
from featx.system.files.parquet import import_pyarrow

#: Number of lines of a table that are read at once.
_TABLE_ROWS = 8192


class Features(Protocol):
    """Rows with a table: a FeatureMatrix."""

    shape: tuple[int, int]
    recipe: dict[str, Any] | None
    options: dict[str, Any] | None
    folder: str | None

    def __getitem__(self, key: Any) -> Any:
        """Return rows by slice."""

    @property
    def part_columns(self) -> tuple[str, ...]:
        """Return which of the columns ``split`` and ``group`` there are."""

    def metadata(self, rows: Any, names: Sequence[str] = ROW_COLUMNS) -> TableColumns:
        """Return path, label and digest of rows."""


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
        Function that returns the rows of the table. It is called twice: the first pass finds the types.
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


def write_features(features: Features, path: Path) -> None:
    """Write a matrix of features as one Parquet file, atomically.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with as_output_error(path), atomic_write(path) as temporary:
        table = functools.partial(_table_rows, features)
        write_parquet(temporary, lambda start, stop: features[start:stop], features.shape, table, _record(features))


def as_arrow_stream(features: Features, requested_schema: object) -> object:
    """Return a matrix of features as a stream of Arrow, which reads the rows."""
    schema = FeatureSchema.of(_table_rows(features), features.shape[1], _record(features))
    batches = schema.batches(lambda start, stop: features[start:stop], features.shape[0], _table_rows(features))
    reader = import_pyarrow().RecordBatchReader.from_batches(schema.arrow_schema(), batches)
    return reader.__arrow_c_stream__(requested_schema)


def _table_rows(features: Features) -> Iterator[TableRow]:
    names = (*ROW_COLUMNS, *features.part_columns)
    for start in range(0, features.shape[0], _TABLE_ROWS):
        columns = features.metadata(slice(start, start + _TABLE_ROWS), names)
        for values in zip(*(columns[name] for name in names), strict=True):
            yield TableRow(**dict(zip(names, values, strict=True)))


def _record(features: Features) -> dict[str, Any]:
    record = {"recipe": features.recipe, "options": features.options, "folder": features.folder}
    return {name: value for name, value in record.items() if value is not None}
