"""How far a new image is from the images that a model was fitted on, against how far those are from each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

#: No more rows than this, and no more bytes, are kept of those that a model was fitted on.
MOST_ROWS, MOST_BYTES = 5000, 20_000_000
#: Share of the images that were fitted on whose distance to the nearest other one counts as threshold.
_USUAL = 0.99
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class NoveltyDetector:
    """Rows of images that a model was fitted on, and how far they are from each other.

    Attributes
    ----------
    rows : ndarray of float16, shape (n_kept, n_features)
        Of length one; some of them, where there are many.
    threshold : float
        Cosine distance that 99 % of them do not exceed to the nearest of the others.
    """

    rows: np.ndarray[Any, Any]
    threshold: float

    @classmethod
    def of(cls, rows: np.ndarray[Any, Any], groups: np.ndarray[Any, Any] | None = None) -> NoveltyDetector | None:
        """Return what is kept of the rows that a model was fitted on.

        Parameters
        ----------
        rows : ndarray of float, shape (n_samples, n_features)
        groups : ndarray of int, shape (n_samples,), or None, default=None
            Equal for images that show one thing: how far it is from itself says nothing about others.

        Returns
        -------
        NoveltyDetector or None
            None for fewer than three things, among which nothing is threshold.
        """
        groups = np.arange(len(rows)) if groups is None else groups
        most = min(MOST_ROWS, MOST_BYTES // (2 * rows.shape[1]))
        if len(rows) > most:
            kept = np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))
            rows, groups = rows[kept], groups[kept]
        if len(np.unique(groups)) < 3:
            return None
        unit = _unit(rows)
        distances = _to_nearest(unit, unit, groups)
        return cls(unit.astype(np.float16), max(float(np.quantile(distances, _USUAL)), 1e-6))

    def novelty_score(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return how far rows are from the nearest kept one, shape (n,): above 1 is farther than is threshold."""
        distances = _to_nearest(_unit(rows), self.rows.astype(np.float32))
        return distances / np.float32(self.threshold)


def _unit(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    unit: np.ndarray[Any, np.dtype[np.float32]] = (rows / lengths).astype(np.float32)
    return unit


def _to_nearest(
    unit: np.ndarray[Any, Any], others: np.ndarray[Any, Any], groups: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the distance of each row to the nearest of the others, of another group than its own."""
    nearest = np.empty(len(unit), dtype=np.float32)
    for at in range(0, len(unit), _BLOCK):
        cosines = unit[at : at + _BLOCK] @ others.T
        if groups is not None:
            cosines[groups[at : at + _BLOCK, None] == groups] = -1
        nearest[at : at + _BLOCK] = np.maximum(1 - cosines.max(axis=1), 0)
    return nearest
