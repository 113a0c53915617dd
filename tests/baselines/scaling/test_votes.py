"""Decision values of a support vector machine, from its pairs of classes."""

import numpy as np
import pytest
from sklearn.svm import SVC

from featx import compare_baselines
from featx.baselines.scaling.votes import has_pair_votes, pair_votes

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n_classes", [3, 12])
@pytest.mark.parametrize("kernel", ["rbf", "poly"])
def test_values_are_those_of_scikit_learn(n_classes, kernel):
    X, y = RNG.standard_normal((5 * n_classes, 4)), np.arange(5 * n_classes) % n_classes
    estimator = SVC(kernel=kernel, C=10, break_ties=True).fit(X, y)
    others = RNG.standard_normal((100, 4))
    assert has_pair_votes(estimator)
    assert np.array_equal(pair_votes(estimator, others), estimator.decision_function(others))
    assert estimator.decision_function_shape == "ovr"


def test_two_classes_and_other_settings_have_none():
    X = RNG.standard_normal((12, 4))
    assert not has_pair_votes(SVC(break_ties=True).fit(X, np.arange(12) % 2))
    assert not has_pair_votes(SVC().fit(X, np.arange(12) % 3))


def test_predictions_and_margins_of_a_comparison():
    y = np.arange(60) % 4
    X = np.eye(4)[y] + RNG.standard_normal((60, 4)) / 2
    comparison = compare_baselines(X, y, estimators=["svm"], cv=3, n_jobs=1)
    train, test = comparison.split.folds[0]
    estimator = SVC(C=10, gamma=1 / (X.shape[1] * X[train].var()), break_ties=True).fit(X[train], y[train])
    assert comparison.predictions["svm"].to_numpy()[test].tolist() == estimator.predict(X[test]).tolist()
    top = np.sort(estimator.decision_function(X[test]), axis=1)
    assert comparison.margins["svm"][test] == pytest.approx(top[:, -1] - top[:, -2], abs=1e-4)
    tuned = compare_baselines(X, y, estimators=["svm"], cv=3, tune=True, n_jobs=1).table.iloc[0]
    assert tuned["accuracy_mean"] >= comparison.table["accuracy_mean"].iloc[0] - 0.1
