"""The kernel of all rows computed once with BLAS and shared by all folds, instead of by each SVM alone."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from featx.system.array_types import IntArray

FloatMatrix: TypeAlias = "np.ndarray[Any, Any]"

#: Up to here the distances take 400 MB, and the kernel of a fold 500 MB while it is fitted.
MAX_ROWS = 10_000


class SharedKernel:
    """RBF and linear kernels between all rows.

    Parameters
    ----------
    X : ndarray of float, shape (n_samples, n_features)
    """

    def __init__(self, X: FloatMatrix) -> None:
        # Neither distances nor support vector machines change if all rows move; near the origin, float32 loses least
        # in the difference below.
        centred = (X - X.mean(axis=0)).astype(np.float32, copy=False)
        self._norms = np.einsum("ij,ij->i", centred, centred)
        self._products = centred @ centred.T

    def of(self, kind: str, rows: IntArray, train: IntArray, gamma: float) -> FloatMatrix:
        """Return the kernel between rows: exp(−gamma · squared distance), or gamma · inner product.

        Parameters
        ----------
        kind : {"rbf", "linear"}
        rows : ndarray of int, shape (n_rows,)
        train : ndarray of int, shape (n_train,)
        gamma : float

        Returns
        -------
        ndarray of float64, shape (n_rows, n_train)
        """
        kernel: FloatMatrix = self._products[np.ix_(rows, train)]
        if kind == "rbf":
            kernel *= -2
            kernel += self._norms[rows, None]
            kernel += self._norms[None, train]
            np.maximum(kernel, 0, out=kernel)
            gamma = -gamma
        kernel *= np.float32(gamma)
        if kind == "rbf":
            np.exp(kernel, out=kernel)
        return kernel.astype(np.float64)
