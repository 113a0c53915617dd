from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from featx.baselines.ranking.gram import GramMatrix
from featx.baselines.ranking.leave_one_out import knn_predictions, leave_one_out, ridge_predictions
from featx.errors import ComparisonError, OptionError

Matrix = np.ndarray[Any, Any]


def _data(n: int, n_features: int) -> tuple[Matrix, Matrix, Matrix]:
    """Features, three targets and groups of one to four rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, n_features)) * rng.uniform(0.1, 10, n_features)
    Y = X[:, :3] / X[:, :3].std(axis=0) + rng.normal(size=(n, 3))
    return X, Y, rng.permutation(np.repeat(np.arange(n), rng.integers(1, 5, n))[:n])


@pytest.mark.parametrize(("n", "n_features"), [(40, 7), (25, 60)])
@pytest.mark.parametrize("grouped", [False, True])
def test_ridge_equals_refits(n: int, n_features: int, grouped: bool) -> None:
    """The closed form equals ridge regression that is fitted again without each group."""
    X, Y, groups = _data(n, n_features)
    groups = groups if grouped else np.arange(n)
    rows = StandardScaler().fit_transform(X) / np.sqrt(n_features)
    expected = cross_val_predict(Ridge(alpha=1), rows, Y, groups=groups, cv=LeaveOneGroupOut())
    predicted = ridge_predictions(GramMatrix.from_features(X, standardize=True), Y, groups)
    np.testing.assert_allclose(predicted, expected, atol=1e-9)


def test_ridge_in_blocks() -> None:
    X, Y, groups = _data(40, 7)
    whole = ridge_predictions(GramMatrix.from_features(X, standardize=True), Y, groups)
    in_blocks = GramMatrix.from_features(X, standardize=True, block_bytes=8 * 7 * 9)
    np.testing.assert_allclose(ridge_predictions(in_blocks, Y, groups), whole, atol=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_knn_equals_scikit_learn(grouped: bool) -> None:
    X, Y, groups = _data(60, 12)
    knn = KNeighborsRegressor(5, metric="cosine", weights="distance")
    by = {"cv": LeaveOneGroupOut(), "groups": groups} if grouped else {"cv": LeaveOneOut()}
    expected = cross_val_predict(knn, X, Y, **by)
    groups = groups if grouped else np.arange(60)
    np.testing.assert_allclose(knn_predictions(X, Y, groups, block_bytes=4 * 60 * 7), expected, atol=1e-4)


def test_knn_accuracy() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:300].astype(np.float32), y[:300]
    knn = KNeighborsClassifier(5, metric="cosine", weights="distance")
    expected = (cross_val_predict(knn, X, y, cv=LeaveOneOut()) == y).mean()
    assert leave_one_out(X, y, method="knn") == pytest.approx(expected)
    assert leave_one_out(X, np.char.add("digit ", y.astype(str)), method="knn") == pytest.approx(expected)


@pytest.mark.parametrize("method", ["ridge", "knn"])
def test_copies_in_groups(method: str) -> None:
    """Copies of samples raise the score unless they form groups."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 200))
    y = rng.integers(0, 2, 60)
    twice, labels = np.concatenate([X, X + 0.01 * rng.normal(size=X.shape)]), np.concatenate([y, y])
    groups = np.tile(np.arange(60), 2)
    assert leave_one_out(twice, labels, method=method) > 0.9
    assert leave_one_out(twice, labels, method=method, groups=groups) < 0.7


@pytest.mark.parametrize("method", ["ridge", "knn"])
def test_regression(method: str) -> None:
    X, y = load_digits(return_X_y=True)
    y = y + 0.5
    assert 0.4 < leave_one_out(X[:400], y[:400], method=method) < 1
    assert leave_one_out(np.random.default_rng(0).normal(size=(400, 5)), y[:400], method=method) < 0.1


@pytest.mark.parametrize("method", ["ridge", "knn"])
def test_degenerate_data(method: str) -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:50].astype(np.float32), y[:50]
    X[3] = 0
    y[4] = 77  # a class of one image: never right
    assert leave_one_out(X, y, method=method) > 0.5
    assert leave_one_out(X[:3], y[:3], method=method) == 0
    assert leave_one_out(np.full((50, 4), 0.1), y, method=method) < 0.5
    missing = [None, *y[1:].tolist()]
    assert leave_one_out(X, missing, method=method) == leave_one_out(X[1:], y[1:], method=method)


@pytest.mark.parametrize("method", ["ridge", "knn"])
def test_large_group(method: str) -> None:
    X, y = load_digits(return_X_y=True)
    groups = np.zeros(60)
    groups[:3] = [1, 2, 3]
    assert 0 <= leave_one_out(X[:60], y[:60], method=method, groups=groups) <= 1


def test_invalid_input() -> None:
    X, y = load_digits(return_X_y=True)
    with pytest.raises(OptionError, match="method must be 'ridge' or 'knn'"):
        leave_one_out(X, y, method="svm")
    with pytest.raises(ComparisonError, match="one for all 1,797 samples"):
        leave_one_out(X, y, groups=np.zeros(len(y)))
    X[7, 3] = np.inf
    with pytest.raises(ComparisonError, match="first in row 7"):
        leave_one_out(X, y)
    assert clone(Ridge()).alpha == 1  # what the penalty above is
