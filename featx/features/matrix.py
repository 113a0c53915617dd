"""A matrix on disk of which only the rows asked for are read, with the path and label of each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.datasets.failures import Failures
from featx.errors import FeaturesError
from featx.features.columns import Column, RowLines, as_array, by_part, numbers_of, position
from featx.features.npy_part import MatrixPart
from featx.features.shard_table import ROW_COLUMNS, RowTable, TableColumns
from featx.system.array_types import FloatArray, IntArray
from featx.system.files import remote

#: A block takes so many bytes, unless a number of rows is given.
_BLOCK_BYTES = 64 * 2**20


class FeatureMatrix:
    r"""A float32 matrix on disk or at an address; see :func:`featx.open_features`.

    Indexing reads the rows asked for into memory, as a numpy array of its own: ``X[5]``, ``X[10:20]``,
    ``X[[3, 1]]``, ``X[mask]``, ``X[10:20, :8]``. numpy and scikit-learn take it for an array, and read all of it.

    Attributes
    ----------
    address : str
        What was opened.
    shape : tuple of (int, int)
        Rows and features.
    dtype, ndim
        float32 and 2.
    is_complete : bool
        Whether every shard of the job is there.
    recipe : dict or None
        Everything that decides a row's value; None where it is not recorded (a ``.npy`` file).
    options : dict or None
        Options of extraction that give this recipe.
    folder : str or None
        Where relative paths start, if that is recorded, and there: a job notes the folder that it was planned in.
    n_failed : int
        Images that could not be read.
    failures : Failures
        These: ``position``, ``image`` and ``reason`` of each, as often as it is walked through. They are read a shard
        at a time, and not held.
    paths, labels, digests : Column
        Of each row; read when they are asked for, and in blocks.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featx import open_features
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/features.npy", np.eye(4, dtype=np.float32))
    >>> with open(f"{folder.name}/features.csv", "w") as file:
    ...     _ = file.write("row,path,label,digest\n0,a.jpg,cat,\n1,b.jpg,dog,\n2,c.jpg,cat,\n3,d.jpg,,\n")
    >>> features = open_features(f"{folder.name}/features.npy")
    >>> features.shape, features[-1].tolist(), features[[3, 0], :2].tolist()
    ((4, 4), [0.0, 0.0, 0.0, 1.0], [[0.0, 0.0], [1.0, 0.0]])
    >>> features.labels[1:3].tolist(), features.classes.tolist()
    (['dog', 'cat'], ['cat', 'dog'])
    >>> [(len(X), y.tolist()) for X, y in features.labelled_blocks(2)]
    [(2, ['cat', 'dog']), (1, ['cat'])]
    >>> folder.cleanup()
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(
        self,
        address: str,
        parts: list[MatrixPart],
        tables: list[RowTable],
        *,
        job: dict[str, Any] | None = None,
        n_features: int,
        is_complete: bool = True,
    ) -> None:
        self.address = address
        self._parts = parts
        self._tables = tables
        self._starts: IntArray = np.cumsum([0, *(part.shape[0] for part in parts)], dtype=np.int64)
        self.shape = (int(self._starts[-1]), n_features)
        self.is_complete = is_complete
        self.recipe: dict[str, Any] | None = job and job.get("recipe")
        self.options: dict[str, Any] | None = job and job.get("options")
        folder = job.get("folder") if job else None
        self.folder = folder if isinstance(folder, str) and os.path.isdir(folder) else None
        self._lines = RowLines(tables, self._starts)
        self.paths, self.labels, self.digests = (Column(self._lines, name) for name in ROW_COLUMNS)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        unfinished = "" if self.is_complete else ", unfinished"
        return f"FeatureMatrix({self.address!r}, shape={self.shape}{unfinished})"

    @property
    def size(self) -> int:
        """Number of values."""
        return self.shape[0] * self.shape[1]

    @property
    def is_local(self) -> bool:
        """Whether its rows are on this machine's disks."""
        return all(part.is_local for part in self._parts)

    @property
    def nbytes(self) -> int:
        """Bytes that all of it takes in memory."""
        return 4 * self.size

    def __getitem__(self, key: Any) -> Any:
        rows, columns = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        columns = tuple(one for one in columns if one is not Ellipsis)
        if rows is Ellipsis or len(columns) > 1:
            raise IndexError(f"{key!r}: expected rows, and after a comma columns. X.to_numpy() takes any index.")
        if columns and not (_is_plain(rows) or _is_plain(columns[0])):  # as numpy pairs them: [[1, 2], [3, 4]] is two
            numbers = numbers_of(rows, len(self))
            return self._taken(numbers.ravel())[np.arange(numbers.size).reshape(numbers.shape), columns[0]]
        found = self._chosen(rows)
        return found if not columns else found[..., columns[0]]

    def _chosen(self, rows: Any) -> FloatArray:
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool | np.bool_):
            at = position(int(rows), len(self))
            row: FloatArray = self._between(at, at + 1)[0]
            return row
        if isinstance(rows, slice) and rows.indices(len(self))[2] == 1:
            start, stop, _ = rows.indices(len(self))
            return self._between(start, max(start, stop))
        return self._taken(numbers_of(rows, len(self)))

    def _between(self, start: int, stop: int) -> FloatArray:
        found = np.empty((stop - start, self.shape[1]), dtype=np.float32)
        for part, first, last in self._within(start, stop):
            at = int(self._starts[part]) + first - start
            found[at : at + last - first] = self._parts[part].rows(first, last)
        return found

    def _within(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield the parts of a range of rows, and which of their own rows are in it."""
        part = int(np.searchsorted(self._starts, start, side="right")) - 1
        while part < len(self._parts) and self._starts[part] < stop:
            offset = int(self._starts[part])
            first, last = max(start - offset, 0), min(stop - offset, self._parts[part].shape[0])
            if first < last:
                yield part, first, last
            part += 1

    def _taken(self, numbers: IntArray) -> FloatArray:
        found = np.empty((*numbers.shape, self.shape[1]), dtype=np.float32)
        for part, here in by_part(self._starts, numbers.ravel()):
            found.reshape(-1, self.shape[1])[here] = self._parts[part].take(numbers.ravel()[here] - self._starts[part])
        return found

    def lines(self, rows: Any, names: Sequence[str] = ROW_COLUMNS) -> TableColumns:
        """Return what is known of some rows, read at once: faster than one column after the other.

        Parameters
        ----------
        rows : slice, or array-like of int or bool, one-dimensional
        names : sequence of {"path", "label", "digest"}

        Returns
        -------
        dict of str to list
            By name, an entry for each row.
        """
        return self._lines.take(numbers_of(rows, len(self)).ravel(), names)

    def located(self, path: str) -> str:
        """Return the path of a row as seen from the working folder."""
        if self.folder is None or remote.is_url(path) or self.folder == os.getcwd():
            return path
        return os.path.join(self.folder, path)

    def __iter__(self) -> Iterator[FloatArray]:
        for block in self.blocks():
            yield from block

    def blocks(self, n_rows: int | None = None) -> Iterator[FloatArray]:
        """Yield all rows, so many at a time; only these are in memory.

        Parameters
        ----------
        n_rows : int or None, default=None
            None is what 64 MB hold.

        Yields
        ------
        ndarray of float32, shape (n_rows, n_features)
            The last has what is left.
        """
        step = self._step(n_rows)
        return (self._between(at, min(at + step, len(self))) for at in range(0, len(self), step))

    def labelled_blocks(self, n_rows: int | None = None) -> Iterator[tuple[FloatArray, np.ndarray[Any, Any]]]:
        """Yield rows and their labels, so many at a time, for ``partial_fit``; rows without a label are left out.

        Parameters
        ----------
        n_rows : int or None, default=None
            None is what 64 MB hold.

        Yields
        ------
        X : ndarray of float32, shape (n, n_features)
        y : ndarray, shape (n,)
        """
        step = self._step(n_rows)
        for at in range(0, len(self), step):
            y = self.lines(slice(at, at + step), ["label"])["label"]
            there = np.array([label is not None for label in y], dtype=bool)
            if there.any():
                yield self._between(at, at + len(y))[there], as_array([label for label in y if label is not None])

    @property
    def classes(self) -> np.ndarray[Any, Any]:
        """The different labels, sorted: what ``partial_fit`` wants to know."""
        found = {label for block in self.labels.blocks() for label in block.tolist() if label is not None}
        return np.array(sorted(found))

    @property
    def n_failed(self) -> int:
        """Images that could not be read."""
        return sum(table.n_failed for table in self._tables)

    @property
    def failures(self) -> Failures:
        """The images that could not be read."""
        return Failures(
            lambda: self.n_failed, lambda: (failure for table in self._tables for failure in table.failures())
        )

    def to_numpy(self) -> FloatArray:
        """Return all rows, in memory.

        Raises
        ------
        FeaturesError
            There is no room for them.
        """
        try:
            return self._between(0, len(self))
        except MemoryError as error:
            raise FeaturesError(
                f"{self.address!r} takes {self.nbytes / 1e9:.1f} GB, more than there is room for. Take it in blocks: "
                "for block in features.blocks()."
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("Rows are read from disk: they cannot be had without a copy. Leave copy=False out.")
        found = self.to_numpy()
        return found if dtype is None else found.astype(dtype, copy=False)

    def _step(self, n_rows: int | None) -> int:
        if n_rows is None:
            return max(1, _BLOCK_BYTES // (4 * max(1, self.shape[1])))
        if n_rows < 1:
            raise FeaturesError(f"n_rows={n_rows!r}: expected a number of rows, 1 or more.")
        return int(n_rows)


def _is_plain(key: Any) -> bool:
    """Return whether an index is a number or a slice, which is applied to each dimension on its own."""
    return isinstance(key, slice | int | np.integer)
