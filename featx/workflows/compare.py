"""Compare baselines on the features of labeled images.

Half of the lines of `compare_images` list its parameters and pass them on.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from featx.baselines.estimators import EstimatorsLike, TaskOption
from featx.baselines.metrics import best_row
from featx.datasets.image_table import ImagesLike, ImageTable, LabelsLike
from featx.datasets.labels import validate_labels
from featx.errors import InputError, notes_on_errors
from featx.extraction.options import ExtractionOptions, check_on_error, resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD
from featx.features.matrix import FeatureMatrix
from featx.models.zero_shot.prompts import PromptsLike
from featx.system.formatting import shorten
from featx.system.option_checks import as_list
from featx.system.terminal.progress import ProgressFunction, describing, reporting
from featx.workflows.config import ComparisonConfig, validate_request
from featx.workflows.duplicate_groups import duplicate_detector, duplicate_notes, split_with_groups
from featx.workflows.experiment import BackboneComparison, Experiment, ExperimentLimits, backbone_of_row, join_tables
from featx.workflows.feature_sets import (
    ReadableImages,
    as_extraction_options,
    backbone_names,
    extract_readable,
    unique_recipes,
)
from featx.workflows.image_estimators import bind_images, bind_texts, validate_image_estimators, validate_zero_shot
from featx.workflows.labeled_images import as_image_table, label_column, prepare_table
from featx.workflows.result import ImageComparison

if TYPE_CHECKING:
    pass


def compare_images(
    images: ImagesLike,
    y: LabelsLike | None = None,
    *,
    backbones: Sequence[Any] = ("mobilenet",),
    estimators: EstimatorsLike | None = None,
    task: TaskOption = "auto",
    cv: int | None = None,
    repeats: int = 1,
    test: ImageTable | FeatureMatrix | None = None,
    test_mask: LabelsLike | None = None,
    groups: LabelsLike | None = None,
    duplicate_groups: bool = True,
    duplicate_threshold: float = DUPLICATE_THRESHOLD,
    tune: bool = False,
    diagnostics: bool = True,
    random_state: int = 0,
    n_jobs: int | None = -1,
    time_limit: float | None = None,
    exact: bool = False,
    prompts: PromptsLike = None,
    cache: str | os.PathLike[str] | None = "auto",
    on_error: Literal["skip", "raise"] = "skip",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ImageComparison:
    """Compare baselines on the features of labeled images.

    The images are extracted with each backbone. Estimators are then scored on the features, by cross-validation or on
    a test split. Duplicates are kept on the same side of every split, so that they do not inflate the scores.

    Parameters
    ----------
    images : ImageTable, array-like of shape (n_samples,), Series, table or iterable of images
        Images as :class:`FeatureExtractor` takes them, or the result of :func:`find_images`.
    y : array-like of shape (n_samples,), Series, iterable or None, default=None
        Class label or continuous target of each image. Images whose label is None or NaN are excluded, and a note
        reports them. None: the labels of `images`, an ImageTable or a table.
    backbones : sequence of str or FeatureExtractor, default=("mobilenet",)
        Names of backbones, or extractors for other layers, poolings and settings.
    estimators : sequence, mapping or None, default=None
        See :func:`compare_baselines`. ``"fine-tune"`` trains the backbone itself, see :class:`FineTunedClassifier`,
        which takes minutes per fold. ``"zero-shot"`` compares images with texts, see :class:`ZeroShotClassifier`.
    task : {"auto", "classification", "regression", "multilabel"}, default="auto"
        See :func:`compare_baselines`.
    cv : int or None, default=None
        Number of folds. None: 5, unless there is a test split.
    repeats : int, default=1
        Number of times that cross-validation is repeated with other shuffles.
    test : ImageTable, FeatureMatrix or None, default=None
        Labeled images of the test split. Those of a FeatureMatrix are the images that it lists.
    test_mask : array-like of bool of shape (n_samples,), Series, iterable or None, default=None
        Whether each of the images belongs to the test split. None: the splits of the table, if it has any.
    groups : array-like of shape (n_samples,), Series, iterable or None, default=None
        Group of each image, for example a patient. Images of one group are never split between training and test set.
        None: the groups of the table, if it has any.
    duplicate_groups : bool, default=True
        Whether to keep duplicates and near-duplicates on the same side of every split, too.
    duplicate_threshold : float, default=0.97
        Minimum cosine similarity of near-duplicates. See :func:`find_duplicates`.
    tune : bool, default=False
        Whether to tune the parameters of named estimators by nested cross-validation.
    diagnostics : bool, default=True
        Whether to compute a learning curve, and to search for label errors even if logistic regression is not compared.
    random_state : int, default=0
        Seed of the shuffles and of random estimators.
    n_jobs : int or None, default=-1
        Number of folds to compute in parallel. -1: one per CPU core.
    time_limit : float or None, default=None
        Minutes for all estimators of all backbones. Those that cannot finish are excluded, with a note; so are the
        diagnostics if no time is left. None: no limit.
    exact : bool, default=False
        Whether kernel machines are exact for any number of images. False: beyond 10,000 images, ``svm`` and ``svr`` are
        approximated, see :func:`compare_baselines`.
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
    ImageComparison
        Scores, duplicates, diagnostics and notes.

    Raises
    ------
    ComparisonError
        If the labels cannot be split into folds. It is raised before any image is read, unless duplicates are the
        reason.
    OptionError
        If a backbone or an estimator does not exist, or another option is invalid.
    UnreadableImageError
        If an image cannot be read, with ``on_error="raise"``.

    See Also
    --------
    compare_baselines : Compare estimators on a feature matrix.
    rank_images : Rank backbones, layers and poolings without fitting estimators.
    train_images : Fit the best estimator on all images.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     paths = sorted(Path(folder).glob("[0-2]/*.png"))[::20]
    ...     y = [path.parent.name for path in paths]
    ...     comparison = compare_images(paths, y, estimators=["dummy", "knn"], cv=3, cache=None)
    >>> comparison.best
    'knn'
    """
    config = ComparisonConfig(
        estimators=estimators,
        task=task,
        cv=cv,
        repeats=repeats,
        duplicate_groups=duplicate_groups,
        duplicate_threshold=duplicate_threshold,
        tune=tune,
        diagnostics=diagnostics,
        random_state=random_state,
        n_jobs=n_jobs,
        time_limit=time_limit,
        exact=exact,
        prompts=prompts,
    )
    if isinstance(test, FeatureMatrix):
        test = as_image_table(test)
    if test is not None and not isinstance(test, ImageTable):
        hint = f"featx.find_images({os.fspath(test)!r})" if isinstance(test, str | os.PathLike) else "featx.find_images"
        raise InputError(f"test must be an ImageTable or None, got {shorten(repr(test))}. Pass the result of {hint}.")
    with reporting(verbose, progress):
        return compare_tables(
            as_image_table(images, y, groups=groups, test_mask=test_mask),
            [as_extraction_options(backbone) for backbone in as_list("backbones", backbones)],
            config,
            test=test,
            cache=resolve_cache(cache),
            on_error=on_error,
        )


def compare_tables(
    table: ImageTable,
    options: Sequence[ExtractionOptions],
    config: ComparisonConfig,
    *,
    test: ImageTable | None = None,
    cache: Path | None,
    on_error: Literal["skip", "raise"] = "skip",
    limits: ExperimentLimits | None = None,
) -> ImageComparison:
    """Compare baselines with settings that are validated already.

    Parameters
    ----------
    table : ImageTable
    options : sequence of ExtractionOptions
        One for each backbone.
    config : ComparisonConfig
    test, cache, on_error
        See :func:`compare_images`.
    limits : ExperimentLimits or None, default=None
    """
    started = time.perf_counter()
    check_on_error(on_error)
    notes: list[str] = []
    with notes_on_errors(notes):
        table = prepare_table(table, test, notes)
        config = validate_request(table, config)
        notes += filter(None, [config.task_note])
        notes += validate_image_estimators(config, options)
        all_resolved = [option.resolve() for option in options]
        options_by_recipe = {backbone.recipe: option for backbone, option in zip(all_resolved, options, strict=True)}
        resolved = unique_recipes(all_resolved, notes)
        notes += validate_zero_shot(config, resolved, validate_labels(label_column(table.labels), config.task))
        detector = duplicate_detector(options).resolve()
        images = extract_readable(table, resolved, detector, notes, cache=cache, on_error=on_error)
        y = validate_labels(label_column(images.table.labels), config.task)
        grouped = split_with_groups(images, y, config, notes)
        experiment = Experiment(images.table, y, config, grouped, limits or ExperimentLimits())
        backbones = []
        for position, (name, backbone, features) in enumerate(
            zip(backbone_names(resolved), resolved, images.feature_sets, strict=True)
        ):
            with_texts = dataclasses.replace(config, estimators=bind_texts(config, backbone, y, cache))
            estimators = bind_images(with_texts, images.table, options_by_recipe[backbone.recipe], cache)
            with describing(name):
                comparison = experiment.compare(features.rows, estimators, share=1 / (len(resolved) - position))
            backbones.append(
                BackboneComparison(name, backbone, features.rows, comparison, features.n_computed, features.seconds)
            )
        return summarize(experiment, images, backbones, notes, cache=cache, started=started)


def summarize(
    experiment: Experiment,
    images: ReadableImages,
    backbones: list[BackboneComparison],
    notes: list[str],
    *,
    cache: Path | None,
    started: float,
) -> ImageComparison:
    """Return the result: the joined table, the diagnostics of the best backbone, and all notes.

    Parameters
    ----------
    experiment : Experiment
    images : ReadableImages
    backbones : list of BackboneComparison
    notes : list of str
        Notes so far.
    cache : Path or None
    started : float
        Time (``time.perf_counter``) at which the comparison began.
    """
    table, config = images.table, experiment.config
    scores = join_tables(backbones)
    row = best_row(scores, config.task)
    best = backbone_of_row(backbones, row)
    notes += _backbone_notes(backbones)
    if experiment.is_time_up():
        notes.append("Diagnostics were skipped: no time of time_limit (--time-limit) was left.")
    ungrouped_scores = experiment.ungrouped_scores(best, notes)
    notes += duplicate_notes(
        table,
        config,
        experiment.grouped.duplicates,
        ungrouped_scores=ungrouped_scores,
        ungrouped_settings=experiment.ungrouped_settings,
        best_estimator=str(scores["estimator"].iloc[row]),
    )
    return ImageComparison(
        table=scores,
        backbones=backbones,
        paths=list(table.paths),
        y=experiment.y,
        failures=images.failures,
        duplicates=experiment.grouped.duplicates,
        ungrouped_scores=ungrouped_scores,
        ungrouped_settings=experiment.ungrouped_settings,
        label_issues=experiment.label_issues(best, notes),
        learning_curve=experiment.learning_curve(best, notes),
        notes=notes,
        groups=experiment.grouped.groups,
        cache=cache,
        seconds=time.perf_counter() - started,
    )


def _backbone_notes(backbones: Sequence[BackboneComparison]) -> list[str]:
    """Return the notes on each backbone with its name, and notes on all of them once."""
    names_by_note: dict[str, list[str]] = {}
    for backbone in backbones:
        for note in backbone.comparison.notes:
            names_by_note.setdefault(note, []).append(backbone.name)
    return [
        note if len(names) == len(backbones) else f"{', '.join(names)}: {note}" for note, names in names_by_note.items()
    ]
