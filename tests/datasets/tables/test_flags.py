"""Columns of 0 and 1: tags, or classes that are one-hot encoded."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from featx import find_images
from featx.errors import SourceError

ONE_HOT = {"MEL": [1.0, 0.0, 0.0], "NV": [0.0, 1.0, 0.0], "Not known": [0.0, 0.0, 1.0]}
TAGS = {"sea": [1, 0, 1], "a beach": [1, "", 0], "is_test": [0, 1, 0]}
CLASSES = ["MEL", "NV", "Not known"]


def table_of(columns: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({"image": ["1.jpg", "2.jpg", "3.jpg"], **columns})


def write(columns: dict[str, list[Any]], folder: Path) -> Path:
    table_of(columns).to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def remedied(text: str, table: pd.DataFrame) -> pd.DataFrame:
    """Carry the statement of pandas in a message out."""
    statement = re.search(r"table\[.*?\] = table\[.*?\]\.\w+\(.*?\)", text)
    assert statement is not None
    exec(statement[0], {"table": table})
    return table


def test_columns_of_one_hot_classes_are_named(tmp_path: Path) -> None:
    path = write(ONE_HOT, tmp_path)
    for reason in (find_images(path).no_labels_reason, find_images(table_of(ONE_HOT)).no_labels_reason):
        assert "Each row has a 1 in one of 3 columns" in reason
        assert find_images(remedied(reason, table_of(ONE_HOT))).labels == CLASSES
    tags = find_images(path, label_column=list(ONE_HOT))
    assert [label.names for label in tags.labels] == [(name,) for name in CLASSES]
    (note,) = tags.notes
    assert "has exactly one tag. If these are classes, add a column" in note
    assert find_images(remedied(note, table_of(ONE_HOT))).labels == CLASSES


def test_columns_of_tags_are_named(tmp_path: Path) -> None:
    path = write(TAGS, tmp_path)
    table = find_images(path)
    options = re.search(r"label_column=(.*) \((.*)\)\.$", table.no_labels_reason)
    assert options is not None
    assert shlex.split(options[2]) == ["--label-column", "sea", "--label-column", "a beach"]
    tags = find_images(path, label_column=shlex.split(options[2])[1::2])
    assert [label.names for label in tags.labels] == [("a beach", "sea"), (), ("sea",)]
    assert not any("exactly one tag" in note for note in tags.notes)
    assert "pass y=table[['sea', 'a beach']]" in find_images(table_of(TAGS)).no_labels_reason
    assert "Pass label_column (--label-column)." in find_images(table_of({"sea": [1, 0, 1]})).no_labels_reason


def test_uncertain_tags_are_to_be_replaced(tmp_path: Path) -> None:
    columns = {"edema": [1, -1, ""], "fracture": [0, 1, 1]}
    path = write(columns, tmp_path)
    assert "label_column=['edema', 'fracture']" in find_images(path).no_labels_reason
    with pytest.raises(SourceError, match="got '-1'. If it means uncertain") as error:
        find_images(path, label_column=list(columns))
    remedied(str(error.value), pd.read_csv(path)).to_csv(path, index=False)
    labels = find_images(path, label_column=list(columns)).labels
    assert [label.names for label in labels] == [("edema",), ("fracture",), ("fracture",)]


@pytest.mark.parametrize(
    ("rows", "options", "remedy"),
    [
        ("1.jpg,sea\n2.jpg,beach\n", {"label_separator": ";"}, "leave out label_separator"),
        ("1.jpg,sea\n2.jpg,sea\n", {"label_separator": ";"}, ""),
        ("1.jpg,sea;beach\n2.jpg,beach\n", {"label_separator": ";"}, ""),
    ],
)
def test_one_tag_of_each_image_is_noted(rows: str, options: dict[str, str], remedy: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\n" + rows)
    notes = find_images(tmp_path / "t.csv", **options).notes  # type: ignore[arg-type]
    assert bool(notes) == bool(remedy)
    assert remedy in " ".join(notes)
