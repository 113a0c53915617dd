"""The rows of every view of an image: each view in the store of its own recipe, read and added to as one."""

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


class ViewStores:
    """One store for each view of a recipe.

    Parameters
    ----------
    cache : Path
        The cache folder.
    recipe : Recipe
    n_features : int
        Length of a view's row.

    Raises
    ------
    StoreError
        A folder cannot be read, or a newer featx wrote it.
    """

    def __init__(self, cache: Path, recipe: Recipe, n_features: int) -> None:
        self._views = ViewSet.of(recipe)
        recipes = [dataclasses.replace(recipe, tta=name) for name in self._views.names]
        self._stores = [Store(cache, one.fingerprint, one.as_dict(), n_features) for one in recipes]
        self._n_features = n_features

    def refresh(self) -> None:
        """Take in what this or another process has committed or merged since."""
        for store in self._stores:
            store.refresh()

    def has(self, digests: DigestArray) -> BoolArray:
        """Return of which images every view is stored.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        found = np.ones(len(digests), dtype=bool)
        for store in self._stores:
            found &= store.find(digests) >= 0
        return found

    def read(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Return of which images every view is stored, and what their rows come to, in order.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)

        Returns
        -------
        found : ndarray of bool, shape (n,)
        rows : ndarray of float32, shape (found.sum(), n_features)
            Of views that are not averaged (found.sum(), n_views, n_features).

        Raises
        ------
        StoreError
            A folder cannot be read just now.
        """
        while True:
            found = self.has(digests)
            try:
                return found, self._views.combine(self._whole(digests[found]))
            except _LostError:
                continue  # a row proved damaged, or was cleared: it is no longer among those that are there

    def _whole(self, digests: DigestArray) -> Iterator[FloatArray]:
        for store in self._stores:
            found, rows = store.read(digests)
            if not found.all():
                raise _LostError
            yield rows

    def read_each(self, digests: DigestArray) -> tuple[BoolArray, FloatArray]:
        """Return which views are missing, and the rows of all others.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)

        Returns
        -------
        missing : ndarray of bool, shape (n_views, n)
        rows : ndarray of float32, shape (n_views, n, n_features)
            Whatever was in memory, where one is missing.
        """
        missing = np.empty((len(self._stores), len(digests)), dtype=bool)
        rows = np.empty((*missing.shape, self._n_features), dtype=np.float32)
        for number, store in enumerate(self._stores):
            found, stored = store.read(digests)
            rows[number, found] = stored
            missing[number] = ~found
        return missing, rows

    def append(self, digests: DigestArray, rows: FloatArray, added: BoolArray) -> None:
        """Add rows of views, to be written by the next :meth:`commit`.

        Parameters
        ----------
        digests : ndarray of uint8, shape (n, 16)
        rows : ndarray of float32, shape (n_views, n, n_features)
        added : ndarray of bool, shape (n_views, n)
            Which of them to add.
        """
        for store, of_view, chosen in zip(self._stores, rows, added, strict=True):
            if chosen.any():
                store.append(digests[chosen], of_view[chosen])

    @property
    def is_commit_due(self) -> bool:
        """Whether the rows added since the last commit are many or old."""
        return any(store.is_commit_due for store in self._stores)

    def commit(self) -> None:
        """Write the rows that were added; those of one view also if those of another cannot be written.

        Raises
        ------
        StoreError
            A folder cannot be written; what was committed before is untouched.
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
        """Make the folders for writing."""
        for store in self._stores:
            store.prepare()


class _LostError(Exception):
    """A row that was there is there no longer."""
