"""Merge the small segments of a recipe into large ones, while other processes read and write."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.store.digest_table import DigestTable
from featx.store.segments import CorruptSegmentError, Segment, find_manifests, remove_segment, write_segment
from featx.system.array_types import BoolArray, DigestArray, FloatArray, IntArray
from featx.system.files.atomic import sync_folder
from featx.system.formatting import format_count

#: Maximum size of a merged segment: few files for millions of rows, and verified in a fraction of a second.
MAX_SEGMENT_BYTES = 128 * 2**20


@dataclasses.dataclass(frozen=True)
class Compaction:
    """Result of compacting a recipe folder.

    Attributes
    ----------
    before, after : int
        Number of intact segments.
    rows : int
        Number of rows that were moved.
    repeated : int
        Number of rows that were stored twice and are now stored once.
    corrupt : list of CorruptSegmentError
        Corrupt segments, which were not changed.
    """

    before: int
    after: int
    rows: int
    repeated: int
    corrupt: list[CorruptSegmentError]

    def as_dict(self) -> dict[str, int]:
        """Return the fields as JSON types, with the number of corrupt segments."""
        return {**vars(self), "corrupt": len(self.corrupt)}

    def as_text(self) -> str:
        """Return a human-readable line."""
        if self.before == self.after:
            return f"{format_count(self.before, 'segment')}, nothing to merge"
        repeated = f", {format_count(self.repeated, 'repeated row')} dropped" if self.repeated else ""
        moved = format_count(self.rows, "row")
        return f"{format_count(self.before, 'segment')} → {self.after}, {moved} moved{repeated}"


def is_small(segment: Segment, max_bytes: int = MAX_SEGMENT_BYTES) -> bool:
    """Return whether a segment is so small that it should be merged with others."""
    return segment.nbytes < max_bytes // 2


def compact(folder: Path, max_bytes: int = MAX_SEGMENT_BYTES) -> Compaction:
    """Merge the small segments of a recipe folder.

    A merged segment is committed before the first of its parts is removed. So each row is in a committed segment at any
    time, even after a kill, and readers that miss a segment look again.

    Parameters
    ----------
    folder : Path
        Path of ``features/<fingerprint>`` in a cache.
    max_bytes : int
        Maximum size of a merged segment. Segments of half this size and more are kept.

    Raises
    ------
    OSError
        The folder cannot be read or written. No row is lost.
    """
    corrupt: list[CorruptSegmentError] = []
    segments = list(_open_segments(folder, corrupt))
    n_after, n_rows, n_repeated = len(segments), 0, 0
    for group in _groups([segment for segment in segments if is_small(segment, max_bytes)], max_bytes):
        parts, digests, rows = _merge(group, corrupt)
        if len(parts) < 2 or not all(segment.is_unchanged for segment in parts):  # another process is compacting
            continue
        write_segment(folder / f"{uuid.uuid4().hex}.json", digests, rows)
        sync_folder(folder)
        for segment in parts:
            remove_segment(segment.manifest)
        n_after -= len(parts) - 1
        n_rows += len(rows)
        n_repeated += sum(len(segment.digests) for segment in parts) - len(rows)
    return Compaction(len(segments), n_after, n_rows, n_repeated, corrupt)


def _open_segments(folder: Path, corrupt: list[CorruptSegmentError]) -> Iterator[Segment]:
    for name in sorted(find_manifests(folder)):
        try:
            yield Segment(folder / name)
        except CorruptSegmentError as error:
            if error.is_committed:  # otherwise another process has compacted it
                corrupt.append(error)


def _groups(segments: list[Segment], max_bytes: int) -> Iterator[list[Segment]]:
    """Yield groups of segments with the same number of features that fit into one segment, smallest first."""
    group: list[Segment] = []
    for segment in sorted(segments, key=lambda segment: (segment.n_features, segment.nbytes)):
        is_full = sum(part.nbytes for part in group) + segment.nbytes > max_bytes
        if group and (is_full or segment.n_features != group[0].n_features):
            yield group
            group = []
        group.append(segment)
    if group:
        yield group


def _merge(group: list[Segment], corrupt: list[CorruptSegmentError]) -> tuple[list[Segment], DigestArray, FloatArray]:
    """Return the intact segments of a group, and the digests and rows of all of them, each digest once."""
    table = DigestTable([segment.digests for segment in group])
    parts, digests, rows = [], [], []
    is_seen = np.zeros(len(table), dtype=bool)
    for segment in group:
        try:
            segment_rows = segment.read_all()
        except CorruptSegmentError as error:
            if error.is_committed:
                corrupt.append(error)
            continue
        positions = table.find(segment.digests)  # the same for equal digests
        is_new = ~is_seen[positions]
        is_new[is_new] = _is_first(positions[is_new])
        is_seen[positions] = True
        parts.append(segment)
        digests.append(segment.digests[is_new])
        rows.append(segment_rows[is_new])
    no_rows = np.empty((0, group[0].n_features), dtype=np.float32)
    return parts, np.concatenate([table.digests_of(0)[:0], *digests]), np.concatenate([no_rows, *rows])


def _is_first(positions: IntArray) -> BoolArray:
    """Return a mask of the first occurrence of each position."""
    mask = np.zeros(len(positions), dtype=bool)
    mask[np.unique(positions, return_index=True)[1]] = True
    return mask
