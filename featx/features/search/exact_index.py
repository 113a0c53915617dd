"""Exact search: compare queries with every row, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.features.search.cosine import cosine_similarity
from featx.system.array_types import FloatArray, IntArray
from featx.system.terminal.progress import Stage, stage
from featx.system.threads import map_in_threads

#: Size of a block of rows, and of the similarities of queries to it.
_BLOCK_BYTES = 16 * 2**20
_BATCH_QUERIES = 1024


class ExactIndex:
    """Search by comparing queries with every row. Nothing is built, and each core holds one block.

    Parameters
    ----------
    features : FeatureMatrix or ndarray of shape (n_samples, n_features)
    block_bytes : int, default=16777216
        Size of a block of rows.
    batch_queries : int, default=1024
        Number of queries that are compared at once.
    """

    description = "exact, every row compared"

    def __init__(self, features: Any, *, block_bytes: int = _BLOCK_BYTES, batch_queries: int = _BATCH_QUERIES) -> None:
        self._features = features
        self._block_bytes = block_bytes
        self._batch_queries = batch_queries

    def search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return the indices and cosine similarities of the most similar rows.

        Parameters
        ----------
        queries : ndarray of float32 of shape (n_queries, n_features)
            Rows of unit length.
        top : int
            Number of rows per query.

        Returns
        -------
        rows : ndarray of int64 of shape (n_queries, top)
        cosine : ndarray of float32 of shape (n_queries, top)
        """
        starts = range(0, max(1, len(queries)), self._batch_queries)
        with stage("match", len(starts) * self._features.shape[0], "rows") as progress:
            batches = [queries[start : start + self._batch_queries] for start in starts]
            results = [self._search_batch(batch, top, progress) for batch in batches]
        return np.concatenate([rows for rows, _ in results]), np.concatenate([cosine for _, cosine in results])

    def _search_batch(self, queries: FloatArray, top: int, progress: Stage) -> tuple[IntArray, FloatArray]:
        n_samples, n_features = self._features.shape
        step = max(1, self._block_bytes // (4 * max(n_features, len(queries))))
        best_rows = np.empty((len(queries), 0), dtype=np.int64)
        best_cosine = np.empty((len(queries), 0), dtype=np.float32)

        def search_block(start: int) -> tuple[IntArray, FloatArray]:
            block = np.asarray(self._features[start : start + step], dtype=np.float32)
            columns, cosine = _largest(cosine_similarity(queries, block), top)
            return columns + start, cosine

        for block_rows, block_cosine in map_in_threads(search_block, range(0, n_samples, step)):
            rows = np.concatenate([best_rows, block_rows], axis=1)
            order, best_cosine = _largest(np.concatenate([best_cosine, block_cosine], axis=1), top)
            best_rows = np.take_along_axis(rows, order, axis=1)
            progress(step)
        return best_rows, best_cosine


def _largest(cosine: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
    """Return columns and values of the largest entries of each row; of equal values, the first columns."""
    n_columns = cosine.shape[1]
    if n_columns > 4 * top:
        columns = np.argpartition(-cosine, top, axis=1)[:, : top + 1]
        # argpartition returns any of several equal values; the first ones are needed.
        n_candidates = (cosine >= np.take_along_axis(cosine, columns, axis=1).min(axis=1, keepdims=True)).sum(axis=1)
        if (n_candidates > columns.shape[1]).any():
            columns = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
        columns.sort(axis=1)
    else:
        columns = np.broadcast_to(np.arange(n_columns), cosine.shape)
    values = np.take_along_axis(cosine, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
