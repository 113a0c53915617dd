"""Learning curve: score as a function of the number of training samples."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import EstimatorsLike, as_baselines
from featx.baselines.fitting import Dataset, collecting_warnings, score_fold
from featx.baselines.folds.split import Fold, Split
from featx.baselines.kernel_cache import MAX_ROWS, SharedKernel
from featx.baselines.metrics import METRICS
from featx.datasets.labels import as_label_array, validate_labels
from featx.datasets.tags import Tags
from featx.system.array_types import AnyArray, IntArray
from featx.system.terminal.progress import ProgressFunction, counted, reporting, stage
from featx.system.threads import parallel_in_threads

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

#: Estimators that can be fitted on one sample per class, fastest first.
CURVE_ESTIMATORS = ("centroid", "knn", "ridge", "logreg", "linear-svm", "svm", "svr")
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_MIN_SIZE = 5
#: Scores of small samples vary more: up to this size, several samples are drawn from each fold.
_MAX_REPEATED_SIZE, _N_DRAWS = 2, 2
#: Limits the cost of a curve to about that of the comparison.
_MAX_FOLDS = 3


class _Fit(NamedTuple):
    """One point of the curve on one fold."""

    fold_index: int
    size: int
    fold: Fold


def learning_curve(
    X: ArrayLike,
    y: ArrayLike | Iterable[Any],
    split: Split,
    *,
    task: Literal["classification", "regression", "multilabel"] = "classification",
    estimators: EstimatorsLike = ("logreg",),
    fold_scores: pd.DataFrame | None = None,
    random_state: int = 0,
    n_jobs: int | None = -1,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> pd.DataFrame:
    """Return the scores of estimators that are fitted on a part of the training samples.

    Parameters
    ----------
    X : array-like of float of shape (n_samples, n_features)
        Features.
    y : array-like of shape (n_samples,)
        Labels, continuous targets, or tags. Samples that are in no fold may have no label.
    split : Split
        Folds, for example ``Comparison.split``. The first three are used.
    task : {"classification", "regression", "multilabel"}, default="classification"
        Type of the target. Tags are always "multilabel".
    estimators : sequence of str or estimator, or mapping of str to estimator, default=("logreg",)
        See :func:`compare_baselines`.
    fold_scores : pandas.DataFrame or None, default=None
        Scores of the same estimators on the complete folds without tuning, as in ``Comparison.fold_scores``. They
        are not computed again.
    random_state : int, default=0
        Seed of the samples that are drawn.
    n_jobs : int or None, default=-1
        Number of fits at the same time, in threads. -1: one per core. None: 1.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    pandas.DataFrame
        One row per estimator and size, with the columns ``estimator``, ``n_per_class`` (for regression and tags the
        number of samples), ``n_train`` (mean number of training samples), ``score_mean`` and ``score_std`` (accuracy,
        R² or mean average precision, over folds and draws). The last size uses all training samples.

    See Also
    --------
    compare_baselines : Compare estimators fitted on all training samples.
    Comparison.learning_curve : The learning curve of a comparison.

    Notes
    -----
    The sizes are 1, 2, 5, 10, … samples per class; for regression and tags 5, 10, 20, … samples. Larger samples contain
    the smaller ones, and the test samples of a fold stay the same.

    Examples
    --------
    >>> from featx import compare_baselines, learning_curve
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> comparison = compare_baselines(X, y, estimators=["knn"])
    >>> learning_curve(X, y, comparison.split, estimators=["knn"])["n_per_class"].tolist()
    [1, 2, 5, 10, 20, 40]
    """
    from threadpoolctl import threadpool_limits

    labels = as_label_array(y)
    task = "multilabel" if any(isinstance(label, Tags) for label in labels.tolist()) else task
    X, y, split = _select_rows(np.asarray(X), labels, split, task)
    data = Dataset(X, y, task, None, random_state)
    fits = _plan_fits(data, split)
    records: list[tuple[str, int, int, float]] = []
    ignored_notes: list[str] = []  # on a handful of samples, estimators often do not converge
    baselines = as_baselines(estimators, task, random_state)
    with (
        reporting(verbose, progress),
        stage("learning curve", len(fits) * len(baselines), "fits") as advance,
        threadpool_limits(limits=1),
        collecting_warnings(ignored_notes),
    ):
        for baseline in baselines:
            advance.describe(baseline.name)
            known_scores = {} if fold_scores is None else _scores_by_fold(fold_scores, baseline.name, task)
            with contextlib.closing(_score_fits(baseline, data, fits, known_scores, n_jobs)) as results:
                scores = list(counted(results, advance))
            records += [
                (baseline.name, fit.size, len(fit.fold[0]), score) for fit, score in zip(fits, scores, strict=True)
            ]
    return _summarize(records)


def _summarize(records: list[tuple[str, int, int, float]]) -> pd.DataFrame:
    import pandas as pd

    scores = pd.DataFrame(records, columns=["estimator", "n_per_class", "n_train", "score"])
    points = scores.groupby(["estimator", "n_per_class"], sort=False)
    return points.agg(
        n_train=("n_train", "mean"), score_mean=("score", "mean"), score_std=("score", "std")
    ).reset_index()


def _score_fits(
    baseline: Baseline, data: Dataset, fits: list[_Fit], known_scores: dict[int, float], n_jobs: int | None
) -> Generator[float]:
    shared = SharedKernel(data.X) if baseline.is_precomputable and len(data.X) <= MAX_ROWS else None
    full_size = max(fit.size for fit in fits)

    def score(fit: _Fit) -> float:
        if fit.size == full_size and fit.fold_index in known_scores:
            return known_scores[fit.fold_index]
        return score_fold(baseline, data, fit.fold, shared, tune=False, scores_only=True).scores[METRICS[data.task][0]]

    return parallel_in_threads(score, fits, n_jobs)


def _scores_by_fold(fold_scores: pd.DataFrame, estimator: str, task: str) -> dict[int, float]:
    rows = fold_scores[fold_scores["estimator"] == estimator]
    return {int(fold): float(score) for fold, score in zip(rows["fold"], rows[METRICS[task][0]], strict=True)}


def _select_rows(X: AnyArray, y: AnyArray, split: Split, task: str) -> tuple[AnyArray, AnyArray, Split]:
    """Return the samples that are in a fold, and the folds as positions among these samples."""
    rows = np.unique(np.concatenate([part for fold in split.folds for part in fold]))
    positions = np.full(len(X), -1)
    positions[rows] = np.arange(len(rows))
    folds = [(positions[train], positions[test]) for train, test in split.folds]
    return X[rows], validate_labels(y[rows], task), dataclasses.replace(split, folds=folds)


def _plan_fits(data: Dataset, split: Split) -> list[_Fit]:
    fold_indices = split.first_repeat[:_MAX_FOLDS]
    sizes = _sizes(data, [split.folds[index][0] for index in fold_indices])
    return [
        _Fit(index, size, fold)
        for index in fold_indices
        for size, fold in _subsample(data, split.folds[index], sizes, data.random_state + index)
    ]


def _sizes(data: Dataset, training_sets: list[IntArray]) -> list[int]:
    """Return the sizes of the curve. The last one is the size of the largest class in the smallest training set."""
    if data.task != "classification":
        largest, smallest = min(len(train) for train in training_sets), _MIN_SIZE
    else:
        largest = min(int(np.unique(data.y[train], return_counts=True)[1].max()) for train in training_sets)
        smallest = 1
    return [size for size in _SIZES if smallest <= size < largest] + [largest]


def _subsample(data: Dataset, fold: Fold, sizes: Sequence[int], seed: int) -> list[tuple[int, Fold]]:
    """Return the fold with a part of its training samples for each size, and several parts for small sizes."""
    train, test = fold
    rng = np.random.default_rng(seed)
    parts: list[tuple[int, Fold]] = []
    for draw in range(_N_DRAWS):
        order = rng.permutation(train)
        if data.task == "multilabel" and (tagged := np.flatnonzero([len(tags) > 0 for tags in data.y[order]])).size:
            order[[0, tagged[0]]] = order[[tagged[0], 0]]  # without any tag, there is nothing to fit
        rank = _rank_in_class(data.y[order]) if data.task == "classification" else np.arange(len(order))
        for size in sizes:
            is_full = size == sizes[-1]
            if is_full and draw == 0:
                parts.append((size, (train, test)))
            elif draw == 0 or (size <= _MAX_REPEATED_SIZE and not is_full):
                parts.append((size, (np.sort(order[rank < size]), test)))
    return parts


def _rank_in_class(y: AnyArray) -> IntArray:
    """Return the number of earlier samples of the same class for each sample."""
    codes = np.unique(y, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    class_starts = np.searchsorted(codes[order], codes[order])
    rank = np.empty(len(y), dtype=np.int64)
    rank[order] = np.arange(len(y)) - class_starts
    return rank
