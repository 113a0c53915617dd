"""Estimators in turn, within the given time and memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.fitting import Dataset, FoldResult, collecting_warnings
from featx.baselines.folds.split import Fold
from featx.baselines.scaling.cost import Cost
from featx.baselines.scaling.limits import TimeUpError
from featx.baselines.scaling.workers import FoldWorkers
from featx.errors import FeatxError
from featx.system.formatting import first_line, format_count, shorten
from featx.system.processes import available_memory, n_cores
from featx.system.terminal.progress import Stage

#: Fraction of the available memory that folds may take.
_MEMORY_SHARE = 0.8


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
            By name, functions that score a baseline in this process until a deadline: the dummy, those that are
            trained on images, and those that read rows in blocks.
        """
        deadline = float("inf") if self.time_limit is None else time.perf_counter() + 60 * self.time_limit
        results: dict[str, Any] = {}
        with FoldWorkers(self.data, min(self.n_workers, len(self.folds))) as workers:
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
                    self.notes.append(describe_failure(baseline.name, error))
        return results

    def _score(self, workers: FoldWorkers, baseline: Baseline, deadline: float) -> list[FoldResult]:
        started = time.perf_counter()
        if started >= deadline:  # starting processes takes seconds
            raise TimeUpError
        cost = workers.estimate(baseline, self.folds[0], tune=self.tune, deadline=deadline)
        n_processes = self._n_processes(cost)
        if n_processes == 0:
            self.notes.append(
                f"Excluded {baseline.name}: a fold would take about {cost.n_bytes / 1e9:.1f} GB of memory, and "
                f"{available_memory() / 1e9:.1f} GB are available. Compare fewer samples."
            )
            return []
        seconds = cost.start_seconds + cost.seconds * -(-len(self.folds) // n_processes)
        if (end := time.perf_counter() + seconds) > deadline:
            raise TimeUpError(end - started)
        self.progress.describe(f"{baseline.name}, about {format_minutes(seconds)}")
        return workers.score(
            baseline, self.folds, tune=self.tune, n_processes=n_processes, deadline=deadline, progress=self.progress
        )

    @property
    def n_workers(self) -> int:
        """Number of processes or threads that `n_jobs` stands for."""
        n_jobs = 1 if self.n_jobs is None else self.n_jobs
        return n_jobs if n_jobs > 0 else max(1, n_cores() + 1 + n_jobs)

    def _n_processes(self, cost: Cost) -> int:
        """Return how many folds fit into memory at the same time; may be 0."""
        return min(self.n_workers, len(self.folds), int(_MEMORY_SHARE * available_memory() / max(cost.n_bytes, 1)))


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


def describe_failure(name: str, error: Exception) -> str:
    """Return the note on an estimator that failed."""
    reason = first_line(error)
    if isinstance(error, MemoryError):
        return f"Excluded {name}: it ran out of memory ({shorten(reason, 120)}). Compare fewer samples."
    return f"Skipped {name}, which cannot be fitted to this data: {shorten(reason, 200)}"


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
