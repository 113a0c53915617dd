"""Group rows that are linked by pairs: connected components of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.system.array_types import IntArray


class TooConnectedError(Exception):
    """More than half of the rows are in one group."""


class PairGroups:
    """Groups of rows that are linked by pairs. Pairs are merged into groups before they fill the memory.

    Parameters
    ----------
    n_rows : int
    max_pairs : int
        Number of pairs that are collected before they are merged.
    max_group_size : int or None, default=None
        Size of a group above which :class:`TooConnectedError` is raised. None: no limit.
    """

    def __init__(self, n_rows: int, max_pairs: int, max_group_size: int | None = None) -> None:
        self._n_rows = n_rows
        self._max_pairs = max_pairs
        self._max_group_size = max_group_size
        self._labels: IntArray = np.arange(n_rows, dtype=np.int64)
        self._pairs: list[tuple[IntArray, IntArray]] = []
        self._n_pairs = 0

    def add(self, left: IntArray, right: IntArray) -> None:
        """Link each row of `left` with the row of `right` at the same position."""
        is_new = self._labels[left] != self._labels[right]
        if is_new.any():
            self._pairs.append((left[is_new], right[is_new]))
            self._n_pairs += int(is_new.sum())
            if self._n_pairs > self._max_pairs:
                self.labels()

    def labels(self) -> IntArray:
        """Return the label of each row, equal for the rows of a group.

        Raises
        ------
        TooConnectedError
            A group has more than `max_group_size` rows.
        """
        if self._pairs:
            left = self._labels[np.concatenate([left for left, _ in self._pairs])]
            right = self._labels[np.concatenate([right for _, right in self._pairs])]
            self._labels = connected_components(self._n_rows, [left], [right])[self._labels]
            self._pairs, self._n_pairs = [], 0
            if self._max_group_size is not None and int(np.bincount(self._labels).max()) > self._max_group_size:
                raise TooConnectedError
        return self._labels


def connected_components(n_rows: int, left: Sequence[IntArray], right: Sequence[IntArray]) -> IntArray:
    """Return the label of the connected component of each row.

    Parameters
    ----------
    n_rows : int
    left, right : sequence of ndarray of int
        Rows of the linked pairs.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components as components

    rows = np.concatenate([*left, np.empty(0, dtype=np.int64)])
    columns = np.concatenate([*right, np.empty(0, dtype=np.int64)])
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(n_rows, n_rows))
    labels: IntArray = components(graph, directed=False)[1].astype(np.int64)
    return labels
