"""Plots of a comparison with matplotlib, if it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.errors import missing_dependency
from featx.system.array_types import AnyArray, BoolArray

if TYPE_CHECKING:
    import pandas as pd


def _axes_or_new(ax: Any, **options: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise missing_dependency("Plotting", "matplotlib") from error
    return plt.subplots(**options)[1]


def plot_scores(table: pd.DataFrame, names: Sequence[str], metric: str, ax: Any = None) -> Any:
    """Plot a metric and its confidence intervals, one line for each row of a table.

    Parameters
    ----------
    table : pandas.DataFrame
        Table such as ``featx.Comparison.table``.
    names : sequence of str
        Label of each row.
    metric : str
        Name of the metric.
    ax : matplotlib.axes.Axes or None, default=None
        Axes to draw on. None: new axes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = _axes_or_new(ax, figsize=(7, 1 + 0.3 * len(table)))
    positions = np.arange(len(table))[::-1]
    mean = table[f"{metric}_mean"].to_numpy(dtype=float)
    low, high = (table[side].fillna(table[f"{metric}_mean"]).to_numpy(dtype=float) for side in ("low", "high"))
    ax.errorbar(mean, positions, xerr=[np.maximum(0, mean - low), np.maximum(0, high - mean)], fmt="o", capsize=3)
    is_outside = far_dummies(table["estimator"], low, high)
    ax.set_xlim(*range_with_margin(low[~is_outside], high[~is_outside]))
    texts = [
        f"{name}: {score:.3f}, outside" if outside else name
        for name, score, outside in zip(names, mean, is_outside, strict=True)
    ]
    ax.set_yticks(positions, [text.replace("$", r"\$") for text in texts])
    ax.set_xlabel(f"{METRIC_NAMES[metric]}, mean and 95 % interval")
    ax.grid(axis="x", alpha=0.4)
    return ax


def far_dummies(estimators: Any, low: AnyArray, high: AnyArray) -> BoolArray:
    """Return which dummy estimators are so far below all others that a plot of both would hide their differences.

    Parameters
    ----------
    estimators : sequence of str
        Name of the estimator of each row.
    low, high : ndarray of shape (n_rows,)
        Ends of the intervals.
    """
    is_dummy = np.array([name == "dummy" for name in estimators])
    if is_dummy.all():
        return np.zeros_like(is_dummy)
    start, end = low[~is_dummy].min(), high[~is_dummy].max()
    is_far: BoolArray = is_dummy & (high < start - 3 * (end - start)) & (end > start)
    return is_far


def range_with_margin(low: AnyArray, high: AnyArray) -> tuple[float, float]:
    """Return the range of an axis that shows all scores and intervals, with a margin.

    Scores are at most 1, and accuracies at least 0: beyond them, there is only room for half a marker.

    Examples
    --------
    >>> range_with_margin(np.array([0.5, 0.9]), np.array([0.6, 1.0]))
    (0.47, 1.01)
    """
    first, last = float(np.nanmin(low)), float(np.nanmax(high))
    margin = 0.06 * (last - first) or 0.05
    start = first - margin if first < 0 else max(first - margin, -0.01)
    return round(start, 9), round(min(last + margin, 1.01), 9)


def curve_band(curve: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return the mean of a learning curve minus and plus the standard deviation, within the range of the score."""
    mean, deviation = curve["score_mean"], curve["score_std"].fillna(0)
    low = mean - deviation
    return low.where(mean < 0, low.clip(lower=0)), (mean + deviation).clip(upper=1)


def plot_confusion(y: AnyArray, predicted: AnyArray, ax: Any = None) -> Any:
    """Plot a confusion matrix.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        True labels.
    predicted : ndarray of shape (n_samples,)
        Predicted labels.
    ax : matplotlib.axes.Axes or None, default=None
        Axes to draw on. None: new axes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    n_classes = len(np.unique(np.concatenate([y, predicted])))
    ax = _axes_or_new(ax, figsize=(2 + 0.3 * n_classes, 2 + 0.3 * n_classes))
    ConfusionMatrixDisplay.from_predictions(
        y, predicted, ax=ax, cmap="Blues", colorbar=False, xticks_rotation="vertical", include_values=n_classes <= 30
    )
    return ax


def plot_learning_curve(curve: pd.DataFrame, task: str, ax: Any = None) -> Any:
    """Plot a learning curve.

    Parameters
    ----------
    curve : pandas.DataFrame
        Result of :func:`featx.learning_curve`.
    task : {"classification", "regression", "multilabel"}
        Type of the target.
    ax : matplotlib.axes.Axes or None, default=None
        Axes to draw on. None: new axes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = _axes_or_new(ax, figsize=(6, 3.5))
    low, high = curve_band(curve)
    for estimator, points in curve.groupby("estimator", sort=False):
        mean = points["score_mean"]
        errors = [mean - low[points.index], high[points.index] - mean]
        ax.errorbar(points["n_per_class"], mean, errors, marker="o", label=estimator)
    ax.set_ylim(*range_with_margin(low.to_numpy(), high.to_numpy()))
    xlabel = "training images per class" if task == "classification" else "training images"
    ax.set(xscale="log", xlabel=xlabel, ylabel=METRIC_NAMES[METRICS[task][0]])
    ax.set_xticks(curve["n_per_class"].unique(), [f"{n:,}" for n in curve["n_per_class"].unique()])
    ax.legend()
    return ax
