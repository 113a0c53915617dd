"""Folds in processes that can be stopped, on features that all processes map from one file."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.fitting import Dataset, FoldResult, score_fold
from featx.baselines.folds.split import Fold
from featx.baselines.kernel_cache import MAX_ROWS, SharedKernel
from featx.baselines.scaling.cost import Cost, estimate_cost
from featx.baselines.scaling.limits import TimeUpError
from featx.system.array_types import AnyArray
from featx.system.files.temporary import temporary_place

Warned = list[tuple[Warning | str, type[Warning], str, int]]


class WorkerKilledError(MemoryError):
    """A process ended without a result: the system killed it, in general for its memory."""


class FoldWorkers:
    """Processes that score folds.

    Parameters
    ----------
    data : Dataset
        Features and targets. An array is written to a temporary file, unless it is mapped from one already.
    """

    def __init__(self, data: Dataset) -> None:
        self._folder = tempfile.mkdtemp(prefix="featx-compare-", dir=temporary_place())
        self._X = data.X
        self._data = dataclasses.replace(data, X=np.empty((0, data.X.shape[1]), data.X.dtype))
        self._pool: Any = None
        self._n_processes = 0

    def __enter__(self) -> FoldWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """End all processes at once."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None

    def estimate(self, baseline: Baseline, fold: Fold, *, tune: bool, deadline: float) -> Cost:
        """Return the estimated cost of a fold; see :func:`estimate_cost`."""
        cost: Cost = self._run(1, _estimate, [(baseline, fold, tune)], deadline, lambda n_done: None)[0]
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
            if isinstance(self._X, np.ndarray):  # once, and only if a process is needed
                self._X = _as_file(self._X, Path(self._folder))
            self._pool = ProcessPoolExecutor(n_processes, initializer=_start_worker, initargs=(self._X, self._data))
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


class MappedFile(NamedTuple):
    """A file with features."""

    path: str
    offset: int
    dtype: Any
    shape: tuple[int, ...]


def _as_file(X: AnyArray, folder: Path) -> MappedFile:
    """Return a file with these features."""
    mapped = X
    while isinstance(mapped.base, np.memmap):
        mapped = mapped.base
    if isinstance(X, np.memmap) and X.filename is not None and X.flags.c_contiguous and X is mapped:
        return MappedFile(os.fspath(X.filename), int(X.offset), X.dtype, X.shape)
    path = folder / "features"
    np.ascontiguousarray(X).tofile(path)
    return MappedFile(str(path), 0, X.dtype, X.shape)


@dataclasses.dataclass
class _WorkerState:
    data: Dataset
    shared: SharedKernel | None = None


_state: list[_WorkerState] = []


def _start_worker(features: Any, data: Dataset) -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)  # for the life of the process
    X = features
    if isinstance(features, MappedFile):
        path, offset, dtype, shape = features
        X = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape).view(np.ndarray)
    _state[:] = [_WorkerState(dataclasses.replace(data, X=X))]


def _score(baseline: Baseline, fold: Fold, tune: bool) -> tuple[FoldResult, Warned]:
    state = _state[0]
    kernel_seconds = 0.0
    if state.shared is None and baseline.is_precomputable and len(state.data.X) <= MAX_ROWS:
        started = time.perf_counter()
        state.shared = SharedKernel(state.data.X)
        kernel_seconds = time.perf_counter() - started
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = score_fold(baseline, state.data, fold, state.shared, tune=tune)
    result.scores["fit_seconds"] += kernel_seconds
    return result, [(item.message, item.category, item.filename, item.lineno) for item in caught]


def _estimate(baseline: Baseline, fold: Fold, tune: bool) -> tuple[Cost, Warned]:
    data = _state[0].data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cost = estimate_cost(
            lambda part: score_fold(baseline, data, part, None, tune=tune),
            fold,
            data.y,
            _sample_rows(data),
            baseline.time_order,
        )
    return cost, []


def _sample_rows(data: Dataset) -> int:
    n_classes = len(np.unique(data.y)) if data.task == "classification" else 1
    return max(data.limits.sample_rows, 2 * n_classes)
