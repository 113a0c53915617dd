from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from featx.errors import StoreError, StoreWarning
from featx.store.compaction import compact
from featx.store.segments import FORMAT
from featx.store.store import Store
from featx.system.files import checksummed_json
from featx.system.files.atomic import temporary_path
from featx.testing import faults
from featx.testing.store_contract import N_FEATURES, StoreContract, make_digests, make_rows


class TestStore(StoreContract):
    """The store on disk."""

    def open(self, cache: Path) -> Store:
        return store_in(cache)

    def leftovers(self, cache: Path) -> list[Path]:
        wanted = re.compile(r"[0-9a-f]{32}\.json|recipe\.json|\.gitignore")
        return [
            path
            for path in cache.rglob("*")
            if path.is_file()
            and not wanted.fullmatch(path.name)
            and not (path.suffix == ".npy" and path.with_suffix(".json").exists())
        ]


def store_in(cache: Path) -> Store:
    return Store(cache, "abc", {"backbone": "test"}, N_FEATURES)


def write(cache: Path, numbers: range) -> None:
    TestStore().write(cache, numbers)


def assert_holds(cache: Path, numbers: range | list[int]) -> None:
    found, rows = store_in(cache).read(make_digests(numbers))
    assert found.all()
    np.testing.assert_array_equal(rows, make_rows(numbers))


def test_a_segment_is_committed_when_it_is_large_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    store.prepare()
    monkeypatch.setattr("featx.store.store.SEGMENT_BYTES", make_rows(range(4)).nbytes)
    assert not store.is_commit_due
    store.append(make_digests(range(3)), make_rows(range(3)))
    assert not store.is_commit_due
    store.append(make_digests(range(3, 4)), make_rows(range(3, 4)))
    assert store.is_commit_due
    store.commit()
    assert not store.is_commit_due
    store.append(make_digests(range(5, 6)), make_rows(range(5, 6)))
    assert not store.is_commit_due
    monkeypatch.setattr("featx.store.store.SEGMENT_SECONDS", 0.0)
    assert store.is_commit_due


def test_the_folder_explains_itself(tmp_path: Path) -> None:
    write(tmp_path / "cache", range(3))
    tmp_path = tmp_path / "cache"
    described = json.loads((tmp_path / "features" / "abc" / "recipe.json").read_text())
    assert described.pop("checksum")
    assert described == {"format": FORMAT, "recipe": {"backbone": "test"}}
    assert "*" in (tmp_path / ".gitignore").read_text().splitlines()


def test_segments_are_plain_npy_files(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (segment,) = (tmp_path / "features" / "abc").glob("*.npy")
    np.testing.assert_array_equal(np.load(segment, allow_pickle=False), make_rows(range(3)))


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
def test_damage_never_gives_a_wrong_row(tmp_path: Path, suffix: str, damage: str) -> None:
    write(tmp_path, range(3))
    (path,) = (path for path in (tmp_path / "features" / "abc").glob(f"*{suffix}") if path.name != "recipe.json")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-40] ^= 1
        path.write_bytes(data)
    elif damage == "delete":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "truncate" else b"")
    uncommitted = suffix == ".json" and damage == "delete"
    with contextlib.nullcontext() if uncommitted else pytest.warns(StoreWarning, match="extracted anew"):
        found, rows = store_in(tmp_path).read(make_digests(range(3)))
    np.testing.assert_array_equal(rows, make_rows(range(3))[found])
    assert not found.any()
    write(tmp_path, range(6))  # and no second warning
    assert_holds(tmp_path, range(6))


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    description = tmp_path / "features" / "abc" / "recipe.json"
    description.write_text(checksummed_json.dump({"format": FORMAT + 1, "recipe": {}}))
    with pytest.raises(StoreError, match=f"format {FORMAT + 1}.*Upgrade featx"):
        store_in(tmp_path)


def test_a_segment_of_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (manifest,) = (path for path in (tmp_path / "features" / "abc").glob("*.json") if path.name != "recipe.json")
    manifest.write_text(checksummed_json.dump({**checksummed_json.load(manifest), "format": FORMAT + 1, "new": [{}]}))
    with pytest.raises(StoreError, match="Upgrade featx"):
        store_in(tmp_path)
    assert manifest.exists()


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    for name in ("notes.json", "._x.json"):
        (tmp_path / "features" / "abc" / name).write_text("mine")
    assert_holds(tmp_path, range(3))
    assert (tmp_path / "features" / "abc" / "notes.json").exists()


def test_a_folder_that_holds_other_things_gets_no_gitignore(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    write(tmp_path, range(3))
    assert not (tmp_path / ".gitignore").exists()
    write(tmp_path / "new", range(3))
    assert (tmp_path / "new" / ".gitignore").exists()


def test_a_cache_that_is_a_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StoreError, match="cannot be written.*FEATX_CACHE"):
        store_in(tmp_path / "cache").prepare()


def test_a_disk_that_is_full_costs_only_the_rows_not_yet_committed(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; import test_store as t\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: t.write(Path(sys.argv[1]), range(3, 10_000))\n"
        "except t.StoreError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot be written: File too large. What is committed there is safe." in done.stdout
    assert_holds(tmp_path, range(3))
    assert len(os.listdir(tmp_path / "features" / "abc")) == 3


def test_rows_left_without_a_manifest_by_a_kill_are_cleared_when_old(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (manifest,) = (path for path in (tmp_path / "features" / "abc").glob("*.json") if path.name != "recipe.json")
    manifest.unlink()
    store_in(tmp_path).prepare()
    assert manifest.with_suffix(".npy").exists()
    minute_ago = time.time() - 60
    os.utime(manifest.with_suffix(".npy"), (minute_ago, minute_ago))
    store_in(tmp_path).prepare()
    assert manifest.with_suffix(".npy").exists()
    os.utime(manifest.with_suffix(".npy"), (0, 0))
    store_in(tmp_path).prepare()
    assert not manifest.with_suffix(".npy").exists()


def test_rows_of_another_length_are_never_served(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    store_in(tmp_path)  # remembered
    with pytest.warns(StoreWarning, match="holds 3 rows of 5 features"):
        other = Store(tmp_path, "abc", {}, N_FEATURES - 1)
    assert not other.read(make_digests(range(3)))[0].any()


def test_threads_share_a_store_that_changes(tmp_path: Path) -> None:
    write(tmp_path, range(20))
    store = store_in(tmp_path)
    stop = threading.Event()

    def change() -> None:
        number = 100
        while not stop.is_set():
            write(tmp_path, range(number, number + 3))
            store.refresh()
            compact(store.folder)
            number += 3

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(300):
            found, rows = store.read(make_digests(range(20)))
            assert found.all()
            np.testing.assert_array_equal(rows, make_rows(range(20)))
    finally:
        stop.set()
        changing.join()


def test_rows_of_a_writer_that_sleeps_are_left_to_it(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    folder = store_in(tmp_path).folder
    asleep = temporary_path(folder, "ab" * 16)  # this process lives: so does its writer
    asleep.write_text("{}")
    rows = folder / f"{'ab' * 16}.npy"
    rows.write_bytes(b"rows")
    os.utime(rows, (0, 0))
    store_in(tmp_path).prepare()
    assert rows.exists()
    asleep.unlink()
    store_in(tmp_path).prepare()
    assert not rows.exists()


def test_a_cache_that_is_cleared_during_a_run_is_made_anew(tmp_path: Path) -> None:
    store = store_in(tmp_path / "cache")
    store.prepare()
    store.append(make_digests(range(3)), make_rows(range(3)))
    shutil.rmtree(tmp_path / "cache")
    store.commit()
    assert_holds(tmp_path / "cache", range(3))


def test_damage_that_cannot_be_set_aside_is_passed_over_and_warned_of_once(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    write(tmp_path, range(3, 6))
    victim = next(path for path in store_in(tmp_path).folder.glob("*.npy"))
    victim.write_bytes(victim.read_bytes()[:-1])
    passed_over = "Passed over, as they cannot be renamed \\(Read-only"
    with faults.failing(errno.EROFS, "replace", "open"):
        with pytest.warns(StoreWarning, match=passed_over):
            assert store_in(tmp_path).read(make_digests(range(6)))[0].sum() == 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert store_in(tmp_path).read(make_digests(range(6)))[0].sum() == 3
    assert victim.exists()


def test_many_damaged_segments_are_found_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in range(0, 90, 3):
        write(tmp_path, range(start, start + 3))
    for path in store_in(tmp_path).folder.glob("*.npy"):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"\x7f")
    passes = []
    gather = Store._gather
    monkeypatch.setattr(Store, "_gather", lambda self, *args: (passes.append(1), gather(self, *args))[1])
    with pytest.warns(StoreWarning, match="30 damaged segments"):
        found, _ = store_in(tmp_path).read(make_digests(range(90)))
    assert not found.any()
    assert len(passes) == 2


def test_a_store_of_the_format_before_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = store_in(tmp_path).folder
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"format": 1, "recipe": {}}, indent=2))
    with pytest.raises(StoreError, match="no longer read. Remove it .featx cache clear"):
        store_in(tmp_path)


def test_taking_segments_in_sorts_little_and_finds_all(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.prepare()
    for number in range(64):
        store.append(make_digests([number]), make_rows([number]))
        store.commit()
    assert len(store) == 64
    assert len(store._view.layers) <= 7
    assert_holds(tmp_path, list(range(64)))
    assert (store.read(make_digests(range(64)))[1] == make_rows(range(64))).all()
