from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featx.datasets.labels import infer_task, validate_labels
from featx.errors import ComparisonError


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.array([True, False]), "classification"),
        (np.arange(20).repeat(2), "classification"),
        (np.arange(21).repeat(4), "regression"),
        (np.arange(21).repeat(5), "classification"),
        (np.array([1.0, 2.0]), "classification"),
        (np.array([1.0, 2.5]), "regression"),
        (np.array([1, 2.5], dtype=object), "regression"),
        (np.array(["1.5", "2.5"]), "classification"),
    ],
    ids=str,
)
def test_the_task_follows_from_the_labels(y: Any, task: str) -> None:
    assert infer_task(y) == task


def test_labels_become_what_suits_the_task() -> None:
    assert validate_labels(np.array(["1.5", "2"]), "regression").tolist() == [1.5, 2.0]
    assert validate_labels(np.array(["a", "b"], dtype=object), "classification").dtype.kind == "U"
    assert validate_labels(np.array([1, 2], dtype=object), "classification").dtype.kind == "i"


@pytest.mark.parametrize(
    ("y", "task", "words"),
    [
        ([1, "a"], "classification", "mix numbers and text: 1 and 'a'"),
        (["1.5", "many"], "regression", "Labels for regression must be numbers, got 'many'"),
        ([1.0, float("inf")], "regression", "finite"),
        ([(1, 2), (3, 4)], "classification", "Labels must be text or numbers, got \\(1, 2\\)"),
    ],
    ids=str,
)
def test_labels_that_do_not_suit_it_are_named(y: list[Any], task: str, words: str) -> None:
    labels = np.empty(len(y), dtype=object)
    labels[:] = y
    with pytest.raises(ComparisonError, match=words):
        validate_labels(labels, task)
