from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from featx import check_images, find_images
from featx.datasets.image_table import ImageTable
from featx.datasets.label_names import (
    joined_tags_note,
    measured_note,
    missing_labels_note,
    similar_names_note,
    unknown_classes_note,
)
from featx.workflows.labeled_images import prepare_table

_NUMBERS = itertools.count()
NFD = unicodedata.normalize("NFD", "for\u00eat")


def table(labels: list[Any]) -> ImageTable:
    return ImageTable([f"{next(_NUMBERS)}.jpg" for _ in labels], labels)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([0, 1], [0.0, 1.0], [0, 1, 0.0, 1.0]),
        (["0", "1"], ["0.0", "1.0"], ["0", "1", "0", "1"]),
        (["0", "1"], [0, 1], ["0", "1", "0", "1"]),
        ([0, 1], ["0.0", "1.0"], ["0", "1", "0", "1"]),
        (["cat", "1"], [1], ["cat", "1", "1"]),
        (["1.0", "2.0"], ["1.0"], ["1.0", "2.0", "1.0"]),
        (["007"], ["7"], ["007", "7"]),
    ],
    ids=str,
)
def test_labels_of_two_sources_have_one_type(train: list[Any], test: list[Any], expected: list[Any]) -> None:
    assert prepare_table(table(train), table(test), []).labels == expected


def test_labels_of_two_tables(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label\na.jpg,0\nb.jpg,1\n")
    (tmp_path / "test.csv").write_text("path,label\nc.jpg,0.0\nd.jpg, 1.0 \n")
    train, test = (find_images(tmp_path / name) for name in ("train.csv", "test.csv"))
    notes: list[str] = []
    assert prepare_table(train, test, notes).labels == [0, 1, 0, 1]
    assert notes == []


def test_blanks_and_unicode_forms_are_removed(tmp_path: Path) -> None:
    for name in (f"train/{NFD} /1.jpg", "test/for\u00eat/2.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    assert set(find_images(tmp_path).labels) == {"for\u00eat"}


def test_similar_names_are_noted_once() -> None:
    names = ["beach", "Beach", "BEACH ", "beach_", "sea-side", "sea side", "forest", "1", "-1", "1.0", "10"]
    note = similar_names_note(names)
    assert note.startswith("Classes with similar names are different classes: 'beach' and 'Beach' and 'BEACH ' and ")
    assert "'sea-side' and 'sea side'" in note
    assert "forest" not in note
    assert "1" not in note
    assert similar_names_note([0, 1, "cat", "dog"]) == ""
    assert len(similar_names_note([name for number in range(99) for name in (f"a{number}", f"A{number}")])) < 300


def test_check_and_comparison_note_similar_names(tmp_path: Path) -> None:
    for name in ("beach/1.jpg", "Beach/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    assert "'Beach' and 'beach'" in check_images(tmp_path).as_text()
    notes: list[str] = []
    prepare_table(find_images(tmp_path), None, notes)
    assert len(notes) == 1


def test_unknown_test_classes_have_a_suggestion() -> None:
    assert unknown_classes_note(["beach", "forest"], ["Beach"]).endswith("'Beach'. Did you mean 'beach'?")
    assert unknown_classes_note(["beach", "forest"], ["forrest"]).endswith("'forrest'. Did you mean 'forest'?")
    assert unknown_classes_note(["beach"], ["zebra"]).endswith("'zebra'. Check the labels of both.")
    assert unknown_classes_note([0, 1], [0, 1]) == ""
    note = unknown_classes_note(["beach"], [f"class{number}" for number in range(50)])
    assert note.endswith("'class4' and 45 more.")
    notes: list[str] = []
    prepare_table(table(["beach", "forest"]), table(["Beach", "forest"]), notes)
    assert notes[-1] == "No training image has the test class 'Beach'. Did you mean 'beach'?"


def test_unlabeled_test_images_leave_cross_validation() -> None:
    split = ImageTable(list("abcd"), ["cat", "dog", None, None], splits=["train", "train", "test", "test"])
    notes: list[str] = []
    prepared = prepare_table(split, None, notes)
    assert prepared.splits is None
    assert notes[-1] == "No test image has a label: the training images are used for cross-validation."


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        (["beach", "nan", "nan"], "2 images have labels that often mean a missing one: 'nan'"),
        (["a", "None", "b", "?"], "2 images have labels that often mean a missing one: 'None', '?'"),
        ([0, 1, -1, 1], "1 image has a label that often means a missing one: -1"),
        (["0", "1", "-1", "1"], "1 image has a label that often means a missing one: '-1'"),
        ([-1, 1, 1], ""),
        ([-1, 0, 5], ""),
        ([-1.0, 0.0, 1.0], ""),
        (["none", "scratch", "unknown"], ""),
    ],
)
def test_labels_that_often_mean_a_missing_one(labels: list[Any], listed: str) -> None:
    note = missing_labels_note(labels)
    assert note == (f"{listed}. If so, remove these labels: an empty cell, None or NaN." if listed else "")


def test_leading_zeros_are_similar_names() -> None:
    assert similar_names_note(["1", "001", "010", "10", "2"]).startswith(
        "Classes with similar names are different classes: '1' and '001'; '010' and '10'."
    )
    assert similar_names_note(["001", "002", "0", "010"]) == ""


def test_classes_that_are_numbered_in_another_way() -> None:
    assert "test classes are numbered from 1, and training classes from 0" in unknown_classes_note([0, 1, 1], [2, 1])
    assert "test classes are numbered from 0, and training classes from 1" in unknown_classes_note([1, 2], [0, 1])
    assert "Check the labels" in unknown_classes_note([0, 1], [1, 3])
    assert prepare_table(table([True, False]), table([1, 0]), []).labels == [1, 0, 1, 0]
    assert prepare_table(table([True]), table([False]), []).labels == [True, False]


def test_invisible_characters_are_no_part_of_names() -> None:
    frame = pd.DataFrame({"path": list("abc"), "label": ["\ufeffcat", "cat\u200b ", "café\u00a0"]})
    assert find_images(frame).labels == ["cat", "cat", "café"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a|b", "b", "a", "c|a", "b|c", "c"], "label_separator='|'"),
        (
            [
                "haze primary",
                "clear primary",
                "haze",
                "clear",
                "clear road primary",
                "haze road",
                "road primary",
                "road",
            ],
            "' '",
        ),
        (["['x', 'y']", "['y']"], "map(ast.literal_eval)"),
        (["polar bear", "brown bear", "panda"], ""),
        (["Smith, Jane", "Doe, John", "Roe, Jane"], ""),
        (["a;b", "c"], ""),
        (["a;b", "a", "b"], "label_separator=';'"),
    ],
)
def test_tags_in_one_text_are_noted(labels: list[str], words: str) -> None:
    note = joined_tags_note(labels)
    assert words in note
    assert bool(note) == bool(words)
    notes: list[str] = []
    prepare_table(table(labels), None, notes)
    assert (note in notes) == bool(words)


@pytest.mark.parametrize(
    ("labels", "unit"),
    [
        (["10 cm", "20 cm", "12.5 cm"], "cm"),
        (["10%", "20%", "35%"], "%"),
        (["2D", "3D"], ""),
        (["1st", "2nd", "3rd"], ""),
        (["1", "2", "3"], ""),
        (["10 cm", "20 cm", "cat"], ""),
    ],
)
def test_numbers_with_a_unit_are_noted(labels: list[str], unit: str) -> None:
    note = measured_note(labels)
    assert bool(note) == bool(unit)
    notes: list[str] = []
    prepare_table(table(labels), None, notes)
    assert (note in notes) == bool(unit)
    if unit:
        assert f"remove {unit!r}, so that they are numbers" in note
