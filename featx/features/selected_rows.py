"""Rows of a matrix that are read when they are needed: a selection, or the rows of two matrices."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from featx.errors import OptionError
from featx.features.matrix import FeatureMatrix
from featx.recipe import recipe_differences
from featx.system.array_types import AnyArray, IntArray
from featx.system.formatting import shorten

#: Number of rows that are read at once to convert a selection to an array.
_BLOCK_ROWS = 8192


class Rows(Protocol):
    """Interface of rows that are read in blocks: an array, a memory map, a FeatureMatrix or SelectedRows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows and of features."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: Any) -> Any:
        """Return rows by slice or indices."""


class SelectedRows:
    """Some rows of a matrix, without a copy.

    Parameters
    ----------
    source : Rows
        The matrix.
    rows : ndarray of int of shape (n_rows,)
        Indices of the selected rows.
    """

    ndim = 2

    def __init__(self, source: Rows, rows: IntArray) -> None:
        self.source = source
        self.rows = rows
        self.shape = (len(rows), source.shape[1])
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_local(self) -> bool:
        """Whether the rows are in memory or in local files."""
        return getattr(self.source, "is_local", True)

    def __getitem__(self, rows: Any) -> Any:
        return np.asarray(self.source[self.rows[rows]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> AnyArray:
        result = np.empty(self.shape, dtype=dtype or self.dtype)
        for start in range(0, len(self), _BLOCK_ROWS):
            result[start : start + _BLOCK_ROWS] = self[start : start + _BLOCK_ROWS]
        return result


def join_features(features: FeatureMatrix, test: FeatureMatrix) -> FeatureMatrix:
    """Return the rows of two matrices as one, without a copy.

    Raises
    ------
    OptionError
        The rows are those of different recipes.
    """
    recipes = features.recipe, test.recipe
    differences = {} if None in recipes else recipe_differences(features.recipe or {}, test.recipe or {})
    if not differences and features.shape[1] != test.shape[1]:
        differences = {"number of features": (features.shape[1], test.shape[1])}
    if differences:
        name, (expected, found) = next(iter(differences.items()))
        raise OptionError(
            f"test (--test) must have features of the same recipe as {features.address!r}, got {name} "
            f"{shorten(str(found))} instead of {shorten(str(expected))} in {test.address!r}. Extract both with the "
            "same options."
        )
    return FeatureMatrix(
        features.address,
        [*features._parts, *test._parts],
        [*features._tables, *test._tables],
        job={"recipe": features.recipe, "options": features.options, "folder": features.folder},
        n_features=features.shape[1],
        is_complete=features.is_complete and test.is_complete,
    )


def is_read_on_demand(X: Any) -> bool:
    """Return whether the rows of a matrix are read from files when they are needed."""
    return isinstance(X, FeatureMatrix | SelectedRows)


def memory_map_of(X: Any) -> np.memmap[Any, Any] | None:
    """Return the memory map whose rows an array shares, or None. ``np.asarray`` and slices hide that there is one."""
    while isinstance(X, np.ndarray) and isinstance(X.base, np.ndarray):
        X = X.base
    return X if isinstance(X, np.memmap) else None


def is_in_memory(X: Any) -> bool:
    """Return whether the rows of a matrix are in memory, instead of in a file."""
    return not is_read_on_demand(X) and memory_map_of(X) is None
