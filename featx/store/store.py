"""Rows of one recipe on disk: immutable segments, each committed by a manifest that is written last.

A third of the class is the documentation of its methods.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shlex
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import SmallSegmentsWarning, StoreError, StoreWarning
from featx.store.compaction import compact, is_small
from featx.store.layout import (
    CORRUPT_SUFFIX,
    check_format,
    check_no_links,
    prepare_cache,
    quarantine,
    read_error,
    write_description,
    write_error,
)
from featx.store.segments import (
    CorruptSegmentError,
    Segment,
    find_manifests,
    remove_leftovers,
    rows_without_manifest,
    write_segment,
)
from featx.store.snapshot import Snapshot, keep_snapshot, last_snapshot
from featx.system.array_types import BoolArray, DigestArray, FloatArray, IntArray
from featx.system.files.atomic import make_folder, sync_folder
from featx.system.formatting import format_count
from featx.system.locks import try_lock

_MAX_ATTEMPTS = 50
#: Age in seconds from which rows without a manifest and without a writer are removed.
_ORPHANED_AFTER = 600.0


class Store:
    """Rows of one recipe: find them by digest, read them, append new ones.

    Any number of processes can read and append, and one can compact segments at the same time: segments are immutable,
    and a segment exists as long as its manifest does.

    Parameters
    ----------
    cache : Path
        Path of the cache folder.
    fingerprint : str
        Name of the recipe folder.
    recipe : dict
        Recipe that is written next to the rows as a description.
    n_features : int
        Number of features of a row.
    read_only : bool, default=False
        Whether nothing in the folder is changed: leftovers and corrupt segments stay.

    Attributes
    ----------
    segment_bytes : int, default=16777216
        Size of the pending rows from which a commit is due.
    segment_seconds : float, default=30.0
        Age of the first pending row, in seconds, from which a commit is due.
    many_segments : int, default=256
        Number of small segments from which a warning suggests to compact them.
    max_tiny : int, default=64
        Number of segments of a few rows, as calls with single images leave them, from which they are merged.
    tiny_bytes : int, default=1048576
        Size below which a segment has a few rows.

    Raises
    ------
    StoreError
        The folder cannot be read, or another version of featx wrote it in another format.
    """

    segment_bytes = 16 * 2**20
    segment_seconds = 30.0
    many_segments = 256
    max_tiny = 64
    tiny_bytes = 2**20

    def __init__(
        self, cache: Path, fingerprint: str, recipe: dict[str, Any], n_features: int, *, read_only: bool = False
    ) -> None:
        self.cache = cache
        self._read_only = read_only
        self.folder = cache / "features" / fingerprint
        self.n_features = n_features
        self._recipe = recipe
        self._snapshot = last_snapshot(self.folder, read_only=read_only)
        self._pending: list[tuple[DigestArray, FloatArray]] = []
        self._pending_since = 0.0
        self._n_small = 0
        try:
            check_no_links(self.folder.parent, self.folder)
            check_format(self.cache, self.folder)
        except OSError as error:
            raise self._read_error(error) from error
        if not read_only:
            with contextlib.suppress(OSError):  # a store that is read-only or does not exist yet
                remove_leftovers(self.folder)
        self.refresh()
        self._n_small = self._count_small()
        if len(self) and not read_only:
            with contextlib.suppress(OSError):  # a store that is read-only
                write_description(self.folder, self._recipe)

    def __len__(self) -> int:
        return len(self._snapshot)

    @property
    def index_bytes(self) -> int:
        """Size of the digest tables in memory, in bytes."""
        return self._snapshot.nbytes

    @property
    def segments(self) -> list[Segment]:
        """The committed segments of the last refresh."""
        return list(self._snapshot.segments)

    # Reading ---------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Load the segments that this or another process has committed or compacted.

        Raises
        ------
        StoreError
            The folder cannot be read now.
        """
        corrupt: list[CorruptSegmentError] = []
        for attempt in itertools.count():
            try:
                snapshot = self._take_snapshot(corrupt)
            except _RemovedError as error:
                if attempt == _MAX_ATTEMPTS:
                    raise StoreError(
                        f"Cannot read {str(self.folder)!r} in the feature cache: it lists files that do not exist. The "
                        "file system is not consistent, or another process is clearing the cache. Repeat the command."
                    ) from error
                time.sleep(0.01 * attempt)
            except OSError as error:
                raise self._read_error(error) from error
            else:
                break
        self._snapshot = snapshot.without([error.manifest.name for error in corrupt]) if corrupt else snapshot
        # A store that may write reports corrupt segments as well, and renames them.
        keep_snapshot(self.folder, self._snapshot, read_only=self._read_only and bool(self._snapshot.ignored))
        self._report_corrupt(corrupt)

    def _report_corrupt(self, corrupt: list[CorruptSegmentError]) -> None:
        if corrupt:
            consequence = "They are ignored" if self._read_only else _quarantine_segments(corrupt)
            _warn_corrupt(self.folder, corrupt, consequence)

    def _take_snapshot(self, corrupt: list[CorruptSegmentError]) -> Snapshot:
        previous = self._snapshot
        names = find_manifests(self.folder) - previous.ignored - {error.manifest.name for error in corrupt}
        kept = [
            segment
            for segment in previous.segments
            if segment.name in names and segment.n_features == self.n_features and segment.is_unchanged
        ]
        new_names = names - {segment.name for segment in kept}
        opened = [self._open_segment(name, corrupt) for name in sorted(new_names)]
        added = [segment for segment in opened if segment is not None]
        if len(kept) == len(previous.segments):
            return previous.with_segments(added)
        return Snapshot(ignored=previous.ignored).with_segments([*kept, *added])

    def _open_segment(self, name: str, corrupt: list[CorruptSegmentError]) -> Segment | None:
        try:
            return Segment(self.folder / name, self.n_features)
        except CorruptSegmentError as error:
            _check_committed(error)
            corrupt.append(error)
            return None

    def _read_error(self, error: OSError) -> OSError:
        return error if isinstance(error, StoreError) else read_error(self.folder, error)

    def find(self, digests: DigestArray) -> IntArray:
        """Return the position of each row, or -1 if it is not stored.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_digests, 16)

        Returns
        -------
        ndarray of int64 of shape (n_digests,)
            Positions over all segments, valid until the next :meth:`refresh` or :meth:`read`.
        """
        return self._snapshot.find(digests)

    def read(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Return a mask of the digests that are stored, and their rows in order.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_digests, 16)

        Returns
        -------
        is_stored : ndarray of bool of shape (n_digests,)
        rows : ndarray of float32 of shape (n_stored, n_features)

        Raises
        ------
        StoreError
            The folder cannot be read now.
        """
        all_corrupt: list[CorruptSegmentError] = []
        while True:
            snapshot = self._snapshot  # other threads may replace it
            positions = snapshot.find(digests)
            is_stored = positions >= 0
            try:
                rows, corrupt = self._gather(snapshot, positions[is_stored])
            except _RemovedError:
                self.refresh()
                continue
            except OSError as error:
                raise self._read_error(error) from error
            all_corrupt += corrupt
            if not corrupt:
                self._report_corrupt(all_corrupt)
                return is_stored, rows
            self._snapshot = snapshot.without([error.manifest.name for error in corrupt])
            if not self._read_only:
                keep_snapshot(self.folder, self._snapshot)

    def _gather(self, snapshot: Snapshot, positions: IntArray) -> tuple[FloatArray, list[CorruptSegmentError]]:
        """Read rows segment by segment; return also the corrupt segments."""
        rows = np.empty((len(positions), self.n_features), dtype=np.float32)
        corrupt: list[CorruptSegmentError] = []
        numbers, offsets = snapshot.locate(positions)
        order = np.argsort(numbers, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(group):
                try:
                    rows[group] = snapshot.segments[numbers[group[0]]].read(offsets[group])
                except CorruptSegmentError as error:
                    _check_committed(error)
                    corrupt.append(error)
        return rows, corrupt

    # Writing ---------------------------------------------------------------------------------------

    def append(self, digests: DigestArray, rows: FloatArray) -> None:
        """Add pending rows, which the next :meth:`commit` writes.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_rows, 16)
        rows : ndarray of float32 of shape (n_rows, n_features)
        """
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append((digests.copy(), rows.copy()))

    @property
    def is_commit_due(self) -> bool:
        """Whether the pending rows are large or old enough for a segment."""
        if not self._pending:
            return False
        size = sum(rows.nbytes for _, rows in self._pending)
        return size >= self.segment_bytes or time.monotonic() - self._pending_since >= self.segment_seconds

    def commit(self) -> None:
        """Write the pending rows as one segment, and refresh.

        Raises
        ------
        StoreError
            The folder cannot be written. Committed rows are safe.
        """
        if not self._pending:
            return
        digests = np.concatenate([digests for digests, _ in self._pending])
        rows = np.concatenate([rows for _, rows in self._pending])
        try:
            try:
                self._write(digests, rows)
            except FileNotFoundError:  # another process has cleared the cache
                self.prepare()
                self._write(digests, rows)
        except OSError as error:
            self._pending.clear()
            raise error if isinstance(error, StoreError) else write_error(self.cache, error) from error
        self._pending.clear()  # only now: after an interrupt, the next commit writes them
        self.refresh()
        self._merge_tiny()
        self._warn_of_small_segments()

    def _write(self, digests: DigestArray, rows: FloatArray) -> None:
        write_segment(self.folder / f"{uuid.uuid4().hex}.json", digests, rows)
        sync_folder(self.folder)

    def _count_small(self) -> int:
        return sum(map(is_small, self._snapshot.segments))

    def _merge_tiny(self) -> None:
        """Merge segments of a few rows if there are many: hundreds of small calls must not leave hundreds of files."""
        max_bytes = 2 * self.tiny_bytes
        tiny = [segment.manifest for segment in self._snapshot.segments if is_small(segment, max_bytes)]
        if len(tiny) < self.max_tiny:
            return
        with try_lock(f"compacting {self.cache.resolve()}") as is_locked, contextlib.suppress(OSError):
            # Files of other users may not be removable, and their rows would be merged again and again.
            own = {getattr(os, "geteuid", int)()}  # Windows has no users here: 0
            if is_locked and {manifest.stat().st_uid for manifest in tiny} == own:
                compact(self.folder, max_bytes)  # after an error, a later commit merges them: no row is lost
        self.refresh()

    def _warn_of_small_segments(self) -> None:
        """Suggest to compact many small segments, once for each power of two."""
        previous, self._n_small = self._n_small, self._count_small()
        if self._n_small >= self.many_segments and self._n_small.bit_length() > previous.bit_length():
            warnings.warn(
                f"The feature cache has {self._n_small} small segments in {str(self.folder)!r}, which slow down "
                f"opening it. Merge them with featx cache compact --cache {shlex.quote(str(self.cache))}",
                SmallSegmentsWarning,
                stacklevel=2,
            )

    def prepare(self) -> None:
        """Create the folders and the description.

        Raises
        ------
        StoreError
            The cache folder cannot be written.
        """
        prepare_cache(self.cache)
        try:
            make_folder(self.folder)
            if not os.access(self.folder, os.W_OK | os.X_OK):  # that of another user, for example
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))
            write_description(self.folder, self._recipe)
            self._remove_orphans()
        except OSError as error:
            raise error if isinstance(error, StoreError) else write_error(self.cache, error) from error

    def _remove_orphans(self) -> None:
        """Remove old rows that have neither a manifest nor a writer."""
        for path in rows_without_manifest(self.folder):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if time.time() - path.lstat().st_mtime > _ORPHANED_AFTER:
                    path.unlink()


def _quarantine_segments(corrupt: list[CorruptSegmentError]) -> str:
    """Rename corrupt segments; return what was done, for a message."""
    consequence = f"They were renamed to *{CORRUPT_SUFFIX}"
    for error in corrupt:
        # The manifest last: rows without a manifest would be removed.
        for path in (error.manifest.with_suffix(".npy"), error.manifest):
            try:
                quarantine(path)
            except FileNotFoundError:
                continue
            except OSError as reason:
                consequence = f"They are ignored, as they cannot be renamed ({reason.strerror})"
    return consequence


def _warn_corrupt(folder: Path, corrupt: list[CorruptSegmentError], consequence: str) -> None:
    first = corrupt[0]
    warnings.warn(
        f"{format_count(len(corrupt), 'corrupt segment')} in {str(folder)!r}, the first is {first.path.name} "
        f"({first.reason}). {consequence}; their rows are extracted again.",
        StoreWarning,
        stacklevel=4,
    )


def _check_committed(error: CorruptSegmentError) -> None:
    """Raise :class:`_RemovedError` if a segment is not corrupt, but was removed since it was listed."""
    if not error.is_committed:
        raise _RemovedError from error


class _RemovedError(Exception):
    """A listed segment does not exist any more: it was compacted or cleared."""
