from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from featx.baselines.ranking.gram import GramMatrix
from featx.baselines.ranking.transferability import h_score, h_score_from_gram, log_me, log_me_from_gram
from featx.datasets.labels import encode_targets
from featx.errors import ComparisonError

Matrix = np.ndarray[Any, Any]


def _data(n: int, n_features: int, n_classes: int = 3, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Rows about the centers of classes, in columns of different units."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n_classes, n_features))[y] * 0.5 + rng.normal(size=(n, n_features))
    return X * rng.uniform(0.1, 10, n_features) + rng.normal(size=n_features), y


def _maximum_evidence(X: Matrix, y: Matrix) -> float:
    """The evidence of the Bayesian linear model as a dense normal density, maximized numerically; per image.

    An intercept under a flat prior is integrated out by looking at the contrasts of the rows alone.
    """
    n = len(X)
    contrasts = np.linalg.svd(np.ones((1, n)))[2][1:]
    rows = contrasts @ ((X - X.mean(axis=0)) / X.std(axis=0))
    target = contrasts @ y

    def negative(log: Matrix) -> float:
        covariance = np.exp(log[0]) * rows @ rows.T + np.exp(log[1]) * np.eye(n - 1)
        return -float(multivariate_normal.logpdf(target, np.zeros(n - 1), covariance))

    starts = [(a, b) for a in (-6.0, -2.0) for b in (-6.0, -1.0)]
    options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 2000}
    return max(-minimize(negative, start, method="Nelder-Mead", options=options).fun for start in starts) / n


@pytest.mark.parametrize(("n", "n_features"), [(40, 6), (30, 30), (24, 60)])
def test_log_me_equals_numerical_maximum(n: int, n_features: int) -> None:
    X, y = _data(n, n_features)
    # Per image of n - 1 contrasts: an intercept takes one.
    expected = np.mean([_maximum_evidence(X, (y == label).astype(float)) for label in range(3)]) * n / (n - 1)
    assert log_me(X, y) == pytest.approx(expected, abs=1e-6)
    target = X[:, 0] + np.random.default_rng(1).normal(size=n)
    standardized = (target - target.mean()) / target.std()
    expected = _maximum_evidence(X, standardized) * n / (n - 1)
    assert log_me(X, target, task="regression") == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("n", "n_features"), [(60, 6), (30, 80)])
def test_h_score_equals_definition(n: int, n_features: int) -> None:
    X, y = _data(n, n_features)
    means = np.stack([X[y == label].mean(axis=0) for label in y])
    between = np.cov(means, rowvar=False, bias=True)
    expected = np.trace(np.linalg.solve(ledoit_wolf(X)[0], between))
    assert h_score(X, y) == pytest.approx(expected, rel=1e-9)


def test_h_score_of_many_samples() -> None:
    X, y = _data(20_000, 5)
    labels, index = np.unique(y, return_inverse=True)
    means = np.stack([X[y == label].mean(axis=0) for label in labels])[index]
    expected = np.trace(np.linalg.solve(np.cov(X, rowvar=False, bias=True), np.cov(means, rowvar=False, bias=True)))
    assert h_score(X, y) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("score", "n", "n_features"), [(log_me, 60, 8), (log_me, 20, 50), (h_score, 60, 8)])
def test_noise_scores_lower(score: Any, n: int, n_features: int) -> None:
    X, y = _data(n, n_features)
    noise = np.random.default_rng(9).normal(size=X.shape)
    assert score(X, y) > score(noise, y)


def test_log_me_ignores_scale_and_origin() -> None:
    X, y = _data(60, 12)
    rng = np.random.default_rng(2)
    moved = X * rng.uniform(0.01, 1000, 12) + rng.normal(size=12) * 100
    assert log_me(moved, y) == pytest.approx(log_me(X, y), abs=1e-9)


def test_h_score_ignores_scale_and_origin() -> None:
    X, y = _data(60, 12)
    assert h_score(X * 500 + 40, y) == pytest.approx(h_score(X, y), rel=1e-9)


@pytest.mark.parametrize("score", [log_me, h_score])
@pytest.mark.parametrize(("n", "n_features"), [(60, 8), (20, 50)])
def test_degenerate_data(score: Any, n: int, n_features: int) -> None:
    X, y = _data(n, n_features)
    X[3] = 0
    wider = np.column_stack([X, np.full((n, 2), 0.1)])
    assert np.isfinite(score(wider, y))
    assert log_me(wider, y) == pytest.approx(log_me(X, y), abs=1e-9)
    assert np.isfinite(score(np.full((n, 3), 0.1), y))
    assert np.isfinite(score(np.zeros((n, 0)), y))


@pytest.mark.parametrize(("n", "n_features"), [(300, 40), (40, 300)])
def test_float32_features(n: int, n_features: int) -> None:
    X, y = _data(n, n_features)
    X = (X + 1000).astype(np.float32)
    expected = log_me(X.astype(np.float64), y), h_score(X.astype(np.float64), y)
    targets, block_bytes = encode_targets(y, "classification"), 8 * 40 * 7  # several blocks, the last one smaller
    standardized = GramMatrix.from_features(X, standardize=True, block_bytes=block_bytes)
    centered = GramMatrix.from_features(X, block_bytes=block_bytes)
    scores = log_me_from_gram(standardized, targets), h_score_from_gram(centered, targets)
    assert scores == pytest.approx(expected, rel=1e-9)
    assert (log_me(X, y), h_score(X, y)) == pytest.approx(expected, rel=1e-9)


def test_memory_of_gram_matrix() -> None:
    import tracemalloc

    X = np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float32)
    y = np.arange(len(X)) % 3
    tracemalloc.start()
    GramMatrix.from_features(X, standardize=True, block_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2
    assert np.isfinite(log_me(X, y))


def test_class_of_one_sample() -> None:
    X, y = _data(30, 5)
    y[0] = 7
    assert np.isfinite(log_me(X, y))
    assert np.isfinite(h_score(X, y))


def test_perfect_fit() -> None:
    X, _ = _data(30, 5)
    assert np.isfinite(log_me(X, X @ np.arange(5.0), task="regression"))
    twice = np.concatenate([X, X])
    assert np.isfinite(log_me(np.hstack([twice, twice**2, twice**3, twice**4, twice**5, twice**6]), np.arange(60) % 30))


def test_near_duplicates_raise_log_me() -> None:
    X, y = _data(60, 100)
    copies = X + 0.05 * np.random.default_rng(1).normal(size=X.shape)
    assert log_me(np.concatenate([X, copies]), np.concatenate([y, y])) > log_me(X, y) + 0.2


@pytest.mark.parametrize("score", [log_me, h_score])
def test_invalid_input(score: Any) -> None:
    X, y = _data(30, 5)
    with pytest.raises(ComparisonError, match="at least two classes.* Add samples of another class"):
        score(X, np.zeros(30, dtype=int))
    with pytest.raises(ComparisonError, match="got no labels"):
        score(X, [None] * 30)
    with pytest.raises(ComparisonError, match="one label per row"):
        score(X, y[:-1])
    X[4, 2] = np.nan
    with pytest.raises(ComparisonError, match="first in row 4. Drop these rows"):
        score(X, y)
