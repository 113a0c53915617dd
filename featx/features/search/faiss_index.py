"""Search with faiss, exact or approximate. The only module that imports faiss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from featx.errors import missing_dependency
from featx.features.search.cosine import cosine_similarity, normalize_rows
from featx.system.array_types import FloatArray, IntArray

_BATCH_ROWS = 16_384
#: Number of cells that an approximate search visits, and number of candidates per requested row.
_N_PROBES = 32
_CANDIDATES_PER_ROW = 4
#: Number of training rows per cell.
_TRAINING_ROWS_PER_CELL = 40
_MIN_APPROXIMATE_ROWS = 5000


class FaissIndex:
    """A faiss index of normalized rows. Rows that are not finite are not indexed.

    Parameters
    ----------
    features : FeatureMatrix or ndarray of shape (n_samples, n_features)
    approximate : bool, default=False
        Whether to search some cells of an inverted file index with 8-bit values (``IVF,SQ8``). The candidates are
        then compared exactly. With fewer than 5,000 rows, the index is exact.

    Raises
    ------
    MissingDependencyError
        faiss is not installed.
    """

    def __init__(self, features: Any, *, approximate: bool = False) -> None:
        try:
            import faiss
        except ImportError as error:
            raise missing_dependency(
                "index='faiss' (--index faiss)", "faiss", "'featx[faiss]'", instead="pass index='exact'"
            ) from error
        n_samples, n_features = features.shape
        self._features = features
        sample, n_cells = _training_sample(features) if approximate else (None, 0)
        self._is_exact = sample is None
        if sample is None:
            self._index: Any = faiss.IndexFlatIP(n_features)
            self.description = "faiss, exact"
        else:
            self._index = faiss.index_factory(n_features, f"IVF{n_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
            self._index.train(sample)
            self._index.nprobe = min(_N_PROBES, n_cells)
            self.description = f"faiss, approximate: {self._index.nprobe} of {n_cells:,} cells searched"
        self._indexed_rows = self._add_rows(n_samples)

    def _add_rows(self, n_samples: int) -> IntArray | None:
        """Add the finite rows; return their indices, or None if all rows are finite."""
        indices = []
        for start in range(0, n_samples, _BATCH_ROWS):
            unit, is_finite = _normalize_finite(self._features[start : start + _BATCH_ROWS])
            self._index.add(unit)
            indices.append(np.flatnonzero(is_finite) + start)
        return np.concatenate(indices) if self._index.ntotal < n_samples else None

    def search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return the indices and exact cosine similarities of the most similar rows; -1 and -2 where there is none.

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
        n_candidates = top if self._is_exact else min(_CANDIDATES_PER_ROW * top, self._features.shape[0])
        values, rows = self._index.search(queries, n_candidates)
        is_valid = rows >= 0
        if self._indexed_rows is not None:
            rows = np.append(self._indexed_rows, -1)[rows]
        if self._is_exact:
            return rows.astype(np.int64), np.where(is_valid, values, np.float32(-2))
        return self._rerank(queries, rows, top)

    def _rerank(self, queries: FloatArray, candidates: IntArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return the most similar of the candidates by exact cosine similarity."""
        best_rows = np.full((len(queries), top), -1, dtype=np.int64)
        best_cosine = np.full((len(queries), top), -2, dtype=np.float32)
        for query, query_candidates in enumerate(candidates):
            rows = np.sort(query_candidates[query_candidates >= 0])
            block = np.asarray(self._features[rows], dtype=np.float32)
            cosine = cosine_similarity(queries[query : query + 1], block)[0]
            order = np.argsort(-cosine, kind="stable")[:top]
            best_rows[query, : len(order)], best_cosine[query, : len(order)] = rows[order], cosine[order]
        return best_rows, best_cosine


def _training_sample(features: Any) -> tuple[FloatArray | None, int]:
    """Return a sample of finite, normalized rows and the number of cells; None if there are too few rows."""
    n_samples = features.shape[0]
    if n_samples < _MIN_APPROXIMATE_ROWS:
        return None, 0
    n_drawn = _TRAINING_ROWS_PER_CELL * int(4 * math.sqrt(n_samples))
    sample = np.sort(np.random.default_rng(0).permutation(n_samples)[:n_drawn])
    unit, is_finite = _normalize_finite(features[sample])
    n_finite = n_samples * is_finite.mean()
    return (unit, int(4 * math.sqrt(n_finite))) if n_finite >= _MIN_APPROXIMATE_ROWS else (None, 0)


def _normalize_finite(rows: Any) -> tuple[FloatArray, Any]:
    """Return the finite rows, normalized, and a mask of them."""
    rows = np.asarray(rows, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = np.isfinite(np.linalg.norm(rows, axis=1))
    return np.ascontiguousarray(normalize_rows(rows[is_finite] if not is_finite.all() else rows)), is_finite
