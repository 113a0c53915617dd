"""Search without an index: every row is compared, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from featx.features.block_threads import side_by_side
from featx.system.array_types import FloatArray, IntArray

#: A block of rows, and the cosines of queries to it, take so many bytes.
_BLOCK_BYTES = 16 * 2**20
_QUERIES_AT_ONCE = 1024


class ExactIndex:
    """Compare with every row, a block at a time: nothing is built, and no more than a block for each core is held.

    Parameters
    ----------
    features : FeatureMatrix or ndarray, shape (n_samples, n_features)
    """

    words = "exact, every row compared"

    def __init__(self, features: Any) -> None:
        self._features = features

    def search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        """Return the rows most similar to queries of length one, and the cosines.

        Parameters
        ----------
        queries : ndarray of float32, shape (n_queries, n_features)
        top : int
        """
        found = [self._search(queries[at : at + _QUERIES_AT_ONCE], top) for at in _starts(queries, _QUERIES_AT_ONCE)]
        return np.concatenate([rows for rows, _ in found]), np.concatenate([cosine for _, cosine in found])

    def _search(self, queries: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
        n, n_features = self._features.shape
        step = max(1, _BLOCK_BYTES // (4 * max(n_features, len(queries))))
        best: tuple[IntArray, FloatArray] = (
            np.empty((len(queries), 0), dtype=np.int64),
            np.empty((len(queries), 0), dtype=np.float32),
        )

        def compared(at: int) -> tuple[IntArray, FloatArray]:
            block = np.asarray(self._features[at : at + step], dtype=np.float32)
            rows, cosine = _best(cosines(queries, block), top)
            return rows + at, cosine

        for found in side_by_side(compared, range(0, n, step)):
            rows = np.concatenate([best[0], found[0]], axis=1)
            order, cosine = _best(np.concatenate([best[1], found[1]], axis=1), top)
            best = np.take_along_axis(rows, order, axis=1), cosine
        return best


def _starts(queries: FloatArray, step: int) -> Iterator[int]:
    return iter(range(0, max(1, len(queries)), step))


def cosines(queries: FloatArray, rows: FloatArray) -> FloatArray:
    """Return the cosines of queries of length one to rows of any length; of rows of zeros 0, of those not finite -2."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    is_finite = np.isfinite(lengths)
    if not is_finite.all():
        rows, lengths = np.where(is_finite[:, None], rows, 0), np.where(is_finite, lengths, 0)
    found: FloatArray = queries @ rows.T
    found /= np.where(lengths > 0, lengths, 1)
    if not is_finite.all():
        found[:, ~is_finite] = -2
    return found


def _best(cosine: FloatArray, top: int) -> tuple[IntArray, FloatArray]:
    """Return the places of the largest of each row, and these; of equal ones the first."""
    n = cosine.shape[1]
    if n > 4 * top:
        places = np.argpartition(-cosine, top, axis=1)[:, : top + 1]
        # Of those equal to the last, the first are to be taken, whatever the partition did.
        tied = (cosine >= np.take_along_axis(cosine, places, axis=1).min(axis=1, keepdims=True)).sum(axis=1)
        if (tied > places.shape[1]).any():
            places = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
        places.sort(axis=1)
    else:
        places = np.broadcast_to(np.arange(n), cosine.shape)
    values = np.take_along_axis(cosine, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)
