"""The tolerance of logistic regression of many classes, whose gradient is small before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.baselines.scaling.class_sums import class_sums
from featx.baselines.scaling.column_statistics import column_statistics, row_blocks
from featx.system.array_types import AnyArray

#: The tolerance is at most this fraction of the largest value of the first gradient.
_MAX_FRACTION = 0.5
#: Number of classes up to which the default tolerance is small enough.
_FEW_CLASSES = 50


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
    statistics = column_statistics(row_blocks(X))
    sums = np.zeros((len(classes), X.shape[1]))
    start = 0
    for block in row_blocks(X):
        sums += class_sums(block - statistics.mean, codes[start : start + len(block)], len(classes))
        start += len(block)
    sums *= statistics.inverse_std
    largest = float(np.abs(sums).max()) / (len(X) * np.sqrt(X.shape[1]))
    tolerance = _MAX_FRACTION * largest
    return tolerance if 0 < tolerance < steps[-1][1].tol else 0.0
