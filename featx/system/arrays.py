"""Matrix products of a few rows, and headers of ``.npy`` files."""

from __future__ import annotations

import io
from typing import IO, Any

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


def npy_header(shape: tuple[int, int]) -> bytes:
    """Return the header of a ``.npy`` file of float32 rows. The same shape gives the same bytes.

    Parameters
    ----------
    shape : tuple of (int, int)
        Number of rows and of features.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether the order is that of Fortran, and the data type. The file is then at its first value.

    Parameters
    ----------
    file : binary file
        File at its first byte.

    Raises
    ------
    ValueError, EOFError
        It is no ``.npy`` file, or a truncated one.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    return tuple(shape), bool(is_fortran), dtype
