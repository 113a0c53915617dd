"""How far a new image is from the images that a model was fitted on, against how far those are from each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

#: No more rows than this, and no more bytes, are kept of those that a model was fitted on.
MOST_ROWS, MOST_BYTES = 5000, 20_000_000
#: Share of the images that were fitted on whose distance to the nearest other one counts as usual.
_USUAL = 0.99
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """Rows of images that a model was fitted on, and how far they are from each other.

    Attributes
    ----------
    rows : ndarray of float16, shape (n_kept, n_features)
        Of length one; some of them, where there are many.
    usual : float
        Cosine distance that 99 % of them do not exceed to the nearest of the others.
    """

    rows: np.ndarray[Any, Any]
    usual: float

    @classmethod
    def of(cls, rows: np.ndarray[Any, Any], random_state: int = 0) -> Familiarity | None:
        """Return what is kept of the rows that a model was fitted on, shape (n_samples, n_features).

        None for fewer than three, among which nothing is usual.
        """
        most = min(MOST_ROWS, MOST_BYTES // (2 * rows.shape[1]))
        if len(rows) > most:
            rows = rows[np.sort(np.random.default_rng(random_state).choice(len(rows), most, replace=False))]
        if len(rows) < 3:
            return None
        unit = _unit(rows)
        distances = _to_nearest(unit, unit, besides_itself=True)
        return cls(unit.astype(np.float16), max(float(np.quantile(distances, _USUAL)), 1e-6))

    def unlikeness(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return how far rows are from the nearest kept one, shape (n,): above 1 is farther than is usual."""
        distances = _to_nearest(_unit(rows), self.rows.astype(np.float32))
        return distances / np.float32(self.usual)


def _unit(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    unit: np.ndarray[Any, np.dtype[np.float32]] = (rows / lengths).astype(np.float32)
    return unit


def _to_nearest(
    unit: np.ndarray[Any, Any], others: np.ndarray[Any, Any], *, besides_itself: bool = False
) -> np.ndarray[Any, np.dtype[np.float32]]:
    nearest = np.empty(len(unit), dtype=np.float32)
    for at in range(0, len(unit), _BLOCK):
        cosines = unit[at : at + _BLOCK] @ others.T
        if besides_itself:
            own = np.arange(len(cosines))
            cosines[own, at + own] = -1
        nearest[at : at + _BLOCK] = np.maximum(1 - cosines.max(axis=1), 0)
    return nearest
