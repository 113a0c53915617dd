"""The first pass over the rows: finite values, means and standard deviations."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from featx.baselines.kernel_cache import gamma_of_variance
from featx.baselines.streaming.folded_rows import read_blocks
from featx.datasets.labels import check_shapes, labeled_rows
from featx.errors import ComparisonError
from featx.features.selected_rows import Rows, SelectedRows
from featx.system.array_types import AnyArray, Float64Array, IntArray


@dataclasses.dataclass(frozen=True)
class ColumnStatistics:
    """Means and standard deviations of columns.

    Attributes
    ----------
    mean, std : ndarray of float64 of shape (n_features,)
    """

    mean: Float64Array
    std: Float64Array

    @property
    def scale_gamma(self) -> float:
        """Value of ``gamma="scale"``, without another pass: the variance within columns and between their means."""
        variance = float(np.mean(self.std**2) + np.var(self.mean))
        return gamma_of_variance(variance, len(self.mean))


def scan_columns(X: Rows, rows: IntArray) -> ColumnStatistics:
    """Read all rows once.

    Parameters
    ----------
    X : Rows
        Features.
    rows : ndarray of int of shape (n_samples,)
        Indices of the rows in the data of the user, for messages.

    Raises
    ------
    ComparisonError
        A value is NaN or infinite.
    """
    shift = np.zeros(X.shape[1])
    sums = np.zeros((2, X.shape[1]))
    for block in read_blocks(X, X.shape[1]):
        is_finite = np.isfinite(block.rows).all(axis=1)
        if not is_finite.all():
            first = rows[block.start + int(np.argmin(is_finite))]
            raise ComparisonError(
                f"X must be finite, got NaN or infinity in row {first}. Drop such rows of X and y: "
                "keep = np.isfinite(X).all(axis=1)."
            )
        if block.start == 0:
            shift = block.rows.mean(axis=0, dtype=np.float64)
        shifted = block.rows - shift
        sums[0] += shifted.sum(axis=0)
        sums[1] += np.square(shifted, out=shifted).sum(axis=0)
    mean, mean_square = sums / len(X)
    return ColumnStatistics(shift + mean, np.sqrt(np.maximum(mean_square - mean**2, 0)))


def validate_rows(X: Any, y: AnyArray) -> tuple[Any, AnyArray, IntArray, list[str]]:
    """Return features and labels of the rows that have a label, without reading features.

    The result is that of :func:`featx.datasets.labels.validate_data`; :func:`scan_columns` checks the values.
    """
    check_shapes(X, y)
    rows, notes = labeled_rows(y)
    return (X, y, rows, notes) if len(rows) == len(y) else (SelectedRows(X, rows), y[rows], rows, notes)
