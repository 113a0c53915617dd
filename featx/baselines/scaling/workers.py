"""Folds in processes that can be stopped, on features that all processes map from one file."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from joblib.externals.loky.process_executor import BrokenProcessPool

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.fitting import Dataset, FoldResult, score_fold
from featx.baselines.folds.split import Fold
from featx.baselines.folds.stratified import MIN_PER_CLASS, strata_of, stratified_sample
from featx.baselines.kernel_cache import MAX_ROWS, SharedKernel
from featx.baselines.scaling.cost import Cost, estimate_cost
from featx.baselines.scaling.limits import TimeUpError
from featx.baselines.scaling.mapped_file import open_again, without_arrays
from featx.system.files.temporary import temporary_folder
from featx.system.processes import make_process_pool

#: Number of samples of each class in the parts from which the cost of a built-in baseline is estimated.
_MIN_PER_CLASS = 2

Warned = list[tuple[Warning | str, type[Warning], str, int]]


class WorkerKilledError(MemoryError):
    """A process ended without a result. In most cases, the system killed it because memory was short."""


class FoldWorkers:
    """Processes that score folds.

    Parameters
    ----------
    data : Dataset
        Features and targets. An array is written to a temporary file, unless it is mapped from one already.
    n_processes : int
        Number of processes at the start. It takes seconds to start others, so that estimates use these, too.
    """

    def __init__(self, data: Dataset, n_processes: int = 1) -> None:
        self._X = data.X
        self._features: Any = None
        self._files = contextlib.ExitStack()
        self._data = dataclasses.replace(data, X=np.empty((0, data.X.shape[1]), data.X.dtype))
        self._pool: Any = None
        self._n_processes = n_processes

    def __enter__(self) -> FoldWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._files.close()

    def stop(self) -> None:
        """End all processes at once."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None

    def estimate(
        self, baseline: Baseline, fold: Fold, *, tune: bool, deadline: float, memory: float = math.inf
    ) -> Cost:
        """Return the estimated cost of a fold; see :func:`estimate_cost`."""
        arguments = [(baseline, fold, tune, memory)]
        cost: Cost = self._run(self._n_processes, _estimate, arguments, deadline, lambda n_done: None)[0]
        return cost

    def score(
        self,
        baseline: Baseline,
        folds: Sequence[Fold],
        *,
        tune: bool,
        n_processes: int,
        deadline: float,
        progress: Callable[[int], object],
    ) -> list[FoldResult]:
        """Return the result of each fold.

        Parameters
        ----------
        baseline : Baseline
        folds : sequence of (ndarray of int, ndarray of int)
        tune : bool
        n_processes : int
            Number of folds at the same time.
        deadline : float
            Time (``time.perf_counter``) at which the processes are stopped.
        progress : callable
            Called with the number of folds completed since its last call.

        Raises
        ------
        TimeUpError
            The deadline passed.
        MemoryError
            There is not enough memory.
        """
        return self._run(n_processes, _score, [(baseline, fold, tune) for fold in folds], deadline, progress)

    def _run(
        self,
        n_processes: int,
        task: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        deadline: float,
        progress: Callable[[int], object],
    ) -> list[Any]:
        if self._pool is None or self._n_processes != n_processes:
            self.stop()
            self._n_processes = n_processes
            if self._features is None:  # once, and only if a process is needed
                self._features = without_arrays(self._X, self._files.enter_context(temporary_folder()))
            initial = (self._features, self._data)
            self._pool = make_process_pool(n_processes, initializer=_start_worker, initargs=initial)
        futures = [self._pool.submit(task, *values) for values in arguments]
        try:
            _wait(futures, deadline, progress)
            results = [future.result() for future in futures]
        except BrokenProcessPool as error:
            self.stop()
            raise WorkerKilledError("a worker process was killed, in general for its memory") from error
        except BaseException:
            self.stop()
            raise
        for _, warned in results:
            for message, category, filename, line in warned:
                warnings.warn_explicit(message, category, filename, line)
        return [result for result, _ in results]


def _wait(futures: Sequence[Any], deadline: float, progress: Callable[[int], object]) -> None:
    """Wait for all futures, and raise the first error or TimeUpError."""
    pending = set(futures)
    while pending:
        left = deadline - time.perf_counter()
        done, pending = concurrent.futures.wait(
            pending, timeout=None if left == float("inf") else max(0.0, left), return_when="FIRST_COMPLETED"
        )
        if not done:
            raise TimeUpError
        for future in done:
            future.result()
        progress(len(done))


@dataclasses.dataclass
class _WorkerState:
    data: Dataset
    kernel: SharedKernel | None = None

    def kernel_for(self, baseline: Baseline) -> tuple[SharedKernel | None, float]:
        """Return the kernel that a baseline uses, if it uses one, and the seconds that it took to compute it now."""
        if not baseline.is_precomputable or baseline.is_calibrated or len(self.data.X) > MAX_ROWS:
            self.kernel = None  # its memory is for others
            return None, 0.0
        started = time.perf_counter()
        if self.kernel is None:
            self.kernel = SharedKernel(self.data.X)
        return self.kernel, time.perf_counter() - started


_state: list[_WorkerState] = []


def _start_worker(features: Any, data: Dataset) -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)  # for the life of the process
    _state[:] = [_WorkerState(dataclasses.replace(data, X=open_again(features)))]


def _score(baseline: Baseline, fold: Fold, tune: bool) -> tuple[FoldResult, Warned]:
    state = _state[0]
    kernel, kernel_seconds = state.kernel_for(baseline)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = score_fold(baseline, state.data, fold, kernel, tune=tune)
    result.scores["fit_seconds"] += kernel_seconds
    return result, [(item.message, item.category, item.filename, item.lineno) for item in caught]


def _estimate(baseline: Baseline, fold: Fold, tune: bool, memory: float) -> tuple[Cost, Warned]:
    state = _state[0]
    data = state.data
    kernel, kernel_seconds = state.kernel_for(baseline)
    # Inner folds of a part must be as many as those of all samples; they are fewer if a class has fewer samples.
    min_per_class = MIN_PER_CLASS if tune or baseline.is_calibrated or not baseline.is_builtin else _MIN_PER_CLASS
    strata = strata_of(data.y, data.task)
    n_strata = len(np.unique(strata)) if strata.dtype.kind == "i" else 1
    sample = functools.partial(
        stratified_sample,
        strata=strata,
        rng=np.random.default_rng(data.random_state),
        min_per_class=min_per_class,
        groups=data.groups,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        baseline.make(len(fold[0]))  # imports what it needs, which must not count
        cost = estimate_cost(
            lambda part: score_fold(baseline, data, part, kernel, tune=tune),
            fold,
            lambda rows, n_rows: sample(rows, n_rows=n_rows),
            max(data.limits.sample_rows, min_per_class * n_strata),
            baseline.time_order,
            memory=memory,
        )
    n_bytes = cost.n_bytes + (0 if kernel is None else kernel.n_bytes)
    return dataclasses.replace(cost, n_bytes=n_bytes, start_seconds=kernel_seconds), []
