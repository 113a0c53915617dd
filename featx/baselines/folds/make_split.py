"""Folds for cross-validation that keep groups together and class proportions equal."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from typing import Any

import numpy as np

from featx.baselines.folds.given_folds import given_split, is_list_of_pairs, is_splitter
from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.split import Fold, Split
from featx.baselines.folds.tag_folds import assign_folds
from featx.datasets.tags import tag_matrix, tag_names
from featx.errors import ComparisonError, OptionError
from featx.system.array_types import AnyArray, IntArray
from featx.system.formatting import format_count, format_list
from featx.system.option_checks import check_integer, is_integer

#: Number of shuffles that are tried if some class would always be tested without being in the training set.
_MAX_SHUFFLES = 5


def check_split_options(cv: Any, repeats: int) -> None:
    """Raise an error if no data set can be split with these options.

    Raises
    ------
    OptionError
        If `cv` is neither an integer of at least 2 nor something that defines folds, or `repeats` is below 1.
    """
    is_number = is_integer(cv)
    is_valid = cv >= 2 if is_number else isinstance(cv, Split) or is_splitter(cv) or is_list_of_pairs(cv)
    if not is_valid:
        raise OptionError(
            f"cv (--cv) must be an integer of at least 2, a scikit-learn splitter or a list of (train, test) indices, "
            f"got {cv!r}. Use cv=5, for example."
        )
    check_integer("repeats", repeats)
    if repeats > 1 and not is_number:
        raise OptionError(f"repeats (--repeats) must be 1 for given folds, got {repeats!r}. Pass cv as an integer.")


def make_split(
    y: AnyArray,
    *,
    task: str,
    cv: Any = 5,
    repeats: int = 1,
    groups: Any = None,
    random_state: int = 0,
) -> Split:
    """Return folds for these labels.

    Folds of classes are stratified (``StratifiedKFold``, ``StratifiedGroupKFold``), those of tags iteratively. Folds of
    continuous targets are random (``KFold``, ``GroupKFold``). Samples of one group are never in both the training and
    the test set of a fold.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels or continuous targets.
    task : {"classification", "regression", "multilabel"}
        Type of the target.
    cv : int, splitter, list of (train, test) or Split, default=5
        Number of folds, or given folds. The number is reduced if the smallest class has fewer samples or groups, or if
        a class would be tested without being in the training set. Classes with a single sample or group are dropped. In
        given folds, training samples that share a group with a test sample are dropped. All of this is noted.
    repeats : int, default=1
        Number of repetitions with different shuffles.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each sample. A sample whose group is missing (None, NaN) is a group by itself.
    random_state : int, default=0
        Seed of the shuffles.

    Returns
    -------
    Split
        The folds.

    Raises
    ------
    ComparisonError
        If fewer than two classes, samples or groups remain, or given folds overlap or are empty.
    OptionError
        See :func:`check_split_options`.

    Examples
    --------
    >>> split = make_split(np.array(["cat", "cat", "dog", "dog", "dog"]), task="classification")
    >>> split.description, split.notes
    ('2 stratified folds', ["2 folds instead of 5: the smallest class, 'cat', has 2 samples."])
    """
    check_split_options(cv, repeats)
    codes = None if groups is None else group_codes(groups, len(y))
    if isinstance(cv, Split):
        checked = given_split(y, cv.folds, codes, task)
        notes = list(dict.fromkeys([*cv.notes, *checked.notes]))
        return dataclasses.replace(cv, folds=checked.folds, notes=notes)
    if not isinstance(cv, int | np.integer):
        return given_split(y, cv, codes, task)
    if task == "multilabel":
        return _tag_split(y, int(cv), repeats, codes, random_state)
    if task == "regression":
        return _random_split(y, int(cv), repeats, codes, random_state)
    return _stratified_split(y, int(cv), repeats, codes, random_state)


def _stratified_split(y: AnyArray, cv: int, repeats: int, groups: IntArray | None, random_state: int) -> Split:
    rows, notes = usable_rows(y, groups)
    groups = None if groups is None else groups[rows]
    labels, codes = np.unique(y[rows], return_inverse=True)
    counts = np.bincount(codes)
    if groups is not None:  # of groups instead of samples
        counts = np.bincount(np.unique(codes * (groups.max() + 1) + groups) // (groups.max() + 1))
    max_folds = min(cv, int(counts.min()))
    if max_folds < cv:
        unit = "samples" if groups is None else "groups"
        reason = f"the smallest class, {labels[counts.argmin()].item()!r}, has {max_folds:,} {unit}"
        if groups is not None and len(np.unique(groups)) == max_folds:
            reason = f"there are {max_folds:,} groups"
        notes.append(f"{max_folds:,} folds instead of {cv}: {reason}.")
    # Another shuffle may succeed where the greedy assignment of groups to folds does not.
    seeds = range(random_state, random_state + _MAX_SHUFFLES * repeats, repeats)
    for seed, n_folds in itertools.product(seeds, range(max_folds, 1, -1)):
        folds, n_first_repeat = _shuffled_folds(codes, groups, n_folds, repeats, seed)
        if all(_trains_on_tested_classes(codes, fold) for fold in folds):
            break
    else:
        raise ComparisonError(
            "Cannot create folds: with these groups, some class would always be tested without being in the training "
            "set. Use other groups or add samples."
        )
    if n_folds < max_folds:
        notes.append(f"{n_folds} folds instead of {cv}: otherwise a class would be tested without training samples.")
    folds = [(rows[train], rows[test]) for train, test in folds]
    return Split(folds, n_first_repeat, _describe(f"{n_folds} stratified folds", repeats), notes)


def _shuffled_folds(
    codes: IntArray, groups: IntArray | None, n_folds: int, repeats: int, random_state: int
) -> tuple[list[Fold], int]:
    """Return the folds of all repeats, and the number of folds in the first one."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds_by_repeat = []
    for seed in range(random_state, random_state + repeats):
        folds = splitter(n_folds, shuffle=True, random_state=seed % 2**32).split(codes, codes, groups)
        folds_by_repeat.append([fold for fold in folds if len(fold[1])])
    return [fold for folds in folds_by_repeat for fold in folds], len(folds_by_repeat[0])


def _trains_on_tested_classes(codes: IntArray, fold: Fold) -> bool:
    train, test = fold
    classes = np.unique(codes[train])
    return len(classes) > 1 and bool(np.isin(codes[test], classes).all())


def usable_rows(y: AnyArray, groups: IntArray | None) -> tuple[IntArray, list[str]]:
    """Return the samples of classes with at least two samples or groups, and a note of the dropped ones.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels.
    groups : ndarray of int of shape (n_samples,) or None
        Group of each sample.

    Returns
    -------
    rows : ndarray of int of shape (n_rows,)
        Indices of the samples.
    notes : list of str
        Note of the dropped classes, if there are any.

    Raises
    ------
    ComparisonError
        If fewer than two classes have two samples or groups.
    """
    units = range(len(y)) if groups is None else groups.tolist()
    units_by_class: dict[Any, set[int]] = collections.defaultdict(set)
    for label, unit in zip(y.tolist(), units, strict=True):
        units_by_class[label].add(unit)
    singles = {label for label, class_units in units_by_class.items() if len(class_units) < 2}
    if len(units_by_class) - len(singles) < 2:
        raise ComparisonError(_too_few_classes(list(units_by_class), sorted(singles, key=str), groups is not None))
    is_dropped = np.array([label in singles for label in y.tolist()], dtype=bool)
    notes = []
    if singles:
        reason = "a single sample" if groups is None else "a single sample or group"
        notes.append(
            f"Dropped {format_count(len(singles), 'class')} with {reason} "
            f"({format_count(int(is_dropped.sum()), 'sample')}): {format_list(sorted(singles, key=str))}."
        )
    return np.flatnonzero(~is_dropped), notes


def _too_few_classes(labels: list[Any], singles: list[Any], has_groups: bool) -> str:
    if len(labels) < 2:
        classes = f"one class, {labels[0]!r}" if labels else "no labels"
        return (
            f"y must have at least two classes, got {classes}. Add samples of another class (images: one folder per "
            "class, or a table with label_column (--label-column))."
        )
    unit = "group" if has_groups else "sample"
    return (
        f"y must have at least two classes with two {unit}s, but {len(singles):,} of {len(labels):,} classes have a "
        f"single {unit}: {format_list(singles)}. Add samples to them."
    )


def _random_split(y: AnyArray, cv: int, repeats: int, groups: IntArray | None, random_state: int) -> Split:
    from sklearn.model_selection import GroupKFold, KFold

    n_folds = min(cv, len(y) // 2)  # R² needs two test samples
    notes = [] if n_folds == cv else [f"{n_folds} folds instead of {cv}: there are {len(y):,} samples."]
    if groups is not None and (n_groups := len(np.unique(groups))) < n_folds:
        n_folds = n_groups
        notes.append(f"{n_folds} folds instead of {cv}: there are {n_groups:,} groups.")
    if n_folds < 2:
        raise ComparisonError(f"y must contain at least four samples, got {len(y):,}. Add samples.")
    splitter = KFold if groups is None else GroupKFold
    folds: list[Fold] = []
    for seed in range(random_state, random_state + repeats):
        folds += splitter(n_folds, shuffle=True, random_state=seed % 2**32).split(y, y, groups)
    return Split(folds, n_folds, _describe(f"{n_folds} folds", repeats), notes)


def _tag_split(y: AnyArray, cv: int, repeats: int, groups: IntArray | None, random_state: int) -> Split:
    units = len(y) if groups is None else len(np.unique(groups))
    n_folds = min(cv, units)
    if n_folds < 2 or not tag_names(y):
        raise ComparisonError("y must have at least two samples or groups, and a tag. Add samples with tags.")
    notes = [] if n_folds == cv else [f"{n_folds} folds instead of {cv}: there are {units} samples or groups."]
    folds: list[Fold] = []
    for seed in range(random_state, random_state + repeats):
        assigned = assign_folds(y, n_folds, groups, seed % 2**32)
        folds += [(np.flatnonzero(assigned != fold), np.flatnonzero(assigned == fold)) for fold in range(n_folds)]
    folds = [fold for fold in folds if len(fold[0]) and len(fold[1])]
    rare = [
        name for name, count in zip(tag_names(y), tag_matrix(y, tag_names(y)).sum(axis=0), strict=True) if count < 2
    ]
    if rare:
        notes.append(
            f"{format_count(len(rare), 'tag')} of a single image, never in training and test set at once: "
            f"{format_list(rare)}."
        )
    return Split(folds, len(folds) // repeats, _describe(f"{n_folds} folds stratified by tags", repeats), notes)


def _describe(folds: str, repeats: int) -> str:
    return folds if repeats == 1 else f"{folds}, {repeats} repeats"
