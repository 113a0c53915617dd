"""Split of training images into a part to learn from and a validation split, and fits with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.baselines.folds.split import Fold
from featx.errors import TrainingError
from featx.system.array_types import AnyArray

#: Fraction of the images in the validation split of estimators without the parameter ``validation_fraction``.
_VALIDATION_FRACTION = 0.15


def validation_split(codes: AnyArray, groups: AnyArray | None, fraction: float, random_state: int) -> Fold:
    """Return training and validation samples, with at least one validation sample of each class if possible.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
        Class of each sample, as integers from 0.
    groups : ndarray of int of shape (n_samples,) or None
        Group of each sample. A group is never divided, and each class keeps a group to learn from.
    fraction : float
        Fraction of the samples of each class in the validation split.
    random_state : int
        Seed of the choice of groups.

    Returns
    -------
    train : ndarray of int of shape (n_train,)
        Indices of the samples to learn from.
    validation : ndarray of int of shape (n_validation,)
        Indices of the validation samples.

    Raises
    ------
    TrainingError
        If no group can be moved to the validation split.

    Examples
    --------
    >>> train, validation = validation_split(np.arange(20) % 2, None, 0.2, 0)
    >>> len(train), np.bincount(validation % 2).tolist()
    (16, [2, 2])
    """
    groups = np.arange(len(codes)) if groups is None else np.unique(groups, return_inverse=True)[1]
    counts = np.zeros((groups.max() + 1, codes.max() + 1), dtype=np.int64)  # of samples by group and class
    np.add.at(counts, (groups, codes), 1)
    target = np.maximum(1, np.round(fraction * counts.sum(axis=0)))
    n_validation, n_train = np.zeros_like(counts[0]), counts.sum(axis=0)
    validation_groups = []
    for group in np.random.default_rng(random_state).permutation(len(counts)):
        classes = counts[group] > 0
        new_validation, new_train = n_validation + counts[group], n_train - counts[group]
        is_needed = (n_validation < target)[classes].any()
        is_small = (new_validation <= np.maximum(target, new_train))[classes].all()
        if is_needed and is_small and new_train[classes].min() > 0:
            n_validation, n_train = new_validation, new_train
            validation_groups.append(group)
    if not validation_groups:
        raise TrainingError(
            "Cannot create a validation split: each class lies in a single group, or all images share one group. Use "
            "smaller groups, or add images from other groups."
        )
    is_validation = np.isin(groups, validation_groups)
    return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)


def fit_on_images(estimator: Any, images: Sequence[Any], y: AnyArray, groups: Any) -> Any:
    """Return an estimator fitted on images, whose validation split divides no group.

    Parameters
    ----------
    estimator : estimator
        Gets the groups if its ``fit`` has the parameter.
    images : sequence of images
        Training images.
    y : ndarray of shape (n_samples,)
        Labels.
    groups : ndarray of shape (n_samples,) or None
        Group of each image. If these groups allow no validation split, the estimator groups near-duplicates by itself:
        groups that suit a comparison may be too large.

    Returns
    -------
    estimator
        The same object, fitted.
    """
    from sklearn.utils.validation import has_fit_parameter

    if groups is None or not has_fit_parameter(estimator, "groups"):
        return estimator.fit(images, y)
    fraction = estimator.get_params().get("validation_fraction", _VALIDATION_FRACTION)
    try:
        validation_split(np.unique(y, return_inverse=True)[1], groups, fraction, 0)
    except TrainingError:
        groups = None
    return estimator.fit(images, y, groups=groups)
