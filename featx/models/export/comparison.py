"""Compare the outputs of an exported network with those of its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featx.errors import EngineError, ExportError, MissingDependencyError, OptionError, RecipeMismatchError
from featx.extraction.options import Resolved
from featx.images.resize import resize_image
from featx.models.model import Model
from featx.system.array_types import AnyArray

#: Maximum difference: of probabilities, or of scores relative to their spread.
_TOLERANCE = 1e-4
#: The spread counts as at least this fraction of the largest score: below, float32 rounding dominates.
_MIN_SPREAD = 0.01
#: Number of images of noise, and of smooth ones.
_N_IMAGES_OF_A_KIND = 3
N_COMPARED = 2 * _N_IMAGES_OF_A_KIND


def comparison_images(size: tuple[int, int]) -> AnyArray:
    """Return random images to compare on, noise and smooth ones: uint8 of shape (n_images, height, width, 3)."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (_N_IMAGES_OF_A_KIND, *size, 3), dtype=np.uint8)
    coarse = rng.integers(0, 256, (_N_IMAGES_OF_A_KIND, 5, 5, 3), dtype=np.uint8)
    smooth = [resize_image(pixels, size, "squash") for pixels in coarse]
    return np.concatenate([noise, smooth])


def output_difference(
    model: Model, resolved: Resolved, pixels: AnyArray, outputs: AnyArray, compiled: Path | None
) -> float:
    """Return the largest difference between a network and its model in float32.

    Raises
    ------
    ExportError
        The difference is more than rounding.
    """
    scores, probabilities = model.predict_scores(resolved.start(compiled)(pixels))
    if probabilities is None:
        difference = relative_difference(outputs, scores)
    else:
        difference = float(np.abs(outputs - probabilities).max())
    if not difference <= _TOLERANCE:
        raise ExportError(
            f"Cannot export {model.path!r}: the outputs of the network differ from those of the model by "
            f"{difference:.1e} (at most {_TOLERANCE:.0e} is allowed). Try another format, and report this as a bug."
        )
    return difference


def relative_difference(outputs: AnyArray, scores: AnyArray) -> float:
    """Return the largest difference between scores as a fraction of their spread."""
    spread = max(float(np.ptp(scores)), _MIN_SPREAD * float(np.abs(scores).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(outputs - scores).max()) / spread


def difference_in_training_precision(
    model: Model, pixels: AnyArray, outputs: AnyArray, compiled: Path | None
) -> float | None:
    """Return the largest difference between a network in float32 and its model in the precision of its training.

    Returns
    -------
    float or None
        None if the model was trained in float32, or if this machine cannot run it in its precision.
    """
    if model.card.recipe["precision"] == "float32":
        return None
    try:
        engine = model.resolve().start(compiled)
    except (RecipeMismatchError, EngineError, OptionError, MissingDependencyError):
        return None
    scores, probabilities = model.predict_scores(engine(pixels))
    return float(np.abs(outputs - (scores if probabilities is None else probabilities)).max())
