"""Heads have the outputs of the estimators that they were made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC

from featx.baselines.builtin_baselines import NAMES
from featx.errors import ExportError
from featx.models.head.from_sklearn import as_head
from featx.models.head.head import Head
from featx.models.head.steps import Affine
from tests.models.model_samples import digit_features, make_estimator

Array = np.ndarray[Any, Any]


def saved_and_restored(head: Head) -> Head:
    """A head restored from its arrays."""
    described, arrays = head.as_arrays()
    return Head.from_arrays(described, arrays)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("name", NAMES["classification"])
def test_head_equals_classifier(name: str, n_classes: int) -> None:
    X, y, others = digit_features(n_classes)
    estimator = make_estimator(name).fit(X, y)
    head = saved_and_restored(as_head(estimator))
    scores, probabilities = head(others)
    assert [head.classes[at] for at in head.class_indices(scores)] == estimator.predict(others).tolist()  # type: ignore[index]
    if hasattr(estimator, "decision_function") and name != "centroid":
        expected = estimator.decision_function(others).reshape(len(others), -1)
        np.testing.assert_allclose(scores, expected, atol=1e-4 * max(1, np.abs(expected).max()))
    if name == "centroid":
        assert probabilities is None  # its predict_proba does not belong to its predict
    elif hasattr(estimator, "predict_proba"):
        assert probabilities is not None
        np.testing.assert_allclose(probabilities, estimator.predict_proba(others), atol=1e-4)
    else:
        assert probabilities is None


@pytest.mark.parametrize("name", NAMES["regression"])
def test_head_equals_regressor(name: str) -> None:
    X, _, others = digit_features(10)
    y = X[:, :30].sum(axis=1) / 7
    estimator = make_estimator(name, "regression").fit(X, y)
    head = saved_and_restored(as_head(estimator))
    scores, probabilities = head(others)
    np.testing.assert_allclose(scores[:, 0], estimator.predict(others), rtol=1e-4)
    assert probabilities is None
    assert head.classes is None


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("with_std", [False, True])
def test_transformed_target(with_mean: bool, with_std: bool) -> None:
    X, _, others = digit_features(10)
    scaler = StandardScaler(with_mean=with_mean, with_std=with_std)
    estimator = TransformedTargetRegressor(Ridge(), transformer=scaler).fit(X, X[:, :30].sum(axis=1) / 7)
    scores, _ = saved_and_restored(as_head(estimator))(others)
    np.testing.assert_allclose(scores[:, 0], estimator.predict(others), rtol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("name", ["svm", "linear-svm", "ridge", "lda", "logreg"])
def test_calibrated_head(name: str, n_classes: int) -> None:
    X, y, others = digit_features(n_classes)
    estimator = CalibratedClassifierCV(make_estimator(name), ensemble=False, cv=3).fit(X, y)
    head = saved_and_restored(as_head(estimator))
    scores, probabilities = head(others)
    assert probabilities is not None
    expected = estimator.predict_proba(others)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    is_clear = np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0] > 1e-4  # where rounding does not decide
    assert is_clear.mean() > 0.9
    own = np.array(head.classes)[head.class_indices(scores)]
    assert (own == estimator.predict(others))[is_clear].all()


@pytest.mark.parametrize(
    "steps",
    [
        [PCA(12), LogisticRegression(max_iter=2000)],
        [StandardScaler(), PCA(12, whiten=True), SVC(kernel="linear", break_ties=True)],
        [StandardScaler(with_mean=False), Normalizer(), LogisticRegression(max_iter=2000)],
    ],
    ids=["pca", "whitened", "normalized"],
)
def test_transformers_are_part_of_head(steps: list[Any]) -> None:
    X, y, others = digit_features(4)
    estimator = make_pipeline(*steps).fit(X, y)
    head = saved_and_restored(as_head(estimator))
    np.testing.assert_allclose(head(others)[0], estimator.decision_function(others), rtol=1e-3, atol=1e-3)
    assert (head.affine is None) == (len(head.scores) > 1)


def test_linear_head_is_one_affine_function() -> None:
    X, y, _ = digit_features(5)
    for name in ("logreg", "ridge", "lda"):
        affine = as_head(make_estimator(name).fit(X, y)).affine
        assert isinstance(affine, Affine)
        assert affine.weights.shape == (64, 5)


def test_equal_rows_are_nearest_neighbors() -> None:
    X, y, _ = digit_features(3)
    estimator = make_estimator("knn").fit(X, y)
    scores, _ = as_head(estimator)(X)
    assert (scores.argmax(axis=1) == np.unique(y, return_inverse=True)[1]).all()


def test_blocks_of_rows() -> None:
    X, y, others = digit_features(3)
    head = as_head(make_estimator("svm").fit(X, y))
    whole = head(others)[0]
    np.testing.assert_allclose(head(others, block_values=700)[0], whole)
    assert head(others[:0])[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("estimator", "remedy"),
    [
        (RandomForestClassifier(5), "Use logreg, svm"),
        (SVC(kernel="sigmoid", break_ties=True), "Use kernel 'rbf'"),
        (SVC(), "break_ties=True"),
        (CalibratedClassifierCV(LogisticRegression(max_iter=2000), cv=2), "ensemble=False"),
    ],
)
def test_unsupported_estimators_are_refused(estimator: Any, remedy: str) -> None:
    X, y, _ = digit_features(3)
    with pytest.raises(ExportError, match=remedy):
        as_head(estimator.fit(X, y))


def test_too_many_support_vectors_are_refused() -> None:
    X, y, _ = digit_features(5)
    estimator = make_estimator("svm").fit(X, y)
    with pytest.raises(ExportError, match="are too many. Train a model with logreg, ridge or lda"):
        as_head(estimator, max_coefficients=100)
