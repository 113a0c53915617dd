"""Attribution maps of misclassified images: where the model that was not trained on an image saw its prediction."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.baselines.builtin_baselines import NAMES
from featx.baselines.estimators import make_baseline
from featx.errors import UnreadableImageError
from featx.extraction.options import Resolved
from featx.models.explain.activation_maps import ActivationMaps, activation_map_problem, decode_pixels
from featx.models.explain.attribution import Attribution
from featx.models.explain.overlay import overlay
from featx.models.head.from_sklearn import as_head
from featx.models.head.steps import Affine
from featx.workflows.report.inputs import ReportedComparison

#: Baselines whose scores are linear in the features.
_LINEAR = ("logreg", "ridge", "lda")


def attribution_problem(result: ReportedComparison) -> str:
    """Return why there are no attribution maps for the best estimator, or "" if there are."""
    backbone, estimator = result.best_backbone, str(result.best_row["estimator"])
    if result.task == "multilabel":
        return "several labels for each image are not supported"
    if estimator not in _LINEAR or estimator not in NAMES[result.task]:
        return f"{estimator} is not supported (supported: {', '.join(_LINEAR)})"
    if estimator not in backbone.comparison._builtin_names:
        return f"{estimator} is not a built-in estimator"
    if "best_params" in backbone.comparison.table:
        return "tuned estimators are not supported"
    if not isinstance(backbone.resolved, Resolved):
        return "the features are stored without their network"
    return activation_map_problem(backbone.resolved)


def attribution_maps(result: ReportedComparison, rows: Sequence[int], side: int, cache: Path | None) -> dict[int, str]:
    """Return attribution maps of the predicted classes as data URLs, by the row of the image.

    Parameters
    ----------
    result : ReportedComparison
    rows : sequence of int
        Rows of scored images.
    side : int
        Side of each map in pixels.
    cache : Path or None
        Path of the feature cache, which holds the compiled backbone. None: no maps, to avoid compiling it again.

    Returns
    -------
    dict of int to str
        Empty if :func:`attribution_problem` returns a reason.
    """
    backbone, estimator = result.best_backbone, str(result.best_row["estimator"])
    resolved = backbone.resolved
    if cache is None or attribution_problem(result) or not isinstance(resolved, Resolved):
        return {}
    comparison = backbone.comparison
    maps = ActivationMaps(resolved, cache / "compiled")
    urls: dict[int, str] = {}
    for train, test in comparison.split.folds[: comparison.split.n_first_repeat]:
        is_test = set(test.tolist())
        rows_of_fold = [row for row in rows if row in is_test and row not in urls]
        if not rows_of_fold:
            continue
        affine, classes = _fit(estimator, backbone.rows[train], result.y[train])
        for row in rows_of_fold:
            attribution = _compute_map(result.paths[row], resolved, maps, affine)
            if attribution is not None:
                predicted = comparison.predictions.at[row, estimator]
                urls[row] = _data_url(_select_class(attribution, classes.index(predicted)), side)
    return urls


def _fit(estimator: str, X: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> tuple[Affine, list[Any]]:
    """Return the linear scores and the classes of an estimator that is fitted as in the comparison."""
    fitted = make_baseline(estimator, len(X)).fit(X, y)
    affine = as_head(fitted).affine
    assert affine is not None  # the estimator is linear
    return affine, list(fitted.classes_)


def _compute_map(path: str, resolved: Resolved, maps: ActivationMaps, affine: Affine) -> Attribution | None:
    """Return a map of shape (height, width, n_scores), or None if the image is no longer readable."""
    try:
        pixels = decode_pixels(path, resolved)
    except UnreadableImageError:
        return None
    return Attribution(None, 0.0, maps.weighted(pixels, affine).astype(np.float32), pixels, "activation")


def _select_class(attribution: Attribution, class_index: int) -> Attribution:
    """Return the map of one class; two classes share one score, which is positive for the second."""
    values = attribution.map
    if values.shape[-1] > 1:
        return dataclasses.replace(attribution, map=values[..., class_index])
    return dataclasses.replace(attribution, map=values[..., 0] if class_index else -values[..., 0])


def _data_url(attribution: Attribution, side: int) -> str:
    buffer = io.BytesIO()
    overlay(attribution, (side, side)).save(buffer, format="WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
