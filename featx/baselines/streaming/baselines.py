"""Which estimator replaces a baseline if rows are read in blocks, and its name."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.fitting import FoldResult, score_fold
from featx.baselines.folds.split import Fold
from featx.baselines.scaling.approximate import ALPHAS, note_on_classes
from featx.baselines.scaling.column_statistics import ColumnStatistics
from featx.baselines.scaling.limits import ScaleLimits
from featx.baselines.scaling.schedule import Schedule
from featx.baselines.streaming.folded_rows import FoldedRows
from featx.baselines.streaming.linear import LinearFit, score_linear
from featx.baselines.streaming.logistic import N_WEIGHT_COPIES, fit_logistic
from featx.baselines.streaming.moments import FoldMoments, collect_moments
from featx.baselines.streaming.nystroem import choose_landmarks, fit_nystroem, read_landmarks
from featx.baselines.streaming.ridge import fit_ridge
from featx.baselines.streaming.sample import sample_folds
from featx.system.array_types import BoolArray, IntArray
from featx.system.processes import available_memory
from featx.system.terminal.progress import counted

#: Share of the available memory that Gram matrices may take.
_MEMORY_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class OutOfCore:
    """Baselines for rows that are read in blocks.

    Attributes
    ----------
    baselines : list of Baseline
        The baselines of the request, in their order, with names that describe what replaces them.
    direct : mapping of str to callable
        By name, functions of a deadline that score a baseline on all folds at the same time.
    folds : list of (ndarray of int, ndarray of int)
        Folds of the other baselines: samples of the training rows, and all test rows.
    """

    baselines: list[Baseline]
    direct: Mapping[str, Callable[[float], list[FoldResult]]]
    folds: list[Fold]


class Streams:
    """Passes over the same rows that several baselines share.

    Parameters
    ----------
    schedule : Schedule
    statistics : ColumnStatistics
    """

    def __init__(self, schedule: Schedule, statistics: ColumnStatistics) -> None:
        data = schedule.data
        self.rows = FoldedRows(data.X, data.y, data.task, schedule.folds, progress=schedule.progress.describe)
        self.statistics, self.tune, self.n_threads = statistics, schedule.tune, schedule.n_workers
        self._advance, self._keeps_probabilities = schedule.progress, data.keeps_probabilities
        self.limits, self.random_state = data.limits, data.random_state
        self._without_features = dataclasses.replace(data, X=np.zeros((len(data.y), 1), dtype=np.float32))
        self._moments: FoldMoments | None = None

    def has_memory(self, n_columns: int, n_weight_copies: int = 0) -> bool:
        """Return whether matrices of all folds fit into memory: Gram matrices, class sums, and copies of weights."""
        n_classes = len(self.rows.classes)
        n_values = n_columns * (n_columns + n_classes) * (len(self.rows.folds) + 4)
        n_values += n_columns * n_classes * n_weight_copies * len(self.rows.folds)
        return 8 * n_values < _MEMORY_SHARE * available_memory()

    @functools.cached_property
    def _landmarks(self) -> tuple[IntArray, BoolArray]:
        return choose_landmarks(self.rows, self.limits.n_components, self.random_state)

    def function_for(self, baseline: Baseline) -> tuple[str, Callable[[], LinearFit]] | None:
        """Return the suffix of the name and the function that fits a baseline; None if it has no such form."""
        n_features, n_folds = self.rows.n_features, len(self.rows.folds)
        if not baseline.is_builtin or baseline.is_calibrated:
            return None
        if baseline.kernel == "rbf" and self.has_memory(len(self._landmarks[0])):
            return f"Nystroem, {self.limits.n_components:,} components, out of core", functools.partial(
                self._fit_nystroem, baseline.name
            )
        if not self.has_memory(n_features):
            return None
        if baseline.name == "ridge":
            return "Gram, out of core", functools.partial(self._fit_ridge, baseline)
        n_products = len(self.rows.y) * n_features * len(self.rows.classes) * n_folds
        has_time = n_products <= self.limits.max_products
        if baseline.name == "logreg" and has_time and self.has_memory(n_features, N_WEIGHT_COPIES):
            return "out of core", functools.partial(self._fit_logistic, baseline)
        return None

    def score(self, name: str, fit: Callable[[], LinearFit], deadline: float) -> list[FoldResult]:
        """Return the result of each fold."""
        self.rows.start(deadline)
        with threadpool_limits(limits=self.n_threads):
            results = score_linear(
                self.rows, fit(), f"{name}, predicting", keeps_probabilities=self._keeps_probabilities
            )
        self._advance(len(results))
        return results

    def score_dummy(self, baseline: Baseline, deadline: float) -> list[FoldResult]:
        """Return the result of each fold of an estimator that ignores features."""
        folds = counted(self.rows.folds, self._advance)
        return [score_fold(baseline, self._without_features, fold, None, tune=False) for fold in folds]

    def _all_moments(self, label: str) -> FoldMoments:
        if self._moments is None:
            self._moments = collect_moments(self.rows, label)
        return self._moments

    def _fit_ridge(self, baseline: Baseline) -> LinearFit:
        started = time.perf_counter()
        moments = self._all_moments(f"{baseline.name}, Gram matrices")
        alphas: Sequence[float] = (baseline.make(2)[-1].alpha,)
        if self.tune:
            (alphas,) = baseline.grid.values()
        models = [
            fit_ridge(moments.train(fold), moments.shift, alphas, is_classifier=bool(len(self.rows.classes)))
            for fold in range(len(self.rows.folds))
        ]
        return LinearFit(models, moments.shift, time.perf_counter() - started)

    def _fit_logistic(self, baseline: Baseline) -> LinearFit:
        moments = self._all_moments(f"{baseline.name}, Gram matrices")
        return fit_logistic(self.rows, moments, baseline.make(2)[-1].C, baseline.name)

    def _fit_nystroem(self, name: str) -> LinearFit:
        statistics = self.statistics
        landmarks = read_landmarks(self.rows, *self._landmarks, statistics.mean, statistics.scale_gamma)
        return fit_nystroem(self.rows, landmarks, ALPHAS, f"{name}, components")


def stream_baselines(baselines: Sequence[Baseline], streams: Streams, notes: list[str]) -> OutOfCore:
    """Return what replaces baselines, and add a note.

    Parameters
    ----------
    baselines : sequence of Baseline
    streams : Streams
    notes : list of str
        Receives the note.
    """
    rows, limits = streams.rows, streams.limits
    is_sampled = max(len(train) for train, _ in rows.folds) > limits.subset_rows
    replaced: list[Baseline] = []
    direct: dict[str, Any] = {}
    whole, others, untuned = [], [], []
    for baseline in baselines:
        if baseline.is_builtin and baseline.name == "dummy":
            replaced.append(baseline)
            direct[baseline.name] = functools.partial(streams.score_dummy, baseline)
        elif (function := streams.function_for(baseline)) is not None:
            suffix, fit = function
            replaced.append(dataclasses.replace(baseline, name=f"{baseline.name} ({suffix})"))
            direct[replaced[-1].name] = functools.partial(streams.score, baseline.name, fit)
            whole.append(baseline.name)
            if baseline.kernel == "rbf":
                notes.extend(note_on_classes(baseline.name, len(rows.classes), limits))
            untuned += [baseline.name] if streams.tune and baseline.name != "ridge" else []
        else:
            name = f"{baseline.name} (sample of {limits.subset_rows:,})" if is_sampled else baseline.name
            replaced.append(dataclasses.replace(baseline, name=name))
            others.append(baseline.name)
    folds = list(rows.folds)
    if others and is_sampled:
        codes = rows.codes if len(rows.classes) else rows.y
        folds = sample_folds(rows.folds, codes, limits.subset_rows, streams.random_state)
    whole, sampled = (whole, others) if is_sampled else (whole + others, [])
    notes.append(_describe(len(rows.y), whole, sampled, limits))
    if untuned:
        notes.append(
            f"Not tuned, as they are fitted on rows in blocks: {', '.join(untuned)}. Generalized cross-validation "
            "selects the penalty of components; other parameters are those without tune (--tune)."
        )
    return OutOfCore(replaced, direct, folds)


def _describe(n_rows: int, whole: Sequence[str], sampled: Sequence[str], limits: ScaleLimits) -> str:
    parts = [f"{n_rows:,} rows are read in blocks instead of into memory."]
    if whole:
        parts.append(f"Fitted on all training rows: {', '.join(whole)}.")
    if sampled:
        parts.append(
            f"Fitted on {limits.subset_rows:,} training rows of each fold, stratified by class, and tested on all: "
            f"{', '.join(sampled)}."
        )
    parts.append("Pass exact=True (--exact) to fit the estimators that smaller comparisons use.")
    return " ".join(parts)
