"""What is committed in a folder at one moment; the last ones are remembered, so that opening again costs little."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from featx.lookup import DigestOrder
from featx.segments import Segment

_KEPT = 2


class View(NamedTuple):
    """Segments and the order of their digests; replaced as a whole, so that threads never see half of a change."""

    segments: list[Segment]
    order: DigestOrder

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> View:
        """Return the view of these segments."""
        held = list(segments)
        order = DigestOrder([segment.digests for segment in held])
        for number, segment in enumerate(held):
            segment.digests = order.digests_of(number)  # the same values, held once
        return cls(held, order)

    def without(self, manifest: Path) -> View:
        """Return the view of all segments but one."""
        return View.of(segment for segment in self.segments if segment.manifest != manifest)


_remembered: collections.OrderedDict[Path, View] = collections.OrderedDict()
_lock = threading.Lock()


def last_of(folder: Path) -> View:
    """Return what this process knew last of a folder: the folds of a search open one store again and again."""
    with _lock:
        return _remembered.get(folder.absolute()) or View.of([])


def remember(folder: Path, view: View) -> None:
    """Keep a view for :func:`last_of`."""
    with _lock:
        _remembered[folder.absolute()] = view
        _remembered.move_to_end(folder.absolute())
        while len(_remembered) > _KEPT:
            _remembered.popitem(last=False)
