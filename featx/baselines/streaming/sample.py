"""Stratified samples of training rows, and learning curves of what was compared."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.estimators import as_baselines
from featx.baselines.folds.split import Fold, Split
from featx.baselines.folds.stratified import strata_of, stratified_sample
from featx.baselines.learning_curve import learning_curve
from featx.baselines.scaling.approximate import approximate_baselines
from featx.baselines.scaling.limits import ScaleLimits
from featx.datasets.labels import validate_labels
from featx.features.selected_rows import Rows
from featx.system.array_types import AnyArray, IntArray

if TYPE_CHECKING:
    import pandas as pd


def sample_folds(folds: Sequence[Fold], codes: AnyArray, n_rows: int, random_state: int) -> list[Fold]:
    """Return folds with samples of their training rows, and all of their test rows."""
    return [
        (stratified_sample(train, codes, n_rows, np.random.default_rng(random_state + index)), test)
        for index, (train, test) in enumerate(folds)
    ]


def curve_of_estimator(
    X: Rows,
    y: AnyArray,
    split: Split,
    *,
    estimator: str,
    name: str,
    limits: ScaleLimits,
    exact: bool,
    n_rows: int | None,
    task: Any,
    random_state: int,
    fold_scores: Any,
    n_jobs: int | None,
) -> pd.DataFrame:
    """Return the learning curve of a baseline as it was compared: on a sample, or approximated.

    Parameters
    ----------
    X : Rows
    y : ndarray of shape (n_samples,)
    split : Split
    estimator : str
        Name of the baseline.
    name : str
        Its name in the table, which the curve has, too.
    limits : ScaleLimits
    exact : bool
        Whether kernel machines are exact for any number of samples.
    n_rows : int or None
        Number of rows of a stratified sample of all rows that are in a fold. None: all rows. The curve of a sample
        ends below the scores of all rows, so that `fold_scores` is not used.
    task, random_state, fold_scores, n_jobs
        See :func:`featx.learning_curve`.
    """
    rows: Any = X
    if n_rows is not None:
        sample = functools.partial(stratified_sample, n_rows=n_rows, rng=np.random.default_rng(random_state))
        rows, y, split = _sample_split(X, y, split, task, sample)
        fold_scores = None
    baselines = as_baselines([estimator], task, random_state)
    if not exact:
        baselines = approximate_baselines(baselines, len(rows), limits, [], random_state=random_state)
    return learning_curve(
        rows,
        y,
        split,
        task=task,
        estimators=[dataclasses.replace(baselines[0], name=name)],
        fold_scores=fold_scores,
        random_state=random_state,
        n_jobs=n_jobs,
    )


def _sample_split(
    X: Rows, y: AnyArray, split: Split, task: Any, sample: Callable[[IntArray, AnyArray], IntArray]
) -> tuple[AnyArray, AnyArray, Split]:
    """Return features, labels and folds of a stratified sample of all rows that are in a fold."""
    used = np.unique(np.concatenate([part for fold in split.folds for part in fold]))
    strata = strata_of(validate_labels(y[used], task), task)
    chosen = used[sample(np.arange(len(used)), strata)]
    position = np.full(len(y), -1)
    position[chosen] = np.arange(len(chosen))
    folds = [(_known(position[train]), _known(position[test])) for train, test in split.folds]
    return np.asarray(X[chosen]), y[chosen], dataclasses.replace(split, folds=folds)


def _known(positions: IntArray) -> IntArray:
    return positions[positions >= 0]
