"""Duplicates, and the groups that a user gave, kept on one side of every split; and what is said about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.registry import NetworkBackbone, load_backbone
from featx.baselines.folds.split import Split
from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.datasets.image_table import ImageTable
from featx.errors import ComparisonError
from featx.extraction.options import ExtractionOptions
from featx.system.array_types import DigestArray, FloatArray, IntArray
from featx.system.formatting import format_count, shorten
from featx.workflows.image_duplicates import ImageDuplicates, find_image_duplicates
from featx.workflows.request import ComparisonConfig, Task, given_groups

if TYPE_CHECKING:
    import pandas as pd


#: Of more images than this, scores with duplicates ignored are those of so many folds: they cost as much as the others.
MANY, N_FOLDS_OF_MANY = 5000, 2


def duplicate_detector(options: Sequence[ExtractionOptions]) -> ExtractionOptions:
    """Return the network whose features tell duplicates: the first one, averaged over its default layer.

    That is what the thresholds were measured with; which layers, poolings and views are compared makes no
    difference.
    """
    networks = [one for one in options if isinstance(load_backbone(one.backbone), NetworkBackbone)]
    if not networks:
        return options[0]
    return dataclasses.replace(networks[0], layer=None, pooling="avg", tta=None)


def split_with_groups(
    task: Task, rows: FloatArray, digests: DigestArray, notes: list[str]
) -> tuple[ImageDuplicates, Any, Split]:
    """Return the duplicates, the groups that keep them, and what was asked for, on one side of every split, and that.

    Where that leaves nothing to split, only equal images are kept together, and the given groups; which is noted.
    """
    table, config = task.table, task.config
    duplicates = find_image_duplicates(table.paths, rows, digests, task.y, threshold=config.duplicate_threshold)
    if config.groups == "none":
        return duplicates, None, task.split(None)
    if duplicates.duplicates.centered:
        notes.append(
            "By these features most images are alike: near-duplicates were told by what distinguishes each from the "
            "mean of all."
        )
    largest = int(np.bincount(duplicates.groups).max())
    if largest > len(table) / 2 and table.splits is None:
        notes.append(
            f"By these features {largest:,} of {len(table):,} images are near-duplicates of each other, too many to "
            "split: only those of equal features are kept on one side. If others show one thing, scores are too high."
        )
        duplicates = find_image_duplicates(table.paths, rows, digests, task.y, threshold=1.0)
    given = given_groups(table)
    if not len(duplicates):
        return duplicates, given, task.split(given)
    groups = duplicates.groups if given is None else duplicates.joined_with(given)
    try:
        return duplicates, groups, task.split(groups)
    except ComparisonError as error:
        raise ComparisonError(
            f"{_joined(table, duplicates, given, groups) or error} Duplicates and near-duplicates are kept on one side "
            "of every split: groups='none' (--no-duplicate-groups) divides them, and what is in one group, and "
            "scores are then "
            "too high; duplicate_threshold=1 (--duplicate-threshold 1) keeps equal images together only."
        ) from error


def _joined(table: ImageTable, duplicates: ImageDuplicates, given: IntArray | None, groups: IntArray) -> str:
    """Return how many of the given groups duplicates join to how few, with an example; "" if they join none."""
    if given is None or len(np.unique(groups)) == len(np.unique(given)):
        return ""
    across = next(of.rows for of in duplicates.clusters if len(np.unique(given[of.rows])) > 1)
    first, second = across[0], next(at for at in across if given[at] != given[across[0]])
    return (
        "Images of different groups show the same or nearly the same, such as "
        f"{shorten(table.paths[first])} and {shorten(table.paths[second])}: that joins "
        f"{len(np.unique(given)):,} groups to {len(np.unique(groups)):,}, too few to split these labels."
    )


def ungrouped_settings(config: ComparisonConfig, n_images: int) -> str:
    """Return how scores with duplicates ignored were computed otherwise than the others, for people."""
    ways = ["untuned"] if config.tune else []
    ways += ["in one repetition"] if config.repeats > 1 else []
    ways += [f"on {N_FOLDS_OF_MANY} folds"] if n_images > MANY else []
    return ", ".join(ways)


def duplicate_notes(
    table: ImageTable,
    config: ComparisonConfig,
    duplicates: ImageDuplicates,
    ungrouped_scores: pd.DataFrame | None,
    best: str,
) -> list[str]:
    """Return what is to be said about duplicates: how many there are, what was done, and what it changed."""
    if not len(duplicates):
        return []
    if config.groups == "none" and table.splits is not None:
        kept = "Training images that show what a test image shows were kept, as asked: scores may be too high."
    elif config.groups == "none":
        kept = "They were split at random, as asked: scores may be too high."
    elif table.splits is not None:
        kept = "Training images that show what a test image shows were left out."
    else:
        kept = "They are kept on one side of every split."
    notes = [f"{duplicates.words}. {kept}"]
    if ungrouped_scores is not None and best in ungrouped_scores["estimator"].tolist():
        score = ungrouped_scores.set_index("estimator")["mean"][best]
        name = METRIC_NAMES[METRICS[config.task][0]]
        how = f" ({ungrouped_settings(config, len(table))})" if ungrouped_settings(config, len(table)) else ""
        notes.append(f"Had duplicates been ignored, {best} would have had {name} {score:.3f}{how}.")
    conflicting = duplicates.conflicting if config.task == "classification" else []
    if conflicting:
        of_label: dict[Any, str] = {}
        for at in conflicting[0].rows:
            of_label.setdefault(table.labels[at], table.paths[at])
        shown = [f"{shorten(path)} ({shorten(str(label))})" for label, path in list(of_label.items())[:3]]
        notes.append(
            f"{format_count(len(conflicting), 'group')} of duplicates with different labels, such as "
            f"{', '.join(shown)}."
        )
    return notes
