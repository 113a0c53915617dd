"""Output of results: a comparison as text and JSON, tables as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import best_row
from featx.baselines.output.score_table import (
    conclusion_lines,
    format_headline,
    format_scores_table,
    html_cells,
    score_facts,
)
from featx.datasets.tags import Tags
from featx.system.files.atomic import write_text
from featx.system.files.output_paths import as_output_error, header_pattern, starts_with
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import escape_cell, escape_path_cell, format_count, format_duration, shorten
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html
from featx.system.terminal.tables import fit_text, wrap_text

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
            format_scores_table(result.table, result.task, _backbones(result)),
            "",
            *_summary_lines(result),
            *map(wrap_text, result.notes),
        ]
    )


def _headline(result: ReportedComparison) -> str:
    split = result.backbones[0].comparison.split
    return format_headline(result.n_rows, "image", result.n_classes, result.task, split)


def _backbones(result: ReportedComparison) -> list[str]:
    """Return the name of the backbone of each row."""
    return [result.backbone_of(row).name for row in range(len(result.table))]


def comparison_cells(result: ReportedComparison) -> list[dict[str, str]]:
    """Return the rows of the table of scores as text, for notebooks."""
    return html_cells(result.table, result.task, _backbones(result))


def comparison_html(result: ReportedComparison, seconds: float | None) -> str:
    """Return a comparison as a card for notebooks: the best estimator, what it rests on, the table and the notes."""
    n_issues = 0 if result.label_issues is None else len(result.label_issues)
    facts = {
        **score_facts(result.table, result.task, result.ties),
        "data": _headline(result),
        "duplicates": result.duplicates.describe() if len(result.duplicates) else "none",
        "unreadable images": f"{len(result.failures):,}" if result.failures else "",
        "likely label errors": f"{n_issues:,}" if n_issues else "",
        "duration": "" if seconds is None else format_duration(seconds),
    }
    table = table_to_html(comparison_cells(result), marked=[best_row(result.table, result.task)])
    return card_to_html(_best(result), facts, table, notes=result.notes)


def _best(result: ReportedComparison) -> str:
    return f"{result.best_row['estimator']} on {result.best_backbone.name}"


def _summary_lines(result: ReportedComparison) -> list[str]:
    lines = conclusion_lines(result.table, result.task, _best(result), result.ties)
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
        "notes": result.notes,
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
