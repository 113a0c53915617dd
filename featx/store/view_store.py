"""Rows of all views of an image (test-time augmentation), each view in the store of its own recipe.

Also those of small calls, which are kept in memory and written together.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.errors import StoreError, StoreWarning
from featx.images.tta import ViewSet
from featx.recipe import Recipe
from featx.store.layout import is_unusable_error, warn_unusable
from featx.store.store import Store
from featx.system.array_types import BoolArray, DigestArray, FloatArray


class ViewStore:
    """One :class:`Store` for each view of a recipe.

    Parameters
    ----------
    cache : Path
        Path of the cache folder.
    recipe : Recipe
    n_features : int
        Number of features of one view.
    read_only : bool, default=False
        Whether nothing in the folder is changed.

    Raises
    ------
    StoreError
        A folder cannot be read, or another version of featx wrote it in another format.
    """

    def __init__(self, cache: Path, recipe: Recipe, n_features: int, *, read_only: bool = False) -> None:
        self._views = ViewSet.of(recipe)
        recipes = [dataclasses.replace(recipe, tta=name) for name in self._views.names]
        self._stores = [
            Store(cache, view.fingerprint, view.as_dict(), n_features, read_only=read_only) for view in recipes
        ]
        self._n_features = n_features

    def refresh(self) -> None:
        """Load the rows that this or another process has committed."""
        for store in self._stores:
            store.refresh()

    def contains(self, digests: DigestArray) -> BoolArray:
        """Return for each image whether all of its views are stored.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_images, 16)

        Returns
        -------
        ndarray of bool of shape (n_images,)
        """
        is_stored = np.ones(len(digests), dtype=bool)
        for store in self._stores:
            is_stored &= store.find(digests) >= 0
        return is_stored

    def read(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Return a mask of the images whose views are all stored, and their combined rows in order.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_images, 16)

        Returns
        -------
        is_stored : ndarray of bool of shape (n_images,)
        rows : ndarray of float32 of shape (n_stored, n_features)
            The shape is (n_stored, n_views, n_features) if views are not averaged.

        Raises
        ------
        StoreError
            A folder cannot be read now.
        """
        while True:
            is_stored = self.contains(digests)
            try:
                return is_stored, self._views.combine(self._read_views(digests[is_stored]))
            except _LostRowError:
                continue  # a row was corrupt or cleared, and is not contained any more

    def _read_views(self, digests: DigestArray) -> Iterator[FloatArray]:
        for store in self._stores:
            is_stored, rows = store.read(digests)
            if not is_stored.all():
                raise _LostRowError
            yield rows

    def read_views(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Return which views of each image are missing, and the rows of the others.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_images, 16)

        Returns
        -------
        is_missing : ndarray of bool of shape (n_views, n_images)
        rows : ndarray of float32 of shape (n_views, n_images, n_features)
            Uninitialized where a view is missing.
        """
        is_missing = np.empty((len(self._stores), len(digests)), dtype=bool)
        rows = np.empty((*is_missing.shape, self._n_features), dtype=np.float32)
        for view, store in enumerate(self._stores):
            is_stored, stored_rows = store.read(digests)
            rows[view, is_stored] = stored_rows
            is_missing[view] = ~is_stored
        return is_missing, rows

    def append(self, digests: DigestArray, rows: FloatArray, mask: BoolArray) -> None:
        """Add pending rows of views, which the next :meth:`commit` writes.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_images, 16)
        rows : ndarray of float32 of shape (n_views, n_images, n_features)
        mask : ndarray of bool of shape (n_views, n_images)
            Rows to add.
        """
        for store, view_rows, view_mask in zip(self._stores, rows, mask, strict=True):
            if view_mask.any():
                store.append(digests[view_mask], view_rows[view_mask])

    @property
    def is_commit_due(self) -> bool:
        """Whether the pending rows of a view are large or old enough for a segment."""
        return any(store.is_commit_due for store in self._stores)

    def commit(self) -> None:
        """Write the pending rows of all views, even if those of one view cannot be written.

        Raises
        ------
        StoreError
            A folder cannot be written. Committed rows are safe.
        """
        errors = []
        for store in self._stores:
            try:
                store.commit()
            except StoreError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def prepare(self) -> None:
        """Create the folders and descriptions."""
        for store in self._stores:
            store.prepare()


class _LostRowError(Exception):
    """A row that was stored is not stored any more."""


class RowBuffer:
    """Rows of small calls of one process, which are written together.

    They are written when they are large or old enough for a segment, and when the process ends. After a kill, those of
    the last `max_seconds` are lost. A forked child of ``multiprocessing`` loses them too: it runs no exit functions.

    Parameters
    ----------
    folder : Path
        Cache folder.
    recipe : Recipe

    Attributes
    ----------
    max_bytes : int, default=16777216
        Size from which rows are written.
    max_seconds : float, default=30.0
        Age of the first row from which they are written.
    """

    max_bytes = Store.segment_bytes
    max_seconds = Store.segment_seconds

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self._folder = folder
        self._recipe = recipe
        self._views = ViewSet.of(recipe)
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()  # whoever writes last waits for the others, also when the process ends
        self._rows: dict[bytes, tuple[FloatArray, BoolArray]] = {}  # all views of an image, and which to write
        self._n_bytes = 0  # of rows that no write has taken
        self._since = 0.0
        self._timer: threading.Timer | None = None

    def add(self, digests: DigestArray, rows: FloatArray, added: BoolArray) -> None:
        """Add the rows of views that `added` marks, once for each image; see :meth:`ViewStore.append`."""
        with self._lock:
            for index, digest in enumerate(map(bytes, digests)):
                if digest not in self._rows:
                    if not self._n_bytes:
                        self._since = time.monotonic()
                        self._start_timer()
                    self._rows[digest] = rows[:, index].copy(), added[:, index].copy()
                    self._n_bytes += rows[:, index].nbytes

    def _start_timer(self) -> None:
        self._timer = threading.Timer(self.max_seconds, self.write)
        self._timer.daemon = True
        with contextlib.suppress(RuntimeError):  # no more threads: a later call writes, or the end of the process
            self._timer.start()

    @property
    def is_due(self) -> bool:
        """Whether the rows are large or old enough for a segment."""
        with self._lock:
            is_old = time.monotonic() - self._since >= self.max_seconds
            return self._n_bytes >= self.max_bytes or (self._n_bytes > 0 and is_old)

    def contains(self, digests: DigestArray) -> BoolArray:
        """Return for each image whether the buffer has its row."""
        return np.array([bytes(digest) in self._rows for digest in digests], dtype=bool)

    def read_rows(self, digests: DigestArray, is_stored: BoolArray, rows: FloatArray) -> tuple[BoolArray, FloatArray]:
        """Return what :meth:`ViewStore.read` returns, with the rows that the buffer has."""
        missing = np.flatnonzero(~is_stored)
        buffered = {index: row for index in missing if (row := self._rows.get(bytes(digests[index]))) is not None}
        if not buffered:
            return is_stored, rows
        all_rows = np.empty((len(digests), *rows.shape[1:]), dtype=np.float32)
        all_rows[is_stored] = rows
        has_row = is_stored.copy()
        for index, (views, _) in buffered.items():
            all_rows[index], has_row[index] = self._views.combine(views[:, None])[0], True
        return has_row, all_rows[has_row]

    def read_views(self, digests: DigestArray, missing: BoolArray, rows: FloatArray) -> None:
        """Complete what :meth:`ViewStore.read_views` returns with the rows that the buffer has."""
        for index in np.flatnonzero(missing.any(axis=0)):
            if (row := self._rows.get(bytes(digests[index]))) is not None:
                rows[:, index], missing[:, index] = row[0], False

    def write(self) -> None:
        """Write all rows as one segment.

        An error is a warning, since the rows of the callers are right. They are tried again, unless they are many.
        """
        with self._write_lock:
            with self._lock:
                buffered, n_bytes = self._rows.copy(), sum(rows.nbytes for rows, _ in self._rows.values())
                self._n_bytes = 0
                if self._timer is not None:
                    self._timer.cancel()
            is_kept = False
            try:
                if buffered:
                    self._write_segment(buffered)
            except StoreError as error:
                is_kept = n_bytes < self.max_bytes
                if is_unusable_error(error):
                    warn_unusable(self._folder, error)
                else:
                    warnings.warn(f"Rows were not added to the cache: {error}", StoreWarning, stacklevel=1)
            finally:
                if not is_kept:
                    with self._lock:  # until now, other calls read them here
                        for digest in buffered:
                            del self._rows[digest]

    def _write_segment(self, buffered: dict[bytes, tuple[FloatArray, BoolArray]]) -> None:
        digests = np.frombuffer(b"".join(buffered), dtype=np.uint8).reshape(len(buffered), -1)
        rows = np.stack([rows for rows, _ in buffered.values()], axis=1)
        added = np.stack([added for _, added in buffered.values()], axis=1)
        store = ViewStore(self._folder, self._recipe, rows.shape[-1])
        store.prepare()
        store.append(digests, rows, added)
        store.commit()


_buffers: dict[tuple[str, str], RowBuffer] = {}


def find_buffer(folder: Path, recipe: Recipe) -> RowBuffer | None:
    """Return the rows of this process that are not written yet; None if there were none."""
    return _buffers.get((os.path.abspath(folder), recipe.fingerprint)) if _buffers else None


def make_buffer(folder: Path, recipe: Recipe) -> RowBuffer:
    """Return the buffer of a recipe in a folder, the same for all calls of this process."""
    key = (os.path.abspath(folder), recipe.fingerprint)
    return _buffers.get(key) or _buffers.setdefault(key, RowBuffer(folder.absolute(), recipe))


def write_buffers() -> None:
    """Write the rows of small calls of this process, and wait until those that another thread writes are written."""
    for buffer in list(_buffers.values()):
        buffer.write()


atexit.register(write_buffers)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_buffers.clear)  # the parent writes its rows
