from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featx import sealed
from featx.errors import StoreError, StoreWarning
from featx.segments import FORMAT
from featx.store import Store
from tests.store_contract import N_FEATURES, StoreContract, digests_of, rows_of


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
    found, rows = store_in(cache).read(digests_of(numbers))
    assert found.all()
    np.testing.assert_array_equal(rows, rows_of(numbers))


def test_a_segment_is_committed_when_it_is_large_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    store.prepare()
    monkeypatch.setattr("featx.store.SEGMENT_BYTES", rows_of(range(4)).nbytes)
    assert not store.is_commit_due
    store.append(digests_of(range(3)), rows_of(range(3)))
    assert not store.is_commit_due
    store.append(digests_of(range(3, 4)), rows_of(range(3, 4)))
    assert store.is_commit_due
    store.commit()
    assert not store.is_commit_due
    store.append(digests_of(range(5, 6)), rows_of(range(5, 6)))
    assert not store.is_commit_due
    monkeypatch.setattr("featx.store.SEGMENT_SECONDS", 0.0)
    assert store.is_commit_due


def test_the_folder_explains_itself(tmp_path: Path) -> None:
    write(tmp_path / "cache", range(3))
    tmp_path = tmp_path / "cache"
    described = json.loads((tmp_path / "features" / "abc" / "recipe.json").read_text())
    assert described.pop("seal")
    assert described == {"format": FORMAT, "recipe": {"backbone": "test"}}
    assert "*" in (tmp_path / ".gitignore").read_text().splitlines()


def test_segments_are_plain_npy_files(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (segment,) = (tmp_path / "features" / "abc").glob("*.npy")
    np.testing.assert_array_equal(np.load(segment, allow_pickle=False), rows_of(range(3)))


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
        found, rows = store_in(tmp_path).read(digests_of(range(3)))
    np.testing.assert_array_equal(rows, rows_of(range(3))[found])
    assert not found.any()
    write(tmp_path, range(6))  # and no second warning
    assert_holds(tmp_path, range(6))


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    description = tmp_path / "features" / "abc" / "recipe.json"
    description.write_text(sealed.dump({"format": FORMAT + 1, "recipe": {}}))
    with pytest.raises(StoreError, match=f"format {FORMAT + 1}.*Upgrade featx"):
        store_in(tmp_path)


def test_a_segment_of_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (manifest,) = (path for path in (tmp_path / "features" / "abc").glob("*.json") if path.name != "recipe.json")
    manifest.write_text(sealed.dump({**sealed.load(manifest), "format": FORMAT + 1, "new": [{}]}))
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
