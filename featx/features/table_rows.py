"""Rows of the table of a feature matrix, while they are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from featx.datasets.tables.stored import GROUP, SPLIT, StoredColumns

#: Columns that every table of rows has, and those that it has if there is something to keep.
ROW_COLUMNS = ("path", "label", "digest")
PART_COLUMNS = (SPLIT, GROUP)


class TableRow(NamedTuple):
    """A row of the table: label None is no label, and an empty digest is unknown."""

    path: str
    label: Any
    digest: str
    split: str | None = None
    group: str | None = None


def stored_columns(rows: Iterable[TableRow]) -> StoredColumns:
    """Return what is to be kept of rows, by a pass over all of them."""
    return StoredColumns.of((row.label, row.split, row.group) for row in rows)
