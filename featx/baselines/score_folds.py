"""Estimators scored on all folds: in threads that share a kernel, in processes, or on rows in blocks."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.fitting import FoldResult, collecting_warnings, score_fold
from featx.baselines.folds.split import Fold
from featx.baselines.kernel_cache import MAX_ROWS, SharedKernel
from featx.baselines.scaling.cost import fit_bytes
from featx.baselines.scaling.limits import TimeUpError
from featx.baselines.scaling.schedule import Schedule
from featx.errors import ComparisonError
from featx.system.processes import available_memory
from featx.system.terminal.progress import counted
from featx.system.threads import parallel_in_threads

#: Functions of a deadline that score a baseline on all folds in this process, by name.
Direct: TypeAlias = "Mapping[str, Callable[[float], list[FoldResult]]]"


def check_images_of(baselines: Sequence[Baseline], n_samples: int) -> None:
    """Raise an error if there are not as many images as samples for a baseline that is trained on images."""
    for baseline in baselines:
        if baseline.images is not None and len(baseline.images) != n_samples:
            baseline.make(n_samples)  # raises


def score_all(
    baselines: Sequence[Baseline], schedule: Schedule, streamed: Direct | None = None
) -> dict[str, list[FoldResult]]:
    """Return the results of each baseline on each fold. A baseline that cannot be fitted is noted instead.

    Parameters
    ----------
    baselines : sequence of Baseline
    schedule : Schedule
    streamed : mapping of str to callable or None, default=None
        Functions of a deadline that score baselines on rows in blocks, if there are too many for the memory.

    Raises
    ------
    ComparisonError
        No baseline can be fitted.
    """
    from threadpoolctl import threadpool_limits

    data, notes = schedule.data, schedule.notes
    n_train, n_features, n_classes = max(len(train) for train, _ in schedule.folds), data.X.shape[1], data.n_classes
    memory = data.limits.thread_share * available_memory()

    def fits(baseline: Baseline, n_folds: int) -> bool:
        """Return whether so many folds fit into the memory of this process at the same time for certain."""
        return n_folds * fit_bytes(baseline, n_train, n_features, n_classes) <= memory

    # One fold per core, with one BLAS thread each: on matrices of this size, several BLAS threads mostly wait for each
    # other (measured: logistic regression takes ten times as long with two).
    with threadpool_limits(limits=1), collecting_warnings(notes):
        if streamed is not None or len(data.X) > data.limits.exact_rows or schedule.time_limit is not None:
            # In this process: estimators that are trained on images, and those that take less time than the start of
            # other processes: the dummy estimator, and all built-in ones on so few rows that an estimate would use
            # them all.
            is_small = len(data.X) <= min(data.limits.sample_rows, data.limits.exact_rows)
            score: Callable[..., list[FoldResult]] = functools.partial(_score_until, schedule=schedule)
            is_direct = {
                baseline.name: baseline.is_builtin and (baseline.name == "dummy" or (is_small and fits(baseline, 1)))
                for baseline in baselines
            }
        else:
            score = _ScoreInThreads(schedule)
            is_direct = {baseline.name: fits(baseline, schedule.n_processes) for baseline in baselines}
        direct: Direct = {
            baseline.name: functools.partial(score, baseline)
            for baseline in baselines
            if baseline.images is not None or is_direct[baseline.name]
        }
        results = schedule.run(baselines, {**direct, **(streamed or {})})
    if not results:
        raise ComparisonError(f"Cannot compare estimators: none could be fitted. {' '.join(notes)}")
    return results


def _score_until(baseline: Baseline, deadline: float, schedule: Schedule) -> list[FoldResult]:
    """Return the result of each fold, one after the other; a fit in this process cannot be stopped, only the next.

    The dummy estimator is fitted in no time, and is scored even after the deadline.
    """
    if baseline.is_builtin and baseline.name == "dummy":
        deadline = float("inf")
    started = time.perf_counter()
    results: list[FoldResult] = []
    for fold in schedule.folds:
        now = time.perf_counter()
        seconds = (now - started) / max(1, len(results)) * len(schedule.folds)
        if results and started + seconds > deadline:
            raise TimeUpError(seconds)
        if now > deadline:
            raise TimeUpError
        results.append(score_fold(baseline, schedule.data, fold, None, tune=schedule.tune))
        schedule.progress(1)
    return results


class _ScoreInThreads:
    """Scores of baselines, computed in threads that share a kernel.

    Parameters
    ----------
    schedule : Schedule
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._kernel: SharedKernel | None = None

    def __call__(self, baseline: Baseline, deadline: float) -> list[FoldResult]:
        """Return the result of each fold; `deadline` is infinite, as there is no time limit."""
        schedule, data = self._schedule, self._schedule.data
        start = time.perf_counter()
        if self._kernel is None and baseline.is_precomputable and len(data.X) <= MAX_ROWS:
            # Measured with 8,000 × 1,024, 100 classes and 5 folds: 5 s for svm with it, 54 s without.
            self._kernel = SharedKernel(data.X)
        kernel_seconds = (time.perf_counter() - start) / len(schedule.folds)
        n_threads = schedule.n_jobs if baseline.images is None else 1  # training on images uses all cores

        def score(fold: Fold) -> FoldResult:
            return score_fold(baseline, data, fold, self._kernel, tune=schedule.tune)

        with contextlib.closing(parallel_in_threads(score, schedule.folds, n_threads)) as folds:
            results = list(counted(folds, schedule.progress))
        for result in results:
            result.scores["fit_seconds"] += kernel_seconds
        return results
