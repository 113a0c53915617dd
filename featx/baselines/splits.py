"""Which rows are fitted on and which are scored: folds that keep groups whole and classes in proportion."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, TypeAlias

import numpy as np

from featx.datasets.labels import is_missing
from featx.errors import ComparisonError, OptionError
from featx.system.array_types import IntArray
from featx.system.formatting import format_count, format_list

Fold: TypeAlias = "tuple[IntArray, IntArray]"


@dataclasses.dataclass(frozen=True)
class Split:
    """Folds over the rows of a matrix.

    Attributes
    ----------
    folds : list of (ndarray of int, ndarray of int)
        Rows to fit on and rows to score, for each fold; one repetition after the other.
    n_first_repeat : int
        How many of them, from the first, score each row once at most: the first repetition.
    description : str
        What it is, for people.
    notes : list of str
        What was done that was not asked for: rows left out, fewer folds.
    """

    folds: list[Fold]
    n_first_repeat: int
    description: str
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def first_repeat(self) -> range:
        """Numbers of the folds in which each row is scored once at most."""
        return range(self.n_first_repeat)

    def map_rows(self, rows: IntArray) -> Split:
        """Return the same folds by other numbers: what was row 0 is now ``rows[0]``."""
        return dataclasses.replace(self, folds=[(rows[train], rows[test]) for train, test in self.folds])

    @property
    def test_ratio(self) -> float:
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
    if (is_number and cv < 2) or not (is_number or isinstance(cv, Split) or _is_splitter(cv) or _is_list_of_pairs(cv)):
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
    cv : int, splitter, list of (train, test) or Split, default=5
        A Split is taken as folds that are given. Fewer folds are made where the smallest class is smaller, or would be
        scored in a fold that is not fitted on it; a class of a single sample, or of a single group, is left out. Both
        are noted. Of folds that are given, rows to fit on that share a group with a row to score are left out.
    repeats : int, default=1
        Repetitions with other shuffles.
    groups : array-like, shape (n_samples,), or None
        A missing one (None, NaN) is a group of its own.
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
    >>> split.description, split.notes
    ('2 stratified folds', ["2 folds instead of 5: the smallest class, 'cat', has 2 samples."])
    """
    check_split_options(cv, repeats)
    codes = None if groups is None else group_codes(groups, len(y))
    if isinstance(cv, Split):
        checked = _given(y, cv.folds, codes, task)
        notes = list(dict.fromkeys([*cv.notes, *checked.notes]))
        return dataclasses.replace(cv, folds=checked.folds, notes=notes)
    if not isinstance(cv, int | np.integer):
        return _given(y, cv, codes, task)
    if task == "regression":
        return _of_numbers(y, int(cv), repeats, codes, random_state)
    return _stratified(y, int(cv), repeats, codes, random_state)


def group_codes(groups: Any, n_rows: int) -> IntArray:
    """Return a number for each row, equal for rows of one group; a missing group is one of its own.

    Raises
    ------
    ComparisonError
        Not one for each row, or one group only.
    """
    values = np.asarray(groups)
    if values.shape != (n_rows,):
        raise ComparisonError(f"Expected one group for each of {n_rows} rows, got groups of shape {values.shape}.")
    names: dict[Any, int] = {}
    codes = np.array(
        [
            names.setdefault(("alone", at) if is_missing(value) else value, len(names))
            for at, value in enumerate(values)
        ],
        dtype=np.int64,
    )
    if len(names) < 2:
        raise ComparisonError(
            f"All {n_rows} rows are in one group: nothing is left to score what was fitted on. Use another column for "
            "groups, or none."
        )
    return codes


def _stratified(y: np.ndarray[Any, Any], cv: int, repeats: int, groups: IntArray | None, random_state: int) -> Split:
    kept, notes = usable_rows(y, groups)
    labels, codes, counts = np.unique(y[kept], return_inverse=True, return_counts=True)
    most = min(cv, int(counts.min()))
    if most < cv:
        smallest = labels[counts.argmin()].item()
        notes.append(f"{most} folds instead of {cv}: the smallest class, {smallest!r}, has {counts.min()} samples.")
    if groups is not None and (n_groups := len(np.unique(groups[kept]))) < most:
        notes.append(f"{n_groups} folds instead of {cv}: there are {n_groups} groups.")
        most = n_groups
    for n_folds in range(most, 1, -1):
        folds, n_first_repeat = _shuffled(
            codes, None if groups is None else groups[kept], n_folds, repeats, random_state
        )
        if all(_knows_what_it_scores(codes, fold) for fold in folds):
            break
    else:
        raise ComparisonError(
            "The groups divide the classes so badly that some class would always be scored without being fitted on. "
            "Use other groups, or more samples."
        )
    if n_folds < most:
        notes.append(f"{n_folds} folds instead of {cv}: with more, a class would be scored that is not fitted on.")
    folds = [(kept[train], kept[test]) for train, test in folds]
    return Split(folds, n_first_repeat, _words(f"{n_folds} stratified folds", repeats), notes)


def _shuffled(
    codes: IntArray, groups: IntArray | None, n_folds: int, repeats: int, random_state: int
) -> tuple[list[Fold], int]:
    """Return the folds of all repetitions, and how many the first one has."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    by_repeat = []
    for seed in range(random_state, random_state + repeats):
        shuffled = kind(n_folds, shuffle=True, random_state=seed % 2**32).split(codes, codes, groups)
        by_repeat.append([fold for fold in shuffled if len(fold[1])])
    return [fold for folds in by_repeat for fold in folds], len(by_repeat[0])


def _knows_what_it_scores(codes: IntArray, fold: Fold) -> bool:
    train, test = fold
    fitted = np.unique(codes[train])
    return len(fitted) > 1 and bool(np.isin(codes[test], fitted).all())


def usable_rows(y: np.ndarray[Any, Any], groups: IntArray | None) -> tuple[IntArray, list[str]]:
    """Return the rows of classes that can be both fitted on and scored, and a note of the others.

    Parameters
    ----------
    y : ndarray, shape (n_samples,)
    groups : ndarray of int, shape (n_samples,), or None

    Raises
    ------
    ComparisonError
        Fewer than two classes of two samples, or groups.
    """
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
        why = "a single sample" if groups is None else "a single sample or group"
        which = format_list(sorted(alone, key=str))
        notes.append(
            f"{format_count(len(alone), 'class')} of {why} left out "
            f"({format_count(int(left_out.sum()), 'sample')}): {which}."
        )
    return np.flatnonzero(~left_out), notes


def _too_few_classes(labels: list[Any], alone: list[Any], has_groups: bool) -> str:
    if len(labels) < 2:
        only = f"one class, {labels[0]!r}" if labels else "none"
        return (
            f"Expected at least two classes, got {only}: there is nothing to tell apart. Label samples of another "
            "class, too (images: a folder for each class, or a column of a table: --label-column)."
        )
    unit = "group" if has_groups else "sample"
    return (
        f"Expected at least two classes of two samples or more, but {len(alone)} of {len(labels)} have a single "
        f"{unit}: {format_list(alone)}. Add samples to them."
    )


def _of_numbers(y: np.ndarray[Any, Any], cv: int, repeats: int, groups: IntArray | None, random_state: int) -> Split:
    from sklearn.model_selection import GroupKFold, KFold

    # R² needs two rows to be scored on.
    n_folds = min(cv, len(y) // 2)
    notes = [] if n_folds == cv else [f"{n_folds} folds instead of {cv}: there are {len(y)} samples."]
    if groups is not None and (n_groups := len(np.unique(groups))) < n_folds:
        n_folds = n_groups
        notes.append(f"{n_folds} folds instead of {cv}: there are {n_groups} groups.")
    if n_folds < 2:
        raise ComparisonError(f"Expected at least four samples to compare baselines on, got {len(y)}. Add samples.")
    folds: list[Fold] = []
    for seed in range(random_state, random_state + repeats):
        kind = KFold if groups is None else GroupKFold
        folds += kind(n_folds, shuffle=True, random_state=seed % 2**32).split(y, y, groups)
    return Split(folds, n_folds, _words(f"{n_folds} folds", repeats), notes)


def _given(y: np.ndarray[Any, Any], cv: Any, groups: IntArray | None, task: str) -> Split:
    """Return folds that the user gave, checked; what shares a group with a scored row is not fitted on."""
    pairs = list(cv.split(np.zeros((len(y), 1)), y, groups) if _is_splitter(cv) else cv)
    folds: list[Fold] = []
    n_left_out = 0
    for number, pair in enumerate(pairs):
        train, test = (validate_row_indices(rows, len(y), number) for rows in pair)
        if len(np.intersect1d(train, test)):
            raise ComparisonError(f"Fold {number} scores rows that it is fitted on. Take them out of one of the two.")
        if groups is not None:
            free = ~np.isin(groups[train], groups[test])
            n_left_out += int((~free).sum())
            train = train[free]
        if not len(train) or not len(test):
            raise ComparisonError(f"Fold {number} has {len(train)} rows to fit on and {len(test)} to score.")
        folds.append((train, test))
    notes = []
    if n_left_out:
        what = format_count(n_left_out, "sample") if len(folds) == 1 else f"{n_left_out} samples of folds"
        notes.append(f"{what} not fitted on, being in one group with what is scored.")
    if task == "classification":
        notes += _unknown_classes(y, folds)
    train, test = folds[0]
    words = f"fitted on {len(train):,}, scored on {len(test):,}" if len(folds) == 1 else f"{len(folds)} given folds"
    return Split(folds, _n_disjoint(folds), words, notes)


def _unknown_classes(y: np.ndarray[Any, Any], folds: list[Fold]) -> list[str]:
    """Return a note of classes that are scored without being fitted on; raise if but one class is fitted on."""
    unknown: set[Any] = set()
    for number, (train, test) in enumerate(folds):
        fitted = set(y[train].tolist())
        if len(fitted) < 2:
            raise ComparisonError(
                f"Fold {number} is fitted on a single class, {next(iter(fitted))!r}: there is nothing to tell apart."
            )
        unknown |= set(y[test].tolist()) - fitted
    if not unknown:
        return []
    names = format_list(sorted(unknown, key=str))
    return [f"{format_count(len(unknown), 'class')} scored without being fitted on, so always wrong: {names}."]


def _n_disjoint(folds: list[Fold]) -> int:
    """Return how many folds, from the first, score each row once at most."""
    seen: set[int] = set()
    for number, (_, test) in enumerate(folds):
        if not seen.isdisjoint(test.tolist()):
            return number
        seen.update(test.tolist())
    return len(folds)


def validate_row_indices(rows: Any, n_rows: int, number: int) -> IntArray:
    """Return numbers of rows, given as such or as a mask.

    Raises
    ------
    ComparisonError
        Something else, or out of range.
    """
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
