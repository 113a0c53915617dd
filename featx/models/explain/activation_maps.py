"""Feature maps of a network whose features are their averages, for class activation maps."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.layers import find_layers
from featx.backbones.registry import NetworkBackbone
from featx.errors import TruncatedImageError
from featx.extraction.engines.engine import Engine
from featx.extraction.options import Resolved
from featx.images.decode import decode_image, decode_truncated
from featx.images.image import read_image
from featx.models.head.steps import Affine
from featx.system.array_types import AnyArray, Float64Array


class ActivationMaps:
    """Compute weighted feature maps of images.

    Parameters
    ----------
    resolved : Resolved
        Network and options, for which :func:`activation_map_problem` returns "".
    compiled : Path or None
        Folder of compiled networks.
    """

    def __init__(self, resolved: Resolved, compiled: Path | None) -> None:
        self._shape = map_shape(resolved)
        recipe = dataclasses.replace(resolved.recipe, pooling="none")
        self._resolved = dataclasses.replace(resolved, recipe=recipe, n_features=math.prod(self._shape))
        self._compiled = compiled
        self._engine: Engine | None = None

    def weighted(self, pixels: AnyArray, affine: Affine) -> Float64Array:
        """Return an affine function of the feature maps at each position.

        Since the features are the means of the maps, the mean of the result is the function of the features.

        Parameters
        ----------
        pixels : ndarray of uint8 of shape (height, width, 3)
        affine : Affine

        Returns
        -------
        ndarray of float64 of shape (map_height, map_width, n_out)
        """
        if self._engine is None:
            self._engine = self._resolved.start(self._compiled)
        maps = self._engine(pixels[None])[0].reshape(self._shape)
        values: Float64Array = maps.astype(np.float64) @ affine.weights + affine.bias
        return values


def decode_pixels(image: Any, resolved: Resolved) -> AnyArray:
    """Return the pixels of an image as the network receives them, uint8 of shape (height, width, 3).

    Raises
    ------
    UnreadableImageError
    """
    window = resolved.recipe.pixel_range
    content, _ = read_image(image, resolved.max_pixels, window=window)
    options = (resolved.recipe.image_size, resolved.recipe.resize, resolved.max_pixels, window)
    try:
        return decode_image(content, *options)
    except TruncatedImageError:
        if not resolved.pad_truncated:
            raise
    return decode_truncated(content, *options)


def map_shape(resolved: Resolved) -> tuple[int, ...]:
    """Return height, width and channels of the feature maps."""
    backbone, recipe = resolved.backbone, resolved.recipe
    (layer,) = find_layers(backbone.name, backbone.layers(recipe.image_size), recipe.layers)
    return tuple(layer.shape)


def activation_map_problem(resolved: Resolved) -> str:
    """Return why the features are not averages of feature maps, or "" if they are."""
    backbone, recipe = resolved.backbone, resolved.recipe
    if not isinstance(backbone, NetworkBackbone):
        return f"{backbone.name} is not a neural network"
    if recipe.pooling != "avg" or len(recipe.layers) > 1 or recipe.tta:
        return "its features are not the averages of the feature maps of one layer"
    if getattr(backbone, "pools_before_norm", False) and recipe.layer == backbone.layer:
        return f"{backbone.name} normalizes its features after pooling"
    return "" if len(map_shape(resolved)) == 3 else f"layer {recipe.layer!r} has no feature maps"
