from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from featx.errors import OptionError, StoreError, StoreWarning
from featx.extraction.cache import CacheSummary, cache_info, find_recipes
from featx.store.info import describe_cache
from featx.store.maintenance import clear_cache, clear_set_aside, compact_cache
from featx.store.verify import verify_cache
from featx.system.files import checksummed_json
from featx.system.formatting import format_bytes, format_count
from featx.system.locks import try_lock
from featx.testing import CountingBackbone, faults
from tests.extraction.helpers import extract


@pytest.fixture
def cache(counting: CountingBackbone, paths: list[str], compiled_cache: Path, tmp_path: Path, later: None) -> Path:
    """A cache of two recipes, 24 rows in three segments and 6 rows in one, and a compiled network."""
    folder = tmp_path / "cache"
    for start in (0, 8, 16):
        extract(paths[start : start + 8], folder)
    extract(paths[:6], folder, image_size=16)
    shutil.copytree(compiled_cache / "compiled", folder / "compiled")
    return folder


def flip(path: Path, at: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def segments(cache: Path, suffix: str = ".npy") -> list[Path]:
    return sorted(path for path in cache.glob(f"features/*/*{suffix}") if path.name != "recipe.json")


def test_what_a_cache_holds_is_told(cache: Path) -> None:
    info = describe_cache(cache)
    assert sorted((recipe.rows, recipe.segments, recipe.features) for recipe in info.recipes) == [
        (6, 1, 12),
        (24, 3, 12),
    ]
    assert info.graphs == len(list((cache / "compiled").glob("*.json")))
    assert info.known_files == 24
    on_disk = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file() and path.name != ".gitignore")
    assert info.bytes == on_disk
    text = CacheSummary(**vars(info)).as_text()
    assert "counting, float32, 32 × 32, squash" in text
    assert "24 rows of 12 features" in text
    assert "3 segments are small: featx cache compact merges them" in text


def test_a_cache_that_is_whole_has_no_finding_and_is_not_changed(cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    said: list[str] = []
    assert verify_cache(cache, progress=said.append) == []
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert len(said) == 3


def test_every_damaged_file_is_named_with_what_will_happen_to_it(cache: Path, paths: list[str]) -> None:
    (large,) = (folder for folder in (cache / "features").iterdir() if len(list(folder.iterdir())) == 7)
    rows, other, _ = sorted(large.glob("*.npy"))
    manifest = other.with_suffix(".json")
    graph = next((cache / "compiled").glob("*.bin"))
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
    assert all(finding.is_damage for finding in found.values())
    assert "checksum" in found[rows.name].problem
    assert "extracted anew" in found[manifest.name].consequence
    assert "compiled anew" in found[graph.name].consequence
    assert cache_info(cache).as_text().count("1 unreadable segment: ") == 1  # a manifest is, by its seal
    with pytest.warns(StoreWarning):
        extract(paths, cache)
    left = verify_cache(cache)
    assert {Path(finding.path).name for finding in left if finding.is_damage} == {graph.name}
    assert clear_set_aside(cache) > 0
    assert [Path(finding.path).name for finding in verify_cache(cache)] == [graph.name]


def test_a_manifest_that_is_gone_is_damage_and_absent_descriptions_are_not(cache: Path, paths: list[str]) -> None:
    lost = segments(cache, ".json")[0]
    lost.unlink()
    (finding,) = verify_cache(cache)
    assert finding.is_damage
    assert finding.path == str(lost.with_suffix(".npy"))
    assert finding.problem == "its manifest is gone"
    for description in cache.glob("features/*/recipe.json"):
        description.unlink()
    assert sum(finding.is_damage for finding in verify_cache(cache)) == 1
    extract(paths, cache)
    extract(paths[:6], cache, image_size=16)
    assert sum("recipe.json" in finding.path for finding in verify_cache(cache)) == 0


def test_folders_in_the_place_of_files_are_set_aside_or_passed_over(cache: Path, paths: list[str]) -> None:
    (large,) = {path.parent for path in segments(cache) if len(list(path.parent.iterdir())) == 7}
    victims = [next(large.glob("*.npy")), large / "recipe.json", cache / "digests.sqlite"]
    for path in victims:
        path.unlink()
        path.mkdir()
    assert {Path(finding.path).name for finding in verify_cache(cache)} == {path.name for path in victims}
    with pytest.warns(StoreWarning):
        rows, _ = extract(paths, cache)
    np.testing.assert_array_equal(rows, extract(paths, None)[0])
    assert not any(finding.is_damage for finding in verify_cache(cache))
    clear_set_aside(cache)
    assert verify_cache(cache) == []
    next(large.glob("*.npy")).unlink()
    (cache / "digests.sqlite").unlink(missing_ok=True)
    (cache / "digests.sqlite").mkdir()
    (cache / "digests.sqlite" / "mine").write_text("")
    clear_cache(cache)
    assert sorted(os.listdir(cache)) == [".gitignore", "digests.sqlite"]


def test_only_one_compacts_at_a_time(cache: Path) -> None:
    with try_lock(f"compacting {cache.resolve()}") as is_alone:
        assert is_alone
        with pytest.raises(StoreError, match="compacted by another process just now. Wait"):
            compact_cache(cache)
    compact_cache(cache)


def test_compacting_merges_each_recipe_and_computes_nothing(
    cache: Path, paths: list[str], counting: CountingBackbone
) -> None:
    done = compact_cache(cache)
    assert sorted((one.before, one.after) for one in done.values()) == [(1, 1), (3, 1)]
    assert "3 segments → 1, 24 rows moved" in [one.as_text() for one in done.values()]
    counting.n_images = 0
    extract(paths, cache)
    assert counting.n_images == 0
    assert verify_cache(cache) == []


def test_clearing_one_recipe_leaves_the_others(cache: Path, paths: list[str], counting: CountingBackbone) -> None:
    small = next(recipe for recipe in describe_cache(cache).recipes if recipe.rows == 6)
    clear_cache(cache, fingerprints=[small.fingerprint])
    assert [recipe.rows for recipe in describe_cache(cache).recipes] == [24]
    counting.n_images = 0
    extract(paths, cache)
    assert counting.n_images == 0


def test_clearing_removes_what_is_featx_s_and_nothing_else(cache: Path) -> None:
    kept = [cache / "mine.txt", cache / "features" / "mine.npy", segments(cache)[0].parent / "notes.json"]
    for path in kept:
        path.write_text("mine")
    clear_cache(cache)
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == sorted([*kept, cache / ".gitignore"])


def test_clearing_leaves_a_cache_that_works(cache: Path, paths: list[str]) -> None:
    clear_cache(cache)
    assert sorted(os.listdir(cache)) == [".gitignore"]
    assert cache_info(cache).as_text().count("no rows") == 1
    rows, _ = extract(paths, cache)
    assert rows.shape == (24, 12)


def test_clearing_that_is_killed_leaves_no_wrong_row_and_can_be_done_again(cache: Path, paths: list[str]) -> None:
    reference, _ = extract(paths, None)
    copy = cache.with_name("copy")
    shutil.copytree(cache, copy)
    with faults.recording() as calls:
        clear_cache(copy)
    for at in range(0, len(calls), 3):
        shutil.rmtree(copy)
        shutil.copytree(cache, copy)
        with pytest.raises(faults.Killed), faults.killing(at):
            clear_cache(copy)
        assert not any(finding.is_damage for finding in verify_cache(copy))
        rows, _ = extract(paths, copy)
        assert (rows == reference).all()
        clear_cache(copy)
        assert not [path for path in copy.rglob("*") if path.is_file() and path.name != ".gitignore"]


@pytest.mark.parametrize("act", [describe_cache, verify_cache, compact_cache, clear_cache, clear_set_aside])
def test_what_is_no_cache_is_refused_and_left_alone(act: object, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.npy").write_text("mine")
    assert callable(act)
    with pytest.raises(StoreError, match="is no cache of featx.*Name the cache"):
        act(tmp_path / "photos")
    with pytest.raises(StoreError, match="There is no cache in.*extract something first"):
        act(tmp_path / "absent")
    with pytest.raises(StoreError, match="There is no cache"):
        act(tmp_path / "photos" / "a.npy")


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.parametrize("which", ["features", "compiled", "recipe"])
def test_folders_that_are_links_are_not_followed(which: str, cache: Path, tmp_path: Path, paths: list[str]) -> None:
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
        with pytest.raises(StoreError, match="is a symbolic link, which featx never makes"):
            clear_cache(cache)
    if which != "compiled":
        with pytest.raises(StoreError, match="is a symbolic link, which featx never makes"):
            extract(paths, cache)
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_two_compactions_and_readers_at_once_end_well(cache: Path, paths: list[str]) -> None:
    script = "import sys; from featx.cli.main import main; sys.exit(main(sys.argv[1:]))"

    def start(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", script, "cache", *args, "--cache", str(cache)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    for path in paths:
        extract([path], cache, image_size=20)  # a segment each
    commands = [("compact",), ("compact",), ("info", "--json"), ("verify",)]
    for done in [start(*args) for args in commands]:
        out, err = done.communicate(timeout=60)
        assert done.returncode == 0 or "compacted by another process just now" in err, out + err
        assert "Traceback" not in err
    assert verify_cache(cache) == []
    assert sum(recipe.rows for recipe in describe_cache(cache).recipes) >= 24 + 24 + 6


def test_a_cache_is_described_and_verified_while_it_is_filled_and_merged(cache: Path, paths: list[str]) -> None:
    stop = threading.Event()
    trouble: list[BaseException] = []

    def look() -> None:
        try:
            while not stop.is_set():
                info = describe_cache(cache)
                assert not any(recipe.unreadable_segments for recipe in info.recipes)
                assert not [finding for finding in verify_cache(cache) if finding.is_damage]
        except BaseException as error:
            trouble.append(error)

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
    assert not trouble


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_an_index_that_is_a_pipe_is_not_waited_for(cache: Path, paths: list[str]) -> None:
    (cache / "digests.sqlite").unlink()
    os.mkfifo(cache / "digests.sqlite")
    assert [finding.problem for finding in verify_cache(cache)] == ["not a regular file"]
    assert describe_cache(cache).known_files == 0
    with pytest.warns(StoreWarning, match="not a regular file"):
        extract(paths, cache)
    clear_cache(cache)


def test_an_index_that_is_held_by_another_is_no_damage(cache: Path) -> None:
    with contextlib.closing(sqlite3.connect(cache / "digests.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        (finding,) = verify_cache(cache)
    assert not finding.is_damage
    assert finding.consequence == "it could not be checked now"


def test_what_a_newer_featx_wrote_is_left_alone(cache: Path) -> None:
    (large,) = {path.parent for path in segments(cache) if len(list(path.parent.iterdir())) == 7}
    manifest = next(path for path in large.glob("*.json") if path.name != "recipe.json")
    manifest.write_text(checksummed_json.dump({**checksummed_json.load(manifest), "format": 99}))
    assert [recipe.unreadable_segments for recipe in describe_cache(cache).recipes if recipe.rows != 6] == [1]
    (finding,) = verify_cache(cache)
    assert "Upgrade featx" in finding.consequence
    assert not finding.is_damage
    with pytest.raises(StoreError, match="Upgrade featx"):
        compact_cache(cache)
    (large / "recipe.json").write_text(checksummed_json.dump({"format": 99, "recipe": {"new": 1}}))
    assert "?" in cache_info(cache).as_text()
    assert ["another format" in finding.problem for finding in verify_cache(cache)] == [True]
    with pytest.raises(StoreError, match="Upgrade featx"):
        compact_cache(cache)
    clear_cache(cache)
    assert os.listdir(cache) == [".gitignore"]


@pytest.mark.parametrize("act", [compact_cache, clear_cache])
def test_a_disk_that_refuses_is_one_line_with_a_remedy(act: object, cache: Path) -> None:
    assert callable(act)
    failing = faults.failing(errno.EROFS, "open", "replace", "unlink")
    with pytest.raises(StoreError, match="cannot be written: Read-only file system. What is committed"), failing:
        act(cache)
    assert verify_cache(cache) == []


def test_recipes_are_chosen_by_backbone(cache: Path) -> None:
    info = describe_cache(cache)
    assert len(find_recipes(info, "counting")) == 2
    with pytest.raises(
        OptionError, match=r"one with rows in the cache .*\(counting\), got 'countin'. Did you mean 'counting'"
    ):
        find_recipes(info, "countin")


def test_bytes_are_written_for_people() -> None:
    assert format_bytes(10**6) == "1.0 MB"
    assert format_bytes(3 * 10**15) == "3000.0 TB"
    assert format_count(0, "row") == "0 rows"
