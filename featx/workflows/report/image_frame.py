"""The images of a report: labels, predictions and thumbnails, all by the row of the image in the comparison."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.labels import as_series
from featx.images.thumbnails import MAX_THUMBNAILS, Atlas, make_atlas, make_large_atlas
from featx.system.array_types import IntArray
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import shorten, shorten_middle
from featx.workflows.report.inputs import ReportedBackbone, ReportedComparison, ReportedGroup

if TYPE_CHECKING:
    import pandas as pd

_MAX_LABEL_LENGTH = 30
#: Label of an image that may have several and has none.
_NO_TAGS = "no tags"
_MAX_LARGEST_ERRORS = 24


@dataclasses.dataclass(frozen=True)
class FrameLimits:
    """Maximum numbers of images that sections of the report show."""

    misclassified: int = 24
    label_issues: int = 60
    groups: int = 120
    images_of_group: int = 6
    confusions: int = 20
    thumbnails: int = MAX_THUMBNAILS
    large_thumbnails: int = 150


@dataclasses.dataclass(frozen=True)
class ImageFrame:
    """The images of a report. Every image is identified by its row in the comparison.

    Attributes
    ----------
    result : ReportedComparison
    limits : FrameLimits
    backbone : ReportedBackbone
        Backbone of the best row of the table.
    estimator : str
        Estimator of the best row.
    scored : pandas.DataFrame
        Scored images: columns ``label``, ``predicted`` and ``margin`` (NaN if unknown).
    shown : pandas.DataFrame
        Scored images with a thumbnail, in the order of the thumbnails.
    classes : ndarray or None
        Sorted classes, or combinations of tags; None for regression.
    tiles : dict of int to int
        Number of the thumbnail of each image that has one: the shown ones, then others that are not scored.
    names : list of str
        Name of the image of each thumbnail.
    atlas : Atlas
    large_tiles : dict of int to int
        Number of the larger thumbnail of each image that has one, as `tiles`.
    large_atlas : Atlas
    """

    result: ReportedComparison
    limits: FrameLimits
    backbone: ReportedBackbone
    estimator: str
    scored: pd.DataFrame
    shown: pd.DataFrame
    classes: np.ndarray[Any, Any] | None
    tiles: dict[int, int]
    names: list[str]
    atlas: Atlas
    large_tiles: dict[int, int]
    large_atlas: Atlas

    @property
    def has_test_set(self) -> bool:
        """Whether a single set of images is scored, and others are for training only."""
        return len(self.backbone.comparison.split.folds) == 1

    def is_leak(self, group: ReportedGroup) -> bool:
        """Return whether training and test images share a group of duplicates, if these were not excluded."""
        folds = self.fold_of_row[group.rows]
        if not self.has_test_set:
            folds = folds[folds >= 0]  # images that no fold has are in no training set either
        return len(np.unique(folds)) > 1

    @functools.cached_property
    def fold_of_row(self) -> IntArray:
        """Fold that tests each image, of the first repeat; -1 for images that are never tested."""
        split = self.backbone.comparison.split
        folds = np.full(len(self.result.paths), -1, dtype=np.int64)
        for fold in split.first_repeat:
            folds[split.folds[fold][1]] = fold
        return folds

    @property
    def has_classes(self) -> bool:
        """Whether images have classes, or tags, whose combinations are shown as classes."""
        return self.classes is not None

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, shortened in the middle."""
        return [] if self.classes is None else [self.format_label(label) for label in self.classes]

    def codes(self, images: pd.DataFrame) -> tuple[Any, Any]:
        """Return the class indices of labels and predictions of some images."""
        assert self.classes is not None
        true, predicted = (np.searchsorted(self.classes, images[name].to_numpy()) for name in ("label", "predicted"))
        return true, predicted

    def format_label(self, label: Any) -> str:
        """Return a class name or tags, shortened in the middle, or a number of four digits."""
        return shorten_middle(str(label) or _NO_TAGS, _MAX_LABEL_LENGTH) if self.has_classes else f"{float(label):.4g}"

    def tile(self, row: int, text: str, attribution: str = "", *, is_kept: bool = False) -> dict[str, Any] | None:
        """Return what the template needs to show an image, or None if it has no thumbnail.

        Parameters
        ----------
        row : int
        text : str
            Caption of the image.
        attribution : str, default=""
            Data URL of an attribution map.
        is_kept : bool, default=False
            Whether to mark the image as the one of its group to keep.
        """
        number = self.tiles.get(row)
        if number is None:
            return None
        is_large = row in self.large_tiles
        return {
            "cell": self.large_atlas.cell(self.large_tiles[row]) if is_large else self.atlas.cell(number),
            "is_large": is_large,
            "name": self.names[number],
            "text": text,
            "attribution": attribution,
            "is_kept": is_kept,
        }


def make_image_frame(result: ReportedComparison, limits: FrameLimits) -> ImageFrame:
    """Return the images of a report, with thumbnails of the most important ones."""
    backbone, estimator = result.best_backbone, str(result.best_row["estimator"])
    scored = _scored_images(backbone, estimator)
    classes = None
    if result.task != "regression":  # of several labels, each combination is a class
        classes = np.unique(np.concatenate([backbone.comparison.y, scored["predicted"].to_numpy()]))
    shown = _choose_shown(result, scored, limits)
    pictured = [*shown.index.tolist(), *_rows_not_scored(result, scored, limits)]
    paths = [result.paths[row] for row in pictured]
    large = _rows_to_enlarge(result, scored, limits)
    return ImageFrame(
        result=result,
        limits=limits,
        backbone=backbone,
        estimator=estimator,
        scored=scored,
        shown=shown,
        classes=classes,
        tiles={row: number for number, row in enumerate(pictured)},
        names=[shorten(name) for name in _relative_to_common_folder([redact_secrets(path) for path in paths])],
        atlas=make_atlas(paths),
        large_tiles={row: number for number, row in enumerate(large)},
        large_atlas=make_large_atlas([result.paths[row] for row in large]),
    )


def _scored_images(backbone: ReportedBackbone, estimator: str) -> pd.DataFrame:
    import pandas as pd

    comparison = backbone.comparison
    index = comparison.predictions.index
    margins = comparison.margins.get(estimator)
    return pd.DataFrame(
        {
            "label": as_series(comparison.y).set_axis(index),
            "predicted": comparison.predictions[estimator],
            "margin": np.full(len(index), np.nan) if margins is None else margins,
        },
        index=index,
    )


def misclassified_rows(result: ReportedComparison, scored: pd.DataFrame) -> list[int]:
    """Return the rows of misclassified images, most confident first; for regression those of the largest errors."""
    if result.task != "regression":
        wrong = scored[(scored["label"] != scored["predicted"]).to_numpy()]
        order = np.argsort(-wrong["margin"].to_numpy(), kind="stable")
        rows: list[int] = wrong.index[order].tolist()
        return rows
    errors = np.abs(scored["predicted"].to_numpy(dtype=float) - scored["label"].to_numpy(dtype=float))
    largest: list[int] = scored.index[np.argsort(-errors, kind="stable")[:_MAX_LARGEST_ERRORS]].tolist()
    return largest


def label_issue_records(result: ReportedComparison, limits: FrameLimits) -> list[dict[str, Any]]:
    """Return the most likely label errors."""
    issues = result.label_issues
    return [] if issues is None else records(issues.head(limits.label_issues))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


def _choose_shown(result: ReportedComparison, scored: pd.DataFrame, limits: FrameLimits) -> pd.DataFrame:
    """Return the scored images to show: all, or the important ones and a random sample of the others."""
    if len(scored) <= limits.thumbnails:
        return scored
    important = misclassified_rows(result, scored)
    important += [int(issue["row"]) for issue in label_issue_records(result, limits)]
    important += [int(row) for group in result.duplicates.clusters[: limits.groups] for row in group.rows]
    is_scored = set(scored.index.tolist())
    important = [row for row in important if row in is_scored][: limits.thumbnails // 2]
    others = scored.index[np.random.default_rng(0).permutation(len(scored))].tolist()
    chosen = list(dict.fromkeys([*important, *others]))[: limits.thumbnails]
    return scored[scored.index.isin(chosen)]


def _rows_not_scored(result: ReportedComparison, scored: pd.DataFrame, limits: FrameLimits) -> list[int]:
    """Return rows of training images that are shown as duplicates or likely label errors."""
    groups = result.duplicates.clusters[: limits.groups]
    rows = [int(row) for group in groups for row in group.rows[: limits.images_of_group]]
    rows += [int(issue["row"]) for issue in label_issue_records(result, limits)]
    is_scored = set(scored.index.tolist())
    return [row for row in dict.fromkeys(rows) if row not in is_scored]


def _rows_to_enlarge(result: ReportedComparison, scored: pd.DataFrame, limits: FrameLimits) -> list[int]:
    """Return the images that readers look at first: mistakes, likely label errors and duplicates, alternately."""
    mistakes = misclassified_rows(result, scored)[: limits.misclassified]
    issues = [int(issue["row"]) for issue in label_issue_records(result, limits)]
    groups = result.duplicates.clusters[: limits.groups]
    duplicates = [int(row) for group in groups for row in group.rows[: limits.images_of_group]]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(mistakes, issues, duplicates))
    return list(dict.fromkeys(row for row in in_turn if row is not None))[: limits.large_thumbnails]


def _relative_to_common_folder(paths: Sequence[str]) -> list[str]:
    try:
        common = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # absolute and relative paths
        return list(paths)
    return [os.path.relpath(path, common) for path in paths] if common else list(paths)
