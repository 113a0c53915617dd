"""Sums of the rows of each class."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from featx.system.array_types import Float64Array, IntArray


def class_sums(rows: Float64Array, codes: IntArray, n_classes: int) -> Float64Array:
    """Return the sum of the rows of each class, by a product with sparse one-hot rows.

    A sparse row has one value, however many classes there are. :func:`featx.datasets.labels.encode_targets` returns
    dense columns, because they are the targets of least squares.

    Parameters
    ----------
    rows : ndarray of float64 of shape (n_rows, n_columns)
    codes : ndarray of int of shape (n_rows,)
        Class of each row, from 0.
    n_classes : int
        Number of classes, of which some may have no row.

    Returns
    -------
    ndarray of float64 of shape (n_classes, n_columns)

    Examples
    --------
    >>> class_sums(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([2, 0, 2]), 3).tolist()
    [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]
    """
    one_hot = csr_array((np.ones(len(rows)), (codes, np.arange(len(rows)))), shape=(n_classes, len(rows)))
    return np.asarray(one_hot @ rows)
