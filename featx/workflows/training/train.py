"""Train a model on labeled images: score estimators, then fit the best one on all images.

More than half of the lines of `train_images` list, check and pass on its parameters.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import EstimatorsLike, TaskOption
from featx.baselines.fitting import Dataset, fit_on_all
from featx.baselines.folds.validation_split import fit_on_images
from featx.baselines.scaling.limits import ScaleLimits
from featx.baselines.scaling.schedule import format_minutes
from featx.datasets.image_table import ImagesLike, ImageTable, LabelsLike
from featx.errors import OptionError, notes_on_errors
from featx.extraction.options import ExtractionOptions, Resolved, check_on_error, resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD
from featx.models.zero_shot.classifier import make_bound
from featx.models.zero_shot.prompts import PromptsLike
from featx.system.array_types import IntArray
from featx.system.option_checks import as_list
from featx.system.terminal.progress import ProgressFunction, reporting, stage
from featx.workflows.compare import compare_tables
from featx.workflows.config import ComparisonConfig
from featx.workflows.feature_sets import as_extraction_options
from featx.workflows.image_estimators import make_fine_tuned
from featx.workflows.labeled_images import as_image_table, prepare_table
from featx.workflows.result import ImageComparison
from featx.workflows.training.checks import rows_of_scored_classes, validate_training
from featx.workflows.training.trained_model import TrainedModel, note_on_saving, training_notes

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

#: The duration of a fit is announced from so many seconds on.
MIN_ANNOUNCED_SECONDS = 2.0
_HALF_NOTE = 'Precision "auto" is {} on this {}; others predict with precision="float32" (--precision float32).'


def train_images(
    images: ImagesLike,
    y: LabelsLike | None = None,
    *,
    backbone: Any = "mobilenet",
    estimator: Any = None,
    select_from: EstimatorsLike | None = None,
    task: TaskOption = "auto",
    cv: int | None = None,
    groups: LabelsLike | None = None,
    duplicate_groups: bool = True,
    duplicate_threshold: float = DUPLICATE_THRESHOLD,
    tune: bool = False,
    calibrate: bool = False,
    random_state: int = 0,
    n_jobs: int | None = -1,
    prompts: PromptsLike = None,
    cache: str | os.PathLike[str] | None = "auto",
    on_error: Literal["skip", "raise"] = "skip",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> TrainedModel:
    """Fit a pipeline on labeled images, and score it by cross-validation.

    Parameters
    ----------
    images : ImageTable, array-like of shape (n_samples,), Series, table or iterable of images
        Images as :class:`FeatureExtractor` takes them, or the result of
        :func:`find_images`. If it has a test split, estimators are scored on it, and the selected one is then
        fitted on all images.
    y : array-like of shape (n_samples,), Series, iterable or None, default=None
        Class label or continuous target of each image. Images whose label is None or NaN are excluded, and a note
        reports them. None: the labels of `images`, an ImageTable or a table.
    backbone : str or FeatureExtractor, default="mobilenet"
        Name of a backbone, or an extractor for other settings.
    estimator : str, estimator or None, default=None
        Estimator to fit. See :func:`compare_baselines` for names. None: ``"logreg"``, or ``"ridge"`` for regression.
    select_from : sequence, mapping or None, default=None
        Estimators of which the one with the highest score is fitted. Cannot be combined with `estimator`.
    task : {"auto", "classification", "regression", "multilabel"}, default="auto"
        See :func:`compare_baselines`.
    cv : int or None, default=None
        Number of folds. None: 5, unless there is a test split.
    groups : array-like of shape (n_samples,), Series, iterable or None, default=None
        Group of each image, for example a patient. Images of one group are never split between training and test set.
        None: the groups of the table, if it has any.
    duplicate_groups : bool, default=True
        Whether to keep duplicates and near-duplicates on the same side of every split, too.
    duplicate_threshold : float, default=0.97
        Minimum cosine similarity of near-duplicates. See :func:`find_duplicates`.
    tune : bool, default=False
        Whether to tune the parameters of named estimators by cross-validation.
    calibrate : bool, default=False
        Whether to calibrate probabilities with a cross-validated sigmoid. Needs at least three images (or groups) per
        class, or with and without each tag. Predictions become the most probable class, which may reduce the accuracy
        of ``"centroid"``.
    random_state : int, default=0
        Seed of the shuffles and of random estimators.
    n_jobs : int or None, default=-1
        Number of folds to compute in parallel. -1: one per CPU core.
    prompts : str, Path, sequence of str, dict or None, default=None
        Texts for ``"zero-shot"``: templates, texts for each class, or a file. See :class:`ZeroShotClassifier`.
    cache : str, Path or None, default="auto"
        Path of the feature cache. See :class:`FeatureExtractor`.
    on_error : {"skip", "raise"}, default="skip"
        How to handle unreadable images. "skip": exclude them, and report them in a note. "raise": raise an error for
        the first one.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    TrainedModel
        Fitted pipeline and its scores.

    Raises
    ------
    ComparisonError
        If the labels cannot be split into folds, or a class is too small for calibration.
    OptionError
        If a backbone or an estimator does not exist, or another option is invalid.
    UnreadableImageError
        If an image cannot be read, with ``on_error="raise"``.

    See Also
    --------
    compare_images : Compare estimators without fitting one on all images.
    save_pipeline : Write a fitted pipeline to a model file.
    predict_images : Predict images with a model file.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import FeatureExtractor
    >>> from featx import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     paths = sorted(Path(folder).glob("[0-2]/*.png"))[::8]
    ...     histogram = FeatureExtractor("color_histogram", image_size=8)
    ...     y = [path.parent.name for path in paths]
    ...     trained = train_images(paths, y, backbone=histogram, estimator="knn", cache=None)
    >>> trained.pipeline.classes_.tolist()
    ['0', '1', '2']
    """
    if estimator is not None and select_from is not None:
        raise OptionError("estimator (--estimator) and select_from (--select-from) cannot be combined. Remove one.")
    if isinstance(estimator, list | tuple | Mapping):
        raise OptionError(
            f"estimator (--estimator) must be one estimator or name, got {estimator!r}. To select the best of several, "
            "pass select_from (--select-from)."
        )
    if select_from is not None and not isinstance(select_from, Mapping):
        select_from = as_list("select_from", select_from)
    config = ComparisonConfig(
        estimators=select_from if estimator is None else [estimator],
        task=task,
        cv=cv,
        duplicate_groups=duplicate_groups,
        duplicate_threshold=duplicate_threshold,
        tune=tune,
        random_state=random_state,
        n_jobs=n_jobs,
        exact=True,  # the model that is fitted is the one that was scored
        prompts=prompts,
    )
    with reporting(verbose, progress):
        return train_table(
            as_image_table(images, y, groups=groups),
            as_extraction_options(backbone),
            config,
            calibrate=calibrate,
            cache=resolve_cache(cache),
            on_error=on_error,
        )


def train_table(
    table: ImageTable,
    options: ExtractionOptions,
    config: ComparisonConfig,
    *,
    calibrate: bool = False,
    cache: Path | None,
    on_error: Literal["skip", "raise"] = "skip",
) -> TrainedModel:
    """Train a model with settings that are validated already.

    Parameters
    ----------
    table : ImageTable
    options : ExtractionOptions
    config : ComparisonConfig
    calibrate, cache, on_error
        See :func:`train_images`.
    """
    check_on_error(on_error)
    data_notes: list[str] = []
    with notes_on_errors(data_notes):
        config, baselines = validate_training(prepare_table(table, None, data_notes), config, calibrate)
    comparison = compare_tables(table, [options], config, cache=cache, on_error=on_error)
    best = next(baseline for baseline in baselines if baseline.name == comparison.best_row["estimator"])
    kept = _rows_to_fit(comparison)
    notes = list(comparison.notes)
    y, groups = comparison.y[kept], None if comparison.groups is None else comparison.groups[kept]
    best_params: dict[str, Any] = {}
    if best.images is None:
        data = Dataset(comparison.backbones[0].rows[kept], y, config.task, groups, config.random_state)
        resolved = comparison.backbones[0].resolved
        expected = expected_fit_seconds(best, comparison, len(y))
        with stage("fit", 1, "estimators", _describe_fit(best.name, expected)):
            if best.needs_text and isinstance(resolved, Resolved):
                classifier = make_bound(resolved, config.prompts, np.unique(y).tolist(), cache)
                estimator = classifier.fit(data.X, y).as_pipeline()
            else:
                started = time.perf_counter()
                estimator, best_params = fit_on_all(best, data, tune=config.tune, notes=notes)
                notes += _note_on_exact_fit(best, len(y), time.perf_counter() - started)
        pipeline, rows = _make_pipeline(options, estimator, config.task, cache), data.X
    else:
        paths = [comparison.paths[row] for row in kept]
        classifier = make_fine_tuned(options, config.random_state, cache)
        pipeline = fit_on_images(classifier, paths, y, groups).as_pipeline()
        rows = pipeline[0].transform(paths)
    notes += note_on_saving(best, config.task)
    notes += training_notes(best, baselines, comparison, y, has_test=table.splits is not None)
    if options.precision == "auto" and (used := pipeline[0].recipe_["precision"]) in ("bfloat16", "float16"):
        notes.append(_HALF_NOTE.format(used, "CPU" if used == "bfloat16" else "device"))
    return TrainedModel(pipeline, rows, y, comparison, _scores_of_best(comparison, best_params), notes, groups)


def expected_fit_seconds(best: Baseline, comparison: ImageComparison, n_samples: int) -> float:
    """Return about how long the fit to all samples takes, from the fits of the folds."""
    folds = comparison.backbones[0].comparison.split.folds
    n_train = float(np.mean([len(train) for train, _ in folds]))
    return float(comparison.best_row["fit_seconds"]) * (n_samples / n_train) ** (best.time_order or 1)


def _describe_fit(name: str, seconds: float) -> str:
    return name if seconds < MIN_ANNOUNCED_SECONDS else f"{name}, about {format_minutes(seconds)}"


def _note_on_exact_fit(best: Baseline, n_samples: int, seconds: float) -> list[str]:
    """Return a note if a comparison of so many samples approximates the estimator."""
    limit = ScaleLimits().exact_rows
    if not best.is_builtin or best.kernel != "rbf" or n_samples <= limit:
        return []
    return [
        f"{best.name} is exact in a model: its fit to {n_samples:,} images took {format_minutes(seconds)}. Comparisons "
        f"(featx compare) approximate it beyond {limit:,}. Linear estimators are faster."
    ]


def _rows_to_fit(comparison: ImageComparison) -> IntArray:
    """Return the rows of all images but those of classes that the comparison excluded."""
    if comparison.task != "classification":
        return np.arange(len(comparison.y))
    return rows_of_scored_classes(comparison.y, comparison.backbones[0].comparison.split.folds)


def _make_pipeline(options: ExtractionOptions, estimator: Any, task: str, cache: Path | None) -> Pipeline:
    from sklearn.pipeline import Pipeline

    from featx.extraction.feature_extractor import FeatureExtractor

    parameters = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    extractor = FeatureExtractor(**parameters, cache=cache).fit([])
    return Pipeline([("features", extractor), ("regressor" if task == "regression" else "classifier", estimator)])


def _scores_of_best(comparison: ImageComparison, best_params: dict[str, Any]) -> dict[str, Any]:
    row, metric = comparison.best_row, comparison.metric
    columns = {"mean": f"{metric}_mean", "std": f"{metric}_std", "low": "low", "high": "high"}
    scores = {
        "estimator": str(row["estimator"]),
        "metric": metric,
        **{name: float(row[column]) if np.isfinite(row[column]) else None for name, column in columns.items()},
        "split": comparison.backbones[0].comparison.split.description,
    }
    return scores | ({"best_params": best_params} if best_params else {})
