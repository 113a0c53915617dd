"""Plots of a comparison with matplotlib, if it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.errors import missing_dependency
from featx.system.array_types import AnyArray

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
    ax.set_yticks(positions, [name.replace("$", r"\$") for name in names])
    ax.set_xlabel(f"{METRIC_NAMES[metric]}, mean and 95 % interval")
    ax.grid(axis="x", alpha=0.4)
    return ax


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
    task : {"classification", "regression"}
        Type of the target.
    ax : matplotlib.axes.Axes or None, default=None
        Axes to draw on. None: new axes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = _axes_or_new(ax, figsize=(6, 3.5))
    for estimator, points in curve.groupby("estimator", sort=False):
        ax.errorbar(points["n_per_class"], points["score_mean"], points["score_std"], marker="o", label=estimator)
    xlabel = "training images per class" if task == "classification" else "training images"
    ax.set(xscale="log", xlabel=xlabel, ylabel=METRIC_NAMES[METRICS[task][0]])
    ax.set_xticks(curve["n_per_class"].unique(), [f"{n:,}" for n in curve["n_per_class"].unique()])
    ax.legend()
    return ax
