"""The map of features: where each image is, and what its point looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.system.array_types import FloatArray
from featx.workflows.report import charts


def positions(features: FloatArray, *, tsne: bool) -> dict[str, Any]:
    """Return columns ``x`` and ``y``, and those of each projection for the page to choose from.

    Parameters
    ----------
    features : ndarray of float32, shape (n, n_features)
    tsne : bool
        Project by t-SNE, too.
    """
    from sklearn.decomposition import PCA

    scale = features.std() or 1.0
    reduced = PCA(min(50, *features.shape), random_state=0).fit_transform(features / scale)
    if reduced.shape[1] < 2:
        reduced = np.hstack([reduced, np.zeros((len(reduced), 2 - reduced.shape[1]), dtype=reduced.dtype)])
    x, y = reduced[:, 0], reduced[:, 1]
    points: dict[str, Any] = {"x": x, "y": y, "pca_x": x, "pca_y": y}
    if tsne:
        from sklearn.manifold import TSNE

        found = TSNE(perplexity=min(30, (len(features) - 1) / 3), init="pca", random_state=0).fit_transform(reduced)
        points |= {"x": found[:, 0], "y": found[:, 1], "tsne_x": found[:, 0], "tsne_y": found[:, 1]}
    return {**points, "alpha": np.full(len(features), 0.85, dtype=np.float32)}


def of_classes(names: Sequence[str], true: Any, predicted: Any) -> dict[str, Any]:
    """Return columns of what points look like and say; `true` and `predicted` are numbers of classes."""
    looks = [charts.look_of(int(code)) for code in true]
    return {
        "label": [names[code] for code in true],
        "predicted": [names[code] for code in predicted],
        "colour": [look.colour for look in looks],
        "fill": [look.fill for look in looks],
        "marker": [look.marker for look in looks],
        "wrong": true != predicted,
    }


def of_quantities(values: FloatArray, predicted: FloatArray) -> dict[str, Any]:
    """Return columns of what points of a regression look like and say."""
    palette = charts.palette()
    spread = np.ptp(values) or 1.0
    colours = [palette[int(255 * (value - values.min()) / spread)] for value in values]
    return {
        "label": [f"{value:.4g}" for value in values],
        "predicted": [f"{value:.4g}" for value in predicted],
        "colour": colours,
        "fill": colours,
        "marker": ["circle"] * len(values),
        "wrong": np.zeros(len(values), dtype=bool),
    }
