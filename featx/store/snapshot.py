"""What is committed in a folder at one moment; the last ones are remembered, so that opening again costs little."""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from featx.store.digest_table import DigestOrder
from featx.store.segments import Segment
from featx.system.array_types import DigestArray, IntArray

_KEPT = 2


@dataclasses.dataclass(frozen=True)
class View:
    """Segments, and where the row of each digest is; never changed, so that threads see no half of a change.

    Digests are sorted in a few layers, each at least twice as large as the next: taking a segment in sorts what is
    of its own size, and not millions of rows again.

    Attributes
    ----------
    segments : tuple of Segment
        In the order of the layers.
    layers : tuple of DigestOrder
        Each over the next ``n_segments`` of the segments.
    passed_over : frozenset of str
        Names of manifests that are known to be damaged.
    """

    segments: tuple[Segment, ...] = ()
    layers: tuple[DigestOrder, ...] = ()
    passed_over: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return sum(map(len, self.layers))

    @property
    def nbytes(self) -> int:
        """Memory that finding rows takes."""
        return sum(layer.nbytes for layer in self.layers)

    def plus(self, added: Iterable[Segment]) -> View:
        """Return the view of these segments and the ones before."""
        fresh = list(added)
        if not fresh:
            return self
        kept, layers = list(self.segments), list(self.layers)
        n_rows = sum(len(segment.digests) for segment in fresh)
        while layers and len(layers[-1]) < 2 * n_rows:
            n_segments = layers[-1].n_segments
            n_rows += len(layers.pop())
            fresh = kept[len(kept) - n_segments :] + fresh
            del kept[len(kept) - n_segments :]
        order = DigestOrder([segment.digests for segment in fresh])
        for number, segment in enumerate(fresh):
            segment.digests = order.digests_of(number)  # the same values, held once
        return dataclasses.replace(self, segments=(*kept, *fresh), layers=(*layers, order))

    def without(self, manifests: Collection[str]) -> View:
        """Return the view of the other segments, which passes over these."""
        passed_over = self.passed_over.union(manifests)
        rest = [segment for segment in self.segments if segment.name not in passed_over]
        return View(passed_over=passed_over).plus(rest)

    def find(self, digests: DigestArray) -> IntArray:
        """Return the place of each digest, counted over all segments, or -1."""
        places = np.full(len(digests), -1, dtype=np.int64)
        first = 0
        for layer in self.layers:
            unsettled = np.flatnonzero(places < 0)
            found = layer.find(digests[unsettled])
            places[unsettled[found >= 0]] = found[found >= 0] + first
            first += len(layer)
        return places

    def locate(self, places: IntArray) -> tuple[IntArray, IntArray]:
        """Return the number of each place's segment, and its offset there."""
        numbers, offsets = np.empty_like(places), np.empty_like(places)
        first_row, first_segment = 0, 0
        for layer in self.layers:
            here = (places >= first_row) & (places < first_row + len(layer))
            found, offsets[here] = layer.locate(places[here] - first_row)
            numbers[here] = found + first_segment
            first_row += len(layer)
            first_segment += layer.n_segments
        return numbers, offsets


_remembered: collections.OrderedDict[Path, View] = collections.OrderedDict()
_lock = threading.Lock()


def last_of(folder: Path) -> View:
    """Return what this process knew last of a folder: the folds of a search open one store again and again."""
    with _lock:
        return _remembered.get(folder.absolute(), View())


def remember(folder: Path, view: View) -> None:
    """Keep a view for :func:`last_of`."""
    with _lock:
        _remembered[folder.absolute()] = view
        _remembered.move_to_end(folder.absolute())
        while len(_remembered) > _KEPT:
            _remembered.popitem(last=False)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  # another thread may have held it, and is not here to release it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
