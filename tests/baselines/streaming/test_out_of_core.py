"""Comparisons of rows that are read in blocks, reached with few rows by lower limits."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeClassifier

from featx import compare_baselines
from featx.baselines.scaling.limits import ScaleLimits
from featx.baselines.streaming import folded_rows
from featx.errors import ComparisonError

X, y = load_digits(return_X_y=True)
X, y = X[:900].astype(np.float32), y[:900]
NAMES = np.array([f"digit {label}" for label in y])
BLOCKS = ScaleLimits(memory_rows=100, n_components=150, subset_rows=400, sample_rows=60)
RIDGE, LOGREG, KNN = "ridge (Gram, out of core)", "logreg (out of core)", "knn (sample of 400)"
SVM = "svm (Nystroem, 150 components, out of core)"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Read 100 rows at a time."""
    monkeypatch.setattr(folded_rows, "_BLOCK_BYTES", 100 * 64 * 4)


def streamed(X=X, y=NAMES, limits=BLOCKS, **options):
    return compare_baselines(X, y, limits=limits, **options)


def accuracy(comparison, name):
    return comparison.table.set_index("estimator")["accuracy_mean"][name]


@pytest.mark.parametrize("labels", [NAMES, np.where(y < 5, "low", "high")])
@pytest.mark.parametrize("options", [{}, {"repeats": 2}, {"cv": [(np.arange(300, 900), np.arange(300))]}])
def test_ridge_is_that_of_a_comparison_in_memory(labels, options):
    X_large_mean = X + np.float32(100)
    in_memory = compare_baselines(X_large_mean, labels, estimators=["ridge"], **options)
    in_blocks = streamed(X_large_mean, labels, estimators=["ridge"], **options)
    assert abs(accuracy(in_memory, "ridge") - accuracy(in_blocks, RIDGE)) < 1e-6
    assert (in_memory.predictions["ridge"] == in_blocks.predictions[RIDGE]).all()
    assert np.allclose(in_memory.margins["ridge"], in_blocks.margins[RIDGE], atol=1e-3)
    assert in_memory.split.description == in_blocks.split.description


def test_ridge_regression_is_that_of_a_comparison_in_memory():
    X, y = load_diabetes(return_X_y=True)
    in_memory = compare_baselines(X, y, estimators=["ridge"]).table
    in_blocks = streamed(X, y, estimators=["ridge"]).table
    columns = ["r2_mean", "r2_std", "mae_mean", "low", "high"]
    assert np.allclose(in_memory[columns].to_numpy(float), in_blocks[columns].to_numpy(float), atol=1e-6)


@pytest.mark.parametrize("labels", [NAMES, np.where(y < 5, "low", "high")])
def test_logistic_regression_has_the_probabilities_of_scikit_learn(labels):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    from featx import scale_to_unit_length

    in_blocks = streamed(y=labels, estimators=["logreg"])
    train, test = in_blocks.split.folds[0]
    exact = make_pipeline(
        StandardScaler(),
        FunctionTransformer(scale_to_unit_length),
        LogisticRegression(C=30, tol=1e-6, max_iter=10_000),
    ).fit(X[train].astype(float), labels[train])
    probabilities = in_blocks.probabilities[LOGREG][np.searchsorted(in_blocks.predictions.index, test)]
    assert np.abs(exact.predict_proba(X[test].astype(float)) - probabilities).mean() < 0.005
    in_memory = compare_baselines(X, labels, estimators=["logreg"])
    assert abs(accuracy(in_memory, "logreg") - accuracy(in_blocks, LOGREG)) < 0.005


def test_components_of_a_kernel_score_like_the_support_vector_machine():
    in_blocks = streamed(estimators=["svm"])
    assert accuracy(in_blocks, SVM) > accuracy(compare_baselines(X, y, estimators=["svm"]), "svm") - 0.02


@pytest.mark.slow
def test_other_estimators_are_fitted_on_a_sample_and_named_so():
    estimators = ["dummy", "logreg", "svm", "knn", "lda", DecisionTreeClassifier(max_depth=3)]
    comparison = streamed(estimators=estimators)
    assert comparison.table["estimator"].tolist() == [
        *("dummy", LOGREG, SVM, KNN, "lda (sample of 400)", "DecisionTreeClassifier (sample of 400)")
    ]
    note = next(note for note in comparison.notes if "blocks" in note)
    assert "Fitted on all training rows: logreg, svm." in note
    assert "Fitted on 400 training rows of each fold, stratified by class, and tested on all: knn, lda," in note
    assert len(comparison.predictions) == len(y)
    assert 0.9 < accuracy(comparison, KNN) < accuracy(compare_baselines(X, y, estimators=["knn"]), "knn")
    assert not comparison.learning_curve.empty
    assert comparison.label_issues.columns.tolist()[:2] == ["row", "given"]


@pytest.mark.slow
def test_a_sample_of_all_rows_gives_the_nearest_neighbors_of_a_comparison_in_memory():
    limits = ScaleLimits(memory_rows=100, subset_rows=1000, sample_rows=60)
    in_blocks = streamed(limits=limits, estimators=["knn"])
    in_memory = compare_baselines(X, NAMES, estimators=["knn"])
    assert (in_blocks.predictions["knn (sample of 1,000)"] == in_memory.predictions["knn"]).all()


def test_exact_gives_the_estimators_of_small_comparisons():
    exact = streamed(estimators=["dummy", "ridge"], exact=True)
    assert exact.table["estimator"].tolist() == ["dummy", "ridge"]


def test_the_default_limits_leave_small_comparisons_unchanged():
    small = compare_baselines(X, y, estimators=["dummy", "ridge", "logreg"])
    assert small.table["estimator"].tolist() == ["dummy", "ridge", "logreg"]
    assert not any("blocks" in note for note in small.notes)


def test_groups_are_never_in_both_training_and_test_rows():
    groups = np.arange(len(y)) // 3
    comparison = streamed(estimators=["ridge"], groups=groups)
    for train, test in comparison.split.folds:
        assert not set(groups[train]) & set(groups[test])
    given = list(GroupKFold(3).split(X, y, groups))
    for (train, test), (given_train, given_test) in zip(
        streamed(estimators=["ridge"], cv=given).split.folds, given, strict=True
    ):
        assert np.array_equal(train, given_train)
        assert np.array_equal(test, given_test)


def test_near_duplicates_form_groups():
    copies = np.concatenate([X, X[:50] * np.float32(1.001)])
    comparison = streamed(copies, np.concatenate([NAMES, NAMES[:50]]), estimators=["ridge"], groups="auto")
    assert comparison.duplicates is not None
    for train, test in comparison.split.folds:
        assert not set(train) & {row + 900 for row in test if row < 50}


def test_rows_without_a_label_take_no_part():
    labels = NAMES.astype(object)
    labels[::10] = None
    in_blocks, in_memory = streamed(y=labels, estimators=["ridge"]), compare_baselines(X, labels, estimators=["ridge"])
    assert in_blocks.predictions.index.equals(in_memory.predictions.index)
    assert (in_blocks.predictions[RIDGE] == in_memory.predictions["ridge"]).all()
    assert in_blocks.notes[0] == in_memory.notes[0]


def test_a_value_that_is_not_finite_is_an_error():
    broken = X.copy()
    broken[321, 5] = np.nan
    with pytest.raises(ComparisonError, match="NaN or infinity in row 321"):
        streamed(broken, estimators=["ridge"])


def test_the_random_state_decides_what_is_drawn():
    first, again = (streamed(estimators=["svm"], random_state=3) for _ in range(2))
    other = streamed(estimators=["svm"], random_state=4, cv=first.split)
    assert (first.predictions[SVM] == again.predictions[SVM]).all()
    assert np.array_equal(first.margins[SVM], again.margins[SVM])
    assert not np.array_equal(first.margins[SVM], other.margins[SVM])


def test_a_class_that_is_only_tested_is_never_predicted():
    train = np.flatnonzero(y != 7)
    comparison = streamed(estimators=["ridge", "logreg", "svm"], cv=[(train[:500], np.flatnonzero(y == 7))])
    for name in (RIDGE, LOGREG, SVM):
        assert "digit 7" not in set(comparison.predictions[name])


def test_tuning_selects_the_penalty_of_ridge():
    table = streamed(estimators=["ridge"], tune=True).table
    assert "alpha=" in table["best_params"].iloc[0]


@pytest.mark.slow
def test_a_time_limit_leaves_out_what_does_not_finish():
    comparison = streamed(estimators=["dummy", "ridge"], time_limit=1e-4)
    assert comparison.table["estimator"].tolist() == ["dummy"]
    assert any("Excluded ridge (Gram, out of core): it was stopped" in note for note in comparison.notes)


def test_probabilities_that_take_too_much_memory_are_not_kept():
    limits = ScaleLimits(memory_rows=100, probability_bytes=1000)
    comparison = streamed(limits=limits, estimators=["logreg"])
    assert not comparison.probabilities
    assert len(comparison.margins[LOGREG]) == len(y)


@pytest.mark.slow
def test_many_classes_get_logistic_regression_on_a_sample():
    limits = ScaleLimits(memory_rows=100, max_products=1000, subset_rows=400, sample_rows=60)
    table = streamed(limits=limits, estimators=["logreg"]).table
    assert table["estimator"].tolist() == ["logreg (sample of 400)"]
