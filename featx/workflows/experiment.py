"""Comparison of baselines on one set of labeled images, the joined tables of all backbones, and diagnostics."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.comparison import Comparison, expected_curve_seconds, logreg_name
from featx.baselines.cross_validate import compare_baselines
from featx.baselines.estimators import EstimatorsLike
from featx.baselines.folds.make_split import make_split
from featx.baselines.folds.split import Split
from featx.baselines.metrics import METRICS, add_verdicts, is_at_chance
from featx.baselines.scaling.limits import ScaleLimits
from featx.baselines.scaling.schedule import format_minutes
from featx.datasets.image_table import ImageTable
from featx.datasets.labels import as_series
from featx.datasets.tags import tag_names
from featx.errors import ComparisonError
from featx.features.selected_rows import is_in_memory
from featx.system.array_types import FloatArray
from featx.system.notebook.cards import Record
from featx.system.terminal.progress import describing
from featx.workflows.config import ComparisonConfig, user_groups
from featx.workflows.duplicate_groups import GroupedSplit, make_configured_split
from featx.workflows.image_estimators import feature_estimators

if TYPE_CHECKING:
    import pandas as pd

    from featx.workflows.report.inputs import ReportedExtraction

#: Time limit of a backbone if the others left none: enough for the dummy estimator.
_MIN_MINUTES = 0.01


@dataclasses.dataclass(frozen=True)
class BackboneComparison(Record):
    """Baselines compared on the features of one backbone.

    Attributes
    ----------
    name : str
        Display name: the backbone, and settings that are not the default.
    resolved : Resolved or StoredBackbone
        Backbone and recipe of the features.
    rows : ndarray of float32 of shape (n_samples, n_features)
        Features of the images.
    comparison : Comparison
        Scores and out-of-fold predictions of the estimators.
    n_computed : int
        Number of images that were not cached.
    seconds : float
        Duration of the extraction.

    See Also
    --------
    compare_images : Compare backbones and estimators on labeled images.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import compare_images, find_images, write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     images = find_images(folder).select(range(0, 500, 20))
    ...     result = compare_images(images, backbones=["color_histogram"], estimators=["knn"], cv=2, cache=None)
    >>> backbone = result.backbones[0]
    >>> backbone.name, backbone.rows.shape, backbone.comparison.best
    ('color_histogram', (25, 512), 'knn')
    """

    name: str
    resolved: ReportedExtraction
    rows: FloatArray
    comparison: Comparison
    n_computed: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class ExperimentLimits:
    """Sizes above which diagnostics are computed with less work.

    Attributes
    ----------
    max_images : int, default=5000
        Number of images above which ungrouped scores are computed on `few_folds` folds: they cost as much as the
        comparison.
    few_folds : int, default=2
    """

    max_images: int = 5000
    few_folds: int = 2


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Labeled images, how they are split, and what is computed on them.

    Attributes
    ----------
    table : ImageTable
    y : ndarray of shape (n_samples,)
    config : ComparisonConfig
    grouped : GroupedSplit
    limits : ExperimentLimits
    started : float
        Time (``time.perf_counter``) from which the time limit counts.
    """

    table: ImageTable
    y: np.ndarray[Any, Any]
    config: ComparisonConfig
    grouped: GroupedSplit
    limits: ExperimentLimits = ExperimentLimits()
    started: float = dataclasses.field(default_factory=time.perf_counter)

    def _minutes_left(self) -> float | None:
        """Return the rest of the time limit, or None if there is no limit."""
        if self.config.time_limit is None:
            return None
        return max(0.0, self.config.time_limit - (time.perf_counter() - self.started) / 60)

    def _time_limit(self, share: float = 1.0) -> float | None:
        """Return a share of the time that is left, in minutes, or None if there is no limit."""
        left = self._minutes_left()
        return None if left is None else max(left * share, _MIN_MINUTES)

    def is_time_up(self) -> bool:
        """Return whether the time limit is used up."""
        return self._minutes_left() == 0

    def compare(self, rows: FloatArray, estimators: EstimatorsLike | None, share: float = 1.0) -> Comparison:
        """Return the scores of estimators on the features of one backbone, in a share of the time that is left."""
        groups, split = self.grouped.groups, self.grouped.split
        return self._compare(rows, groups, split, estimators, tune=self.config.tune, time_limit=self._time_limit(share))

    def _compare(
        self,
        rows: FloatArray,
        groups: Any,
        split: Split,
        estimators: EstimatorsLike | None,
        *,
        tune: bool = False,
        time_limit: float | None = None,
    ) -> Comparison:
        return compare_baselines(
            rows,
            self.y,
            estimators=estimators,
            task=self.config.task,
            cv=split,
            groups=groups,
            tune=tune,
            random_state=self.config.random_state,
            n_jobs=self.config.n_jobs,
            time_limit=time_limit,
            exact=self.config.exact,
        )

    def ungrouped_scores(self, best: BackboneComparison, notes: list[str]) -> pd.DataFrame | None:
        """Return the scores on the best backbone if duplicates were split at random, or None if there are none.

        They are computed without tuning, in one repetition, and without estimators that are fitted on images. If rows
        are read in blocks, they are not computed, with a note.
        """
        estimators = feature_estimators(self.config.estimators)
        if not (self.config.duplicate_groups and len(self.grouped.duplicates)) or self.is_time_up():
            return None
        if estimators is not None and not len(estimators):
            return None
        is_streamed = ScaleLimits().is_out_of_core(
            best.rows.shape, in_memory=is_in_memory(best.rows), itemsize=best.rows.dtype.itemsize
        )
        if is_streamed and not self.config.exact:
            # It would take two fifths of the time of the comparison again.
            notes.append(f"Scores without grouping duplicates were not computed for {len(self.y):,} images.")
            return None
        groups = user_groups(self.table)
        split = make_configured_split(self.table, self.y, self.config, groups)
        split = _first_folds(split, self.limits.few_folds if self._has_many_images else None)
        try:
            with describing("duplicates not grouped"):
                table = self._compare(best.rows, groups, split, estimators, time_limit=self._time_limit()).table
        except ComparisonError as error:  # no estimator ended in time
            notes.append(f"Scores without grouping duplicates were not computed: {error}")
            return None
        metric = METRICS[self.config.task][0]
        columns = {"estimator": "estimator", f"{metric}_mean": "mean", f"{metric}_std": "std"}
        return table[list(columns)].rename(columns=columns)

    @property
    def ungrouped_settings(self) -> str:
        """Differences in how ungrouped scores are computed, as a phrase."""
        settings = ["not tuned"] if self.config.tune else []
        settings += ["one repetition"] if self.config.repeats > 1 else []
        settings += [f"{self.limits.few_folds} folds"] if self._has_many_images else []
        return ", ".join(settings)

    @property
    def _has_many_images(self) -> bool:
        return len(self.y) > self.limits.max_images

    def label_issues(self, best: BackboneComparison, notes: list[str]) -> pd.DataFrame | None:
        """Return likely label errors according to logistic regression, or None if it is not available.

        Logistic regression is fitted for it if the diagnostics need it; an error then is a note.
        """
        import pandas as pd

        if self.config.task == "regression":
            return None
        comparison = best.comparison
        n_classes = len(tag_names(self.y) if self.config.task == "multilabel" else np.unique(self.y))
        if self.config.diagnostics and not ScaleLimits().keeps_probabilities(len(self.y), n_classes):
            notes.append(
                f"Label errors were not searched for: class probabilities of {len(self.y):,} images and {n_classes:,} "
                "classes take too much memory."
            )
            return None
        is_compared = logreg_name(comparison.probabilities) is not None
        if not is_compared and self.is_time_up():
            return None
        of_all_images: pd.DataFrame | None = None
        if self.config.diagnostics and (self.table.splits is not None or not is_compared):
            try:
                split = _first_folds(self._split_of_all_images())
                with describing("label errors"):
                    limit = self._time_limit()
                    comparison = self._compare(best.rows, self.grouped.groups, split, ["logreg"], time_limit=limit)
                of_all_images = comparison.label_issues
            except ComparisonError as error:
                notes.append(f"Label errors were not searched for: {error}")
                return None
        elif not is_compared:
            return None
        issues = (comparison.label_issues if of_all_images is None else of_all_images).copy()
        paths = pd.Series([self.table.paths[row] for row in issues["row"]], index=issues.index, dtype=object)
        issues.insert(0, "path", paths)
        if len(issues) and is_at_chance(best.comparison.table):
            notes.append("Likely label errors are not reliable, as no estimator is better than the dummy estimator.")
        return issues

    def _split_of_all_images(self) -> Split:
        """Return a split in which every image is scored; labels of training images may be wrong, too."""
        if self.table.splits is None:
            return self.grouped.split
        return make_split(
            self.y, task=self.config.task, groups=self.grouped.groups, random_state=self.config.random_state
        )

    def learning_curve(self, best: BackboneComparison, notes: list[str]) -> pd.DataFrame | None:
        """Return the learning curve of the fastest estimator that ties with the best.

        If it would take more than the rest of the time limit, it is not computed, with a note.
        """
        left = self._minutes_left()
        if not self.config.diagnostics or left == 0:
            return None
        if left is not None and (needed := expected_curve_seconds(best.comparison)) > 60 * left:
            notes.append(
                f"The learning curve was not computed: it could take {format_minutes(needed)}, and "
                f"{format_minutes(60 * left)} of time_limit (--time-limit) were left."
            )
            return None
        return best.comparison.learning_curve


def _first_folds(split: Split, n_folds: int | None = None) -> Split:
    """Return a split of the first folds only, by default those of the first repetition."""
    n_folds = min(n_folds or split.n_first_repeat, split.n_first_repeat)
    return dataclasses.replace(split, folds=split.folds[:n_folds], n_first_repeat=n_folds)


def backbone_of_row(backbones: Sequence[BackboneComparison], row: int) -> BackboneComparison:
    """Return the backbone of a row of the joined table."""
    ends = np.cumsum([len(backbone.comparison.table) for backbone in backbones])
    return backbones[int(np.searchsorted(ends, row, side="right"))]


def join_tables(backbones: Sequence[BackboneComparison]) -> pd.DataFrame:
    """Return the tables of all backbones in one, with verdicts that refer to the best row of all."""
    import pandas as pd

    uses_tta = any(backbone.resolved.recipe.tta for backbone in backbones)
    table = pd.concat([_described_table(backbone, uses_tta) for backbone in backbones], ignore_index=True)
    first = backbones[0].comparison
    metric = METRICS[first.task][0]
    scores, predictions = [], []
    for backbone in backbones:
        by_estimator = backbone.comparison.fold_scores.groupby("estimator", sort=False)[metric]
        scores += [column.to_numpy() for _, column in by_estimator]
        predictions += [column.to_numpy() for _, column in backbone.comparison.predictions.items()]
    verdicts = table[["estimator", f"{metric}_mean"]].copy()
    add_verdicts(verdicts, scores, predictions, first.y, task=first.task, test_ratio=first.split.test_ratio)
    position = list(table.columns).index("high") + 1
    table.insert(position, "p_value", verdicts["p_value"])
    table.insert(position + 1, "verdict", verdicts["verdict"])
    return table


def _described_table(backbone: BackboneComparison, uses_tta: bool) -> pd.DataFrame:
    """Return the table of a backbone without verdicts, with columns that describe the backbone."""
    table = backbone.comparison.table.drop(columns=["p_value", "verdict"])
    recipe = backbone.resolved.recipe
    columns: dict[str, Any] = {
        "backbone": backbone.resolved.backbone.name,
        "layer": recipe.layer,
        "pooling": recipe.pooling,
        "features": backbone.resolved.n_features,
    }
    for position, (name, value) in enumerate(columns.items()):
        table.insert(position, name, value)
    if uses_tta:
        table.insert(len(columns) + 1, "tta", recipe.tta or "none")  # after the columns that identify featx's tables
    return table


def join_fold_scores(backbones: Sequence[BackboneComparison]) -> pd.DataFrame:
    """Return the scores of each fold, for all backbones."""
    import pandas as pd

    parts = []
    for backbone in backbones:
        part = backbone.comparison.fold_scores.copy()
        part.insert(0, "backbone", backbone.name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def join_predictions(backbones: Sequence[BackboneComparison], paths: Sequence[str]) -> pd.DataFrame:
    """Return the out-of-fold predictions, for all backbones."""
    import pandas as pd

    parts = []
    for backbone in backbones:
        comparison = backbone.comparison
        part = comparison.predictions.copy()
        for name, probabilities in comparison.probabilities.items():
            part[f"{name}_probability"] = probabilities.max(axis=1)
        part.insert(0, "label", as_series(comparison.y).set_axis(part.index))
        part.insert(0, "path", pd.Series([paths[row] for row in part.index], index=part.index, dtype=object))
        part.insert(0, "backbone", backbone.name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
