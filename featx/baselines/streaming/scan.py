"""The first pass over the rows: finite values, means and standard deviations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from featx.baselines.scaling.column_statistics import ColumnStatistics, column_statistics
from featx.baselines.streaming.folded_rows import read_blocks
from featx.datasets.labels import check_shapes, labeled_rows
from featx.errors import ComparisonError
from featx.features.selected_rows import Rows, SelectedRows
from featx.system.array_types import AnyArray, FloatArray, IntArray


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
    return column_statistics(_finite_blocks(X, rows))


def _finite_blocks(X: Rows, rows: IntArray) -> Iterator[FloatArray]:
    for block in read_blocks(X, X.shape[1]):
        is_finite = np.isfinite(block.rows).all(axis=1)
        if not is_finite.all():
            index = block.start + int(np.argmin(is_finite))
            is_large = np.isfinite(np.asarray(X[index : index + 1])).all()
            value = "a value beyond 3e38" if is_large else "NaN or infinity"
            raise ComparisonError(
                f"X must be finite, got {value} in row {rows[index]}. Drop such rows of X and y: "
                f"keep = {'(abs(X) < 3e38)' if is_large else 'np.isfinite(X)'}.all(axis=1)."
            )
        yield block.rows


def validate_rows(X: Any, y: AnyArray) -> tuple[Any, AnyArray, IntArray, list[str]]:
    """Return features and labels of the rows that have a label, without reading features.

    The result is that of :func:`featx.datasets.labels.validate_data`; :func:`scan_columns` checks the values.
    """
    check_shapes(X, y)
    rows, notes = labeled_rows(y)
    return (X, y, rows, notes) if len(rows) == len(y) else (SelectedRows(X, rows), y[rows], rows, notes)
