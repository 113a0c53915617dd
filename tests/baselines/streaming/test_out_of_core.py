"""Comparisons of rows that are read in blocks, reached with few rows by lower limits."""

import dataclasses
import time

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from featx import compare_baselines, open_features
from featx.baselines.estimators import as_baselines
from featx.baselines.fitting import Dataset
from featx.baselines.scaling.limits import ScaleLimits, TimeUpError
from featx.baselines.scaling.schedule import Schedule
from featx.baselines.streaming import baselines as streaming_baselines
from featx.baselines.streaming import folded_rows, logistic
from featx.baselines.streaming.baselines import Streams
from featx.baselines.streaming.folded_rows import FoldedRows
from featx.baselines.streaming.nystroem import choose_landmarks
from featx.baselines.streaming.scan import scan_columns
from featx.errors import ComparisonError
from featx.features.selected_rows import SelectedRows
from featx.system.terminal.progress import reporting, stage

X, y = load_digits(return_X_y=True)
X, y = X[:900].astype(np.float32), y[:900]
FOLDS = list(StratifiedKFold(5).split(X, y))
NAMES = np.array([f"digit {label}" for label in y])
BLOCKS = ScaleLimits(memory_bytes=1000, n_components=150, subset_rows=400, sample_rows=60)
RIDGE, LOGREG, KNN = "ridge (Gram, out of core)", "logreg (out of core)", "knn (sample of 400)"
SVM = "svm (Nystroem, 150 components, out of core)"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Read 100 rows at a time."""
    monkeypatch.setattr(folded_rows, "_BLOCK_BYTES", 100 * 64 * 4)


def streamed(X=X, y=NAMES, limits=BLOCKS, **options):
    return compare_baselines(X, y, limits=limits, n_jobs=1, **options)


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
    in_blocks = streamed(estimators=["svm"], cv=3)
    assert accuracy(in_blocks, SVM) > accuracy(compare_baselines(X, y, estimators=["svm"], cv=3), "svm") - 0.02


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
def test_folds_with_few_rows_are_not_sampled():
    limits = ScaleLimits(memory_bytes=1000, subset_rows=1000, sample_rows=60)
    labels = np.where(np.arange(len(y)) == 5, None, NAMES.astype(object))  # then processes get selected rows of a file
    in_blocks = streamed(y=labels, limits=limits, estimators=["knn"])
    in_memory = compare_baselines(X, labels, estimators=["knn"])
    assert (in_blocks.predictions["knn"] == in_memory.predictions["knn"]).all()
    assert any("Fitted on all training rows: knn." in note for note in in_blocks.notes)


def test_only_files_are_read_in_blocks_for_their_number_of_rows(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped, limits = np.load(tmp_path / "X.npy", mmap_mode="r"), ScaleLimits(memory_rows=100)
    names = [
        streamed(features, limits=limits, estimators=["ridge"]).best
        for features in (X, mapped, np.asarray(mapped), open_features(tmp_path / "X.npy"))
    ]
    assert names == ["ridge", RIDGE, RIDGE, RIDGE]


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


def test_probabilities_of_the_dummy_estimator_are_not_kept_either():
    limits = dataclasses.replace(BLOCKS, probability_bytes=1000)
    comparison = streamed(estimators=["dummy", "ridge"], limits=limits)
    assert comparison.probabilities == {}
    assert accuracy(comparison, "dummy") == pytest.approx(0.1, abs=0.02)


def test_a_value_that_float32_cannot_hold_is_an_error():
    wrong = X.astype(np.float64)
    wrong[321, 5] = 1e39
    with pytest.raises(ComparisonError, match=r"got a value beyond 3e38 in row 321\. .*\(abs\(X\) < 3e38\)"):
        streamed(wrong)


def test_a_value_that_is_not_finite_is_an_error():
    broken = X.copy()
    broken[321, 5] = np.nan
    with pytest.raises(ComparisonError, match="NaN or infinity in row 321"):
        streamed(broken, estimators=["ridge"])


def test_the_random_state_decides_what_is_drawn():
    first, again = (streamed(estimators=["svm"], random_state=3, cv=2) for _ in range(2))
    other = streamed(estimators=["svm"], random_state=4, cv=first.split)
    assert (first.predictions[SVM] == again.predictions[SVM]).all()
    assert np.array_equal(first.margins[SVM], again.margins[SVM])
    assert not np.array_equal(first.margins[SVM], other.margins[SVM])


def test_a_class_that_is_only_tested_is_never_predicted():
    train = np.flatnonzero(y != 7)
    comparison = streamed(estimators=["ridge", "logreg", "svm"], cv=[(train[:500], np.flatnonzero(y == 7))])
    for name in (RIDGE, LOGREG, SVM):
        assert "digit 7" not in set(comparison.predictions[name])


def test_tuning_selects_the_penalty_of_ridge_and_leaves_the_rest():
    comparison = streamed(estimators=["ridge", "logreg"], tune=True)
    assert "alpha=" in comparison.table["best_params"].iloc[0]
    assert comparison.table["best_params"].iloc[1] == ""
    assert any(
        note.startswith("Not tuned, as they are fitted on rows in blocks: logreg. ") for note in comparison.notes
    )


@pytest.mark.parametrize(("estimator", "shown"), [("ridge", RIDGE), ("svm", SVM)])
def test_the_learning_curve_is_that_of_the_best_estimator(estimator, shown):
    curve = streamed(estimators=["dummy", estimator], cv=2).learning_curve
    assert set(curve["estimator"]) == {shown}
    assert curve["score_mean"].iloc[-1] > 0.88


def test_logistic_regression_that_does_not_converge_is_noted(monkeypatch):
    monkeypatch.setattr(logistic, "_MAX_PASSES", 2)
    notes = streamed(estimators=["logreg"]).notes
    assert any("did not converge: logreg: the loss still decreased after 2 passes" in note for note in notes)


def test_without_memory_for_gram_matrices_estimators_are_sampled(monkeypatch):
    schedule = Schedule(Dataset(X, y, "classification"), FOLDS, False, 1, None, no_progress(), [])
    baselines = as_baselines(["ridge", "logreg", "svm"], "classification", 0)
    streams = Streams(schedule, scan_columns(X, np.arange(len(X))))
    assert all(streams.function_for(baseline) is not None for baseline in baselines)
    n_bytes = 2 * 8 * X.shape[1] * (X.shape[1] + 10) * (len(FOLDS) + 4) + 100  # of Gram matrices and class sums
    monkeypatch.setattr(streaming_baselines, "available_memory", lambda: n_bytes)
    names = [baseline.name for baseline in baselines[:2] if streams.function_for(baseline) is not None]
    assert names == ["ridge"]  # logistic regression has matrices of L-BFGS, too
    monkeypatch.setattr(streaming_baselines, "available_memory", lambda: 1e5)
    assert all(streams.function_for(baseline) is None for baseline in baselines)


def test_memory_counts_the_landmarks_of_all_folds():
    rows = np.arange(len(y))
    folds = [(rows[start : start + 100], rows[start + 100 : start + 150]) for start in range(0, 600, 100)]
    data = FoldedRows(X, y, "classification", folds)
    landmarks, is_used = choose_landmarks(data, 50, 0)
    assert len(landmarks) == 300
    assert is_used.sum(axis=1).tolist() == [50] * 6


def test_a_pass_that_cannot_end_in_time_is_stopped_early(monkeypatch):
    monkeypatch.setattr(folded_rows, "_PROGRESS_SECONDS", 0.0)
    data = FoldedRows(SlowRows(X, np.arange(len(X))), y, "classification", FOLDS)
    data.start(time.perf_counter() + 2)
    with pytest.raises(TimeUpError) as caught:  # nine blocks take 1.35 seconds, and two passes twice as long
        list(data.blocks("ridge", n_passes=2))
    assert caught.value.needed > 2
    assert data.X.n_read < 4


def test_blocks_have_fewer_rows_if_more_columns_are_computed():
    data = FoldedRows(X, y, "classification", FOLDS)
    n_blocks = len(list(data.blocks("ridge")))
    assert len(list(data.blocks("svm", n_columns=3 * X.shape[1]))) >= 2 * n_blocks


class SlowRows(SelectedRows):
    n_read = 0

    def __getitem__(self, rows):
        self.n_read += 1
        time.sleep(0.15)
        return super().__getitem__(rows)


def no_progress():
    with reporting(False, None), stage("compare", 5, "folds") as advance:
        return advance


def test_a_time_limit_excludes_what_does_not_finish():
    comparison = streamed(estimators=["dummy", "ridge"], time_limit=1e-4)
    assert comparison.table["estimator"].tolist() == ["dummy"]
    (note,) = (note for note in comparison.notes if note.startswith("Excluded ridge (Gram, out of core): "))
    assert note.endswith(("at the end of time_limit (--time-limit).", "no time of time_limit (--time-limit) was left."))


def test_probabilities_that_take_too_much_memory_are_not_kept():
    limits = ScaleLimits(memory_bytes=1000, probability_bytes=1000)
    comparison = streamed(limits=limits, estimators=["logreg"])
    assert not comparison.probabilities
    assert len(comparison.margins[LOGREG]) == len(y)


@pytest.mark.slow
def test_many_classes_get_logistic_regression_on_a_sample():
    limits = ScaleLimits(memory_bytes=1000, max_products=1000, subset_rows=400, sample_rows=60)
    table = streamed(limits=limits, estimators=["logreg"]).table
    assert table["estimator"].tolist() == ["logreg (sample of 400)"]
