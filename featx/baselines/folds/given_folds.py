"""Folds that the user provides: as row indices, masks or a scikit-learn splitter."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.baselines.folds.split import Fold, Split
from featx.errors import ComparisonError
from featx.system.array_types import AnyArray, IntArray
from featx.system.formatting import format_count, format_list


def given_split(y: AnyArray, cv: Any, groups: IntArray | None, task: str) -> Split:
    """Return given folds after checks, without training samples that share a group with a test sample."""
    pairs = list(cv.split(np.zeros((len(y), 1)), y, groups) if is_splitter(cv) else cv)
    folds: list[Fold] = []
    n_dropped = 0
    for index, pair in enumerate(pairs):
        name = _name_of(index, len(pairs))
        train, test = (validate_row_indices(rows, len(y), index) for rows in pair)
        if n_common := len(np.intersect1d(train, test)):
            raise ComparisonError(
                f"{name} must have disjoint training and test samples, got {n_common:,} in both. Remove "
                "them from one of the two."
            )
        if groups is not None:
            is_safe = ~np.isin(groups[train], groups[test])
            n_dropped += int((~is_safe).sum())
            train = train[is_safe]
        if not len(train) or not len(test):
            raise ComparisonError(
                f"{name} must have training and test samples, got {len(train):,} and {len(test):,}"
                f"{_after_drop(n_dropped)}. Use other samples for training or tests."
            )
        folds.append((train, test))
    notes = []
    if n_dropped:
        samples = format_count(n_dropped, "training sample") + ("" if len(folds) == 1 else " of all folds")
        notes.append(f"Dropped {samples} in the same group as a test sample.")
    if task == "classification":
        notes += _untrained_classes(y, folds, n_dropped)
    train, test = folds[0]
    description = (
        f"{len(train):,} training, {len(test):,} test samples" if len(folds) == 1 else f"{len(folds):,} given folds"
    )
    return Split(folds, _n_disjoint(folds), description, notes)


def _name_of(index: int, n_folds: int) -> str:
    """Return the name of a fold, which is the split of the images if it is the only one."""
    return "The training and test split" if n_folds == 1 else f"Fold {index} of cv"


def _after_drop(n_dropped: int) -> str:
    dropped = format_count(n_dropped, "training sample")
    return f", after {dropped} in the same group as a test sample {'was' if n_dropped == 1 else 'were'} dropped" * (
        n_dropped > 0
    )


def _untrained_classes(y: AnyArray, folds: list[Fold], n_dropped: int) -> list[str]:
    """Return a note of classes that are tested without training samples; raise if a fold trains on a single class."""
    untrained: set[Any] = set()
    for index, (train, test) in enumerate(folds):
        classes = set(y[train].tolist())
        if len(classes) < 2:
            raise ComparisonError(
                f"{_name_of(index, len(folds))} must have training samples of at least two classes, got "
                f"{next(iter(classes))!r} only{_after_drop(n_dropped)}. Use other samples for training or tests."
            )
        untrained |= set(y[test].tolist()) - classes
    if not untrained:
        return []
    names = format_list(sorted(untrained, key=str))
    n_classes = format_count(len(untrained), "tested class")
    return [f"No training samples for {n_classes}, whose samples are therefore always misclassified: {names}."]


def _n_disjoint(folds: list[Fold]) -> int:
    """Return the number of folds, from the first, in which each sample is tested at most once."""
    tested: set[int] = set()
    for index, (_, test) in enumerate(folds):
        if not tested.isdisjoint(test.tolist()):
            return index
        tested.update(test.tolist())
    return len(folds)


def validate_row_indices(rows: Any, n_samples: int, fold: int) -> IntArray:
    """Return the samples of a given fold as indices. A boolean mask is converted.

    Raises
    ------
    ComparisonError
        If `rows` are neither indices in range nor a mask.
    """
    indices = np.asarray(rows)
    if indices.dtype == bool and indices.shape == (n_samples,):
        indices = np.flatnonzero(indices)
    is_integer = indices.ndim == 1 and (not indices.size or indices.dtype.kind in "iu")
    if not is_integer or not ((indices >= 0) & (indices < n_samples)).all():
        raise ComparisonError(
            f"Fold {fold} of cv must contain row indices from 0 to {n_samples - 1}, or masks of {n_samples} rows. "
            "Fix this fold."
        )
    return indices.astype(np.int64)


def is_splitter(cv: Any) -> bool:
    """Return whether `cv` is a scikit-learn splitter."""
    return hasattr(cv, "split") and hasattr(cv, "get_n_splits")


def is_list_of_pairs(cv: Any) -> bool:
    """Return whether `cv` is a non-empty list of pairs."""
    is_list = isinstance(cv, list | tuple) and len(cv) > 0
    return is_list and all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in cv)
