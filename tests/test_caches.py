from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from featx.caches import clear_cache, clear_set_aside, compact_cache, describe_cache, recipes_of_backbone, verify_cache
from featx.errors import OptionError, StoreError, StoreWarning
from featx.wording import counted, in_bytes
from tests import faults
from tests.conftest import CountingBackbone
from tests.test_extraction import extract


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
    assert info.graphs == 1
    assert info.known_files == 24
    on_disk = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file() and path.name != ".gitignore")
    assert info.bytes == on_disk
    text = info.as_text()
    assert "counting, float32, 32 × 32 squash" in text
    assert "24 rows of 12 features" in text
    assert "3 of the segments are small: featx cache compact merges them" in text


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
        graph.stem,
        "recipe.json",
        "digests.sqlite",
    }
    assert all(finding.is_damage for finding in found.values())
    assert "checksum" in found[rows.name].problem
    assert "extracted anew" in found[manifest.name].consequence
    assert "compiled anew" in found[graph.stem].consequence
    assert describe_cache(cache).as_text().count("1 damaged segment: ") == 1  # a manifest is, by its seal
    with pytest.warns(StoreWarning):
        extract(paths, cache)
    left = verify_cache(cache)
    assert {Path(finding.path).name for finding in left if finding.is_damage} == {graph.stem}
    assert clear_set_aside(cache) > 0
    assert [Path(finding.path).name for finding in verify_cache(cache)] == [graph.stem]


def test_rows_that_were_never_committed_are_left_over_and_no_damage(cache: Path) -> None:
    segments(cache, ".json")[0].unlink()
    (finding,) = verify_cache(cache)
    assert not finding.is_damage
    assert "never committed" in finding.problem


def test_compacting_merges_each_recipe_and_computes_nothing(
    cache: Path, paths: list[str], counting: CountingBackbone
) -> None:
    done = compact_cache(cache)
    assert sorted((one.before, one.after) for one in done.values()) == [(1, 1), (3, 1)]
    assert "3 segments → 1, 24 rows moved" in [one.as_text() for one in done.values()]
    counting.n_shown = 0
    extract(paths, cache)
    assert counting.n_shown == 0
    assert verify_cache(cache) == []


def test_clearing_one_recipe_leaves_the_others(cache: Path, paths: list[str], counting: CountingBackbone) -> None:
    small = next(recipe for recipe in describe_cache(cache).recipes if recipe.rows == 6)
    clear_cache(cache, fingerprints=[small.fingerprint])
    assert [recipe.rows for recipe in describe_cache(cache).recipes] == [24]
    counting.n_shown = 0
    extract(paths, cache)
    assert counting.n_shown == 0


def test_clearing_removes_what_is_featx_s_and_nothing_else(cache: Path) -> None:
    kept = [cache / "mine.txt", cache / "features" / "mine.npy", segments(cache)[0].parent / "notes.json"]
    for path in kept:
        path.write_text("mine")
    clear_cache(cache)
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == sorted([*kept, cache / ".gitignore"])


def test_clearing_leaves_a_cache_that_works(cache: Path, paths: list[str]) -> None:
    clear_cache(cache)
    assert sorted(os.listdir(cache)) == [".gitignore"]
    assert describe_cache(cache).as_text().count("no rows") == 1
    rows, _ = extract(paths, cache)
    assert rows.shape == (24, 12)


def test_clearing_that_is_killed_leaves_no_wrong_row_and_can_be_done_again(cache: Path, paths: list[str]) -> None:
    reference, _ = extract(paths, None)
    copy = cache.with_name("copy")
    shutil.copytree(cache, copy)
    with faults.watching() as calls:
        clear_cache(copy)
    for at in range(0, len(calls), 3):
        shutil.rmtree(copy)
        shutil.copytree(cache, copy)
        with pytest.raises(faults.Killed), faults.killing(at):
            clear_cache(copy)
        assert not any(finding.is_damage and "recipe.json" not in finding.path for finding in verify_cache(copy))
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


def test_a_recipe_s_folder_that_is_a_link_is_not_followed(cache: Path, tmp_path: Path, paths: list[str]) -> None:
    folder = segments(cache)[0].parent
    os.replace(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert len(describe_cache(cache).recipes) == 1
    clear_cache(cache)
    assert list((tmp_path / "elsewhere").glob("*.npy"))
    with pytest.raises(StoreError, match="is a symbolic link, which featx never makes"):
        extract(paths, cache)
        extract(paths, cache, image_size=16)


@pytest.mark.parametrize("act", [compact_cache, clear_cache])
def test_a_disk_that_refuses_is_one_line_with_a_remedy(act: object, cache: Path) -> None:
    assert callable(act)
    failing = faults.failing(errno.EROFS, "open", "replace", "unlink")
    with pytest.raises(StoreError, match="cannot be written: Read-only file system. What is committed"), failing:
        act(cache)
    assert verify_cache(cache) == []


def test_recipes_are_chosen_by_backbone(cache: Path) -> None:
    info = describe_cache(cache)
    assert len(recipes_of_backbone(info, "counting")) == 2
    with pytest.raises(OptionError, match="no rows of backbone 'countin'. Did you mean 'counting'"):
        recipes_of_backbone(info, "countin")


def test_bytes_are_written_for_people() -> None:
    assert in_bytes(10**6) == "1.0 MB"
    assert in_bytes(3 * 10**15) == "3000.0 TB"
    assert counted(0, "row") == "0 rows"
