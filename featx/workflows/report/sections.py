"""Content of the sections of a comparison report, one function for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS, per_class
from featx.system.formatting import format_bytes, format_count, format_ties, shorten
from featx.workflows.report.charts import class_style
from featx.workflows.report.duplicate_grid import duplicate_groups
from featx.workflows.report.image_frame import ImageFrame, label_issue_records, misclassified_rows, records
from featx.workflows.report.run_details import environment_details, extraction_details
from featx.workflows.report.summary_card import summary_card

_MAX_FAILURES = 50
_MAX_NOTE_LENGTH = 2000


def metric_name(frame: ImageFrame) -> str:
    """Return the display name of the metric that verdicts are based on."""
    return METRIC_NAMES[METRICS[frame.result.task][0]]


def _score(frame: ImageFrame) -> float:
    return float(frame.result.best_row[f"{METRICS[frame.result.task][0]}_mean"])


def title(frame: ImageFrame) -> str:
    """Return the title of the page: the best estimator and its score."""
    return f"{frame.estimator} on {frame.backbone.name}: {metric_name(frame)} {_score(frame):.3f}"


def summary(frame: ImageFrame) -> str:
    """Return one sentence on the best estimator, its score and ties."""
    result, best = frame.result, frame.result.best_row
    n_images = format_count(len(frame.scored), "image")
    if frame.result.task == "multilabel":
        n_tags = format_count(len(frame.backbone.comparison.classes), "tag")
        score = f"mean average precision {_score(frame):.3f} on {n_images} with {n_tags}"
    elif frame.has_classes:
        n_classes = format_count(len(np.unique(frame.backbone.comparison.y)), "class")
        score = f"accuracy {_score(frame):.3f} on {n_images} of {n_classes}"
    else:
        score = f"R² {_score(frame):.3f} on {n_images}"
    low, high = float(best["low"]), float(best["high"])
    interval = f" (95 % interval {low:.3f} – {high:.3f})" if np.isfinite(low) and np.isfinite(high) else ""
    ties = format_ties(result.ties)
    tied = f" Its lead over {ties} is not significant." if result.ties else ""
    return f"Best: {frame.estimator} on {frame.backbone.name}, {score}{interval}.{tied}"


def score_rows(frame: ImageFrame) -> list[tuple[str, dict[str, Any]]]:
    """Return the name of the backbone and the values of each row of the table."""
    table = frame.result.table
    names = [frame.result.backbone_of(row).name for row in range(len(table))]
    return list(zip(names, records(table), strict=True))


def class_rows(frame: ImageFrame) -> list[dict[str, Any]]:
    """Return recall, precision and F1 of each class or combination of tags, with its style on the map."""
    if frame.classes is None:
        return []
    names = frame.class_names
    rows = []
    true, predicted = frame.codes(frame.scored)
    for row in records(per_class(true, predicted)):
        index = int(row["label"])
        style = class_style(index)
        rows.append({**row, "index": index, "name": names[index], "color": style.color, "character": style.character})
    return rows


def tag_rows(frame: ImageFrame) -> list[dict[str, Any]]:
    """Return the scores of each tag; empty if images have one label."""
    if frame.result.task != "multilabel":
        return []
    rows = records(frame.backbone.comparison.per_class(frame.estimator))
    return [{**row, "name": frame.format_label(row["label"])} for row in rows]


def confusions(frame: ImageFrame) -> list[dict[str, Any]]:
    """Return the most frequent confusions of two classes."""
    if frame.classes is None:
        return []
    true, predicted = frame.codes(frame.scored)
    wrong = true != predicted
    pairs, counts = np.unique(np.column_stack([true[wrong], predicted[wrong]]), axis=0, return_counts=True)
    names = frame.class_names
    most_frequent = np.argsort(-counts, kind="stable")[: frame.limits.confusions]
    return [
        {
            "true": int(true_index),
            "predicted": int(predicted_index),
            "true_name": names[true_index],
            "predicted_name": names[predicted_index],
            "count": int(count),
        }
        for (true_index, predicted_index), count in zip(pairs[most_frequent], counts[most_frequent], strict=True)
    ]


def rows_of_mistakes(frame: ImageFrame) -> list[int]:
    """Return the rows of the misclassified images that are shown."""
    return misclassified_rows(frame.result, frame.scored)[: frame.limits.misclassified]


def mistake_tiles(frame: ImageFrame, attributions: dict[int, str]) -> list[dict[str, Any]]:
    """Return tiles of misclassified images, or of the largest errors.

    Parameters
    ----------
    frame : ImageFrame
    attributions : dict of int to str
        Data URLs of attribution maps by row.
    """
    tiles = []
    for row in rows_of_mistakes(frame):
        label, predicted = frame.scored.at[row, "label"], frame.scored.at[row, "predicted"]
        text = f"{frame.format_label(label)}, predicted {frame.format_label(predicted)}"
        tiles.append(frame.tile(row, text, attributions.get(row, "")))
    return [tile for tile in tiles if tile]


def label_issue_tiles(frame: ImageFrame) -> list[dict[str, Any]]:
    """Return tiles of likely label errors."""
    tiles = []
    for issue in label_issue_records(frame.result, frame.limits):
        verb = "suggested" if frame.result.task == "multilabel" else "predicted"
        text = f"labeled {frame.format_label(issue['given'])}, {verb} {frame.format_label(issue['suggested'])}"
        tiles.append(frame.tile(int(issue["row"]), text))
    return [tile for tile in tiles if tile]


def curve_rows(frame: ImageFrame) -> list[dict[str, Any]]:
    """Return the points of the learning curve."""
    curve = frame.result.learning_curve
    return [] if curve is None else records(curve)


def alt_texts(frame: ImageFrame) -> dict[str, str]:
    """Return descriptions of the plots for screen readers."""
    metric = METRICS[frame.result.task][0]
    scores = [f"{row['estimator']} on {name} {row[f'{metric}_mean']:.3f}" for name, row in score_rows(frame)]
    texts = {
        "scores": f"{', '.join(scores)}.",
        "map": f"{format_count(len(frame.shown), 'image')}.",
        "curve": ", ".join(f"{row['n_per_class']} images {row['score_mean']:.3f}" for row in curve_rows(frame)) + ".",
        "confusion": "",
    }
    if frame.has_classes:
        n_correct = int((frame.scored["label"] == frame.scored["predicted"]).sum())
        frequent = [
            f"{pair['true_name']} predicted as {pair['predicted_name']} {pair['count']} times"
            for pair in confusions(frame)[:5]
        ]
        correct = f"{n_correct:,} of {len(frame.scored):,} correct"
        texts["confusion"] = f"{correct}. Most frequent confusions: {', '.join(frequent) or 'none'}."
        n_images, n_classes = format_count(len(frame.shown), "image"), format_count(len(frame.class_names), "class")
        texts["map"] = f"{n_images} of {n_classes}; the classes are below."
    return texts


def script_data(frame: ImageFrame) -> dict[str, Any]:
    """Return what the script of the page needs to show the images of a class, a cell or a point."""
    data: dict[str, Any] = {
        "columns": frame.atlas.n_columns,
        "names": frame.names[: len(frame.shown)],
        "partial": len(frame.shown) < len(frame.scored),
        "large": [[frame.tiles[row], *frame.large_atlas.cell(number)] for row, number in frame.large_tiles.items()],
        "classes": frame.class_names,
    }
    if frame.has_classes:
        true, predicted = frame.codes(frame.shown)
        return {**data, "true": true.tolist(), "predicted": predicted.tolist()}
    values = {name: [frame.format_label(value) for value in frame.shown[name]] for name in ("label", "predicted")}
    return {**data, "true": values["label"], "predicted": values["predicted"]}


def page_content(frame: ImageFrame, command: str, seconds: float | None) -> dict[str, Any]:
    """Return everything that the template shows in addition to plots and attribution maps."""
    result = frame.result
    ungrouped = result.ungrouped_scores
    thumbnails = f"{format_count(len(frame.shown), 'image')}, {format_bytes(len(frame.atlas.data))}"
    return {
        "title": title(frame),
        "summary": summary(frame),
        "card": summary_card(frame, seconds),
        "notes": [shorten(note, _MAX_NOTE_LENGTH) for note in result.notes],
        "metrics": [(metric, METRIC_NAMES[metric]) for metric in METRICS[result.task]],
        "metric_name": metric_name(frame),
        "table": score_rows(frame),
        "best_row": int(result.table.index.get_loc(result.best_row.name)),  # type: ignore[arg-type]
        "has_classes": frame.has_classes,
        "estimator": frame.estimator,
        "backbone": frame.backbone.name,
        "split": frame.backbone.comparison.split.description,
        "classes": class_rows(frame),
        "tags": tag_rows(frame),
        "confusions": confusions(frame),
        "n_mistakes": len(misclassified_rows(result, frame.scored)) if frame.has_classes else 0,
        "label_issues": label_issue_tiles(frame),
        "n_label_issues": 0 if result.label_issues is None else len(result.label_issues),
        "has_label_issues": result.label_issues is not None,
        "duplicates": result.duplicates,
        "groups": duplicate_groups(frame),
        "n_groups": len(result.duplicates),
        "ungrouped_score": None if ungrouped is None else ungrouped.set_index("estimator")["mean"].get(frame.estimator),
        "ungrouped_settings": f" ({result.ungrouped_settings})" if result.ungrouped_settings else "",
        "curve": curve_rows(frame),
        "n_images": len(result.paths),
        "n_shown": len(frame.shown),
        "n_scored": len(frame.scored),
        "failures": [(shorten(failure.image), failure.reason) for failure in result.failures[:_MAX_FAILURES]],
        "n_failures": len(result.failures),
        "extractions": extraction_details(result.backbones),
        "environment": environment_details(command, seconds, thumbnails),
        "alt_texts": alt_texts(frame),
        "data": script_data(frame),
        "atlas": frame.atlas,
        "large_atlas": frame.large_atlas,
    }
