"""The rows of one recipe on disk: immutable segments, each committed by the manifest written last."""

from __future__ import annotations

import contextlib
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
from featx.store import layout as folders
from featx.store import snapshot as views
from featx.store.compaction import is_small
from featx.store.layout import DAMAGED
from featx.store.segments import (
    FORMAT,
    DamagedSegmentError,
    Segment,
    find_manifests,
    remove_leftovers,
    rows_without_manifest,
    write_segment,
)
from featx.system.array_types import DigestArray, FloatArray, IntArray
from featx.system.files.atomic import make_folder, sync_folder
from featx.system.formatting import format_count

#: A segment is committed when it has this many bytes of rows, or this many seconds after its first row.
SEGMENT_BYTES = 16 * 2**20
SEGMENT_SECONDS = 30.0
_MANY_SEGMENTS = 256
_ATTEMPTS = 50
#: Rows without a manifest and without a trace of their writer are removed after this many seconds.
_ORPHANED_AFTER = 600.0


class Store:
    """Rows of one recipe: find them by digest, read them, append new ones.

    Any number of processes may read and append at once, and one may merge segments meanwhile: segments
    never change, and a segment exists as long as its manifest does.

    Parameters
    ----------
    cache : Path
        The cache folder.
    fingerprint : str
        Names the recipe's folder.
    recipe : dict
        Written beside the rows for people to read.
    n_features : int
        Length of a row.

    Raises
    ------
    StoreError
        The folder cannot be read, or a newer featx wrote it.
    """

    def __init__(self, cache: Path, fingerprint: str, recipe: dict[str, Any], n_features: int) -> None:
        self.cache = cache
        self.folder = cache / "features" / fingerprint
        self.n_features = n_features
        self._recipe = recipe
        self._view = views.last_of(self.folder)
        self._pending: list[tuple[DigestArray, FloatArray]] = []
        self._pending_since = 0.0
        self._n_small = 0
        try:
            folders.refuse_links(self.folder.parent, self.folder)
            folders.check_format(self.folder, FORMAT)
        except OSError as error:
            raise self._not_readable(error) from error
        with contextlib.suppress(OSError):  # a store that can only be read, or is not there yet
            remove_leftovers(self.folder)
        self.refresh()
        self._n_small = self._count_small()
        if len(self):
            with contextlib.suppress(OSError):  # as above
                folders.describe(self.folder, self._recipe, FORMAT)

    def __len__(self) -> int:
        return len(self._view)

    @property
    def index_bytes(self) -> int:
        """Memory that finding rows takes."""
        return self._view.nbytes

    @property
    def segments(self) -> list[Segment]:
        """The committed segments that this process knows of."""
        return list(self._view.segments)

    # Reading ---------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what this or another process has committed or merged since.

        Raises
        ------
        StoreError
            The folder cannot be read just now.
        """
        damaged: list[DamagedSegmentError] = []
        for attempt in itertools.count():
            try:
                view = self._view_now(damaged)
            except _GoneError as error:
                if attempt == _ATTEMPTS:
                    raise StoreError(
                        f"The store {str(self.folder)!r} lists files that are not there: a network file system, or "
                        "somebody clearing it without end. Run the same again."
                    ) from error
                time.sleep(0.01 * attempt)
            except OSError as error:
                raise self._not_readable(error) from error
            else:
                break
        self._view = view.without([error.manifest.name for error in damaged]) if damaged else view
        views.remember(self.folder, self._view)
        self._set_aside(damaged)

    def _view_now(self, damaged: list[DamagedSegmentError]) -> views.View:
        before = self._view
        names = find_manifests(self.folder) - before.passed_over - {error.manifest.name for error in damaged}
        kept = [
            segment
            for segment in before.segments
            if segment.name in names and segment.n_features == self.n_features and segment.is_unchanged
        ]
        known = {segment.name for segment in kept}
        opened = [self._open(name, damaged) for name in sorted(names - known)]
        added = [segment for segment in opened if segment is not None]
        if len(kept) == len(before.segments):
            return before.plus(added)
        return views.View(passed_over=before.passed_over).plus([*kept, *added])

    def _open(self, name: str, damaged: list[DamagedSegmentError]) -> Segment | None:
        try:
            return Segment(self.folder / name, self.n_features)
        except DamagedSegmentError as error:
            _check_not_gone(error)
            damaged.append(error)
            return None

    def _not_readable(self, error: OSError) -> OSError:
        if isinstance(error, StoreError):
            return error
        where = str(error.filename or self.folder)
        return StoreError(
            f"{where!r} in the store cannot be read: {error.strerror or error}. Nothing was changed. "
            "Mend the cause (permissions, open files, the disk) or choose another cache folder."
        )

    def _set_aside(self, damaged: list[DamagedSegmentError]) -> None:
        """Rename damaged segments, so that they are kept, warned of once, and extracted anew."""
        if not damaged:
            return
        consequence = f"Set aside as '*{DAMAGED}'"
        for error in damaged:
            # The manifest last: until it has another name, it vouches for rows that must not be cleared away.
            for path in (error.manifest.with_suffix(".npy"), error.manifest):
                try:
                    os.replace(path, f"{path}{DAMAGED}")
                except FileNotFoundError:
                    continue
                except OSError as reason:
                    consequence = f"Passed over, as they cannot be renamed ({reason.strerror})"
        first = damaged[0]
        warnings.warn(
            f"{format_count(len(damaged), 'damaged segment')} in {str(self.folder)!r}, the first is {first.path.name} "
            f"({first.reason}). {consequence}; their rows are extracted anew.",
            StoreWarning,
            stacklevel=3,
        )

    def find(self, digests: DigestArray) -> IntArray:
        """Return where each row is, -1 where it is not stored.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)

        Returns
        -------
        ndarray of int64, shape (n,)
            Counted over all segments; good until the next :meth:`refresh` or :meth:`read`.
        """
        return self._view.find(digests)

    def read(self, digests: DigestArray) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], FloatArray]:
        """Return which rows are stored, and those rows in order.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)

        Returns
        -------
        found : ndarray of bool, shape (n,)
        rows : ndarray of float32, shape (found.sum(), n_features)

        Raises
        ------
        StoreError
            The folder cannot be read just now.
        """
        all_damaged: list[DamagedSegmentError] = []
        while True:
            view = self._view  # one and the same throughout, whatever other threads do
            places = view.find(digests)
            found = places >= 0
            try:
                rows, damaged = self._gather(view, places[found])
            except _GoneError:
                self.refresh()
                continue
            except OSError as error:
                raise self._not_readable(error) from error
            all_damaged += damaged
            if not damaged:
                self._set_aside(all_damaged)
                return found, rows
            self._view = view.without([error.manifest.name for error in damaged])
            views.remember(self.folder, self._view)

    def _gather(self, view: views.View, places: IntArray) -> tuple[FloatArray, list[DamagedSegmentError]]:
        """Read rows segment by segment, never one by one; return also the segments that proved damaged."""
        rows = np.empty((len(places), self.n_features), dtype=np.float32)
        damaged: list[DamagedSegmentError] = []
        numbers, offsets = view.locate(places)
        order = np.argsort(numbers, kind="stable")
        for here in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(here):
                try:
                    rows[here] = view.segments[numbers[here[0]]].read(offsets[here])
                except DamagedSegmentError as error:
                    _check_not_gone(error)
                    damaged.append(error)
        return rows, damaged

    # Writing ---------------------------------------------------------------------------------------

    def append(self, digests: DigestArray, rows: FloatArray) -> None:
        """Add rows, to be written by the next :meth:`commit`.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)
        rows : ndarray of float32, shape (n, n_features)
        """
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append((digests.copy(), rows.copy()))

    @property
    def is_commit_due(self) -> bool:
        """Whether the rows added since the last commit are many or old."""
        if not self._pending:
            return False
        size = sum(rows.nbytes for _, rows in self._pending)
        return size >= SEGMENT_BYTES or time.monotonic() - self._pending_since >= SEGMENT_SECONDS

    def commit(self) -> None:
        """Write the rows that were added as one segment; from then on they are never lost.

        :meth:`find` sees them from then on, and with them what other processes have committed.

        Raises
        ------
        StoreError
            The folder cannot be written; what was committed before is untouched.
        """
        if not self._pending:
            return
        digests = np.concatenate([digest for digest, _ in self._pending])
        rows = np.concatenate([row for _, row in self._pending])
        try:
            try:
                self._write(digests, rows)
            except FileNotFoundError:  # somebody has cleared the cache meanwhile
                self.prepare()
                self._write(digests, rows)
        except OSError as error:
            self._pending.clear()
            raise error if isinstance(error, StoreError) else folders.not_writable(self.cache, error) from error
        self._pending.clear()  # only now: an interrupt before this leaves them to the next commit
        self.refresh()
        self._hint_at_small_segments()

    def _write(self, digests: DigestArray, rows: FloatArray) -> None:
        write_segment(self.folder / f"{uuid.uuid4().hex}.json", digests, rows)
        sync_folder(self.folder)

    def _count_small(self) -> int:
        return sum(map(is_small, self._view.segments))

    def _hint_at_small_segments(self) -> None:
        """Say that many small segments slow opening down; merging them is left to a moment that the user chooses."""
        before, self._n_small = self._n_small, self._count_small()
        if self._n_small >= _MANY_SEGMENTS and self._n_small.bit_length() > before.bit_length():  # 256, 512, 1024 …
            warnings.warn(
                f"The store {str(self.folder)!r} has {self._n_small} small segments, which slow down opening it. Merge "
                f"them when it suits you: featx cache compact --cache {shlex.quote(str(self.cache))}",
                SmallSegmentsWarning,
                stacklevel=2,
            )

    def prepare(self) -> None:
        """Make the folders for writing.

        Raises
        ------
        StoreError
            The cache folder cannot be written.
        """
        folders.prepare_cache(self.cache)
        try:
            make_folder(self.folder)
            folders.describe(self.folder, self._recipe, FORMAT)
            self._remove_orphans()
        except OSError as error:
            raise error if isinstance(error, StoreError) else folders.not_writable(self.cache, error) from error

    def _remove_orphans(self) -> None:
        """Remove old rows that no manifest and no writer's temporary file belongs to: nobody can want them."""
        for path in rows_without_manifest(self.folder):
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                if time.time() - path.lstat().st_mtime > _ORPHANED_AFTER:
                    path.unlink()


def _check_not_gone(error: DamagedSegmentError) -> None:
    """Tell damage from a segment that was merged into another since it was listed."""
    if not error.is_of_a_committed_segment:
        raise _GoneError from error


class _GoneError(Exception):
    """A segment that was listed is no longer there: it was merged into another, or cleared."""
