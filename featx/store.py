"""The rows of one recipe on disk: immutable segments, each committed by the manifest written last."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from featx import files
from featx.errors import StoreError, StoreWarning
from featx.segments import (
    FORMAT,
    DamagedSegmentError,
    DigestArray,
    DigestOrder,
    FloatArray,
    IntArray,
    Segment,
    newer_format,
    write_segment,
)

#: A segment is committed when it has this many bytes of rows, or this many seconds after its first row.
SEGMENT_BYTES = 16 * 2**20
SEGMENT_SECONDS = 30.0
_ORPHANED_AFTER = 600.0
_MANIFEST = re.compile(r"[0-9a-f]{32}\.json")

_CACHE_IGNORE = "# Kept by featx; safe to delete.\n*\n!.gitignore\n"


def prepare_cache(folder: Path) -> None:
    """Make the cache folder, or say why it cannot be written.

    Raises
    ------
    StoreError
        It is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not os.listdir(folder):  # in a folder that holds other things, git must go on seeing them
            files.write_text(folder / ".gitignore", _CACHE_IGNORE)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The cache folder {str(folder)!r} cannot be written: {error.strerror or error}. What is committed "
        "there is safe. Free or unlock it, or choose another: --cache, cache= or the variable FEATX_CACHE."
    )


class Store:
    """Rows of one recipe: find them by digest, read them, append new ones.

    Any number of processes may read and append at once: segments never change, and a segment exists
    from the moment its manifest does.

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
    """

    def __init__(self, cache: Path, fingerprint: str, recipe: dict[str, Any], n_features: int) -> None:
        self.cache = cache
        self.folder = cache / "features" / fingerprint
        self.n_features = n_features
        self._recipe = recipe
        self._segments: dict[str, Segment] = {}
        self._index = DigestOrder([])
        self._order: list[Segment] = []
        self._set_aside_names: set[str] = set()
        self._pending: list[tuple[DigestArray, FloatArray]] = []
        self._pending_since = 0.0
        self._check_format()
        self.refresh()

    def __len__(self) -> int:
        return len(self._index)

    # Reading ---------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in segments that this or another process has committed since."""
        names = set(filter(_MANIFEST.fullmatch, self._listing())) - self._set_aside_names
        known = set(self._segments)
        damaged = []
        for name in sorted(names - known):
            try:
                self._segments[name] = Segment(self.folder / name, self.n_features)
            except DamagedSegmentError as error:
                damaged.append(error)
            except OSError as error:
                raise self._not_readable(error) from error
        for name in known - names:
            del self._segments[name]
        if set(self._segments) != known:
            self._rebuild_index()
        self._set_aside(damaged)

    def _listing(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._not_readable(error) from error

    def _not_readable(self, error: OSError) -> OSError:
        if isinstance(error, StoreError):
            return error
        return StoreError(
            f"The store {str(self.folder)!r} cannot be read: {error.strerror or error}. Nothing in it was changed. "
            "Mend the cause (permissions, open files, the disk) or choose another cache folder."
        )

    def _rebuild_index(self) -> None:
        self._order = [self._segments[name] for name in sorted(self._segments)]
        self._index = DigestOrder([segment.digests for segment in self._order])

    def _set_aside(self, damaged: list[DamagedSegmentError]) -> None:
        """Rename damaged segments, so that they are kept, warned of once, and extracted anew."""
        for error in damaged:
            self._set_aside_names.add(error.name)
            manifest = self.folder / error.name
            for path in (manifest, manifest.with_suffix(".npy")):
                with contextlib.suppress(OSError):  # a read-only store stays as it is, and is passed over
                    os.replace(path, f"{path}.damaged")
        if damaged:
            warnings.warn(
                f"{len(damaged)} damaged segments in {str(self.folder)!r}, the first is {damaged[0].name} "
                f"({damaged[0].reason}). They are set aside as '*.damaged'; their rows are extracted anew.",
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
            Counted over all segments; good until the next :meth:`refresh`.
        """
        return self._index.find(digests)

    def read(self, digests: DigestArray) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], FloatArray]:
        """Return which rows are stored, and those rows in order.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)

        Returns
        -------
        found : ndarray of bool, shape (n,)
        rows : ndarray of float32, shape (found.sum(), n_features)
        """
        damaged: list[DamagedSegmentError] = []
        while True:
            places = self.find(digests)
            found = places >= 0
            try:
                rows = self._gather(places[found])
            except DamagedSegmentError as error:
                damaged.append(error)
                del self._segments[error.name]
                self._rebuild_index()
            except OSError as error:
                raise self._not_readable(error) from error
            else:
                self._set_aside(damaged)
                return found, rows

    def _gather(self, places: IntArray) -> FloatArray:
        """Read rows segment by segment, never one by one."""
        rows = np.empty((len(places), self.n_features), dtype=np.float32)
        segments, offsets = self._index.locate(places)
        for number in np.unique(segments):
            here = np.flatnonzero(segments == number)
            rows[here] = self._order[number].open()[offsets[here]]
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
            raise _not_writable(self.cache, error) from error
        self._pending.clear()  # only now: an interrupt before this leaves them to the next commit

    def prepare(self) -> None:
        """Make the folders for writing, and clear away what killed writers left.

        Raises
        ------
        StoreError
            The cache folder cannot be written.
        """
        prepare_cache(self.cache)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            description = self.folder / "recipe.json"
            if not description.exists():
                fields = {"format": FORMAT, "recipe": self._recipe}
                files.write_text(description, json.dumps(fields, indent=2) + "\n")
            files.remove_abandoned(self.folder)
            self._remove_orphans()
        except OSError as error:
            raise _not_writable(self.cache, error) from error

    def _remove_orphans(self) -> None:
        """Remove rows whose writer was killed before the manifest; young ones may be about to get theirs."""
        for path in self.folder.glob("*.npy"):
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                young = time.time() - path.stat().st_mtime <= _ORPHANED_AFTER
                if not young and not path.with_suffix(".json").exists():
                    path.unlink()

    def _check_format(self) -> None:
        try:
            fields = json.loads((self.folder / "recipe.json").read_text(encoding="utf-8"))
            found = int(fields["format"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # only a description: segments carry what reading them needs, format and checksums included
        if found > FORMAT:
            raise newer_format(self.folder / "recipe.json", found)
