"""Compare baselines on features that are extracted already."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from featx.baselines.estimators import ZERO_SHOT, EstimatorsLike, TaskOption
from featx.baselines.scaling.limits import ScaleLimits
from featx.datasets.image_table import ImageTable, LabelsLike
from featx.datasets.labels import validate_labels
from featx.datasets.source_options import check_separator
from featx.datasets.tables.frames import images_of_features
from featx.datasets.tags import Tags, split_tags
from featx.errors import ComparisonError, OptionError, notes_on_errors
from featx.extraction.options import ExtractionOptions, resolve_cache
from featx.extraction.recorded import resolve_with_recipe
from featx.features.duplicates.find import DUPLICATE_THRESHOLD, Duplicates, find_equal_rows
from featx.features.matrix import FeatureMatrix, incomplete_notes
from featx.features.open import open_features
from featx.features.selected_rows import SelectedRows, join_features
from featx.models.zero_shot.prompts import PromptsLike
from featx.system.array_types import AnyArray, DigestArray, IntArray
from featx.system.formatting import format_count
from featx.system.terminal.progress import ProgressFunction, reporting
from featx.workflows.compare import summarize
from featx.workflows.config import ComparisonConfig, user_groups, validate_request
from featx.workflows.duplicate_groups import GroupedSplit, make_configured_split, split_with_groups
from featx.workflows.experiment import BackboneComparison, Experiment
from featx.workflows.feature_sets import FeatureSet, ReadableImages
from featx.workflows.image_duplicates import ImageDuplicates, classify_duplicates, find_image_duplicates
from featx.workflows.image_estimators import bind_texts, check_feature_estimators, uses_texts, validate_zero_shot
from featx.workflows.labeled_images import as_image_table, label_column, prepare_rows
from featx.workflows.result import ImageComparison
from featx.workflows.stored.stored_backbone import stored_backbone

_DIGEST_BYTES = 16
#: Number of rows up to which near-duplicates are searched for. 300,000 take about two minutes on two cores, and a
#: million twenty.
MAX_SEARCHED_ROWS = 300_000


def compare_features(
    features: str | os.PathLike[str] | FeatureMatrix,
    y: LabelsLike | None = None,
    *,
    label_separator: str | None = None,
    estimators: EstimatorsLike | None = None,
    task: TaskOption = "auto",
    cv: int | None = None,
    repeats: int = 1,
    test: str | os.PathLike[str] | FeatureMatrix | None = None,
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
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ImageComparison:
    """Compare baselines on features that are extracted already.

    The features of more than 100,000 images or 1 GB are read in blocks, see the Notes of :func:`compare_baselines`.

    Parameters
    ----------
    features : str, Path or FeatureMatrix
        Folder or URL of a job, or path of a feature file, as for :func:`open_features`. Only rows of done shards
        take part.
    y : array-like of shape (n_rows,), Series, iterable or None, default=None
        Class label or continuous target of each row. None: the labels of the job or of the table next to the file.
    label_separator : str or None, default=None
        Separator of tags in the labels of the table, such as ";". An image may have several or none. None: one label.
    estimators : sequence, mapping or None, default=None
        See :func:`compare_baselines`.
    task : {"auto", "classification", "regression", "multilabel"}, default="auto"
        See :func:`compare_baselines`.
    cv : int or None, default=None
        Number of folds. None: 5, unless there is a test split.
    repeats : int, default=1
        Number of times that cross-validation is repeated with other shuffles.
    test : str, Path, FeatureMatrix or None, default=None
        Features of the test split with their labels, of the same recipe. None: `test_mask`.
    test_mask : array-like of bool of shape (n_rows,), Series, iterable or None, default=None
        Whether each row belongs to the test split. None: the splits with which the rows were extracted, if any.
    groups : array-like of shape (n_rows,), Series, iterable or None, default=None
        Group of each row, for example a patient. Rows of one group are never split between training and test set.
        None: the groups with which the rows were extracted, if any.
    duplicate_groups : bool, default=True
        Whether to keep duplicates and near-duplicates on the same side of every split, too. Of more than 300,000 rows,
        only those of equal features, with a note: a search of near-duplicates among a million takes twenty minutes.
    duplicate_threshold : float, default=0.97
        Minimum cosine similarity of near-duplicates. See :func:`find_duplicates`.
    tune : bool, default=False
        Whether to tune the parameters of named estimators by nested cross-validation.
    diagnostics : bool, default=True
        Whether to compute a learning curve, and to search for label errors even if logistic regression is not compared.
    random_state : int, default=0
        Seed of the shuffles and of random estimators.
    n_jobs : int or None, default=-1
        Number of folds or threads to compute in parallel. -1: one per CPU core.
    time_limit : float or None, default=None
        Minutes for all estimators. Those that cannot finish are excluded, with a note. None: no limit.
    exact : bool, default=False
        Whether estimators are those of small comparisons for any number of rows, see :func:`compare_baselines`.
    prompts : str, Path, sequence of str, dict or None, default=None
        Texts for ``"zero-shot"``: templates, texts for each class, or a file. See :class:`ZeroShotClassifier`. The
        features must record their backbone, as those of a job and a ``.parquet`` file do.
    cache : str, Path or None, default="auto"
        Path of the feature cache, which keeps the rows of texts. See :class:`FeatureExtractor`.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    ImageComparison
        Scores, duplicates, diagnostics and notes, as from :func:`compare_images`.

    Raises
    ------
    ComparisonError
        If there are no labels, they cannot be split into folds, or a feature is not finite.
    OptionError
        If an estimator does not exist, or another option is invalid.
    FeaturesNotFoundError
        If there is no feature file or job at this path.

    See Also
    --------
    compare_images : Extract features first.
    compare_baselines : The same for an array.
    open_features : Open features to read them.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featx import compare_features
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/iris.npy", X.astype(np.float32))
    >>> comparison = compare_features(f"{folder.name}/iris.npy", y, estimators=["dummy", "lda"], duplicate_groups=False)
    >>> comparison.best
    'lda'
    >>> folder.cleanup()
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
    check_feature_estimators(config)
    with reporting(verbose, progress):
        matrix = _as_matrix("features", features)
        table = _image_table(matrix, has_labels=y is not None, separator=label_separator)
        if test_mask is not None or groups is not None or y is not None:
            table = as_image_table(table, y, groups=groups, test_mask=test_mask)
        test_matrix = None if test is None else _as_matrix("test", test)
        return _compare(matrix, test_matrix, table, config, resolve_cache(cache))


def _image_table(matrix: FeatureMatrix, *, has_labels: bool, separator: str | None) -> ImageTable:
    """Return path, label, split and group of each row; its number instead of the path if the file has no table."""
    if separator is not None:
        check_separator(separator)
    if not matrix.has_table:
        if not has_labels:
            raise ComparisonError(
                f"Cannot compare baselines on {matrix.address!r}: it has no table next to it, and therefore no labels. "
                "Pass y from Python, or put the .csv file of the extraction next to it."
            )
        return ImageTable([f"row {row}" for row in range(len(matrix))], [None] * len(matrix))
    table = images_of_features(matrix)
    if separator is None:
        return table
    labels = [
        label if isinstance(label, Tags) else split_tags("" if label is None else str(label), separator)
        for label in table.labels
    ]
    return dataclasses.replace(table, labels=labels)


def _as_matrix(name: str, features: object) -> FeatureMatrix:
    if isinstance(features, FeatureMatrix):
        return features
    if not isinstance(features, str | os.PathLike):
        raise OptionError(
            f"{name} must be the path of a job or of a feature file, or a FeatureMatrix, got "
            f"{type(features).__name__}. For an array, use compare_baselines(X, y)."
        )
    return open_features(os.fspath(features))


def _compare(
    matrix: FeatureMatrix, test: FeatureMatrix | None, table: ImageTable, config: ComparisonConfig, cache: Path | None
) -> ImageComparison:
    started = time.perf_counter()
    notes: list[str] = []
    with notes_on_errors(notes):
        _check_labels(matrix, table)
        test_table = None if test is None else _test_images(test, notes)
        matrix = matrix if test is None else join_features(matrix, test)
        prepared, rows = prepare_rows(table, test_table, notes)
        config = validate_request(prepared, config)
        notes += filter(None, [config.task_note])
        notes += _describe_missing(matrix)
        images = _as_images(matrix, prepared, rows, exact=config.exact)
        y = validate_labels(label_column(prepared.labels), config.task)
        grouped = _split(images, y, config, notes)
        experiment = Experiment(prepared, y, config, grouped)
        backbone = stored_backbone(matrix)
        features = images.feature_sets[0].rows
        comparison = experiment.compare(features, _bind(matrix, config, y, cache, notes))
        compared = BackboneComparison(backbone.backbone.name, backbone, features, comparison, 0, 0.0)
        return summarize(experiment, images, [compared], notes, cache=None, started=started)


def _test_images(test: FeatureMatrix, notes: list[str]) -> ImageTable:
    """Return label and group of each test row."""
    if not test.has_table:
        raise ComparisonError(
            f"The test features {test.address!r} have no labels: there is no table next to them. Put the .csv file of "
            "the extraction next to them."
        )
    if test.recipe is None:
        notes.append(f"{test.address!r} does not record its backbone, which must be that of the training features.")
    return images_of_features(test)


def _bind(
    matrix: FeatureMatrix, config: ComparisonConfig, y: AnyArray, cache: Path | None, notes: list[str]
) -> EstimatorsLike | None:
    """Return the estimators, with zero-shot classification bound to texts by the recorded backbone."""
    if not uses_texts(config):
        validate_zero_shot(config, [], y)
        return config.estimators
    if matrix.recipe is None:
        raise OptionError(
            f"{ZERO_SHOT} needs to know the backbone, which {matrix.address!r} does not record. Compare a job or a "
            ".parquet file of featx extract, or the images (featx compare photos/)."
        )
    resolved = resolve_with_recipe(ExtractionOptions(**(matrix.options or {})), matrix.recipe)
    notes += validate_zero_shot(config, [resolved], y)
    return bind_texts(config, resolved, y, cache)


def _describe_missing(matrix: FeatureMatrix) -> list[str]:
    """Return notes on images without features."""
    notes = incomplete_notes(matrix, "are compared")
    if matrix.has_table and matrix.n_failed:
        notes.append(f"{format_count(matrix.n_failed, 'unreadable image')} have no features.")
    return notes


def _split(images: ReadableImages, y: AnyArray, config: ComparisonConfig, notes: list[str]) -> GroupedSplit:
    """Return a split that keeps duplicates together. They are not searched for if they may be split."""
    if config.duplicate_groups:
        features, table = images.duplicate_features, images.table
        if len(y) > MAX_SEARCHED_ROWS:
            notes.append(
                f"Near-duplicates were not searched for among {len(y):,} rows, as the time grows with the square of "
                "their number. Rows of equal features are kept together. To keep near-duplicates together too, use "
                "compare_features(features, groups=find_duplicates(features).groups) in Python."
            )
            equal = classify_duplicates(find_equal_rows(features), table.paths, images.digests, y, max_decoded=0)
            return split_with_groups(images, y, config, notes, find=lambda threshold: equal)
        find = functools.partial(find_image_duplicates, table.paths, features, images.digests, y, max_decoded=0)
        return split_with_groups(images, y, config, notes, find=find)
    groups, n_rows = user_groups(images.table), len(y)
    none = Duplicates(np.arange(n_rows), np.full(n_rows, np.nan, dtype=np.float32), config.duplicate_threshold)
    split = make_configured_split(images.table, y, config, groups)
    return GroupedSplit(ImageDuplicates(none, [], 0, 0, images.table.paths), groups, split)


def _check_labels(matrix: FeatureMatrix, table: ImageTable) -> None:
    """Raise an error if no row can take part."""
    splits = table.splits or ["train"] * len(table)
    if not any(label is not None and split is not None for label, split in zip(table.labels, splits, strict=True)):
        raise ComparisonError(
            f"Cannot compare baselines on {matrix.address!r}: no row has a label. Pass y from Python, or extract "
            "with labels (a folder per class, or a table with a label column)."
        )


def _as_images(matrix: FeatureMatrix, table: ImageTable, rows: IntArray, *, exact: bool) -> ReadableImages:
    """Return the rows that take part as if they had just been extracted; many of them stay on disk."""
    features: Any = matrix if len(rows) == len(matrix) else SelectedRows(matrix, rows)
    if exact or not ScaleLimits().is_out_of_core(features.shape, itemsize=features.dtype.itemsize):
        features = np.asarray(features)
    digests = _digests(matrix, rows)
    failures = list(matrix.failures) if matrix.has_table else []
    extracted = FeatureSet(features, digests, failures, [], 0, 0.0)
    return ReadableImages(table, [extracted], features, digests, failures)


def _digests(matrix: FeatureMatrix, rows: IntArray) -> DigestArray:
    """Return the digest of each row; where it is not recorded, a number that no other row has."""
    digests = np.zeros((len(rows), _DIGEST_BYTES), dtype=np.uint8)
    recorded = matrix.metadata(rows, ["digest"])["digest"] if matrix.has_table else [""] * len(rows)
    for position, digest in enumerate(recorded):
        value = bytes.fromhex(digest) if digest else position.to_bytes(_DIGEST_BYTES, "big")
        digests[position] = np.frombuffer(value, dtype=np.uint8)
    return digests
