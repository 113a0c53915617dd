from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError
from featx.workflows.prepare import as_table

TABLE = ImageTable(["a.jpg", "b.jpg"], ["cat", None], splits=["train", "test"], groups=["x", "y"])


def test_image_table_brings_labels_splits_and_groups() -> None:
    assert as_table(TABLE) == TABLE
    changed = as_table(TABLE, pd.Series([1, np.nan]), groups=iter(["p", "q"]), test_mask=np.array([True, False]))
    assert (changed.labels, changed.splits, changed.groups) == ([1.0, None], ["test", "train"], ["p", "q"])


def test_labels_are_needed_for_paths() -> None:
    assert as_table(iter(["a.jpg"]), ["cat"]).labels == ["cat"]
    with pytest.raises(ComparisonError, match="y must be the label of each image, got None"):
        as_table(["a.jpg"])
    with pytest.raises(ComparisonError, match=r"y must have one value per path \(2\), got 1"):
        as_table(["a.jpg", "b.jpg"], ["cat"])
