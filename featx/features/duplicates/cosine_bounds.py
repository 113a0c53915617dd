"""Rows in few dimensions, whose products are never below the cosines of the rows: they exclude most pairs of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from featx.system.array_types import FloatArray, IntArray

_AT_ONCE = 4096
#: Rows so wide that fewer of them take this are held in smaller blocks.
_BLOCK_BYTES = 32 * 2**20
_SAMPLE = 16_384
_FEW_OF_SAMPLE = 4096
#: Of more columns, no matrix of these by these is made: directions are those of fewer rows, and these rows are held.
_WIDE, _SAMPLE_OF_WIDE, _SAMPLE_BYTES = 4096, 2048, 128 * 2**20
#: Numbers of dimensions that are tried.
_DIMENSIONS = (16, 32, 64, 128, 256, 512)
#: Nanoseconds that a pair was measured to take, of which some are for each dimension; and to be computed, of 1,024
#: columns.
_BOUND, _DIMENSION, _COMPUTED = 0.6, 0.023, 1000.0
#: The same of one that is bounded once more.
_AGAIN, _DIMENSION_AGAIN = 60.0, 0.6
#: How far cosines of float32 rows of up to 1,024 columns are rounded.
_ROUNDING = 2e-6


def rounding(n_features: int) -> float:
    """Return how far from the cosine of float32 rows a product of them may be."""
    return _ROUNDING * max(1.0, math.sqrt(n_features / 1024))


def rows_at_once(most: int, n_features: int) -> int:
    """Return how many rows to hold in a block: as many as are wanted, or fewer if they are wide."""
    return max(1, min(most, _BLOCK_BYTES // (4 * max(1, n_features))))


class UnitRows:
    """Some rows of a matrix at length one, read when they are asked for; zeros stay zeros.

    Parameters
    ----------
    source : ndarray or FeatureMatrix, shape (n_samples, n_features)
    numbers : ndarray of int64, shape (n,)
        Which rows, in order.
    mean : ndarray, shape (n_features,), or None, default=None
        Subtracted first.
    """

    def __init__(self, source: Any, numbers: IntArray, mean: np.ndarray[Any, Any] | None = None) -> None:
        self._source = source
        self.numbers = numbers
        self._mean = mean
        self.n_features = int(source.shape[1])

    def __len__(self) -> int:
        return len(self.numbers)

    def blocks(self, most: int, n: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield where blocks of all rows, or of the first `n`, begin and end: of no more rows than fit a block."""
        step, n = rows_at_once(most, self.n_features), len(self) if n is None else n
        return ((at, min(at + step, n)) for at in range(0, n, step))

    def raw(self, start: int, stop: int) -> FloatArray:
        """Return rows as they are."""
        stop = min(stop, len(self))
        numbers = self.numbers[start:stop]
        if len(numbers) and numbers[-1] - numbers[0] == len(numbers) - 1:  # a run of rows needs no gathering
            return np.asarray(self._source[int(numbers[0]) : int(numbers[-1]) + 1], dtype=np.float32)
        return np.asarray(self._source[numbers], dtype=np.float32)

    def between(self, start: int, stop: int) -> FloatArray:
        """Return the rows from one place to before another."""
        return self._at_length_one(self.raw(start, stop))

    def take(self, places: IntArray) -> FloatArray:
        """Return the rows at some places."""
        return self._at_length_one(np.asarray(self._source[self.numbers[places]], dtype=np.float32))

    def _at_length_one(self, rows: FloatArray) -> FloatArray:
        if self._mean is not None:
            rows = (rows - self._mean).astype(np.float32, copy=False)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: FloatArray = (rows / np.where(length > 0, length, 1)).astype(np.float32, copy=False)
        return unit


class Bounds:
    """Rows in few dimensions, whose products are no smaller than the cosines of the rows.

    These are the coordinates in an orthonormal basis, of the directions in which a sample is largest, and the length of
    what they leave out: by Cauchy and Schwarz, the products of what is left out are at most those of the lengths. Pairs
    that a few dimensions leave are bounded once more, by more of them.

    Parameters
    ----------
    rows : UnitRows
    floor : float
        Cosine from which pairs are looked for; it decides how many dimensions are worth their while.
    make : callable
        Returns an empty float32 array of a shape, on disk if it likes.

    Attributes
    ----------
    reduced : ndarray of float32, shape (n, m)
        The first `n_first` columns are those of the first bound, and all but the first those of the second, if any.
    slack : float
        A product may be less than the cosine by so much, for it was rounded.
    """

    def __init__(self, rows: UnitRows, floor: float, make: Callable[[tuple[int, int]], FloatArray]) -> None:
        n = len(rows)
        basis, some = _basis_of_sample(rows)
        self._few, self._more = _best_dimensions(some, basis, floor)
        self._basis = basis[:, : self._more]
        self.is_exact = self._few == rows.n_features
        self.is_twofold = self._few < self._more
        self.n_first = self._few + (not self.is_exact)
        self.slack = 0.0 if self.is_exact else 5 * rounding(rows.n_features)
        self.reduced = make((n, self.n_first if not self.is_twofold else self._more + 2))
        for start, stop in rows.blocks(_AT_ONCE):
            self.reduced[start:stop] = self._of(rows.between(start, stop))

    def _of(self, unit: FloatArray) -> FloatArray:
        return unit if self.is_exact else _bounding(unit, self._basis, self._few)


def _basis_of_sample(rows: UnitRows) -> tuple[FloatArray, FloatArray]:
    """Return an orthonormal basis of directions, the largest first, and some rows to try it on."""
    rng = np.random.default_rng(0)
    if rows.n_features <= _WIDE:
        sample = rows.take(np.unique(rng.integers(0, len(rows), _SAMPLE)))
        some = sample[np.random.default_rng(1).permutation(len(sample))[:_FEW_OF_SAMPLE]]
        return _directions(sample), some
    drawn = rng.permutation(len(rows))[: min(_SAMPLE_OF_WIDE, _SAMPLE_BYTES // (4 * rows.n_features))]
    n_learned = max(1, 3 * len(drawn) // 4)  # few rows lie in few directions: others tell how much these leave out
    sample = np.empty((n_learned, rows.n_features), dtype=np.float32)
    drawn[:n_learned].sort()
    for start, stop in rows.blocks(n_learned, n_learned):
        sample[start:stop] = rows.take(drawn[start:stop])
    largest = _largest_of_few(sample)
    del sample
    return _orthonormal(largest), rows.take(np.sort(drawn[n_learned:]))


def _directions(sample: FloatArray) -> FloatArray:
    """Return an orthonormal basis, the directions of the largest squared length first."""
    products = sample.T @ sample
    return np.linalg.eigh(products.astype(np.float64))[1][:, ::-1].astype(np.float32)


def _largest_of_few(sample: FloatArray) -> FloatArray:
    """Return the directions of the largest squared length of fewer rows than columns: as many as are ever used."""
    products = sample @ sample.T
    mixed = np.linalg.eigh(products.astype(np.float64))[1][:, ::-1][:, : _DIMENSIONS[-1]].astype(np.float32)
    return (mixed.T @ sample).T


def _orthonormal(directions: FloatArray) -> FloatArray:
    """Return a basis of what some directions span, those of each number of the first by as many; in their place."""
    from scipy.linalg import qr

    basis: FloatArray = qr(directions, mode="economic", overwrite_a=True, check_finite=False)[0]
    return basis


def _bounding(unit: FloatArray, basis: FloatArray, n_few: int) -> FloatArray:
    """Return what the first directions leave out, the coordinates, and what all leave out if these are more."""
    within = unit @ basis
    whole = (unit * unit).sum(axis=1)
    slack = rounding(unit.shape[1]) / 2
    columns = [_left(whole, within[:, :n_few], slack), within]
    if n_few < basis.shape[1]:
        columns.append(_left(whole, within, slack))
    return np.column_stack(columns).astype(np.float32, copy=False)


def _left(whole: FloatArray, within: FloatArray, slack: float) -> FloatArray:
    # Never too short, whatever was rounded.
    left: FloatArray = np.sqrt(np.maximum(whole - (within * within).sum(axis=1), 0) + slack)
    return left


def _best_dimensions(sample: FloatArray, basis: FloatArray, floor: float) -> tuple[int, int]:
    """Return with how many dimensions to bound all pairs, and those left once more, so that all of it costs least."""
    n_features = len(basis)
    costs = {(n_features, n_features): _BOUND + _DIMENSION * n_features}
    computed = _COMPUTED * n_features / 1024
    left = {
        few: _share_left(sample, basis[:, :few], floor)
        for few in _DIMENSIONS
        if few <= min(basis.shape[1], n_features - 1)
    }
    for few, share in left.items():
        bounded = _BOUND + _DIMENSION * few
        costs[few, few] = bounded + computed * share
        for more in (more for more in left if more > few):
            costs[few, more] = bounded + (_AGAIN + _DIMENSION_AGAIN * more) * share + computed * left[more]
    return min(costs, key=lambda dimensions: costs[dimensions])


def _share_left(sample: FloatArray, basis: FloatArray, floor: float) -> float:
    """Return the share of pairs that a bound leaves to be computed."""
    reduced = _bounding(sample, basis, basis.shape[1])
    left = np.mean([(reduced[at : at + 512] @ reduced.T >= floor).mean() for at in range(0, len(sample), 512)])
    return max(0.0, float(left) - 1 / len(sample))
