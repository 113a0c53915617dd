"""The map of features: position and style of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.system.array_types import FloatArray
from featx.workflows.report.charts import class_style, palette

_N_COMPONENTS = 50
_ALPHA = 0.85
#: Half of scikit-learn's default, which took ten seconds for 5,000 images.
_TSNE_ITERATIONS = 500


def project(features: FloatArray, *, tsne: bool) -> dict[str, Any]:
    """Return the columns ``x`` and ``y``, and those of each projection, which the page can switch to.

    Parameters
    ----------
    features : ndarray of float32 of shape (n_samples, n_features)
    tsne : bool
        Whether to project with t-SNE, too.
    """
    from sklearn.decomposition import PCA

    scale = features.std() or 1.0
    reduced = PCA(min(_N_COMPONENTS, *features.shape), random_state=0).fit_transform(features / scale)
    if reduced.shape[1] < 2:
        reduced = np.hstack([reduced, np.zeros((len(reduced), 2 - reduced.shape[1]), dtype=reduced.dtype)])
    x, y = reduced[:, 0], reduced[:, 1]
    points: dict[str, Any] = {"x": x, "y": y, "pca_x": x, "pca_y": y}
    if tsne:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        perplexity = min(30, (len(features) - 1) / 3)
        projection = TSNE(perplexity=perplexity, init="pca", max_iter=_TSNE_ITERATIONS, random_state=0)
        # Threads wait for each other in every iteration: on a busy machine, two took 25 times as long as one.
        with threadpool_limits(1):
            x, y = projection.fit_transform(reduced).T
        points |= {"x": x, "y": y, "tsne_x": x, "tsne_y": y}
    return {**points, "alpha": np.full(len(features), _ALPHA, dtype=np.float32)}


def class_columns(names: Sequence[str], true: Any, predicted: Any) -> dict[str, Any]:
    """Return columns for the style and the tooltip of points.

    Parameters
    ----------
    names : sequence of str
        Names of the classes.
    true, predicted : ndarray of int of shape (n_samples,)
        Class indices.
    """
    styles = [class_style(int(index)) for index in true]
    return {
        "label": [names[index] for index in true],
        "predicted": [names[index] for index in predicted],
        "color": [style.color for style in styles],
        "fill": [style.fill for style in styles],
        "marker": [style.marker for style in styles],
        "wrong": true != predicted,
    }


def target_columns(targets: FloatArray, predicted: FloatArray) -> dict[str, Any]:
    """Return columns for the style and the tooltip of points of a regression."""
    colors = palette()
    spread = np.ptp(targets) or 1.0
    point_colors = [colors[int(255 * (target - targets.min()) / spread)] for target in targets]
    return {
        "label": [f"{target:.4g}" for target in targets],
        "predicted": [f"{target:.4g}" for target in predicted],
        "color": point_colors,
        "fill": point_colors,
        "marker": ["circle"] * len(targets),
        "wrong": np.zeros(len(targets), dtype=bool),
    }
