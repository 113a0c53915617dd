"""Ridge models whose penalty is selected by generalized cross-validation, from the Gram matrix alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from featx.system.array_types import AnyArray, Float64Array

#: Number of rows of which float64 copies are made at once, and of values of their targets.
_BLOCK_ROWS, _BLOCK_VALUES = 8192, 2**24


def solve_ridge(
    scatter: Float64Array,
    targets: Float64Array,
    squares: Float64Array,
    alphas: Sequence[float],
    n: int,
    *,
    per_target: bool = False,
) -> tuple[Float64Array, Any]:
    """Return the weights of a ridge model, and its penalty.

    Generalized cross-validation [1]_ selects the penalty with the smallest RSS / (1 − d / n)², where d is the number
    of effective parameters. All of it follows from the eigenvalues of the Gram matrix.

    Parameters
    ----------
    scatter : ndarray of float64 of shape (n_columns, n_columns)
        Gram matrix of the centered rows.
    targets : ndarray of float64 of shape (n_columns, n_targets)
        Products of centered rows and targets.
    squares : ndarray of float64 of shape (n_targets,)
        Sums of squares of the centered targets.
    alphas : sequence of float
        Penalties to choose from.
    n : int
        Number of rows.
    per_target : bool, default=False
        Whether each target has a penalty of its own, so that an array is returned.

    References
    ----------
    .. [1] G. H. Golub, M. Heath and G. Wahba, "Generalized cross-validation as a method for choosing a good ridge
       parameter", Technometrics 21 (1979), 215–223.
    """
    if len(alphas) == 1:
        penalized = scatter.copy()
        penalized[np.diag_indices(len(scatter))] += alphas[0]
        return np.asarray(cho_solve(cho_factor(penalized, overwrite_a=True), targets)), (
            np.full(targets.shape[1], alphas[0]) if per_target else alphas[0]
        )
    values, vectors = eigh(scatter)
    values = np.maximum(values, 0)
    rotated = vectors.T @ targets
    errors = np.array([_gcv_errors(values, rotated, squares, alpha, n) for alpha in alphas])
    if per_target:
        chosen = np.asarray(alphas)[errors.argmin(axis=0)]
        return vectors @ (rotated / (values[:, None] + chosen)), chosen
    alpha = alphas[int(np.argmin(errors.sum(axis=1)))]
    return vectors @ (rotated / (values + alpha)[:, None]), alpha


def _gcv_errors(
    values: Float64Array, rotated: Float64Array, squares: Float64Array, alpha: float, n: int
) -> Float64Array:
    """Return the error of each target."""
    explained = np.square(rotated) * ((values + 2 * alpha) / (values + alpha) ** 2)[:, None]
    n_parameters = 1 + float((values / (values + alpha)).sum())
    errors: Float64Array = (squares - explained.sum(axis=0)) / max(1 - n_parameters / n, 1e-6) ** 2
    return errors


class _GcvRidge(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ridge on rows as they are, with an intercept."""

    def __init__(self, alphas: Sequence[float] = (1.0,)) -> None:
        self.alphas = alphas

    def _fit_columns(
        self,
        X: AnyArray,
        y_mean: Float64Array,
        targets: Callable[[slice], Float64Array],
        *,
        per_target: bool = False,
    ) -> None:
        """Fit on targets that a function returns for some rows; those of all rows and classes may not fit."""
        n_features, n_targets = X.shape[1], len(y_mean)
        x_mean = X.mean(axis=0, dtype=np.float64)
        gram, products = np.zeros((n_features, n_features)), np.zeros((n_features, n_targets))
        squares = np.zeros(n_targets)
        step = max(1, min(_BLOCK_ROWS, _BLOCK_VALUES // n_targets))
        for start in range(0, len(X), step):
            span = slice(start, start + step)
            rows = X[span] - x_mean
            columns = targets(span) - y_mean
            gram += rows.T @ rows
            products += rows.T @ columns
            squares += np.square(columns).sum(axis=0)
        self.coef_, self.alpha_ = solve_ridge(gram, products, squares, list(self.alphas), len(X), per_target=per_target)
        self.intercept_ = y_mean - x_mean @ self.coef_
        self.n_features_in_ = n_features

    def _values(self, X: AnyArray) -> AnyArray:
        values: AnyArray = X @ self.coef_.astype(X.dtype, copy=False) + self.intercept_
        return values


class GcvRidgeClassifier(ClassifierMixin, _GcvRidge):  # type: ignore[misc]
    """Classifier by ridge on targets of −1 and 1, with a column for each class.

    Parameters
    ----------
    alphas : sequence of float, default=(1.0,)
        Penalties to choose from.

    Attributes
    ----------
    alpha_ : float or ndarray of float of shape (n_tags,)
        Selected penalty, of each tag if there are tags.
    """

    def fit(self, X: AnyArray, y: AnyArray) -> GcvRidgeClassifier:
        """Fit the model, also to a column of 0 and 1 for each tag, each with a penalty of its own."""
        if y.ndim == 2:
            self.classes_ = np.arange(2)
            self._fit_columns(X, 2 * y.mean(axis=0) - 1, lambda span: 2.0 * y[span] - 1, per_target=True)
            return self
        self.classes_, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        classes = np.arange(len(self.classes_))
        self._fit_columns(X, 2 * counts / len(y) - 1, lambda span: np.where(codes[span, None] == classes, 1.0, -1.0))
        return self

    def decision_function(self, X: AnyArray) -> AnyArray:
        """Return a value for each class, or for each tag."""
        return self._values(X)

    def predict(self, X: AnyArray) -> AnyArray:
        """Return the class of the largest value, or 1 for each tag whose value is positive."""
        values = self._values(X)
        if isinstance(self.alpha_, np.ndarray):
            return (values > 0).astype(np.int64)
        predicted: AnyArray = self.classes_[values.argmax(axis=1)]
        return predicted


class GcvRidge(RegressorMixin, _GcvRidge):  # type: ignore[misc]
    """Regressor by ridge.

    Parameters
    ----------
    alphas : sequence of float, default=(1.0,)
        Penalties to choose from.

    Attributes
    ----------
    alpha_ : float
        Selected penalty.
    """

    def fit(self, X: AnyArray, y: AnyArray) -> GcvRidge:
        """Fit the model."""
        targets = np.asarray(y, dtype=np.float64)[:, None]
        self._fit_columns(X, targets.mean(axis=0), lambda span: targets[span])
        return self

    def predict(self, X: AnyArray) -> Any:
        """Return predicted values."""
        return self._values(X)[:, 0]
