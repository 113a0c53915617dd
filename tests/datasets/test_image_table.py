from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx.datasets.image_table import ImageTable, as_path_list
from featx.errors import InputError

TABLE = ImageTable(["a.jpg", "b.jpg", "c.jpg"], ["cat", None, "dog"], splits=["train", None, "test"])


def test_length_iteration_and_repr() -> None:
    assert len(TABLE) == 3
    assert list(TABLE) == [("a.jpg", "cat", "train"), ("b.jpg", None, None), ("c.jpg", "dog", "test")]
    assert [row.path for row in TABLE] == TABLE.paths
    assert repr(TABLE) == "<ImageTable: 3 images; 2 labeled, 2 distinct labels; 1 train, 1 test>"
    assert repr(ImageTable(["a.jpg"], [None])) == "<ImageTable: 1 image>"
    assert list(ImageTable(["a.jpg"], [1])) == [("a.jpg", 1, None)]


def test_to_frame() -> None:
    frame = TABLE.to_frame()
    assert list(frame.columns) == ["path", "label", "split"]
    assert frame["label"].tolist() == ["cat", None, "dog"]
    numbers = ImageTable(["\udcff.jpg", "b.jpg"], [1, 2], groups=["x", None]).to_frame()
    assert numbers["label"].dtype.kind == "i"
    assert list(numbers.columns) == ["path", "label", "group"]


def test_select_and_labeled() -> None:
    assert TABLE.labeled().paths == ["a.jpg", "c.jpg"]
    assert TABLE.select([2, 0]).splits == ["test", "train"]


@pytest.mark.parametrize(
    "paths",
    [
        ["a.jpg", Path("b.jpg")],
        ("a.jpg", "b.jpg"),
        np.array(["a.jpg", "b.jpg"]),
        pd.Series(["a.jpg", "b.jpg"]),
        pd.DataFrame({"x": ["a.jpg", "b.jpg"]}),
        ImageTable(["a.jpg", "b.jpg"], [None, None]),
        iter(["a.jpg", "b.jpg"]),
    ],
    ids=lambda paths: type(paths).__name__,
)
def test_paths_of_every_type(paths: Any) -> None:
    assert as_path_list(paths) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(("paths", "words"), [("a.jpg", "single str"), (["a.jpg", 3], "got int at index 1")], ids=str)
def test_invalid_paths(paths: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_path_list(paths)
