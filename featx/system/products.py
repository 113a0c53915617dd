"""Matrix products of a few rows."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Up to this number of rows, a product takes less time than threads of BLAS cost.
_MAX_FEW = 16


def row_product(rows: np.ndarray[Any, Any], matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ``rows @ matrix``, in this thread alone if there are few rows.

    The threads of OpenBLAS wait actively after a product. In a process that predicts image after image they would take
    half of the cores from decoding and from the network.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_in)
    matrix : ndarray of shape (n_in, n_out)

    Returns
    -------
    ndarray of shape (n_samples, n_out)
    """
    if len(rows) > _MAX_FEW:
        return np.asarray(rows @ matrix)
    return np.asarray(np.einsum("ij,jk->ik", rows, matrix))
