"""What a user may ask of a comparison of images, checked before anything is extracted; and the split that follows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from featx.baselines.cross_validate import check_comparison_options
from featx.baselines.estimators import EstimatorsLike
from featx.baselines.splits import Split, group_codes, make_split
from featx.datasets.image_folder import ImageTable
from featx.datasets.labels import infer_task, validate_labels
from featx.errors import OptionError, SourceError
from featx.features.duplicates.find import THRESHOLD, check_threshold
from featx.system.array_types import IntArray
from featx.workflows.prepare import as_array

GROUPS = ("auto", "none")
_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to compare, and how to split.

    Attributes
    ----------
    estimators, task, repeats, tune, random_state, n_jobs
        As for :func:`featx.compare_baselines`.
    cv : int or None, default=None
        Number of folds, where there is no test set; None is 5.
    groups : {"auto", "none"}, default="auto"
        ``"auto"`` keeps duplicates and near-duplicates on one side of every split, and with them what the table of
        images has in one group.
    near : float, default=0.97
        Cosine from which images are near-duplicates; see :func:`featx.find_duplicates`.
    extras : bool, default=False
        Compute a learning curve, and look for labels in doubt also if logistic regression is not compared.
    """

    estimators: EstimatorsLike | None = None
    task: str = "auto"
    cv: int | None = None
    repeats: int = 1
    groups: str = "auto"
    near: float = THRESHOLD
    tune: bool = False
    extras: bool = False
    random_state: int = 0
    n_jobs: int | None = -1

    def __post_init__(self) -> None:
        check_comparison_options(
            estimators=self.estimators,
            task=self.task,
            cv=_FOLDS if self.cv is None else self.cv,
            repeats=self.repeats,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )
        if self.groups not in GROUPS:
            raise OptionError(f"groups={self.groups!r}: expected one of {', '.join(GROUPS)}.")
        if not isinstance(self.cv, int | np.integer | None):
            raise OptionError(f"cv={self.cv!r}: expected a number of folds. Say which images to score by is_test.")
        check_threshold("near", self.near)


@dataclasses.dataclass(frozen=True)
class Task:
    """Images and labels, and what was asked about them."""

    table: ImageTable
    y: np.ndarray[Any, Any]
    asked: Asked

    def split(self, groups: Any) -> Split:
        """Return the split that was asked for, these groups kept whole."""
        return make_split(
            self.y,
            task=self.asked.task,
            cv=cv_of(self.table, self.asked),
            repeats=self.asked.repeats,
            groups=groups,
            random_state=self.asked.random_state,
        )


def checked_early(table: ImageTable, asked: Asked) -> Asked:
    """Raise for what need not wait for the features; return what was asked, the task decided."""
    if table.unlabelled:
        raise SourceError(table.unlabelled)
    y = as_array(table.labels)
    task = infer_task(y) if asked.task == "auto" else asked.task
    asked = dataclasses.replace(asked, task=task)  # checks the estimators, now that the task is known
    y = validate_labels(y, task)
    for name, given in (("repeats", asked.repeats > 1), ("cv", asked.cv is not None)):
        if table.splits is not None and given:
            raise OptionError(f"{name}: a given test set is scored once. Leave {name} (--{name}) out.")
    groups = None if asked.groups == "none" else given_groups(table)
    make_split(
        y,
        task=task,
        cv=cv_of(table, asked),
        repeats=asked.repeats,
        groups=groups,
        random_state=asked.random_state,
    )
    return asked


def cv_of(table: ImageTable, asked: Asked) -> Any:
    """Return the number of folds, or the one test set that the table gives."""
    if table.splits is None:
        return _FOLDS if asked.cv is None else asked.cv
    parts = np.array(table.splits)
    return [(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))]


def given_groups(table: ImageTable) -> IntArray | None:
    """Return a number for each image, equal for those that the table has in one group; None if it has none."""
    if table.groups is None:
        return None
    return group_codes(table.groups, len(table))
