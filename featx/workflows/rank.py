"""Rank backbones, layers and poolings for labeled images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from featx.baselines.estimators import TaskOption
from featx.baselines.ranking.rank_features import count_classes, rank_matrices
from featx.baselines.ranking.ranking import Ranking
from featx.datasets.failures import Failure
from featx.datasets.image_table import ImagesLike, ImageTable, LabelsLike
from featx.datasets.labels import validate_labels
from featx.errors import ComparisonError, notes_on_errors
from featx.extraction.options import ExtractionOptions, Resolved, check_on_error, resolve_cache
from featx.features.duplicates.find import DUPLICATE_THRESHOLD
from featx.system.formatting import format_count
from featx.system.option_checks import as_list
from featx.system.terminal.progress import ProgressFunction, reporting
from featx.workflows.config import ComparisonConfig, validate_request
from featx.workflows.duplicate_groups import duplicate_detector, split_with_groups
from featx.workflows.feature_sets import as_extraction_options, backbone_names, extract_readable, unique_recipes
from featx.workflows.image_duplicates import ImageDuplicates
from featx.workflows.labeled_images import as_image_table, label_column, prepare_table
from featx.workflows.result_output import failures_dict


@dataclasses.dataclass(frozen=True)
class ImageRanking(Ranking):
    """Backbones, layers and poolings, ranked by how well their features predict the labels of images.

    Attributes
    ----------
    table, task, n_rows, n_classes, notes
        See :class:`featx.Ranking`.
    failures : list of Failure
        Images that could not be read.
    duplicates : ImageDuplicates
        Duplicates and near-duplicates.
    n_computed : int
        Number of feature rows that were not cached.

    See Also
    --------
    rank_images : Rank backbones on labeled images without training classifiers.
    Ranking : The same for feature matrices.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import find_images, rank_images, write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     images = find_images(folder).select(range(0, 500, 20))
    ...     ranking = rank_images(images, backbones=["color_histogram"], cache=None)
    >>> ranking.table[["name", "features"]].to_dict(orient="records")
    [{'name': 'color_histogram', 'features': 512}]
    """

    failures: list[Failure]
    duplicates: ImageDuplicates
    n_computed: int
    _noun: ClassVar[str] = "image"

    def as_dict(self) -> dict[str, Any]:
        """Return the ranking as JSON values, as ``featx rank --json`` prints it."""
        return {
            **super().as_dict(),
            "computed": self.n_computed,
            "duplicates": {"images": self.duplicates.duplicates.n_rows, "groups": len(self.duplicates)},
            **failures_dict(self.failures),
        }


def rank_images(
    images: ImagesLike,
    y: LabelsLike | None = None,
    *,
    backbones: Sequence[Any] = ("mobilenet",),
    task: TaskOption = "auto",
    groups: LabelsLike | None = None,
    duplicate_groups: bool = True,
    duplicate_threshold: float = DUPLICATE_THRESHOLD,
    cache: str | os.PathLike[str] | None = "auto",
    on_error: Literal["skip", "raise"] = "skip",
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ImageRanking:
    """Rank backbones, layers and poolings for labeled images, without fitting estimators.

    Parameters
    ----------
    images : ImageTable, array-like of shape (n_samples,), Series, table or iterable of images
        Images as :class:`FeatureExtractor` takes them, or the result of
        :func:`find_images`. Images of its test split do not take part.
    y : array-like of shape (n_samples,), Series, iterable or None, default=None
        Class label, tags or continuous target of each image. Images whose label is None or NaN are excluded, and a note
        reports them. None: the labels of `images`, an ImageTable or a table.
    backbones : sequence of str or FeatureExtractor, default=("mobilenet",)
        Names of backbones, or extractors for other layers, poolings and settings.
    task : {"auto", "classification", "regression", "multilabel"}, default="auto"
        See :func:`compare_baselines`.
    groups : array-like of shape (n_samples,), Series, iterable or None, default=None
        Group of each image, for example a patient. Predictions for an image use no image of its group. None: the
        groups of the table, if it has any.
    duplicate_groups : bool, default=True
        Whether duplicates and near-duplicates form groups, too.
    duplicate_threshold : float, default=0.97
        Minimum cosine similarity of near-duplicates. See :func:`find_duplicates`.
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
    ImageRanking
        See :func:`rank_features` for its criteria.

    Raises
    ------
    ComparisonError
        If labels or groups do not allow a ranking.
    OptionError
        If a backbone does not exist, or another option is invalid.
    UnreadableImageError
        If an image cannot be read, with ``on_error="raise"``.

    See Also
    --------
    rank_features : Rank feature matrices.
    compare_images : Score estimators on the features of each backbone.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import FeatureExtractor
    >>> from featx import write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     paths = sorted(Path(folder).glob("[0-2]/*.png"))[::20]
    ...     y = [path.parent.name for path in paths]
    ...     sizes = [FeatureExtractor("color_histogram", image_size=size) for size in (2, 64)]
    ...     ranking = rank_images(paths, y, backbones=sizes, cache=None)
    >>> ranking.best
    'color_histogram 64×64'
    """
    config = ComparisonConfig(task=task, duplicate_groups=duplicate_groups, duplicate_threshold=duplicate_threshold)
    with reporting(verbose, progress):
        return rank_tables(
            as_image_table(images, y, groups=groups),
            [as_extraction_options(backbone) for backbone in as_list("backbones", backbones)],
            config,
            cache=resolve_cache(cache),
            on_error=on_error,
        )


def rank_tables(
    table: ImageTable,
    options: Sequence[ExtractionOptions],
    config: ComparisonConfig,
    *,
    cache: Path | None,
    on_error: Literal["skip", "raise"] = "skip",
) -> ImageRanking:
    """Rank backbones with settings that are validated already.

    Parameters
    ----------
    table : ImageTable
    options : sequence of ExtractionOptions
        One for each backbone.
    config : ComparisonConfig
        Its task and duplicate settings.
    cache, on_error
        See :func:`rank_images`.
    """
    check_on_error(on_error)
    notes: list[str] = []
    with notes_on_errors(notes):
        table = _exclude_test_images(prepare_table(table, None, notes), notes)
        config = validate_request(table, config)
        notes += filter(None, [config.task_note])
        resolved = unique_recipes([option.resolve() for option in options], notes)
        detector = duplicate_detector(options).resolve()
        images = extract_readable(table, resolved, detector, notes, cache=cache, on_error=on_error)
        y = validate_labels(label_column(images.table.labels), config.task)
        grouped = split_with_groups(images, y, config, notes)
        duplicates = grouped.duplicates
        ranking, kept = rank_matrices(
            list(zip(_describe_backbones(resolved), [features.rows for features in images.feature_sets], strict=True)),
            y,
            task=config.task,
            groups=grouped.groups,
            duplicate_groups=duplicates.groups if config.duplicate_groups and len(duplicates) else None,
            notes=notes,
        )
        if len(duplicates):
            notes.append(f"{duplicates.describe()}. {_describe_handling(config)}")
        return ImageRanking(
            table=ranking,
            task=config.task,
            n_rows=len(kept),
            n_classes=count_classes(y[kept], config.task),
            notes=notes,
            failures=images.failures,
            duplicates=duplicates,
            n_computed=sum(features.n_computed for features in images.feature_sets),
        )


def _describe_backbones(resolved: Sequence[Resolved]) -> list[dict[str, str]]:
    """Return the leading columns of the ranking for each backbone."""
    return [
        {
            "name": name,
            "backbone": backbone.backbone.name,
            "layer": backbone.recipe.layer,
            "pooling": backbone.recipe.pooling,
        }
        for name, backbone in zip(backbone_names(resolved), resolved, strict=True)
    ]


def _describe_handling(config: ComparisonConfig) -> str:
    if config.duplicate_groups:
        return "Ridge and kNN predict no image from its duplicates; LogME and H-score use one image of each group."
    return "Images are predicted from their duplicates (duplicate_groups=False): scores may be too high."


def _exclude_test_images(table: ImageTable, notes: list[str]) -> ImageTable:
    """Return the training images: a test set that chose the backbone would no longer be one."""
    if table.splits is None:
        return table
    table = table.select([row for row, split in enumerate(table.splits) if split == "train"])
    if not len(table):
        raise ComparisonError("Cannot rank backbones: there are no training images. Add some, or remove the splits.")
    notes.append(f"Test images stay unseen: only the training split is used ({format_count(len(table), 'image')}).")
    return dataclasses.replace(table, splits=None)
