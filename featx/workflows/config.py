"""Settings of a comparison, validated before any image is read."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from featx.baselines.cross_validate import check_comparison_options
from featx.baselines.estimators import EstimatorsLike, TaskOption
from featx.baselines.folds.groups import group_codes
from featx.baselines.folds.make_split import make_split
from featx.datasets.image_table import ImageTable
from featx.datasets.labels import describe_inferred_task, infer_task, validate_labels
from featx.errors import ComparisonError, OptionError, SourceError
from featx.features.duplicates.find import DUPLICATE_THRESHOLD, check_threshold
from featx.models.zero_shot.prompts import PromptsLike
from featx.system.array_types import IntArray
from featx.system.option_checks import is_integer
from featx.workflows.labeled_images import label_column

_N_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """Settings of a comparison: what to compare and how to split the images.

    Attributes
    ----------
    estimators, task, repeats, tune, random_state, n_jobs, time_limit, exact
        See :func:`featx.compare_baselines`.
    cv : int or None, default=None
        Number of folds. None: 5, unless the images have a test split.
    duplicate_groups : bool, default=True
        Whether to keep duplicates and near-duplicates on the same side of every split.
    duplicate_threshold : float, default=0.97
        Minimum cosine similarity of near-duplicates. See :func:`featx.find_duplicates`.
    diagnostics : bool, default=False
        Whether to compute a learning curve, and to search for label errors even if logistic regression is not compared.
    prompts : str, Path, sequence, mapping or None, default=None
        Texts for ``"zero-shot"``. See :class:`featx.ZeroShotClassifier`.
    task_note : str, default=""
        Note on how `task` was inferred, if that may be wrong. Set by :func:`validate_request`.

    Raises
    ------
    OptionError
        If a value is invalid.
    """

    estimators: EstimatorsLike | None = None
    task: TaskOption = "auto"
    cv: int | None = None
    repeats: int = 1
    duplicate_groups: bool = True
    duplicate_threshold: float = DUPLICATE_THRESHOLD
    tune: bool = False
    diagnostics: bool = False
    random_state: int = 0
    n_jobs: int | None = -1
    time_limit: float | None = None
    exact: bool = False
    prompts: PromptsLike = None
    task_note: str = ""

    def __post_init__(self) -> None:
        if self.cv is not None and not (is_integer(self.cv) and self.cv >= 2):
            raise OptionError(
                f"cv (--cv) must be a number of folds of at least 2, or None, got {self.cv!r}. Use cv=5, for "
                "example. To score given images, use test (--test)."
            )
        check_comparison_options(
            estimators=self.estimators,
            task=self.task,
            cv=_N_FOLDS if self.cv is None else self.cv,
            repeats=self.repeats,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            time_limit=self.time_limit,
        )
        if not isinstance(self.duplicate_groups, bool | np.bool_):
            raise OptionError(f"duplicate_groups must be True or False, got {self.duplicate_groups!r}.")
        check_threshold("duplicate_threshold", self.duplicate_threshold)


def validate_request(table: ImageTable, config: ComparisonConfig) -> ComparisonConfig:
    """Check labels, groups and settings before any image is read.

    Parameters
    ----------
    table : ImageTable
        Labeled images.
    config : ComparisonConfig

    Returns
    -------
    ComparisonConfig
        The same settings, with `task` resolved, and a note on it.

    Raises
    ------
    SourceError
        If the source cannot have labels.
    ComparisonError
        If the labels cannot be split into folds.
    OptionError
        If an estimator does not exist for the task, or an option does not apply to a given test split.
    """
    if table.no_labels_reason:
        raise SourceError(table.no_labels_reason)
    labels = label_column(table.labels)
    task = infer_task(labels) if config.task == "auto" else config.task
    note = describe_inferred_task(labels) if config.task == "auto" else config.task_note
    config = dataclasses.replace(config, task=task, task_note=note)  # validates the estimators for this task
    y = validate_labels(labels, task)
    if table.splits is not None and "train" not in table.splits:
        raise ComparisonError(
            f"There are no training images: all {len(table):,} images are test images. Mark some as training images "
            "(test_mask, or the split of the source)."
        )
    if table.splits is not None:
        for name, is_given in (("repeats", config.repeats > 1), ("cv", config.cv is not None)):
            if is_given:
                raise OptionError(f"{name} (--{name}) does not apply to a given test split. Remove it.")
    make_split(
        y,
        task=task,
        cv=folds_or_test_split(table, config),
        repeats=config.repeats,
        groups=user_groups(table),
        random_state=config.random_state,
    )
    return config


def folds_or_test_split(table: ImageTable, config: ComparisonConfig) -> Any:
    """Return the `cv` argument of :func:`make_split`: a number of folds, or the train and test rows of the table."""
    if table.splits is None:
        return _N_FOLDS if config.cv is None else config.cv
    parts = np.array(table.splits)
    return [(np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test"))]


def user_groups(table: ImageTable) -> IntArray | None:
    """Return the groups of the table as integers, or None if it has none."""
    if table.groups is None:
        return None
    return group_codes(table.groups, len(table))
