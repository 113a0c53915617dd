"""The inner products of centred features: all that ridge regression, LogME and the H-score need of a matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from featx.system.array_types import Float64Array, IntArray

Matrix: TypeAlias = "np.ndarray[Any, Any]"

#: A block of the matrix takes so many bytes in float64.
_BLOCK_BYTES = 64 * 2**20
#: Directions with a smaller share of the largest variance than this are rounding errors.
_LEAST_SHARE = 1e-12


@dataclasses.dataclass(frozen=True)
class Products:
    """Inner products of a matrix Z, which is the features with the mean of each column subtracted; in float64.

    Attributes
    ----------
    matrix : ndarray of float64, shape (m, m)
        Z · Zᵀ where there are fewer rows than features (`is_wide`), else Zᵀ · Z.
    is_wide : bool
    n_rows, n_features : int
        Shape of Z; of a standardised one, columns that are constant do not count.
    fourth_moment : float
        Sum over the rows of the fourth power of their length.
    """

    matrix: Float64Array
    is_wide: bool
    n_rows: int
    n_features: int
    fourth_moment: float
    _X: Matrix = dataclasses.field(repr=False)
    _mean: Float64Array = dataclasses.field(repr=False)
    _scale: Float64Array = dataclasses.field(repr=False)

    @classmethod
    def of(cls, X: Matrix, *, standardised: bool = False) -> Products:
        """Return the products of a matrix, which is taken to float64 in blocks of 64 MB.

        Parameters
        ----------
        X : ndarray of float, shape (n_samples, n_features)
            Finite.
        standardised : bool, default=False
            Divide columns by their standard deviation; those that are constant become 0.
        """
        n, n_features = X.shape
        mean = X.mean(axis=0, dtype=np.float64)
        scale = _scale(X, mean) if standardised else np.ones(n_features)
        is_wide = n < n_features
        products = np.zeros((n, n) if is_wide else (n_features, n_features))
        fourth_moment = 0.0
        for rows in _blocks(n, n_features):
            block = (X[rows] - mean) * scale
            fourth_moment += float((np.einsum("ij,ij->i", block, block) ** 2).sum())
            if not is_wide:
                products += block.T @ block
        if is_wide:
            for columns in _blocks(n_features, n):
                block = (X[:, columns] - mean[columns]) * scale[columns]
                products += block @ block.T
        return cls(products, is_wide, n, int((scale > 0).sum()), fourth_moment, X, mean, scale)

    @property
    def total(self) -> float:
        """Sum of the squared lengths of the rows of Z."""
        return float(np.trace(self.matrix))

    def rows(self, rows: IntArray | slice) -> Float64Array:
        """Return rows of Z."""
        found: Float64Array = (self._X[rows] - self._mean) * self._scale
        return found

    def blocks(self) -> Iterator[slice]:
        """Yield all rows, as many at a time as are to be held in float64."""
        return _blocks(self.n_rows, len(self._mean))

    def against(self, Y: Float64Array) -> Float64Array:
        """Return Zᵀ · Y, shape (n_features, n_targets)."""
        found = np.zeros((len(self._mean), Y.shape[1]))
        for rows in self.blocks():
            found += self.rows(rows).T @ Y[rows]
        return found

    def spectrum(self, Y: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the squared singular values of Z, the largest first, and Y along its left singular vectors.

        Parameters
        ----------
        Y : ndarray of float64, shape (n_samples, n_targets)

        Returns
        -------
        squared : ndarray of float64, shape (rank,)
        along : ndarray of float64, shape (rank, n_targets)
        """
        squared, vectors = np.linalg.eigh(self.matrix)
        kept = np.flatnonzero(squared > _LEAST_SHARE * squared.max(initial=0))[::-1]
        squared, vectors = squared[kept], vectors[:, kept]
        if self.is_wide:
            return squared, vectors.T @ Y
        return squared, vectors.T @ self.against(Y) / np.sqrt(squared)[:, None]


def _scale(X: Matrix, mean: Float64Array) -> Float64Array:
    """Return what standardises each column; 0 for those that are constant."""
    variance = np.zeros(X.shape[1])
    for rows in _blocks(*X.shape):
        variance += ((X[rows] - mean) ** 2).sum(axis=0) / len(X)
    # A mean of equal numbers may be rounded: the variance of a constant is not always 0.
    varies = (X.min(axis=0) < X.max(axis=0)) & (variance > 0)
    scale: Float64Array = varies / np.sqrt(np.where(varies, variance, 1))
    return scale


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // (8 * max(1, width)))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
