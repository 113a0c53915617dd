from __future__ import annotations

import contextlib
import errno
import json
import os
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
from featx.store.layout import FORMAT, MARKS
from featx.store.maintenance import clear_cache
from featx.store.store import Store
from featx.system.files import checksummed_json
from featx.system.files.atomic import temporary_path
from featx.testing import faults
from featx.testing.row_store import N_FEATURES, make_digests, make_rows
from tests.store.stores import DiskStoreContract, store_in, write


class TestStore(DiskStoreContract):
    """The store on disk passes the contract."""


def assert_holds(cache: Path, numbers: range | list[int]) -> None:
    found, rows = store_in(cache).read(make_digests(numbers))
    assert found.all()
    np.testing.assert_array_equal(rows, make_rows(numbers))


def test_commit_is_due_when_rows_are_large_or_old(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.prepare()
    store.segment_bytes = make_rows(range(4)).nbytes
    assert not store.is_commit_due
    store.append(make_digests(range(3)), make_rows(range(3)))
    assert not store.is_commit_due
    store.append(make_digests(range(3, 4)), make_rows(range(3, 4)))
    assert store.is_commit_due
    store.commit()
    assert not store.is_commit_due
    store.append(make_digests(range(5, 6)), make_rows(range(5, 6)))
    assert not store.is_commit_due
    store.segment_seconds = 0.0
    assert store.is_commit_due


def test_description(tmp_path: Path) -> None:
    write(tmp_path / "cache", range(3))
    tmp_path = tmp_path / "cache"
    description = json.loads((tmp_path / "features" / "abc" / "recipe.json").read_text())
    assert description.pop("checksum")
    assert description == {"format": FORMAT, "recipe": {"backbone": "test"}}
    assert "*" in (tmp_path / ".gitignore").read_text().splitlines()


def test_segments_are_npy_files(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (segment,) = (tmp_path / "features" / "abc").glob("*.npy")
    np.testing.assert_array_equal(np.load(segment, allow_pickle=False), make_rows(range(3)))


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("corruption", ["flip", "truncate", "empty", "delete"])
def test_corrupt_file(tmp_path: Path, suffix: str, corruption: str) -> None:
    write(tmp_path, range(3))
    (path,) = (path for path in (tmp_path / "features" / "abc").glob(f"*{suffix}") if path.name != "recipe.json")
    data = bytearray(path.read_bytes())
    if corruption == "flip":
        data[-40] ^= 1
        path.write_bytes(data)
    elif corruption == "delete":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if corruption == "truncate" else b"")
    uncommitted = suffix == ".json" and corruption == "delete"
    with contextlib.nullcontext() if uncommitted else pytest.warns(StoreWarning, match="extracted again"):
        found, rows = store_in(tmp_path).read(make_digests(range(3)))
    np.testing.assert_array_equal(rows, make_rows(range(3))[found])
    assert not found.any()
    write(tmp_path, range(6))  # without a second warning
    assert_holds(tmp_path, range(6))


def test_newer_description(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    description = tmp_path / "features" / "abc" / "recipe.json"
    description.write_text(checksummed_json.dump({"format": FORMAT + 1, "recipe": {}}))
    with pytest.raises(StoreError, match=f"got {FORMAT + 1}. Upgrade featx"):
        store_in(tmp_path)


def test_newer_segment(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (manifest,) = (path for path in (tmp_path / "features" / "abc").glob("*.json") if path.name != "recipe.json")
    manifest.write_text(checksummed_json.dump({**checksummed_json.load(manifest), "format": FORMAT + 1, "new": [{}]}))
    with pytest.raises(StoreError, match="Upgrade featx"):
        store_in(tmp_path)
    assert manifest.exists()


def test_other_files_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    for name in ("notes.json", "._x.json"):
        (tmp_path / "features" / "abc" / name).write_text("mine")
    assert_holds(tmp_path, range(3))
    assert (tmp_path / "features" / "abc" / "notes.json").exists()


def test_marks_only_where_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    write(tmp_path, range(3))
    assert not any((tmp_path / name).exists() for name in MARKS)
    write(tmp_path / "new", range(3))
    assert (tmp_path / "new" / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    (tmp_path / "new" / "CACHEDIR.TAG").unlink()  # as in an older cache
    (tmp_path / "new" / ".gitignore").write_text("mine")
    write(tmp_path / "new", range(5))
    assert (tmp_path / "new" / "CACHEDIR.TAG").exists()
    assert (tmp_path / "new" / ".gitignore").read_text() == "mine"


def test_git_ignores_a_cache(tmp_path: Path) -> None:
    write(tmp_path / "cache", range(3))
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    command = ["git", "-C", tmp_path, "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_cache_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StoreError, match="Cannot write.*FEATX_CACHE"):
        store_in(tmp_path / "cache").prepare()


def test_file_size_limit(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from tests.store.stores import write\n"
        "from featx.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write(Path(sys.argv[1]), range(3, 10_000))\n"
        "except StoreError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large. Rows already written are kept." in done.stdout
    assert_holds(tmp_path, range(3))
    assert len(os.listdir(tmp_path / "features" / "abc")) == 3


def test_old_rows_without_manifest_are_removed(tmp_path: Path) -> None:
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


def test_other_number_of_features(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    store_in(tmp_path)  # keeps a snapshot
    with pytest.warns(StoreWarning, match="it declares 3 rows of 5 features"):
        other = Store(tmp_path, "abc", {}, N_FEATURES - 1)
    assert not other.read(make_digests(range(3)))[0].any()


def test_threads_share_a_store(tmp_path: Path) -> None:
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


def test_rows_of_a_slow_writer_are_kept(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    folder = store_in(tmp_path).folder
    temporary = temporary_path(folder, "ab" * 16)  # of this process, which is running
    temporary.write_text("{}")
    rows = folder / f"{'ab' * 16}.npy"
    rows.write_bytes(b"rows")
    os.utime(rows, (0, 0))
    store_in(tmp_path).prepare()
    assert rows.exists()
    temporary.unlink()
    store_in(tmp_path).prepare()
    assert not rows.exists()


def test_cache_cleared_before_commit(tmp_path: Path) -> None:
    store = store_in(tmp_path / "cache")
    store.prepare()
    store.append(make_digests(range(3)), make_rows(range(3)))
    shutil.rmtree(tmp_path / "cache")
    store.commit()
    assert_holds(tmp_path / "cache", range(3))


def test_corrupt_segment_on_a_read_only_disk(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    write(tmp_path, range(3, 6))
    victim = next(path for path in store_in(tmp_path).folder.glob("*.npy"))
    victim.write_bytes(victim.read_bytes()[:-1])
    ignored = "They are ignored, as they cannot be renamed \\(Read-only"
    with faults.failing(errno.EROFS, "replace", "open"):
        with pytest.warns(StoreWarning, match=ignored):
            assert store_in(tmp_path).read(make_digests(range(6)))[0].sum() == 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert store_in(tmp_path).read(make_digests(range(6)))[0].sum() == 3
    assert victim.exists()


def test_many_corrupt_segments_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in range(0, 90, 3):
        write(tmp_path, range(start, start + 3))
    for path in store_in(tmp_path).folder.glob("*.npy"):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"\x7f")
    passes = []
    gather = Store._gather
    monkeypatch.setattr(Store, "_gather", lambda self, *args: (passes.append(1), gather(self, *args))[1])
    with pytest.warns(StoreWarning, match="30 corrupt segments"):
        found, _ = store_in(tmp_path).read(make_digests(range(90)))
    assert not found.any()
    assert len(passes) == 2


#: Ends of files that older versions of featx wrote.
OLD_FILES = [
    json.dumps({"format": 1, "recipe": {}}, indent=2),
    json.dumps({"format": 2, "recipe": {}, "seal": "0" * 32}, indent=2) + "\n",
]


@pytest.mark.parametrize("text", OLD_FILES)
def test_older_recipe_is_refused(text: str, tmp_path: Path) -> None:
    folder = store_in(tmp_path).folder
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(text)
    with pytest.raises(StoreError, match="older version of featx.*featx cache clear --cache"):
        store_in(tmp_path)


@pytest.mark.parametrize("text", OLD_FILES)
def test_rows_are_not_added_to_an_older_cache(text: str, tmp_path: Path) -> None:
    """A recipe that is not in the cache yet is refused, too: fingerprints differ between versions."""
    folder = tmp_path / "features" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(text)
    with pytest.raises(StoreError, match="older version of featx"):
        store_in(tmp_path)
    clear_cache(tmp_path)
    assert os.listdir(tmp_path) == []
    write(tmp_path, range(3))


def test_older_segment_is_refused(tmp_path: Path) -> None:
    """Without its description, an old segment is not taken for a corrupt one."""
    folder = store_in(tmp_path).folder
    folder.mkdir(parents=True)
    manifest = folder / f"{'ab' * 16}.json"
    manifest.write_text(json.dumps({"format": 2, "rows": 1, "digests": "00" * 16, "seal": "0" * 32}) + "\n")
    with pytest.raises(StoreError, match="older version of featx"):
        store_in(tmp_path)
    assert manifest.exists()


def test_snapshot_has_few_tables(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.prepare()
    for number in range(64):
        store.append(make_digests([number]), make_rows([number]))
        store.commit()
    assert len(store) == 64
    assert len(store._snapshot.tables) <= 7
    assert_holds(tmp_path, list(range(64)))
    assert (store.read(make_digests(range(64)))[1] == make_rows(range(64))).all()


def test_stores_of_several_recipes_open_each_segment_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write(tmp_path / str(number), range(3))
    opened: list[Path] = []
    monkeypatch.setattr("featx.store.store.Segment", lambda path, n_features: opened.append(path))
    for number in range(4):
        assert len(store_in(tmp_path / str(number))) == 3
    assert opened == []
