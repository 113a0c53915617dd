"""Many small segments of a recipe → few large ones, while others read and write."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featx.store.digest_table import DigestOrder
from featx.store.segments import DamagedSegmentError, Segment, find_manifests, remove_segment, write_segment
from featx.system.array_types import DigestArray, FloatArray, IntArray
from featx.system.files.atomic import sync_folder
from featx.system.formatting import format_count

#: Segments grow to this many bytes of rows: few enough files for millions of rows, and small enough that proving one
#: whole before its first use takes a fraction of a second.
LARGE_BYTES = 128 * 2**20


@dataclasses.dataclass(frozen=True)
class Compaction:
    """What compacting a recipe's folder did.

    Attributes
    ----------
    before, after : int
        Segments, damaged ones not counted.
    rows : int
        Rows that were moved.
    repeated : int
        Rows that were there twice, as when two processes extract one image at the same time, and are now there once.
    damaged : list of DamagedSegmentError
        Segments that were left as they are.
    """

    before: int
    after: int
    rows: int
    repeated: int
    damaged: list[DamagedSegmentError]

    def as_dict(self) -> dict[str, int]:
        """Return what ``featx cache compact --json`` prints, with the number of damaged segments."""
        return {
            "before": self.before,
            "after": self.after,
            "rows": self.rows,
            "repeated": self.repeated,
            "damaged": len(self.damaged),
        }

    def as_text(self) -> str:
        """Return a line for people."""
        if self.before == self.after:
            return f"{format_count(self.before, 'segment')}, nothing to merge"
        repeated = f", {format_count(self.repeated, 'repeated row')} dropped" if self.repeated else ""
        return (
            f"{format_count(self.before, 'segment')} → {self.after}, {format_count(self.rows, 'row')} moved{repeated}"
        )


def is_small(segment: Segment) -> bool:
    """Return whether merging the segment with others is worth it."""
    return segment.nbytes < LARGE_BYTES // 2


def compact(folder: Path) -> Compaction:
    """Merge the small segments of a recipe's folder.

    Each merged segment is committed before the first of its parts is removed, so at every moment every row is in
    a committed segment, whatever is killed; and readers that find a segment gone look again.

    Parameters
    ----------
    folder : Path
        ``features/<fingerprint>`` of a cache.

    Raises
    ------
    OSError
        The folder cannot be read or written; every row is still there.
    """
    damaged: list[DamagedSegmentError] = []
    segments = list(_opened(folder, damaged))
    n_after, n_rows, n_repeated = len(segments), 0, 0
    for group in _groups([segment for segment in segments if is_small(segment)]):
        parts, digests, rows = _joined(group, damaged)
        if len(parts) < 2 or not all(segment.is_unchanged for segment in parts):  # another compaction has them
            continue
        write_segment(folder / f"{uuid.uuid4().hex}.json", digests, rows)
        sync_folder(folder)
        for segment in parts:
            remove_segment(segment.manifest)
        n_after -= len(parts) - 1
        n_rows += len(rows)
        n_repeated += sum(len(segment.digests) for segment in parts) - len(rows)
    return Compaction(len(segments), n_after, n_rows, n_repeated, damaged)


def _opened(folder: Path, damaged: list[DamagedSegmentError]) -> Iterator[Segment]:
    for name in sorted(find_manifests(folder)):
        try:
            yield Segment(folder / name)
        except DamagedSegmentError as error:
            if error.is_of_a_committed_segment:  # else another compaction was quicker
                damaged.append(error)


def _groups(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Yield segments that fit into one large one, rows of equal length together; the smallest first."""
    group: list[Segment] = []
    for segment in sorted(segments, key=lambda segment: (segment.n_features, segment.nbytes)):
        full = sum(part.nbytes for part in group) + segment.nbytes > LARGE_BYTES
        if group and (full or segment.n_features != group[0].n_features):
            yield group
            group = []
        group.append(segment)
    if group:
        yield group


def _joined(group: list[Segment], damaged: list[DamagedSegmentError]) -> tuple[list[Segment], DigestArray, FloatArray]:
    """Return the segments that are whole, and the rows of all of them, each digest's once."""
    order = DigestOrder([segment.digests for segment in group])
    parts, digests, rows = [], [], []
    seen = np.zeros(len(order), dtype=bool)
    for segment in group:
        try:
            whole = segment.read_all()
        except DamagedSegmentError as error:
            if error.is_of_a_committed_segment:
                damaged.append(error)
            continue
        places = order.find(segment.digests)  # equal digests have one place
        fresh = ~seen[places]
        fresh[fresh] = _first_of_each(places[fresh])
        seen[places] = True
        parts.append(segment)
        digests.append(segment.digests[fresh])
        rows.append(whole[fresh])
    empty = np.empty((0, group[0].n_features), dtype=np.float32)
    return parts, np.concatenate([order.digests_of(0)[:0], *digests]), np.concatenate([empty, *rows])


def _first_of_each(places: IntArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    first = np.zeros(len(places), dtype=bool)
    first[np.unique(places, return_index=True)[1]] = True
    return first
