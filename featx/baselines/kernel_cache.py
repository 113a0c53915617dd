"""Kernels from inner products and their scale; one between all samples that folds and estimators share."""

from __future__ import annotations

import numpy as np

from featx.baselines.scaling.column_statistics import column_statistics, gamma_of_variance, row_blocks
from featx.system.array_types import AnyArray, IntArray

#: Maximum number of samples. Their inner products take 400 MB, and the kernel of a fold 500 MB during the fit.
MAX_ROWS = 10_000
#: Number of rows up to which float64 copies are made of all of them.
_MAX_COPIED_ROWS = 10_000


class SharedKernel:
    """RBF and linear kernels between all samples, from one matrix of inner products.

    Parameters
    ----------
    X : ndarray of float of shape (n_samples, n_features)
        Features.
    """

    def __init__(self, X: AnyArray) -> None:
        # Distances and support vector machines do not change if all rows are shifted. Centering minimizes the rounding
        # error of float32 in the differences below.
        centered = (X - X.mean(axis=0)).astype(np.float32, copy=False)
        self._squared_norms = np.einsum("ij,ij->i", centered, centered)
        self._inner_products = centered @ centered.T

    @property
    def n_bytes(self) -> int:
        """Memory of the inner products."""
        return int(self._inner_products.nbytes)

    def compute(self, kind: str, rows: IntArray, train: IntArray, gamma: float) -> AnyArray:
        """Return the kernel between samples: exp(−gamma · squared distance), or gamma · inner product.

        Parameters
        ----------
        kind : {"rbf", "linear"}
            Type of the kernel.
        rows : ndarray of int of shape (n_rows,)
            Indices of the samples of the rows.
        train : ndarray of int of shape (n_train,)
            Indices of the samples of the columns.
        gamma : float
            Scale of the kernel.

        Returns
        -------
        ndarray of float64 of shape (n_rows, n_train)
            Kernel matrix.
        """
        kernel: AnyArray = self._inner_products[np.ix_(rows, train)]
        if kind == "rbf":
            fill_rbf_kernel(kernel, self._squared_norms[rows], self._squared_norms[train], gamma)
        else:
            kernel *= np.float32(gamma)
        return kernel.astype(np.float64)


def fill_rbf_kernel(products: AnyArray, row_norms: AnyArray, column_norms: AnyArray, gamma: float) -> None:
    """Replace inner products by the RBF kernel: exp(−gamma · squared distance).

    ``sklearn.metrics.pairwise.rbf_kernel`` computes the inner products too, which callers here have already.

    Parameters
    ----------
    products : ndarray of float32 of shape (n_rows, n_columns)
        Inner products, overwritten.
    row_norms : ndarray of float32 of shape (n_rows,)
        Squared norms of the rows.
    column_norms : ndarray of float32 of shape (n_columns,)
        Squared norms of the samples of the columns.
    gamma : float
        Scale of the kernel.
    """
    products *= -2
    products += row_norms[:, None]
    products += column_norms
    np.maximum(products, 0, out=products)
    products *= np.float32(-gamma)
    np.exp(products, out=products)


def scale_gamma(X: AnyArray, train: IntArray) -> float:
    """Return the value of ``gamma="scale"`` for the samples `train`, whose rows are in memory.

    Rows that are read in blocks have it from their first pass: ``ColumnStatistics.scale_gamma``.
    """
    if len(train) <= _MAX_COPIED_ROWS:
        return gamma_of_variance(float(X[train].astype(np.float64).var()), X.shape[1])
    return column_statistics(row_blocks(X, train)).scale_gamma
