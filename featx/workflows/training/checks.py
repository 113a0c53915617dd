"""Requirements of training, checked before any work: estimators that can be saved, classes that can be calibrated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import FINE_TUNE, ZERO_SHOT, as_baselines
from featx.baselines.folds.calibration import check_calibration
from featx.baselines.folds.split import Fold
from featx.baselines.libraries.classes import is_class_name, make_by_class_name
from featx.datasets.image_table import ImageTable
from featx.datasets.labels import validate_labels
from featx.errors import OptionError
from featx.models.fine_tuning.classifier import FineTunedClassifier
from featx.models.pipeline_file import check_savable
from featx.system.array_types import IntArray
from featx.workflows.config import ComparisonConfig, user_groups, validate_request
from featx.workflows.duplicate_groups import make_configured_split
from featx.workflows.labeled_images import label_column

#: Estimator that is trained by default: fast, linear, and with probabilities for classes.
DEFAULT_ESTIMATORS = {"classification": "logreg", "regression": "ridge", "multilabel": "logreg"}
#: Number of rows for which an estimator is made to check whether it can be saved.
N_ROWS_OF_CHECK = 12


def validate_training(
    table: ImageTable, config: ComparisonConfig, calibrate: bool
) -> tuple[ComparisonConfig, list[Baseline]]:
    """Check what can be checked before the extraction; return the settings of the comparison, and the baselines."""
    config = validate_request(table, config)
    estimators = config.estimators or [DEFAULT_ESTIMATORS[config.task]]
    for estimator in estimators.values() if isinstance(estimators, Mapping) else estimators:
        if isinstance(estimator, FineTunedClassifier):
            raise OptionError(
                f"Cannot select a FineTunedClassifier object. Pass {FINE_TUNE!r} for its default parameters, or fit it "
                "yourself and save its as_pipeline() with save_pipeline."
            )
    baselines = as_baselines(estimators, config.task, config.random_state)
    if calibrate:
        _check_calibration(table, config, baselines)
        baselines = [dataclasses.replace(baseline, is_calibrated=True) for baseline in baselines]
    candidates = {baseline.name: _candidate(baseline) for baseline in baselines}
    return dataclasses.replace(config, estimators=candidates), baselines


def _candidate(baseline: Baseline) -> Baseline | str:
    """Return what is compared. The comparison binds images and texts to baselines that it knows by these names."""
    if baseline.needs_text:
        return ZERO_SHOT
    return baseline if baseline.images is None else FINE_TUNE


def check_savable_names(names: Sequence[str]) -> None:
    """Raise an error if a fitted estimator could not be saved as a model, before any work.

    Parameters
    ----------
    names : sequence of str
        Names of baselines and classes.

    Raises
    ------
    ModelFileError
        An estimator of this name is never loaded from a file.
    """
    from sklearn.base import is_classifier

    for name in names:
        if is_class_name(name):
            task = "classification" if is_classifier(make_by_class_name(name)) else "regression"
            (baseline,) = as_baselines([name], task, 0)
            check_savable(baseline.make(N_ROWS_OF_CHECK), task)


def _check_calibration(table: ImageTable, config: ComparisonConfig, baselines: Sequence[Baseline]) -> None:
    """Raise an error if classes are too small for calibration, as far as that is known before duplicates are."""
    if config.task == "regression":
        raise OptionError("calibrate (--calibrate) requires classes or tags, got continuous targets. Remove it.")
    if any(baseline.images is not None for baseline in baselines):
        raise OptionError(f"calibrate (--calibrate) does not support {FINE_TUNE!r}. Remove one of them.")
    if any(baseline.needs_text for baseline in baselines):
        raise OptionError(f"calibrate (--calibrate) does not support {ZERO_SHOT!r}. Remove one of them.")
    y = validate_labels(label_column(table.labels), config.task)
    groups = user_groups(table)
    folds = make_configured_split(table, y, config, groups).folds
    all_rows = np.arange(len(y)) if config.task == "multilabel" else rows_of_scored_classes(y, folds)
    for rows in (*(train for train, _ in folds), all_rows):
        check_calibration(y[rows], None if groups is None else groups[rows])


def rows_of_scored_classes(y: np.ndarray[Any, Any], folds: Sequence[Fold]) -> IntArray:
    """Return the rows whose class occurs in some fold."""
    rows = np.unique(np.concatenate([part for fold in folds for part in fold]))
    return np.flatnonzero(np.isin(y, np.unique(y[rows])))
