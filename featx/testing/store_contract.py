"""The tests that every row store must pass, as a class to subclass. Importing this file needs pytest."""

from __future__ import annotations

import errno
import itertools
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from featx.errors import StoreError, StoreWarning
from featx.testing import faults

N_FEATURES = 5


class RowStore(Protocol):
    """Interface of a row store, as extraction uses it.

    See Also
    --------
    StoreContract : Tests of a row store.

    Examples
    --------
    >>> from pathlib import Path
    >>> from featx.store.store import Store
    >>> from featx.testing import RowStore
    >>> store: RowStore = Store(Path("absent"), "0" * 16, {}, n_features=5)
    >>> len(store)
    0
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


class StoreContract:
    """Tests of a row store: rows, crashes, failing disks and corrupt files.

    Subclass it in a test module, with a name that pytest collects, and override :meth:`open` and :meth:`leftovers`.

    See Also
    --------
    RowStore : The interface of a row store.

    Notes
    -----
    The tests need pytest and hypothesis. Faults are injected into ``open`` and ``os``, so that a store which changes
    files in another way is not fully tested.

    Examples
    --------
    A test module for featx's own store:

    >>> from featx.store.store import Store
    >>> from featx.testing import StoreContract
    >>> class TestStore(StoreContract):
    ...     def open(self, cache):
    ...         return Store(cache, "0" * 16, {}, n_features=5)
    ...     def leftovers(self, cache):
    ...         return list(cache.rglob("*.tmp"))
    """

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
        raise NotImplementedError

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
        raise NotImplementedError

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
        return sorted(path for path in cache.rglob("*") if path.is_file() and path.name != ".gitignore")

    def write(self, cache: Path, numbers: Iterable[int]) -> None:
        """Append and commit the rows of `numbers` with a new handle.

        Parameters
        ----------
        cache : Path
            Cache folder.
        numbers : iterable of int
            See :func:`make_digests` and :func:`make_rows`.
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

    # Rows ----------------------------------------------------------------------------------------------

    def test_read_any_order(self, tmp_path: Path) -> None:
        """Rows can be read in any order and more than once."""
        self.write(tmp_path, range(10))
        self.write(tmp_path, range(10, 20))
        assert self.stored(tmp_path, [15, 3, 3, 19, 0]) == [15, 3, 3, 19, 0]

    def test_read_partly_stored(self, tmp_path: Path) -> None:
        """The mask marks the digests that are stored."""
        self.write(tmp_path, range(10))
        assert self.stored(tmp_path, [3, 30, 4]) == [3, 4]

    def test_absent_store_is_empty(self, tmp_path: Path) -> None:
        """Opening a store creates no folder."""
        store = self.open(tmp_path / "absent")
        assert len(store) == 0
        assert store.find(make_digests([1])).tolist() == [-1]
        assert not (tmp_path / "absent").exists()

    def test_commit(self, tmp_path: Path) -> None:
        """Appended rows are visible to other handles after the commit only."""
        store = self.open(tmp_path)
        store.prepare()
        store.append(make_digests(range(3)), make_rows(range(3)))
        assert len(self.open(tmp_path)) == 0
        store.commit()
        assert len(self.open(tmp_path)) == 3

    def test_append_copies(self, tmp_path: Path) -> None:
        """The caller may change its array after appending it."""
        store = self.open(tmp_path)
        store.prepare()
        rows = make_rows(range(3))
        store.append(make_digests(range(3)), rows)
        rows[:] = -1
        store.commit()
        assert self.stored(tmp_path, range(3)) == [0, 1, 2]

    def test_refresh(self, tmp_path: Path) -> None:
        """A refresh loads the rows that another handle has committed."""
        store = self.open(tmp_path)
        self.write(tmp_path, range(3))
        assert len(store) == 0
        store.refresh()
        assert len(store) == 3

    def test_any_segments(self) -> None:
        """Any rows in any segments are found in any order."""
        from hypothesis import given, settings
        from hypothesis import strategies as st

        @given(
            segments=st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=5),
            requested=st.lists(st.integers(0, 50), max_size=30),
        )
        @settings(max_examples=40, deadline=None)
        def check(segments: list[list[int]], requested: list[int]) -> None:
            with tempfile.TemporaryDirectory() as folder:
                for numbers in filter(None, segments):
                    self.write(Path(folder), numbers)
                written = {number for numbers in segments for number in numbers}
                assert self.stored(Path(folder), requested) == [number for number in requested if number in written]

        check()

    # Kills, errors and interrupts ----------------------------------------------------------------------

    def _check_after_fault(self, cache: Path, committed: Sequence[int], attempted: Sequence[int]) -> None:
        """Check that committed rows are stored, attempted ones all or none, and that writing works again."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a fault does not corrupt files
            assert self.stored(cache, committed) == list(committed)
            assert self.stored(cache, attempted) in ([], list(attempted))
            self.write(cache, attempted)
            assert self.stored(cache, [*committed, *attempted]) == [*committed, *attempted]
        assert self.leftovers(cache) == []

    def _write_if_any(self, cache: Path, numbers: Sequence[int]) -> None:
        if numbers:
            self.write(cache, numbers)

    def test_kill_during_write(self, tmp_path: Path) -> None:
        """A kill at any call of a write loses no committed row."""
        for committed in ([], [0, 1, 2]):  # without a folder, and with a store
            self._write_if_any(tmp_path / f"clean{committed}", committed)
            with faults.recording() as calls:
                self.write(tmp_path / f"clean{committed}", [3, 4])
            assert len(calls) > 8
            for index in range(len(calls)):
                cache = tmp_path / f"{committed}{index}"
                self._write_if_any(cache, committed)
                with pytest.raises(faults.Killed), faults.killing(index):
                    self.write(cache, [3, 4])
                self._check_after_fault(cache, committed, [3, 4])

    def test_interrupt_during_commit(self, tmp_path: Path) -> None:
        """After an interrupt at any call of a commit, the commit can be repeated."""

        def store_to_commit(cache: Path) -> RowStore:
            self.write(cache, [0, 1, 2])
            store = self.open(cache)
            store.append(make_digests([3, 4]), make_rows([3, 4]))
            return store

        clean = store_to_commit(tmp_path / "clean")
        with faults.recording() as calls:
            clean.commit()
        assert len(calls) > 8
        for index, after in itertools.product(range(len(calls)), (False, True)):
            cache = tmp_path / f"{index}{after}"
            store = store_to_commit(cache)
            with pytest.raises(KeyboardInterrupt), faults.raising(KeyboardInterrupt(), index, after=after):
                store.commit()
            store.commit()
            assert self.stored(cache, range(5)) == [0, 1, 2, 3, 4]
            assert self.leftovers(cache) == []

    @pytest.mark.parametrize(
        ("code", "names"),
        [
            (errno.ENOSPC, ["write"]),
            (errno.ENOSPC, ["open", "mkdir"]),
            (errno.EDQUOT, ["write", "fsync"]),
            (errno.EIO, ["fsync"]),
            (errno.EIO, ["replace"]),
            (errno.EROFS, ["open", "replace", "unlink", "mkdir"]),
            (errno.EACCES, ["open", "replace", "mkdir"]),
        ],
    )
    def test_failing_disk(self, code: int, names: list[str], tmp_path: Path) -> None:
        """A failing disk gives an error of one line that names the cache, and loses no committed row."""
        for first in range(12):
            cache = tmp_path / str(first)
            self.write(cache, [0, 1, 2])
            message = ""
            with faults.another_process(), faults.failing(code, *names, first=first) as calls:
                try:
                    self.write(cache, [3, 4])
                except StoreError as error:
                    message = str(error)
            if any(call.split()[0] in names for call in calls[first:]):
                assert re.fullmatch(f".*{re.escape(str(cache))}.*cache=.*", message)
            self._check_after_fault(cache, [0, 1, 2], [3, 4])

    def test_read_only_store(self, tmp_path: Path) -> None:
        """Rows of a read-only store can be read."""
        self.write(tmp_path, range(3))
        with faults.failing(errno.EROFS, "open", "write", "replace", "unlink", "mkdir", "rmdir"):
            assert self.stored(tmp_path, range(4)) == [0, 1, 2]

    # Corrupt files -------------------------------------------------------------------------------------

    def _check_corrupt(self, tmp_path: Path, corrupt: Callable[[bytes], Iterable[bytes | None]]) -> None:
        """Replace each file by each result of `corrupt`: rows must be right or absent, and can be written again."""
        self.write(tmp_path / "intact", range(3))
        intact = {path.relative_to(tmp_path / "intact"): path.read_bytes() for path in self.files(tmp_path / "intact")}
        for corrupt_path, data in intact.items():
            for index, corrupt_data in enumerate(corrupt(data)):
                cache = tmp_path / f"{corrupt_path.name}-{index}"
                for path, content in intact.items():
                    (cache / path).parent.mkdir(parents=True, exist_ok=True)
                    (cache / path).write_bytes(content)
                if corrupt_data is None:
                    (cache / corrupt_path).unlink()
                else:
                    (cache / corrupt_path).write_bytes(corrupt_data)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self.stored(cache, range(3))
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # the first handle above has issued the only warning
                    self.write(cache, range(6))
                    assert self.stored(cache, range(6)) == [0, 1, 2, 3, 4, 5]

    def test_flipped_byte(self, tmp_path: Path) -> None:
        """A flipped bit in any byte of any file never gives a wrong row."""

        def flip(data: bytes) -> Iterable[bytes]:
            for index in range(len(data)):
                yield data[:index] + bytes([data[index] ^ (1 << index % 8)]) + data[index + 1 :]

        self._check_corrupt(tmp_path, flip)

    def test_wrong_length(self, tmp_path: Path) -> None:
        """A truncated, grown, empty or absent file never gives a wrong row."""

        def change_length(data: bytes) -> Iterable[bytes | None]:
            yield from (data[:length] for length in range(0, len(data), 7))
            yield data + b"\0"
            yield data + data
            yield None

        self._check_corrupt(tmp_path, change_length)

    def test_corrupt_after_read(self, tmp_path: Path) -> None:
        """Corruption after a row was read is detected when the store is opened again."""
        self.write(tmp_path, range(3))
        assert self.stored(tmp_path, range(3)) == [0, 1, 2]
        for path in self.files(tmp_path):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            data = path.read_bytes()
            path.write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
        with pytest.warns(StoreWarning):
            assert self.stored(tmp_path, range(3)) == []
