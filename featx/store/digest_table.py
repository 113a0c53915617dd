"""Where the row of a digest is: one sorted table over all segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.images.image import DIGEST_SIZE
from featx.system.array_types import DigestArray, IntArray


class DigestOrder:
    """Digests of segments in sorted order: a lookup is a binary search.

    It takes 32 bytes a row: the digests as they are, and their first halves, sorted, with the place of each.

    Parameters
    ----------
    segments : sequence of ndarray of uint8, shape (n_rows, 16)
        The digests of each segment. Places count rows over all segments.
    """

    def __init__(self, segments: Sequence[DigestArray]) -> None:
        self._starts = np.cumsum([0, *(len(digests) for digests in segments)], dtype=np.int64)
        joined = np.empty((int(self._starts[-1]), DIGEST_SIZE), dtype=np.uint8)
        for start, digests in zip(self._starts, segments, strict=False):
            joined[start : start + len(digests)] = digests
        self._halves = joined.view(np.uint64).reshape(-1, 2)
        first = self._halves[:, 0].copy()
        self._places: IntArray = np.argsort(first)
        self._first = first[self._places]

    def __len__(self) -> int:
        return len(self._places)

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return len(self._starts) - 1

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._halves.nbytes + self._places.nbytes + self._first.nbytes + self._starts.nbytes

    def find(self, digests: DigestArray) -> IntArray:
        """Return the place of each digest, or -1.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        places = np.full(len(digests), -1, dtype=np.int64)
        if not len(self._places) or not len(digests):
            return places
        wanted = np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 2)
        at = np.searchsorted(self._first, wanted[:, 0])
        unsettled = np.arange(len(wanted))
        while len(unsettled):  # more than one round only where first halves collide
            here = at[unsettled]
            inside = here < len(self._first)
            inside[inside] = self._first[here[inside]] == wanted[unsettled[inside], 0]
            unsettled = unsettled[inside]
            candidates = self._places[here[inside]]
            equal = self._halves[candidates, 1] == wanted[unsettled, 1]
            places[unsettled[equal]] = candidates[equal]
            unsettled = unsettled[~equal]
            at[unsettled] += 1
        return places

    def digests_of(self, segment: int) -> DigestArray:
        """Return the digests of a segment, by its number, as they were given."""
        own = self._halves[self._starts[segment] : self._starts[segment + 1]]
        return own.view(np.uint8).reshape(-1, DIGEST_SIZE)

    def locate(self, places: IntArray) -> tuple[IntArray, IntArray]:
        """Return the segment of each place, and its offset there."""
        segments = np.searchsorted(self._starts, places, side="right") - 1
        return segments, places - self._starts[segments]
