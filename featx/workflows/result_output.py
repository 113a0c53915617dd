"""Output of results: a comparison as text and JSON, tables as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS, best_row
from featx.datasets.tags import Tags
from featx.system.files.atomic import write_text
from featx.system.files.output_paths import as_output_error, header_pattern, starts_with
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import escape_cell, escape_path_cell, format_count, format_duration, format_ties, shorten
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.terminal.tables import fit_text, format_table, wrap_text

if TYPE_CHECKING:
    import pandas as pd

    from featx.workflows.report.inputs import ReportedComparison


#: Whether an existing file is a report, or one of the tables written next to it. A table to which a person may have
#: added columns must have exactly our columns.
is_report_file = starts_with(rb'<meta name="generator" content="featx')
is_table_file = starts_with(
    rb"\Abackbone,layer,pooling,features,(tta,)?estimator,",
    rb"\Aname,backbone,layer,pooling,features,loo_ridge,",
    header_pattern(["path", "given", "suggested", "confidence", "probability_of_given"]),
    header_pattern(["path", "finding", "detail"]),
)


def comparison_text(result: ReportedComparison) -> str:
    """Return a comparison as text: headline, table, best row and notes."""
    return "\n".join(
        [
            fit_text(_headline(result)),
            "",
            *_table_lines(result),
            "",
            *_summary_lines(result),
            *map(wrap_text, result.notes),
        ]
    )


def _headline(result: ReportedComparison) -> str:
    split = result.backbones[0].comparison.split
    kind = "tag" if result.task == "multilabel" else "class"
    classes = f", {format_count(result.n_classes, kind)}" if result.n_classes else ""
    spread = "; mean ± sd" if len(split.folds) > 1 else ""
    return f"{format_count(result.n_rows, 'image')}{classes}; {split.description}{spread}"


def _table_lines(result: ReportedComparison) -> list[str]:
    first, *others = METRICS[result.task]
    widths = {METRIC_NAMES[first]: 13, "95 % interval": 14, "": 5, "fit s": 7, "predict s": 9}
    return format_table(
        table_rows(result),
        formats={"fit s": ".2f", "predict s": ".3f"},
        min_widths={**widths, **dict.fromkeys((METRIC_NAMES[metric] for metric in others), 8)},
        marked=[best_row(result.table, result.task)],
    ).split("\n")


def table_rows(result: ReportedComparison) -> list[dict[str, Any]]:
    """Return the rows of the table that people read: scores with three digits, intervals, verdicts and times."""
    first, *others = METRICS[result.task]
    rows = []
    for number, row in enumerate(result.table.to_dict(orient="records")):
        deviation = f" ± {row[f'{first}_std']:.3f}" if np.isfinite(row[f"{first}_std"]) else ""
        cells = {"backbone": result.backbone_of(number).name, "estimator": str(row["estimator"])}
        cells |= {METRIC_NAMES[first]: f"{row[f'{first}_mean']:.3f}{deviation}"}
        cells |= {"95 % interval": f"{row['low']:.3f} – {row['high']:.3f}" if np.isfinite(row["low"]) else ""}
        cells |= {"": row["verdict"]}
        cells |= {METRIC_NAMES[metric]: f"{row[f'{metric}_mean']:.3f}" for metric in others}
        rows.append({**cells, "fit s": row["fit_seconds"], "predict s": row["predict_seconds"]})
    return rows


def comparison_html(result: ReportedComparison, seconds: float | None) -> str:
    """Return a comparison as a card for notebooks: the best estimator, what it rests on, the table and the notes."""
    metric, best = METRICS[result.task][0], result.best_row
    rows = table_rows(result)
    number = best_row(result.table, result.task)
    n_issues = 0 if result.label_issues is None else len(result.label_issues)
    facts = {
        METRIC_NAMES[metric]: rows[number][METRIC_NAMES[metric]],
        "95 % interval": rows[number]["95 % interval"],
        "not significantly worse": format_ties(result.ties, "ties in the table") or "none",
        "data": _headline(result),
        "duplicates": result.duplicates.describe() if len(result.duplicates) else "none",
        "unreadable images": f"{len(result.failures):,}" if result.failures else "",
        "likely label errors": f"{n_issues:,}" if n_issues else "",
        "duration": "" if seconds is None else format_duration(seconds),
    }
    cells = [{**row, "fit s": f"{row['fit s']:.2f}", "predict s": f"{row['predict s']:.3f}"} for row in rows]
    title = f"{best['estimator']} on {result.best_backbone.name}"
    return card_to_html(title, facts, table_to_html(cells, marked=[number]), notes=result.notes)


def _summary_lines(result: ReportedComparison) -> list[str]:
    best, metric = result.best_row, METRICS[result.task][0]
    lead = f"; its lead over {format_ties(result.ties, 'ties in the table')} is not significant" if result.ties else ""
    score = f"{METRIC_NAMES[metric]} {best[f'{metric}_mean']:.3f}"
    lines = [wrap_text(f"* best: {best['estimator']} on {result.best_backbone.name}, {score}{lead}")]
    if "best_params" in result.table:
        lines += [
            wrap_text(f"best parameters of {row['estimator']}: {row['best_params']}")
            for row in result.table.to_dict(orient="records")
            if row["best_params"]
        ]
    if result.label_issues is not None and len(result.label_issues):
        issue = result.label_issues.iloc[0]
        lines.append(
            wrap_text(
                f"{format_count(len(result.label_issues), 'likely label error')}; the most likely one is "
                f"{shorten(issue['path'], 100)}: labeled {shorten(str(issue['given']))}, "
                f"{'suggested' if result.task == 'multilabel' else 'predicted'} {shorten(str(issue['suggested']))}."
            )
        )
    if result.learning_curve is not None:
        lines += _curve_lines(result.learning_curve, has_classes=result.task == "classification")
    return lines


def _curve_lines(curve: pd.DataFrame, *, has_classes: bool) -> list[str]:
    header = "images per class" if has_classes else "images"
    lines = ["", f"  {header}  score of {curve['estimator'].iloc[0]}"]
    lines += [
        f"  {row['n_per_class']:>{len(header)},}  {row['score_mean']:.3f}" for row in curve.to_dict(orient="records")
    ]
    return [*lines, ""]


def comparison_dict(result: ReportedComparison) -> dict[str, Any]:
    """Return a comparison as JSON values; values that are not defined are None."""
    best = result.best_row
    identifiers = [name for name in ("backbone", "layer", "pooling", "estimator", "tta") if name in result.table]
    ungrouped = result.ungrouped_scores
    duplicates = result.duplicates.as_dict([redact_secrets(path) for path in result.paths])
    duplicates["ungrouped_scores"] = (
        None if ungrouped is None else dict(zip(ungrouped["estimator"], ungrouped["mean"], strict=True))
    )
    values: dict[str, Any] = {
        "task": result.task,
        "rows": result.n_rows,
        "classes": result.n_classes,
        "features": int(best["features"]),
        **failures_dict(result.failures),
        "split": result.backbones[0].comparison.split.description,
        "results": result.table.drop(columns="features").to_dict(orient="records"),
        "best": {name: best[name] for name in identifiers},
        "ties": result.table[result.table["verdict"] == "tie"][identifiers].to_dict(orient="records"),
        "duplicates": duplicates,
        "per_class": [],
        "label_issues": _label_issues_dict(result.label_issues),
        "learning_curve": [] if result.learning_curve is None else result.learning_curve.to_dict(orient="records"),
        "warnings": result.notes,
    }
    if result.task != "regression":
        per_class = result.best_backbone.comparison.per_class(str(best["estimator"]))
        values["per_class"] = per_class.to_dict(orient="records")
    plain: dict[str, Any] = _as_json_value(values)
    return plain


def failures_dict(failures: Sequence[Any]) -> dict[str, Any]:
    """Return the images that could not be read as JSON values."""
    records = [{"path": failure.image, "error": failure.error, "reason": failure.reason} for failure in failures]
    return {"failed": len(failures), "failures": records}


def _label_issues_dict(issues: pd.DataFrame | None) -> list[dict[str, Any]]:
    if issues is None:
        return []
    records = issues[["path", "given", "suggested", "confidence"]].to_dict(orient="records")
    return [
        {**{str(name): value for name, value in record.items()}, "path": redact_secrets(record["path"])}
        for record in records
    ]


def _as_json_value(value: Any) -> Any:
    """Return a value without NaN, infinity, tags and numpy types, which JSON lacks."""
    if isinstance(value, dict):
        return {str(key): _as_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Tags):
        return [_as_json_value(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table to a CSV file, atomically and without cells that spreadsheets evaluate.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with as_output_error(path):
        # File names that are not UTF-8 are written as their bytes.
        write_text(path, _without_formulas(table).to_csv(index=False), errors="surrogateescape")


def _without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    def as_safe_cell(column: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return escape_path_cell(value) if column == "path" else escape_cell(value)

    # dtype=object: the string columns of pandas 3 reject file names that are not UTF-8.
    return pd.DataFrame(
        {
            column: table[column]
            if pd.api.types.is_numeric_dtype(table[column])
            else pd.Series([as_safe_cell(column, value) for value in table[column]], index=table.index, dtype=object)
            for column in table.columns
        }
    )
