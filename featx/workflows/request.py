"""What a user may ask of a comparison of images, checked before anything is extracted; and the split that follows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from featx.baselines.cross_validate import check_comparison_options
from featx.baselines.estimators import EstimatorsLike, TaskOption
from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.make_split import make_split
from featx.baselines.folds.split import Split
from featx.datasets.image_table import ImageTable
from featx.datasets.labels import infer_task, validate_labels
from featx.errors import OptionError, SourceError
from featx.features.duplicates.find import DUPLICATE_THRESHOLD, check_threshold
from featx.system.array_types import IntArray
from featx.workflows.prepare import as_array

GROUPS = ("auto", "none")
_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
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
    duplicate_threshold : float, default=0.97
        Cosine from which images are near-duplicates; see :func:`featx.find_duplicates`.
    diagnostics : bool, default=False
        Compute a learning curve, and look for labels in doubt also if logistic regression is not compared.
    """

    estimators: EstimatorsLike | None = None
    task: TaskOption = "auto"
    cv: int | None = None
    repeats: int = 1
    groups: str = "auto"
    duplicate_threshold: float = DUPLICATE_THRESHOLD
    tune: bool = False
    diagnostics: bool = False
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
            raise OptionError(f"cv={self.cv!r}: expected a number of folds. Say which images to score by test_mask.")
        check_threshold("duplicate_threshold", self.duplicate_threshold)


@dataclasses.dataclass(frozen=True)
class Task:
    """Images and labels, and what was asked about them."""

    table: ImageTable
    y: np.ndarray[Any, Any]
    config: ComparisonConfig

    def split(self, groups: Any) -> Split:
        """Return the split that was asked for, these groups kept whole."""
        return make_split(
            self.y,
            task=self.config.task,
            cv=cv_of(self.table, self.config),
            repeats=self.config.repeats,
            groups=groups,
            random_state=self.config.random_state,
        )


def validate_request(table: ImageTable, config: ComparisonConfig) -> ComparisonConfig:
    """Raise for what need not wait for the features; return what was asked, the task decided."""
    if table.no_labels_reason:
        raise SourceError(table.no_labels_reason)
    y = as_array(table.labels)
    task = infer_task(y) if config.task == "auto" else config.task
    config = dataclasses.replace(config, task=task)  # checks the estimators, now that the task is known
    y = validate_labels(y, task)
    for name, given in (("repeats", config.repeats > 1), ("cv", config.cv is not None)):
        if table.splits is not None and given:
            raise OptionError(f"{name}: a given test set is scored once. Leave {name} (--{name}) out.")
    groups = None if config.groups == "none" else given_groups(table)
    make_split(
        y,
        task=task,
        cv=cv_of(table, config),
        repeats=config.repeats,
        groups=groups,
        random_state=config.random_state,
    )
    return config


def cv_of(table: ImageTable, config: ComparisonConfig) -> Any:
    """Return the number of folds, or the one test set that the table gives."""
    if table.splits is None:
        return _FOLDS if config.cv is None else config.cv
    parts = np.array(table.splits)
    return [(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))]


def given_groups(table: ImageTable) -> IntArray | None:
    """Return a number for each image, equal for those that the table has in one group; None if it has none."""
    if table.groups is None:
        return None
    return group_codes(table.groups, len(table))
