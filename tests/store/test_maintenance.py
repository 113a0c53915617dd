from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import featx
from featx import Progress, Recipe
from featx.errors import OptionError, StoreError, StoreWarning
from featx.extraction.cache import cache_info, find_recipes
from featx.extraction.cache_results import CacheSummary
from featx.recipe import PIXELS
from featx.store.compiled_graphs import Graph, save_graph
from featx.store.info import describe_cache
from featx.store.layout import MARKS
from featx.store.maintenance import clear_cache, clear_corrupt, compact_cache
from featx.store.store import Store
from featx.store.verify import verify_cache
from featx.system.files import checksummed_json
from featx.system.formatting import format_bytes, format_count
from featx.system.locks import try_lock
from featx.system.terminal.progress import reporting
from featx.testing import CountingBackbone, faults
from featx.testing.row_store import make_digests, make_rows
from tests.extraction.helpers import extract
from tests.progress import check_progress


@pytest.fixture
def cache(counting: CountingBackbone, paths: list[str], tmp_path: Path, later: None) -> Path:
    """Path of a cache of two recipes, with 24 rows in three segments and 6 rows in one, and a compiled graph."""
    folder = tmp_path / "cache"
    for start in (0, 8, 16):
        extract(paths[start : start + 8], folder)
    extract(paths[:6], folder, image_size=16)
    save_graph(Graph(b"<net/>", b"weights " * 100), folder / "compiled", "0123456789abcdef")
    return folder


def flip(path: Path, position: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def segments(cache: Path, suffix: str = ".npy") -> list[Path]:
    return sorted(path for path in cache.glob(f"features/*/*{suffix}") if path.name != "recipe.json")


def test_describe_cache(cache: Path) -> None:
    info = describe_cache(cache)
    assert sorted((recipe.rows, recipe.segments, recipe.features) for recipe in info.recipes) == [
        (6, 1, 12),
        (24, 3, 12),
    ]
    assert info.graphs == len(list((cache / "compiled").glob("*.graph")))
    assert info.known_files == 24
    on_disk = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file() and path.name not in MARKS)
    assert info.bytes == on_disk
    text = CacheSummary(**vars(info)).as_text()
    assert "counting, float32, 32 × 32, squash" in text
    assert "24 rows of 12 features" in text
    assert "3 segments are small: featx cache compact merges them" in text


def test_verify_intact_cache(cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    seen: list[Progress] = []
    with reporting(progress=seen.append):
        assert verify_cache(cache) == []
    check_progress(seen)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert len({report.message for report in seen} - {""}) == 3


def test_verify_corrupt_files(cache: Path, paths: list[str]) -> None:
    (large,) = (folder for folder in (cache / "features").iterdir() if len(list(folder.iterdir())) == 7)
    rows, other, _ = sorted(large.glob("*.npy"))
    manifest = other.with_suffix(".json")
    graph = next((cache / "compiled").glob("*.graph"))
    description = large / "recipe.json"
    for path in (rows, manifest, graph, description):
        flip(path)
    flip(cache / "digests.sqlite", 3)
    found = {Path(finding.path).name: finding for finding in verify_cache(cache)}
    assert found.keys() == {
        rows.name,
        manifest.name,
        graph.name,
        "recipe.json",
        "digests.sqlite",
    }
    assert all(finding.is_corrupt for finding in found.values())
    assert "checksum" in found[rows.name].problem
    assert "extracts its rows again" in found[manifest.name].consequence
    assert "compiled again" in found[graph.name].consequence
    assert cache_info(cache).as_text().count("1 unreadable segment: ") == 1  # the corrupt manifest
    with pytest.warns(StoreWarning):
        extract(paths, cache)
    left = verify_cache(cache)
    assert {Path(finding.path).name for finding in left if finding.is_corrupt} == {graph.name}
    assert clear_corrupt(cache) > 0
    assert [Path(finding.path).name for finding in verify_cache(cache)] == [graph.name]


def test_missing_manifest_and_descriptions(cache: Path, paths: list[str]) -> None:
    lost = segments(cache, ".json")[0]
    lost.unlink()
    (finding,) = verify_cache(cache)
    assert finding.is_corrupt
    assert finding.path == str(lost.with_suffix(".npy"))
    assert finding.problem == "the manifest is missing"
    for description in cache.glob("features/*/recipe.json"):
        description.unlink()
    assert sum(finding.is_corrupt for finding in verify_cache(cache)) == 1
    extract(paths, cache)
    extract(paths[:6], cache, image_size=16)
    assert sum("recipe.json" in finding.path for finding in verify_cache(cache)) == 0


def test_folders_in_place_of_files(cache: Path, paths: list[str]) -> None:
    (large,) = {path.parent for path in segments(cache) if len(list(path.parent.iterdir())) == 7}
    victims = [next(large.glob("*.npy")), large / "recipe.json", cache / "digests.sqlite"]
    for path in victims:
        path.unlink()
        path.mkdir()
    assert {Path(finding.path).name for finding in verify_cache(cache)} == {path.name for path in victims}
    with pytest.warns(StoreWarning):
        rows, _ = extract(paths, cache)
    np.testing.assert_array_equal(rows, extract(paths, None)[0])
    assert not any(finding.is_corrupt for finding in verify_cache(cache))
    clear_corrupt(cache)
    assert verify_cache(cache) == []
    next(large.glob("*.npy")).unlink()
    (cache / "digests.sqlite").unlink(missing_ok=True)
    (cache / "digests.sqlite").mkdir()
    (cache / "digests.sqlite" / "mine").write_text("")
    clear_cache(cache)
    assert sorted(os.listdir(cache)) == sorted([*MARKS, "digests.sqlite"])


def test_one_compaction_at_a_time(cache: Path) -> None:
    with try_lock(f"compacting {cache.resolve()}") as is_locked:
        assert is_locked
        with pytest.raises(StoreError, match="Another process is compacting.*Wait"):
            compact_cache(cache)
    compact_cache(cache)


def test_compact_cache(cache: Path, paths: list[str], counting: CountingBackbone) -> None:
    done = compact_cache(cache)
    assert sorted((result.before, result.after) for result in done.values()) == [(1, 1), (3, 1)]
    assert "3 segments → 1, 24 rows moved" in [result.as_text() for result in done.values()]
    counting.n_images = 0
    extract(paths, cache)
    assert counting.n_images == 0
    assert verify_cache(cache) == []


def test_clear_one_recipe(cache: Path, paths: list[str], counting: CountingBackbone) -> None:
    small = next(recipe for recipe in describe_cache(cache).recipes if recipe.rows == 6)
    clear_cache(cache, fingerprints=[small.fingerprint])
    assert [recipe.rows for recipe in describe_cache(cache).recipes] == [24]
    counting.n_images = 0
    extract(paths, cache)
    assert counting.n_images == 0


def test_clear_keeps_other_files(cache: Path) -> None:
    kept = [cache / "mine.txt", cache / "features" / "mine.npy", segments(cache)[0].parent / "notes.json"]
    for path in kept:
        path.write_text("mine")
    clear_cache(cache)
    expected = sorted([*kept, *(cache / name for name in MARKS)])
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == expected


def test_cleared_cache_can_be_used(cache: Path, paths: list[str]) -> None:
    clear_cache(cache)
    assert sorted(os.listdir(cache)) == sorted(MARKS)
    assert cache_info(cache).as_text().count("no rows") == 1
    rows, _ = extract(paths, cache)
    assert rows.shape == (24, 12)


def test_kill_during_clear(cache: Path, paths: list[str]) -> None:
    reference, _ = extract(paths, None)
    copy = cache.with_name("copy")
    shutil.copytree(cache, copy)
    with faults.recording() as calls:
        clear_cache(copy)
    for index in range(0, len(calls), 3):
        shutil.rmtree(copy)
        shutil.copytree(cache, copy)
        with pytest.raises(faults.Killed), faults.killing(index):
            clear_cache(copy)
        assert not any(finding.is_corrupt for finding in verify_cache(copy))
        rows, _ = extract(paths, copy)
        assert (rows == reference).all()
        clear_cache(copy)
        assert not [path for path in copy.rglob("*") if path.is_file() and path.name not in MARKS]


@pytest.mark.parametrize("function", [describe_cache, verify_cache, compact_cache, clear_cache, clear_corrupt])
def test_other_folders_are_refused(function: object, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.npy").write_text("mine")
    assert callable(function)
    with pytest.raises(StoreError, match="is not a feature cache.*Set the folder of the cache"):
        function(tmp_path / "photos")
    with pytest.raises(StoreError, match="There is no feature cache in.*or extract features first"):
        function(tmp_path / "absent")
    with pytest.raises(StoreError, match="There is no feature cache"):
        function(tmp_path / "photos" / "a.npy")


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
@pytest.mark.parametrize("which", ["features", "compiled", "recipe"])
def test_links_are_not_followed(which: str, cache: Path, tmp_path: Path, paths: list[str]) -> None:
    (rows,) = {path.parent for path in segments(cache) if len(list(path.parent.iterdir())) == 7}
    folder = rows if which == "recipe" else cache / which
    os.replace(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    describe_cache(cache)
    verify_cache(cache)
    compact_cache(cache)
    if which == "recipe":
        clear_cache(cache)
    else:
        with pytest.raises(StoreError, match="is a symbolic link, which featx does not follow"):
            clear_cache(cache)
    if which != "compiled":
        with pytest.raises(StoreError, match="is a symbolic link, which featx does not follow"):
            extract(paths, cache)
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_concurrent_commands(cache: Path, paths: list[str]) -> None:
    script = "import sys; from featx.cli.main import main; sys.exit(main(sys.argv[1:]))"

    def start(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", script, "cache", *args, "--cache", str(cache)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    for path in paths:
        extract([path], cache, image_size=20)  # a segment each
    commands = [("compact",), ("compact",), ("info", "--json"), ("verify",)]
    for done in [start(*args) for args in commands]:
        out, err = done.communicate(timeout=60)
        assert done.returncode == 0 or "Another process is compacting" in err, out + err
        assert "Traceback" not in err
    assert verify_cache(cache) == []
    assert sum(recipe.rows for recipe in describe_cache(cache).recipes) >= 24 + 24 + 6


def test_describe_and_verify_during_writes(cache: Path, paths: list[str]) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                info = describe_cache(cache)
                assert not any(recipe.unreadable_segments for recipe in info.recipes)
                assert not [finding for finding in verify_cache(cache) if finding.is_corrupt]
        except BaseException as error:
            errors.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for size in range(17, 21):
            for path in paths:
                extract([path], cache, image_size=size)
            compact_cache(cache)
    finally:
        stop.set()
        looking.join()
    assert not errors


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_index_is_a_pipe(cache: Path, paths: list[str]) -> None:
    (cache / "digests.sqlite").unlink()
    os.mkfifo(cache / "digests.sqlite")
    assert [finding.problem for finding in verify_cache(cache)] == ["not a regular file"]
    assert describe_cache(cache).known_files == 0
    with pytest.warns(StoreWarning, match="not a regular file"):
        extract(paths, cache)
    clear_cache(cache)


def test_locked_index_is_not_corrupt(cache: Path) -> None:
    with contextlib.closing(sqlite3.connect(cache / "digests.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        (finding,) = verify_cache(cache)
    assert not finding.is_corrupt
    assert finding.consequence == "the index could not be checked"


def test_newer_format(cache: Path) -> None:
    (large,) = {path.parent for path in segments(cache) if len(list(path.parent.iterdir())) == 7}
    manifest = next(path for path in large.glob("*.json") if path.name != "recipe.json")
    manifest.write_text(checksummed_json.dump({**checksummed_json.load(manifest), "format": 99}))
    assert [recipe.unreadable_segments for recipe in describe_cache(cache).recipes if recipe.rows != 6] == [1]
    (finding,) = verify_cache(cache)
    assert finding.consequence.startswith("upgrade featx, or")
    assert not finding.is_corrupt
    with pytest.raises(StoreError, match="Upgrade featx"):
        compact_cache(cache)
    (large / "recipe.json").write_text(checksummed_json.dump({"format": 99, "recipe": {"new": 1}}))
    assert "?" in cache_info(cache).as_text()
    (finding,) = verify_cache(cache)
    assert finding.problem.startswith("expected cache format")
    assert finding.consequence.startswith("upgrade featx")
    with pytest.raises(StoreError, match="Upgrade featx"):
        compact_cache(cache)
    clear_cache(cache)
    assert sorted(os.listdir(cache)) == sorted(MARKS)


def test_older_format(cache: Path) -> None:
    """Each problem is one clause, nothing is called corrupt, and removed files are reported."""
    n_segments = 0
    for path in cache.glob("features/*/*.json"):
        fields = checksummed_json.load(path)
        n_segments += path.name != "recipe.json"
        path.write_text(json.dumps({**fields, "format": 2, "seal": "0" * 32}, indent=2))
    (cache / "compiled").mkdir(exist_ok=True)
    manifest = '{"format": 4, "xml": 1, "bin": 1, "checksum": ""}'
    (cache / "compiled" / f"{'ab' * 8}.graph").write_text(f"{manifest}\nab")
    verification = featx.verify_cache(cache)
    assert verification.n_corrupt == 0
    text = verification.as_text()
    assert "an older version of featx wrote it in another format; delete it with featx cache clear --cache" in text
    assert "expected format 5, got 4; the backbone is compiled again" in text
    assert "Cannot" not in text
    assert text.endswith("no corrupt files")
    removed = featx.clear_cache(cache, dry_run=True).as_text()
    assert f"{n_segments} files of rows that another version of featx wrote or that are corrupt" in removed


def test_recipes_that_differ_in_pixels_show_them(cache: Path) -> None:
    recipe = {**Recipe("counting", "version 1", (32, 32), "output", "avg", "squash", "float32").as_dict()}
    for number in (1, 2):
        store = Store(cache, f"{number}" * 16, {**recipe, "pixels": number}, n_features=5)
        store.prepare()
        store.append(make_digests([number]), make_rows([number]))
        store.commit()
    lines = [line for line in cache_info(cache).as_text().splitlines() if "pixels" in line]
    # The fixture has the same recipe with the pixels of this version; the order is that of fingerprints.
    assert sorted(line.rpartition(", ")[2] for line in lines) == ["pixels 1", "pixels 2", f"pixels {PIXELS}"]


@pytest.mark.parametrize("function", [compact_cache, clear_cache])
def test_read_only_disk(function: object, cache: Path) -> None:
    assert callable(function)
    failing = faults.failing(errno.EROFS, "open", "replace", "unlink")
    with pytest.raises(StoreError, match="Cannot write.*Read-only file system. Rows already written are kept"), failing:
        function(cache)
    assert verify_cache(cache) == []


def test_recipes_of_a_backbone(cache: Path) -> None:
    info = describe_cache(cache)
    assert len(find_recipes(info, "counting")) == 2
    with pytest.raises(
        OptionError, match=r"one with rows in the cache .*\(counting\), got 'countin'. Did you mean 'counting'"
    ):
        find_recipes(info, "countin")


def test_format_bytes_and_counts() -> None:
    assert format_bytes(10**6) == "1.0 MB"
    assert format_bytes(3 * 10**15) == "3000.0 TB"
    assert format_count(0, "row") == "0 rows"
