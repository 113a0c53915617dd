"""Check the shape of what estimators return."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.system.array_types import AnyArray


def as_column(predicted: Any, n_samples: int, method: str) -> AnyArray:
    """Return predictions of shape (n_samples,); a single column is raveled.

    Raises
    ------
    ValueError
        The predictions have another shape.

    Examples
    --------
    >>> as_column([["cat"], ["dog"]], 2, "predict").tolist()
    ['cat', 'dog']
    """
    values = np.asarray(predicted)
    if values.shape == (n_samples, 1):
        values = values.ravel()
    if values.shape != (n_samples,):
        raise ValueError(f"{method} must return shape ({n_samples},), got {values.shape}")
    return values


def check_columns(values: Any, shape: tuple[int, int], method: str) -> AnyArray:
    """Return finite values of a shape.

    Raises
    ------
    ValueError
        The probabilities have another shape, or are not finite.
    """
    columns = np.asarray(values)
    if columns.shape != shape:
        raise ValueError(f"{method} must return shape {shape}, got {columns.shape}")
    if not np.isfinite(columns).all():
        raise ValueError(f"{method} must return finite values, got NaN or infinity")
    return columns
