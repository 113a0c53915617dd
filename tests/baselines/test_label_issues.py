from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx import FeatureExtractor, compare_baselines, find_label_issues
from featx.errors import ComparisonError


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 2))])
def test_flipped_labels_are_detected(seed: int, ucmerced: list[str], compiled_cache: Path) -> None:
    rows = FeatureExtractor(cache=compiled_cache).transform(ucmerced)
    y = np.array([Path(path).parent.name for path in ucmerced])
    rng = np.random.default_rng(seed)
    flipped = rng.choice(len(y), round(0.05 * len(y)), replace=False)
    classes = np.unique(y)
    for row in flipped:
        y[row] = rng.choice(classes[classes != y[row]])
    comparison = compare_baselines(rows, y, estimators=["logreg"])
    issues = find_label_issues(comparison.y, comparison.probabilities["logreg"])
    hits = np.isin(issues["row"], flipped)
    assert hits.sum() >= 0.7 * len(flipped)
    assert hits.mean() >= 0.6
    assert hits[:20].mean() >= 0.8  # the likeliest come first


def test_no_issues() -> None:
    y = np.repeat(["a", "b"], 10)
    of_b = np.repeat([0.1, 0.9], 10)
    assert len(find_label_issues(y, np.column_stack([1 - of_b, of_b]))) == 0


def test_class_without_samples_is_not_suggested() -> None:
    probabilities = np.array([[0.1, 0.2, 0.7], [0.1, 0.9, 0.0], [0.8, 0.2, 0.0], [0.7, 0.3, 0.0]])
    issues = find_label_issues(["b", "b", "a", "a"], probabilities, classes=["a", "b", "c"])
    assert "c" not in issues["suggested"].tolist()


def test_a_class_that_was_not_trained_is_no_error() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    issues = find_label_issues(["a", "b", "c", "a"], probabilities, classes=["a", "b", "c"])
    assert issues["row"].tolist() == [3]


def test_invalid_probabilities() -> None:
    with pytest.raises(ComparisonError, match="must have shape \\(2, 2\\).*got shape \\(2, 3\\)"):
        find_label_issues(["a", "b"], np.zeros((2, 3)))
    with pytest.raises(ComparisonError, match="labels from classes only, got 'b'"):
        find_label_issues(["a", "b"], np.full((2, 2), 0.5), classes=["a", "c"])
    with pytest.raises(ComparisonError, match="must sum to 1.*predict_proba"):
        find_label_issues(["a", "b"], np.array([[2.0, 1.0], [0.3, 0.1]]))
