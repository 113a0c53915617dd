"""Path, label and digest of the rows of a feature matrix, read on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.features.shard_table import RowTable, TableColumns
from featx.features.table_rows import ROW_COLUMNS
from featx.system.array_types import IntArray
from featx.system.formatting import format_count

_BLOCK_ROWS = 8192


class RowMetadata:
    """Metadata of all rows of a matrix, in the tables of its parts.

    Parameters
    ----------
    tables : list of RowTable
    starts : ndarray of int64 of shape (n_tables + 1,)
        Index of the first row of each table, and the number of all rows.
    """

    def __init__(self, tables: list[RowTable], starts: IntArray) -> None:
        self._tables = tables
        self._starts = starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, indices: IntArray, names: Sequence[str] = ROW_COLUMNS) -> TableColumns:
        """Return columns of the rows at some indices. Each table is read once."""
        columns = {name: np.empty(len(indices), dtype=object) for name in names}
        for part, positions in split_by_part(self._starts, indices):
            distinct, inverse = np.unique(indices[positions] - self._starts[part], return_inverse=True)
            for name, values in self._tables[part].take(distinct, names).items():
                columns[name][positions] = _as_objects(values)[inverse]
        return {name: values.tolist() for name, values in columns.items()}


class Column:
    """One column of the metadata of a feature matrix, read on demand.

    Supports ``labels[5]``, ``labels[10:20]``, ``labels[mask]`` and ``np.asarray(labels)``. Paths and digests are str (a
    digest is "" if it is unknown). Labels are str, int, float or bool; a missing label is None, or NaN among numbers.
    """

    ndim = 1

    def __init__(self, metadata: RowMetadata, name: str) -> None:
        self._metadata = metadata
        self._name = name

    def __len__(self) -> int:
        return len(self._metadata)

    @property
    def shape(self) -> tuple[int]:
        """Number of rows, as a tuple."""
        return (len(self),)

    def __repr__(self) -> str:
        return f"<{self._name} of {format_count(len(self), 'row')}>"

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):  # scikit-learn uses y[rows, ...]
            key = tuple(part for part in key if part is not Ellipsis)
            if len(key) > 1:
                raise IndexError(f"Too many indices for a column: expected 1, got {len(key)} ({key!r}).")
            key = key[0] if key else slice(None)
        if isinstance(key, int | np.integer) and not isinstance(key, bool | np.bool_):
            indices = np.array([normalize_index(int(key), len(self))])
            return self._metadata.take(indices, [self._name])[self._name][0]
        indices = as_indices(key, len(self))
        return as_array(self._metadata.take(indices.ravel(), [self._name])[self._name]).reshape(indices.shape)

    def __eq__(self, other: object) -> Any:
        return np.asarray(self) == other

    def __ne__(self, other: object) -> Any:
        return np.asarray(self) != other

    __hash__ = None  # type: ignore[assignment]  # compared value by value, like an array

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks():
            yield from block.tolist()

    def blocks(self, n_rows: int = _BLOCK_ROWS) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the values of all rows in blocks of `n_rows`."""
        return (self[start : start + n_rows] for start in range(0, len(self), n_rows))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        values: np.ndarray[Any, Any] = self[:]
        return values if dtype is None else values.astype(dtype, copy=False)


def split_by_part(starts: IntArray, indices: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Yield each part that contains some of the rows, and the positions of these rows in `indices`."""
    parts = np.searchsorted(starts, indices, side="right") - 1
    order = np.argsort(parts, kind="stable")
    for positions in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1):
        if len(positions):
            yield int(parts[positions[0]]), positions


def normalize_index(index: int, n_rows: int) -> int:
    """Return the index of a row, which may be negative, counted from the start."""
    if not -n_rows <= index < n_rows:
        raise _out_of_bounds(index, n_rows)
    return index % n_rows


def as_indices(rows: Any, n_rows: int) -> IntArray:
    """Return the row indices that a slice, a mask or an array-like of int selects."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n_rows), dtype=np.int64)
    selected = np.asarray(rows)
    if selected.dtype.kind == "b":
        if selected.shape != (n_rows,):
            raise IndexError(f"The mask must have the shape ({n_rows},), got {selected.shape}.")
        return np.flatnonzero(selected)
    if selected.size and selected.dtype.kind not in "iu":
        raise IndexError(f"Rows must be selected by integers, a slice or a mask, got {rows!r}.")
    indices = selected.astype(np.int64)
    if indices.size and not (-n_rows <= int(indices.min()) and int(indices.max()) < n_rows):
        raise _out_of_bounds(int(indices.max() if indices.max() >= n_rows else indices.min()), n_rows)
    return np.where(indices < 0, indices + n_rows, indices)


def _out_of_bounds(index: int, n_rows: int) -> IndexError:
    return IndexError(f"Index {index} is out of bounds for {format_count(n_rows, 'row')}.")


def as_array(values: list[Any]) -> np.ndarray[Any, Any]:
    """Return values as an array of bool or of numbers, with NaN for None, and otherwise of objects."""
    types = {type(value) for value in values}
    if types == {bool}:
        return np.array(values)
    if types and types <= {int, float, type(None)} and types != {type(None)}:
        return np.array([np.nan if value is None else value for value in values])
    return _as_objects(values)


def _as_objects(values: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
