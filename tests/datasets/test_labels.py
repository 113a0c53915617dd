from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array, csc_matrix, csr_array

from featx.datasets import labels as labels_module
from featx.datasets.labels import as_label_array, describe_inferred_task, infer_task, validate_data, validate_labels
from featx.errors import ComparisonError


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.array([True, False]), "classification"),
        (np.arange(20).repeat(2), "classification"),
        (np.arange(21).repeat(4), "classification"),
        (np.arange(1, 22).repeat(2), "classification"),
        (np.arange(21), "regression"),
        (np.append(np.arange(21).repeat(2), 21), "regression"),
        (np.arange(2, 23).repeat(4), "regression"),
        (2 * np.arange(21).repeat(4), "regression"),
        (np.arange(21).repeat(5), "classification"),
        (np.array([1.0, 2.0]), "classification"),
        (np.array([1.0, 2.5]), "regression"),
        (np.array([1, 2.5], dtype=object), "regression"),
        (np.array(["1.5", "2.5"]), "classification"),
    ],
    ids=str,
)
def test_infer_task(y: Any, task: str) -> None:
    assert infer_task(y) == task


def test_integers_that_are_taken_for_a_continuous_target_are_noted() -> None:
    note = describe_inferred_task(2 * np.arange(21).repeat(4))
    assert note.startswith("The labels are integers with 21 distinct values")
    assert "--task classification" in note
    for y in (np.arange(21).repeat(4), np.array([1.5, 2.5]), np.array(["a", "b"])):
        assert describe_inferred_task(y) == ""


def test_validate_labels() -> None:
    assert validate_labels(np.array(["1.5", "2"]), "regression").tolist() == [1.5, 2.0]
    assert validate_labels(np.array(["a", "b"], dtype=object), "classification").dtype.kind == "U"
    assert validate_labels(np.array([1, 2], dtype=object), "classification").dtype.kind == "i"


@pytest.mark.parametrize(
    ("y", "task", "words"),
    [
        ([1, "a"], "classification", "mix numbers and text: 1 and 'a'"),
        (["1.5", "many"], "regression", "must be numbers, got 'many' in row 1. Drop that row, or pass task"),
        (["few", 2, "many"], "regression", "got 'few' in row 0 and 1 other row. Drop those rows, or pass task"),
        (["few", "many"], "regression", "got 'few' in row 0 and 1 other row. Pass task"),
        ([1.0, float("inf")], "regression", "finite"),
        ([(1, 2), (3, 4)], "classification", "Labels must be text or numbers, got \\(1, 2\\)"),
    ],
    ids=str,
)
def test_invalid_labels(y: list[Any], task: str, words: str) -> None:
    labels = np.empty(len(y), dtype=object)
    labels[:] = y
    with pytest.raises(ComparisonError, match=words):
        validate_labels(labels, task)


@pytest.mark.parametrize(
    "y", [pd.Series([1, 2]), [1, 2], (1, 2), iter([1, 2]), np.array([1, 2])], ids=lambda y: type(y).__name__
)
def test_label_array_of_every_type(y: Any) -> None:
    assert as_label_array(y).tolist() == [1, 2]


def test_label_array_keeps_types() -> None:
    assert as_label_array(["a", None, 1]).tolist() == ["a", None, 1]
    assert as_label_array(iter(["a", float("nan")])).dtype == object


def test_validate_data_drops_samples_without_label() -> None:
    X, y, rows, notes = validate_data(np.eye(3), ["a", None, "b"])
    assert (X.shape, y.tolist(), rows.tolist()) == ((2, 3), ["a", "b"], [0, 2])
    assert notes == ["Dropped 1 of 3 rows without a label: 1."]
    with pytest.raises(ComparisonError, match="first in row 2. Drop these rows"):
        validate_data(np.array([[1.0], [np.nan], [np.inf]]), ["a", None, "b"])


@pytest.mark.parametrize("kind", [csr_array, csc_matrix, coo_array])
def test_sparse_tags_are_not_made_dense(kind):
    dense = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]])
    with forbidding_toarray(kind(dense)) as matrix:
        assert [str(tags) for tags in as_label_array(matrix)] == ["1;2", "", "0"]
    with forbidding_toarray(kind(np.eye(3))) as matrix, pytest.raises(ComparisonError, match="one-hot labels of shape"):
        as_label_array(matrix)
    with forbidding_toarray(kind(2 * dense)) as matrix, pytest.raises(ComparisonError, match="Pass y != 0 for tags"):
        as_label_array(matrix)
    assert as_label_array((kind(2 * dense) != 0).astype(int)).tolist() == as_label_array(dense).tolist()
    assert as_label_array(kind(np.array([[3], [5]]))).tolist() == [3, 5]


@contextlib.contextmanager
def forbidding_toarray(matrix):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(matrix), "toarray", None)
        yield matrix


def test_a_long_text_does_not_lengthen_others(monkeypatch):
    labels = ["cat", "dog", "x" * 1000] * 4
    short = as_label_array(labels)
    monkeypatch.setattr(labels_module, "MAX_TEXT_BYTES", 1000)
    for given in (labels, np.array(labels), np.array(labels, dtype=object)):
        y = validate_labels(as_label_array(given), "classification")
        assert y.dtype == object
        assert y[0] is y[3]
        assert np.array_equal(np.unique(y, return_inverse=True)[1], np.unique(short, return_inverse=True)[1])
