"""Plots of a comparison on matplotlib, where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.baselines.metrics import METRIC_NAMES, METRICS
from featx.errors import MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd


def _axes(ax: Any, **size: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError("Plots need matplotlib. Install it: pip install matplotlib.") from error
    return plt.subplots(**size)[1]


def scores(table: pd.DataFrame, names: Sequence[str], metric: str, ax: Any = None) -> Any:
    """Draw a metric with its intervals, one line for each row of a table; return the axes.

    Parameters
    ----------
    table : DataFrame
        As :attr:`featx.Comparison.table`.
    names : sequence of str
        Of the rows.
    metric : str
    ax : matplotlib Axes or None, default=None
        None makes new ones.
    """
    ax = _axes(ax, figsize=(7, 1 + 0.3 * len(table)))
    at = np.arange(len(table))[::-1]
    middle = table[f"{metric}_mean"].to_numpy(dtype=float)
    low, high = (table[side].fillna(table[f"{metric}_mean"]).to_numpy(dtype=float) for side in ("low", "high"))
    ax.errorbar(middle, at, xerr=[np.maximum(0, middle - low), np.maximum(0, high - middle)], fmt="o", capsize=3)
    ax.set_yticks(at, [name.replace("$", r"\$") for name in names])
    ax.set_xlabel(f"{METRIC_NAMES[metric]}, mean and 95 % interval")
    ax.grid(axis="x", alpha=0.4)
    return ax


def confusion(y: Any, predicted: Any, ax: Any = None) -> Any:
    """Draw a confusion matrix; return the axes.

    Parameters
    ----------
    y, predicted : ndarray, shape (n_samples,)
    ax : matplotlib Axes or None, default=None
    """
    from sklearn.metrics import ConfusionMatrixDisplay

    n = len(np.unique(np.concatenate([y, predicted])))
    ax = _axes(ax, figsize=(2 + 0.3 * n, 2 + 0.3 * n))
    ConfusionMatrixDisplay.from_predictions(
        y, predicted, ax=ax, cmap="Blues", colorbar=False, xticks_rotation="vertical", include_values=n <= 30
    )
    return ax


def curve(found: pd.DataFrame, task: str, ax: Any = None) -> Any:
    """Draw a learning curve; return the axes.

    Parameters
    ----------
    found : DataFrame
        As :func:`featx.learning_curve` returns it.
    task : {"classification", "regression"}
    ax : matplotlib Axes or None, default=None
    """
    ax = _axes(ax, figsize=(6, 3.5))
    for estimator, of_one in found.groupby("estimator", sort=False):
        ax.errorbar(of_one["n_per_class"], of_one["score_mean"], of_one["score_std"], marker="o", label=estimator)
    of_what = "training images per class" if task == "classification" else "training images"
    ax.set(xscale="log", xlabel=of_what, ylabel=METRIC_NAMES[METRICS[task][0]])
    ax.set_xticks(found["n_per_class"].unique(), [f"{n:,}" for n in found["n_per_class"].unique()])
    ax.legend()
    return ax
