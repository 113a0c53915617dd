"""Rows in blocks, with the folds that each belongs to."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from featx.baselines.folds.split import Fold
from featx.baselines.scaling.limits import TimeUpError
from featx.errors import ComparisonError
from featx.features.selected_rows import Rows
from featx.system.array_types import AnyArray, BoolArray, FloatArray, IntArray
from featx.system.formatting import format_percent

#: Size of a block of float32 rows. Several arrays of this size, or twice, are in memory at the same time.
_BLOCK_BYTES = 32 * 2**20
#: Progress of a pass is reported, and its end estimated, after so many seconds.
_PROGRESS_SECONDS = 2.0
#: Fraction of the rows after which an estimated end may end a computation: the first blocks are slower than others.
_MIN_FRACTION = 0.05


@dataclasses.dataclass(frozen=True)
class Block:
    """Some consecutive rows.

    Attributes
    ----------
    start : int
        Index of the first row.
    rows : ndarray of float32 of shape (n_rows, n_features)
    """

    start: int
    rows: FloatArray

    @property
    def span(self) -> slice:
        """Position of the rows in arrays of one value per row."""
        return slice(self.start, self.start + len(self.rows))


class FoldedRows:
    """Features and targets that are read in blocks.

    Parameters
    ----------
    X : Rows
        Features.
    y : ndarray of shape (n_samples,)
        Labels or continuous targets.
    task : {"classification", "regression"}
    folds : sequence of (ndarray of int, ndarray of int)
    progress : callable
        Receives what is done, with the time left of a pass.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted classes; empty for regression.
    codes : ndarray of int of shape (n_samples,)
        Class of each row; empty for regression.
    is_train, is_test : ndarray of bool of shape (n_folds, n_samples)
        Training and test rows of each fold.
    """

    def __init__(
        self,
        X: Rows,
        y: AnyArray,
        task: str,
        folds: Sequence[Fold],
        *,
        progress: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.X, self.y, self.task, self.folds = X, y, task, folds
        self.progress = progress
        self.start(deadline=float("inf"))
        self.classes: AnyArray = np.empty(0)
        self.codes: IntArray = np.empty(0, dtype=np.int64)
        if task == "classification":
            self.classes, codes = np.unique(y, return_inverse=True)
            self.codes = codes.astype(np.int64)
        shape = (len(folds), len(y))
        self.is_train: BoolArray = np.zeros(shape, dtype=bool)
        self.is_test: BoolArray = np.zeros(shape, dtype=bool)
        for fold, (train, test) in enumerate(folds):
            self.is_train[fold, train] = True
            self.is_test[fold, test] = True

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.X.shape[1])

    def start(self, deadline: float) -> None:
        """Start a computation that has to end at a deadline (``time.perf_counter``)."""
        self.started, self.deadline = time.perf_counter(), deadline

    def blocks(self, label: str, n_columns: int = 0, *, n_passes: int = 1) -> Iterator[Block]:
        """Yield all rows in blocks.

        Parameters
        ----------
        label : str
            Purpose of the pass, shown as progress.
        n_columns : int, default=0
            Number of columns that are computed from a block, if it is larger than that of the features.
        n_passes : int, default=1
            Number of such passes that the computation takes at least, from this one on.

        Raises
        ------
        TimeUpError
            The deadline passed, or the passes cannot end before it at the rate of the first blocks.
        """
        started = shown = time.perf_counter()
        self.progress(label)
        for block in read_blocks(self.X, max(self.n_features, n_columns)):
            now = time.perf_counter()
            if now > self.deadline:
                raise TimeUpError
            if block.start and now - shown > _PROGRESS_SECONDS:
                shown, fraction = now, block.start / len(self.y)
                end = started + (now - started) / fraction
                self.progress(f"{label}, {format_percent(fraction)} of all rows, {end - now:.0f} seconds left")
                end_of_all = end + (n_passes - 1) * (end - started)
                if fraction > _MIN_FRACTION and end_of_all > self.deadline:
                    raise TimeUpError(end_of_all - self.started)
            yield block


def read_blocks(X: Rows, n_columns: int) -> Iterator[Block]:
    """Yield the rows of a matrix in blocks of float32.

    Parameters
    ----------
    X : Rows
    n_columns : int
        Largest number of columns of the arrays with a row for each row of a block; such an array takes up to 32 MB.
    """
    step = max(1, _BLOCK_BYTES // (4 * max(1, n_columns)))
    for start in range(0, len(X), step):
        with np.errstate(over="ignore"):  # infinity is an error of the scan
            rows = np.asarray(X[start : start + step], dtype=np.float32)
        if len(rows) != min(step, len(X) - start):
            raise ComparisonError(f"X must have {len(X):,} rows, got fewer. Do not change the file meanwhile.")
        yield Block(start, rows)
