"""Blocks of rows in which fitted estimators predict."""

import sys

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featx import LabelEncodedClassifier, TagClassifier
from featx.baselines.scaling.blocks import block_rows
from featx.baselines.scaling.limits import ScaleLimits

y = np.arange(60) % 12
X = np.eye(12)[y] + np.random.default_rng(0).standard_normal((60, 12)) / 4
LIMITS = ScaleLimits(block_bytes=72 * 8 * 4 * 5)


@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        make_pipeline(StandardScaler(), make_pipeline(SVC())),
        CalibratedClassifierCV(SVC(), ensemble=False, cv=2),
        CalibratedClassifierCV(make_pipeline(SVC()), cv=2),
        GridSearchCV(SVC(), {"C": [1]}, cv=2),
        LabelEncodedClassifier(SVC()),
        OneVsOneClassifier(GaussianNB()),
        VotingClassifier([("bayes", GaussianNB()), ("svm", SVC())]),
        BaggingClassifier(SVC(), n_estimators=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_votes_of_wrapped_estimators_are_computed_in_blocks(estimator):
    assert block_rows(estimator.fit(X, y), len(X), 12, LIMITS) == 5


def test_other_estimators_predict_at_once():
    forest = RandomForestClassifier(2).fit(X, y)
    assert block_rows(forest, len(X), 12, LIMITS) == sys.maxsize
    assert block_rows(forest, len(X), 12, ScaleLimits(exact_rows=10, block_bytes=8 * 12 * 20)) == 20


def test_distances_of_tags_are_computed_in_blocks():
    tags = TagClassifier(KNeighborsClassifier(3)).fit(X, [[str(label), str(label % 2)] for label in y])
    assert block_rows(tags, len(X), 12, ScaleLimits(exact_rows=10, block_bytes=60 * 12 * 20)) == 20


def test_a_row_of_very_many_classes_is_a_block():
    class Many:
        decision_function_shape, classes_ = "ovo", np.arange(5000)

    assert block_rows(Many(), 10_000, 64, ScaleLimits()) == 1
