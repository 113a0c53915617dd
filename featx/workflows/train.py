"""Labelled images → a model: estimators scored by cross-validation, the best fitted on all images, in one file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import FINE_TUNE, TaskOption, as_baselines
from featx.baselines.fitting import Dataset, check_calibration, fit_on_all, fit_on_images
from featx.baselines.folds.split import Fold
from featx.baselines.metrics import METRICS
from featx.datasets.image_table import ImageTable, LabelsLike, PathsLike
from featx.datasets.labels import validate_labels
from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD
from featx.models.card import format_scores
from featx.models.fine_tuning.classifier import FineTunedClassifier
from featx.models.model_file import save_pipeline
from featx.models.pipeline_file import check_savable
from featx.system.array_types import FloatArray, IntArray
from featx.system.formatting import format_count, format_list, wrap_text
from featx.workflows.compare import compare_tables
from featx.workflows.image_estimators import fine_tuned
from featx.workflows.networks import as_extraction_options
from featx.workflows.prepare import as_array, as_table, prepare_table
from featx.workflows.request import ComparisonConfig, Task, given_groups, validate_request
from featx.workflows.result import ImageComparison

#: What is trained unless something else is asked for: quick, linear, and it gives probabilities.
DEFAULT = {"classification": "logreg", "regression": "ridge"}

_FEW = 12

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclasses.dataclass(frozen=True)
class Trained:
    """A pipeline that was fitted on all of some labelled images, and how well it can be expected to do.

    A class that was left out of the comparison, being of a single image or group, is left out of it, too.

    Attributes
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted; it takes images.
    rows : ndarray of float32, shape (n_samples, n_features)
        Features that its estimator was fitted on.
    y : ndarray, shape (n_samples,)
        Their labels.
    comparison : ImageComparison
        What it was chosen by: models of the same kinds, each scored on images that it was not fitted on.
    scores : dict
        Of the estimator that was chosen: ``estimator``, ``metric``, ``mean``, ``std``, ``low``, ``high`` (None where
        there is one fold only), ``split``, and the parameters that were ``chosen``, if it was tuned.
    notes : list of str
        What to beware of.
    groups : ndarray of int, shape (n_samples,), or None
        Equal for images that were kept on one side of every split.
    """

    pipeline: Pipeline
    rows: FloatArray
    y: np.ndarray[Any, Any]
    comparison: ImageComparison
    scores: dict[str, Any]
    notes: list[str]
    groups: np.ndarray[Any, Any] | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pipeline to one file, as :func:`featx.save_pipeline`, with its scores.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        ModelFileError, OutputError
        """
        save_pipeline(
            self.pipeline,
            path,
            features=self.rows,
            y=self.y,
            groups=self.groups,
            scores=self.scores,
            notes=self.notes,
        )

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return what was chosen and how well it does, for people."""
        is_of_classes = self.comparison.task == "classification"
        classes = f", {format_count(len(np.unique(self.y)), 'class')}" if is_of_classes else ""
        network = self.comparison.backbones[0].name
        return "\n".join(
            [
                f"{self.scores['estimator']} on {network}, fitted on {format_count(len(self.y), 'image')}{classes}",
                format_scores(self.scores),
                *map(wrap_text, self.notes),
            ]
        )


def train_images(
    paths: PathsLike,
    y: LabelsLike | None = None,
    *,
    backbone: Any = "mobilenet",
    estimators: Sequence[Any] | None = None,
    task: TaskOption = "auto",
    groups: Any = "auto",
    duplicate_threshold: float = DUPLICATE_THRESHOLD,
    cv: int | None = None,
    tune: bool = False,
    calibrate: bool = False,
    random_state: int = 0,
    n_jobs: int | None = -1,
    cache: str | os.PathLike[str] | None = "auto",
    on_error: str = "skip",
) -> Trained:
    """Return a pipeline fitted on all of some labelled images, with its scores by cross-validation.

    Parameters
    ----------
    paths : list, ndarray, Series, ImageTable or iterable of str or Path
        Paths of images, or the result of :func:`featx.find_images`, whose labels and groups are used.
    y : array-like of shape (n_images,), Series, iterable or None, default=None
        Class or continuous target of each image. Images without a label (None or NaN) are dropped. None: the labels of
        `paths`, which must be an ImageTable.
    backbone : str or FeatureExtractor, default="mobilenet"
    estimators : sequence or None, default=None
        As for :func:`featx.compare_baselines`. Of several, the one that scores best is fitted. None is ``logreg``, and
        ``ridge`` for quantities.
    calibrate : bool, default=False
        Make probabilities of scores, by sigmoids fitted on images that the estimator was not fitted on: for those that
        give none (svm, ridge), and where probabilities are to be what they say. It takes three images of each class,
        or groups of them. The labels become those of the highest probability, of ``centroid`` often less accurate ones.
    task, groups, duplicate_threshold, cv, tune, random_state, n_jobs, cache
        As for :func:`featx.compare_images`.
    on_error : {"skip", "raise"}, default="skip"
        Leave out an image that cannot be read, and note it; or stop at the first.

    Returns
    -------
    Trained

    Raises
    ------
    ComparisonError, OptionError
        As :func:`featx.compare_images`; too few images of a class to calibrate.
    UnreadableImageError
        The first image that cannot be read, with ``on_error="raise"``.

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
    ...     trained = train_images(paths, y, backbone=histogram, estimators=["knn"], cache=None)
    >>> trained.pipeline.classes_.tolist()
    ['0', '1', '2']
    """
    given = None if isinstance(groups, str) else list(groups)
    config = ComparisonConfig(
        estimators=estimators,
        task=task,
        cv=cv,
        groups=groups if given is None else "auto",
        duplicate_threshold=duplicate_threshold,
        tune=tune,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    table = as_table(paths, y, groups=given)
    return train_tables(
        table,
        as_extraction_options(backbone),
        config,
        calibrate=calibrate,
        cache=resolve_cache(cache),
        on_error=on_error,
    )


def train_tables(
    table: ImageTable,
    options: ExtractionOptions,
    config: ComparisonConfig,
    *,
    calibrate: bool = False,
    cache: Path | None,
    on_error: str = "skip",
    show_progress: bool = False,
    progress: Callable[[str], object] | None = None,
) -> Trained:
    """Extract labelled images, score estimators by cross-validation, and fit the best on all of them.

    Parameters
    ----------
    table : ImageTable
        Images without a label are left out. If it has splits, the estimators are scored on its test images, and the
        best is then fitted on these, too.
    options : ExtractionOptions
    config : ComparisonConfig
    calibrate : bool, default=False
    cache : Path or None
    on_error, show_progress, progress
        As for :func:`featx.workflows.compare.compare_tables`.

    Raises
    ------
    ComparisonError
        Labels that cannot be split into folds.
    OptionError
        Quantities were to be calibrated.
    """
    if on_error not in ("skip", "raise"):
        raise OptionError(f"on_error={on_error!r}: expected 'skip' or 'raise'.")
    config, baselines = _checked(prepare_table(table, None, []), config, calibrate)
    comparison = compare_tables(
        table, [options], config, cache=cache, on_error=on_error, show_progress=show_progress, progress=progress
    )
    best = next(baseline for baseline in baselines if baseline.name == comparison.best_row["estimator"])
    kept = _fitted_on(comparison)
    if progress is not None:
        progress(f"Fitting {best.name} on all {format_count(len(kept), 'image')} …")
    notes = list(comparison.notes)
    y, groups = comparison.y[kept], None if comparison.groups is None else comparison.groups[kept]
    if best.images is None:
        data = Dataset(comparison.backbones[0].rows[kept], y, config.task, groups, config.random_state)
        estimator, chosen = fit_on_all(best, data, tune=config.tune, notes=notes)
        pipeline, rows = _pipeline(options, estimator, config.task, cache), data.X
    else:
        paths = [comparison.paths[row] for row in kept]
        classifier = fine_tuned(options, config.random_state, cache, verbose=show_progress)
        pipeline, chosen = fit_on_images(classifier, paths, y, groups).as_pipeline(), {}
        rows = pipeline[0].transform(paths)
    notes += _notes(best, baselines, comparison, y, has_test=table.splits is not None)
    return Trained(pipeline, rows, y, comparison, _scores(comparison, chosen), notes, groups)


def _checked(table: ImageTable, config: ComparisonConfig, calibrate: bool) -> tuple[ComparisonConfig, list[Baseline]]:
    """Raise for what need not wait for hours of work; return what is asked of the comparison, and the estimators."""
    config = dataclasses.replace(config, task=validate_request(table, config).task)
    wanted = config.estimators or [DEFAULT[config.task]]
    for estimator in wanted.values() if isinstance(wanted, Mapping) else wanted:
        if isinstance(estimator, FineTunedClassifier):
            raise OptionError(
                f"estimators: a FineTunedClassifier is none to choose among here. Name {FINE_TUNE!r}, which has its "
                "defaults; or fit it yourself, and pass its as_pipeline() to save_pipeline."
            )
    baselines = as_baselines(wanted, config.task, config.random_state)
    for baseline in baselines:
        if not baseline.is_builtin and baseline.images is None:
            check_savable(baseline.make(_FEW), config.task)
    if calibrate:
        _check_calibrated(table, config, baselines)
        baselines = [dataclasses.replace(baseline, is_calibrated=True) for baseline in baselines]
    # What is fitted on images is given them where it is called by this name.
    estimators = {one.name: one if one.images is None else FINE_TUNE for one in baselines}
    return dataclasses.replace(config, estimators=estimators), baselines


def _check_calibrated(table: ImageTable, config: ComparisonConfig, baselines: Sequence[Baseline]) -> None:
    """Raise if nothing can be calibrated: duplicates, which are not known yet, may still divide too little."""
    if config.task != "classification":
        raise OptionError("calibrate: quantities have no probabilities. Leave it (--calibrate) out.")
    if any(baseline.images is not None for baseline in baselines):
        raise OptionError(f"calibrate: probabilities of {FINE_TUNE} are the network's own. Leave it out.")
    y = validate_labels(as_array(table.labels), config.task)
    groups = None if config.groups == "none" else given_groups(table)
    folds = Task(table, y, config).split(groups).folds
    for rows in (*(train for train, _ in folds), _of_known_classes(y, folds)):
        check_calibration(y[rows], None if groups is None else groups[rows])


def _fitted_on(comparison: ImageComparison) -> IntArray:
    """Return the images that the model is fitted on: all but those of classes that the comparison left out."""
    if comparison.task != "classification":
        return np.arange(len(comparison.y))
    return _of_known_classes(comparison.y, comparison.backbones[0].comparison.split.folds)


def _of_known_classes(y: np.ndarray[Any, Any], folds: Sequence[Fold]) -> IntArray:
    """Return the rows of classes of which some row is in a fold."""
    took_part = np.unique(np.concatenate([rows for fold in folds for rows in fold]))
    return np.flatnonzero(np.isin(y, np.unique(y[took_part])))


def _notes(
    best: Baseline,
    baselines: Sequence[Baseline],
    comparison: ImageComparison,
    y: np.ndarray[Any, Any],
    *,
    has_test: bool,
) -> list[str]:
    """Return how what is fitted differs from what was scored."""
    notes = []
    if len(baselines) > 1:
        names = ", ".join(baseline.name for baseline in baselines)
        notes.append(f"{best.name} was chosen among {names} by these scores: expect slightly less than its own.")
    if best.is_calibrated and best.name == "centroid":
        notes.append(
            "Calibrated, centroid labels by its probabilities, not by the nearest mean, often less accurately: "
            "compare its score with that of a model without calibrate (--calibrate)."
        )
    if has_test:
        notes.append("It was scored on the test images, fitted on the others; the model is fitted on all of them.")
    if comparison.task == "classification":
        scored = np.unique(comparison.backbones[0].comparison.y)
        if unscored := np.setdiff1d(y, scored).tolist():
            notes.append(
                f"{format_count(len(unscored), 'class')} without a test image, so not scored: {format_list(unscored)}."
            )
    return notes


def _pipeline(options: ExtractionOptions, estimator: Any, task: str, cache: Path | None) -> Pipeline:
    from sklearn.pipeline import Pipeline

    from featx.extraction.feature_extractor import FeatureExtractor

    parameters = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    extractor = FeatureExtractor(**parameters, cache=cache).fit([])
    return Pipeline([("features", extractor), ("classifier" if task == "classification" else "regressor", estimator)])


def _scores(comparison: ImageComparison, chosen: dict[str, Any]) -> dict[str, Any]:
    row, metric = comparison.best_row, METRICS[comparison.task][0]
    columns = {"mean": f"{metric}_mean", "std": f"{metric}_std", "low": "low", "high": "high"}
    found = {
        "estimator": str(row["estimator"]),
        "metric": metric,
        **{name: float(row[column]) if np.isfinite(row[column]) else None for name, column in columns.items()},
        "split": comparison.backbones[0].comparison.split.description,
    }
    return found | ({"best_params": chosen} if chosen else {})
