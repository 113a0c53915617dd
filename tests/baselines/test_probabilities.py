"""Class probabilities that take too much memory, and where they are missed."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx import compare_baselines
from featx.baselines.scaling import limits as limits_module
from featx.baselines.scaling.limits import ScaleLimits
from featx.errors import ComparisonError

X, y = load_digits(return_X_y=True)
X, y = X[:600].astype(np.float32), y[:600]
NAMES = ["logreg", "knn", "lda"]


@pytest.fixture(scope="module")
def complete():
    return compare_baselines(X, y, estimators=NAMES, repeats=2)


def test_all_estimators_keep_predictions_and_margins_only(complete):
    few = compare_baselines(X, y, estimators=NAMES, repeats=2, limits=ScaleLimits(probability_bytes=1000))
    assert few.probabilities == {}
    assert few.predictions.equals(complete.predictions)
    for name in NAMES:
        assert np.allclose(few.margins[name], complete.margins[name], atol=1e-6)
    assert few.notes == [
        "Class probabilities are not kept: those of 1,200 predictions and 10 classes would take 0.0 GB for each "
        "estimator."
    ]


def test_nearest_neighbors_of_many_samples_are_searched_once(complete):
    from featx.baselines.estimators import as_baselines
    from featx.baselines.fitting import Dataset, score_fold

    (knn,) = as_baselines(["knn"], "classification", 0)
    limits = ScaleLimits(exact_rows=100, block_bytes=1 << 16)
    whole, without = (
        score_fold(
            knn,
            Dataset(X, y, "classification", limits=limits, keeps_probabilities=is_kept),
            complete.split.folds[0],
            None,
            tune=False,
        )
        for is_kept in (True, False)
    )
    assert without.probabilities is None
    assert np.array_equal(without.predicted, whole.predicted)
    assert np.array_equal(without.margins, whole.margins)


def test_probabilities_have_a_column_for_each_class(complete):
    for probabilities in complete.probabilities.values():
        assert probabilities.shape == (600, 10)
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    agreement = complete.classes[complete.probabilities["knn"].argmax(axis=1)] == complete.predictions["knn"]
    assert agreement.all()


def test_a_class_without_training_samples_has_probability_zero():
    train, test = np.flatnonzero(y != 7), np.flatnonzero(y == 7)
    comparison = compare_baselines(X, y, estimators=["lda"], cv=[(train[50:], np.concatenate([test, train[:50]]))])
    assert (comparison.probabilities["lda"][:, 7] == 0).all()


@pytest.mark.parametrize("options", [{"limits": ScaleLimits(probability_bytes=1000)}, {}])
def test_label_errors_without_room_for_probabilities_have_a_remedy_that_works(options, monkeypatch):
    if not options:
        monkeypatch.setattr(limits_module.ScaleLimits, "keeps_probabilities", lambda *_: False)
    comparison = compare_baselines(X, y, estimators=["lda" if not options else "logreg"], **options)
    with pytest.raises(ComparisonError, match=r"600 samples and 10 classes take too much memory\. Compare fewer"):
        _ = comparison.label_issues
