"""Pairs of rows with a high cosine similarity among many: most are excluded by a bound, the others computed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeAlias

import numpy as np

from featx.features.duplicates.cosine_bounds import Bounds, UnitRows
from featx.system.array_types import FloatArray, IntArray
from featx.system.threads import map_in_threads

#: Row indices (left and right) and cosine similarities of pairs.
Pairs: TypeAlias = "tuple[IntArray, IntArray, FloatArray]"

#: Numbers of pairs whose rows fit into the cache of a core: full rows, and rows of the second bound.
_BATCH_PAIRS, _BATCH_BOUND_PAIRS = 256, 1024
_MAX_COLUMNS = 4096
#: A dot product of a single pair takes as long as this many of a matrix product.
_SINGLE_PAIR_COST = 20


def near_pairs(rows: UnitRows, bounds: Bounds, min_cosine: float) -> Iterator[tuple[int, Pairs]]:
    """Yield all pairs with a cosine similarity of at least `min_cosine`, each once.

    Yields
    ------
    n_done : int
        Number of rows that were compared with all later rows since the last item.
    pairs : tuple of (ndarray of int64, ndarray of int64, ndarray of float32)
        Row indices and cosine similarities.
    """
    n_rows, right_rows = len(rows), rows.limits.right_rows
    for start, stop in rows.blocks(rows.limits.left_rows):
        indices, left = np.arange(start, stop), rows.between(start, stop)
        min_cosines = np.full(len(indices), min_cosine, np.float32)

        def compare(
            block_start: int,
            indices: IntArray = indices,
            left: FloatArray = left,
            min_cosines: FloatArray = min_cosines,
        ) -> Pairs:
            return _pairs_of_block(rows, bounds, left, indices, block_start, min_cosines, later_only=True)

        for pairs in map_in_threads(compare, range(start, n_rows, right_rows)):
            yield 0, pairs
        yield stop - start, _no_pairs()


def near_rows(
    rows: UnitRows, bounds: Bounds, indices: IntArray, min_cosines: FloatArray, *, first: int, n_done: int = 0
) -> Generator[tuple[IntArray, FloatArray]]:
    """Yield for each block of rows which of the given rows are similar to a row of the block.

    Parameters
    ----------
    rows : UnitRows
    bounds : Bounds
    indices : ndarray of int64 of shape (n_given,)
        Sorted row indices.
    min_cosines : ndarray of float32 of shape (n_given,)
        Minimum cosine similarity for each of them.
    first : int
        Index of a row in the first block. The blocks before it come last.
    n_done : int, default=0
        Number of blocks to skip.

    Yields
    ------
    positions : ndarray of int64
        Positions in `indices`; one entry per similar pair.
    cosine : ndarray of float32
    """
    left = rows.take(indices)
    right_rows = rows.limits.right_rows
    starts = list(range(0, len(rows), right_rows))
    rotated = starts[first // right_rows :] + starts[: first // right_rows]

    def compare(block_start: int) -> Pairs:
        return _pairs_of_block(rows, bounds, left, indices, block_start, min_cosines, later_only=False)

    for left_rows, right, cosine in map_in_threads(compare, rotated[n_done:]):
        is_pair = left_rows != right
        yield np.searchsorted(indices, left_rows[is_pair]), cosine[is_pair]


def _pairs_of_block(  # noqa: PLR0917  # one inner call, of arrays
    rows: UnitRows,
    bounds: Bounds,
    left: FloatArray,
    indices: IntArray,
    block_start: int,
    min_cosines: FloatArray,
    *,
    later_only: bool,
) -> Pairs:
    """Return the pairs of the given rows and a block that reach the minimum cosine similarity of the given row."""
    block_stop = min(block_start + rows.limits.right_rows, len(rows))
    left_reduced, right_reduced = bounds.reduced[indices], bounds.reduced[block_start:block_stop]
    bound = left_reduced[:, : bounds.n_first] @ right_reduced[:, : bounds.n_first].T
    min_bounds = min_cosines - np.float32(bounds.slack)
    # Comparing with one number is four times faster, and searching a flat mask six times.
    is_candidate = bound >= (min_bounds[0] if (min_bounds == min_bounds[0]).all() else min_bounds[:, None])
    position, column = np.divmod(np.flatnonzero(is_candidate.ravel()), block_stop - block_start)
    if later_only:
        is_later = indices[position] < column + block_start
        position, column = position[is_later], column[is_later]
    if bounds.is_twofold:
        second = _dot_pairs(left_reduced[:, 1:], right_reduced[:, 1:], position, column, _BATCH_BOUND_PAIRS)
        is_candidate = second >= min_bounds[position]
        position, column = position[is_candidate], column[is_candidate]
    if not len(position):
        return _no_pairs()
    if bounds.is_exact:
        return indices[position], column + block_start, bound[position, column]
    cosine = _cosines(left, rows, position, column, block_start)
    is_near = cosine >= min_cosines[position]
    return indices[position[is_near]], column[is_near] + block_start, cosine[is_near]


def _cosines(left: FloatArray, rows: UnitRows, position: IntArray, column: IntArray, block_start: int) -> FloatArray:
    """Return the cosine similarities of pairs of given rows and rows of a block, which is read in parts."""
    cosine = np.empty(len(position), dtype=np.float32)
    columns = np.unique(column)
    step = rows.limits.block_rows(rows.limits.right_rows, rows.n_features)
    for start in range(0, len(columns), step):
        part = columns[start : start + step]
        mask = slice(None) if len(part) == len(columns) else np.flatnonzero((column >= part[0]) & (column <= part[-1]))
        first, last = int(part[0]), int(part[-1])
        if 2 * len(part) > last - first:  # dense: read a range of rows
            right = rows.between(block_start + first, block_start + last + 1)[part - first]
        else:
            right = rows.take(part + block_start)
        cosine[mask] = _products(left, right, position[mask], np.searchsorted(part, column[mask]))
    return cosine


def _products(left: FloatArray, right: FloatArray, position: IntArray, column: IntArray) -> FloatArray:
    """Return the dot products of pairs, by a matrix product if there are many pairs among few rows."""
    used, used_position = np.unique(position, return_inverse=True)
    if _SINGLE_PAIR_COST * len(position) > len(used) * len(right):
        product: FloatArray = (left if len(used) == len(left) else left[used]) @ right.T
        return product[used_position, column]
    return _dot_pairs(left, right, position, column, _BATCH_PAIRS)


def _dot_pairs(left: FloatArray, right: FloatArray, position: IntArray, column: IntArray, batch: int) -> FloatArray:
    """Return the dot products of pairs of rows, in batches that fit into the cache of a core."""
    products = np.zeros(len(position), dtype=np.float32)
    for start in range(0, len(position), batch):
        pairs = slice(start, start + batch)
        for first in range(0, left.shape[1], _MAX_COLUMNS):  # longer float32 sums lose precision
            features = slice(first, first + _MAX_COLUMNS)
            products[pairs] += np.einsum("ij,ij->i", left[position[pairs], features], right[column[pairs], features])
    return products


def _no_pairs() -> Pairs:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
