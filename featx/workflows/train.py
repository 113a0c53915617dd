"""Train a model on labeled images: score estimators, then fit the best one on all images.

A third of this file is the documentation and signature of its public function.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import FINE_TUNE, ZERO_SHOT, EstimatorsLike, TaskOption, as_baselines
from featx.baselines.fitting import Dataset, fit_on_all
from featx.baselines.folds.calibration import check_calibration
from featx.baselines.folds.split import Fold
from featx.baselines.folds.validation_split import fit_on_images
from featx.baselines.libraries.classes import is_class_name, make_by_class_name
from featx.datasets.image_table import ImagesLike, ImageTable, LabelsLike
from featx.datasets.labels import validate_labels
from featx.datasets.tags import tag_names
from featx.errors import ModelFileError, OptionError, notes_on_errors
from featx.extraction.options import ExtractionOptions, Resolved, check_on_error, resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD
from featx.models.card import format_scores
from featx.models.fine_tuning.classifier import FineTunedClassifier
from featx.models.model_file import save_pipeline
from featx.models.pipeline_file import check_savable
from featx.models.zero_shot.classifier import make_bound
from featx.models.zero_shot.prompts import PromptsLike
from featx.system.array_types import FloatArray, IntArray
from featx.system.formatting import format_count, format_list
from featx.system.notebook.cards import card_to_html, format_value
from featx.system.notebook.html import TextResult, table_to_html
from featx.system.option_checks import as_list
from featx.system.terminal.progress import ProgressFunction, reporting, stage
from featx.system.terminal.tables import fit_text, wrap_text
from featx.workflows.compare import compare_tables
from featx.workflows.config import ComparisonConfig, user_groups, validate_request
from featx.workflows.duplicate_groups import make_configured_split
from featx.workflows.feature_sets import as_extraction_options
from featx.workflows.image_estimators import make_fine_tuned
from featx.workflows.labeled_images import as_image_table, label_column, prepare_table
from featx.workflows.result import ImageComparison
from featx.workflows.result_output import table_rows

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

#: Estimator that is trained by default: fast, linear, and with probabilities for classes.
DEFAULT_ESTIMATORS = {"classification": "logreg", "regression": "ridge", "multilabel": "logreg"}
_HALF_NOTE = 'Precision "auto" is {} on this {}; others predict with precision="float32" (--precision float32).'
#: Number of rows for which an estimator is made to check whether it can be saved.
_N_ROWS_OF_CHECK = 12


@dataclasses.dataclass(frozen=True)
class TrainedModel(TextResult):
    """A pipeline that is fitted on labeled images, with its cross-validated scores.

    Classes that are too small for the comparison (a single image or group) are not fitted on either.

    Attributes
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted pipeline that takes images.
    rows : ndarray of float32 of shape (n_samples, n_features)
        Features that the estimator was fitted on.
    y : ndarray of shape (n_samples,)
        Their labels.
    comparison : ImageComparison
        Scores of all candidates.
    scores : dict
        Scores of the selected estimator: ``estimator``, ``metric``, ``mean``, ``std``, ``low``, ``high`` (None for one
        fold), ``split``, and ``best_params`` if it was tuned.
    notes : list of str
        Remarks on data and scores.
    groups : ndarray of int of shape (n_samples,), or None
        Group of each image.

    See Also
    --------
    train_images : Train a model on labeled images.
    load_pipeline : Load the pipeline of a model file.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import find_images, train_images, write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     images = find_images(folder).select(range(0, 500, 20))
    ...     trained = train_images(images, backbone="color_histogram", estimator="knn", cv=2, cache=None)
    >>> trained.scores["estimator"], trained.rows.shape
    ('knn', (25, 512))
    """

    pipeline: Pipeline
    rows: FloatArray
    y: np.ndarray[Any, Any]
    comparison: ImageComparison
    scores: dict[str, Any]
    notes: list[str]
    groups: np.ndarray[Any, Any] | None = None

    def save(self, path: str | os.PathLike[str], *, graph: bool = True, trusted: Sequence[str] | None = None) -> None:
        """Write the pipeline and its scores to a model file. See :func:`featx.save_pipeline`.

        Parameters
        ----------
        path : str or Path
            Path of the model file.
        graph : bool, default=True
            Whether the compiled network becomes part of the model.
        trusted : sequence of str or None, default=None
            Types of other libraries that may be part of the model.

        Raises
        ------
        ModelFileError, OutputError
            If the pipeline cannot be saved, or the file cannot be written.
        """
        save_pipeline(
            self.pipeline,
            path,
            features=self.rows,
            y=self.y,
            groups=self.groups,
            scores=self.scores,
            notes=self.notes,
            graph=graph,
            trusted=trusted,
        )

    def __repr__(self) -> str:
        return f"<TrainedModel: {self.as_text().splitlines()[0]}>"

    def _repr_html_(self) -> str:
        """Return the estimator, its scores and the notes as HTML, for notebooks."""
        facts = {
            "score": format_scores(self.scores),
            "images": f"{len(self.y):,}",
            "tags" if self.comparison.task == "multilabel" else "classes": f"{self._n_classes:,}"
            if self._n_classes
            else "",
            "features": f"{self.rows.shape[1]:,}",
        }
        title = f"{self.scores['estimator']} on {self.comparison.backbones[0].name}"
        rows = [{name: format_value(value) for name, value in row.items()} for row in table_rows(self.comparison)]
        best = [number for number, row in enumerate(rows) if row["estimator"] == self.scores["estimator"]]
        return card_to_html(title, facts, table_to_html(rows, marked=best), notes=self.notes)

    @property
    def _n_classes(self) -> int:
        """Number of classes or tags; 0 for regression."""
        if self.comparison.task == "regression":
            return 0
        return len(tag_names(self.y)) if self.comparison.task == "multilabel" else len(np.unique(self.y))

    def as_text(self) -> str:
        """Return the selected estimator, its scores and the notes as text."""
        kind = "tag" if self.comparison.task == "multilabel" else "class"
        classes = f", {format_count(self._n_classes, kind)}" if self._n_classes else ""
        backbone = self.comparison.backbones[0].name
        headline = f"{self.scores['estimator']} on {backbone}, fitted on {format_count(len(self.y), 'image')}{classes}"
        return "\n".join([*map(fit_text, (headline, format_scores(self.scores))), *map(wrap_text, self.notes)])


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
    task : {"auto", "classification", "regression"}, default="auto"
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
            "pass select_from."
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
        config, baselines = _validate_training(prepare_table(table, None, data_notes), config, calibrate)
    comparison = compare_tables(table, [options], config, cache=cache, on_error=on_error)
    best = next(baseline for baseline in baselines if baseline.name == comparison.best_row["estimator"])
    kept = _rows_to_fit(comparison)
    notes = list(comparison.notes)
    y, groups = comparison.y[kept], None if comparison.groups is None else comparison.groups[kept]
    best_params: dict[str, Any] = {}
    if best.images is None:
        data = Dataset(comparison.backbones[0].rows[kept], y, config.task, groups, config.random_state)
        resolved = comparison.backbones[0].resolved
        with stage("fit", 1, "estimators", best.name):
            if best.needs_text and isinstance(resolved, Resolved):
                classifier = make_bound(resolved, config.prompts, np.unique(y).tolist(), cache)
                estimator = classifier.fit(data.X, y).as_pipeline()
            else:
                estimator, best_params = fit_on_all(best, data, tune=config.tune, notes=notes)
        pipeline, rows = _make_pipeline(options, estimator, config.task, cache), data.X
    else:
        paths = [comparison.paths[row] for row in kept]
        classifier = make_fine_tuned(options, config.random_state, cache)
        pipeline = fit_on_images(classifier, paths, y, groups).as_pipeline()
        rows = pipeline[0].transform(paths)
    notes += _note_on_saving(best, config.task)
    notes += _training_notes(best, baselines, comparison, y, has_test=table.splits is not None)
    if options.precision == "auto" and (used := pipeline[0].recipe_["precision"]) in ("bfloat16", "float16"):
        notes.append(_HALF_NOTE.format(used, "CPU" if used == "bfloat16" else "device"))
    return TrainedModel(pipeline, rows, y, comparison, _scores_of_best(comparison, best_params), notes, groups)


def _validate_training(
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
    """Raise if a fitted estimator could not be saved as a model, before any work.

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
            check_savable(baseline.make(_N_ROWS_OF_CHECK), task)


def _note_on_saving(baseline: Baseline, task: str) -> list[str]:
    """Return a note if the fitted pipeline cannot be saved as a model."""
    if baseline.is_builtin or baseline.needs_text or baseline.images is not None:
        return []
    try:
        check_savable(baseline.make(_N_ROWS_OF_CHECK), task)
    except ModelFileError as error:
        return [str(error)]
    return []


def _check_calibration(table: ImageTable, config: ComparisonConfig, baselines: Sequence[Baseline]) -> None:
    """Raise if classes are too small for calibration, as far as that is known before duplicates are."""
    if config.task == "regression":
        raise OptionError("calibrate (--calibrate) requires classes or tags, got continuous targets. Remove it.")
    if any(baseline.images is not None for baseline in baselines):
        raise OptionError(f"calibrate (--calibrate) does not support {FINE_TUNE!r}. Remove one of them.")
    if any(baseline.needs_text for baseline in baselines):
        raise OptionError(f"calibrate (--calibrate) does not support {ZERO_SHOT!r}. Remove one of them.")
    y = validate_labels(label_column(table.labels), config.task)
    groups = user_groups(table)
    folds = make_configured_split(table, y, config, groups).folds
    all_rows = np.arange(len(y)) if config.task == "multilabel" else _rows_of_classes_in(y, folds)
    for rows in (*(train for train, _ in folds), all_rows):
        check_calibration(y[rows], None if groups is None else groups[rows])


def _rows_to_fit(comparison: ImageComparison) -> IntArray:
    """Return the rows of all images but those of classes that the comparison excluded."""
    if comparison.task != "classification":
        return np.arange(len(comparison.y))
    return _rows_of_classes_in(comparison.y, comparison.backbones[0].comparison.split.folds)


def _rows_of_classes_in(y: np.ndarray[Any, Any], folds: Sequence[Fold]) -> IntArray:
    """Return the rows whose class occurs in some fold."""
    rows = np.unique(np.concatenate([part for fold in folds for part in fold]))
    return np.flatnonzero(np.isin(y, np.unique(y[rows])))


def _training_notes(
    best: Baseline,
    baselines: Sequence[Baseline],
    comparison: ImageComparison,
    y: np.ndarray[Any, Any],
    *,
    has_test: bool,
) -> list[str]:
    """Return notes on how the fitted model differs from the scored one."""
    notes = []
    if len(baselines) > 1:
        names = ", ".join(baseline.name for baseline in baselines)
        notes.append(f"{best.name} was selected from {names} by its score, which is therefore slightly too high.")
    if best.is_calibrated and best.name == "centroid":
        notes.append(
            "Calibration may reduce the accuracy of centroid: predictions are the most probable class, not the nearest "
            "mean. Compare the score with that of a model without calibrate (--calibrate)."
        )
    if has_test:
        notes.append("Scores are those of the test split. The model is fitted on training and test images.")
    if comparison.task == "classification":
        scored = np.unique(comparison.backbones[0].comparison.y)
        if unscored := np.setdiff1d(y, scored).tolist():
            notes.append(
                f"{format_count(len(unscored), 'class')} without test images, so not scored: {format_list(unscored)}."
            )
    return notes


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
