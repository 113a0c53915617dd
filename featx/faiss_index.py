"""The home of faiss: all rows in one index, exact or approximate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from featx.errors import MissingDependencyError
from featx.exact_index import FloatArray, IntArray, cosines

_AT_ONCE = 16_384
#: An approximate index looks at so many of its cells, and for so many times the rows that are asked for.
_PROBES = 32
_MORE = 4
_LEAST_ROWS = 5000


class FaissIndex:
    """An index of faiss over rows at length one.

    Parameters
    ----------
    features : FeatureMatrix or ndarray, shape (n_samples, n_features)
    approximate : bool, default=False
        Look at the rows of some cells, each at one byte a value; the best of what is found are then compared exactly.
        Of fewer than 5,000 rows, the index is exact.

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
        self._is_exact = not approximate or n < _LEAST_ROWS
        if self._is_exact:
            self._index: Any = faiss.IndexFlatIP(n_features)
            self.words = "faiss, exact"
        else:
            n_cells = int(4 * math.sqrt(n))
            self._index = faiss.index_factory(n_features, f"IVF{n_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
            sample = np.sort(np.random.default_rng(0).permutation(n)[: 40 * n_cells])
            self._index.train(_unit(np.asarray(features[sample], dtype=np.float32)))
            self._index.nprobe = min(_PROBES, n_cells)
            self.words = f"faiss, approximate: {self._index.nprobe} of {n_cells:,} cells looked at"
        for at in range(0, n, _AT_ONCE):
            self._index.add(_unit(np.asarray(features[at : at + _AT_ONCE], dtype=np.float32)))

    def search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return the rows most similar to queries of length one, and the exact cosines."""
        if self._is_exact:
            values, rows = self._index.search(queries, top)
            return rows.astype(np.int64), values
        n_wanted = min(_MORE * top, self._features.shape[0])
        _, rows = self._index.search(queries, n_wanted)
        found = np.full((len(queries), top), -1, dtype=np.int64)
        cosine = np.full((len(queries), top), -2, dtype=np.float32)
        for at, candidates in enumerate(rows):
            there = np.sort(candidates[candidates >= 0])
            exact = cosines(queries[at : at + 1], np.asarray(self._features[there], dtype=np.float32))[0]
            order = np.argsort(-exact, kind="stable")[:top]
            found[at, : len(order)], cosine[at, : len(order)] = there[order], exact[order]
        return found, cosine


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)
