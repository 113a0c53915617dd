"""Upper bounds of the cosine similarities of many rows, from their coordinates in few dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from featx.features.duplicates.limits import DuplicateLimits
from featx.features.search.cosine import normalize_rows
from featx.system.array_types import FloatArray, IntArray

_BATCH_ROWS = 4096
_SAMPLE_ROWS = 16_384
_TEST_ROWS = 4096
#: Numbers of dimensions to choose from.
_DIMENSIONS = (16, 32, 64, 128, 256, 512)
#: Measured cost in nanoseconds: of the first bound of a pair (per pair, per pair and dimension), of the second bound,
#: and of the cosine similarity of 1,024 features.
_BOUND, _DIMENSION = 0.6, 0.023
_SECOND_BOUND, _SECOND_DIMENSION = 60.0, 0.6
_COSINE = 1000.0
#: Rounding error of the cosine similarity of float32 rows of up to 1,024 features.
_ROUNDING = 2e-6


def rounding(n_features: int) -> float:
    """Return the maximum rounding error of the cosine similarity of two float32 rows."""
    return _ROUNDING * max(1.0, math.sqrt(n_features / 1024))


class UnitRows:
    """Selected rows of a matrix, read in blocks and normalized to unit length.

    Parameters
    ----------
    source : ndarray or FeatureMatrix of shape (n_samples, n_features)
    indices : ndarray of int64 of shape (n_rows,)
        Sorted indices of the selected rows.
    mean : ndarray of shape (n_features,) or None, default=None
        Row that is subtracted before rows are normalized.
    limits : DuplicateLimits or None, default=None
        Sizes of blocks and samples.
    """

    def __init__(
        self,
        source: Any,
        indices: IntArray,
        mean: np.ndarray[Any, Any] | None = None,
        *,
        limits: DuplicateLimits | None = None,
    ) -> None:
        self._source = source
        self._indices = indices
        self._mean = mean
        self.limits = limits or DuplicateLimits()
        self.n_features = int(source.shape[1])

    def __len__(self) -> int:
        return len(self._indices)

    def blocks(self, max_rows: int, n_rows: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield start and stop of blocks of all rows, or of the first `n_rows`."""
        step = self.limits.block_rows(max_rows, self.n_features)
        n_rows = len(self) if n_rows is None else n_rows
        return ((start, min(start + step, n_rows)) for start in range(0, n_rows, step))

    def raw(self, start: int, stop: int) -> FloatArray:
        """Return a range of rows as they are in the source."""
        indices = self._indices[start : min(stop, len(self))]
        if len(indices) and indices[-1] - indices[0] == len(indices) - 1:  # contiguous
            return np.asarray(self._source[int(indices[0]) : int(indices[-1]) + 1], dtype=np.float32)
        return np.asarray(self._source[indices], dtype=np.float32)

    def between(self, start: int, stop: int) -> FloatArray:
        """Return a range of rows."""
        return self._normalized(self.raw(start, stop))

    def take(self, positions: IntArray) -> FloatArray:
        """Return the rows at some positions."""
        return self._normalized(np.asarray(self._source[self._indices[positions]], dtype=np.float32))

    def _normalized(self, rows: FloatArray) -> FloatArray:
        if self._mean is not None:
            rows = (rows - self._mean).astype(np.float32, copy=False)
        return normalize_rows(rows)


class Bounds:
    """Rows in few dimensions whose dot products are upper bounds of the cosine similarities of the full rows.

    A reduced row consists of the coordinates in an orthonormal basis of the main directions of a sample, and the length
    of the remainder. By the Cauchy-Schwarz inequality, the dot product of two remainders is at most the product of
    their lengths. Pairs that pass a first bound in few dimensions are tested by a second one in more dimensions.

    Parameters
    ----------
    rows : UnitRows
    min_cosine : float
        Minimum cosine similarity of the pairs to find. The numbers of dimensions are chosen for it.
    allocate : callable
        Returns an empty float32 array of a shape, in memory or on disk.

    Attributes
    ----------
    reduced : ndarray of float32 of shape (n_rows, n_columns)
        The first `n_first` columns belong to the first bound, all but the first column to the second bound.
    slack : float
        Maximum rounding error: a bound may be lower than the cosine similarity by this.
    is_exact : bool
        Whether the first bound is the cosine similarity itself.
    is_twofold : bool
        Whether there is a second bound.
    """

    def __init__(self, rows: UnitRows, min_cosine: float, allocate: Callable[[tuple[int, int]], FloatArray]) -> None:
        basis, test_rows = _basis_of_sample(rows)
        chosen = rows.limits.dimensions or _cheapest_dimensions(test_rows, basis, min_cosine)
        self._n_first_dimensions, self._n_dimensions = chosen
        self._basis = basis[:, : self._n_dimensions]
        self.is_exact = self._n_first_dimensions == rows.n_features
        self.is_twofold = self._n_first_dimensions < self._n_dimensions
        self.n_first = self._n_first_dimensions + (not self.is_exact)
        self.slack = 0.0 if self.is_exact else 5 * rounding(rows.n_features)
        self.reduced = allocate((len(rows), self._n_dimensions + 2 if self.is_twofold else self.n_first))
        for start, stop in rows.blocks(_BATCH_ROWS):
            self.reduced[start:stop] = self._reduce(rows.between(start, stop))

    def _reduce(self, unit: FloatArray) -> FloatArray:
        return unit if self.is_exact else reduce_rows(unit, self._basis, self._n_first_dimensions)


def _basis_of_sample(rows: UnitRows) -> tuple[FloatArray, FloatArray]:
    """Return an orthonormal basis of the main directions of a sample, and rows for testing it."""
    rng, limits = np.random.default_rng(0), rows.limits
    if rows.n_features <= limits.wide_features:
        sample = rows.take(np.unique(rng.integers(0, len(rows), _SAMPLE_ROWS)))
        test_rows = sample[np.random.default_rng(1).permutation(len(sample))[:_TEST_ROWS]]
        return main_directions(sample), test_rows
    max_rows = min(limits.wide_sample_rows, limits.wide_sample_bytes // (4 * rows.n_features))
    drawn = rng.permutation(len(rows))[:max_rows]
    n_fit = max(1, 3 * len(drawn) // 4)  # a small sample fits its own directions too well: test on other rows
    sample = np.empty((n_fit, rows.n_features), dtype=np.float32)
    drawn[:n_fit].sort()
    for start, stop in rows.blocks(n_fit, n_fit):
        sample[start:stop] = rows.take(drawn[start:stop])
    directions = main_directions_of_wide(sample)
    del sample
    return orthonormal_basis(directions), rows.take(np.sort(drawn[n_fit:]))


def main_directions(sample: FloatArray) -> FloatArray:
    """Return an orthonormal basis in descending order of the squared length of the sample in each direction."""
    products = sample.T @ sample
    return np.linalg.eigh(products.astype(np.float64))[1][:, ::-1].astype(np.float32)


def main_directions_of_wide(sample: FloatArray) -> FloatArray:
    """Return the main directions of a sample of fewer rows than columns, as many as there may be dimensions."""
    products = sample @ sample.T
    mixed = np.linalg.eigh(products.astype(np.float64))[1][:, ::-1][:, : _DIMENSIONS[-1]].astype(np.float32)
    return (mixed.T @ sample).T


def orthonormal_basis(directions: FloatArray) -> FloatArray:
    """Return an orthonormal basis whose first columns span the first directions; `directions` is overwritten."""
    from scipy.linalg import qr

    basis: FloatArray = qr(directions, mode="economic", overwrite_a=True, check_finite=False)[0]
    return basis


def reduce_rows(unit: FloatArray, basis: FloatArray, n_first: int) -> FloatArray:
    """Return the columns of `Bounds.reduced` for rows of unit length.

    These are the length of the remainder after the first `n_first` dimensions, the coordinates, and, if there are more
    dimensions, the length of the remainder after all of them.
    """
    coordinates = unit @ basis
    squared_length = (unit * unit).sum(axis=1)
    slack = rounding(unit.shape[1]) / 2
    columns = [_remainder(squared_length, coordinates[:, :n_first], slack), coordinates]
    if n_first < basis.shape[1]:
        columns.append(_remainder(squared_length, coordinates, slack))
    return np.column_stack(columns).astype(np.float32, copy=False)


def _remainder(squared_length: FloatArray, coordinates: FloatArray, slack: float) -> FloatArray:
    """Return the length of the remainder of each row, rounded up rather than down."""
    squares = (coordinates * coordinates).sum(axis=1)
    remainder: FloatArray = np.sqrt(np.maximum(squared_length - squares, 0) + slack)
    return remainder


def _cheapest_dimensions(test_rows: FloatArray, basis: FloatArray, min_cosine: float) -> tuple[int, int]:
    """Return the numbers of dimensions of the first and second bound with the lowest estimated cost per pair."""
    n_features = len(basis)
    costs = {(n_features, n_features): _BOUND + _DIMENSION * n_features}
    cosine_cost = _COSINE * n_features / 1024
    max_dimensions = min(basis.shape[1], n_features - 1)
    passing = {n: _passing_fraction(test_rows, basis[:, :n], min_cosine) for n in _DIMENSIONS if n <= max_dimensions}
    for first, fraction in passing.items():
        bound_cost = _BOUND + _DIMENSION * first
        costs[first, first] = bound_cost + cosine_cost * fraction
        for second in (n for n in passing if n > first):
            second_cost = (_SECOND_BOUND + _SECOND_DIMENSION * second) * fraction
            costs[first, second] = bound_cost + second_cost + cosine_cost * passing[second]
    return min(costs, key=lambda dimensions: costs[dimensions])


def _passing_fraction(test_rows: FloatArray, basis: FloatArray, min_cosine: float) -> float:
    """Return the fraction of pairs that a bound does not exclude."""
    reduced = reduce_rows(test_rows, basis, basis.shape[1])
    starts = range(0, len(test_rows), 512)
    fraction = np.mean([(reduced[start : start + 512] @ reduced.T >= min_cosine).mean() for start in starts])
    return max(0.0, float(fraction) - 1 / len(test_rows))
