"""Rows and table of a Parquet file of features, read one row group at a time.

Files that DuckDB, polars or datasets wrote from such a file are read too: all that is needed are a column ``path``, and
lists of equal length in a column ``features``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import FeaturesError
from featx.features.columns import split_by_part
from featx.features.csv_table import failures_path, read_failures
from featx.features.job_tables import column_texts
from featx.features.npy_part import FeatureFolder
from featx.features.parquet.schema import FEATURES, FORMAT, METADATA
from featx.features.shard_table import TableColumns
from featx.features.table_rows import PART_COLUMNS
from featx.system.array_types import FloatArray, IntArray
from featx.system.files.parquet import import_pyarrow
from featx.system.formatting import first_line


class ParquetFeatures:
    """A Parquet file of features. Its footer is read at once, rows when they are needed.

    Parameters
    ----------
    folder : FeatureFolder
    name : str
        Name of the file.

    Attributes
    ----------
    shape : (int, int)
        Number of rows and of features.
    record : dict
        Recipe and the like that the file records; empty if another program wrote it.
    part_columns : tuple of str
        Which of the columns ``split`` and ``group`` the file has.

    Raises
    ------
    FeaturesError
        The file is not a Parquet file of features.
    """

    def __init__(self, folder: FeatureFolder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._footer = self._read_with(import_pyarrow().parquet.read_metadata)
        schema = self._footer.schema.to_arrow_schema()
        if not has_feature_columns(schema):
            raise self._corrupt(
                f"expected the columns path (text) and {FEATURES} (lists of floats), got {', '.join(schema.names[:20])}"
            )
        self._names = set(schema.names)
        self.part_columns = tuple(name for name in PART_COLUMNS if name in self._names)
        self.record: dict[str, Any] = self._parse_record((schema.metadata or {}).get(METADATA))
        counts = [self._footer.row_group(group).num_rows for group in range(self._footer.num_row_groups)]
        self._starts: IntArray = np.cumsum([0, *counts], dtype=np.int64)
        self._last_rows: tuple[int, FloatArray] | None = None
        self._last_lines: tuple[int, tuple[str, ...], Any] | None = None
        n_features = getattr(schema.field(FEATURES).type, "list_size", None)
        if n_features is None:  # lists of any length: those of the first row group with rows count
            filled = next((group for group, count in enumerate(counts) if count), None)
            n_features = 0 if filled is None else self._read_rows(filled, None).shape[1]
        self.shape = (int(self._starts[-1]), int(n_features))

    @property
    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return self._folder.is_local

    def rows(self, start: int, stop: int) -> FloatArray:
        """Return the rows from `start` to before `stop`."""
        rows = np.empty((max(0, stop - start), self.shape[1]), dtype=np.float32)
        position = start
        while position < stop:
            group = int(np.searchsorted(self._starts, position, side="right")) - 1
            first, end = int(self._starts[group]), min(stop, int(self._starts[group + 1]))
            rows[position - start : end - start] = self._rows_of_group(group)[position - first : end - first]
            position = end
        return rows

    def take(self, numbers: IntArray) -> FloatArray:
        """Return rows by number, in that order."""
        rows = np.empty((len(numbers), self.shape[1]), dtype=np.float32)
        for group, positions in split_by_part(self._starts, numbers):
            rows[positions] = self._rows_of_group(group)[numbers[positions] - self._starts[group]]
        return rows

    def columns(self, numbers: IntArray, names: Sequence[str]) -> TableColumns:
        """Return some columns of some lines, whose numbers are distinct and sorted."""
        columns: TableColumns = {name: [] for name in names}
        for group, positions in split_by_part(self._starts, numbers):
            lines = self._lines_of_group(group, tuple(names)).take(numbers[positions] - self._starts[group])
            values = lines.to_pydict()
            for name in names:
                texts = column_texts(name, values) if name in values else [None] * len(lines)
                columns[name] += ["" if text is None else text for text in texts] if name == "digest" else texts
        return columns

    def failures(self) -> Iterator[Failure]:
        """Return the images without a row."""
        return read_failures(self._folder, failures_path(Path(self._name)).name)

    def _parse_record(self, text: bytes | None) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(text or b"{}")
            version = record.get("format", FORMAT)
        except (ValueError, AttributeError) as error:
            raise self._corrupt(f"what it records is invalid ({first_line(error)})") from error
        if version != FORMAT:
            raise self._corrupt(f"it has format {version!r} of another version of featx, expected {FORMAT}")
        return record

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last_rows": None, "_last_lines": None}

    def _rows_of_group(self, group: int) -> FloatArray:
        """Return the rows of a row group. The last one stays in memory: a block may end, and the next begin in it."""
        last = self._last_rows
        if last is None or last[0] != group:
            self._last_rows = last = group, self._read_rows(group, self.shape[1])
        return last[1]

    def _read_rows(self, group: int, n_features: int | None) -> FloatArray:
        pa = import_pyarrow()
        column = self._read_group(group, [FEATURES]).column(FEATURES)
        lengths = set(pa.compute.unique(pa.compute.list_value_length(column)).to_pylist())
        values = pa.compute.list_flatten(column)
        expected = lengths if n_features is None else {n_features}
        if len(lengths) > 1 or None in lengths or not lengths <= expected or values.null_count:
            raise self._corrupt("not all rows have features of equal length")
        shape = len(column), max(expected, default=0)
        rows: FloatArray = values.to_numpy().astype(np.float32, copy=False).reshape(shape)
        return rows

    def _lines_of_group(self, group: int, names: tuple[str, ...]) -> Any:
        """Return columns of the lines of a row group. Those of the last one stay in memory."""
        last = self._last_lines
        if last is None or last[:2] != (group, names):
            stored = [column for name in names for column in (name, f"{name}_bytes") if column in self._names]
            self._last_lines = last = group, names, self._read_group(group, stored)
        return last[2]

    def _read_group(self, group: int, names: Sequence[str]) -> Any:
        def read(file: Any) -> Any:
            opened = import_pyarrow().parquet.ParquetFile(
                file, metadata=self._footer, page_checksum_verification=True, pre_buffer=True
            )
            return opened.read_row_group(group, columns=list(names))

        return self._read_with(read)

    def _read_with(self, read: Callable[[Any], Any]) -> Any:
        pa = import_pyarrow()

        def read_checked(file: Any) -> Any:
            try:
                return read(file)
            except (pa.ArrowException, ValueError, OSError, NotImplementedError) as error:
                # NotImplementedError: a corrupt byte may name an encoding that pyarrow does not know.
                if getattr(error, "errno", None) is not None:  # of the file system; those of pyarrow have no number
                    raise
                raise self._corrupt(first_line(error)) from error

        return self._folder.read_with(self._name, read_checked)

    def _corrupt(self, reason: str) -> FeaturesError:
        return FeaturesError(
            f"Cannot read features from {self._folder.path(self._name)!r}: {reason.rstrip('.')}. Restore the file, or "
            "extract it again."
        )


class ParquetTable:
    """The table of the rows of a Parquet file of features.

    Attributes
    ----------
    exists : bool
        Whether there is a table: always.
    """

    exists = True

    def __init__(self, features: ParquetFeatures) -> None:
        self._features = features

    @property
    def part_columns(self) -> tuple[str, ...]:
        """Which of the columns ``split`` and ``group`` the file has."""
        return self._features.part_columns

    @functools.cached_property
    def n_failed(self) -> int:
        """Number of images in the table of failures."""
        return sum(1 for _ in self.failures())

    def failures(self) -> Iterator[Failure]:
        """Yield the images without a row."""
        return self._features.failures()

    def take(self, numbers: IntArray, names: Sequence[str]) -> TableColumns:
        """Return some columns of some lines, whose numbers are distinct and sorted."""
        return self._features.columns(numbers, names)


def has_feature_columns(schema: Any) -> bool:
    """Return whether a table has a column of paths and one of lists of floats named ``features``."""
    pa = import_pyarrow()
    names = schema.names
    if "path" not in names or FEATURES not in names:
        return False
    features = schema.field(FEATURES).type
    is_list = pa.types.is_list(features) or pa.types.is_large_list(features) or pa.types.is_fixed_size_list(features)
    return bool(is_list and pa.types.is_floating(features.value_type))


def is_feature_table(folder: FeatureFolder, name: str, *, is_own: bool = False) -> bool:
    """Return whether a file exists and is a Parquet file of features, by its footer. `is_own`: and featx wrote it."""
    try:
        schema = folder.read_with(name, import_pyarrow().parquet.read_schema)
    except (FeaturesError, import_pyarrow().ArrowException, ValueError, OSError):
        return False  # not a Parquet file: reading it raises an error with the reason
    return has_feature_columns(schema) and (not is_own or METADATA in (schema.metadata or {}))
