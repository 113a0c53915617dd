from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_validate

from featx import compare_baselines
from featx.baselines import BASELINES, make_baseline
from featx.errors import ComparisonError, OptionError

COLUMNS = [
    "estimator",
    "accuracy_mean",
    "accuracy_std",
    "f1_macro_mean",
    "f1_macro_std",
    "fit_seconds",
    "predict_seconds",
]


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    X, y = load_digits(return_X_y=True)
    return X[:400].astype(np.float32), y[:400]


def test_the_table_has_a_row_for_each_estimator(digits: Any) -> None:
    comparison = compare_baselines(*digits)
    assert list(comparison.table.columns) == COLUMNS
    assert comparison.table["estimator"].tolist() == list(BASELINES)
    assert comparison.fold_scores.groupby("estimator").size().tolist() == [5] * 4
    best = comparison.table.set_index("estimator")["accuracy_mean"]
    assert comparison.best == best.idxmax()
    assert best["dummy"] < 0.2 < 0.85 < best.drop("dummy").min()


@pytest.mark.parametrize("name", BASELINES)
def test_scores_are_those_of_scikit_learn_s_own_loop(name: str, digits: Any) -> None:
    X, y = digits
    folds = StratifiedKFold(4, shuffle=True, random_state=3)
    usual = cross_validate(make_baseline(name), X, y, cv=folds, scoring=("accuracy", "f1_macro"))
    ours = compare_baselines(X, y, estimators=[name], cv=4, random_state=3)
    for score in ("accuracy", "f1_macro"):
        np.testing.assert_allclose(ours.fold_scores[score], usual[f"test_{score}"], rtol=1e-12)
        assert ours.table[f"{score}_mean"].item() == pytest.approx(usual[f"test_{score}"].mean())
        assert ours.table[f"{score}_std"].item() == pytest.approx(usual[f"test_{score}"].std(ddof=1))


def test_a_random_state_gives_the_same_scores_whatever_the_number_of_jobs(digits: Any) -> None:
    scores = ["accuracy_mean", "accuracy_std", "f1_macro_mean", "f1_macro_std"]
    one = compare_baselines(*digits, n_jobs=1, random_state=1).table[scores]
    assert one.equals(compare_baselines(*digits, n_jobs=2, random_state=1).table[scores])
    assert not one.equals(compare_baselines(*digits, n_jobs=1, random_state=2).table[scores])


def test_very_few_rows_are_compared_too() -> None:
    X = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert len(compare_baselines(X, ["a", "a", "b", "b"], cv=2).table) == 4


@pytest.mark.parametrize(
    ("y", "cv", "remedy"),
    [
        (["a"] * 10, 5, "at least two classes.*got one class, 'a'"),
        (["a"] * 7 + ["b"] * 3, 5, "1 of 2 classes have fewer images than the 5 folds; 'b' has 3.*--cv 3"),
        (["a"] * 9 + ["b"], 5, "'b' has 1. Add images, or leave the class out"),
        (["a", "b"] * 4, 5, "got X of shape"),
    ],
)
def test_labels_that_cannot_be_split_are_explained(y: list[str], cv: int, remedy: str) -> None:
    with pytest.raises(ComparisonError, match=remedy):
        compare_baselines(np.zeros((10, 2)), y, cv=cv)


def test_nan_rows_are_counted_and_located() -> None:
    X = np.zeros((10, 2))
    X[[3, 7]] = np.nan
    with pytest.raises(ComparisonError, match=r"2 of 10 rows.*the first is row 3.*np\.isfinite"):
        compare_baselines(X, ["a", "b"] * 5)


def test_an_unknown_estimator_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="Did you mean 'logreg'.*dummy, logreg, svm, knn"):
        compare_baselines(np.zeros((10, 2)), ["a", "b"] * 5, estimators=["logrec"])


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"random_state": -1}, "random_state=-1: expected a whole number"),
        ({"n_jobs": 0}, "n_jobs=0: expected a number of jobs"),
        ({"estimators": []}, "expected a list of names"),
        ({"estimators": "svm"}, "expected a list of names"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_named(wrong: Any, expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        compare_baselines(np.zeros((10, 2)), ["a", "b"] * 5, **wrong)


def test_rows_without_labels_and_matrices_without_numbers_are_refused() -> None:
    with pytest.raises(ComparisonError, match="1 of 10 rows have no label, the first is row 4"):
        compare_baselines(np.zeros((10, 2)), ["a", "b", "a", "b", None, "a", "b", "a", "b", "a"])
    with pytest.raises(ComparisonError, match="Expected X of numbers.*FeatureExtractor"):
        compare_baselines(np.full((10, 2), "a.jpg"), ["a", "b"] * 5)


def test_a_comparison_shows_its_table(digits: Any) -> None:
    comparison = compare_baselines(*digits, estimators=["dummy", "knn", "knn"])
    assert "best: knn" in str(comparison)
    assert comparison._repr_html_().count("<tr") == 3


@pytest.mark.parametrize("cv", [1, 0, 2.5, "5"])
def test_folds_are_a_whole_number_of_at_least_two(cv: Any) -> None:
    with pytest.raises(OptionError, match="2 or more"):
        compare_baselines(np.zeros((10, 2)), ["a", "b"] * 5, cv=cv)
