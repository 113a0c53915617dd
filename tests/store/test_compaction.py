from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.store.compaction import compact, is_small
from featx.store.segments import write_segment
from featx.testing import faults
from featx.testing.row_store import make_digests, make_rows
from tests.store.stores import leftovers, store_in, stored, write

NAMES = ("open", "write", "fsync", "replace", "unlink")


def folder_of(cache: Path) -> Path:
    return cache / "features" / "abc"


def filled(cache: Path) -> Path:
    """Write 12 rows in four overlapping segments."""
    for start in (0, 3, 6, 8):
        write(cache, range(start, start + 4))
    return cache


def test_small_segments_become_one(tmp_path: Path) -> None:
    done = compact(folder_of(filled(tmp_path)))
    assert (done.before, done.after, done.rows, done.repeated, done.corrupt) == (4, 1, 12, 4, [])
    store = store_in(tmp_path)
    assert len(store) == 12
    assert len(store.segments) == 1
    assert stored(tmp_path, range(12)) == list(range(12))
    assert leftovers(tmp_path) == []


def test_second_compaction_changes_nothing(tmp_path: Path) -> None:
    compact(folder_of(filled(tmp_path)))
    before = sorted(tmp_path.rglob("*"))
    assert compact(folder_of(tmp_path)).rows == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert compact(tmp_path / "absent").before == 0


def test_maximum_segment_size(tmp_path: Path) -> None:
    for start in range(0, 40, 4):
        write(tmp_path, range(start, start + 4))
    max_bytes = 3 * store_in(tmp_path).segments[0].nbytes
    assert compact(folder_of(tmp_path), max_bytes).after == 4  # of three, three, three and one
    assert stored(tmp_path, range(40)) == list(range(40))
    large = [segment.name for segment in store_in(tmp_path).segments if not is_small(segment, max_bytes)]
    assert len(large) == 3
    compact(folder_of(tmp_path), max_bytes)
    assert set(large) <= {segment.name for segment in store_in(tmp_path).segments}


def test_kill_or_error_loses_no_row(tmp_path: Path) -> None:
    filled(tmp_path / "clean")
    with faults.recording() as calls:
        compact(folder_of(tmp_path / "clean"))
    assert len(calls) > 20
    for index in range(len(calls)):
        for kind in ("kill", "error"):
            cache = filled(tmp_path / f"{kind}{index}")
            if kind == "kill":
                with pytest.raises(faults.Killed), faults.killing(index):
                    compact(folder_of(cache))
            else:
                full = faults.failing(errno.ENOSPC, *NAMES, first=index)
                with pytest.raises(OSError, match="space"), faults.another_process(), full:
                    compact(folder_of(cache))
            assert stored(cache, range(12)) == list(range(12))
            compact(folder_of(cache))
            assert len(store_in(cache).segments) == 1
            assert stored(cache, range(12)) == list(range(12))
            assert leftovers(cache) == []


def test_reader_opened_before_compaction(tmp_path: Path) -> None:
    readers = [store_in(filled(tmp_path)) for _ in range(2)]
    readers[0].read(make_digests([0]))
    compact(folder_of(tmp_path))
    for reader in readers:
        found, rows = reader.read(make_digests(range(12)))
        assert found.all()
        np.testing.assert_array_equal(rows, make_rows(range(12)))


def test_reader_opened_during_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featx.store import store

    filled(tmp_path)
    opened = store.Segment
    times: list[str] = []

    def overtaken(manifest: Path, n_features: int) -> store.Segment:
        if not times:
            times.append(manifest.name)
            compact(folder_of(tmp_path))
        return opened(manifest, n_features)

    monkeypatch.setattr(store, "Segment", overtaken)
    found, _ = store_in(tmp_path).read(make_digests(range(12)))
    assert found.all()


def test_inconsistent_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    filled(tmp_path)
    listed: list[list[str]] = []
    listdir = os.listdir

    def torn(folder: Path) -> list[str]:
        # The first listing misses both the merged segment, which did not exist yet, and the old ones.
        before = listdir(folder)
        if not listed:
            listed.append(before)
            compact(folder_of(tmp_path))
            return []
        return listdir(folder)

    monkeypatch.setattr("featx.store.segments.os.listdir", torn)
    found, _ = store_in(tmp_path).read(make_digests(range(12)))
    assert found.all()


def test_corrupt_segment_is_not_changed(tmp_path: Path) -> None:
    victim = store_in(filled(tmp_path)).segments[0].manifest.with_suffix(".npy")
    data = victim.read_bytes()
    victim.write_bytes(data[:-1] + b"\x7f")
    done = compact(folder_of(tmp_path))
    assert (done.before, done.after) == (4, 2)
    assert [error.path for error in done.corrupt] == [victim]
    assert victim.exists()


def test_numbers_of_features_are_not_mixed(tmp_path: Path) -> None:
    for n, width in enumerate((5, 7, 5, 7)):
        manifest = tmp_path / f"{n:032x}.json"
        write_segment(manifest, make_digests([n]), np.full((1, width), n, dtype=np.float32))
    assert compact(tmp_path).after == 2


def test_rows_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged rows are the bytes whose checksum was verified, even if the disk returns others the second time."""
    from featx.store.segments import Segment

    def never(*args: object) -> None:
        raise AssertionError("rows were read again after they were checked")

    filled(tmp_path)
    monkeypatch.setattr(Segment, "read", never)
    monkeypatch.setattr(Segment, "verify", never)
    assert compact(folder_of(tmp_path)).after == 1


def test_concurrent_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featx.store.segments import Segment

    filled(tmp_path)
    read_all = Segment.read_all
    times: list[int] = []

    def overtaken(self: Segment) -> np.ndarray[Any, Any]:
        times.append(1)
        if len(times) == 2:
            compact(folder_of(tmp_path))
        return read_all(self)

    monkeypatch.setattr(Segment, "read_all", overtaken)
    assert compact(folder_of(tmp_path)).corrupt == []
    assert stored(tmp_path, range(12)) == list(range(12))
    assert leftovers(tmp_path) == []
