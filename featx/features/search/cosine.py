"""Normalize rows and compute cosine similarities."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.system.array_types import AnyArray, FloatArray


def normalize_rows(rows: np.ndarray[Any, Any]) -> FloatArray:
    """Return rows of unit length as float32; rows of zeros stay zeros.

    ``sklearn.preprocessing.normalize`` differs in the last digit and leaves rows shorter than about 1e-6 as they are,
    and importing scikit-learn would take longer than most searches. It is used where its results are promised: by
    :class:`featx.ZeroShotClassifier`, which equals a pipeline with ``Normalizer``.

    Examples
    --------
    >>> normalize_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)


def cosine_similarity(queries: FloatArray, rows: FloatArray) -> FloatArray:
    """Return the cosine similarities of queries and rows; rows that are not finite have similarity -2.

    Parameters
    ----------
    queries : ndarray of float32 of shape (n_queries, n_features)
        Rows of unit length.
    rows : ndarray of float32 of shape (n_rows, n_features)
        Rows of any length; the similarity to a row of zeros is 0.

    Returns
    -------
    ndarray of float32 of shape (n_queries, n_rows)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    is_finite = np.isfinite(lengths)
    if not is_finite.all():
        rows, lengths = np.where(is_finite[:, None], rows, 0), np.where(is_finite, lengths, 0)
    similarity: FloatArray = queries @ rows.T
    similarity /= np.where(lengths > 0, lengths, 1)
    if not is_finite.all():
        similarity[:, ~is_finite] = -2
    return similarity


def mean_cosine(rows: AnyArray, others: AnyArray) -> float:
    """Return the mean cosine similarity of each row and the other row at its index.

    Pairs with a row of zeros do not count; if there are no other pairs, the result is 0.

    Examples
    --------
    >>> round(mean_cosine(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[3.0, 0.0], [1.0, 0.0]])), 3)
    0.6
    """
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    has_direction = lengths > 0
    if not has_direction.any():
        return 0.0
    products = np.einsum("ij,ij->i", rows[has_direction], others[has_direction])
    return float((products / lengths[has_direction]).mean())
