from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.store import compaction
from featx.store.compaction import compact
from featx.store.segments import write_segment
from featx.testing import faults
from featx.testing.store_contract import make_digests, make_rows
from tests.store.test_store import TestStore as Stores
from tests.store.test_store import store_in, write

STORES = Stores()
NAMES = ("open", "write", "fsync", "replace", "unlink")


def folder_of(cache: Path) -> Path:
    return cache / "features" / "abc"


def filled(cache: Path) -> Path:
    """A store of 12 rows in four segments that overlap."""
    for start in (0, 3, 6, 8):
        write(cache, range(start, start + 4))
    return cache


def test_many_small_segments_become_one_with_each_row_once(tmp_path: Path) -> None:
    done = compact(folder_of(filled(tmp_path)))
    assert (done.before, done.after, done.rows, done.repeated, done.damaged) == (4, 1, 12, 4, [])
    store = store_in(tmp_path)
    assert len(store) == 12
    assert len(store.segments) == 1
    assert STORES.stored(tmp_path, range(12)) == list(range(12))
    assert STORES.leftovers(tmp_path) == []


def test_once_is_enough(tmp_path: Path) -> None:
    compact(folder_of(filled(tmp_path)))
    before = STORES.files(tmp_path)
    assert compact(folder_of(tmp_path)).rows == 0
    assert STORES.files(tmp_path) == before
    assert compact(tmp_path / "absent").before == 0


def test_segments_grow_no_larger_than_is_quick_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in range(0, 40, 4):
        write(tmp_path, range(start, start + 4))
    monkeypatch.setattr(compaction, "LARGE_BYTES", 3 * store_in(tmp_path).segments[0].nbytes)
    assert compact(folder_of(tmp_path)).after == 4  # three, three, three and one
    assert STORES.stored(tmp_path, range(40)) == list(range(40))
    large = [segment.name for segment in store_in(tmp_path).segments if not compaction.is_small(segment)]
    compact(folder_of(tmp_path))
    assert set(large) <= {segment.name for segment in store_in(tmp_path).segments}


def test_a_kill_or_an_error_at_any_point_loses_no_row_and_the_next_time_finishes(tmp_path: Path) -> None:
    filled(tmp_path / "clean")
    with faults.recording() as calls:
        compact(folder_of(tmp_path / "clean"))
    assert len(calls) > 20
    for at in range(len(calls)):
        for kind in ("kill", "error"):
            cache = filled(tmp_path / f"{kind}{at}")
            if kind == "kill":
                with pytest.raises(faults.Killed), faults.killing(at):
                    compact(folder_of(cache))
            else:
                full = faults.failing(errno.ENOSPC, *NAMES, first=at)
                with pytest.raises(OSError, match="space"), faults.another_process(), full:
                    compact(folder_of(cache))
            assert STORES.stored(cache, range(12)) == list(range(12))
            compact(folder_of(cache))
            assert len(store_in(cache).segments) == 1
            assert STORES.stored(cache, range(12)) == list(range(12))
            assert STORES.leftovers(cache) == []


def test_a_reader_that_opened_the_store_before_finds_every_row_after(tmp_path: Path) -> None:
    readers = [store_in(filled(tmp_path)) for _ in range(2)]
    readers[0].read(make_digests([0]))
    compact(folder_of(tmp_path))
    for reader in readers:
        found, rows = reader.read(make_digests(range(12)))
        assert found.all()
        np.testing.assert_array_equal(rows, make_rows(range(12)))


def test_a_reader_that_is_overtaken_while_it_opens_finds_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_listing_that_passes_over_the_merged_segment_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    filled(tmp_path)
    listed: list[list[str]] = []
    listdir = os.listdir

    def torn(folder: Path) -> list[str]:
        # The first listing ends after the merge, but looked where the merged segment is now before it was there.
        before = listdir(folder)
        if not listed:
            listed.append(before)
            compact(folder_of(tmp_path))
            return []
        return listdir(folder)

    monkeypatch.setattr("featx.store.segments.os.listdir", torn)
    found, _ = store_in(tmp_path).read(make_digests(range(12)))
    assert found.all()


def test_a_damaged_segment_is_left_as_it_is_and_the_others_are_merged(tmp_path: Path) -> None:
    victim = store_in(filled(tmp_path)).segments[0].manifest.with_suffix(".npy")
    data = victim.read_bytes()
    victim.write_bytes(data[:-1] + b"\x7f")
    done = compact(folder_of(tmp_path))
    assert (done.before, done.after) == (4, 2)
    assert [error.path for error in done.damaged] == [victim]
    assert victim.exists()


def test_rows_of_unequal_length_are_not_mixed(tmp_path: Path) -> None:
    for n, width in enumerate((5, 7, 5, 7)):
        manifest = tmp_path / f"{n:032x}.json"
        write_segment(manifest, make_digests([n]), np.full((1, width), n, dtype=np.float32))
    assert compact(tmp_path).after == 2


def test_only_bytes_that_were_checked_are_sealed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk whose second reading differs from the first must not have its rows vouched for."""
    from featx.store.segments import Segment

    def never(*args: object) -> None:
        raise AssertionError("rows were read again after they were checked")

    filled(tmp_path)
    monkeypatch.setattr(Segment, "read", never)
    monkeypatch.setattr(Segment, "verify", never)
    assert compact(folder_of(tmp_path)).after == 1


def test_a_part_that_another_compaction_took_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert compact(folder_of(tmp_path)).damaged == []
    assert STORES.stored(tmp_path, range(12)) == list(range(12))
    assert STORES.leftovers(tmp_path) == []
