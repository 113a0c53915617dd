from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx.baselines.folds.groups import group_codes
from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError, InputError
from featx.workflows.labeled_images import as_image_table, prepare_table

TABLE = ImageTable(["a.jpg", "b.jpg"], ["cat", None], splits=["train", "test"], groups=["x", "y"])


def test_image_table_provides_labels_splits_and_groups() -> None:
    assert as_image_table(TABLE) == TABLE
    changed = as_image_table(TABLE, pd.Series([1, np.nan]), groups=iter(["p", "q"]), test_mask=np.array([True, False]))
    assert (changed.labels, changed.splits, changed.groups) == ([1.0, None], ["test", "train"], ["p", "q"])


def test_paths_require_labels() -> None:
    assert as_image_table(iter(["a.jpg"]), ["cat"]).labels == ["cat"]
    with pytest.raises(ComparisonError, match="y must be the label of each image, got None"):
        as_image_table(["a.jpg"])
    with pytest.raises(ComparisonError, match=r"y must have one value per image \(2\), got 1"):
        as_image_table(["a.jpg", "b.jpg"], ["cat"])
    with pytest.raises(ComparisonError, match=r"groups must have one value per image \(2\), got 3"):
        as_image_table(["a.jpg", "b.jpg"], ["a", "b"], groups=[1, 2, 3])


def test_single_path_is_an_error() -> None:
    with pytest.raises(InputError, match="single"):
        as_image_table("photos", ["a"])


@pytest.mark.parametrize("mask", [["False", "True"], [None, True], [0, 2], [float("nan"), 1]])
def test_a_mask_of_other_values_is_an_error(mask: list[Any]) -> None:
    with pytest.raises(ComparisonError, match=r'test_mask must have True or False .*test_mask=\[name == "test"'):
        as_image_table(["a.jpg", "b.jpg"], ["a", "b"], test_mask=mask)


@pytest.mark.parametrize("mask", [[False, True], np.array([0, 1]), [0.0, 1.0], pd.Series([False, True])])
def test_a_mask_of_numbers_is_a_mask(mask: Any) -> None:
    assert as_image_table(["a.jpg", "b.jpg"], ["a", "b"], test_mask=mask).splits == ["train", "test"]


def test_groups_are_the_same_with_blanks_around_them() -> None:
    table = as_image_table(list("abcde"), [0, 1, 0, 1, 0], groups=["P1", "P1 ", "nan", "p1", None])
    assert table.groups == ["P1", "P1", None, "p1", None]
    assert table.notes == (
        "Groups with similar names are different groups: 'P1' and 'p1'. Rename them if they are the same, so that no "
        "split divides them.",
        "2 images without a group: each is a group of its own.",
    )
    assert group_codes(["P1", "P1 ", "p1"], 3).tolist() == [0, 0, 1]


def test_only_the_test_split_of_a_test_source_is_used() -> None:
    train = ImageTable(["a", "b"], ["x", "y"])
    test = ImageTable(["c", "d", "e"], ["x", "y", "x"], splits=["train", "test", "test"])
    notes: list[str] = []
    joined = prepare_table(train, test, notes)
    assert list(joined) == [("a", "x", "train"), ("b", "y", "train"), ("d", "y", "test"), ("e", "x", "test")]
    assert notes == ["Of the test source, only its test split is used: 2 of 3 images."]


def test_notes_of_long_names_are_short() -> None:
    names = ["x" * 50_000, "x" * 50_000 + "."]
    notes: list[str] = []
    prepare_table(ImageTable(["a", "b"], names, notes=(f"{names[0]!r} is long",)), None, notes)
    assert len(notes) == 2
    assert all(len(note) < 1000 for note in notes)


def test_labels_of_python_are_those_of_tables() -> None:
    names = [" cat", "cat\u00a0", "", "cafe\u0301"]
    assert as_image_table(list("abcd"), names).labels == ["cat", "cat", None, "café"]
    assert as_image_table(list("ab"), np.array([b"cat", b"dog"])).labels == ["cat", "dog"]


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ({"a": "cat", "b": "dog"}, r"y must have an order, got dict\. Pass .*\[y\[path\] for path in images\]"),
        ({"cat", "dog"}, "y must have an order, got set"),
        ([[0.9, 0.1], [0.2, 0.8]], r"values such as 0\.9\. Round probabilities, \(y > 0\.5\)\.astype\(int\)"),
        (np.array([[1, -1], [0, 1]]), "values such as -1"),
    ],
)
def test_labels_without_order_or_of_other_values_are_errors(y: Any, words: str) -> None:
    with pytest.raises(ComparisonError, match=words):
        as_image_table(["a", "b"], y)
