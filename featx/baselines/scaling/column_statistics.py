"""Means, standard deviations and ranges of columns, in blocks of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from featx.system.array_types import AnyArray, BoolArray, Float64Array, IntArray

#: Memory of the rows that are converted to float64 at a time.
BLOCK_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True)
class ColumnStatistics:
    """Statistics of columns.

    Attributes
    ----------
    mean, std : ndarray of float64 of shape (n_features,)
    varies : ndarray of bool of shape (n_features,)
        Columns with different values. The mean of equal values may be rounded, so that their `std` is not always 0.
    """

    mean: Float64Array
    std: Float64Array
    varies: BoolArray

    @property
    def scale_gamma(self) -> float:
        """Value of ``gamma="scale"``: from the variance within columns and between their means."""
        variance = float(np.mean(self.std**2) + np.var(self.mean))
        return gamma_of_variance(variance, len(self.mean))

    @property
    def inverse_std(self) -> Float64Array:
        """Inverse standard deviation of each column, or 0 if it is constant."""
        varies = self.varies & (self.std > 0)
        result: Float64Array = varies / np.where(varies, self.std, 1)
        return result


def column_statistics(blocks: Iterable[AnyArray]) -> ColumnStatistics:
    """Return the statistics of rows, which are read once.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n_rows, n_features)
        Blocks of rows, such as those of :func:`row_blocks`. Sums are relative to the mean of the first block, so that
        they lose no digits.
    """
    n_rows = 0
    shift: Any = None
    for block in blocks:
        if shift is None:
            shift = block.mean(axis=0, dtype=np.float64)
            first = block[0].copy()
            sums, varies = np.zeros((2, block.shape[1])), np.zeros(block.shape[1], dtype=bool)
        varies |= (block != first).any(axis=0)
        shifted = block - shift
        sums[0] += shifted.sum(axis=0)
        sums[1] += np.square(shifted, out=shifted).sum(axis=0)
        n_rows += len(block)
    mean, mean_square = sums / n_rows
    return ColumnStatistics(shift + mean, np.sqrt(np.maximum(mean_square - mean**2, 0)), varies)


def row_blocks(X: AnyArray, rows: IntArray | None = None, block_bytes: int = BLOCK_BYTES) -> Iterator[AnyArray]:
    """Yield rows of a matrix in blocks whose float64 copy takes at most some memory.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    rows : ndarray of int of shape (n_rows,) or None, default=None
        Indices of the rows. None: all.
    block_bytes : int, default=33554432
        Memory of the copy.
    """
    n_rows = len(X) if rows is None else len(rows)
    step = max(1, block_bytes // (8 * max(1, X.shape[1])))
    for start in range(0, n_rows, step):
        yield X[start : start + step] if rows is None else X[rows[start : start + step]]


def gamma_of_variance(variance: float, n_features: int) -> float:
    """Return the value of ``gamma="scale"`` from the variance of all values, as scikit-learn defines it.

    Examples
    --------
    >>> gamma_of_variance(0.5, 8), gamma_of_variance(0.0, 8)
    (0.25, 1.0)
    """
    return 1 / (n_features * variance) if variance else 1.0
