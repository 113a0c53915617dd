"""The interface of a row store, and what its tests share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

N_FEATURES = 5
#: Files of a cache folder that hold nothing of it.
_MARKS = (".gitignore", "CACHEDIR.TAG")


class RowStore(Protocol):
    """Interface of a row store, as extraction uses it.

    See Also
    --------
    StoreContract : Tests of a row store.

    Examples
    --------
    >>> from featx.testing import RowStore
    >>> def is_empty(store: RowStore) -> bool:
    ...     return len(store) == 0
    """

    def find(self, digests: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the position of each digest.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_digests, 16)
            Digests of images.

        Returns
        -------
        ndarray of int of shape (n_digests,)
            Positions in the store. -1: there is no row.
        """
        ...

    def read(self, digests: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the rows of digests.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_digests, 16)
            Digests of images.

        Returns
        -------
        is_stored : ndarray of bool of shape (n_digests,)
            Whether there is a row for each digest.
        rows : ndarray of float32 of shape (n_stored, n_features)
            Rows of the stored digests.
        """
        ...

    def refresh(self) -> None:
        """Load rows that other handles have committed."""
        ...

    def prepare(self) -> None:
        """Create what :meth:`append` needs."""
        ...

    def append(self, digests: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> None:
        """Buffer rows. They are stored after the next :meth:`commit`.

        Parameters
        ----------
        digests : ndarray of uint8 of shape (n_rows, 16)
            Digests of images.
        rows : ndarray of float32 of shape (n_rows, n_features)
            Feature rows.
        """
        ...

    def commit(self) -> None:
        """Store the buffered rows: all of them or none."""
        ...

    def __len__(self) -> int: ...


def make_digests(numbers: Iterable[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a digest for each number. All share their first half, so that a lookup must compare the second.

    Parameters
    ----------
    numbers : iterable of int
        One number per digest.

    Returns
    -------
    ndarray of uint8 of shape (n_digests, 16)
        Different for different numbers.
    """
    joined = b"".join(number.to_bytes(16, "big") for number in numbers)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 16)


def make_rows(numbers: Iterable[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a feature row for each number, with the number in each column.

    Parameters
    ----------
    numbers : iterable of int
        One number per row.

    Returns
    -------
    ndarray of float32 of shape (n_rows, N_FEATURES)
        Different for different numbers.
    """
    return np.repeat(np.array(list(numbers), dtype=np.float32)[:, None], N_FEATURES, axis=1)


class StoreHooks:
    """Methods that a test class must define for its store, and helpers of the tests."""

    def open(self, cache: Path) -> RowStore:
        """Open a new handle of a store with rows of 5 features.

        Parameters
        ----------
        cache : Path
            Cache folder. It may not exist.

        Returns
        -------
        RowStore
            A handle that sees all committed rows.
        """
        raise NotImplementedError(f"{type(self).__name__} must override open: return a store in this cache folder.")

    def leftovers(self, cache: Path) -> list[Path]:
        """Return the files in the cache folder that belong to no committed row, description or setting.

        Parameters
        ----------
        cache : Path
            Cache folder.

        Returns
        -------
        list of Path
            Empty if the store has removed all temporary files.
        """
        raise NotImplementedError(f"{type(self).__name__} must override leftovers: return its temporary files.")

    def files(self, cache: Path) -> list[Path]:
        """Return the files that the corruption tests change.

        Parameters
        ----------
        cache : Path
            Cache folder.

        Returns
        -------
        list of Path
            Sorted.
        """
        return sorted(path for path in cache.rglob("*") if path.is_file() and path.name not in _MARKS)

    def write(self, cache: Path, numbers: Iterable[int]) -> None:
        """Append and commit the rows of `numbers` with a new handle.

        Parameters
        ----------
        cache : Path
            Cache folder.
        numbers : iterable of int
            See ``make_digests`` and ``make_rows``.
        """
        store = self.open(cache)
        store.prepare()
        store.append(make_digests(numbers), make_rows(numbers))
        store.commit()

    def stored(self, cache: Path, numbers: Sequence[int]) -> list[int]:
        """Return the numbers whose rows are stored, and check the values of the rows.

        Parameters
        ----------
        cache : Path
            Cache folder.
        numbers : sequence of int
            Numbers to look up.

        Returns
        -------
        list of int
            In the order of `numbers`.
        """
        mask, rows = self.open(cache).read(make_digests(numbers))
        stored = [number for number, is_stored in zip(numbers, mask, strict=True) if is_stored]
        np.testing.assert_array_equal(rows, make_rows(stored).reshape(-1, N_FEATURES))
        return stored
