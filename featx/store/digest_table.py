"""Sorted table of the digests of segments: look up where the row of a digest is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.images.image import DIGEST_SIZE
from featx.system.array_types import DigestArray, IntArray


class DigestTable:
    """Sorted digests of segments. A lookup is a binary search.

    The table takes 32 bytes per row: the digests, their sorted first halves, and the position of each.

    Parameters
    ----------
    segments : sequence of ndarray of uint8 of shape (n_rows, 16)
        Digests of each segment. Positions count rows over all segments.
    """

    def __init__(self, segments: Sequence[DigestArray]) -> None:
        self._starts = np.cumsum([0, *(len(digests) for digests in segments)], dtype=np.int64)
        joined = np.empty((int(self._starts[-1]), DIGEST_SIZE), dtype=np.uint8)
        for start, digests in zip(self._starts, segments, strict=False):
            joined[start : start + len(digests)] = digests
        self._halves = joined.view(np.uint64).reshape(-1, 2)
        first_halves = self._halves[:, 0].copy()
        self._positions: IntArray = np.argsort(first_halves)
        self._first_halves = first_halves[self._positions]

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return len(self._starts) - 1

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return self._halves.nbytes + self._positions.nbytes + self._first_halves.nbytes + self._starts.nbytes

    def find(self, digests: DigestArray) -> IntArray:
        """Return the position of each digest, or -1.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_digests, 16)

        Returns
        -------
        ndarray of int64 of shape (n_digests,)
        """
        positions = np.full(len(digests), -1, dtype=np.int64)
        if not len(self._positions) or not len(digests):
            return positions
        halves = np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 2)
        ranks = np.searchsorted(self._first_halves, halves[:, 0])
        pending = np.arange(len(halves))
        while len(pending):  # more than one round only where first halves are equal
            pending_ranks = ranks[pending]
            is_equal = pending_ranks < len(self._first_halves)
            is_equal[is_equal] = self._first_halves[pending_ranks[is_equal]] == halves[pending[is_equal], 0]
            pending = pending[is_equal]
            candidates = self._positions[pending_ranks[is_equal]]
            is_match = self._halves[candidates, 1] == halves[pending, 1]
            positions[pending[is_match]] = candidates[is_match]
            pending = pending[~is_match]
            ranks[pending] += 1
        return positions

    def digests_of(self, segment: int) -> DigestArray:
        """Return the digests of the segment with this number."""
        halves = self._halves[self._starts[segment] : self._starts[segment + 1]]
        return halves.view(np.uint8).reshape(-1, DIGEST_SIZE)

    def locate(self, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return the number of the segment of each position, and the offset in the segment."""
        segments = np.searchsorted(self._starts, positions, side="right") - 1
        return segments, positions - self._starts[segments]
