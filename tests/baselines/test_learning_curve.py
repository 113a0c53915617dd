from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.neighbors import KNeighborsClassifier

from featx import compare_baselines
from featx.baselines.learning_curve import learning_curve
from featx.baselines.output.plots import curve_band, range_with_margin


def test_curve() -> None:
    """Scores rise, and the last point is the score of the comparison."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:600], y[:600]
    comparison = compare_baselines(X, y, estimators=["logreg"])
    curve = learning_curve(X, y, comparison.split, estimators=["logreg"])
    assert curve["n_per_class"].tolist()[:5] == [1, 2, 5, 10, 20]
    assert curve["n_train"].tolist()[:3] == [10, 20, 50]
    assert curve["n_train"].iloc[-1] == 480
    assert curve["score_mean"].iloc[0] < 0.75 < 0.9 < curve["score_mean"].iloc[-1]
    first_three = comparison.fold_scores["accuracy"][:3].mean()
    assert curve["score_mean"].iloc[-1] == pytest.approx(first_three)
    again = learning_curve(X, y, comparison.split, estimators=["logreg"], n_jobs=1)
    assert curve.equals(again)


def test_regression_sizes() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5))
    y = X[:, 0] + 0.1 * rng.normal(size=100)
    comparison = compare_baselines(X, y, estimators=["knn"])
    curve = learning_curve(X, y, comparison.split, task="regression", estimators=["knn"])
    assert curve["n_per_class"].tolist() == [5, 10, 20, 50, 80]


def test_known_scores_are_reused() -> None:
    X, y = load_iris(return_X_y=True)
    comparison = compare_baselines(X, y, estimators=["knn"], cv=3)
    known = comparison.fold_scores.assign(accuracy=[0.25, 0.5, 0.75])
    taken = learning_curve(X, y, comparison.split, estimators=["knn"], fold_scores=known)
    computed = learning_curve(X, y, comparison.split, estimators=["knn"])
    assert taken["score_mean"].iloc[-1] == 0.5
    assert taken.iloc[:-1].equals(computed.iloc[:-1])
    assert computed["score_mean"].iloc[-1] == comparison.table["accuracy_mean"].iloc[0]


def test_estimator_of_user_with_builtin_name() -> None:
    X, y = load_digits(return_X_y=True)
    comparison = compare_baselines(X[:300], y[:300], estimators={"knn": KNeighborsClassifier(100)}, cv=3)
    assert set(comparison.learning_curve["estimator"]) == {"logreg"}
    assert comparison.learning_curve["score_mean"].is_monotonic_increasing


def test_curve_of_centroid_needs_no_probabilities() -> None:
    """With one sample per class, NearestCentroid predicts labels but has no probabilities."""
    X, y = load_iris(return_X_y=True)
    comparison = compare_baselines(X, y, estimators=["centroid"])
    assert comparison.learning_curve["n_per_class"].iloc[0] == 1
    assert comparison.learning_curve["score_mean"].notna().all()


@pytest.mark.parametrize(
    ("scores", "deviations", "expected"),
    [
        ([0.2, 0.98], [0.3, 0.05], (-0.01, 1.01)),
        ([0.6, 0.7], [0.0, float("nan")], (0.594, 0.706)),
        ([-1.5, 0.9], [0.5, 0.2], (-2.18, 1.01)),  # R² has no lower limit
    ],
)
def test_axis_shows_the_range_of_scores(
    scores: list[float], deviations: list[float], expected: tuple[float, float]
) -> None:
    curve = pd.DataFrame({"score_mean": scores, "score_std": deviations})
    low, high = curve_band(curve)
    assert high.max() <= 1
    assert range_with_margin(low.to_numpy(), high.to_numpy()) == pytest.approx(expected)
