"""Models of several labels as steps of numpy, from which networks are exported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from featx import TagClassifier
from featx.baselines.estimators import make_baseline
from featx.errors import ExportError
from featx.models.head.head import Head
from featx.models.head.tag_head import as_tag_head

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8))
Y = np.hstack([(X[:, :3] + RNG.normal(0, 0.3, (60, 3)) > 0.2).astype(int), np.ones((60, 1), dtype=int)])


def fitted(estimator: Any, *before: Any) -> Any:
    return make_pipeline(*before, TagClassifier(estimator)).fit(X, Y)


@pytest.mark.parametrize("name", ["logreg", "linear-svm", "ridge", "lda"])
def test_linear_classifiers(name: str) -> None:
    pipeline = fitted(make_baseline(name), StandardScaler())
    head = as_tag_head(pipeline)
    scores, probabilities = Head.from_arrays(*head.as_arrays())(X)
    assert head.classes == ["0", "1", "2", "3"]
    np.testing.assert_allclose(scores[:, :3], pipeline.decision_function(X)[:, :3], atol=1e-6)
    if hasattr(pipeline, "predict_proba"):
        np.testing.assert_allclose(probabilities, pipeline.predict_proba(X), atol=1e-9)  # 1 for the tag of all images
    else:
        assert probabilities is None
    np.testing.assert_array_equal((scores > 0).astype(int), pipeline.predict(X))


def test_calibrated_classifier() -> None:
    pipeline = fitted(CalibratedClassifierCV(LinearSVC(), ensemble=False, cv=3))
    np.testing.assert_allclose(as_tag_head(pipeline)(X)[1], pipeline.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("name", ["svm", "knn", "dummy", "centroid"])
def test_other_classifiers_name_the_linear_ones(name: str) -> None:
    with pytest.raises(ExportError, match=r"only linear classifiers .* --estimator logreg, linear-svm, ridge or lda"):
        as_tag_head(fitted(make_baseline(name)))


def test_tags_of_all_images_alone() -> None:
    everywhere = TagClassifier(make_baseline("ridge")).fit(X, Y[:, [3, 3]])
    with pytest.raises(ExportError, match="apply to all training images"):
        as_tag_head(make_pipeline(everywhere))
