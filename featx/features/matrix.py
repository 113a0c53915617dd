"""A feature matrix on disk of which only the requested rows are read, with path and label of each row.

Almost half of this file is the documentation of its public class.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from featx.datasets.failures import Failures
from featx.errors import FeaturesError
from featx.features.columns import Column, RowMetadata, as_array, as_indices, normalize_index, split_by_part
from featx.features.parquet.writer import as_arrow_stream, write_features
from featx.features.shard_table import RowTable, TableColumns
from featx.features.table_rows import PART_COLUMNS, ROW_COLUMNS
from featx.system.array_types import FloatArray, IntArray
from featx.system.files import remote
from featx.system.notebook.cards import card_to_html
from featx.system.option_checks import as_path, is_integer

_BLOCK_BYTES = 64 * 2**20


class RowsPart(Protocol):
    """Rows of one file."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""

    @property
    def is_local(self) -> bool:
        """Whether the file is on this machine."""

    def rows(self, start: int, stop: int) -> FloatArray:
        """Return the rows from `start` to before `stop`."""

    def take(self, numbers: IntArray) -> FloatArray:
        """Return rows by number, in that order."""


class FeatureMatrix:
    r"""A float32 matrix in local files or remote storage, returned by :func:`open_features`.

    Indexing reads the selected rows into a new numpy array: ``X[5]``, ``X[10:20]``, ``X[[3, 1]]``, ``X[mask]``,
    ``X[10:20, :8]``. NumPy and scikit-learn accept the matrix as an array and read all of it.

    Parameters
    ----------
    address : str
        Path or URL that was opened.
    parts : sequence of RowsPart
        Files of rows, in order.
    tables : sequence of RowTable
        Table of each part.
    job : dict or None, default=None
        Content of ``job.json``, or what a Parquet file records. None: nothing is recorded.
    n_features : int
        Number of features.
    is_complete : bool, default=True
        Whether all shards of the job are done.

    Attributes
    ----------
    shape : tuple of (int, int)
        Number of rows and of features.
    dtype : dtype
        float32.
    ndim : int
        2.
    recipe : dict or None
        Recipe of the rows; None if it is not recorded (a ``.npy`` file).
    options : dict or None
        Extraction options that give this recipe.
    folder : str or None
        Folder that relative paths refer to: the one in which the job was planned. None if it is not recorded or does
        not exist.
    n_failed : int
        Number of unreadable images.
    failures : Failures
        Position, path and reason of each unreadable image, read shard by shard.
    paths, labels, digests : Column
        Path, label and digest of each row, read on demand.
    splits, groups : Column or None
        Split ("train", "test" or None) and group of each row, read on demand. None: there are none.

    See Also
    --------
    open_features : Open a feature file or a job.
    find_similar : Find the rows most similar to queries.
    find_duplicates : Find groups of near-duplicate rows.

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
    >>> [(len(X), y.tolist()) for X, y in features.labeled_blocks(2)]
    [(2, ['cat', 'dog']), (1, ['cat'])]
    >>> folder.cleanup()
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(
        self,
        address: str,
        parts: Sequence[RowsPart],
        tables: Sequence[RowTable],
        *,
        job: dict[str, Any] | None = None,
        n_features: int,
        is_complete: bool = True,
    ) -> None:
        self.address = address
        self._parts = parts
        self._tables = list(tables)
        self._starts: IntArray = np.cumsum([0, *(part.shape[0] for part in parts)], dtype=np.int64)
        self.shape = (int(self._starts[-1]), n_features)
        self.is_complete = is_complete
        self.recipe: dict[str, Any] | None = job and job.get("recipe")
        self.options: dict[str, Any] | None = job and job.get("options")
        folder = job.get("folder") if job else None
        self.folder = folder if isinstance(folder, str) and os.path.isdir(folder) else None
        self._metadata = RowMetadata(self._tables, self._starts)
        self.paths, self.labels, self.digests = (Column(self._metadata, name) for name in ROW_COLUMNS)
        self.splits, self.groups = (
            Column(self._metadata, name) if name in self.part_columns else None for name in PART_COLUMNS
        )

    def _repr_html_(self) -> str:
        """Return shape and origin as HTML, for notebooks; no row is read."""
        n_rows, n_features = self.shape
        facts = {"rows": f"{n_rows:,}", "features": f"{n_features:,}", "unreadable images": self.n_failed or ""}
        recipe = {} if self.recipe is None else {"backbone": self.recipe["backbone"]}
        return card_to_html(self.address, {**recipe, **facts}, notes=incomplete_notes(self, "can be read"))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        incomplete = "" if self.is_complete else ", incomplete"
        return f"FeatureMatrix({self.address!r}, shape={self.shape}{incomplete})"

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Number of bytes of all rows in memory."""
        return 4 * self.size

    @property
    def is_local(self) -> bool:
        """Whether the rows are local files."""
        return all(part.is_local for part in self._parts)

    @property
    def has_table(self) -> bool:
        """Whether paths, labels and digests are known: a ``.npy`` file may have no table next to it."""
        return all(table.exists for table in self._tables)

    @property
    def part_columns(self) -> tuple[str, ...]:
        """Which of the columns ``split`` and ``group`` some rows have."""
        return tuple(name for name in PART_COLUMNS if any(name in table.part_columns for table in self._tables))

    @property
    def classes(self) -> np.ndarray[Any, Any]:
        """Sorted distinct labels, for the `classes` of ``partial_fit``."""
        labels = {label for block in self.labels.blocks() for label in block.tolist() if label is not None}
        return np.array(sorted(labels))

    @property
    def n_failed(self) -> int:
        """Number of unreadable images."""
        return sum(table.n_failed for table in self._tables)

    @property
    def failures(self) -> Failures:
        """The unreadable images."""
        return Failures(
            lambda: self.n_failed, lambda: (failure for table in self._tables for failure in table.failures())
        )

    def __getitem__(self, key: Any) -> Any:
        rows, columns = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        columns = tuple(part for part in columns if part is not Ellipsis)
        if rows is Ellipsis or len(columns) > 1:
            raise IndexError(
                f"FeatureMatrix supports X[rows] and X[rows, columns], got {key!r}. Convert it with X.to_numpy() first."
            )
        if columns and not (_is_basic(rows) or _is_basic(columns[0])):  # numpy pairs them: X[[1, 2], [3, 4]]
            indices = as_indices(rows, len(self))
            return self._take(indices.ravel())[np.arange(indices.size).reshape(indices.shape), columns[0]]
        selected = self._select(rows)
        return selected if not columns else selected[..., columns[0]]

    def _select(self, rows: Any) -> FloatArray:
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool | np.bool_):
            index = normalize_index(int(rows), len(self))
            row: FloatArray = self._range(index, index + 1)[0]
            return row
        if isinstance(rows, slice) and rows.indices(len(self))[2] == 1:
            start, stop, _ = rows.indices(len(self))
            return self._range(start, max(start, stop))
        return self._take(as_indices(rows, len(self)))

    def _range(self, start: int, stop: int) -> FloatArray:
        rows = np.empty((stop - start, self.shape[1]), dtype=np.float32)
        part = int(np.searchsorted(self._starts, start, side="right")) - 1
        while part < len(self._parts) and self._starts[part] < stop:
            offset = int(self._starts[part])
            first, last = max(start - offset, 0), min(stop - offset, self._parts[part].shape[0])
            if first < last:
                rows[offset + first - start : offset + last - start] = self._parts[part].rows(first, last)
            part += 1
        return rows

    def _take(self, indices: IntArray) -> FloatArray:
        rows = np.empty((*indices.shape, self.shape[1]), dtype=np.float32)
        flat_rows, flat_indices = rows.reshape(-1, self.shape[1]), indices.ravel()
        for part, positions in split_by_part(self._starts, flat_indices):
            flat_rows[positions] = self._parts[part].take(flat_indices[positions] - self._starts[part])
        return rows

    def metadata(self, rows: Any, names: Sequence[str] = ROW_COLUMNS) -> TableColumns:
        """Return path, label and digest of some rows, faster than one column after another.

        Parameters
        ----------
        rows : slice or array-like of int or bool of shape (n_rows,)
            Rows to look up.
        names : sequence of str, default=("path", "label", "digest")
            Columns to return.

        Returns
        -------
        dict of str to list
            Values of each column.
        """
        return self._metadata.take(as_indices(rows, len(self)).ravel(), names)

    def resolve_path(self, path: str) -> str:
        """Return the path of a row relative to the working directory of this process.

        Parameters
        ----------
        path : str
            One of `paths`.

        Returns
        -------
        str
            Path that can be opened.
        """
        if self.folder is None or remote.is_url(path) or self.folder == os.getcwd():
            return path
        return os.path.join(self.folder, path)

    def __iter__(self) -> Iterator[FloatArray]:
        for block in self.blocks():
            yield from block

    def blocks(self, n_rows: int | None = None) -> Iterator[FloatArray]:
        """Read all rows in blocks; only one block is in memory.

        Parameters
        ----------
        n_rows : int or None, default=None
            Number of rows of a block. None: as many as fit into 64 MB.

        Returns
        -------
        iterator of ndarray of float32 of shape (n_rows, n_features)
            Blocks of rows. The last one may be shorter.
        """
        step = self._block_rows(n_rows)
        return (self._range(start, min(start + step, len(self))) for start in range(0, len(self), step))

    def labeled_blocks(self, n_rows: int | None = None) -> Iterator[tuple[FloatArray, np.ndarray[Any, Any]]]:
        """Yield labeled rows and their labels in blocks, for ``partial_fit``. Rows without a label are skipped.

        Parameters
        ----------
        n_rows : int or None, default=None
            Number of rows of a block. None: as many as fit into 64 MB.

        Yields
        ------
        X : ndarray of float32 of shape (n_labeled, n_features)
            Rows.
        y : ndarray of shape (n_labeled,)
            Labels.
        """
        step = self._block_rows(n_rows)
        for start in range(0, len(self), step):
            labels = self.metadata(slice(start, start + step), ["label"])["label"]
            is_labeled = np.array([label is not None for label in labels], dtype=bool)
            if is_labeled.any():
                y = as_array([label for label in labels if label is not None])
                yield self._range(start, start + len(labels))[is_labeled], y

    def to_numpy(self) -> FloatArray:
        """Read all rows into memory.

        Returns
        -------
        ndarray of float32 of shape (n_rows, n_features)
            All rows.

        Raises
        ------
        FeaturesError
            There is not enough memory.
        """
        try:
            return self._range(0, len(self))
        except MemoryError as error:
            raise FeaturesError(
                f"Cannot read {self.address!r} into memory: its rows take {self.nbytes / 1e9:.1f} GB. Read them in "
                "blocks: for block in features.blocks()."
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("Cannot return a FeatureMatrix as an array without a copy: rows are read from files.")
        rows = self.to_numpy()
        return rows if dtype is None else rows.astype(dtype, copy=False)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the rows with path, label and digest of each as a Parquet file, which :func:`open_features` reads.

        A row group at a time is in memory. An existing file is replaced.

        Parameters
        ----------
        path : str or Path
            Path of the file, on this machine.

        Raises
        ------
        OutputError
            The file cannot be written.
        MissingDependencyError
            pyarrow is not installed.
        """
        write_features(self, Path(as_path("path", path)))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a stream of record batches, for libraries that read Arrow: ``polars.DataFrame(features)``."""
        return as_arrow_stream(self, requested_schema)

    def _block_rows(self, n_rows: int | None) -> int:
        if n_rows is None:
            return max(1, _BLOCK_BYTES // (4 * max(1, self.shape[1])))
        if not is_integer(n_rows, 1):
            raise FeaturesError(f"n_rows must be an integer of at least 1, got {n_rows!r}.")
        return int(n_rows)


def incomplete_notes(features: FeatureMatrix, use: str) -> list[str]:
    """Return a note if rows are missing because the job is incomplete.

    Parameters
    ----------
    features : FeatureMatrix
    use : str
        Use of the other rows, such as "are compared".
    """
    return [] if features.is_complete else [f"The job is incomplete: only the rows of shards that are done {use}."]


def _is_basic(index: Any) -> bool:
    """Return whether an index is an integer or a slice, which numpy applies to each dimension separately."""
    return isinstance(index, slice | int | np.integer)
