"""Estimators that stop too early are fitted better, or reported."""

import numpy as np
from sklearn.dummy import DummyClassifier

from featx import compare_baselines
from featx.baselines.estimators import make_baseline
from featx.baselines.scaling.tolerance import smaller_tolerance

N_CLASSES, N_FEATURES = 800, 1024


def many_classes():
    """Classes of three rows around their centers, with many columns: the first gradient is below lbfgs's tolerance."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(-1, 1, (N_CLASSES, N_FEATURES)).astype(np.float32)
    y = np.repeat(np.arange(N_CLASSES), 3)
    return centers[y] + rng.uniform(-0.1, 0.1, (len(y), N_FEATURES)).astype(np.float32), y


def test_logistic_regression_of_many_classes_does_not_stop_at_once():
    X, y = many_classes()
    is_test = np.arange(len(y)) % 3 == 0
    plain = make_baseline("logreg").fit(X[~is_test], y[~is_test])
    assert (plain.predict(X[is_test]) == y[is_test]).mean() < 0.01  # scikit-learn alone only guesses, without a warning
    comparison = compare_baselines(
        X, y, estimators=["logreg"], cv=[(np.flatnonzero(~is_test), np.flatnonzero(is_test))], task="classification"
    )
    assert comparison.table["accuracy_mean"].iloc[0] > 0.95


def test_the_tolerance_of_few_classes_stays():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 20
    X = rng.normal(size=(20, 512))[y] + rng.normal(size=(300, 512))
    assert smaller_tolerance(make_baseline("logreg"), X, y) == 0
    assert smaller_tolerance(make_baseline("ridge"), X, y) == 0


def test_an_estimator_that_only_guesses_is_noted():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 4)) + 3 * y[:, None]
    guessing = DummyClassifier(strategy="constant", constant=0)
    comparison = compare_baselines(X, y, estimators={"dummy": "dummy", "knn": "knn", "constant": guessing})
    assert "No better than the dummy estimator, which ignores the features: constant." in comparison.notes


def test_estimators_at_chance_are_noted():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.permutation(np.repeat(["a", "b", "c"], 20))
    comparison = compare_baselines(X, y, estimators=["dummy", "knn"])
    note = "No estimator is significantly better than the dummy estimator, which ignores the features."
    assert note in comparison.notes
