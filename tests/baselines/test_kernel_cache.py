from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

from featx.baselines.estimators import as_baselines
from featx.baselines.fitting import Dataset, score_fold
from featx.baselines.folds.make_split import make_split
from featx.baselines.kernel_cache import SharedKernel, fill_rbf_kernel, scale_gamma
from featx.baselines.streaming.scan import scan_columns


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_kernel_equals_scikit_learn(dtype: Any) -> None:
    X = load_digits().data[:120].astype(dtype)
    train, test = np.arange(90), np.arange(90, 120)
    shared = SharedKernel(X)
    gamma = 1 / (X.shape[1] * X[train].var())
    for rows in (train, test):
        kernel = shared.compute("rbf", rows, train, gamma)
        assert kernel.dtype == np.float64
        np.testing.assert_allclose(kernel, rbf_kernel(X[rows], X[train], gamma=gamma), atol=1e-5)
        centered = X - X.mean(axis=0)
        expected = gamma * linear_kernel(centered[rows], centered[train])
        np.testing.assert_allclose(shared.compute("linear", rows, train, gamma), expected, atol=1e-5)


def test_rbf_kernel_replaces_inner_products() -> None:
    X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    kernel, norms = X @ X[:3].T, (X * X).sum(axis=1)
    fill_rbf_kernel(kernel, norms, norms[:3], 0.3)
    np.testing.assert_allclose(kernel, rbf_kernel(X, X[:3], gamma=0.3), rtol=1e-5)


@pytest.mark.parametrize("n_rows", [50, 10_050])
def test_gamma_is_that_of_scikit_learn(n_rows: int) -> None:
    """In memory or read in blocks, for few and many rows."""
    X = np.random.default_rng(0).normal(3, 2, size=(n_rows, 4)).astype(np.float32)
    expected, rows = 1 / (4 * X.astype(np.float64).var()), np.arange(n_rows)
    np.testing.assert_allclose([scale_gamma(X, rows), scan_columns(X, rows).scale_gamma], expected, rtol=1e-9)
    assert scale_gamma(np.ones_like(X), rows) == scan_columns(np.ones_like(X), rows).scale_gamma == 1


def test_precision_far_from_origin() -> None:
    X = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    near = SharedKernel(X).compute("rbf", np.arange(50), np.arange(50), 0.02)
    far = SharedKernel(X + np.float32(1000)).compute("rbf", np.arange(50), np.arange(50), 0.02)
    np.testing.assert_allclose(far, near, atol=1e-2)


@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize("name", ["svm", "linear-svm"])
def test_scores_without_shared_kernel(name: str, tune: bool) -> None:
    """Data sets that are too large for a shared kernel get the same scores."""
    X, y = load_digits(return_X_y=True)
    data = Dataset(X[:500], y[:500], "classification")
    (svm,) = as_baselines([name], "classification", 0)
    for fold in make_split(data.y, task="classification").folds[:2]:
        shared = score_fold(svm, data, fold, SharedKernel(data.X), tune=tune)
        separate = score_fold(svm, data, fold, None, tune=tune)
        assert shared.scores["accuracy"] == separate.scores["accuracy"]
        assert shared.params == separate.params
