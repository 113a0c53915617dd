"""What any store of rows must do. A test class derives from :class:`StoreContract` and says how to open one."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import StoreError
from tests import faults

N_FEATURES = 5


class AnyStore(Protocol):
    """What extraction asks of a store."""

    def find(self, digests: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...
    def read(self, digests: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]: ...
    def refresh(self) -> None: ...
    def prepare(self) -> None: ...
    def append(self, digests: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> None: ...
    def commit(self) -> None: ...
    def __len__(self) -> int: ...


def digests_of(numbers: Iterable[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Digests that share their first half, so that looking them up must look at the second."""
    joined = b"".join(number.to_bytes(16, "big") for number in numbers)
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 16)


def rows_of(numbers: Iterable[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.repeat(np.array(list(numbers), dtype=np.float32)[:, None], N_FEATURES, axis=1)


class StoreContract:
    """The contract, as tests."""

    def open(self, cache: Path) -> AnyStore:
        raise NotImplementedError

    def leftovers(self, cache: Path) -> list[Path]:
        """Return files in the cache that belong to no committed row, description or setting."""
        raise NotImplementedError

    def write(self, cache: Path, numbers: Iterable[int]) -> None:
        store = self.open(cache)
        store.prepare()
        store.append(digests_of(numbers), rows_of(numbers))
        store.commit()

    def held(self, cache: Path, numbers: Sequence[int]) -> list[int]:
        """Return which of the numbers are stored, after checking that their rows are right."""
        found, rows = self.open(cache).read(digests_of(numbers))
        kept = [number for number, is_there in zip(numbers, found, strict=True) if is_there]
        np.testing.assert_array_equal(rows, rows_of(kept).reshape(-1, N_FEATURES))
        return kept

    # Rows ----------------------------------------------------------------------------------------------

    def test_rows_come_back_in_any_order_and_number(self, tmp_path: Path) -> None:
        self.write(tmp_path, range(10))
        self.write(tmp_path, range(10, 20))
        assert self.held(tmp_path, [15, 3, 3, 19, 0]) == [15, 3, 3, 19, 0]

    def test_what_is_not_stored_is_told_apart(self, tmp_path: Path) -> None:
        self.write(tmp_path, range(10))
        assert self.held(tmp_path, [3, 30, 4]) == [3, 4]

    def test_a_store_that_is_not_there_is_empty(self, tmp_path: Path) -> None:
        store = self.open(tmp_path / "absent")
        assert len(store) == 0
        assert store.find(digests_of([1])).tolist() == [-1]
        assert not (tmp_path / "absent").exists()

    def test_rows_are_not_stored_before_they_are_committed(self, tmp_path: Path) -> None:
        store = self.open(tmp_path)
        store.prepare()
        store.append(digests_of(range(3)), rows_of(range(3)))
        assert len(self.open(tmp_path)) == 0
        store.commit()
        assert len(self.open(tmp_path)) == 3

    def test_what_is_appended_may_be_changed_afterwards(self, tmp_path: Path) -> None:
        store = self.open(tmp_path)
        store.prepare()
        rows = rows_of(range(3))
        store.append(digests_of(range(3)), rows)
        rows[:] = -1
        store.commit()
        assert self.held(tmp_path, range(3)) == [0, 1, 2]

    def test_what_another_handle_commits_is_seen_after_a_refresh(self, tmp_path: Path) -> None:
        store = self.open(tmp_path)
        self.write(tmp_path, range(3))
        assert len(store) == 0
        store.refresh()
        assert len(store) == 3

    @given(
        segments=st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=5),
        wanted=st.lists(st.integers(0, 50), max_size=30),
    )
    @settings(max_examples=40, deadline=None)
    def test_any_rows_in_any_segments_are_found_in_any_order(
        self, segments: list[list[int]], wanted: list[int]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for numbers in filter(None, segments):
                self.write(Path(folder), numbers)
            stored = {number for numbers in segments for number in numbers}
            assert self.held(Path(folder), wanted) == [number for number in wanted if number in stored]

    # Kills, errors and interrupts ----------------------------------------------------------------------

    def _assert_whole(self, cache: Path, committed: Sequence[int], tried: Sequence[int]) -> None:
        """After a fault: what was committed is there, what was tried is there whole or not at all; then go on."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a fault is no damage
            assert self.held(cache, committed) == list(committed)
            assert self.held(cache, tried) in ([], list(tried))
            self.write(cache, tried)
            assert self.held(cache, [*committed, *tried]) == [*committed, *tried]
        assert self.leftovers(cache) == []

    def test_a_kill_at_any_point_of_a_write_loses_nothing_that_was_committed(self, tmp_path: Path) -> None:
        for first in ([], [0, 1, 2]):  # into no folder at all, and into a store
            self._put(tmp_path / f"clean{first}", first)
            with faults.watching() as calls:
                self.write(tmp_path / f"clean{first}", [3, 4])
            assert len(calls) > 8
            for at in range(len(calls)):
                cache = tmp_path / f"{first}{at}"
                self._put(cache, first)
                with pytest.raises(faults.Killed), faults.killing(at):
                    self.write(cache, [3, 4])
                self._assert_whole(cache, first, [3, 4])

    def _put(self, cache: Path, numbers: Sequence[int]) -> None:
        if numbers:
            self.write(cache, numbers)

    def test_an_interrupt_at_any_point_of_a_commit_leaves_it_to_be_made_again(self, tmp_path: Path) -> None:
        def committed(cache: Path) -> AnyStore:
            self.write(cache, [0, 1, 2])
            store = self.open(cache)
            store.append(digests_of([3, 4]), rows_of([3, 4]))
            return store

        clean = committed(tmp_path / "clean")
        with faults.watching() as calls:
            clean.commit()
        assert len(calls) > 8
        for at, after in itertools.product(range(len(calls)), (False, True)):
            cache = tmp_path / f"{at}{after}"
            store = committed(cache)
            with pytest.raises(KeyboardInterrupt), faults.raising(KeyboardInterrupt(), at, after=after):
                store.commit()
            store.commit()
            assert self.held(cache, range(5)) == [0, 1, 2, 3, 4]
            assert self.leftovers(cache) == []

    @pytest.mark.parametrize(
        ("code", "calls"),
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
    def test_a_failing_disk_is_one_line_with_a_remedy_and_costs_nothing_committed(
        self, code: int, calls: list[str], tmp_path: Path
    ) -> None:
        for first in range(12):
            cache = tmp_path / str(first)
            self.write(cache, [0, 1, 2])
            said = ""
            with faults.another_process(), faults.failing(code, *calls, first=first) as made:
                try:
                    self.write(cache, [3, 4])
                except StoreError as error:
                    said = str(error)
            if any(call.split()[0] in calls for call in made[first:]):
                assert re.fullmatch(f".*{cache}.*Free or unlock it, or choose another.*", said)
            self._assert_whole(cache, [0, 1, 2], [3, 4])

    def test_a_store_that_can_only_be_read_is_read(self, tmp_path: Path) -> None:
        self.write(tmp_path, range(3))
        with faults.failing(errno.EROFS, "open", "write", "replace", "unlink", "mkdir", "rmdir"):
            assert self.held(tmp_path, range(4)) == [0, 1, 2]

    # Damage --------------------------------------------------------------------------------------------

    def files(self, cache: Path) -> list[Path]:
        return sorted(path for path in cache.rglob("*") if path.is_file() and path.name != ".gitignore")

    def _damaged(self, tmp_path: Path, damage: Callable[[bytes], Iterable[bytes | None]]) -> None:
        """Damage each file of a store in each way; the rows must be right or absent, and can be written anew."""
        self.write(tmp_path / "whole", range(3))
        whole = {path.relative_to(tmp_path / "whole"): path.read_bytes() for path in self.files(tmp_path / "whole")}
        for victim, data in whole.items():
            for n, damaged in enumerate(damage(data)):
                cache = tmp_path / f"{victim.name}-{n}"
                for path, content in whole.items():
                    (cache / path).parent.mkdir(parents=True, exist_ok=True)
                    (cache / path).write_bytes(content)
                if damaged is None:
                    (cache / victim).unlink()
                else:
                    (cache / victim).write_bytes(damaged)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self.held(cache, range(3))
                with warnings.catch_warnings():
                    warnings.simplefilter("error")  # what was damaged was warned of above, once
                    self.write(cache, range(6))
                    assert self.held(cache, range(6)) == [0, 1, 2, 3, 4, 5]

    def test_no_flipped_byte_gives_a_wrong_row(self, tmp_path: Path) -> None:
        def flips(data: bytes) -> Iterable[bytes]:
            for at in range(len(data)):
                yield data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]

        self._damaged(tmp_path, flips)

    def test_no_truncated_grown_empty_or_absent_file_gives_a_wrong_row(self, tmp_path: Path) -> None:
        def cuts(data: bytes) -> Iterable[bytes | None]:
            yield from (data[:length] for length in range(0, len(data), 7))
            yield data + b"\0"
            yield data + data
            yield None

        self._damaged(tmp_path, cuts)

    def test_damage_after_a_row_was_read_is_noticed_when_the_store_is_opened_again(self, tmp_path: Path) -> None:
        self.write(tmp_path, range(3))
        assert self.held(tmp_path, range(3)) == [0, 1, 2]
        for path in self.files(tmp_path):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            data = path.read_bytes()
            path.write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
        with pytest.warns(UserWarning, match="extracted anew"):
            assert self.held(tmp_path, range(3)) == []
