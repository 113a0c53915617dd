"""Detect images that differ from the training images of a model."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from featx.features.search.cosine import normalize_rows
from featx.system.array_types import AnyArray, FloatArray
from featx.system.arrays import row_product

#: Limits of the training rows that a model file holds.
MAX_ROWS, MAX_BYTES = 5000, 20_000_000
#: Fraction of the training images whose novelty score is at most 1.
_QUANTILE = 0.99
#: Number of rows that are compared with all training rows at a time.
_BLOCK_ROWS = 1024
#: Largest rounding error of a cosine in float32.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class NoveltyDetector:
    """Score of how far features are from those of training images.

    The score of an image is its cosine distance to the nearest training image, divided by a threshold: the 99 %
    quantile of the distances of training images to their own nearest neighbors. Above 1, the image is farther from
    the training images than 99 % of these are from each other.

    Attributes
    ----------
    rows : ndarray of float16 of shape (n_rows, n_features)
        Features of training images with unit norm; a random sample if there are many.
    threshold : float
        Cosine distance that a score of 1 stands for.

    Notes
    -----
    Nearest-neighbor distance is a standard method of novelty detection; see Y. Sun et al., "Out-of-distribution
    detection with deep nearest neighbors", ICML 2022, https://arxiv.org/abs/2204.06507, which uses normalized
    features and a quantile as the threshold, too.

    Examples
    --------
    >>> rows = np.random.default_rng(0).random((50, 8), dtype="float32")
    >>> detector = NoveltyDetector.fit(rows)
    >>> bool((detector.novelty_score(rows) < 1.01).all()), bool((detector.novelty_score(-rows) > 1).all())
    (True, True)
    """

    rows: AnyArray
    threshold: float

    @classmethod
    def fit(cls, rows: AnyArray, groups: AnyArray | None = None) -> NoveltyDetector | None:
        """Return a detector for training rows, or None if they belong to fewer than three groups.

        Parameters
        ----------
        rows : ndarray of float of shape (n_samples, n_features)
        groups : ndarray of int of shape (n_samples,) or None, default=None
            Group of each row, for example of near-duplicates. Distances within a group are ignored. None: every row
            is a group.
        """
        groups = np.arange(len(rows)) if groups is None else groups
        max_rows = min(MAX_ROWS, MAX_BYTES // (2 * rows.shape[1]))
        if len(rows) > max_rows:
            sample = np.sort(np.random.default_rng(0).choice(len(rows), max_rows, replace=False))
            rows, groups = rows[sample], groups[sample]
        if len(np.unique(groups)) < 3:
            return None
        unit = normalize_rows(np.asarray(rows, dtype=np.float32))
        distances = _distance_to_nearest(unit, unit, groups)
        return cls(unit.astype(np.float16), max(float(np.quantile(distances, _QUANTILE)), 1e-6))

    def novelty_score(self, rows: AnyArray) -> FloatArray:
        """Return the novelty score of each row, of shape (n_samples,).

        A score above 1 means that the row differs from the training rows.
        """
        distances = _distance_to_nearest(normalize_rows(np.asarray(rows, dtype=np.float32)), self._unit_rows)
        return distances / np.float32(self.threshold)

    @functools.cached_property
    def _unit_rows(self) -> FloatArray:
        """The training rows in float32: converting them takes longer than one image in the network."""
        return normalize_rows(self.rows.astype(np.float32))

    def check(self, n_features: int) -> None:
        """Raise an error if a detector from a file does not fit the features of its model.

        Raises
        ------
        ValueError
        """
        rows = self.rows
        if rows.dtype.kind != "f" or rows.ndim != 2 or not len(rows) or rows.shape[1] != n_features:
            raise ValueError(f"its training rows have type {rows.dtype} and shape {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError("its training rows contain NaN or infinity")
        if not 0 < self.threshold < 3:
            raise ValueError(f"its novelty threshold must be between 0 and 3, got {self.threshold}")


def _distance_to_nearest(unit: FloatArray, others: FloatArray, groups: AnyArray | None = None) -> FloatArray:
    """Return the cosine distance of each row to the nearest of the others, of another group if there are groups.

    The rounding of a matrix product depends on its size, and small distances are lost in it. So the product only
    selects the rows that may be nearest, and the distance is half the squared length of the difference.
    """
    nearest = np.full(len(unit), np.inf, dtype=np.float32)
    for start in range(0, len(unit), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        cosines = row_product(unit[block], others.T)
        if groups is not None:
            cosines[groups[block, None] == groups] = -np.inf
        is_near = cosines >= cosines.max(axis=1, keepdims=True) - np.float32(_ROUNDING)
        queries, candidates = np.divmod(np.flatnonzero(is_near), len(others))
        for pairs in range(0, len(queries), _BLOCK_ROWS):
            query = start + queries[pairs : pairs + _BLOCK_ROWS]
            difference = unit[query] - others[candidates[pairs : pairs + _BLOCK_ROWS]]
            np.minimum.at(nearest, query, np.einsum("ij,ij->i", difference, difference) / 2)
    return nearest
