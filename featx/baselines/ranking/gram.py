"""The Gram matrix of centered features, from which ridge regression, LogME and the H-score are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from featx.baselines.scaling.column_statistics import column_statistics, row_blocks
from featx.system.array_types import AnyArray, Float64Array, IntArray

#: Memory of the part of the features that is converted to float64 at a time.
BLOCK_BYTES = 64 * 2**20
#: Relative variance below which a direction is a rounding error.
_MIN_RELATIVE_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class GramMatrix:
    """Inner products of Z, the features minus the mean of each column, in float64.

    Attributes
    ----------
    matrix : ndarray of float64 of shape (m, m)
        Z · Zᵀ if there are fewer samples than features (`is_wide`), else Zᵀ · Z.
    is_wide : bool
        Whether there are fewer samples than features.
    n_samples : int
        Number of rows of Z.
    n_features : int
        Number of columns of Z. Constant columns of standardized features do not count.
    fourth_moment : float
        Sum of the fourth powers of the norms of the rows.
    """

    matrix: Float64Array
    is_wide: bool
    n_samples: int
    n_features: int
    fourth_moment: float
    _X: AnyArray = dataclasses.field(repr=False)
    _mean: Float64Array = dataclasses.field(repr=False)
    _scale: Float64Array = dataclasses.field(repr=False)
    _block_bytes: int = dataclasses.field(repr=False)

    @classmethod
    def from_features(cls, X: AnyArray, *, standardize: bool = False, block_bytes: int = BLOCK_BYTES) -> GramMatrix:
        """Return the Gram matrix of features, which are converted to float64 in blocks.

        Parameters
        ----------
        X : ndarray of float of shape (n_samples, n_features)
            Finite features.
        standardize : bool, default=False
            Whether to divide columns by their standard deviation. Constant columns become 0.
        block_bytes : int, default=67108864
            Memory of a block.

        Returns
        -------
        GramMatrix
            Inner products.
        """
        n_samples, n_features = X.shape
        mean, scale = X.mean(axis=0, dtype=np.float64), np.ones(n_features)
        if standardize:
            scale = column_statistics(row_blocks(X, block_bytes=block_bytes)).inverse_std
        is_wide = n_samples < n_features
        matrix = np.zeros((n_samples, n_samples) if is_wide else (n_features, n_features))
        fourth_moment = 0.0
        for rows in _blocks(n_samples, n_features, block_bytes):
            block = (X[rows] - mean) * scale
            fourth_moment += float((np.einsum("ij,ij->i", block, block) ** 2).sum())
            if not is_wide:
                matrix += block.T @ block
        if is_wide:
            for columns in _blocks(n_features, n_samples, block_bytes):
                block = (X[:, columns] - mean[columns]) * scale[columns]
                matrix += block @ block.T
        return cls(matrix, is_wide, n_samples, int((scale > 0).sum()), fourth_moment, X, mean, scale, block_bytes)

    @property
    def trace(self) -> float:
        """Sum of the squared norms of the rows of Z."""
        return float(np.trace(self.matrix))

    def rows(self, rows: IntArray | slice) -> Float64Array:
        """Return rows of Z."""
        selected: Float64Array = (self._X[rows] - self._mean) * self._scale
        return selected

    def blocks(self) -> Iterator[slice]:
        """Yield slices of rows that together are all of Z."""
        return _blocks(self.n_samples, len(self._mean), self._block_bytes)

    def transpose_dot(self, Y: Float64Array) -> Float64Array:
        """Return Zᵀ · Y, of shape (n_features, n_targets)."""
        product = np.zeros((len(self._mean), Y.shape[1]))
        for rows in self.blocks():
            product += self.rows(rows).T @ Y[rows]
        return product

    def spectrum(self, Y: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the squared singular values of Z, and the projections of Y on its left singular vectors.

        Parameters
        ----------
        Y : ndarray of float64 of shape (n_samples, n_targets)
            Targets.

        Returns
        -------
        squared : ndarray of float64 of shape (rank,)
            In descending order.
        projections : ndarray of float64 of shape (rank, n_targets)
            In the same order.
        """
        squared, vectors = np.linalg.eigh(self.matrix)
        kept = np.flatnonzero(squared > _MIN_RELATIVE_VARIANCE * squared.max(initial=0))[::-1]
        squared, vectors = squared[kept], vectors[:, kept]
        if self.is_wide:
            return squared, vectors.T @ Y
        return squared, vectors.T @ self.transpose_dot(Y) / np.sqrt(squared)[:, None]


def _blocks(n: int, width: int, block_bytes: int) -> Iterator[slice]:
    step = max(1, block_bytes // (8 * max(1, width)))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
