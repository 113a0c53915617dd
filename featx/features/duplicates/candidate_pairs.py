"""Pairs of rows of a high cosine among many: most are excluded by a bound in few dimensions, the rest computed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeAlias

import numpy as np

from featx.features.block_threads import side_by_side
from featx.features.duplicates.cosine_bounds import Bounds, UnitRows, rows_at_once
from featx.system.array_types import FloatArray, IntArray

#: Two rows each, and their cosines.
Pairs: TypeAlias = "tuple[IntArray, IntArray, FloatArray]"

_TALL, _WIDE = 1024, 4096
#: Pairs whose rows fit a core's own cache, and of those that are bounded once more.
_PAIRS_AT_ONCE, _AGAIN_AT_ONCE = 256, 1024
_COLUMNS_AT_ONCE = 4096
#: One by one, a pair takes as long as so many of a product.
_PAIRS_OF_PRODUCT = 20


def near_pairs(rows: UnitRows, bounds: Bounds, floor: float) -> Iterator[tuple[int, Pairs]]:
    """Yield pairs of a cosine of at least `floor`, each once, with how many rows were compared with all after them."""
    n = len(rows)
    for start, stop in rows.blocks(_TALL):
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
    least = floors - np.float32(bounds.slack)
    # One number for all is compared four times as fast; and flat, what is left is found six times as fast.
    is_left = bound >= (least[0] if (least == least[0]).all() else least[:, None])
    one, other = np.divmod(np.flatnonzero(is_left.ravel()), stop - at)
    if after:
        later = places[one] < other + at
        one, other = one[later], other[later]
    if bounds.is_twofold:
        kept = _products(tall[:, 1:], wide[:, 1:], one, other, _AGAIN_AT_ONCE) >= least[one]
        one, other = one[kept], other[kept]
    if not len(one):
        return _none()
    if bounds.is_exact:
        return places[one], other + at, bound[one, other]
    cosine = _cosines(left, rows, one, other, at)
    kept = cosine >= floors[one]
    return places[one[kept]], other[kept] + at, cosine[kept]


def _cosines(left: FloatArray, rows: UnitRows, one: IntArray, other: IntArray, at: int) -> FloatArray:
    """Return the cosines of pairs of some rows and of those of a block, no more of which are held than fit one."""
    found = np.empty(len(one), dtype=np.float32)
    others = np.unique(other)
    step = rows_at_once(_WIDE, rows.n_features)
    for start in range(0, len(others), step):
        some = others[start : start + step]
        is_here = slice(None) if len(some) == len(others) else np.flatnonzero((other >= some[0]) & (other <= some[-1]))
        first, last = int(some[0]), int(some[-1])
        is_dense = 2 * len(some) > last - first
        right = rows.between(at + first, at + last + 1)[some - first] if is_dense else rows.take(some + at)
        found[is_here] = _of_block(left, right, one[is_here], np.searchsorted(some, other[is_here]))
    return found


def _of_block(left: FloatArray, right: FloatArray, one: IntArray, other: IntArray) -> FloatArray:
    """Return the products of pairs: of many among few rows by one product, else one by one."""
    ones, place = np.unique(one, return_inverse=True)
    if _PAIRS_OF_PRODUCT * len(one) > len(ones) * len(right):
        product: FloatArray = ((left if len(ones) == len(left) else left[ones]) @ right.T)[place, other]
        return product
    return _products(left, right, one, other, _PAIRS_AT_ONCE)


def _products(left: FloatArray, right: FloatArray, one: IntArray, other: IntArray, at_once: int) -> FloatArray:
    """Return the products of pairs of rows, so many at once that they stay near the core."""
    found = np.zeros(len(one), dtype=np.float32)
    for start in range(0, len(one), at_once):
        here = slice(start, start + at_once)
        for column in range(0, left.shape[1], _COLUMNS_AT_ONCE):  # a longer sum loses digits
            columns = slice(column, column + _COLUMNS_AT_ONCE)
            found[here] += np.einsum("ij,ij->i", left[one[here], columns], right[other[here], columns])
    return found


def _none() -> Pairs:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
