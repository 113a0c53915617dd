"""Predictions of a fold, block by block, so that no array grows as samples × classes² or samples × samples."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from featx.baselines.scaling.limits import ScaleLimits
from featx.system.array_types import AnyArray, FloatArray, IntArray

#: Arrays of the size of the votes that scikit-learn has at the same time: values, signs, confidences.
_N_VOTE_COPIES = 4
#: A block of votes may be a single row: 5,000 classes have 12.5 million pairs, 100 MB. Their coefficients take more.
#: Minimum number of rows of distances and decision values: smaller blocks take more time than they save memory.
_MIN_BLOCK = 16
#: Attributes of fitted estimators that hold the estimators by which they predict.
_INNER = ("best_estimator_", "estimator_", "estimator", "estimators_", "calibrated_classifiers_", "regressor_")


def block_rows(estimator: Any, n_train: int, n_features: int, limits: ScaleLimits) -> int:
    """Return the number of test samples to predict at once.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator, which may contain others.
    n_train : int
        Number of training samples.
    n_features : int
        Number of features.
    limits : ScaleLimits
    """
    parts = list(_parts(estimator))
    n_rows = sys.maxsize
    for part in parts:
        if hasattr(part, "decision_function_shape") or hasattr(part, "pairwise_indices_"):  # one versus one
            n_pairs = max(1, len(getattr(part, "classes_", ())) ** 2 // 2)
            n_rows = min(n_rows, max(1, limits.block_bytes // (n_pairs * 8 * _N_VOTE_COPIES)))
    if n_rows < sys.maxsize or n_train <= limits.exact_rows:  # at once: other blocks may round differently
        return n_rows
    n_classes = max(len(getattr(part, "classes_", ())) for part in parts)
    is_neighbors = any(hasattr(part, "n_samples_fit_") for part in parts)  # distances of 4 bytes, order of 8 bytes
    return max(_MIN_BLOCK, limits.block_bytes // (n_train * 12 if is_neighbors else 8 * max(n_features, n_classes)))


def _parts(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and those in it by which it predicts; of several of one type, which are alike, one."""
    yield estimator
    if steps := getattr(estimator, "steps", None):
        yield from _parts(steps[-1][1])
        return
    for name in _INNER:
        inner = getattr(estimator, name, None)
        inner = inner.ravel().tolist() if isinstance(inner, np.ndarray) else inner
        by_type = {type(part): part for part in (inner if isinstance(inner, list) else [inner])}
        for part in by_type.values():
            if hasattr(part, "fit") or hasattr(part, "calibrators"):
                yield from _parts(part)


def in_blocks(function: Callable[[IntArray], AnyArray], rows: IntArray, n_rows: int) -> AnyArray:
    """Return the joined results of a function for blocks of rows.

    Parameters
    ----------
    function : callable
        Function of row indices that returns one result per row.
    rows : ndarray of int of shape (n_samples,)
        Row indices.
    n_rows : int
        Number of rows of a block.
    """
    if len(rows) <= n_rows:
        return function(rows)
    joined: AnyArray = np.concatenate([function(rows[start : start + n_rows]) for start in range(0, len(rows), n_rows)])
    return joined


def margins_of(values: AnyArray) -> FloatArray:
    """Return the difference between the largest and the second-largest value of each row.

    One decision value of two classes stands for itself and its negative.
    """
    margins: AnyArray
    if values.ndim == 1:
        margins = np.abs(2 * values)
    elif values.shape[1] < 2:
        margins = np.zeros(len(values))
    else:
        top_two = np.partition(values, -2, axis=1)[:, -2:]
        margins = top_two[:, 1] - top_two[:, 0]
    return margins.astype(np.float32)
