"""Estimators that are excluded: for their memory, or for their time."""

import dataclasses
import time

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedKFold

from featx.baselines.builtin_baselines import BASELINES, Baseline
from featx.baselines.fitting import Dataset
from featx.baselines.scaling import schedule as scheduling
from featx.baselines.scaling.cost import Cost
from featx.baselines.scaling.limits import ScaleLimits, TimeUpError
from featx.baselines.scaling.schedule import Schedule, memory_remedy
from featx.baselines.scaling.workers import _estimate, _start_worker
from featx.baselines.score_folds import _score_until, score_all
from featx.errors import ComparisonError
from featx.system.terminal.progress import reporting, stage

y = np.arange(300) % 3
X = (np.eye(8, dtype=np.float32)[y] + np.random.default_rng(0).standard_normal((300, 8))).astype(np.float32)
FOLDS = list(StratifiedKFold(3).split(X, y))
KNN = next(baseline for baseline in BASELINES["classification"] if baseline.name == "knn")


class SlowDummy(DummyClassifier):
    n_fits = 0

    def fit(self, X, y):
        SlowDummy.n_fits += 1
        time.sleep(0.3)
        return super().fit(X, y)


@pytest.fixture
def make_schedule():
    with reporting(False, None), stage("compare", 3, "folds") as advance:
        yield lambda **options: Schedule(
            **{"data": Dataset(X, y, "classification"), "folds": FOLDS, "tune": False, "n_jobs": 1, "time_limit": None}
            | {"progress": advance, "notes": []}
            | options
        )


class Estimated:
    """Processes of which only the estimate is needed."""

    def __init__(self, cost):
        self.cost = cost

    def estimate(self, *_, **__):
        return self.cost


def test_an_estimator_that_does_not_fit_into_memory_is_excluded(make_schedule, monkeypatch):
    monkeypatch.setattr(scheduling, "available_memory", lambda: 4e9)
    schedule = make_schedule()
    assert schedule._score(Estimated(Cost(1.0, 7.5e9)), KNN, float("inf")) == []
    (note,) = schedule.notes
    assert note == (
        "Excluded knn: a fold would take about 7.5 GB of memory, and 4.0 GB are available. "
        "Compare fewer samples, or other estimators."
    )


def test_an_estimator_whose_smallest_fit_does_not_fit_is_not_even_estimated(make_schedule, monkeypatch):
    monkeypatch.setattr(scheduling, "available_memory", lambda: 4e9)
    wide = np.broadcast_to(np.float32(0), (300, 50_000))
    schedule = make_schedule(data=Dataset(wide, y, "classification"))
    lda = next(baseline for baseline in BASELINES["classification"] if baseline.name == "lda")
    assert schedule._score(Estimated(None), lda, float("inf")) == []
    (note,) = schedule.notes
    assert note.startswith(
        "Excluded lda: a fold would take about 80.2 GB of memory, and 4.0 GB are available. Compare "
    )
    assert "fewer features" in note


@pytest.mark.parametrize(("gigabytes", "n_processes"), [(0.1, 3), (1.5, 2), (3.0, 1), (3.3, 0)])
def test_fewer_folds_run_at_a_time_in_little_memory(gigabytes, n_processes, make_schedule, monkeypatch):
    monkeypatch.setattr(scheduling, "available_memory", lambda: 4e9)
    assert make_schedule(n_jobs=8)._n_processes(Cost(1.0, gigabytes * 1e9)) == n_processes


def test_all_folds_run_at_a_time_where_the_available_memory_is_unknown(make_schedule, monkeypatch):
    monkeypatch.setattr(scheduling, "available_memory", lambda: float("inf"))
    assert make_schedule(n_jobs=8)._n_processes(Cost(1.0, 5e9)) == 3


class RecordingWorkers:
    """Processes that record what they are given."""

    def __init__(self, error=None):
        self.error, self.estimated, self.scored, self.n_processes = error, [], [], 0

    def estimate(self, baseline, fold, **_):
        self.estimated.append(len(fold[0]))
        if self.error is not None:
            raise self.error
        return Cost(1.0, 1.0)

    def score(self, baseline, folds, *, n_processes, **_):
        self.n_processes = n_processes
        self.scored = [len(train) for train, _ in folds]
        return self.scored


def test_the_largest_fold_is_estimated_and_runs_first(make_schedule):
    rows = np.arange(300)
    folds = [(rows[:50], rows[290:]), (rows[:200], rows[200:]), (rows[:100], rows[290:])]
    workers = RecordingWorkers()
    schedule = make_schedule(folds=folds)
    assert schedule._score(workers, KNN, float("inf")) == [50, 200, 100]
    assert (workers.estimated, workers.scored) == ([200], [200, 100, 50])
    assert schedule._n_largest_folds == pytest.approx((60 + 300 + 110) / 300)


def test_an_estimator_that_fails_on_a_part_is_fitted_all_the_same(make_schedule):
    workers = RecordingWorkers(ComparisonError("needs at least two images of each class"))
    schedule = make_schedule(n_jobs=2)
    assert schedule._score(workers, KNN, float("inf")) == [200, 200, 200]
    assert workers.n_processes == 1
    assert schedule.notes == [
        "Time and memory of knn are unknown, as it failed on few samples; its folds ran one after another: needs at "
        "least two images of each class"
    ]


def test_rare_classes_can_be_calibrated_in_an_estimate():
    targets = np.repeat([0, 1, 2], [148, 148, 4])
    data = Dataset(X, targets, "classification", limits=ScaleLimits(sample_rows=30))
    _start_worker(X, data)  # in this process
    calibrated = dataclasses.replace(BASELINES["classification"][1], is_calibrated=True)
    cost, _ = _estimate(calibrated, (np.arange(299), np.array([0, 299])), False, np.inf)
    assert cost.seconds > 0


@pytest.mark.parametrize(
    ("shape", "what"),
    [((300, 8, 3), "fewer samples"), ((3000, 8, 300), "fewer classes"), ((300, 4000, 3), "fewer features")],
)
def test_the_remedy_for_memory_names_what_there_is_most_of(shape, what):
    assert memory_remedy(*shape).startswith(f"Compare {what}")


def test_an_estimator_that_cannot_finish_is_excluded_with_both_times(make_schedule):
    schedule = make_schedule(time_limit=2)

    def too_slow(deadline):
        return schedule._score(Estimated(Cost(100.0, 1.0, start_seconds=20.0)), KNN, deadline)

    assert schedule.run([KNN], {"knn": too_slow}) == {}
    assert schedule.notes == [
        "Excluded knn: it would take about 5 minutes, and 2 minutes of time_limit (--time-limit) were left."
    ]


def test_an_estimator_that_is_stopped_is_noted_with_its_own_time(make_schedule):
    schedule = make_schedule(time_limit=10 / 3)

    def stopped(deadline):
        raise TimeUpError

    schedule.run([KNN], {"knn": stopped})
    assert schedule.notes == ["Excluded knn: it was stopped after 1 second, at the end of time_limit (--time-limit)."]


def test_without_time_no_process_is_started(make_schedule):
    schedule = make_schedule(time_limit=1e-9)
    assert schedule.run([KNN], {}) == {}
    assert schedule.notes == ["Excluded knn: no time of time_limit (--time-limit) was left."]


def test_an_estimator_that_is_trained_on_images_stops_between_folds(make_schedule):
    slow = Baseline("slow", lambda n_train: SlowDummy(), images=[b""] * len(y))
    with pytest.raises(TimeUpError) as caught:
        _score_until(slow, time.perf_counter() + 0.5, make_schedule())
    assert SlowDummy.n_fits == 1
    assert caught.value.needed > 0.9  # three folds
    schedule = make_schedule(time_limit=0.001)
    assert list(score_all([BASELINES["classification"][0], slow], schedule)) == ["dummy"]
    assert schedule.notes[0].startswith("Excluded slow: ")
    assert "time_limit (--time-limit)" in schedule.notes[0]


def test_the_dummy_is_scored_without_time(make_schedule):
    (dummy, *_) = BASELINES["classification"]
    assert list(score_all([dummy], make_schedule(time_limit=1e-9))) == ["dummy"]


def test_an_estimate_counts_the_kernel_that_all_folds_share():
    svm = BASELINES["classification"][2]
    data = Dataset(X, y, "classification", limits=ScaleLimits(sample_rows=60))
    _start_worker(X, data)  # in this process
    cost, _ = _estimate(svm, FOLDS[0], False, np.inf)
    assert cost.start_seconds > 0
    assert cost.n_bytes > 250_000_000 + 4 * len(X) ** 2
    cost, _ = _estimate(KNN, FOLDS[0], False, np.inf)
    assert cost.start_seconds == 0
