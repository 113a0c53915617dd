"""Columns of a Parquet file of features, and Arrow batches of rows."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from featx.datasets.label_types import type_of_labels
from featx.datasets.tables.stored import FEATURES_METADATA, GROUP, SPLIT
from featx.errors import AuditError
from featx.features.job_tables import arrow_label_type, label_columns, text_columns
from featx.features.table_rows import PART_COLUMNS, TableRow
from featx.system.files.parquet import import_pyarrow
from featx.system.files.url_secrets import redact_secrets

#: Key in the metadata of the schema, and number of the format that it records.
METADATA, FORMAT = FEATURES_METADATA, 2
#: Column of the rows.
FEATURES = "features"
#: Bytes of a row group: what is read for a single row, and held in memory to write.
_GROUP_BYTES = 16 * 2**20
_MAX_GROUP_ROWS = 65_536


@dataclasses.dataclass(frozen=True)
class FeatureSchema:
    """Columns of a table of features.

    Attributes
    ----------
    n_features : int
    label_type : {"bool", "int", "float", "str", "tags", "null"}
        Type of the labels. "null": no row has a label.
    part_columns : tuple of str
        Which of the columns ``split`` and ``group`` there are.
    is_utf8 : bool
        Whether all paths, labels and groups are valid UTF-8. Otherwise columns such as ``path_bytes`` hold those that
        are not.
    record : mapping
        Recipe and the like, which the file records.
    """

    n_features: int
    label_type: str
    part_columns: tuple[str, ...]
    is_utf8: bool
    record: Mapping[str, Any]

    @classmethod
    def of(cls, rows: Iterable[TableRow], n_features: int, record: Mapping[str, Any]) -> FeatureSchema:
        """Return the schema that fits all rows of a table."""
        types: set[type] = {type(None)}
        is_utf8 = True
        parts = dict.fromkeys(PART_COLUMNS, False)
        for row in rows:
            types.add(type(row.label))
            parts = {name: has or getattr(row, name) is not None for name, has in parts.items()}
            texts = [row.path, row.group or "", row.label if isinstance(row.label, str) else ""]
            is_utf8 = is_utf8 and all(map(_is_utf8, texts))
        label_type = "null" if types == {type(None)} else type_of_labels(types)
        return cls(n_features, label_type, tuple(name for name, has in parts.items() if has), is_utf8, record)

    @property
    def group_rows(self) -> int:
        """Number of rows of a row group."""
        return min(_MAX_GROUP_ROWS, max(1, _GROUP_BYTES // (4 * max(1, self.n_features))))

    def arrow_schema(self) -> Any:
        """Return the schema of Arrow."""
        pa = import_pyarrow()
        texts = [("path", pa.string()), ("label", arrow_label_type(self.label_type)), ("digest", pa.string())]
        texts += [(name, pa.string()) for name in self.part_columns]
        is_text = self.label_type == "str"
        names = ["path", *(["label"] if is_text else []), *(name for name in self.part_columns if name == GROUP)]
        raw = [] if self.is_utf8 else [(f"{name}_bytes", pa.binary()) for name in names]
        features = pa.field(FEATURES, pa.list_(pa.field("element", pa.float32(), nullable=False), self.n_features))
        record = json.dumps({"format": FORMAT, **self.record}, sort_keys=True).encode()
        return pa.schema(
            [*(pa.field(*text) for text in texts), features, *(pa.field(*text) for text in raw)]
        ).with_metadata({METADATA: record})

    def batch(self, features: np.ndarray[Any, Any], rows: list[TableRow]) -> Any:
        """Return a record batch of some rows. Paths are written without secrets."""
        if len(rows) != len(features):
            raise _mismatch(len(features))
        pa = import_pyarrow()
        schema = self.arrow_schema()
        columns = {
            **text_columns("path", [redact_secrets(row.path) for row in rows]),
            **label_columns([row.label for row in rows], self.label_type),
            "digest": pa.array([row.digest or None for row in rows], pa.string()),
            **text_columns(GROUP, [row.group for row in rows]),
            SPLIT: pa.array([row.split for row in rows], pa.string()),
        }
        values = pa.array(np.ascontiguousarray(features, dtype=np.float32).ravel())
        columns[FEATURES] = pa.FixedSizeListArray.from_arrays(values, type=schema.field(FEATURES).type)
        return pa.record_batch([columns[name] for name in schema.names], schema=schema)

    def batches(
        self, read: Callable[[int, int], np.ndarray[Any, Any]], n_rows: int, table: Iterable[TableRow]
    ) -> Iterator[Any]:
        """Yield record batches of all rows, each of the size of a row group.

        Parameters
        ----------
        read : callable
            Function of start and stop that returns rows of features.
        n_rows : int
        table : iterable of TableRow
            Table of the rows.
        """
        remaining = iter(table)
        for start in range(0, n_rows, self.group_rows):
            stop = min(start + self.group_rows, n_rows)
            yield self.batch(read(start, stop), list(itertools.islice(remaining, stop - start)))
        if next(remaining, None) is not None:
            raise _mismatch(n_rows)


def _mismatch(n_rows: int) -> AuditError:
    return AuditError(
        f"The table has another number of lines than the {n_rows:,} rows of features. Nothing was written. Repeat the "
        "command, and please report this."
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
