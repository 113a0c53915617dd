"""Calibrated probabilities: a sigmoid that is fitted on samples outside the training set, for classes and tags."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.baselines.folds.make_split import make_split
from featx.baselines.folds.split import Fold
from featx.datasets.tags import are_tags, tag_matrix, tag_names
from featx.errors import ComparisonError
from featx.system.array_types import AnyArray, IntArray
from featx.system.formatting import format_list

_N_FOLDS = 5


def check_calibration(y: AnyArray, groups: IntArray | None) -> None:
    """Raise an error if a class is too small to be calibrated on samples outside the training set.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels or tags of the training samples.
    groups : ndarray of int of shape (n_samples,) or None
        Group of each sample.

    Raises
    ------
    ComparisonError
        If a class has a single sample, or a single group. For tags, samples without a tag are a class, too.
    """
    units = np.arange(len(y)) if groups is None else groups
    has_tags = are_tags(y)
    if has_tags:
        names = tag_names(y)
        columns = tag_matrix(y, names).astype(bool).T
        # A tag that all samples have is certain.
        parts = {name: [has, ~has] for name, has in zip(names, columns, strict=True) if not has.all()}
    else:
        parts = {label: [y == label] for label in np.unique(y).tolist()}
    too_small = [name for name, rows in parts.items() if any(len(np.unique(units[part])) < 2 for part in rows)]
    if too_small:
        unit = "images" if groups is None else "groups of images"
        with_class = "with and without each tag" if has_tags else "of each class"
        raise ComparisonError(
            f"calibrate (--calibrate) needs at least two {unit} {with_class} in every training set, got one "
            f"{'for' if has_tags else 'of'} {format_list(too_small)}. Add images, at least three in different groups; "
            f"remove the {'tag' if has_tags else 'class'}; or do not calibrate."
        )


class _Folds:
    """Splitter of scikit-learn: stratified folds with whole groups."""

    def __init__(self, groups: IntArray | None, random_state: int) -> None:
        self._groups, self._random_state = groups, random_state

    def split(self, X: Any, y: AnyArray, groups: object = None) -> list[Fold]:
        """Return the folds of classes `y`."""
        return make_split(
            y,
            task="classification",
            cv=_N_FOLDS,
            groups=self._groups,
            random_state=self._random_state,
        ).folds

    def get_n_splits(self, X: Any, y: AnyArray, groups: object = None) -> int:
        """Return the number of folds."""
        return len(self.split(X, y))


def calibrate(estimator: Any, X: Any, y: AnyArray, groups: IntArray | None, random_state: int) -> Any:
    """Return an estimator that is fitted on all samples, and whose probabilities are calibrated on held-out ones.

    Parameters
    ----------
    estimator : estimator
        Unfitted classifier of classes, or a TagClassifier.
    X : array-like of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        Labels or tags.
    groups : ndarray of int of shape (n_samples,) or None
        Group of each sample.
    random_state : int
        Seed of the folds.

    Raises
    ------
    ComparisonError
        See :func:`check_calibration`.
    """
    from sklearn.calibration import CalibratedClassifierCV

    check_calibration(y, groups)
    base = estimator.estimator if are_tags(y) else estimator
    calibrated = CalibratedClassifierCV(base, method="sigmoid", ensemble=False, cv=_Folds(groups, random_state))
    if are_tags(y):
        fitted = estimator.set_params(estimator=calibrated).fit(X, y)
        parts = [calibrated, *(tag for tag in fitted.estimators_ if not isinstance(tag, int))]
    else:
        fitted = calibrated.fit(X, y)
        parts = [fitted]
    for part in parts:  # without the groups of the samples
        part.set_params(cv=_N_FOLDS)
    return fitted
