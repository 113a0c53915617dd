"""What a comparison of several networks found: as a table, as text, as JSON and CSV."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx import files
from featx.baselines import Comparison
from featx.errors import ComparisonError, OutputError
from featx.failures import Failure
from featx.leaks import Leaks
from featx.options import Resolved
from featx.scores import METRICS, add_verdicts, best_row
from featx.segments import FloatArray
from featx.wording import counted

if TYPE_CHECKING:
    import pandas as pd

#: What metrics are called for people.
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "f1_macro": "macro-F1",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
}


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
class BackboneComparison:
    """Baselines compared on the features of each network.

    Attributes
    ----------
    table : pandas.DataFrame
        As :attr:`featx.Comparison.table`, of all networks, with the columns ``backbone``, ``layer``, ``pooling`` and
        ``features`` in front. The verdicts are about the best row of the whole table.
    networks : list of Network
    paths : list of str
    y : ndarray, shape (n_samples,)
    failures : list of Failure
        Images left out because they cannot be read.
    leaks : Leaks
        Duplicates and near-duplicates.
    naive : dict of str to float, or None
        Mean and sd of the first metric that the best row would have had if duplicates were split at random; None if
        there are none, or they were.
    label_issues : pandas.DataFrame or None
        As :func:`featx.find_label_issues`, with ``path``; None for regression, or if no estimator gave probabilities.
    curve : pandas.DataFrame or None
        As :func:`featx.curves.learning_curve`.
    notes : list of str
        What was done that was not asked for, and what to beware of.
    """

    table: pd.DataFrame
    networks: list[Network]
    paths: list[str]
    y: np.ndarray[Any, Any]
    failures: list[Failure]
    leaks: Leaks
    naive: dict[str, float] | None
    label_issues: pd.DataFrame | None
    curve: pd.DataFrame | None
    notes: list[str]

    @property
    def task(self) -> str:
        """Classification or regression."""
        return self.networks[0].comparison.task

    @property
    def best_row(self) -> pd.Series[Any]:
        """The row of the table with the highest mean accuracy, or R²."""
        return self.table.iloc[best_row(self.table, self.task)]

    @property
    def best_network(self) -> Network:
        """The network of that row."""
        return self.networks[best_row(self.table, self.task) // len(self.networks[0].comparison.table)]

    @property
    def n_rows(self) -> int:
        """Images that were compared on."""
        return len(self.y)

    @property
    def n_classes(self) -> int:
        """Different labels; 0 for regression."""
        return len(np.unique(self.y)) if self.task == "classification" else 0

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx compare --json`` prints."""
        best = self.best_row
        found: dict[str, Any] = {
            "task": self.task,
            "rows": self.n_rows,
            "classes": self.n_classes,
            "features": int(best["features"]),
            "failed": len(self.failures),
            "split": self.networks[0].comparison.split.words,
            "results": _without_nan(self.table.drop(columns="features").to_dict(orient="records")),
            "best": {name: best[name] for name in ("backbone", "layer", "pooling", "estimator")},
            "duplicates": {**self.leaks.as_dict(self.paths), "naive": self.naive},
            "notes": self.notes,
        }
        if self.label_issues is not None:
            found["label_issues"] = self.issues_table().to_dict(orient="records")
        if self.curve is not None:
            found["learning_curve"] = _without_nan(self.curve.to_dict(orient="records"))
        return found

    def issues_table(self) -> pd.DataFrame:
        """Return the labels that may be wrong, the likeliest first.

        Raises
        ------
        ComparisonError
            There is nothing to tell them by.
        """
        if self.label_issues is None:
            raise ComparisonError(
                "Labels that may be wrong are told by probabilities, which none of the estimators gives for this task. "
                "Compare logreg, too: --estimator logreg."
            )
        return self.label_issues.drop(columns="row")

    def as_text(self) -> str:
        """Return the table for people, the best marked, and the notes."""
        return "\n".join([self._headline(), "", *self._lines(), "", *self._conclusion(), *map(wrapped, self.notes)])

    def _headline(self) -> str:
        classes = f", {counted(self.n_classes, 'class')}" if self.n_classes else ""
        return f"{counted(self.n_rows, 'image')}{classes}; {self.networks[0].comparison.split.words}; mean ± sd"

    def _lines(self) -> list[str]:
        first, *others = METRICS[self.task]
        names = [network.name for network in self.networks for _ in range(len(network.comparison.table))]
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
        ties = self.table[self.table["verdict"] == "tie"]["estimator"].tolist()
        chance = f"; its lead over {', '.join(dict.fromkeys(ties))} may be chance" if ties else ""
        score = f"{METRIC_NAMES[first]} {best[f'{first}_mean']:.3f}"
        lines = [wrapped(f"* best: {best['estimator']} on {self.best_network.name}, {score}{chance}")]
        if "chosen" in self.table:
            lines += [
                wrapped(f"{row['estimator']} was tuned to {row['chosen']}.")
                for row in self.table.to_dict(orient="records")
                if row["chosen"]
            ]
        if self.label_issues is not None and len(self.label_issues):
            first_issue = self.label_issues.iloc[0]
            lines.append(
                wrapped(
                    f"{counted(len(self.label_issues), 'label')} may be wrong, most likely {first_issue['path']}: "
                    f"{first_issue['label']}, or {first_issue['suggested']}?"
                )
            )
        if self.curve is not None:
            lines += ["", "  images per class  score" if self.n_classes else "  images  score"]
            lines += [
                f"  {row['n_per_class']:>{16 if self.n_classes else 6},}  {row['score_mean']:.3f}"
                for row in self.curve.to_dict(orient="records")
            ]
            lines.append("")
        return lines


def _without_nan(records: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    """Return records with None for NaN, which JSON does not have."""
    return [{key: None if value != value else value for key, value in record.items()} for record in records]  # noqa: PLR0124  # NaN differs from itself


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all.

    Raises
    ------
    OutputError
    """
    try:
        files.write_text(path, table.to_csv(index=False))
    except OSError as error:
        raise _not_written(path, error.strerror or str(error)) from error


def check_output_path(path: Path) -> None:
    """Raise if a file cannot be written here, before any work is done.

    Raises
    ------
    OutputError
    """
    if os.path.isdir(path) or not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise _not_written(path, "it is a folder, or its folder does not exist or is locked")


def wrapped(text: str) -> str:
    """Return text in lines of 110 characters, the second and later ones indented."""
    return "\n".join(textwrap.wrap(text, 110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _not_written(path: Path, reason: str) -> OutputError:
    return OutputError(f"{str(path)!r} cannot be written: {reason}. Choose another file.")


def join_tables(networks: Sequence[Network]) -> pd.DataFrame:
    """Return the tables of all networks under each other, with verdicts about the best of all."""
    import pandas as pd

    tables = []
    for network in networks:
        one = network.comparison.table.drop(columns=["p_value", "verdict"])
        recipe = network.resolved.recipe
        front: dict[str, Any] = {
            "backbone": recipe.backbone,
            "layer": recipe.layer,
            "pooling": recipe.pooling,
            "features": network.resolved.n_features,
        }
        for at, (name, value) in enumerate(front.items()):
            one.insert(at, name, value)
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
    add_verdicts(verdicts, scores, predictions, first.y, task=first.task, test_share=first.split.test_share)
    at = list(table.columns).index("high") + 1
    table.insert(at, "p_value", verdicts["p_value"])
    table.insert(at + 1, "verdict", verdicts["verdict"])
    return table
