"""Feature matrices are ranked by several labels of each sample, too."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import h_score, leave_one_out, log_me, rank_features
from featx.errors import ComparisonError

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 2, (80, 3))
X = np.hstack([TRUTH + RNG.normal(0, 0.5, TRUTH.shape), RNG.normal(0, 1, (80, 4))])
NOISE = RNG.normal(0, 1, (80, 7))
NAMES = np.array(["beach", "sea", "ship"], dtype=object)
TAGS = [NAMES[row.astype(bool)].tolist() for row in TRUTH]


def test_informative_features_are_first() -> None:
    ranking = rank_features({"noise": NOISE, "both": np.hstack([X, NOISE]), "good": X}, TAGS, groups=None)
    assert (ranking.task, ranking.n_classes, ranking.best) == ("multilabel", 3, "good")
    table = ranking.table.set_index("name")
    assert table["verdict"].to_dict()["noise"] == "worse"
    for criterion in ("loo_ridge", "logme", "loo_knn"):
        assert table[criterion]["good"] > table[criterion]["noise"]
    assert np.isnan(table["h_score"]).all()
    assert "80 rows, 3 tags; ridge and kNN: leave-one-out mAP" in str(ranking)


def test_score_is_the_mean_average_precision_without_each_sample() -> None:
    model = make_pipeline(StandardScaler(), Ridge(alpha=X.shape[1]))  # the mean squared norm of standardized rows
    predicted = cross_val_predict(model, X, TRUTH, cv=LeaveOneOut())
    expected = np.mean([average_precision_score(*columns) for columns in zip(TRUTH.T, predicted.T, strict=True)])
    assert leave_one_out(X, TAGS) == pytest.approx(expected, abs=0.01)


def test_tags_of_all_samples_have_no_evidence() -> None:
    everywhere = [[*names, "all"] for names in TAGS]
    assert log_me(X, everywhere) == pytest.approx(log_me(X, TAGS))
    ranking = rank_features({"good": X, "noise": NOISE}, everywhere, groups=None)
    assert (ranking.best, ranking.n_classes) == ("good", 4)


def test_without_different_tags() -> None:
    with pytest.raises(ComparisonError, match="at least two different values"):
        rank_features({"x": X}, [["sea"]] * 80)
    with pytest.raises(ComparisonError, match="for the H-score, got tags. Use log_me for tags"):
        h_score(X, TAGS)
