"""The map of features: position and style of each image."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.system.array_types import FloatArray
from featx.workflows.report.charts import class_style, palette

_N_COMPONENTS = 50
_ALPHA = 0.85
#: Half of scikit-learn's default, which took ten seconds for 5,000 images.
_TSNE_ITERATIONS = 500
#: Longest expected duration of t-SNE without the option --tsne, in seconds.
MAX_TSNE_SECONDS = 15.0
#: Number of images whose t-SNE shows how long that of all takes, and its iterations: the fewest of scikit-learn.
_N_PROBED = 1000
_PROBE_ITERATIONS = 250


@dataclasses.dataclass(frozen=True)
class Projection:
    """Positions of images in the map.

    Attributes
    ----------
    points : dict of str to ndarray
        Columns ``x`` and ``y``, and those of each projection, which the page can switch to.
    has_tsne : bool
        Whether one of them is t-SNE; the other is PCA.
    note : str
        Which projection the map shows, and why.
    """

    points: dict[str, Any]
    has_tsne: bool
    note: str


def project(features: FloatArray, *, tsne: bool | None = None, max_seconds: float = MAX_TSNE_SECONDS) -> Projection:
    """Return the positions of images in the map.

    Parameters
    ----------
    features : ndarray of float32 of shape (n_samples, n_features)
    tsne : bool or None, default=None
        Whether to project with t-SNE, too. None: if it is expected to take at most `max_seconds`.
    max_seconds : float, default=15.0
    """
    from sklearn.decomposition import PCA

    scale = features.std() or 1.0
    reduced = PCA(min(_N_COMPONENTS, *features.shape), random_state=0).fit_transform(features / scale)
    if reduced.shape[1] < 2:
        reduced = np.hstack([reduced, np.zeros((len(reduced), 2 - reduced.shape[1]), dtype=reduced.dtype)])
    x, y = reduced[:, 0], reduced[:, 1]
    points: dict[str, Any] = {"x": x, "y": y, "pca_x": x, "pca_y": y}
    points["alpha"] = np.full(len(features), _ALPHA, dtype=np.float32)
    reason = _reason_against_tsne(reduced, tsne, max_seconds)
    if reason is not None:
        return Projection(points, has_tsne=False, note=f"It shows the first two principal components (PCA){reason}.")
    x, y = _fit_tsne(reduced, _TSNE_ITERATIONS).T
    note = (
        "It is drawn by t-SNE of the first 50 principal components: neighbors are meaningful, distances between groups "
        "are not."
    )
    return Projection(points | {"x": x, "y": y, "tsne_x": x, "tsne_y": y}, has_tsne=True, note=note)


def _reason_against_tsne(reduced: FloatArray, tsne: bool | None, max_seconds: float) -> str | None:
    """Return why the map is not drawn by t-SNE, or None if it is."""
    if len(reduced) < 5:
        return ", because t-SNE needs at least five images"
    if tsne is False:
        return ""
    if tsne or len(reduced) <= 2 * _N_PROBED:
        return None
    seconds = expected_tsne_seconds(reduced)
    if seconds <= max_seconds:
        return None
    return (
        f", because t-SNE of {len(reduced):,} images is expected to take {seconds:.0f} s; "
        "tsne=True (--tsne) draws it nevertheless"
    )


def expected_tsne_seconds(reduced: FloatArray) -> float:
    """Return the expected duration of t-SNE, from a short one of some of the images.

    Parameters
    ----------
    reduced : ndarray of float32 of shape (n_samples, n_components)
    """
    n_samples = len(reduced)
    probed = reduced[np.random.default_rng(0).permutation(n_samples)[:_N_PROBED]]
    start = time.perf_counter()
    _fit_tsne(probed, _PROBE_ITERATIONS)
    seconds = time.perf_counter() - start
    n_times = n_samples * np.log(n_samples) / (len(probed) * np.log(len(probed)))  # that of the Barnes-Hut algorithm
    return float(seconds * n_times * _TSNE_ITERATIONS / _PROBE_ITERATIONS)


def _fit_tsne(reduced: FloatArray, n_iterations: int) -> FloatArray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30, (len(reduced) - 1) / 3)
    projection = TSNE(perplexity=perplexity, init="pca", max_iter=n_iterations, random_state=0)
    # Threads wait for each other in every iteration: on a busy machine, two took 25 times as long as one.
    with threadpool_limits(1):
        positions: FloatArray = projection.fit_transform(reduced)
    return positions


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
