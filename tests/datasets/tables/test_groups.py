"""Columns of splits and groups that are not used."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from featx import find_images

TABLE = pd.DataFrame(
    {"path": ["a.jpg", "b.jpg", "c.jpg"], "Split": ["train", "train", "test"], "patient_id": ["P1", "P1", "P2"]}
)


def test_unused_columns_are_noted(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    for source in (tmp_path / "t.csv", TABLE):
        table = find_images(source)
        assert len(table.notes) == 2
        assert "pass split_column='Split' (--split-column Split)" in table.notes[0]
        assert "pass group_column='patient_id' (--group-column patient_id)" in table.notes[1]
        used = find_images(source, split_column="Split", group_column="patient_id")
        assert (used.splits, used.groups, used.notes) == (["train", "train", "test"], ["P1", "P1", "P2"], ())


@pytest.mark.parametrize(
    "columns", [{"split": ["a", "b", "c"]}, {"split": [1, 2, 2]}, {"patient": ["P1", "P2", "P3"]}, {"group": ["x"] * 3}]
)
def test_columns_of_other_values_are_not_noted(columns: dict[str, list[Any]]) -> None:
    assert find_images(TABLE[["path"]].assign(**columns)).notes == ()


@pytest.mark.parametrize(
    ("name", "values", "splits"),
    [
        ("is_test", [0, 1, 0], ["train", "test", "train"]),
        ("is_valid", [True, False, False], ["test", "train", "train"]),
        ("Train", ["1", "0", ""], ["train", "test", None]),
        ("test", [0.0, 1.0, None], ["train", "test", None]),
    ],
)
def test_columns_of_flags_are_splits(name: str, values: list[Any], splits: list[str | None], tmp_path: Path) -> None:
    table = TABLE[["path"]].assign(**{name: values})
    table.to_csv(tmp_path / "t.csv", index=False)
    for source in (tmp_path / "t.csv", table):
        (note,) = find_images(source).notes
        assert f"pass split_column={name!r} (--split-column {name})" in note
        assert find_images(source, split_column=name).splits == splits
    assert find_images(TABLE[["path"]].assign(test_result=[0, 1, 0])).notes == ()


def test_splits_in_columns_of_any_name_are_noted() -> None:
    (note,) = find_images(TABLE[["path"]].assign(dataset=["train", "train", "test"])).notes
    assert "pass split_column='dataset'" in note
    (note,) = find_images(TABLE[["path"]].assign(fold=[0, 1, 1])).notes
    assert "pass group_column='fold'" in note


def test_a_given_column_precedes_the_names_of_files(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for name in ("train", "test"):
        TABLE.to_parquet(tmp_path / f"{name}.parquet")
    files = [tmp_path / "train.parquet", tmp_path / "test.parquet"]
    assert find_images(files).splits == ["train"] * 3 + ["test"] * 3
    table = find_images(files, split_column="Split")
    assert table.splits == ["train", "train", "test"] * 2
    assert not any("Files are splits" in note for note in table.notes)


@pytest.mark.parametrize("name", ["lesion_id", "Patient ID", "StudyInstanceUID", "case", "CaseID", "series", "kfold"])
def test_columns_of_groups_are_noted(name: str) -> None:
    table = TABLE[["path"]].assign(**{name: ["1", "1", "2"]})
    (note,) = find_images(table).notes
    assert f"pass group_column={name!r} (--group-column {shlex.quote(name)})" in note
    assert find_images(table, group_column=name).groups == ["1", "1", "2"]
    assert find_images(table, label_column=name).notes == ()


def test_images_with_several_labels_are_noted(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ["a.jpg", "a.jpg", "b.jpg", "c.jpg", "c.jpg"], "label": ["x", "y", "x", "y", "y"]})
    table.to_csv(tmp_path / "t.csv", index=False)
    for source in (tmp_path / "t.csv", table):
        (note,) = find_images(source).notes
        assert note.startswith("1 image has rows with different labels, such as")
        assert "a.jpg' ('x', 'y')" in note
    joined = table.groupby("path", as_index=False)["label"].agg(lambda labels: ";".join(sorted(set(labels))))
    joined.to_csv(tmp_path / "t.csv", index=False)  # the remedy
    tags = find_images(tmp_path / "t.csv", label_separator=";")
    assert [label.names for label in tags.labels] == [("x", "y"), ("x",), ("y",)]
    assert tags.notes == ()
