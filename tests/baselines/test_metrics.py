from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from featx import compare_baselines
from featx.baselines.metrics import (
    add_verdicts,
    corrected_interval,
    corrected_t_test,
    paired_test,
    score,
    single_test_interval,
)


def test_corrected_t_test() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.01, 0.02, 10)
    # By hand: t = mean / sqrt((1/J + n_test/n_train) s²), J − 1 degrees of freedom.
    t = differences.mean() / np.sqrt((1 / 10 + 1 / 9) * differences.var(ddof=1))
    assert corrected_t_test(differences, 1 / 9) == pytest.approx(2 * (1 - stats.t.cdf(abs(t), 9)))
    # Without the correction it is the paired t-test.
    assert corrected_t_test(differences, 0) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_constant_differences() -> None:
    """The t-test does not apply; McNemar's test is used instead."""
    assert corrected_t_test(np.zeros(5), 0.25) == 1
    assert np.isnan(corrected_t_test(np.full(5, 0.1), 0.25))
    # One more error in each of two folds: two images in all, not significant by McNemar's test.
    table = pd.DataFrame({"estimator": ["a", "b"], "accuracy_mean": [1.0, 0.8]})
    y = np.array(["x"] * 10)
    wrong = y.copy()
    wrong[[2, 7]] = "z"
    add_verdicts(table, [np.ones(2), np.full(2, 0.8)], [y, wrong], y, task="classification", test_ratio=1.0)
    assert table["verdict"].tolist() == ["best", "tie"]
    assert table["p_value"][1] == 0.5


def test_interval_of_perfect_scores() -> None:
    X = np.repeat([[0.0, 5.0], [9.0, 1.0]], 10, axis=0) + np.random.default_rng(0).normal(size=(20, 2)) / 10
    table = compare_baselines(X, np.repeat(["a", "b"], 10), estimators=["centroid", "dummy"], cv=2).table
    assert table["accuracy_mean"][0] == 1
    assert (table["low"][0], table["high"][0]) == pytest.approx((0.839, 1), abs=1e-3)


def test_interval_agrees_with_test() -> None:
    scores = np.array([0.90, 0.92, 0.91, 0.93, 0.89])
    low, high = corrected_interval(scores, 0.25)
    assert corrected_t_test(scores - low, 0.25) == pytest.approx(0.05)
    assert corrected_t_test(scores - high, 0.25) == pytest.approx(0.05)
    assert np.isnan(corrected_interval(scores[:1], 0.25)).all()


@pytest.mark.slow
@pytest.mark.thorough
def test_false_positive_rate() -> None:
    """Two equal estimators on folds of noise: the plain t-test is wrong several times as often."""
    rng = np.random.default_rng(0)
    corrected = plain = 0
    for _ in range(40):
        X, y = rng.normal(size=(60, 8)), rng.permutation(np.repeat([0, 1], 30))
        comparison = compare_baselines(X, y, estimators=["centroid", "knn"], repeats=3, n_jobs=1)
        first, second = (scores.to_numpy() for _, scores in comparison.fold_scores.groupby("estimator")["accuracy"])
        corrected += comparison.table["verdict"].tolist().count("worse")
        plain += bool(stats.ttest_rel(first, second).pvalue < 0.05)
    assert corrected <= 4 < plain


def test_single_test_set() -> None:
    y = np.array(["a", "b"] * 50)
    right = y.copy()
    wrong = y.copy()
    wrong[:20] = "c"
    low, high = single_test_interval("classification", y, wrong, 0)
    assert (low, high) == pytest.approx((0.711, 0.867), abs=1e-3)  # Wilson for 80 of 100
    assert paired_test("classification", y, right, wrong) == pytest.approx(2 * 0.5**20)
    assert paired_test("classification", y, right, right) == 1


def test_single_test_set_regression() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    good, bad = y + 0.1 * rng.normal(size=200), y + rng.normal(size=200)
    low, high = single_test_interval("regression", y, good, 0)
    assert 0.98 < low < score("regression", y, good)["r2"] < high < 1
    assert paired_test("regression", y, good, bad) < 1e-6
    assert paired_test("regression", y, good, good) == 1


def test_verdicts() -> None:
    table = pd.DataFrame({"estimator": ["a", "b", "c"], "accuracy_mean": [0.90, 0.95, 0.94]})
    best = np.array([0.94, 0.95, 0.96, 0.95, 0.95])
    folds = [best - [0.05, 0.04, 0.06, 0.05, 0.05], best, best - [0.03, -0.02, 0.02, 0.0, 0.02]]
    add_verdicts(table, folds, [], None, task="classification", test_ratio=0.25)
    assert table["verdict"].tolist() == ["worse", "best", "tie"]
    assert np.isnan(table["p_value"][1])


def test_no_warning_for_missing_classes() -> None:
    scores = score("classification", np.array(["a", "a"]), np.array(["a", "b"]))
    assert scores == {"accuracy": 0.5, "balanced_accuracy": 0.5, "f1_macro": pytest.approx(1 / 3)}
    assert np.isnan(score("regression", np.array([1.0]), np.array([2.0]))["r2"])
