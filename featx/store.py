"""The rows of one recipe on disk: immutable segments, each committed by the manifest written last."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from featx import files, folders, views
from featx.compaction import is_small
from featx.errors import SmallSegmentsWarning, StoreError, StoreWarning
from featx.lookup import DigestArray, IntArray
from featx.segments import (
    DAMAGED,
    FORMAT,
    DamagedSegmentError,
    FloatArray,
    Segment,
    find_manifests,
    remove_leftovers,
    write_segment,
)
from featx.wording import counted

#: A segment is committed when it has this many bytes of rows, or this many seconds after its first row.
SEGMENT_BYTES = 16 * 2**20
SEGMENT_SECONDS = 30.0
_MANY_SEGMENTS = 256
_ATTEMPTS = 50
#: Rows without a manifest and without a trace of their writer are removed after this many seconds.
_ORPHANED_AFTER = 600.0
_ROWS = re.compile(r"[0-9a-f]{32}\.npy")


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
        self._passed_over: set[str] = set()
        self._pending: list[tuple[DigestArray, FloatArray]] = []
        self._pending_since = 0.0
        self._n_committed = 0
        folders.refuse_links(self.folder)
        folders.check_format(self.folder, FORMAT)
        with contextlib.suppress(OSError):  # a store that can only be read, or is not there yet
            remove_leftovers(self.folder)
        self.refresh()

    def __len__(self) -> int:
        return len(self._view.order)

    @property
    def index_bytes(self) -> int:
        """Memory that finding rows takes."""
        return self._view.order.nbytes

    @property
    def segments(self) -> list[Segment]:
        """The committed segments that this process knows of."""
        return list(self._view.segments)

    # Reading ---------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what this or another process has committed or merged since."""
        known = {segment.name: segment for segment in self._view.segments if segment.is_unchanged}
        damaged: list[DamagedSegmentError] = []
        for attempt in itertools.count():
            try:
                names = find_manifests(self.folder) - self._passed_over
                segments = [known[name] if name in known else self._open(name, damaged) for name in sorted(names)]
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
        whole = [segment for segment in segments if segment is not None]
        if whole != self._view.segments:
            self._view = views.View.of(whole)
        self._n_committed = 0
        views.remember(self.folder, self._view)
        self._set_aside(damaged)

    def _open(self, name: str, damaged: list[DamagedSegmentError]) -> Segment | None:
        try:
            return Segment(self.folder / name, self.n_features)
        except DamagedSegmentError as error:
            self._check_not_gone(error)
            self._passed_over.add(name)
            damaged.append(error)
            return None

    def _check_not_gone(self, error: DamagedSegmentError) -> None:
        """Tell damage from a segment that was merged into another since it was listed."""
        if not os.path.lexists(error.manifest):
            raise _GoneError from error

    def _not_readable(self, error: OSError) -> OSError:
        if isinstance(error, StoreError):
            return error
        return StoreError(
            f"The store {str(self.folder)!r} cannot be read: {error.strerror or error}. Nothing in it was changed. "
            "Mend the cause (permissions, open files, the disk) or choose another cache folder."
        )

    def _set_aside(self, damaged: list[DamagedSegmentError]) -> None:
        """Rename damaged segments, so that they are kept, warned of once, and extracted anew."""
        for error in damaged:
            self._passed_over.add(error.manifest.name)
            for path in (error.manifest, error.manifest.with_suffix(".npy")):
                with contextlib.suppress(OSError):  # a read-only store stays as it is, and is passed over
                    os.replace(path, f"{path}{DAMAGED}")
        if damaged:
            first = damaged[0]
            warnings.warn(
                f"{counted(len(damaged), 'damaged segment')} in {str(self.folder)!r}, the first is {first.path.name} "
                f"({first.reason}). Set aside as '*{DAMAGED}'; their rows are extracted anew.",
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
        return self._view.order.find(digests)

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
        damaged: list[DamagedSegmentError] = []
        while True:
            places = self.find(digests)
            found = places >= 0
            try:
                rows = self._gather(places[found])
            except _GoneError:
                self.refresh()
            except DamagedSegmentError as error:
                damaged.append(error)
                self._view = views.View.of(
                    segment for segment in self._view.segments if segment.manifest != error.manifest
                )
            except OSError as error:
                raise self._not_readable(error) from error
            else:
                self._set_aside(damaged)
                return found, rows

    def _gather(self, places: IntArray) -> FloatArray:
        """Read rows segment by segment, never one by one."""
        rows = np.empty((len(places), self.n_features), dtype=np.float32)
        numbers, offsets = self._view.order.locate(places)
        order = np.argsort(numbers, kind="stable")
        for here in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(here):
                segment = self._view.segments[numbers[here[0]]]
                try:
                    rows[here] = segment.read(offsets[here])
                except DamagedSegmentError as error:
                    self._check_not_gone(error)
                    raise
        return rows

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

        :meth:`find` sees them after the next :meth:`refresh`.

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
            write_segment(self.folder / f"{uuid.uuid4().hex}.json", digests, rows)
            files.sync_folder(self.folder)
        except OSError as error:
            self._pending.clear()
            raise folders.not_writable(self.cache, error) from error
        self._pending.clear()  # only now: an interrupt before this leaves them to the next commit
        self._n_committed += 1
        self._hint_at_small_segments()

    def _hint_at_small_segments(self) -> None:
        """Say that many small segments slow opening down; merging them is left to a moment that the user chooses."""
        n_small = sum(map(is_small, self._view.segments)) + self._n_committed
        if n_small >= _MANY_SEGMENTS and n_small.bit_count() == 1:  # at 256, 512, 1024 …
            warnings.warn(
                f"The store {str(self.folder)!r} has {n_small} small segments, which slow down opening it. Merge them "
                f"when it suits you: featx cache compact --cache {shlex.quote(str(self.cache))}",
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
            self.folder.mkdir(parents=True, exist_ok=True)
            folders.describe(self.folder, self._recipe, FORMAT)
            self._remove_orphans()
        except OSError as error:
            raise folders.not_writable(self.cache, error) from error

    def _remove_orphans(self) -> None:
        """Remove old rows that no manifest and no writer's temporary file belongs to: nobody can want them."""
        for name in filter(_ROWS.fullmatch, os.listdir(self.folder)):
            path = self.folder / name
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                young = time.time() - path.lstat().st_mtime <= _ORPHANED_AFTER
                if not young and not os.path.lexists(path.with_suffix(".json")):
                    path.unlink()


class _GoneError(Exception):
    """A segment that was listed is no longer there: it was merged into another, or cleared."""
