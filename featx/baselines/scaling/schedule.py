"""Estimators one after another, within the given time and memory."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.fitting import Dataset, FoldResult, collecting_warnings
from featx.baselines.folds.split import Fold
from featx.baselines.scaling.cost import Cost, fit_bytes
from featx.baselines.scaling.limits import TimeUpError
from featx.baselines.scaling.workers import FoldWorkers
from featx.errors import FeatxError
from featx.system.formatting import first_line, format_count, shorten
from featx.system.processes import available_memory, n_cores
from featx.system.terminal.progress import Stage

#: Fraction of the available memory that folds may take.
_MEMORY_SHARE = 0.8
#: Beyond it, the number of classes decides what memory many estimators take.
_MANY_CLASSES = 100


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Folds of estimators in processes, within the given time and memory.

    Attributes
    ----------
    data : Dataset
    folds : list of (ndarray of int, ndarray of int)
    tune : bool
    n_jobs : int or None
        See :func:`featx.compare_baselines`.
    time_limit : float or None
        Minutes for all estimators.
    progress : Stage
        Receives the name of each estimator, and the number of folds that are done.
    notes : list of str
        Receives the estimators that are excluded, with the reason.
    """

    data: Dataset
    folds: Sequence[Fold]
    tune: bool
    n_jobs: int | None
    time_limit: float | None
    progress: Stage
    notes: list[str]

    def run(
        self, baselines: Sequence[Baseline], direct: Mapping[str, Callable[[float], list[FoldResult]]]
    ) -> dict[str, Any]:
        """Return the results of each estimator that can be scored.

        Parameters
        ----------
        baselines : sequence of Baseline
        direct : mapping of str to callable
            By name, functions that score a baseline in this process until a deadline: the dummy estimator, those
            that are trained on images, and those that read rows in blocks.
        """
        deadline = float("inf") if self.time_limit is None else time.perf_counter() + 60 * self.time_limit
        results: dict[str, Any] = {}
        with FoldWorkers(self.data, self.n_processes) as workers:
            for baseline in baselines:
                self.progress.describe(baseline.name)
                started = time.perf_counter()
                try:
                    with collecting_warnings(self.notes, baseline.name):
                        if baseline.name in direct:
                            results[baseline.name] = direct[baseline.name](deadline)
                        elif scores := self._score(workers, baseline, deadline):
                            results[baseline.name] = scores
                except FeatxError:
                    raise
                except TimeUpError as error:
                    self.notes.append(_describe_time(baseline.name, error.needed, started, deadline))
                except Exception as error:
                    self.notes.append(describe_failure(baseline.name, error, self._remedy()))
        return results

    def _score(self, workers: FoldWorkers, baseline: Baseline, deadline: float) -> list[FoldResult]:
        started = time.perf_counter()
        if started >= deadline:  # starting processes takes seconds
            raise TimeUpError
        if (n_bytes := self._smallest_fit(baseline)) > available_memory():
            return self._exclude(baseline, n_bytes)
        try:
            cost = self._estimate(workers, baseline, deadline)
        except (TimeUpError, MemoryError):
            raise
        except Exception as error:  # a part has fewer rows of a class; the fit shows whether it can be fitted
            results = self._score_folds(workers, baseline, 1, deadline)
            self.notes.append(
                f"Time and memory of {baseline.name} are unknown, as it failed on few samples; its folds ran one after "
                f"another: {shorten(first_line(error), 200)}"
            )
            return results
        n_processes = self._n_processes(cost)
        if n_processes == 0:
            return self._exclude(baseline, cost.n_bytes)
        seconds = cost.start_seconds + cost.seconds * math.ceil(self._n_largest_folds / n_processes)
        if (end := time.perf_counter() + seconds) > deadline:
            raise TimeUpError(end - started)
        self.progress.describe(f"{baseline.name}, about {format_minutes(seconds)}")
        return self._score_folds(workers, baseline, n_processes, deadline)

    def _smallest_fit(self, baseline: Baseline) -> float:
        """Return roughly the memory of the smallest part, which may be as much as that of all rows; 0 if unknown."""
        if not baseline.is_builtin:
            return 0.0
        n_train = min(self.data.limits.sample_rows, *(len(train) for train, _ in self.folds))
        return fit_bytes(baseline, n_train, self.data.X.shape[1], self.data.n_classes)

    def _exclude(self, baseline: Baseline, n_bytes: float) -> list[FoldResult]:
        self.notes.append(
            f"Excluded {baseline.name}: a fold would take about {n_bytes / 1e9:.1f} GB of memory, and "
            f"{available_memory() / 1e9:.1f} GB are available. {self._remedy()}"
        )
        return []

    def _estimate(self, workers: FoldWorkers, baseline: Baseline, deadline: float) -> Cost:
        """Return the cost of the largest fold."""
        memory = _MEMORY_SHARE * available_memory() / self.n_processes
        return workers.estimate(baseline, max(self.folds, key=_size), tune=self.tune, deadline=deadline, memory=memory)

    def _score_folds(
        self, workers: FoldWorkers, baseline: Baseline, n_processes: int, deadline: float
    ) -> list[FoldResult]:
        """Return the result of each fold; the largest start first."""
        order = sorted(range(len(self.folds)), key=lambda index: -_size(self.folds[index]))
        results = workers.score(
            baseline,
            [self.folds[index] for index in order],
            tune=self.tune,
            n_processes=n_processes,
            deadline=deadline,
            progress=self.progress,
        )
        return [results[order.index(index)] for index in range(len(order))]

    def _remedy(self) -> str:
        """Return what reduces the memory of an estimator: the larger of rows, columns and classes."""
        n_samples, n_features = self.data.X.shape
        return memory_remedy(n_samples, n_features, self.data.n_classes)

    @property
    def n_workers(self) -> int:
        """Number of processes or threads that `n_jobs` stands for."""
        n_jobs = 1 if self.n_jobs is None else self.n_jobs
        return n_jobs if n_jobs > 0 else max(1, n_cores() + 1 + n_jobs)

    @property
    def n_processes(self) -> int:
        """Largest number of folds at the same time."""
        return min(self.n_workers, len(self.folds))

    @property
    def _n_largest_folds(self) -> float:
        """Number of folds, if all were as large as the largest one."""
        sizes = [_size(fold) for fold in self.folds]
        return sum(sizes) / max(sizes)

    def _n_processes(self, cost: Cost) -> int:
        """Return how many folds fit into memory at the same time; may be 0."""
        n_fitting = _MEMORY_SHARE * available_memory() / max(cost.n_bytes, 1)  # inf where the system reports no memory
        return int(min(n_fitting, self.n_processes))


def _size(fold: Fold) -> int:
    return len(fold[0]) + len(fold[1])


def _describe_time(name: str, needed: float, started: float, deadline: float) -> str:
    """Return the note on an estimator that does not finish in time."""
    if started >= deadline:
        return f"Excluded {name}: no time of time_limit (--time-limit) was left."
    if not needed:
        return (
            f"Excluded {name}: it was stopped after {format_minutes(time.perf_counter() - started)}, at the end of "
            "time_limit (--time-limit)."
        )
    return (
        f"Excluded {name}: it would take about {format_minutes(needed)}, and "
        f"{format_minutes(max(0.0, deadline - started))} of time_limit (--time-limit) were left."
    )


def describe_failure(name: str, error: Exception, remedy: str) -> str:
    """Return the note on an estimator that failed."""
    reason = first_line(error)
    if isinstance(error, MemoryError):
        return f"Excluded {name}: it ran out of memory ({shorten(reason, 120)}). {remedy}"
    return f"Excluded {name}, which cannot be fitted to this data: {shorten(reason, 200)}"


def memory_remedy(n_samples: int, n_features: int, n_classes: int) -> str:
    """Return what reduces the memory of an estimator: less of what there is most of.

    Examples
    --------
    >>> memory_remedy(20_000, 1_024, 10)
    'Compare fewer samples, or other estimators.'
    """
    if n_features > n_samples:
        what = 'fewer features, for example pooling="avg" (--pooling avg)'
    elif n_classes > _MANY_CLASSES:
        what = "fewer classes or samples"
    else:
        what = "fewer samples"
    return f"Compare {what}, or other estimators."


def format_minutes(seconds: float) -> str:
    """Return a duration with a suitable unit.

    Examples
    --------
    >>> format_minutes(8.2), format_minutes(400)
    ('8 seconds', '7 minutes')
    """
    if seconds < 100:
        return format_count(max(1, round(seconds)), "second")
    return f"{round(seconds / 60):,} minutes" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"
