"""Pairs of rows of a high cosine among many: most are excluded by a bound in few dimensions, the rest computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeAlias

import numpy as np

from featx.side_by_side import side_by_side

IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
FloatArray: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
#: Two rows each, and their cosines.
Pairs: TypeAlias = "tuple[IntArray, IntArray, FloatArray]"

_TALL, _WIDE = 1024, 4096
#: Pairs whose rows fit a core's own cache.
_PAIRS_AT_ONCE = 256
#: One by one, a pair takes as long as so many of a product.
_PAIRS_OF_PRODUCT = 20
_SAMPLE = 16_384
_FEW_OF_SAMPLE = 4096
#: Numbers of dimensions that are tried.
_DIMENSIONS = (16, 32, 64, 128, 256, 512)
#: Of a bound, in float32.
_ROUNDING = 1e-5
#: Nanoseconds that a pair was measured to take, of which some are for each dimension; and to be computed.
_BOUND, _DIMENSION, _COMPUTED = 0.6, 0.023, 1000.0
#: The same of one that is bounded once more.
_AGAIN, _DIMENSION_AGAIN = 60.0, 0.6
_AGAIN_AT_ONCE = 1024


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
    """

    def __init__(self, rows: UnitRows, floor: float, make: Callable[[tuple[int, int]], FloatArray]) -> None:
        n = len(rows)
        sample = rows.take(np.unique(np.random.default_rng(0).integers(0, n, _SAMPLE)))
        basis = _directions(sample)
        some = sample[np.random.default_rng(1).permutation(len(sample))[:_FEW_OF_SAMPLE]]
        self._few, self._more = _best_dimensions(some, basis, floor)
        self._basis = basis[:, : self._more]
        self.is_exact = self._few == rows.n_features
        self.is_twofold = self._few < self._more
        self.n_first = self._few + (not self.is_exact)
        self.reduced = make((n, self.n_first if not self.is_twofold else self._more + 2))
        for start in range(0, n, _WIDE):
            self.reduced[start : start + _WIDE] = self._of(rows.between(start, start + _WIDE))

    def _of(self, unit: FloatArray) -> FloatArray:
        return unit if self.is_exact else _bounding(unit, self._basis, self._few)


def _directions(sample: FloatArray) -> FloatArray:
    """Return an orthonormal basis, the directions of the largest squared length first."""
    products = sample.T @ sample
    return np.linalg.eigh(products.astype(np.float64))[1][:, ::-1].astype(np.float32)


def _bounding(unit: FloatArray, basis: FloatArray, n_few: int) -> FloatArray:
    """Return what the first directions leave out, the coordinates, and what all leave out if these are more."""
    within = unit @ basis
    whole = (unit * unit).sum(axis=1)
    columns = [_left(whole, within[:, :n_few]), within]
    if n_few < basis.shape[1]:
        columns.append(_left(whole, within))
    return np.column_stack(columns).astype(np.float32, copy=False)


def _left(whole: FloatArray, within: FloatArray) -> FloatArray:
    # Never too short, whatever was rounded.
    left: FloatArray = np.sqrt(np.maximum(whole - (within * within).sum(axis=1), 0) + 1e-6)
    return left


def _best_dimensions(sample: FloatArray, basis: FloatArray, floor: float) -> tuple[int, int]:
    """Return with how many dimensions to bound all pairs, and those left once more, so that all of it costs least."""
    n_features = len(basis)
    costs = {(n_features, n_features): _BOUND + _DIMENSION * n_features}
    left = {few: _share_left(sample, basis[:, :few], floor) for few in _DIMENSIONS if few < n_features}
    for few, share in left.items():
        bounded = _BOUND + _DIMENSION * few
        costs[few, few] = bounded + _COMPUTED * share
        for more in (more for more in left if more > few):
            costs[few, more] = bounded + (_AGAIN + _DIMENSION_AGAIN * more) * share + _COMPUTED * left[more]
    return min(costs, key=lambda dimensions: costs[dimensions])


def _share_left(sample: FloatArray, basis: FloatArray, floor: float) -> float:
    """Return the share of pairs that a bound leaves to be computed."""
    reduced = _bounding(sample, basis, basis.shape[1])
    left = np.mean([(reduced[at : at + 512] @ reduced.T >= floor).mean() for at in range(0, len(sample), 512)])
    return max(0.0, float(left) - 1 / len(sample))


def near_pairs(rows: UnitRows, bounds: Bounds, floor: float) -> Iterator[tuple[int, Pairs]]:
    """Yield pairs of a cosine of at least `floor`, each once, with how many rows were compared with all after them."""
    n = len(rows)
    for start in range(0, n, _TALL):
        stop = min(start + _TALL, n)
        left = rows.between(start, stop)

        def compared(at: int, start: int = start, stop: int = stop, left: FloatArray = left) -> Pairs:
            here = np.arange(start, stop)
            return _at_least(rows, bounds, left, here, at, floors=np.full(len(here), floor, np.float32), after=True)

        for found in side_by_side(compared, range(start, n, _WIDE)):
            yield 0, found
        yield stop - start, _none()


def near_rows(
    rows: UnitRows, bounds: Bounds, places: IntArray, floors: FloatArray, *, first: int, n_done: int = 0
) -> Generator[tuple[IntArray, FloatArray]]:
    """Yield, block after block of all rows, which of some rows are near to one of the block, and the cosines.

    Parameters
    ----------
    rows : UnitRows
    bounds : Bounds
    places : ndarray of int64, shape (m,)
        Sorted.
    floors : ndarray of float32, shape (m,)
        Cosine from which a row is near to each.
    first : int
        Begin with the block of this row, go on to the end, and then from the start.
    n_done : int, default=0
        Pass over so many blocks.
    """
    left = rows.take(places)
    starts = list(range(0, len(rows), _WIDE))
    turned = starts[first // _WIDE :] + starts[: first // _WIDE]

    def compared(at: int) -> Pairs:
        return _at_least(rows, bounds, left, places, at, floors=floors, after=False)

    for one, other, cosine in side_by_side(compared, turned[n_done:]):
        kept = one != other
        yield np.searchsorted(places, one[kept]), cosine[kept]


def _at_least(
    rows: UnitRows, bounds: Bounds, left: FloatArray, places: IntArray, at: int, *, floors: FloatArray, after: bool
) -> Pairs:
    """Return pairs of the rows at some places and those of a block, of at least each place's floor."""
    stop = min(at + _WIDE, len(rows))
    tall, wide = bounds.reduced[places], bounds.reduced[at:stop]
    bound = tall[:, : bounds.n_first] @ wide[:, : bounds.n_first].T
    slack = 0 if bounds.is_exact else _ROUNDING
    # Flat: six times as fast as in two dimensions.
    one, other = np.divmod(np.flatnonzero((bound >= (floors - slack)[:, None]).ravel()), stop - at)
    if after:
        later = places[one] < other + at
        one, other = one[later], other[later]
    if bounds.is_twofold:
        kept = _products(tall[:, 1:], wide[:, 1:], one, other, _AGAIN_AT_ONCE) >= floors[one] - slack
        one, other = one[kept], other[kept]
    if not len(one):
        return _none()
    if bounds.is_exact:
        return places[one], other + at, bound[one, other]
    cosine = _cosines(left, rows, one, other, at)
    kept = cosine >= floors[one]
    return places[one[kept]], other[kept] + at, cosine[kept]


def _cosines(left: FloatArray, rows: UnitRows, one: IntArray, other: IntArray, at: int) -> FloatArray:
    """Return the cosines of pairs: of many among few rows by one product, else one by one."""
    ones, one = np.unique(one, return_inverse=True)
    others, other = np.unique(other, return_inverse=True)
    right = rows.take(others + at) if len(others) < _WIDE // 2 else rows.between(at, at + _WIDE)[others]
    if _PAIRS_OF_PRODUCT * len(one) > len(ones) * len(others):
        product: FloatArray = (left[ones] @ right.T)[one, other]
        return product
    return _products(left, right, ones[one], other, _PAIRS_AT_ONCE)


def _products(left: FloatArray, right: FloatArray, one: IntArray, other: IntArray, at_once: int) -> FloatArray:
    """Return the products of pairs of rows, so many at once that they stay near the core."""
    found = np.empty(len(one), dtype=np.float32)
    for start in range(0, len(one), at_once):
        here = slice(start, start + at_once)
        found[here] = np.einsum("ij,ij->i", left[one[here]], right[other[here]])
    return found


def _none() -> Pairs:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
