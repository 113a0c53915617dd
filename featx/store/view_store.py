"""Rows of all views of an image (test-time augmentation), each view in the store of its own recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.errors import StoreError
from featx.images.tta import ViewSet
from featx.recipe import Recipe
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
