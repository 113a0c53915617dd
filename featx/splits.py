"""Which rows are fitted on and which are scored: folds that keep groups whole and classes in proportion."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, TypeAlias

import numpy as np

from featx.errors import ComparisonError, OptionError
from featx.wording import counted, listed

IntArray: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Fold: TypeAlias = "tuple[IntArray, IntArray]"


@dataclasses.dataclass(frozen=True)
class Split:
    """Folds over the rows of a matrix.

    Attributes
    ----------
    folds : list of (ndarray of int, ndarray of int)
        Rows to fit on and rows to score, for each fold; one repetition after the other.
    n_repeats : int
        Repetitions; folds of one are disjoint in what they score.
    words : str
        What it is, for people.
    notes : list of str
        What was done that was not asked for: rows left out, fewer folds.
    """

    folds: list[Fold]
    n_repeats: int
    words: str
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def first_repeat(self) -> range:
        """Numbers of the folds in which each row is scored once at most."""
        return range(len(self.folds) // self.n_repeats)

    @property
    def test_share(self) -> float:
        """Mean of n_test / n_train over the folds."""
        return float(np.mean([len(test) / len(train) for train, test in self.folds]))


def check_split_options(cv: Any, repeats: int) -> None:
    """Raise if no folds can be made with these options, whatever the labels.

    Raises
    ------
    OptionError
        `cv` is a number below 2, or neither a number nor something that makes folds; `repeats` below 1.
    """
    is_number = isinstance(cv, int | np.integer) and not isinstance(cv, bool)
    if (is_number and cv < 2) or not (is_number or _is_splitter(cv) or _is_list_of_pairs(cv)):
        raise OptionError(
            f"cv={cv!r}: expected a whole number of folds, 2 or more, a splitter of scikit-learn, or a list of "
            "(train, test) rows."
        )
    if not isinstance(repeats, int | np.integer) or repeats < 1:
        raise OptionError(f"repeats={repeats!r}: expected a whole number, 1 or more.")
    if repeats > 1 and not is_number:
        raise OptionError(f"repeats={repeats!r}: only folds that are made here can be repeated; give cv as a number.")


def make_split(
    y: np.ndarray[Any, Any],
    *,
    task: str,
    cv: Any = 5,
    repeats: int = 1,
    groups: Any = None,
    random_state: int = 0,
) -> Split:
    """Return folds for these labels, the same for the same `random_state`.

    Classes keep their proportions (``StratifiedKFold``; with groups ``StratifiedGroupKFold``), numeric targets are
    split at random (``KFold``; ``GroupKFold``). Rows of one group are all fitted on or all scored.

    Parameters
    ----------
    y : ndarray, shape (n_samples,)
    task : {"classification", "regression"}
    cv : int, splitter, or list of (train, test), default=5
        Fewer folds are made where the smallest class is smaller; a class of a single image, or of a single group, is
        left out. Both are noted. Of folds that are given, rows to fit on that share a group with a row to score are
        left out.
    repeats : int, default=1
        Repetitions with other shuffles.
    groups : array-like, shape (n_samples,), or None
    random_state : int, default=0

    Raises
    ------
    ComparisonError
        Fewer than two classes, rows or groups that remain; folds that overlap or are empty.
    OptionError
        As :func:`check_split_options`.

    Examples
    --------
    >>> split = make_split(np.array(["cat", "cat", "dog", "dog", "dog"]), task="classification")
    >>> split.words, split.notes
    ('2 stratified folds', ["2 folds instead of 5: the smallest class, 'cat', has 2 images."])
    """
    check_split_options(cv, repeats)
    codes = None if groups is None else _as_codes(groups, len(y))
    if not isinstance(cv, int | np.integer):
        return _given(y, cv, codes)
    if task == "regression":
        return _of_numbers(y, int(cv), repeats, codes, random_state)
    return _stratified(y, int(cv), repeats, codes, random_state)


def _as_codes(groups: Any, n_rows: int) -> IntArray:
    values = np.asarray(groups)
    if values.shape != (n_rows,):
        raise ComparisonError(f"Expected one group for each of {n_rows} rows, got groups of shape {values.shape}.")
    names: dict[Any, int] = {}
    codes = np.array([names.setdefault(value, len(names)) for value in values.tolist()], dtype=np.int64)
    if len(names) < 2:
        raise ComparisonError(
            f"All {n_rows} rows are in one group: nothing is left to score what was fitted on. Use another column for "
            "groups, or none."
        )
    return codes


def _stratified(y: np.ndarray[Any, Any], cv: int, repeats: int, groups: IntArray | None, random_state: int) -> Split:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kept, notes = _usable(y, groups)
    labels, codes, counts = np.unique(y[kept], return_inverse=True, return_counts=True)
    n_folds = min(cv, int(counts.min()))
    if n_folds < cv:
        smallest = labels[counts.argmin()].item()
        notes.append(f"{n_folds} folds instead of {cv}: the smallest class, {smallest!r}, has {counts.min()} images.")
    if groups is not None and (n_groups := len(np.unique(groups[kept]))) < n_folds:
        n_folds = n_groups
        notes.append(f"{n_folds} folds instead of {cv}: there are {n_groups} groups of images.")
    folds: list[Fold] = []
    for seed in range(random_state, random_state + repeats):
        shuffle: dict[str, Any] = {"shuffle": True, "random_state": seed % 2**32}
        if groups is None:
            found = StratifiedKFold(n_folds, **shuffle).split(codes, codes)
        else:
            found = StratifiedGroupKFold(n_folds, **shuffle).split(codes, codes, groups[kept])
        folds += [(kept[train], kept[test]) for train, test in found if len(test)]
    return Split(folds, repeats, _words(f"{n_folds} stratified folds", repeats), notes)


def _usable(y: np.ndarray[Any, Any], groups: IntArray | None) -> tuple[IntArray, list[str]]:
    """Return the rows of classes that can be both fitted on and scored, and a note of the others."""
    units = range(len(y)) if groups is None else groups.tolist()
    members: dict[Any, set[int]] = collections.defaultdict(set)
    for label, unit in zip(y.tolist(), units, strict=True):
        members[label].add(unit)
    alone = {label for label, of in members.items() if len(of) < 2}
    if len(members) - len(alone) < 2:
        raise ComparisonError(_too_few_classes(list(members), sorted(alone, key=str), groups is not None))
    left_out = np.array([label in alone for label in y.tolist()], dtype=bool)
    notes = []
    if alone:
        why = "a single image" if groups is None else "a single image, or a single group of images"
        which = listed(sorted(alone, key=str))
        notes.append(
            f"{counted(len(alone), 'class')} of {why} left out ({counted(int(left_out.sum()), 'image')}): {which}."
        )
    return np.flatnonzero(~left_out), notes


def _too_few_classes(labels: list[Any], alone: list[Any], has_groups: bool) -> str:
    if len(labels) < 2:
        only = f"one class, {labels[0]!r}" if labels else "none"
        return (
            f"Expected at least two classes to compare baselines on, got {only}. Give images of each class a "
            "folder of their own."
        )
    unit = "group of images" if has_groups else "image"
    return (
        f"Expected at least two classes of two images or more, but {len(alone)} of {len(labels)} have a single {unit}: "
        f"{listed(alone)}. Add images to them."
    )


def _of_numbers(y: np.ndarray[Any, Any], cv: int, repeats: int, groups: IntArray | None, random_state: int) -> Split:
    from sklearn.model_selection import GroupKFold, KFold

    n_units = len(y) if groups is None else len(np.unique(groups))
    n_folds = min(cv, n_units)
    if n_folds < 2:
        raise ComparisonError(f"Expected at least two images to compare baselines on, got {len(y)}. Add images.")
    what = "images" if groups is None else "groups of images"
    notes = [] if n_folds == cv else [f"{n_folds} folds instead of {cv}: there are {n_units} {what}."]
    folds: list[Fold] = []
    for seed in range(random_state, random_state + repeats):
        kind = KFold if groups is None else GroupKFold
        folds += kind(n_folds, shuffle=True, random_state=seed % 2**32).split(y, y, groups)
    return Split(folds, repeats, _words(f"{n_folds} folds", repeats), notes)


def _given(y: np.ndarray[Any, Any], cv: Any, groups: IntArray | None) -> Split:
    """Return folds that the user gave, checked; what shares a group with a scored row is not fitted on."""
    pairs = list(cv.split(np.zeros((len(y), 1)), y, groups) if _is_splitter(cv) else cv)
    folds: list[Fold] = []
    n_left_out = 0
    for number, (train, test) in enumerate(pairs):
        train, test = (_as_rows(rows, len(y), number) for rows in (train, test))  # noqa: PLW2901
        if len(np.intersect1d(train, test)):
            raise ComparisonError(f"Fold {number} scores rows that it is fitted on. Take them out of one of the two.")
        if groups is not None:
            free = ~np.isin(groups[train], groups[test])
            n_left_out += int((~free).sum())
            train = train[free]  # noqa: PLW2901
        if not len(train) or not len(test):
            raise ComparisonError(f"Fold {number} has {len(train)} rows to fit on and {len(test)} to score.")
        folds.append((train, test))
    notes = []
    if n_left_out:
        what = counted(n_left_out, "image") if len(folds) == 1 else f"{n_left_out} rows of folds"
        notes.append(f"{what} not fitted on, being in one group with an image that is scored.")
    if len(folds) == 1:
        (train, test) = folds[0]
        return Split(folds, 1, f"fitted on {len(train):,}, scored on {len(test):,}", notes)
    return Split(folds, 1, f"{len(folds)} given folds", notes)


def _as_rows(rows: Any, n_rows: int, number: int) -> IntArray:
    found = np.asarray(rows)
    if found.dtype == bool and found.shape == (n_rows,):
        found = np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu") or not ((found >= 0) & (found < n_rows)).all():
        raise ComparisonError(f"Fold {number} of cv: expected numbers of rows, from 0 to {n_rows - 1}.")
    return found.astype(np.int64)


def _words(folds: str, repeats: int) -> str:
    return folds if repeats == 1 else f"{folds}, {repeats} times"


def _is_splitter(cv: Any) -> bool:
    return hasattr(cv, "split") and hasattr(cv, "get_n_splits")


def _is_list_of_pairs(cv: Any) -> bool:
    if not isinstance(cv, list | tuple) or not cv:
        return False
    return all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in cv)
