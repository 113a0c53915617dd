"""The result of a comparison: scores, predictions, verdicts and plots."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.folds.split import Split
from featx.baselines.label_issues import find_label_issues
from featx.baselines.learning_curve import CURVE_ESTIMATORS
from featx.baselines.metrics import METRICS, best_row, per_class
from featx.baselines.multilabel.scores import per_tag
from featx.baselines.multilabel.tag_issues import find_tag_issues
from featx.baselines.output.plots import plot_confusion, plot_learning_curve, plot_scores
from featx.baselines.output.score_table import (
    conclusion_lines,
    format_headline,
    format_scores_table,
    html_cells,
    score_facts,
)
from featx.baselines.scaling.limits import ScaleLimits
from featx.errors import ComparisonError
from featx.features.duplicates.find import Duplicates
from featx.system.array_types import AnyArray, FloatArray
from featx.system.formatting import format_count
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.terminal.tables import fit_text, wrap_text

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare_baselines`.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each estimator, with these columns:

        - ``estimator``: name;
        - ``accuracy``, ``balanced_accuracy`` and ``f1_macro``; for regression ``r2``, ``mae`` and ``rmse``; for tags
          ``map`` (mean average precision), ``f1_micro`` and ``f1_macro``; each with the suffixes ``_mean`` and ``_std``
          (standard deviation over folds, with n − 1);
        - ``low`` and ``high``: 95 % confidence interval for the first metric;
        - ``p_value``: two-sided p-value for equal performance to the best estimator;
        - ``verdict``: ``best``, ``tie`` or ``worse``;
        - ``fit_seconds`` and ``predict_seconds``: mean over folds;
        - ``best_params``: parameters that tuning selected, if ``tune=True``.
    fold_scores : pandas.DataFrame
        One row for each estimator and fold, with the columns ``estimator``, ``fold``, the metrics, ``fit_seconds`` and
        ``predict_seconds``.
    predictions : pandas.DataFrame
        Out-of-fold predictions of the first repeat, one column for each estimator. The index holds rows of `X`.
    probabilities : dict of str to ndarray of float32 of shape (n_tested, n_classes)
        Out-of-fold probabilities in the order of `predictions`, for estimators that have any. Columns are `classes`.
    margins : dict of str to ndarray of float32 of shape (n_tested,)
        Difference between the largest and the second-largest probability or decision value of each prediction.
    y : ndarray of shape (n_tested,)
        True labels or values, in the order of `predictions`.
    classes : ndarray of shape (n_classes,)
        Sorted classes, or tags, of training and test samples.
    task : {"classification", "regression", "multilabel"}
        Type of the target.
    split : Split
        Folds, as rows of `X`.
    notes : list of str
        Deviations from the request, and warnings.
    duplicates : Duplicates or None
        Near-duplicates among the labeled rows of `X`, if ``groups="auto"``.
    tag_values : dict of str to ndarray of float32 of shape (n_tested, n_tags)
        Out-of-fold probabilities, or decision values, of tags. Empty for other tasks, or if they take too much memory.

    See Also
    --------
    compare_baselines : Compare estimators and return this object.

    Examples
    --------
    >>> from featx import compare_baselines
    >>> from sklearn.datasets import load_iris
    >>> comparison = compare_baselines(*load_iris(return_X_y=True), estimators=["dummy", "knn", "lda"])
    >>> comparison.best, comparison.ties
    ('lda', ['knn'])
    """

    table: pd.DataFrame
    fold_scores: pd.DataFrame
    predictions: pd.DataFrame
    probabilities: dict[str, FloatArray]
    margins: dict[str, FloatArray]
    y: AnyArray
    classes: AnyArray
    task: str
    split: Split
    notes: list[str]
    duplicates: Duplicates | None
    tag_values: dict[str, FloatArray]
    _compute_curve: functools.partial[pd.DataFrame] = dataclasses.field(repr=False, compare=False)
    _builtin_names: dict[str, str] = dataclasses.field(repr=False, compare=False)

    @property
    def best(self) -> str:
        """Name of the estimator with the highest mean accuracy or R²."""
        return str(self.table["estimator"].iloc[best_row(self.table, self.task)])

    @property
    def ties(self) -> list[str]:
        """Names of the estimators that are not significantly worse than the best one."""
        return self.table["estimator"][self.table["verdict"] == "tie"].tolist()

    def per_class(self, estimator: str | None = None) -> pd.DataFrame:
        """Return precision, recall and F1 of each class or tag, and the average precision of each tag.

        Parameters
        ----------
        estimator : str or None, default=None
            Name of the estimator. None: the best one.

        Returns
        -------
        pandas.DataFrame
            Columns ``label``, ``images``, ``recall``, ``precision`` and ``f1``; for tags also ``average_precision``.
        """
        name = estimator or self.best
        predicted = self.predictions[name].to_numpy()
        if self.task == "multilabel":
            return per_tag(self.y, predicted, self.tag_values.get(name), self.classes)
        return per_class(self.y, predicted)

    @functools.cached_property
    def label_issues(self) -> pd.DataFrame:
        """Likely label errors; see :func:`featx.find_label_issues`.

        They come from the probabilities of logistic regression, or of another estimator if it was not compared. ``row``
        is a row of `X`.
        """
        usable = {name: probabilities for name, probabilities in self.probabilities.items() if name != "dummy"}
        keeps_probabilities = ScaleLimits().keeps_probabilities(len(self.y), len(self.classes))
        is_large = not keeps_probabilities or logreg_name(map(str, self.predictions)) is not None
        if self.task != "regression" and not usable and is_large:
            kind = "tag" if self.task == "multilabel" else "class"
            raise ComparisonError(
                f"Cannot detect label errors: probabilities of {len(self.y):,} samples and "
                f"{format_count(len(self.classes), kind)} take too much memory. Compare fewer samples, "
                f"{'tags' if self.task == 'multilabel' else 'classes'} or repeats."
            )
        if self.task == "regression" or not usable:
            raise ComparisonError(
                "Cannot detect label errors without class probabilities. Use a classification task, and include logreg "
                "in estimators (--estimator)."
            )
        name = logreg_name(usable) or next(iter(usable))
        find = find_tag_issues if self.task == "multilabel" else find_label_issues
        issues = find(self.y, usable[name], classes=self.classes)
        issues["row"] = self.predictions.index.to_numpy()[issues["row"]]
        return issues

    @functools.cached_property
    def learning_curve(self) -> pd.DataFrame:
        """Learning curve of the fastest built-in estimator that is not worse than the best; see :func:`learning_curve`.

        The estimator is not tuned. The curve is computed on first access.
        """
        names = self._builtin_names
        estimator = self._curve_estimator()
        shown = names.get(estimator, estimator)
        was_tuned = "best_params" in self.table and self.table.set_index("estimator")["best_params"].get(shown)
        is_known = estimator in names and not was_tuned
        return self._compute_curve(estimator=estimator, name=shown, fold_scores=self.fold_scores if is_known else None)

    def _curve_estimator(self) -> str:
        """Return the name of the fastest built-in estimator that is not worse than the best, or a default."""
        not_worse = self.table["estimator"][self.table["verdict"] != "worse"].tolist()
        candidates = [name for name in CURVE_ESTIMATORS if self._builtin_names.get(name) in not_worse]
        return candidates[0] if candidates else "ridge" if self.task == "regression" else "logreg"

    def plot_learning_curve(self, ax: Any = None) -> Any:
        """Plot the learning curve.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on. None: new axes.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        return plot_learning_curve(self.learning_curve, self.task, ax)

    def plot_scores(self, ax: Any = None) -> Any:
        """Plot the scores with their confidence intervals.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on. None: new axes.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        return plot_scores(self.table, self.table["estimator"].tolist(), METRICS[self.task][0], ax)

    def plot_confusion(self, estimator: str | None = None, ax: Any = None) -> Any:
        """Plot the confusion matrix of an estimator.

        Parameters
        ----------
        estimator : str or None, default=None
            Name of the estimator. None: the best one.
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on. None: new axes.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        if self.task != "classification":
            raise ComparisonError(f"Cannot plot a confusion matrix for {self.task}. Use a classification task.")
        return plot_confusion(self.y, self.predictions[estimator or self.best].to_numpy(), ax)

    def __repr__(self) -> str:
        estimators, rows = format_count(len(self.table), "estimator"), format_count(len(self.y), "row")
        return f"<Comparison: {estimators}; {rows}; best: {self.best}>"

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return the table, the best estimator and the notes as text.

        Returns
        -------
        str
            Several lines of text.
        """
        table = format_scores_table(self.table, self.task)
        conclusion = conclusion_lines(self.table, self.task, self.best, self.ties)
        return "\n".join([fit_text(self._headline()), "", table, "", *conclusion, *map(wrap_text, self.notes)])

    def _repr_html_(self) -> str:
        """Return the best estimator, the table and the notes as HTML, for notebooks."""
        facts = {**score_facts(self.table, self.task, self.ties), "data": self._headline()}
        table = table_to_html(html_cells(self.table, self.task), marked=[best_row(self.table, self.task)])
        return card_to_html(self.best, facts, table, notes=self.notes)

    def _headline(self) -> str:
        n_rows = len(np.unique(np.concatenate([rows for fold in self.split.folds for rows in fold])))
        n_classes = 0 if self.task == "regression" else len(self.classes)
        return format_headline(n_rows, "row", n_classes, self.task, self.split)


def logreg_name(names: Iterable[str]) -> str | None:
    """Return the name of logistic regression among names, which differs for many rows, or None."""
    return next((name for name in names if name == "logreg" or name.startswith("logreg (")), None)


def expected_curve_seconds(comparison: Comparison) -> float:
    """Return an upper bound of the time of the learning curve, or 0 if its estimator was not compared.

    Its sizes about double: together, they have about as many training samples as the folds, and are fitted with as
    many processes.
    """
    name = comparison._builtin_names.get(comparison._curve_estimator())
    rows = comparison.fold_scores[comparison.fold_scores["estimator"] == name]
    return float(rows[["fit_seconds", "predict_seconds"]].to_numpy().sum())
