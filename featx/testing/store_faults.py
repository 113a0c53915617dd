"""Tests of a row store with injected faults: kills, interrupts, failing disks and corrupt files."""

from __future__ import annotations

import errno
import itertools
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from featx.errors import StoreError, StoreWarning
from featx.testing import faults
from featx.testing.row_store import RowStore, StoreHooks, make_digests, make_rows


class StoreFaultTests(StoreHooks):
    """The tests of faults, as a part of :class:`StoreContract`."""

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
