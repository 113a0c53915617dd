"""The tests that every row store must pass, as a class to subclass. Importing this file needs pytest."""

from __future__ import annotations

import tempfile
from pathlib import Path

from featx.testing.row_store import make_digests, make_rows
from featx.testing.store_faults import StoreFaultTests


class StoreContract(StoreFaultTests):
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
    A test module for a store of your own, which pytest collects:

    >>> from featx.testing import StoreContract
    >>> class TestMyStore(StoreContract):
    ...     def open(self, cache):
    ...         return MyStore(cache)
    ...     def leftovers(self, cache):
    ...         return list(cache.rglob("*.tmp"))
    """

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
