"""Where the evidence for mistakes lies: class activation maps of models that were not fitted on those images."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from featx.workflows.result import ImageComparison

#: Baselines whose decisions are linear in the features.
_LINEAR = ("logreg", "ridge", "lda")


def why_no_evidence(result: ImageComparison) -> str:
    """Return why mistakes of the best estimator have no pictures of evidence, "" if they have."""
    network, estimator = result.best_backbone, str(result.best_row["estimator"])
    if estimator not in _LINEAR or estimator not in NAMES[result.task]:
        return f"{estimator} has none: compare {', '.join(_LINEAR)}"
    if estimator not in network.comparison._builtin_names:
        return f"{estimator} is not featx's own, which alone is fitted anew for them"
    if "best_params" in network.comparison.table:
        return "tuned estimators have none"
    return activation_map_problem(network.resolved)


def evidence_of(result: ImageComparison, positions: Sequence[int], side: int, cache: Path | None) -> dict[int, str]:
    """Return pictures of where the evidence for what was predicted lies, as data URLs by position.

    Parameters
    ----------
    result : ImageComparison
    positions : sequence of int
        Among the images that were scored.
    side : int
        Of each picture, in pixels.
    cache : Path or None
        Where the compiled network is; without one, there are no pictures, as it would have to be compiled for them.

    Returns
    -------
    dict of int to str
        Empty where :func:`why_no_evidence` gives a reason.
    """
    if cache is None or why_no_evidence(result):
        return {}
    network, estimator = result.best_backbone, str(result.best_row["estimator"])
    comparison = network.comparison
    maps = ActivationMaps(network.resolved, cache / "compiled")
    rows = comparison.predictions.index.to_numpy()
    found: dict[int, str] = {}
    for train, test in comparison.split.folds[: comparison.split.n_first_repeat]:
        scored = set(test.tolist())
        of_fold = [position for position in positions if int(rows[position]) in scored and position not in found]
        if not of_fold:
            continue
        affine, classes = _fitted(estimator, network.rows[train], result.y[train])
        for position in of_fold:
            evidence = _seen(result.paths[int(rows[position])], network.resolved, maps, affine)
            predicted = comparison.predictions[estimator].iloc[position]
            if evidence is not None:
                found[position] = _url(_of_class(evidence, classes.index(predicted)), side)
    return found


def _fitted(estimator: str, X: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> tuple[Affine, list[Any]]:
    """Return the scores of an estimator that is fitted as it was when images were scored, and their classes."""
    fitted = make_baseline(estimator, len(X)).fit(X, y)
    affine = as_head(fitted).affine
    assert affine is not None  # it is linear
    return affine, list(fitted.classes_)


def _seen(path: str, resolved: Resolved, maps: ActivationMaps, affine: Affine) -> Attribution | None:
    """Return what speaks for every class, a map of shape (height, width, n_scores); None of an image that is gone."""
    try:
        seen = decode_pixels(path, resolved)
    except UnreadableImageError:
        return None
    return Attribution(None, 0.0, maps.weighted(seen, affine).astype(np.float32), seen, "activation")


def _of_class(evidence: Attribution, place: int) -> Attribution:
    values = evidence.map
    one = values[..., place] if values.shape[-1] > 1 else values[..., 0] * (1 if place else -1)
    return dataclasses.replace(evidence, map=one)


def _url(evidence: Attribution, side: int) -> str:
    buffer = io.BytesIO()
    overlay(evidence, (side, side)).save(buffer, format="WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
