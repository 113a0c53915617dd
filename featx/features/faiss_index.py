"""The home of faiss: all rows in one index, exact or approximate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from featx.errors import MissingDependencyError
from featx.features.exact_index import cosines
from featx.system.array_types import FloatArray, IntArray

_AT_ONCE = 16_384
#: An approximate index looks at so many of its cells, and for so many times the rows that are asked for.
_PROBES = 32
_MORE = 4
#: And is trained on so many rows of each.
_EACH_CELL = 40
_LEAST_ROWS = 5000


class FaissIndex:
    """An index of faiss over rows at length one.

    Parameters
    ----------
    features : FeatureMatrix or ndarray, shape (n_samples, n_features)
    approximate : bool, default=False
        Look at the rows of some cells, each at one byte a value; the best of what is found are then compared exactly.
        Of fewer than 5,000 rows, the index is exact. Rows that are not finite are in neither.

    Raises
    ------
    MissingDependencyError
    """

    def __init__(self, features: Any, *, approximate: bool = False) -> None:
        try:
            import faiss
        except ImportError as error:
            raise MissingDependencyError(
                f"An index of faiss needs faiss, which is not installed ({error}). Install it: pip install "
                "'featx[faiss]', or leave index (--index) out for the exact search without it."
            ) from error
        n, n_features = features.shape
        self._features = features
        sample, n_cells = _to_train_on(features) if approximate and n >= _LEAST_ROWS else (None, 0)
        self._is_exact = sample is None
        if sample is None:
            self._index: Any = faiss.IndexFlatIP(n_features)
            self.words = "faiss, exact"
        else:
            self._index = faiss.index_factory(n_features, f"IVF{n_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
            self._index.train(sample)
            self._index.nprobe = min(_PROBES, n_cells)
            self.words = f"faiss, approximate: {self._index.nprobe} of {n_cells:,} cells looked at"
        self._numbers = self._add(n)

    def _add(self, n: int) -> IntArray | None:
        """Take in the rows that are finite; return their numbers, unless these are all rows."""
        numbers = []
        for at in range(0, n, _AT_ONCE):
            unit, is_finite = _unit(np.asarray(self._features[at : at + _AT_ONCE], dtype=np.float32))
            self._index.add(unit)
            numbers.append(np.flatnonzero(is_finite) + at)
        return np.concatenate(numbers) if self._index.ntotal < n else None

    def search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return the rows most similar to queries of length one, and the exact cosines; of none -1 and -2."""
        n_wanted = top if self._is_exact else min(_MORE * top, self._features.shape[0])
        values, rows = self._index.search(queries, n_wanted)
        is_there = rows >= 0
        if self._numbers is not None:
            rows = np.append(self._numbers, -1)[rows]
        if self._is_exact:
            return rows.astype(np.int64), np.where(is_there, values, np.float32(-2))
        found = np.full((len(queries), top), -1, dtype=np.int64)
        cosine = np.full((len(queries), top), -2, dtype=np.float32)
        for at, candidates in enumerate(rows):
            there = np.sort(candidates[candidates >= 0])
            exact = cosines(queries[at : at + 1], np.asarray(self._features[there], dtype=np.float32))[0]
            order = np.argsort(-exact, kind="stable")[:top]
            found[at, : len(order)], cosine[at, : len(order)] = there[order], exact[order]
        return found, cosine


def _to_train_on(features: Any) -> tuple[FloatArray | None, int]:
    """Return some finite rows at length one, and how many cells to divide all rows into; None for too few rows."""
    n = features.shape[0]
    sample = np.sort(np.random.default_rng(0).permutation(n)[: _EACH_CELL * int(4 * math.sqrt(n))])
    unit, is_finite = _unit(np.asarray(features[sample], dtype=np.float32))
    n_finite = n * is_finite.mean()
    return (unit, int(4 * math.sqrt(n_finite))) if n_finite >= _LEAST_ROWS else (None, 0)


def _unit(rows: FloatArray) -> tuple[FloatArray, Any]:
    """Return the finite rows at length one, and which these are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    is_finite = np.isfinite(lengths[:, 0])
    if not is_finite.all():
        rows, lengths = rows[is_finite], lengths[is_finite]
    return np.ascontiguousarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32), is_finite
