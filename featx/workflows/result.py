"""What a comparison of several networks found: as a table, as text, as JSON and CSV."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.comparison import Comparison
from featx.baselines.metrics import METRIC_NAMES, METRICS, add_verdicts, best_row
from featx.baselines.plots import plot_learning_curve, plot_scores
from featx.datasets.failures import Failure
from featx.datasets.labels import as_series
from featx.errors import ComparisonError, OptionError
from featx.extraction.options import Resolved
from featx.system.array_types import FloatArray
from featx.system.files.atomic import write_text
from featx.system.files.output_paths import as_output_error, header_pattern, starts_with
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import escape_cell, escape_path_cell, format_count, shorten, wrap_text
from featx.workflows.image_duplicates import ImageDuplicates

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Network:
    """One network's features, and the baselines compared on them.

    Attributes
    ----------
    name : str
        Backbone, and what else is not the default.
    resolved : Resolved
    rows : ndarray of float32, shape (n_samples, n_features)
    comparison : Comparison
    n_computed : int
        Images that went through the network, and were not in the store.
    seconds : float
        That their extraction took.
    """

    name: str
    resolved: Resolved
    rows: FloatArray
    comparison: Comparison
    n_computed: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class ImageComparison:
    """Baselines compared on the features of each network.

    Attributes
    ----------
    table : pandas.DataFrame
        As :attr:`featx.Comparison.table`, of all networks, with the columns ``backbone``, ``layer``, ``pooling`` and
        ``features`` in front, and ``tta`` behind ``estimator`` where a network has some. The verdicts are about the
        best row of the whole table.
    backbones : list of Network
    paths : list of str
    y : ndarray, shape (n_samples,)
    failures : list of Failure
        Images left out because they cannot be read.
    duplicates : ImageDuplicates
        Duplicates and near-duplicates, told by the first network, averaged over its default layer.
    ungrouped_scores : pandas.DataFrame or None
        ``estimator, mean, std`` of the first metric on the best network, had duplicates been ignored; None if there are
        none, or they were. Untuned, in one repetition, and of more than 5,000 images on the first two folds.
    ungrouped_settings : str
        How that was computed otherwise than the table, for people.
    label_issues : pandas.DataFrame or None
        As :func:`featx.find_label_issues`, with ``path``; None for regression, or without logistic regression.
    learning_curve : pandas.DataFrame or None
        As :func:`featx.learning_curve`; None if it was not asked for.
    notes : list of str
        What was done that was not asked for, and what to beware of.
    groups : ndarray of int, shape (n_samples,), or None
        Equal for images that were kept on one side of every split; None if each was by itself.
    """

    table: pd.DataFrame
    backbones: list[Network]
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

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table."""
        return str(self.table.round(4).to_html(index=False))

    @property
    def task(self) -> str:
        """Classification or regression."""
        return self.backbones[0].comparison.task

    @property
    def best(self) -> str:
        """Estimator with the highest mean accuracy, or R²; of several networks ``svm on mobilenet``."""
        return self._named(best_row(self.table, self.task))

    @property
    def best_row(self) -> pd.Series[Any]:
        """The row of the table that is best."""
        return self.table.iloc[best_row(self.table, self.task)]

    @property
    def best_backbone(self) -> Network:
        """The network of that row."""
        return self.backbone_of(best_row(self.table, self.task))

    def backbone_of(self, row: int) -> Network:
        """Return the network of a row of the table."""
        return next(one for one in self.backbones if (row := row - len(one.comparison.table)) < 0)

    @property
    def ties(self) -> list[str]:
        """Estimators, and their networks if there are several, whose distance to the best may be chance."""
        return [self._named(row) for row in np.flatnonzero(self.table["verdict"] == "tie").tolist()]

    @property
    def ties_in_words(self) -> str:
        """The ties if they are few, else how many there are: the table has them."""
        return ", ".join(self.ties) if len(self.ties) <= 3 else f"{len(self.ties)} others, the ties of the table,"

    def _named(self, row: int) -> str:
        estimator = str(self.table["estimator"].iloc[row])
        return estimator if len(self.backbones) == 1 else f"{estimator} on {self.backbone_of(row).name}"

    @property
    def fold_scores(self) -> pd.DataFrame:
        """As :attr:`featx.Comparison.fold_scores`, of all networks, with a column ``network``."""
        import pandas as pd

        parts = []
        for network in self.backbones:
            part = network.comparison.fold_scores.copy()
            part.insert(0, "network", network.name)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    @property
    def predictions(self) -> pd.DataFrame:
        """What each estimator said of images that it was not fitted on: ``network, path, label`` and a column for each.

        For classifiers with probabilities, ``<estimator>_probability`` is that of what was said.
        """
        import pandas as pd

        parts = []
        for network in self.backbones:
            one = network.comparison
            part = one.predictions.copy()
            for name, probabilities in one.probabilities.items():
                part[f"{name}_probability"] = probabilities.max(axis=1)
            part.insert(0, "label", as_series(one.y).set_axis(part.index))
            part.insert(0, "path", pd.Series([self.paths[row] for row in part.index], index=part.index, dtype=object))
            part.insert(0, "network", network.name)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    @property
    def n_rows(self) -> int:
        """Images that were compared on: fitted on, or scored."""
        return len(self._compared)

    @property
    def _compared(self) -> np.ndarray[Any, Any]:
        """Their labels."""
        folds = self.backbones[0].comparison.split.folds
        labels: np.ndarray[Any, Any] = self.y[np.unique(np.concatenate([rows for fold in folds for rows in fold]))]
        return labels

    @property
    def n_classes(self) -> int:
        """Different labels; 0 for regression."""
        return len(np.unique(self._compared)) if self.task == "classification" else 0

    def to_html(self, path: str | os.PathLike[str], *, tsne: bool | None = None) -> None:
        """Write the report: one HTML page that needs no other file.

        Parameters
        ----------
        path : str or Path
        tsne : bool or None, default=None
            Draw a t-SNE map beside the PCA one; None: if there are no more than 1,000 images.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        from featx.workflows.report.report import write_report

        write_report(Path(path), self, tsne=tsne)

    def plot_scores(self, ax: Any = None) -> Any:
        """Draw the scores with their intervals; return matplotlib's axes."""
        names = [self._named(row) for row in range(len(self.table))]
        return plot_scores(self.table, names, METRICS[self.task][0], ax)

    def plot_confusion(self, ax: Any = None) -> Any:
        """Draw the confusion matrix of the best row; return matplotlib's axes."""
        return self.best_backbone.comparison.plot_confusion(str(self.best_row["estimator"]), ax)

    def plot_learning_curve(self, ax: Any = None) -> Any:
        """Draw the learning curve; return matplotlib's axes."""
        if self.learning_curve is None:
            raise OptionError("There is no learning curve: compare with diagnostics=True.")
        return plot_learning_curve(self.learning_curve, self.task, ax)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx compare --json`` prints."""
        best = self.best_row
        which = [name for name in ("backbone", "layer", "pooling", "estimator", "tta") if name in self.table]
        ungrouped_scores = (
            None
            if self.ungrouped_scores is None
            else dict(zip(self.ungrouped_scores["estimator"], self.ungrouped_scores["mean"], strict=True))
        )
        found: dict[str, Any] = {
            "task": self.task,
            "rows": self.n_rows,
            "classes": self.n_classes,
            "features": int(best["features"]),
            "failed": len(self.failures),
            "failures": [{"path": one.image, "error": one.error, "reason": one.reason} for one in self.failures],
            "split": self.backbones[0].comparison.split.description,
            "results": self.table.drop(columns="features").to_dict(orient="records"),
            "best": {name: best[name] for name in which},
            "ties": self.table[self.table["verdict"] == "tie"][which].to_dict(orient="records"),
            "duplicates": {
                **self.duplicates.as_dict([redact_secrets(path) for path in self.paths]),
                "ungrouped_scores": ungrouped_scores,
            },
            "per_class": [],
            "label_issues": [],
            "learning_curve": [],
            "warnings": self.notes,
        }
        if self.task == "classification":
            per_class = self.best_backbone.comparison.per_class(str(best["estimator"]))
            found["per_class"] = per_class.to_dict(orient="records")
        if self.label_issues is not None:
            columns = ["path", "given", "suggested", "confidence"]
            issues = self.label_issues[columns].to_dict(orient="records")
            found["label_issues"] = [{**issue, "path": redact_secrets(issue["path"])} for issue in issues]
        if self.learning_curve is not None:
            found["learning_curve"] = self.learning_curve.to_dict(orient="records")
        plain: dict[str, Any] = _plain(found)
        return plain

    def label_issues_table(self) -> pd.DataFrame:
        """Return the labels that may be wrong, the likeliest first.

        Raises
        ------
        ComparisonError
            There is nothing to tell them by.
        """
        if self.label_issues is None:
            raise ComparisonError(
                "Labels that may be wrong are told by logistic regression, which there is none of here: these are "
                "quantities, or it could not be fitted."
            )
        return self.label_issues.drop(columns="row")

    def as_text(self) -> str:
        """Return the table for people, the best marked, and the notes."""
        return "\n".join([self._headline(), "", *self._lines(), "", *self._conclusion(), *map(wrap_text, self.notes)])

    def _headline(self) -> str:
        split = self.backbones[0].comparison.split
        classes = f", {format_count(self.n_classes, 'class')}" if self.n_classes else ""
        spread = "; mean ± sd" if len(split.folds) > 1 else ""
        return f"{format_count(self.n_rows, 'image')}{classes}; {split.description}{spread}"

    def _lines(self) -> list[str]:
        first, *others = METRICS[self.task]
        names = [self.backbone_of(row).name for row in range(len(self.table))]
        width = max(len(name) for name in [*names, "backbone"])
        wide = max(len(str(name)) for name in [*self.table["estimator"], "estimator"])
        others_header = "".join(f"  {METRIC_NAMES[metric]:<8}" for metric in others)
        header = f"{METRIC_NAMES[first]:<13}  {'95 % interval':<14}  {'':<5}{others_header}"
        lines = [f"  {'backbone':<{width}}  {'estimator':<{wide}}  {header}  {'fit s':>7}  {'predict s':>9}"]
        best = best_row(self.table, self.task)
        for at, (name, row) in enumerate(zip(names, self.table.to_dict(orient="records"), strict=True)):
            score = f"{row[f'{first}_mean']:.3f}" + (
                f" ± {row[f'{first}_std']:.3f}" if np.isfinite(row[f"{first}_std"]) else ""
            )
            interval = f"{row['low']:.3f} – {row['high']:.3f}" if np.isfinite(row["low"]) else ""
            rest = "".join("  " + format(f"{row[metric + '_mean']:.3f}", "<8") for metric in others)
            lines.append(
                f"{'*' if at == best else ' '} {name:<{width}}  {row['estimator']:<{wide}}  {score:<13}  "
                f"{interval:<14}  {row['verdict']:<5}{rest}  {row['fit_seconds']:>7.2f}  {row['predict_seconds']:>9.3f}"
            )
        return lines

    def _conclusion(self) -> list[str]:
        best, first = self.best_row, METRICS[self.task][0]
        chance = f"; its lead over {self.ties_in_words} may be chance" if self.ties else ""
        score = f"{METRIC_NAMES[first]} {best[f'{first}_mean']:.3f}"
        lines = [wrap_text(f"* best: {best['estimator']} on {self.best_backbone.name}, {score}{chance}")]
        if "best_params" in self.table:
            lines += [
                wrap_text(f"{row['estimator']} was tuned to {row['best_params']}.")
                for row in self.table.to_dict(orient="records")
                if row["best_params"]
            ]
        if self.label_issues is not None and len(self.label_issues):
            first_issue = self.label_issues.iloc[0]
            lines.append(
                wrap_text(
                    f"{format_count(len(self.label_issues), 'label')} may be wrong, most likely that of "
                    f"{shorten(first_issue['path'], 100)}: {shorten(str(first_issue['given']))}, or "
                    f"{shorten(str(first_issue['suggested']))}?"
                )
            )
        if self.learning_curve is not None:
            of = self.learning_curve["estimator"].iloc[0]
            lines += ["", f"  images per class  score of {of}" if self.n_classes else f"  images  score of {of}"]
            lines += [
                f"  {row['n_per_class']:>{16 if self.n_classes else 6},}  {row['score_mean']:.3f}"
                for row in self.learning_curve.to_dict(orient="records")
            ]
            lines.append("")
        return lines


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: no NaN, no numbers of numpy."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all.

    Raises
    ------
    OutputError
    """
    with as_output_error(path):
        # File names that are not UTF-8 are written as their own bytes.
        write_text(path, _safe(table).to_csv(index=False), errors="surrogateescape")


def _safe(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which no text is a formula."""
    import pandas as pd

    def safe(column: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return escape_path_cell(value) if column == "path" else escape_cell(value)

    # Objects: the text columns of pandas 3 take no names that are not UTF-8.
    return pd.DataFrame(
        {
            column: table[column]
            if pd.api.types.is_numeric_dtype(table[column])
            else pd.Series([safe(column, value) for value in table[column]], index=table.index, dtype=object)
            for column in table.columns
        }
    )


#: Whether an existing file is a report, or one of the tables written beside it. A table to which a person may have
#: added columns must have exactly our columns.
is_report_file = starts_with(rb'<meta name="generator" content="featx')
is_table_file = starts_with(
    rb"\Abackbone,layer,pooling,features,(tta,)?estimator,",
    rb"\Aname,backbone,layer,pooling,features,loo_ridge,",
    header_pattern(["path", "given", "suggested", "confidence", "probability_of_given"]),
    header_pattern(["path", "finding", "detail"]),
)


def join_tables(networks: Sequence[Network]) -> pd.DataFrame:
    """Return the tables of all networks under each other, with verdicts about the best of all."""
    import pandas as pd

    tables = []
    for network in networks:
        one = network.comparison.table.drop(columns=["p_value", "verdict"])
        recipe = network.resolved.recipe
        front: dict[str, Any] = {
            "backbone": network.resolved.backbone.name,
            "layer": recipe.layer,
            "pooling": recipe.pooling,
            "features": network.resolved.n_features,
        }
        for at, (name, value) in enumerate(front.items()):
            one.insert(at, name, value)
        if any(network.resolved.recipe.tta for network in networks):
            one.insert(len(front) + 1, "tta", recipe.tta or "none")  # behind what tells featx's own tables
        tables.append(one)
    table = pd.concat(tables, ignore_index=True)
    first = networks[0].comparison
    metric = METRICS[first.task][0]
    scores, predictions = [], []
    for network in networks:
        of_folds = network.comparison.fold_scores.groupby("estimator", sort=False)[metric]
        scores += [one.to_numpy() for _, one in of_folds]
        predictions += [one.to_numpy() for _, one in network.comparison.predictions.items()]
    verdicts = table[["estimator", f"{metric}_mean"]].copy()
    add_verdicts(verdicts, scores, predictions, first.y, task=first.task, test_ratio=first.split.test_ratio)
    at = list(table.columns).index("high") + 1
    table.insert(at, "p_value", verdicts["p_value"])
    table.insert(at + 1, "verdict", verdicts["verdict"])
    return table
