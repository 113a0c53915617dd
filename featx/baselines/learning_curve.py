"""Score against the number of training images: would more of them help."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.estimators import Baseline, EstimatorsLike, as_baselines
from featx.baselines.fitting import Dataset, collecting_warnings, score_fold
from featx.baselines.kernel_cache import MAX_ROWS, SharedKernel
from featx.baselines.metrics import METRICS
from featx.baselines.splits import Fold, Split
from featx.datasets.labels import as_label_array, validate_labels
from featx.system.array_types import IntArray

if TYPE_CHECKING:
    import pandas as pd

#: Estimators that can be fitted on a single image of each class, the curve's first point; the quickest first.
FIT_FOR_A_CURVE = ("centroid", "knn", "ridge", "logreg", "linear-svm", "svm", "svr")
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
#: Small samples vary: up to this size, two are drawn from every fold. No more folds than this are used: the curve is
#: to cost no more than the comparison.
_SMALL = 2
_DRAWS = 2
_MOST_FOLDS = 3


def learning_curve(
    X: Any,
    y: Any,
    split: Split,
    *,
    task: str = "classification",
    estimators: EstimatorsLike = ("logreg",),
    fold_scores: pd.DataFrame | None = None,
    random_state: int = 0,
    n_jobs: int | None = -1,
) -> pd.DataFrame:
    """Return the score of estimators fitted on fewer images of each class than there are.

    The training rows of the first three folds are thinned out to 1, 2, 5, 10, … of each class (for regression, in all),
    larger samples containing the smaller; the rows that are scored stay the same.

    Parameters
    ----------
    X : array-like of float, shape (n_samples, n_features)
    y : array-like, shape (n_samples,)
    split : Split
        As :attr:`Comparison.split`.
    task : {"classification", "regression"}, default="classification"
    estimators : as for :func:`compare_baselines`, default=("logreg",)
    fold_scores : pandas.DataFrame or None, default=None
        As :attr:`Comparison.fold_scores`, of estimators that were not tuned: what is there of all training rows is not
        computed again.
    random_state : int, default=0
        Decides which images are drawn.
    n_jobs : int or None, default=-1

    Returns
    -------
    pandas.DataFrame
        ``estimator, n_per_class, n_train, score_mean, score_std``: accuracy or R², over folds and draws; ``n_train`` is
        the mean number of training rows. The last size has all of them. For regression ``n_per_class`` is the number
        of rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from featx.baselines.splits import make_split
    >>> X, y = load_iris(return_X_y=True)
    >>> curve = learning_curve(X, y, make_split(y, task="classification"), estimators=["knn"])
    >>> curve["n_per_class"].tolist()
    [1, 2, 5, 10, 20, 40]
    """
    import pandas as pd
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    X, y, split = _of_the_split(np.asarray(X), as_label_array(y), split, task)
    data = Dataset(X, y, task, None, random_state)
    metric = METRICS[task][0]
    sizes = _sizes(y, split, task)
    plans = [
        (number, size, fold)
        for number in split.first_repeat[:_MOST_FOLDS]
        for size, fold in _thinned(y, split.folds[number], task, sizes, random_state + number)
    ]
    found = []
    notes: list[str] = []  # that an estimator has not converged on a handful of images is no news
    with threadpool_limits(limits=1), collecting_warnings(notes):
        for baseline in as_baselines(estimators, task, random_state):
            shared = SharedKernel(X) if baseline.kernel and len(X) <= MAX_ROWS else None
            known = {} if fold_scores is None else _of_all_rows(fold_scores, baseline.name, metric)
            scores = Parallel(n_jobs=n_jobs, prefer="threads")(
                delayed(_score)(baseline, data, fold, shared, known.get(number) if size == sizes[-1] else None)
                for number, size, fold in plans
            )
            found += [
                (baseline.name, size, len(fold[0]), score) for (_, size, fold), score in zip(plans, scores, strict=True)
            ]
    frame = pd.DataFrame(found, columns=["estimator", "n_per_class", "n_train", "score"])
    groups = frame.groupby(["estimator", "n_per_class"], sort=False)
    return groups.agg(
        n_train=("n_train", "mean"), score_mean=("score", "mean"), score_std=("score", "std")
    ).reset_index()


def _score(
    baseline: Baseline, data: Dataset, fold: Fold, shared: SharedKernel | None, known: float | None = None
) -> float:
    if known is not None:
        return known
    return score_fold(baseline, data, fold, shared, tune=False).scores[METRICS[data.task][0]]


def _of_all_rows(fold_scores: pd.DataFrame, estimator: str, metric: str) -> dict[int, float]:
    """Return the score of an estimator on each fold, if it was compared."""
    rows = fold_scores[fold_scores["estimator"] == estimator]
    return {int(fold): float(score) for fold, score in zip(rows["fold"], rows[metric], strict=True)}


def _of_the_split(
    X: np.ndarray[Any, Any], y: np.ndarray[Any, Any], split: Split, task: str
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Split]:
    """Return the rows that the split has, and the split by their numbers: others may have no label."""
    rows = np.unique(np.concatenate([part for fold in split.folds for part in fold]))
    number_of = np.full(len(X), -1)
    number_of[rows] = np.arange(len(rows))
    folds = [(number_of[train], number_of[test]) for train, test in split.folds]
    return X[rows], validate_labels(y[rows], task), dataclasses.replace(split, folds=folds)


def _sizes(y: np.ndarray[Any, Any], split: Split, task: str) -> list[int]:
    """Return the sizes up to that of the largest class of the smallest fold, which is all there is."""
    largest = []
    for number in split.first_repeat[:_MOST_FOLDS]:
        train = split.folds[number][0]
        largest.append(len(train) if task == "regression" else np.unique(y[train], return_counts=True)[1].max())
    most = int(min(largest))
    least = 5 if task == "regression" else 1
    return [size for size in _SIZES if least <= size < most] + [most]


def _thinned(y: np.ndarray[Any, Any], fold: Fold, task: str, sizes: Sequence[int], seed: int) -> list[tuple[int, Fold]]:
    train, test = fold
    rng = np.random.default_rng(seed)
    draws: list[tuple[int, Fold]] = []
    for draw in range(_DRAWS):
        order = rng.permutation(train)
        rank = np.arange(len(order)) if task == "regression" else _rank_in_class(y[order])
        for size in sizes:
            if size == sizes[-1] and draw == 0:
                draws.append((size, (train, test)))
            elif (size <= _SMALL and size != sizes[-1]) or draw == 0:
                draws.append((size, (np.sort(order[rank < size]), test)))
    return draws


def _rank_in_class(y: np.ndarray[Any, Any]) -> IntArray:
    """Return how many rows of the same class came before each row."""
    codes = np.unique(y, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order])
    rank = np.empty(len(y), dtype=np.int64)
    rank[order] = np.arange(len(y)) - starts
    return rank
