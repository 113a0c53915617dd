"""Near-duplicates of many rows in bounded memory. The result is that of :mod:`.dense`."""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featx.features.duplicates.candidate_pairs import Pairs, near_pairs, near_rows
from featx.features.duplicates.components import PairGroups, TooConnectedError, connected_components
from featx.features.duplicates.cosine_bounds import Bounds, UnitRows, rounding
from featx.features.duplicates.dense import DISTANCE_RATIO, MIN_COSINE, N_NEIGHBORS, link_all_pairs
from featx.features.duplicates.limits import DuplicateLimits
from featx.features.npy_writer import NpyWriter
from featx.features.selected_rows import is_read_on_demand
from featx.system.array_types import BoolArray, FloatArray, IntArray
from featx.system.files.temporary import temporary_folder

_BATCH_ROWS = 4096
#: If more than this fraction of a sample is in one group, most of all rows are.
_SAMPLE_ROWS, _MAX_SAMPLE_FRACTION = 2000, 0.6


def link_many_rows(
    features: Any, threshold: float, limits: DuplicateLimits, progress: Callable[[int], object]
) -> tuple[IntArray, FloatArray, IntArray, IntArray, bool]:
    """Link near-duplicates among many rows.

    Parameters
    ----------
    features : FeatureMatrix or array of shape (n_samples, n_features)
    threshold : float
    limits : DuplicateLimits
    progress : callable
        Called with the number of rows compared since the last call.

    Returns
    -------
    labels : ndarray of int64 of shape (n_distinct,)
        Group of each distinct row.
    cosine : ndarray of float32 of shape (n_distinct,)
        Highest linked cosine similarity of each distinct row; NaN if there is none.
    kinds : ndarray of int64 of shape (n_samples,)
        Index of each row among the distinct rows.
    counts : ndarray of int64 of shape (n_distinct,)
        How often each distinct row occurs.
    centered : bool
        Whether the mean row was subtracted.

    Raises
    ------
    ValueError
        A row has NaN or infinite values.
    """
    with temporary_folder() as folder:
        allocate = functools.partial(_allocate, folder, limits.memory_bytes)
        source = features
        if is_read_on_demand(features) and not features.is_local:
            source = allocate(features.shape)  # rows are read more than once
            step = limits.block_rows(_BATCH_ROWS, features.shape[1])
            for start in range(0, len(features), step):
                source[start : start + step] = features[start : start + step]
        elif not isinstance(features, np.ndarray) and not is_read_on_demand(features):
            source = np.asarray(features)
        distinct, kinds, counts = distinct_rows(source, limits)
        labels, cosine, centered = _link_distinct(source, distinct, threshold, limits, allocate, progress)
    return labels, cosine, kinds, counts, centered


def _allocate(folder: Path, memory_bytes: int, shape: tuple[int, int]) -> FloatArray:
    """Return an empty matrix: in memory if it is small, otherwise in a temporary file."""
    if 4 * shape[0] * shape[1] <= memory_bytes:
        return np.empty(shape, dtype=np.float32)
    path = folder / f"{uuid.uuid4().hex}.npy"
    NpyWriter(path, *shape)
    mapped: FloatArray = np.load(path, mmap_mode="r+", allow_pickle=False)
    return mapped


def distinct_rows(source: Any, limits: DuplicateLimits) -> tuple[IntArray, IntArray, IntArray]:
    """Return the indices of the distinct rows, the index of each row among them, and how often each occurs.

    Rows are compared by 128-bit hashes of their bytes.

    Raises
    ------
    ValueError
        A row has NaN or infinite values.
    """
    keys = np.empty((len(source), 2), dtype=np.uint64)
    step = limits.block_rows(_BATCH_ROWS, source.shape[1])
    for start in range(0, len(source), step):
        block = np.ascontiguousarray(source[start : start + step], dtype=np.float32) + 0  # -0 becomes 0
        if not np.isfinite(block).all():
            raise ValueError("a row has NaN or infinite values")
        hashes = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in block)
        keys[start : start + len(block)] = np.frombuffer(hashes, dtype=np.uint64).reshape(-1, 2)
    joined = keys.view([("", np.uint64), ("", np.uint64)])[:, 0]
    _, first, kinds, counts = np.unique(joined, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)  # in the order of the rows, so that blocks are contiguous
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[kinds], counts[order]


def _link_distinct(  # noqa: PLR0917  # one call, from above
    source: Any,
    distinct: IntArray,
    threshold: float,
    limits: DuplicateLimits,
    allocate: Callable[[tuple[int, int]], FloatArray],
    progress: Callable[[int], object],
) -> tuple[IntArray, FloatArray, bool]:
    """Return group and highest cosine similarity of each distinct row, and whether the mean row was subtracted."""
    rows = UnitRows(source, distinct, limits=limits)
    if len(distinct) <= 2 * N_NEIGHBORS:
        return *link_all_pairs(rows.take(np.arange(len(distinct))), threshold, limits), False
    if threshold >= 1:
        return *link_unit_rows(rows, threshold, None, allocate, progress), False
    try:
        _check_sample_connectivity(rows, threshold)
        return *link_unit_rows(rows, threshold, len(distinct) // 2, allocate, progress), False
    except TooConnectedError:
        total = np.zeros(rows.n_features)
        for start, stop in rows.blocks(_BATCH_ROWS):
            total += rows.raw(start, stop).sum(axis=0, dtype=np.float64)
        mean = (total / len(rows)).astype(np.float32)
        centered = UnitRows(source, distinct, mean, limits=limits)
        return *link_unit_rows(centered, threshold, None, allocate, progress), True


def _check_sample_connectivity(rows: UnitRows, threshold: float) -> None:
    """Raise :class:`TooConnectedError` if most rows of a sample are in one group, before all rows are compared."""
    n_drawn = rows.limits.block_rows(_SAMPLE_ROWS, rows.n_features // 4)
    sample = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:n_drawn]))
    left, right = np.nonzero(np.triu(sample @ sample.T, 1) >= threshold)
    if np.bincount(connected_components(len(sample), [left], [right])).max() > _MAX_SAMPLE_FRACTION * len(sample):
        raise TooConnectedError


def link_unit_rows(
    rows: UnitRows,
    threshold: float,
    max_group_size: int | None,
    allocate: Callable[[tuple[int, int]], FloatArray],
    progress: Callable[[int], object],
) -> tuple[IntArray, FloatArray]:
    """Return the group and the highest linked cosine similarity of each row.

    Parameters
    ----------
    rows : UnitRows
        Distinct rows.
    threshold : float
    max_group_size : int or None
        Size of a group above which :class:`TooConnectedError` is raised. None: no limit.
    allocate : callable
        Returns an empty float32 array of a shape.
    progress : callable
        Called with the number of rows compared since the last call.

    Raises
    ------
    TooConnectedError
    """
    n_rows, max_cosine = len(rows), 1 - rounding(rows.n_features)
    min_cosine = min(MIN_COSINE, threshold) if threshold < max_cosine else max_cosine
    threshold = min(threshold, max_cosine)
    bounds = Bounds(rows, min_cosine, allocate)
    groups, neighbors = PairGroups(n_rows, rows.limits.max_pairs, max_group_size), Neighbors(n_rows, N_NEIGHBORS)
    cosine = np.full(n_rows, np.nan, dtype=np.float32)
    for n_done, (left, right, value) in near_pairs(rows, bounds, min_cosine):
        if len(left):
            _link(groups, cosine, (left, right, value), value >= threshold)
            if min_cosine < threshold:
                ends = np.concatenate([left, right]), np.concatenate([right, left])
                neighbors.add(*ends, np.concatenate([value, value]))
        if n_done:
            progress(n_done)
    groups.labels()
    if min_cosine < threshold:
        left, right, value = pairs_that_stand_out(rows, bounds, neighbors, threshold)
        _link(groups, cosine, (left, right, value), np.ones(len(left), dtype=bool))
    return groups.labels(), cosine


def _link(groups: PairGroups, cosine: FloatArray, pairs: Pairs, mask: BoolArray) -> None:
    left, right, value = pairs[0][mask], pairs[1][mask], pairs[2][mask]
    np.fmax.at(cosine, left, value)
    np.fmax.at(cosine, right, value)
    groups.add(left, right)


class Neighbors:
    """The most similar rows of each row.

    Parameters
    ----------
    n_rows : int
    n_neighbors : int
        Maximum number of neighbors of a row.
    """

    def __init__(self, n_rows: int, n_neighbors: int) -> None:
        self.cosine: FloatArray = np.full((n_rows, n_neighbors), -1, dtype=np.float32)
        self.rows = np.full((n_rows, n_neighbors), -1, dtype=np.int64 if n_rows >= 2**31 else np.int32)

    def add(self, left: IntArray, right: IntArray, cosine: FloatArray) -> None:
        """Add each row of `right` as a neighbor of the row of `left` at the same position."""
        n_neighbors = self.cosine.shape[1]
        order = np.lexsort((-cosine, left))
        left, right, cosine = left[order], right[order], cosine[order]
        rows, first, counts = np.unique(left, return_index=True, return_counts=True)
        rank = np.arange(len(left)) - np.repeat(first, counts)
        kept = rank < n_neighbors
        index = (np.repeat(np.arange(len(rows)), counts)[kept], n_neighbors + rank[kept])
        all_cosine = np.full((len(rows), 2 * n_neighbors), -1, dtype=np.float32)
        all_rows = np.full((len(rows), 2 * n_neighbors), -1, dtype=self.rows.dtype)
        all_cosine[:, :n_neighbors], all_rows[:, :n_neighbors] = self.cosine[rows], self.rows[rows]
        all_cosine[index], all_rows[index] = cosine[kept], right[kept]
        best = np.argsort(-all_cosine, axis=1, kind="stable")[:, :n_neighbors]
        self.cosine[rows] = np.take_along_axis(all_cosine, best, axis=1)
        self.rows[rows] = np.take_along_axis(all_rows, best, axis=1)


def pairs_that_stand_out(rows: UnitRows, bounds: Bounds, neighbors: Neighbors, threshold: float) -> Pairs:
    """Return the pairs below the threshold that are closer than the last neighbor of either row allows."""
    left, right, value = mutual_pairs(neighbors, threshold)
    # Only rows with a higher cosine similarity than this can exclude a pair.
    min_cosine = 1 - DISTANCE_RATIO * (1 - value)
    last = np.maximum(neighbors.cosine[left, -1], neighbors.cosine[right, -1])
    is_open = last <= min_cosine
    left, right, value, min_cosine = left[is_open], right[is_open], value[is_open], min_cosine[is_open]
    passed = _has_few_neighbors(rows, bounds, (left, right, min_cosine), neighbors.cosine.shape[1])
    return left[passed], right[passed], value[passed]


def mutual_pairs(neighbors: Neighbors, threshold: float) -> Pairs:
    """Return the pairs below the threshold, each once, whose rows are neighbors of each other."""
    n_rows = len(neighbors.rows)
    left, column = np.nonzero((neighbors.rows >= 0) & (neighbors.cosine < threshold))
    right, value = neighbors.rows[left, column].astype(np.int64), neighbors.cosine[left, column]
    key = np.minimum(left, right) * n_rows + np.maximum(left, right)
    keys, first, counts = np.unique(key, return_index=True, return_counts=True)
    is_mutual = counts == 2
    return keys[is_mutual] // n_rows, keys[is_mutual] % n_rows, value[first[is_mutual]]


def _has_few_neighbors(rows: UnitRows, bounds: Bounds, pairs: Pairs, n_neighbors: int) -> BoolArray:
    """Return for each pair whether both rows have fewer than `n_neighbors` rows above the pair's minimum cosine."""
    left, right, min_cosine = pairs
    passed = np.ones(len(left), dtype=bool)
    ends, pair = np.concatenate([left, right]), np.tile(np.arange(len(left)), 2)
    order = np.argsort(ends, kind="stable")
    ends, pair = ends[order], pair[order]
    distinct_ends = np.unique(ends)
    step = rows.limits.block_rows(rows.limits.neighbor_rows, rows.n_features)
    for start in range(0, len(distinct_ends), step):
        block = distinct_ends[start : start + step]
        within = slice(np.searchsorted(ends, block[0]), np.searchsorted(ends, block[-1], side="right"))
        is_open = passed[pair[within]]
        index, block_pair = np.searchsorted(block, ends[within][is_open]), pair[within][is_open]
        used, index = np.unique(index, return_inverse=True)
        if len(used):
            last = _last_neighbor(rows, bounds, block[used], (index, min_cosine[block_pair]), n_neighbors)
            passed[block_pair[last[index] > min_cosine[block_pair]]] = False
    return passed


def _last_neighbor(
    rows: UnitRows, bounds: Bounds, places: IntArray, pairs: tuple[IntArray, FloatArray], n_neighbors: int
) -> FloatArray:
    """Return the cosine similarity of each row to its last neighbor, or -1 if it is below those of all its pairs.

    A row is not compared any further when the neighbors found so far exclude all of its pairs.
    """
    index, min_cosine = pairs
    lowest = np.full(len(places), 2, dtype=np.float32)
    highest = np.full(len(places), -2, dtype=np.float32)
    np.minimum.at(lowest, index, min_cosine)
    np.maximum.at(highest, index, min_cosine)
    neighbors = Neighbors(len(places), n_neighbors)
    active = np.arange(len(places))
    n_blocks = 0
    while len(active):
        blocks = near_rows(rows, bounds, places[active], lowest[active], first=int(places[0]), n_done=n_blocks)
        for row, cosine in blocks:
            n_blocks += 1
            neighbors.add(active[row], np.zeros(len(row), dtype=np.int64), cosine)
            if n_blocks % 4 == 0 or n_blocks <= 2:
                is_open = neighbors.cosine[active, -1] <= highest[active]
                if 2 * int(is_open.sum()) < len(active):
                    active = active[is_open]
                    blocks.close()
                    break
        else:
            break
    return neighbors.cosine[:, -1]
