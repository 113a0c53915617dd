"""Rows of one recipe in a cache folder, and digests of files that were read before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from featx.errors import StoreError
from featx.images.image import Image, Source, file_state, is_path
from featx.images.tta import ViewSet
from featx.recipe import Recipe
from featx.store.file_index import FileIndex
from featx.store.layout import INDEX, is_read_only, is_unusable_error, warn_unusable
from featx.store.view_store import ViewStore, find_buffer, make_buffer
from featx.system.array_types import BoolArray, DigestArray, FloatArray


class RowCache:
    """Cache that keeps nothing, for ``cache=None``; also the interface of :class:`DiskRowCache`.

    Parameters
    ----------
    n_views : int
        Number of views of an image.
    n_features : int
        Number of features of a view.

    Attributes
    ----------
    is_writable : bool
        Whether rows that are added are kept.
    needs_lock : bool
        Whether processes compute one after another, so that each finds the rows of the others.
    """

    is_writable = False

    @property
    def needs_lock(self) -> bool:  # noqa: D102 (see the attributes of the class)
        return False

    def __init__(self, n_views: int, n_features: int) -> None:
        self._n_views = n_views
        self._n_features = n_features

    def find_files(self, images: Sequence[Image], indices: Sequence[int]) -> dict[int, Source]:
        """Return the sources of files that have not changed since they were read, and whose row is in the cache."""
        return {}

    def add_file(self, source: Source) -> None:
        """Record the digest of a file that was read."""

    def has_row(self, digest: bytes) -> bool:
        """Return whether the rows of all views of an image are in the cache. Can be called from any thread."""
        return False

    def read_rows(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Return which images are in the cache, and their rows in order."""
        return np.zeros(len(digests), dtype=bool), np.empty((0, self._n_features), dtype=np.float32)

    def read_views(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Return which views of each image are missing, and the rows of the others.

        Returns
        -------
        missing : ndarray of bool of shape (n_views, n_images)
        rows : ndarray of float32 of shape (n_views, n_images, n_features)
            Uninitialized where a view is missing.
        """
        missing = np.ones((self._n_views, len(digests)), dtype=bool)
        return missing, np.empty((*missing.shape, self._n_features), dtype=np.float32)

    def add_rows(self, digests: DigestArray, rows: FloatArray, added: BoolArray) -> None:
        """Add the rows of views that `added` marks; they are written by the next commit."""

    def prepare(self) -> None:
        """Create the folders, before the first row is computed."""

    def refresh(self) -> None:
        """Load what other processes have committed."""

    def commit(self, *, only_if_due: bool = False) -> None:
        """Write the rows and files that were added."""

    def close(self) -> None:
        """Write what was added, and close the file index."""


class DiskRowCache(RowCache):
    """Cache in a folder on disk.

    Parameters
    ----------
    folder : Path
    recipe : Recipe
    n_features : int
        Number of features of a view.
    read_only : bool, default=False
        Whether nothing in the folder is changed.

    Raises
    ------
    StoreError
        The folder cannot be read, or has another format.
    """

    def __init__(self, folder: Path, recipe: Recipe, n_features: int, *, read_only: bool = False) -> None:
        super().__init__(len(ViewSet.of(recipe)), n_features)
        self._folder = folder
        self.is_writable = not (read_only or is_read_only(folder))
        self._store = ViewStore(folder, recipe, n_features, read_only=read_only)
        self._files = FileIndex(folder / INDEX, read_only=not self.is_writable)
        self._buffer = find_buffer(folder, recipe)

    @property
    def needs_lock(self) -> bool:
        """Whether others find rows as soon as they are added."""
        return self.is_writable

    def find_files(self, images: Sequence[Image], indices: Sequence[int]) -> dict[int, Source]:
        """Look files up in the file index, and their digests in the store."""
        files = []
        for index in indices:
            path = images[index]
            if is_path(path):
                try:
                    files.append((index, os.fspath(path), file_state(path)))
                except (OSError, ValueError):
                    continue  # reading the image will report the reason
        digests = self._files.find([(path, state) for _, path, state in files])
        known = [
            (index, Source(digest, state=state))
            for (index, _, state), digest in zip(files, digests, strict=True)
            if digest is not None
        ]
        if not known:
            return {}
        joined = np.frombuffer(b"".join(source.digest for _, source in known), dtype=np.uint8)
        has_rows = self._contains(joined.reshape(len(known), -1))
        return {index: source for (index, source), has_row in zip(known, has_rows, strict=True) if has_row}

    def add_file(self, source: Source) -> None:
        """Add a file to the file index, unless it is known."""
        if self.is_writable and source.digest and source.state is not None:
            self._files.add(source.path, source.state, source.digest, source.read_at)

    def has_row(self, digest: bytes) -> bool:
        """Look an image up in the store."""
        return bool(self._contains(np.frombuffer(digest, dtype=np.uint8)[None])[0])

    def _contains(self, digests: DigestArray) -> BoolArray:
        is_stored = self._store.contains(digests)
        return is_stored if self._buffer is None else is_stored | self._buffer.contains(digests)

    def read_rows(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Read averaged rows."""
        is_stored, rows = self._store.read(digests)
        return (is_stored, rows) if self._buffer is None else self._buffer.read_rows(digests, is_stored, rows)

    def read_views(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Read the rows of each view."""
        missing, rows = self._store.read_views(digests)
        if self._buffer is not None:
            self._buffer.read_views(digests, missing, rows)
        return missing, rows

    def add_rows(self, digests: DigestArray, rows: FloatArray, added: BoolArray) -> None:
        """Append rows to the store."""
        if self.is_writable:
            self._store.append(digests, rows, added)

    def prepare(self) -> None:
        """Create the folders."""
        with self._unless_unusable():
            self._store.prepare()

    @contextlib.contextmanager
    def _unless_unusable(self) -> Iterator[None]:
        """If writing is not permitted, or the disk is full, issue a warning and keep no more rows: they are right."""
        try:
            yield
        except StoreError as error:
            if not is_unusable_error(error):
                raise
            warn_unusable(self._folder, error)
            self.is_writable = False

    def refresh(self) -> None:
        """Load new segments."""
        self._store.refresh()

    def commit(self, *, only_if_due: bool = False) -> None:
        """Write pending rows and files."""
        if self._store.is_commit_due or not only_if_due:
            with self._unless_unusable():
                self._store.commit()
            if self.is_writable:
                self._files.commit()

    def close(self) -> None:
        """Write pending rows and files, and close the file index."""
        try:
            with self._unless_unusable():
                self._store.commit()
        finally:
            if not self.is_writable:
                self._files.discard()
            self._files.close()


class ReadOnlyRowCache(DiskRowCache):
    """Cache in a folder on disk that is only read."""

    add_file = RowCache.add_file
    add_rows = RowCache.add_rows
    prepare = RowCache.prepare

    def __init__(self, folder: Path, recipe: Recipe, n_features: int) -> None:
        super().__init__(folder, recipe, n_features, read_only=True)


class BufferedRowCache(DiskRowCache):
    """Cache in a folder on disk whose rows are written together with those of other small calls.

    A service would leave two files for each image otherwise. Nothing is created before there are rows, and calls do not
    wait for other processes, which would not find the rows of this one for some seconds.
    """

    needs_lock = RowCache.needs_lock
    prepare = RowCache.prepare

    def __init__(self, folder: Path, recipe: Recipe, n_features: int) -> None:
        super().__init__(folder, recipe, n_features)
        self._own_buffer = self._buffer = make_buffer(folder, recipe)

    def add_rows(self, digests: DigestArray, rows: FloatArray, added: BoolArray) -> None:
        """Keep rows in memory for some seconds."""
        if self.is_writable:
            self._own_buffer.add(digests, rows, added)

    def commit(self, *, only_if_due: bool = False) -> None:
        """Write the files that were added."""
        if self.is_writable:
            self._files.commit()

    def close(self) -> None:
        """Write the files that were added; and the rows of all calls, if they are many or old."""
        super().close()
        if self._own_buffer.is_due:
            self._own_buffer.write()


def open_row_cache(
    folder: Path | None, recipe: Recipe, n_features: int, *, read_only: bool = False, is_buffered: bool = False
) -> RowCache:
    """Return the cache of a recipe in a folder; None: a cache that keeps nothing.

    One that need not be written is not needed at all: a warning is issued if this process may not read it.
    """
    if folder is not None and not read_only:
        return BufferedRowCache(folder, recipe, n_features) if is_buffered else DiskRowCache(folder, recipe, n_features)
    if folder is not None:
        try:
            return ReadOnlyRowCache(folder, recipe, n_features)
        except StoreError as error:
            if not is_unusable_error(error):
                raise
            warn_unusable(folder, error, "read")
    return RowCache(len(ViewSet.of(recipe)), n_features)
