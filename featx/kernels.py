"""The RBF kernel of all rows computed once with BLAS and shared by all folds, instead of by each SVM alone."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

FloatMatrix: TypeAlias = "np.ndarray[Any, Any]"
IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

#: Up to here the distances take 400 MB, and the kernel of a fold 500 MB while it is fitted.
MOST_ROWS = 10_000


class SharedDistances:
    """Squared Euclidean distances between all rows.

    Parameters
    ----------
    X : ndarray of float, shape (n_samples, n_features)
    """

    def __init__(self, X: FloatMatrix) -> None:
        self._X = X
        # Distances do not change if all rows move; near the origin, float32 loses least in the difference below.
        centred = (X - X.mean(axis=0)).astype(np.float32, copy=False)
        norms = np.einsum("ij,ij->i", centred, centred)
        squared = centred @ centred.T
        squared *= -2
        squared += norms[:, None]
        squared += norms[None, :]
        self._squared = np.maximum(squared, 0, out=squared)

    def rbf(self, rows: IntArray, train: IntArray) -> FloatMatrix:
        """Return the kernel that ``SVC(gamma="scale")`` has when it is fitted on the rows `train`.

        Parameters
        ----------
        rows : ndarray of int, shape (n_rows,)
        train : ndarray of int, shape (n_train,)

        Returns
        -------
        ndarray of float64, shape (n_rows, n_train)
        """
        gamma = 1 / (self._X.shape[1] * self._X[train].astype(np.float64).var())
        kernel: FloatMatrix = self._squared[np.ix_(rows, train)]
        kernel *= np.float32(-gamma)
        np.exp(kernel, out=kernel)
        return kernel.astype(np.float64)
