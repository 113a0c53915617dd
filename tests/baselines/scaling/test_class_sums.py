from __future__ import annotations

import numpy as np

from featx.baselines.scaling.class_sums import class_sums
from featx.datasets.labels import encode_targets


def test_sums_equal_the_product_with_dense_columns() -> None:
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(200, 7)), random.permutation(np.arange(200) % 11)
    expected = encode_targets(labels, "classification").T @ rows
    np.testing.assert_allclose(class_sums(rows, labels, 11), expected, atol=1e-12)


def test_classes_and_blocks_may_be_empty() -> None:
    rows = np.ones((3, 2))
    assert class_sums(rows, np.array([1, 1, 1]), 3).tolist() == [[0, 0], [3, 3], [0, 0]]
    assert class_sums(rows[:0], np.array([], dtype=np.int64), 2).tolist() == [[0, 0], [0, 0]]
