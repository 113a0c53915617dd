from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError, InputError
from featx.workflows.labeled_images import as_image_table

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
