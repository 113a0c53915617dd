"""The table of scores that people read: scores with three digits, intervals, verdicts, times, and what is best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS, best_row
from featx.system.formatting import format_count, format_ties
from featx.system.terminal.tables import format_table, wrap_text

if TYPE_CHECKING:
    import pandas as pd

    from featx.baselines.folds.split import Split


def format_headline(n_rows: int, noun: str, n_classes: int, task: str, split: Split) -> str:
    """Return what was compared, and how: ``150 rows, 3 classes; 5 stratified folds; mean ± sd``."""
    kind = "tag" if task == "multilabel" else "class"
    classes = f", {format_count(n_classes, kind)}" if n_classes else ""
    spread = "; mean ± sd" if len(split.folds) > 1 else ""
    return f"{format_count(n_rows, noun)}{classes}; {split.description}{spread}"


def score_cells(table: pd.DataFrame, task: str, backbones: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the rows of a table of scores with the columns that people read.

    Parameters
    ----------
    table : pandas.DataFrame
        Table such as ``featx.Comparison.table``.
    task : {"classification", "regression", "multilabel"}
    backbones : sequence of str, default=()
        Name of the backbone of each row, as the first column. Empty: no such column.
    """
    first, *others = METRICS[task]
    rows = []
    for number, row in enumerate(table.to_dict(orient="records")):
        deviation = f" ± {row[f'{first}_std']:.3f}" if np.isfinite(row[f"{first}_std"]) else ""
        cells = {"backbone": backbones[number]} if len(backbones) else {}
        cells |= {"estimator": str(row["estimator"])}
        cells |= {METRIC_NAMES[first]: f"{row[f'{first}_mean']:.3f}{deviation}"}
        cells |= {"95 % interval": f"{row['low']:.3f} – {row['high']:.3f}" if np.isfinite(row["low"]) else ""}
        cells |= {"": row["verdict"]}
        cells |= {METRIC_NAMES[metric]: f"{row[f'{metric}_mean']:.3f}" for metric in others}
        rows.append({**cells, "fit s": row["fit_seconds"], "predict s": row["predict_seconds"]})
    return rows


def format_scores_table(table: pd.DataFrame, task: str, backbones: Sequence[str] = ()) -> str:
    """Return a table of scores as text that fits the terminal. See :func:`score_cells`."""
    first, *others = METRICS[task]
    widths = {METRIC_NAMES[first]: 13, "95 % interval": 14, "": 5, "fit s": 7, "predict s": 9}
    return format_table(
        score_cells(table, task, backbones),
        formats={"fit s": ".2f", "predict s": ".3f"},
        min_widths={**widths, **dict.fromkeys((METRIC_NAMES[metric] for metric in others), 8)},
        marked=[best_row(table, task)],
    )


def conclusion_lines(table: pd.DataFrame, task: str, best: str, ties: Sequence[str]) -> list[str]:
    """Return the best row with its score, and the parameters that tuning selected, as lines that fit the terminal."""
    metric = METRICS[task][0]
    lead = f"; its lead over {format_ties(ties, 'ties in the table')} is not significant" if ties else ""
    score = float(table[f"{metric}_mean"].iloc[best_row(table, task)])
    lines = [f"* best: {best}, {METRIC_NAMES[metric]} {score:.3f}{lead}"]
    if "best_params" in table:
        lines += [
            f"best parameters of {row['estimator']}: {row['best_params']}"
            for row in table.to_dict(orient="records")
            if row["best_params"]
        ]
    return list(map(wrap_text, lines))


def score_facts(table: pd.DataFrame, task: str, ties: Sequence[str]) -> dict[str, str]:
    """Return score, interval and ties of the best row, for cards in notebooks."""
    cells, name = score_cells(table, task)[best_row(table, task)], METRIC_NAMES[METRICS[task][0]]
    return {
        name: cells[name],
        "95 % interval": cells["95 % interval"],
        "not significantly worse": format_ties(ties, "ties in the table") or "none",
    }


def html_cells(table: pd.DataFrame, task: str, backbones: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of :func:`score_cells` as text, for tables in notebooks."""
    return [
        {**cells, "fit s": f"{cells['fit s']:.2f}", "predict s": f"{cells['predict s']:.3f}"}
        for cells in score_cells(table, task, backbones)
    ]
