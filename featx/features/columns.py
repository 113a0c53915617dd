"""What is known of the rows of a matrix on disk, path, label and digest: looked up when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.features.shard_table import ROW_COLUMNS, RowTable, TableColumns
from featx.system.array_types import IntArray
from featx.system.formatting import format_count

_LINES_AT_ONCE = 8192


class RowLines:
    """The lines of all rows, in the tables of their parts.

    Parameters
    ----------
    tables : list of RowTable
    starts : ndarray of int64, shape (n_tables + 1,)
        Number of the first row of each, and of all rows.
    """

    def __init__(self, tables: list[RowTable], starts: IntArray) -> None:
        self._tables = tables
        self._starts = starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, numbers: IntArray, names: Sequence[str] = ROW_COLUMNS) -> TableColumns:
        """Return some columns of some rows, by their numbers; each table is asked once."""
        found = {name: np.empty(len(numbers), dtype=object) for name in names}
        for part, here in by_part(self._starts, numbers):
            different, place = np.unique(numbers[here] - self._starts[part], return_inverse=True)
            for name, values in self._tables[part].take(different, names).items():
                found[name][here] = _as_objects(values)[place]
        return {name: values.tolist() for name, values in found.items()}


class Column:
    """What is known of each row, read when it is asked for: ``labels[5]``, ``labels[10:20]``, ``np.asarray(labels)``.

    Paths and digests are text (a digest is "" where it is not known); labels are text, numbers or truths, and
    None (of numbers NaN) where there is none.
    """

    ndim = 1

    def __init__(self, lines: RowLines, name: str) -> None:
        self._lines = lines
        self._name = name

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def shape(self) -> tuple[int]:
        """Number of rows."""
        return (len(self),)

    def __repr__(self) -> str:
        return f"<{self._name} of {format_count(len(self), 'row')}>"

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):  # scikit-learn asks for y[rows, ...]
            key = tuple(one for one in key if one is not Ellipsis)
            if len(key) > 1:
                raise IndexError(f"{key!r}: expected rows alone, as there is one value for each.")
            key = key[0] if key else slice(None)
        if isinstance(key, int | np.integer) and not isinstance(key, bool | np.bool_):
            numbers = np.array([position(int(key), len(self))])
            return self._lines.take(numbers, [self._name])[self._name][0]
        numbers = numbers_of(key, len(self))
        return as_array(self._lines.take(numbers.ravel(), [self._name])[self._name]).reshape(numbers.shape)

    def __eq__(self, other: object) -> Any:
        return np.asarray(self) == other

    def __ne__(self, other: object) -> Any:
        return np.asarray(self) != other

    __hash__ = None  # type: ignore[assignment]  # as an array, which is compared value by value

    def __iter__(self) -> Iterator[Any]:
        for block in self.blocks():
            yield from block.tolist()

    def blocks(self, n_rows: int = _LINES_AT_ONCE) -> Iterator[np.ndarray[Any, Any]]:
        """Yield all of it, so many rows at a time."""
        return (self[at : at + n_rows] for at in range(0, len(self), n_rows))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)


def by_part(starts: IntArray, numbers: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Yield each part that has some of the rows, and where among the numbers these are."""
    of_rows = np.searchsorted(starts, numbers, side="right") - 1
    order = np.argsort(of_rows, kind="stable")
    for here in np.split(order, np.flatnonzero(np.diff(of_rows[order])) + 1):
        if len(here):
            yield int(of_rows[here[0]]), here


def position(at: int, n: int) -> int:
    """Return the number of a row, which may be counted from the end."""
    if not -n <= at < n:
        raise IndexError(f"Row {at} of {n}: there is none.")
    return at % n


def numbers_of(rows: Any, n: int) -> IntArray:
    """Return the numbers of rows that a slice, a list of numbers or a mask chooses."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n), dtype=np.int64)
    chosen = np.asarray(rows)
    if chosen.dtype.kind == "b":
        if chosen.shape != (n,):
            raise IndexError(f"A mask of shape {chosen.shape} for {format_count(n, 'row')}: expected ({n},).")
        return np.flatnonzero(chosen)
    if chosen.size and chosen.dtype.kind not in "iu":
        raise IndexError(f"{rows!r}: expected numbers of rows, a slice or a mask.")
    numbers = chosen.astype(np.int64)
    if numbers.size and not (-n <= int(numbers.min()) and int(numbers.max()) < n):
        raise IndexError(f"Row {int(numbers.max() if numbers.max() >= n else numbers.min())} of {n}: there is none.")
    return np.where(numbers < 0, numbers + n, numbers)


def as_array(values: list[Any]) -> np.ndarray[Any, Any]:
    """Return numbers as numbers, NaN where there is none, and truths as truths; anything else as objects."""
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.array(values)
    if kinds and kinds <= {int, float, type(None)} and kinds != {type(None)}:
        return np.array([np.nan if value is None else value for value in values])
    return _as_objects(values)


def _as_objects(values: list[Any]) -> np.ndarray[Any, Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found
