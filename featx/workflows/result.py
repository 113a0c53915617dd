"""Result of a comparison of images: tables, predictions and the best row.

More than half of this file is the documentation of its public class.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import METRICS, best_row
from featx.baselines.output.plots import plot_learning_curve, plot_scores
from featx.datasets.failures import Failure
from featx.datasets.tags import tag_names
from featx.errors import ComparisonError, OptionError
from featx.system.formatting import format_count
from featx.workflows.experiment import BackboneComparison, backbone_of_row, join_fold_scores, join_predictions
from featx.workflows.image_duplicates import ImageDuplicates
from featx.workflows.result_output import comparison_dict, comparison_html, comparison_text, write_csv

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class ImageComparison:
    """Baselines compared on the features of labeled images.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each backbone and estimator. Columns: ``backbone``, ``layer``, ``pooling``, ``features``,
        ``estimator``, ``tta`` if a backbone uses test-time augmentation, and the scores of
        ``featx.Comparison.table``. Verdicts refer to the best row of the whole table.
    backbones : list of BackboneComparison
    paths : list of str
        Readable images with a label.
    y : ndarray of shape (n_samples,)
        Their labels.
    failures : list of Failure
        Images that could not be read.
    duplicates : ImageDuplicates
        Duplicates and near-duplicates.
    ungrouped_scores : pandas.DataFrame or None
        Columns ``estimator``, ``mean`` and ``std``: first metric on the best backbone if duplicates were split at
        random. They are computed without tuning, in one repetition, and on the first two folds of more than 5,000
        images. None: there are no duplicates, or they were not grouped.
    ungrouped_settings : str
        How the settings of `ungrouped_scores` differ from those of the table.
    label_issues : pandas.DataFrame or None
        Likely label errors, as from :func:`featx.find_label_issues`, with the column ``path``. None for regression, and
        without logistic regression.
    learning_curve : pandas.DataFrame or None
        Result of :func:`featx.learning_curve`. None without diagnostics.
    notes : list of str
        Remarks on data and scores.
    groups : ndarray of int of shape (n_samples,), or None
        Group of each image: duplicates, and groups that were given. None: each image is a group.
    cache : Path or None
        Path of the feature cache.
    seconds : float or None
        Duration of the comparison.

    See Also
    --------
    compare_images : Compare backbones and estimators on labeled images.
    Comparison : The same for a feature matrix.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from featx import find_images, compare_images, write_digits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_digits(Path(folder))
    ...     images = find_images(folder).select(range(0, 500, 20))
    ...     result = compare_images(images, backbones=["color_histogram"], estimators=["knn"], cv=2, cache=None)
    >>> result.task, result.n_classes, result.best
    ('classification', 3, 'knn')
    """

    table: pd.DataFrame
    backbones: list[BackboneComparison]
    paths: list[str]
    y: np.ndarray[Any, Any]
    failures: list[Failure]
    duplicates: ImageDuplicates
    ungrouped_scores: pd.DataFrame | None
    ungrouped_settings: str
    label_issues: pd.DataFrame | None
    learning_curve: pd.DataFrame | None
    notes: list[str]
    groups: np.ndarray[Any, Any] | None = None
    cache: Path | None = None
    seconds: float | None = None

    def __repr__(self) -> str:
        counts = f"{format_count(len(self.table), 'row')}; {format_count(len(self.paths), 'image')}"
        return f"<ImageComparison: {counts}; best: {self.best}>"

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        """Return the best estimator, the table and the notes as HTML, for notebooks."""
        return comparison_html(self, self.seconds)

    @property
    def task(self) -> str:
        """Type of the target: ``"classification"``, ``"regression"``, or ``"multilabel"`` for tags."""
        return self.backbones[0].comparison.task

    @property
    def metric(self) -> str:
        """Name of the metric that verdicts are based on."""
        return METRICS[self.task][0]

    @property
    def best(self) -> str:
        """Estimator with the highest mean score; with several backbones for example ``svm on mobilenet``."""
        return self.row_name(best_row(self.table, self.task))

    @property
    def best_row(self) -> pd.Series[Any]:
        """Row of the table with the highest mean score."""
        return self.table.iloc[best_row(self.table, self.task)]

    @property
    def best_backbone(self) -> BackboneComparison:
        """Backbone of the best row."""
        return self.backbone_of(best_row(self.table, self.task))

    def backbone_of(self, row: int) -> BackboneComparison:
        """Return the backbone of a row of the table.

        Parameters
        ----------
        row : int
            Position of the row.

        Returns
        -------
        BackboneComparison
            Backbone and its scores.
        """
        return backbone_of_row(self.backbones, row)

    @property
    def ties(self) -> list[str]:
        """Names of rows whose difference from the best one is not significant."""
        return [self.row_name(row) for row in np.flatnonzero(self.table["verdict"] == "tie").tolist()]

    def row_name(self, row: int) -> str:
        """Return the estimator of a row of the table, with its backbone if there are several.

        Parameters
        ----------
        row : int
            Position of the row.

        Returns
        -------
        str
            Name of the estimator, and of the backbone.
        """
        estimator = str(self.table["estimator"].iloc[row])
        return estimator if len(self.backbones) == 1 else f"{estimator} on {self.backbone_of(row).name}"

    @property
    def fold_scores(self) -> pd.DataFrame:
        """Scores of each fold for all backbones: ``featx.Comparison.fold_scores`` with the column ``backbone``."""
        return join_fold_scores(self.backbones)

    @property
    def predictions(self) -> pd.DataFrame:
        """Out-of-fold predictions: columns ``backbone``, ``path``, ``label``, and one for each estimator.

        For classifiers with probabilities, ``<estimator>_probability`` is that of the predicted class.
        """
        return join_predictions(self.backbones, self.paths)

    @property
    def n_rows(self) -> int:
        """Number of images in any training or test set."""
        return len(self._compared_labels)

    @property
    def n_classes(self) -> int:
        """Number of classes or tags; 0 for regression."""
        if self.task == "multilabel":
            return len(tag_names(self._compared_labels))
        return len(np.unique(self._compared_labels)) if self.task == "classification" else 0

    @property
    def _compared_labels(self) -> np.ndarray[Any, Any]:
        folds = self.backbones[0].comparison.split.folds
        return np.asarray(self.y[np.unique(np.concatenate([rows for fold in folds for rows in fold]))])

    def as_text(self) -> str:
        """Return the table, the best row and the notes as text.

        Returns
        -------
        str
            Several lines of text.
        """
        return comparison_text(self)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, as ``featx compare --json`` prints it.

        Returns
        -------
        dict
            Scores, duplicates, label errors and notes.
        """
        return comparison_dict(self)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a CSV file.

        Parameters
        ----------
        path : str or Path
            Path of the file.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        write_csv(Path(path), self.table)

    def to_html(self, path: str | os.PathLike[str], *, tsne: bool | None = None, command: str = "") -> None:
        """Write a report: one HTML page that needs no other files.

        Parameters
        ----------
        path : str or Path
            Path of the file.
        tsne : bool or None, default=None
            Whether to draw a t-SNE map next to the PCA map. None: if it is expected to take at most 15 seconds. The map
            shows at most 5,000 images.
        command : str, default=""
            Command that repeats the comparison, to be shown on the page.

        Raises
        ------
        OutputError
            If the file cannot be written.
        MissingDependencyError
            If Bokeh or Jinja2 is not installed.
        """
        from featx.workflows.report.comparison_page import write_report

        write_report(Path(path), self, command=command, seconds=self.seconds, tsne=tsne, cache=self.cache)

    def label_issues_table(self) -> pd.DataFrame:
        """Return likely label errors, most likely first.

        Returns
        -------
        pandas.DataFrame
            Columns of :func:`find_label_issues`, and ``path``.

        Raises
        ------
        ComparisonError
            If no estimator can detect them.
        """
        if self.label_issues is None:
            raise ComparisonError(
                "Cannot detect label errors: no logistic regression was fitted. Use a classification task, and check "
                "the notes of the comparison."
            )
        return self.label_issues.drop(columns="row")

    def plot_scores(self, ax: Any = None) -> Any:
        """Plot the scores with their intervals.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to plot on. None: new axes.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        names = [self.row_name(row) for row in range(len(self.table))]
        return plot_scores(self.table, names, self.metric, ax)

    def plot_confusion(self, ax: Any = None) -> Any:
        """Plot the confusion matrix of the best row.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to plot on. None: new axes.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        return self.best_backbone.comparison.plot_confusion(str(self.best_row["estimator"]), ax)

    def plot_learning_curve(self, ax: Any = None) -> Any:
        """Plot the learning curve.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to plot on. None: new axes.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Raises
        ------
        OptionError
            If the comparison has no diagnostics.
        """
        if self.learning_curve is None:
            raise OptionError("Cannot plot a learning curve: none was computed. Compare with diagnostics=True.")
        return plot_learning_curve(self.learning_curve, self.task, ax)
