"""Sums, Gram matrices and class sums of the training rows of each fold, from one pass over all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from featx.baselines.scaling.class_sums import class_sums
from featx.baselines.streaming.folded_rows import FoldedRows
from featx.system.array_types import AnyArray, BoolArray, Float64Array, FloatArray

#: Variances below this fraction of the mean square are rounding errors of a constant column.
_MIN_VARIANCE = 1e-12


@dataclasses.dataclass
class Moments:
    """Sums over some rows.

    Attributes
    ----------
    n : int
        Number of rows.
    row_sum : ndarray of float64 of shape (n_columns,)
    gram : ndarray of float64 of shape (n_columns, n_columns)
    target_sum, target_squares : ndarray of float64 of shape (n_targets,)
        Sums of the targets (1 for the class of a row, 0 for others) and of their squares.
    cross : ndarray of float64 of shape (n_targets, n_columns)
        Sum of the rows of each class; for regression the sum of target · row.
    """

    n: int
    row_sum: Float64Array
    gram: Float64Array
    target_sum: Float64Array
    target_squares: Float64Array
    cross: Float64Array

    @classmethod
    def zeros(cls, n_columns: int, n_targets: int) -> Moments:
        """Return the sums over no rows."""
        return cls(
            0,
            np.zeros(n_columns),
            np.zeros((n_columns, n_columns)),
            np.zeros(n_targets),
            np.zeros(n_targets),
            np.zeros((n_targets, n_columns)),
        )

    def add(self, rows: Float64Array, targets: Targets) -> None:
        """Add rows."""
        self.n += len(rows)
        self.row_sum += rows.sum(axis=0)
        self.gram += rows.T @ rows  # a symmetric product: BLAS computes half of it
        sums, squares, cross = targets.sums(rows)
        self.target_sum += sums
        self.target_squares += squares
        self.cross += cross

    def combine(self, other: Moments, sign: int) -> Moments:
        """Return the sums over the rows of both, or without those of the other (`sign` −1)."""
        return Moments(
            self.n + sign * other.n,
            self.row_sum + sign * other.row_sum,
            self.gram + sign * other.gram,
            self.target_sum + sign * other.target_sum,
            self.target_squares + sign * other.target_squares,
            self.cross + sign * other.cross,
        )

    def select(self, columns: BoolArray) -> Moments:
        """Return the sums of some columns."""
        return dataclasses.replace(
            self,
            row_sum=self.row_sum[columns],
            gram=self.gram[np.ix_(columns, columns)],
            cross=self.cross[:, columns],
        )

    @property
    def mean(self) -> Float64Array:
        """Mean row."""
        result: Float64Array = self.row_sum / self.n
        return result

    def scatter(self) -> Float64Array:
        """Return the Gram matrix of the centered rows."""
        result: Float64Array = self.gram - np.outer(self.row_sum, self.mean)
        return result


@dataclasses.dataclass(frozen=True)
class Targets:
    """Targets of some rows.

    Attributes
    ----------
    values : ndarray of shape (n_rows,)
        Class codes, or continuous targets.
    n_classes : int
        0 for regression.
    """

    values: AnyArray
    n_classes: int

    def sums(self, rows: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return the sum of the targets, of their squares, and of the products with the rows."""
        if not self.n_classes:
            values = self.values.astype(np.float64)
            return values.sum(keepdims=True), np.square(values).sum(keepdims=True), (values @ rows)[None]
        counts = np.bincount(self.values, minlength=self.n_classes).astype(np.float64)
        return counts, counts, class_sums(rows, self.values, self.n_classes)


@dataclasses.dataclass(frozen=True)
class FoldMoments:
    """Moments of the training rows of all folds.

    Attributes
    ----------
    shift : ndarray of float32 of shape (n_columns,)
        Row that was subtracted from all rows, so that sums of float64 lose no digits.
    total : Moments
        Moments of the rows of all folds.
    excluded : list of Moments
        For each fold, moments of the rows of `total` that are not training rows.
    """

    shift: FloatArray
    total: Moments
    excluded: list[Moments]

    def train(self, fold: int) -> Moments:
        """Return the moments of the training rows of a fold."""
        return self.total.combine(self.excluded[fold], -1)


def collect_moments(
    data: FoldedRows, label: str, transform: Callable[[FloatArray], FloatArray] | None = None, *, n_columns: int = 0
) -> FoldMoments:
    """Return the moments of all rows, which are read once.

    Parameters
    ----------
    data : FoldedRows
    label : str
        Purpose of the pass, shown as progress.
    transform : callable or None, default=None
        Function that computes the columns from a block of rows. None: the rows.
    n_columns : int, default=0
        Number of columns of `transform`.
    """
    n_columns = n_columns or data.n_features
    n_classes = len(data.classes)
    values = data.codes if n_classes else data.y
    in_any: BoolArray = np.logical_or.reduce(data.is_train)
    excluded = [Moments.zeros(n_columns, max(1, n_classes)) for _ in data.folds]
    rest = Moments.zeros(n_columns, max(1, n_classes))
    # Of ordinary folds, each row is excluded from one fold: their sums are the total.
    n_excluded = (in_any & ~data.is_train).sum(axis=0)
    is_partition = bool((n_excluded[in_any] == 1).all())
    shift: FloatArray | None = None
    for block in data.blocks(label, n_columns):
        columns = block.rows if transform is None else transform(block.rows)
        if shift is None:
            shift = columns.mean(axis=0)
        rows = (columns - shift).astype(np.float64)
        block_values = values[block.span]
        used = in_any[block.span]
        for moments, is_train in zip(excluded, data.is_train[:, block.span], strict=True):
            mask = used & ~is_train
            moments.add(rows[mask], Targets(block_values[mask], n_classes))
        if not is_partition:
            rest.add(rows[used], Targets(block_values[used], n_classes))
    if is_partition:
        for moments in excluded:
            rest = rest.combine(moments, 1)
    assert shift is not None
    return FoldMoments(shift, rest, excluded)


def standard_scale(moments: Moments, shift: FloatArray) -> Float64Array:
    """Return the factor of each column that gives it standard deviation 1, and 1 for constant columns.

    Parameters
    ----------
    moments : Moments
    shift : ndarray of float32 of shape (n_columns,)
        Row that was subtracted before.
    """
    mean_square = np.diag(moments.gram) / moments.n
    variance = mean_square - moments.mean**2
    is_constant = variance <= _MIN_VARIANCE * (mean_square + shift.astype(np.float64) ** 2)
    return 1 / np.sqrt(np.where(is_constant, 1.0, variance))
