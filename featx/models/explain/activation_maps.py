"""Class activation maps: where in an image a linear estimator on averaged maps finds its attribution."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from featx.backbones.layers import find_layers
from featx.backbones.registry import NetworkBackbone
from featx.errors import TruncatedImageError
from featx.extraction.engines.engine import Engine
from featx.extraction.options import Resolved
from featx.images.decode import decode_image, decode_truncated
from featx.images.image import read_image
from featx.models.head.steps import Affine
from featx.system.array_types import Float64Array

Map: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Where the attribution for a class lies in an image, as the network sees it.

    Attributes
    ----------
    label : str, int, float or None
        The class; None of a quantity.
    score : float
        The decision value of the class, which the map explains: of two classes, positive for the second.
    map : ndarray of float32, shape (height, width)
        Positive where the image speaks for the class, negative where it speaks against it. Of an activation map, the
        mean over class_indices is the score; of an occlusion map, a square's value is what covering it takes from that.
    pixels : ndarray of uint8, shape (height, width, 3)
        The image as the network sees it.
    method : {"activation", "occlusion"}
    """

    label: Any
    score: float
    map: Map
    pixels: np.ndarray[Any, Any]
    method: str


class ActivationMaps:
    """Compute the maps of a network that its features are the averages of.

    Parameters
    ----------
    resolved : Resolved
        For which :func:`activation_map_problem` gives no reason.
    compiled : Path or None
        Folder for compiled networks.
    """

    def __init__(self, resolved: Resolved, compiled: Path | None) -> None:
        self._shape = shape_of_maps(resolved)
        recipe = dataclasses.replace(resolved.recipe, pooling="none")
        self._resolved = dataclasses.replace(resolved, recipe=recipe, n_features=math.prod(self._shape))
        self._compiled = compiled
        self._engine: Engine | None = None

    def weighted(self, pixels: np.ndarray[Any, Any], affine: Affine) -> Float64Array:
        """Return what an affine function gives at every position, shape (height, width, n_out).

        Their mean over class_indices is what it gives of the features.
        """
        if self._engine is None:
            self._engine = self._resolved.start(self._compiled)
        maps = self._engine(pixels[None])[0].reshape(self._shape)
        values: Float64Array = maps.astype(np.float64) @ affine.weights + affine.bias
        return values


def decode_pixels(image: Any, resolved: Resolved) -> np.ndarray[Any, Any]:
    """Return the pixels of one image as a network is shown them.

    Parameters
    ----------
    image : image
    resolved : Resolved

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    UnreadableImageError
    """
    content, _ = read_image(image, resolved.max_pixels)
    wanted = (resolved.recipe.image_size, resolved.recipe.resize, resolved.max_pixels)
    try:
        return decode_image(content, *wanted)
    except TruncatedImageError:
        if not resolved.pad_truncated:
            raise
    return decode_truncated(content, *wanted)


def shape_of_maps(resolved: Resolved) -> tuple[int, ...]:
    """Return height, width and channels of the maps that a network's features are averaged over."""
    backbone, recipe = resolved.backbone, resolved.recipe
    (layer,) = find_layers(backbone.name, backbone.layers(recipe.image_size), recipe.layers)
    return tuple(layer.shape)


def activation_map_problem(resolved: Resolved) -> str:
    """Return why features are no averages of maps that a class activation map could be made of, "" if they are."""
    backbone, recipe = resolved.backbone, resolved.recipe
    if not isinstance(backbone, NetworkBackbone):
        return f"{backbone.name} is no network, and has no maps"
    if recipe.pooling != "avg" or len(recipe.layers) > 1 or recipe.tta:
        return "its features are not the averages of one layer's maps"
    if getattr(backbone, "pools_before_norm", False) and recipe.layer == backbone.layer:
        return f"{backbone.name} normalises its features after they are averaged"
    return "" if len(shape_of_maps(resolved)) == 3 else f"layer {recipe.layer!r} has no positions"
