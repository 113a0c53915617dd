from __future__ import annotations

import random

import pytest

from featx.datasets.layout import FolderLevel, Layout, layout_of_names, split_folders


def test_folder_level_depends_on_distinct_names_only() -> None:
    chance = random.Random(0)
    for _ in range(2000):
        known = ["train", "Train", "test", "val"]
        names = chance.choices([*known, *chance.choice([[], ["", "cat", "dog"]])], k=chance.randrange(1, 6))
        level = FolderLevel()
        for name in names:
            level.add(name)
        assert level.is_single == (len(set(names)) == 1)
        assert level.splits() == split_folders(set(names)), names


def test_folder_level_has_bounded_size() -> None:
    level = FolderLevel()
    for number in range(1000):
        level.add(f"class{number}")
        level.add("train")
    assert len(level._names) < 8


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "test"], {"train": "train", "test": "test"}),
        (["train", "val"], {"train": "train", "val": "test"}),
        (["train", "val", "test"], {"train": "train", "val": "train", "test": "test"}),
        (["train", "training"], {}),
        (["train"], {}),
        (["val", "test"], {}),
        (["train", "test", "cat"], {}),
        ([], {}),
    ],
    ids=str,
)
def test_split_folders(names: list[str], splits: dict[str, str]) -> None:
    assert split_folders(names) == splits


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["cat/1.jpg", "dog/2.jpg"], [("cat", None), ("dog", None)]),
        (["all/cat/1.jpg", "all/dog/2.jpg"], [("cat", None), ("dog", None)]),
        (["cat/1.jpg", "cat/2.jpg"], [("cat", None), ("cat", None)]),
        (["1.jpg", "cat/2.jpg"], [(None, None), ("cat", None)]),
        (["all/train/cat/1.jpg", "all/test/2.jpg"], [("cat", "train"), (None, "test")]),
    ],
    ids=str,
)
def test_layout_of_names(names: list[str], rows: list[tuple[str | None, str | None]]) -> None:
    levels = FolderLevel(), FolderLevel()
    for name in names:
        folders = [*name.split("/")[:-1], "", ""]
        for level, folder in zip(levels, folders, strict=False):
            level.add(folder)
    layout = layout_of_names(levels, is_deep=any(name.count("/") > 1 for name in names))
    assert [layout.label_and_split(name) for name in names] == rows


def test_labels_of_urls_are_decoded() -> None:
    assert Layout(is_url_encoded=True).label_and_split("caf%C3%A9/1.jpg") == ("caf\u00e9", None)
