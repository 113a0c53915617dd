"""Comparisons of many samples or classes, reached with few of them by lower limits."""

import os
import re
import signal

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from featx import compare_baselines
from featx.baselines import score_folds
from featx.baselines.estimators import as_baselines
from featx.baselines.scaling.approximate import approximate_baselines
from featx.baselines.scaling.blocks import block_rows
from featx.baselines.scaling.limits import ScaleLimits
from featx.baselines.scaling.schedule import format_minutes
from featx.baselines.scaling.workers import FoldWorkers
from featx.errors import OptionError
from tests.progress import check_progress

X, y = load_digits(return_X_y=True)
X, y = X[:600].astype(np.float32), y[:600]
SMALL = ScaleLimits(exact_rows=100, n_components=150, sample_rows=60)
NAME = "svm (Nystroem, 150 components)"


class Sleeper(ClassifierMixin, BaseEstimator):
    """A classifier whose time does not follow from a small fit."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if len(X) > 300:
            import time

            time.sleep(600)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


class Hungry(Sleeper):
    """A classifier that has no memory left."""

    def fit(self, X, y):
        raise MemoryError("Unable to allocate 80 GiB")


class Killed(Sleeper):
    """A classifier whose process is killed, as the system does when memory runs out."""

    def fit(self, X, y):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_many_samples_get_an_approximate_svm_that_is_named_so():
    comparison = compare_baselines(X, y, limits=SMALL, n_jobs=1)
    assert comparison.table["estimator"].tolist() == ["dummy", "logreg", NAME, "knn"]
    assert any(note.startswith("svm is approximated for 600 samples: 150 components") for note in comparison.notes)
    scores = comparison.table.set_index("estimator")["accuracy_mean"]
    exact = compare_baselines(X, y, estimators=["svm"]).table["accuracy_mean"].iloc[0]
    assert scores[NAME] > exact - 0.02
    assert set(comparison.learning_curve["estimator"]) <= set(comparison.table["estimator"])


@pytest.mark.slow
@pytest.mark.thorough
def test_exact_keeps_the_support_vector_machine():
    few = compare_baselines(X, y, estimators=["svm"])
    many = compare_baselines(X, y, estimators=["svm"], limits=SMALL, exact=True, n_jobs=1)
    assert many.table["estimator"].tolist() == ["svm"]
    assert np.array_equal(few.predictions["svm"], many.predictions["svm"])


@pytest.mark.slow
def test_folds_in_processes_give_the_scores_of_threads():
    names = ["dummy", "logreg", "knn", "linear-svm"]
    threads = compare_baselines(X, y, estimators=names)
    limits = ScaleLimits(exact_rows=599, sample_rows=60, block_bytes=1 << 16)
    processes = compare_baselines(X, y, estimators=names, limits=limits, time_limit=5, n_jobs=2)
    columns = [name for name in threads.table if not name.endswith("seconds")]
    assert threads.table[columns].equals(processes.table[columns])
    assert threads.predictions.equals(processes.predictions)
    assert np.allclose(threads.probabilities["knn"], processes.probabilities["knn"])


@pytest.mark.slow
@pytest.mark.thorough
def test_a_regressor_is_approximated_too():
    table = compare_baselines(
        X, y + 0.5, estimators=["svr"], task="regression", limits=SMALL, tune=True, n_jobs=1
    ).table
    assert table["estimator"].tolist() == ["svr (Nystroem, 150 components)"]
    assert table["r2_mean"].iloc[0] > 0.8
    assert "gamma=" in table["best_params"].iloc[0]


def test_votes_of_pairs_of_classes_are_computed_in_blocks():
    from sklearn.svm import SVC

    svm = SVC().fit(X, y)
    limits = ScaleLimits(block_bytes=100_000)
    assert block_rows(svm, len(X), X.shape[1], limits) < 100
    in_blocks = compare_baselines(X, y, estimators=["svm"], limits=limits)
    at_once = compare_baselines(X, y, estimators=["svm"])
    assert np.array_equal(in_blocks.margins["svm"], at_once.margins["svm"])


def test_few_rows_need_no_process_for_a_time_limit(monkeypatch):
    monkeypatch.setattr("featx.baselines.scaling.schedule.FoldWorkers.estimate", None)
    limited = compare_baselines(X, y, time_limit=0.5)
    assert not [note for note in limited.notes if note.startswith("Excluded")]
    assert limited.predictions.equals(compare_baselines(X, y).predictions)


@pytest.mark.slow
def test_a_time_limit_excludes_what_cannot_finish():
    comparison = compare_baselines(X, y, estimators=["dummy", Sleeper()], time_limit=0.1, n_jobs=1)
    assert comparison.table["estimator"].tolist() == ["dummy"]
    assert any(re.search("Excluded Sleeper: .*time_limit", note) for note in comparison.notes)


def test_an_estimate_excludes_what_cannot_finish():
    slow = MLPClassifier((300, 300), tol=0, n_iter_no_change=10_000, max_iter=10_000)
    comparison = compare_baselines(X, y, estimators={"dummy": "dummy", "slow": slow}, time_limit=0.02, n_jobs=1)
    assert comparison.table["estimator"].tolist() == ["dummy"]


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "ten", True])
def test_a_time_limit_must_be_positive(limit):
    with pytest.raises(OptionError, match=r"time_limit \(--time-limit\) must be a positive number of minutes"):
        compare_baselines(X, y, time_limit=limit)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "limits", "reason"),
    [
        pytest.param(Hungry(), SMALL, "Unable to allocate", marks=pytest.mark.thorough),
        pytest.param(Killed(), SMALL, "killed", marks=pytest.mark.thorough),
        pytest.param(Killed(), ScaleLimits(thread_share=1e-9), "killed", id="few samples"),
    ],
)
def test_only_an_estimator_without_memory_is_excluded(estimator, limits, reason):
    estimators = ["dummy", estimator, "ridge"]
    comparison = compare_baselines(X, y, estimators=estimators, limits=limits, n_jobs=1)
    assert comparison.table["estimator"].tolist() == ["dummy", "ridge"]
    (note,) = (note for note in comparison.notes if "memory" in note)
    assert note.startswith(f"Excluded {type(estimator).__name__}: it ran out of memory")
    assert reason in note


def test_wide_features_are_estimated_before_they_are_fitted(monkeypatch):
    """Also those of few samples, if a fit in a thread may not fit into memory."""
    estimated = []

    def estimate(workers, baseline, fold, **_):
        estimated.append(baseline.name)
        raise MemoryError("not enough")

    monkeypatch.setattr(FoldWorkers, "estimate", estimate)
    monkeypatch.setattr(score_folds, "available_memory", lambda: 2 * 50e6)
    wide = np.tile(X[:60], (1, 40))  # 2,560 columns: covariances of lda take 210 MB
    comparison = compare_baselines(wide, y[:60], estimators=["dummy", "lda", "ridge"], cv=2, n_jobs=1)
    assert estimated == ["lda"]
    assert comparison.table["estimator"].tolist() == ["dummy", "ridge"]
    (note,) = (note for note in comparison.notes if "lda" in note)
    assert note.endswith('Compare fewer features, for example pooling="avg" (--pooling avg), or other estimators.')


def test_only_an_estimator_without_memory_is_excluded_in_threads():
    comparison = compare_baselines(X, y, estimators=["dummy", Hungry()])
    assert any("Excluded Hungry: it ran out of memory" in note for note in comparison.notes)


@pytest.mark.slow
def test_progress_shows_estimators_and_their_duration():
    seen = []
    compare_baselines(X, y, estimators=["ridge", "knn"], limits=SMALL, n_jobs=1, progress=seen.append)
    check_progress(seen)
    messages = list(dict.fromkeys(report.message for report in seen))
    assert messages[:2] == ["", "ridge"]
    assert re.fullmatch(r"ridge, about .* seconds?", messages[2])
    assert messages[3] == "knn"
    assert {(report.stage, report.total, report.unit) for report in seen} == {("compare", 10, "folds")}


def test_durations_have_a_suitable_unit():
    assert [format_minutes(seconds) for seconds in (0.1, 600, 90_000)] == ["1 second", "10 minutes", "25.0 hours"]


@pytest.mark.parametrize(("n_classes", "is_noted"), [(100, False), (101, True)])
def test_an_approximation_with_few_components_for_each_class_is_noted(n_classes, is_noted):
    notes = []
    svm = as_baselines(["svm"], "classification", 0)
    approximate_baselines(svm, 20_000, ScaleLimits(), notes, random_state=0, n_classes=n_classes)
    expected = ["With 101 classes the approximation of svm may be less accurate; compare it with logreg."]
    assert notes[1:] == expected * is_noted
