"""The tolerance of logistic regression of many classes, whose gradient is small before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.baselines.scaling.class_sums import class_sums
from featx.system.array_types import AnyArray, Float64Array, IntArray

#: The tolerance is at most this fraction of the largest value of the first gradient.
_MAX_FRACTION = 0.5
#: Number of classes up to which the default tolerance is small enough.
_FEW_CLASSES = 50
_BLOCK_ROWS = 8192


def smaller_tolerance(estimator: Any, X: AnyArray, y: AnyArray) -> float:
    """Return a tolerance with which logistic regression moves at all, or 0 if the default one is small enough.

    lbfgs stops if no value of the gradient exceeds the tolerance, 0.0001. On rows of norm 1, the first gradient falls
    as 1 / classes: with a thousand classes lbfgs may stop at once, without a warning, and scores are those of guessing.

    Parameters
    ----------
    estimator : estimator
        The built-in ``logreg``, or another estimator.
    X : ndarray of float of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    """
    from sklearn.linear_model import LogisticRegression

    steps = getattr(estimator, "steps", None)
    if not steps or not isinstance(steps[-1][1], LogisticRegression):
        return 0.0
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) <= _FEW_CLASSES:
        return 0.0
    sums, mean, std = _sums_and_scale(X, codes, len(classes))
    sums = (sums - np.outer(np.bincount(codes), mean)) / np.where(std > 0, std, 1)
    largest = float(np.abs(sums).max()) / (len(X) * np.sqrt(X.shape[1]))
    tolerance = _MAX_FRACTION * largest
    return tolerance if 0 < tolerance < steps[-1][1].tol else 0.0


def _sums_and_scale(X: AnyArray, codes: IntArray, n_classes: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the sum of the rows of each class, and means and standard deviations of the columns, block by block."""
    sums, squares = np.zeros((n_classes, X.shape[1])), np.zeros(X.shape[1])
    mean = X.mean(axis=0, dtype=np.float64)
    for start in range(0, len(X), _BLOCK_ROWS):
        rows = X[start : start + _BLOCK_ROWS].astype(np.float64)
        sums += class_sums(rows, codes[start : start + _BLOCK_ROWS], n_classes)
        rows -= mean
        squares += np.square(rows, out=rows).sum(axis=0)
    return sums, mean, np.sqrt(squares / len(X))
