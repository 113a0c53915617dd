"""The answers at the top of a report: best baseline, interval, ties, duplicates, label errors and time."""

from __future__ import annotations

import dataclasses

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.system.formatting import format_count
from featx.workflows.report.image_frame import ImageFrame
from featx.workflows.report.inputs import ReportedComparison

_MAX_NAMED_TIES = 3


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer of the summary card.

    Attributes
    ----------
    name, value, detail : str
    section : str
        ID of the section of the page with more about it.
    """

    name: str
    value: str
    detail: str
    section: str


def summary_card(frame: ImageFrame, seconds: float | None) -> list[Answer]:
    """Return the answers, in the order of the page."""
    result = frame.result
    answers = [_best(result), _interval(result), _ties(result), _leaks(frame), _duplicates(result)]
    if result.label_issues is not None:
        n_issues = len(result.label_issues)
        detail = f"of {format_count(len(result.paths), 'image')}; check them first" if n_issues else "none was found"
        answers.append(Answer("Likely label errors", f"{n_issues:,}", detail, "label-issues"))
    return [*answers, *([] if seconds is None else [_time(result, seconds)])]


def _best(result: ReportedComparison) -> Answer:
    metric = METRICS[result.task][0]
    score = float(result.best_row[f"{metric}_mean"])
    detail = f"{METRIC_NAMES[metric]}: {result.best_row['estimator']} on {result.best_backbone.name}"
    return Answer("Best", f"{score:.3f}", detail, "scores")


def _interval(result: ReportedComparison) -> Answer:
    low, high = float(result.best_row["low"]), float(result.best_row["high"])
    is_known = np.isfinite(low) and np.isfinite(high)
    split = result.best_backbone.comparison.split.description
    return Answer("95 % interval", f"{low:.3f} – {high:.3f}" if is_known else "unknown", split, "scores")


def _ties(result: ReportedComparison) -> Answer:
    ties = result.ties
    names = ", ".join(ties[:_MAX_NAMED_TIES]) + (", …" if len(ties) > _MAX_NAMED_TIES else "")
    return Answer(
        "Ties with the best",
        f"{len(ties):,}",
        names or ("its lead is significant" if len(result.table) > 1 else "no other baseline"),
        "scores",
    )


def _leaks(frame: ImageFrame) -> Answer:
    """Return how many groups of duplicates are in training and test images, and what became of them."""
    leaks = [group for group in frame.result.duplicates.clusters if frame.is_leak(group)]
    if not leaks and frame.has_test_set:
        return Answer("Leaks", "0", "no test image is like a training image", "duplicates")
    if not leaks:
        return Answer("Leaks", "0", "no split divides duplicates", "duplicates")
    value = format_count(len(leaks), "group")
    if not frame.has_test_set:
        return Answer("Leaks", value, "divided by splits: scores may be too high", "duplicates")
    rows = np.concatenate([group.rows for group in leaks])
    rows = rows[frame.fold_of_row[rows] < 0]
    is_excluded = not np.isin(rows, frame.backbone.comparison.split.folds[0][0]).any()
    fate = "excluded" if is_excluded else "used: the score may be too high"
    return Answer("Leaks", value, f"{format_count(len(rows), 'training image')} like test images, {fate}", "duplicates")


def _duplicates(result: ReportedComparison) -> Answer:
    groups = result.duplicates.clusters
    details = []
    if result.task == "classification" and (n_conflicts := sum(len(group.labels) > 1 for group in groups)):
        details.append(f"{n_conflicts:,} with different labels")
    if (score := ungrouped_score(result)) is not None:
        details.append(f"{METRIC_NAMES[METRICS[result.task][0]]} {score:.3f} if ignored")
    value = format_count(len(groups), "group") if groups else "0"
    return Answer(
        "Duplicates", value, "; ".join(details) or ("see the images" if groups else "none was found"), "duplicates"
    )


def ungrouped_score(result: ReportedComparison) -> float | None:
    """Return the score of the best estimator if duplicates were split at random, or None if it is unknown."""
    if result.ungrouped_scores is None:
        return None
    score = result.ungrouped_scores.set_index("estimator")["mean"].get(result.best_row["estimator"])
    return None if score is None else float(score)


def _time(result: ReportedComparison, seconds: float) -> Answer:
    extraction = sum(backbone.seconds for backbone in result.backbones)
    rest = max(0.0, seconds - extraction)
    return Answer(
        "Time", f"{seconds:.1f} s", f"extraction {extraction:.1f} s, fitting and the rest {rest:.1f} s", "run"
    )
