"""Snapshot of the committed segments of a folder. Recent ones are kept, so that opening a store again is fast."""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from featx.store.digest_table import DigestTable
from featx.store.segments import Segment
from featx.system.array_types import DigestArray, IntArray

#: More snapshots than two are kept up to this number and size: a service uses several models, or several views.
_MAX_SNAPSHOTS = 64
_MAX_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Segments, and the position of the row of each digest. Immutable, so that threads see consistent states.

    Digests are sorted in a few tables, each at least twice as large as the next: adding a segment sorts rows in the
    order of its own size, not all rows.

    Attributes
    ----------
    segments : tuple of Segment
        In the order of the tables.
    tables : tuple of DigestTable
        Each one covers the next ``n_segments`` segments.
    ignored : frozenset of str
        Names of corrupt manifests.
    """

    segments: tuple[Segment, ...] = ()
    tables: tuple[DigestTable, ...] = ()
    ignored: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return sum(map(len, self.tables))

    @property
    def nbytes(self) -> int:
        """Size of the tables in memory, in bytes."""
        return sum(table.nbytes for table in self.tables)

    def with_segments(self, added: Iterable[Segment]) -> Snapshot:
        """Return a snapshot with additional segments."""
        new = list(added)
        if not new:
            return self
        segments, tables = list(self.segments), list(self.tables)
        n_rows = sum(len(segment.digests) for segment in new)
        while tables and len(tables[-1]) < 2 * n_rows:  # merge small tables with the new one
            n_segments = tables[-1].n_segments
            n_rows += len(tables.pop())
            new = segments[len(segments) - n_segments :] + new
            del segments[len(segments) - n_segments :]
        table = DigestTable([segment.digests for segment in new])
        for number, segment in enumerate(new):
            segment.digests = table.digests_of(number)  # share memory with the table
        return dataclasses.replace(self, segments=(*segments, *new), tables=(*tables, table))

    def without(self, manifests: Collection[str]) -> Snapshot:
        """Return a snapshot that ignores the segments of these manifests."""
        ignored = self.ignored.union(manifests)
        rest = [segment for segment in self.segments if segment.name not in ignored]
        return Snapshot(ignored=ignored).with_segments(rest)

    def find(self, digests: DigestArray) -> IntArray:
        """Return the position of each digest, counted over all segments, or -1."""
        positions = np.full(len(digests), -1, dtype=np.int64)
        first_row = 0
        for table in self.tables:
            pending = np.flatnonzero(positions < 0)
            table_positions = table.find(digests[pending])
            positions[pending[table_positions >= 0]] = table_positions[table_positions >= 0] + first_row
            first_row += len(table)
        return positions

    def locate(self, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return the number of the segment of each position, and the offset in the segment."""
        numbers, offsets = np.empty_like(positions), np.empty_like(positions)
        first_row, first_segment = 0, 0
        for table in self.tables:
            mask = (positions >= first_row) & (positions < first_row + len(table))
            table_numbers, offsets[mask] = table.locate(positions[mask] - first_row)
            numbers[mask] = table_numbers + first_segment
            first_row += len(table)
            first_segment += table.n_segments
        return numbers, offsets


_snapshots: collections.OrderedDict[tuple[Path, bool], Snapshot] = collections.OrderedDict()
_lock = threading.Lock()


def last_snapshot(folder: Path, *, read_only: bool = False) -> Snapshot:
    """Return the last snapshot of a folder in this process: the folds of a search open the same store repeatedly."""
    folder = folder.absolute()
    with _lock:
        shared = _snapshots.get((folder, False), Snapshot())
        return _snapshots.get((folder, True), shared) if read_only else shared


def keep_snapshot(folder: Path, snapshot: Snapshot, *, read_only: bool = False) -> None:
    """Keep a snapshot for :func:`last_snapshot`; with `read_only`, only for stores that are only read."""
    key = (folder.absolute(), read_only)
    with _lock:
        _snapshots[key] = snapshot
        _snapshots.move_to_end(key)
        n_bytes = sum(kept.nbytes for kept in _snapshots.values())
        while len(_snapshots) > _MAX_SNAPSHOTS or (n_bytes > _MAX_BYTES and len(_snapshots) > 2):
            n_bytes -= _snapshots.popitem(last=False)[1].nbytes


def _reset_lock_after_fork() -> None:
    global _lock  # noqa: PLW0603  # a thread of the parent may hold it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_lock_after_fork)
