"""Columns of a Parquet file of features, and Arrow batches of rows."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from featx.errors import AuditError
from featx.features.job_tables import text_columns
from featx.system.files.parquet import import_pyarrow
from featx.system.files.url_secrets import redact_secrets

#: Key in the metadata of the schema, and number of the format that it records.
METADATA, FORMAT = b"featx.features", 1
#: Column of the rows.
FEATURES = "features"
#: Path, label (None: no label) and digest of a row.
TableRow: TypeAlias = "tuple[str, Any, str]"
#: Bytes of a row group: what is read for a single row, and held in memory to write.
_GROUP_BYTES = 16 * 2**20
_MAX_GROUP_ROWS = 65_536


@dataclasses.dataclass(frozen=True)
class FeatureSchema:
    """Columns of a table of features.

    Attributes
    ----------
    n_features : int
    label_type : {"bool", "int64", "double", "string", "null"}
        Arrow type of the labels. "null": no row has a label.
    is_utf8 : bool
        Whether all paths and labels are valid UTF-8. Otherwise columns ``path_bytes`` and ``label_bytes`` hold those
        that are not.
    record : mapping
        Recipe and the like, which the file records.
    """

    n_features: int
    label_type: str
    is_utf8: bool
    record: Mapping[str, Any]

    @classmethod
    def of(cls, rows: Iterable[TableRow], n_features: int, record: Mapping[str, Any]) -> FeatureSchema:
        """Return the schema that fits all rows of a table."""
        types: set[type] = set()
        is_utf8 = True
        for path, label, _ in rows:
            types.add(type(label))
            texts = [path, label] if isinstance(label, str) else [path]
            is_utf8 = is_utf8 and all(map(_is_utf8, texts))
        return cls(n_features, _label_type(types - {type(None)}), is_utf8, record)

    @property
    def group_rows(self) -> int:
        """Number of rows of a row group."""
        return min(_MAX_GROUP_ROWS, max(1, _GROUP_BYTES // (4 * max(1, self.n_features))))

    def arrow_schema(self) -> Any:
        """Return the schema of Arrow."""
        pa = import_pyarrow()
        label = pa.type_for_alias(self.label_type)
        texts = [("path", pa.string()), ("label", label), ("digest", pa.string())]
        raw = [] if self.is_utf8 else [("path_bytes", pa.binary()), ("label_bytes", pa.binary())]
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
        paths, labels, digests = zip(*rows, strict=True) if rows else ((), (), ())
        columns = {
            **text_columns("path", list(map(redact_secrets, paths))),
            "digest": pa.array([digest or None for digest in digests], pa.string()),
        }
        if self.label_type == "string":
            columns |= text_columns("label", [None if label is None else str(label) for label in labels])
        else:
            columns |= {
                "label": pa.array(labels, schema.field("label").type),
                "label_bytes": pa.nulls(len(rows), pa.binary()),
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
        table : iterable of (str, object, str)
            Path, label and digest of each row.
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


def _label_type(types: set[type]) -> str:
    if not types:
        return "null"
    if types <= {bool, np.bool_}:
        return "bool"
    if all(issubclass(kind, int | np.integer) and kind is not bool for kind in types):
        return "int64"
    if all(issubclass(kind, int | float | np.number) and kind is not bool for kind in types):
        return "double"
    return "string"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
