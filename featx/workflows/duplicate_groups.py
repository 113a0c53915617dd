"""Splits that keep duplicates together, and the notes that report it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.registry import NetworkBackbone, load_backbone
from featx.baselines.folds.make_split import make_split
from featx.baselines.folds.split import Split
from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError
from featx.extraction.options import ExtractionOptions
from featx.system.array_types import IntArray
from featx.system.formatting import format_count, shorten
from featx.workflows.config import ComparisonConfig, folds_or_test_split, user_groups
from featx.workflows.feature_sets import ReadableImages
from featx.workflows.image_duplicates import ImageDuplicates, find_image_duplicates

if TYPE_CHECKING:
    import pandas as pd

_REMEDY = (
    "Set duplicate_groups=False (--no-duplicate-groups) to split duplicates at random, which makes scores too high, or "
    "duplicate_threshold=1 (--duplicate-threshold 1) to keep only images of equal features together."
)


@dataclasses.dataclass(frozen=True)
class GroupedSplit:
    """A split that divides no group.

    Attributes
    ----------
    duplicates : ImageDuplicates
    groups : ndarray of int of shape (n_samples,), or None
        Images of one group are on the same side of every fold. None: each image is a group.
    split : Split
    """

    duplicates: ImageDuplicates
    groups: IntArray | None
    split: Split


def duplicate_detector(options: Sequence[ExtractionOptions]) -> ExtractionOptions:
    """Return the options of the features that detect near-duplicates.

    They are those of the first neural network, with its default layer and average pooling, for which the threshold was
    measured. So duplicates do not depend on the layers, poolings and augmentations that are compared.
    """
    networks = [option for option in options if isinstance(load_backbone(option.backbone), NetworkBackbone)]
    if not networks:
        return options[0]
    return dataclasses.replace(networks[0], layer=None, pooling="avg", tta=None)


def make_configured_split(table: ImageTable, y: np.ndarray[Any, Any], config: ComparisonConfig, groups: Any) -> Split:
    """Return the split that a configuration describes, with the given groups kept whole."""
    return make_split(
        y,
        task=config.task,
        cv=folds_or_test_split(table, config),
        repeats=config.repeats,
        groups=groups,
        random_state=config.random_state,
    )


def split_with_groups(
    images: ReadableImages,
    y: np.ndarray[Any, Any],
    config: ComparisonConfig,
    notes: list[str],
    *,
    find: Callable[..., ImageDuplicates] | None = None,
) -> GroupedSplit:
    """Find duplicates, and split the images so that neither duplicates nor the groups of the user are divided.

    If most images are near-duplicates of each other, only images of equal features are kept together, with a note.

    Parameters
    ----------
    images : ReadableImages
    y : ndarray of shape (n_samples,)
    config : ComparisonConfig
    notes : list of str
        Receives the notes.
    find : callable or None, default=None
        Function of a threshold that finds duplicates. None: :func:`find_image_duplicates`.

    Raises
    ------
    ComparisonError
        If no split is possible with these groups.
    """
    table, given_groups = images.table, user_groups(images.table)
    find = find or functools.partial(find_image_duplicates, table.paths, images.duplicate_features, images.digests, y)
    duplicates = find(threshold=config.duplicate_threshold)
    if not config.duplicate_groups:
        return GroupedSplit(duplicates, given_groups, make_configured_split(table, y, config, given_groups))
    if duplicates.duplicates.centered:
        notes.append(
            "Most images have similar features. Near-duplicates were detected in features centered on their mean."
        )
    largest = int(np.bincount(duplicates.groups).max())
    if largest > len(table) / 2 and table.splits is None:
        notes.append(
            f"{largest:,} of {len(table):,} images are near-duplicates of each other, which leaves too few groups to "
            "split. Only images of equal features are kept together: if the others show the same thing, scores are "
            "too high."
        )
        duplicates = find(threshold=1.0)
    if not len(duplicates):
        return GroupedSplit(duplicates, given_groups, make_configured_split(table, y, config, given_groups))
    groups = duplicates.groups if given_groups is None else duplicates.merge_with(given_groups)
    try:
        return GroupedSplit(duplicates, groups, make_configured_split(table, y, config, groups))
    except ComparisonError as error:
        reason = _describe_merged_groups(table, duplicates, given_groups, groups) or str(error)
        raise ComparisonError(f"{reason} {images.pixel_note or _REMEDY}") from error


def _describe_merged_groups(
    table: ImageTable, duplicates: ImageDuplicates, given_groups: IntArray | None, groups: IntArray
) -> str:
    """Return why duplicates leave too few groups: all are equal, or they merge groups. "": for another reason."""
    n_groups = len(np.unique(groups))
    if given_groups is None and table.splits is not None:
        is_test = np.array([split == "test" for split in table.splits])
        if np.isin(groups[~is_test], groups[is_test]).all():
            return "All training images are near-duplicates of test images, which leaves none to train on."
    if given_groups is None and n_groups == 1:
        return f"All {len(groups):,} images are near-duplicates of each other, which leaves nothing to split."
    if given_groups is None or n_groups == len(np.unique(given_groups)):
        return ""
    rows = next(cluster.rows for cluster in duplicates.clusters if len(np.unique(given_groups[cluster.rows])) > 1)
    first = rows[0]
    second = next(row for row in rows if given_groups[row] != given_groups[first])
    return (
        f"Duplicates in different groups, such as {shorten(table.paths[first])} and "
        f"{shorten(table.paths[second])}, merge {len(np.unique(given_groups)):,} groups into {n_groups:,}, which are "
        "too few to split these labels."
    )


def duplicate_notes(
    table: ImageTable,
    config: ComparisonConfig,
    duplicates: ImageDuplicates,
    *,
    ungrouped_scores: pd.DataFrame | None,
    ungrouped_settings: str,
    best_estimator: str,
) -> list[str]:
    """Return notes on the number of duplicates, how they were split, and how that changed the score.

    Parameters
    ----------
    table : ImageTable
    config : ComparisonConfig
    duplicates : ImageDuplicates
    ungrouped_scores : pandas.DataFrame or None
        Columns ``estimator`` and ``mean``: scores of splits that divide duplicates.
    ungrouped_settings : str
        How these scores were computed, if unlike the others.
    best_estimator : str
    """
    if not len(duplicates):
        return []
    notes = [f"{duplicates.describe()}. {_describe_handling(table, config)}".rstrip()]
    if ungrouped_scores is not None and best_estimator in ungrouped_scores["estimator"].tolist():
        score = ungrouped_scores.set_index("estimator")["mean"][best_estimator]
        metric = METRIC_NAMES[METRICS[config.task][0]]
        settings = f" ({ungrouped_settings})" if ungrouped_settings else ""
        notes.append(f"If duplicates were ignored, {best_estimator} would have {metric} {score:.3f}{settings}.")
    if config.task == "classification" and duplicates.conflicting:
        path_by_label: dict[Any, str] = {}
        for row in duplicates.conflicting[0].rows:
            path_by_label.setdefault(table.labels[row], table.paths[row])
        examples = [f"{shorten(path)} ({shorten(str(label))})" for label, path in path_by_label.items()][:3]
        number = format_count(len(duplicates.conflicting), "group")
        notes.append(f"{number} of duplicates with different labels, such as {', '.join(examples)}.")
    return notes


def _describe_handling(table: ImageTable, config: ComparisonConfig) -> str:
    """Return how duplicates were split, if nothing else notes it."""
    if config.duplicate_groups:
        if table.splits is None:
            return "Duplicates are kept on the same side of every split."
        return ""  # the folds note how many training images were dropped
    if table.splits is None:
        return "Duplicates were split at random (duplicate_groups=False): scores may be too high."
    return "Training images that duplicate a test image were kept (duplicate_groups=False): scores may be too high."
