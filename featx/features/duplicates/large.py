"""Near-duplicates among many rows, in bounded memory: the rule of `featx.features.duplicates.find` by the pairs that decide it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from featx.features.duplicates.candidate_pairs import Pairs, near_pairs, near_rows
from featx.features.duplicates.cosine_bounds import Bounds, UnitRows, rows_at_once
from featx.system.array_types import FloatArray, IntArray

_HASHED_AT_ONCE = 4096
_ROWS_AT_ONCE = 512
#: Pairs that wait to be turned into groups.
_MOST_LINKS = 5_000_000


class TooConnectedError(Exception):
    """More than half of the rows are linked to each other."""


class Links:
    """Which rows are linked by pairs; pairs do not pile up.

    Parameters
    ----------
    n : int
    most : int or None, default=None
        Raise :class:`TooConnectedError` once a group has more rows than this.
    """

    def __init__(self, n: int, most: int | None = None) -> None:
        self._n = n
        self._most = most
        self._groups: IntArray = np.arange(n, dtype=np.int64)
        self._waiting: list[tuple[IntArray, IntArray]] = []
        self._n_waiting = 0

    def add(self, one: IntArray, other: IntArray) -> None:
        """Link rows pair by pair."""
        new = self._groups[one] != self._groups[other]
        if new.any():
            self._waiting.append((one[new], other[new]))
            self._n_waiting += int(new.sum())
            if self._n_waiting > _MOST_LINKS:
                self.groups()

    def groups(self) -> IntArray:
        """Return a label for each row, equal for those that are linked."""
        if self._waiting:
            from scipy.sparse import coo_matrix
            from scipy.sparse.csgraph import connected_components

            one = self._groups[np.concatenate([one for one, _ in self._waiting])]
            other = self._groups[np.concatenate([other for _, other in self._waiting])]
            links = coo_matrix((np.ones(len(one), dtype=np.int8), (one, other)), shape=(self._n, self._n))
            self._groups = connected_components(links, directed=False)[1].astype(np.int64)[self._groups]
            self._waiting, self._n_waiting = [], 0
            if self._most is not None and int(np.bincount(self._groups).max()) > self._most:
                raise TooConnectedError
        return self._groups


class Nearest:
    """The nearest of the near rows of each row, no more than a number of them.

    Parameters
    ----------
    n, n_kept : int
    """

    def __init__(self, n: int, n_kept: int) -> None:
        self.cosine: FloatArray = np.full((n, n_kept), -1, dtype=np.float32)
        self.other = np.full((n, n_kept), -1, dtype=np.int64 if n >= 2**31 else np.int32)

    def add(self, one: IntArray, other: IntArray, cosine: FloatArray) -> None:
        """Take pairs in, for the first of each."""
        n_kept = self.cosine.shape[1]
        order = np.lexsort((-cosine, one))
        one, other, cosine = one[order], other[order], cosine[order]
        rows, first, counts = np.unique(one, return_index=True, return_counts=True)
        rank = np.arange(len(one)) - np.repeat(first, counts)
        kept = rank < n_kept
        at = (np.repeat(np.arange(len(rows)), counts)[kept], n_kept + rank[kept])
        both = np.full((len(rows), 2 * n_kept), -1, dtype=np.float32)
        others = np.full((len(rows), 2 * n_kept), -1, dtype=self.other.dtype)
        both[:, :n_kept], others[:, :n_kept] = self.cosine[rows], self.other[rows]
        both[at], others[at] = cosine[kept], other[kept]
        best = np.argsort(-both, axis=1, kind="stable")[:, :n_kept]
        self.cosine[rows] = np.take_along_axis(both, best, axis=1)
        self.other[rows] = np.take_along_axis(others, best, axis=1)


def different_rows(source: Any) -> tuple[IntArray, IntArray, IntArray]:
    """Return the numbers of rows that differ, which of them each row is equal to, and how often each is there.

    Rows are told by 128 bits of their bytes.

    Raises
    ------
    ValueError
        A row has NaN or infinite values.
    """
    keys = np.empty((len(source), 2), dtype=np.uint64)
    step = rows_at_once(_HASHED_AT_ONCE, source.shape[1])
    for start in range(0, len(source), step):
        block = np.ascontiguousarray(source[start : start + step], dtype=np.float32) + 0  # makes 0 of -0
        if not np.isfinite(block).all():
            raise ValueError(f"a row from {start:,} on")
        hashed = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in block)
        keys[start : start + len(block)] = np.frombuffer(hashed, dtype=np.uint64).reshape(-1, 2)
    whole = keys.view([("", np.uint64), ("", np.uint64)])[:, 0]
    _, first, kinds, counts = np.unique(whole, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)  # in the order of the rows, so that blocks of them lie together
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return first[order].astype(np.int64), place[kinds], counts[order]


def linked_of_many(
    rows: UnitRows,
    *,
    threshold: float,
    floor: float,
    n_neighbours: int,
    closer: float,
    most: int | None,
    make: Callable[[tuple[int, int]], FloatArray],
    progress: Callable[[int], object],
) -> tuple[IntArray, FloatArray]:
    """Return a label for each row, equal for those linked by pairs, and the highest cosine of its pairs.

    Parameters
    ----------
    rows : UnitRows
        All of them different.
    threshold : float
        Cosine from which a pair is linked.
    floor : float
        Cosine from which it is if it stands out: if it is `closer` times nearer than the row at place `n_neighbours` is
        to either. Equal to `threshold` for none.
    n_neighbours : int
    closer : float
    most : int or None
        Raise once a group has more rows.
    make : callable
        Returns an empty float32 array of a shape.
    progress : callable
        Called with a number of rows that are done.

    Raises
    ------
    TooConnectedError
    """
    n = len(rows)
    bounds = Bounds(rows, floor, make)
    links, nearest = Links(n, most), Nearest(n, n_neighbours)
    cosine = np.full(n, np.nan, dtype=np.float32)
    for n_done, (one, other, value) in near_pairs(rows, bounds, floor):
        if len(one):
            _link(links, cosine, (one, other, value), value >= threshold)
            if floor < threshold:
                nearest.add(np.concatenate([one, other]), np.concatenate([other, one]), np.concatenate([value, value]))
        if n_done:
            progress(n_done)
    links.groups()
    if floor < threshold:
        one, other, value = _standing_out(rows, bounds, nearest, threshold, closer)
        _link(links, cosine, (one, other, value), np.ones(len(one), dtype=bool))
    return links.groups(), cosine


def _link(links: Links, cosine: FloatArray, pairs: Pairs, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    one, other, value = (part[chosen] for part in pairs)
    np.fmax.at(cosine, one, value)
    np.fmax.at(cosine, other, value)
    links.add(one, other)


def _standing_out(rows: UnitRows, bounds: Bounds, nearest: Nearest, threshold: float, closer: float) -> Pairs:
    """Return pairs below the threshold that are `closer` times nearer than the last of the neighbours of either."""
    one, other, value = _mutual(nearest, threshold)
    # Farther than this, no row can be that matters to the pair.
    least = 1 - closer * (1 - value)
    last = np.maximum(nearest.cosine[one, -1], nearest.cosine[other, -1])
    left = last <= least
    one, other, value, least = one[left], other[left], value[left], least[left]
    passed = _few_within(rows, bounds, (one, other, least), nearest.cosine.shape[1])
    return one[passed], other[passed], value[passed]


def _mutual(nearest: Nearest, threshold: float) -> Pairs:
    """Return pairs below the threshold, each once, of which either is among the nearest of the other."""
    n = len(nearest.other)
    one, place = np.nonzero((nearest.other >= 0) & (nearest.cosine < threshold))
    other, value = nearest.other[one, place].astype(np.int64), nearest.cosine[one, place]
    key = np.minimum(one, other) * n + np.maximum(one, other)
    keys, first, counts = np.unique(key, return_index=True, return_counts=True)
    twice = counts == 2
    return keys[twice] // n, keys[twice] % n, value[first[twice]]


def _few_within(rows: UnitRows, bounds: Bounds, pairs: Pairs, n_neighbours: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for which pairs fewer than so many rows have a cosine above that given, to the one and to the other."""
    one, other, least = pairs
    passed = np.ones(len(one), dtype=bool)
    ends, pair = np.concatenate([one, other]), np.tile(np.arange(len(one)), 2)
    order = np.argsort(ends, kind="stable")
    ends, pair = ends[order], pair[order]
    places = np.unique(ends)
    step = rows_at_once(_ROWS_AT_ONCE, rows.n_features)
    for start in range(0, len(places), step):
        here = places[start : start + step]
        within = slice(np.searchsorted(ends, here[0]), np.searchsorted(ends, here[-1], side="right"))
        alive = passed[pair[within]]
        at, of_pair = np.searchsorted(here, ends[within][alive]), pair[within][alive]
        here, at = _used(here, at)
        if len(here):
            last = _last_neighbours(rows, bounds, here, (at, least[of_pair]), n_neighbours)
            passed[of_pair[last[at] > least[of_pair]]] = False
    return passed


def _used(places: IntArray, at: IntArray) -> tuple[IntArray, IntArray]:
    used, at = np.unique(at, return_inverse=True)
    return places[used], at


def _last_neighbours(
    rows: UnitRows, bounds: Bounds, places: IntArray, pairs: tuple[IntArray, FloatArray], n_neighbours: int
) -> FloatArray:
    """Return the cosine of each row to its last neighbour, as far as it matters: -1 below the least of its pairs.

    A row of which enough neighbours are found to fail all of its pairs is not compared any further.
    """
    at, least = pairs
    lowest = np.full(len(places), 2, dtype=np.float32)
    highest = np.full(len(places), -2, dtype=np.float32)
    np.minimum.at(lowest, at, least)
    np.maximum.at(highest, at, least)
    nearest = Nearest(len(places), n_neighbours)
    active = np.arange(len(places))
    done = 0
    while len(active):
        blocks = near_rows(rows, bounds, places[active], lowest[active], first=int(places[0]), n_done=done)
        for row, cosine in blocks:
            done += 1
            nearest.add(active[row], np.zeros(len(row), dtype=np.int64), cosine)
            if done % 4 == 0 or done <= 2:
                open_still = nearest.cosine[active, -1] <= highest[active]
                if 2 * int(open_still.sum()) < len(active):
                    active = active[open_still]
                    blocks.close()
                    break
        else:
            break
    return nearest.cosine[:, -1]
