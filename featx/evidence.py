"""Where in an image the evidence for a class lies: exact for linear heads on averaged maps, by occlusion for others."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from featx.backbones import Network
from featx.backbones.layers import find_layers
from featx.engines import Engine
from featx.errors import OptionError, did_you_mean
from featx.models import Model
from featx.options import Resolved

Map: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
METHODS = ("auto", "activation", "occlusion")
#: Squares along each side that are covered one after the other.
_SQUARES = 12
#: A covered square is as grey as the mean of ImageNet's images.
_GREY = (124, 117, 104)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Where the evidence for a class lies in an image, as the network sees it.

    Attributes
    ----------
    label : str, int, float or None
        The class; None of a quantity.
    score : float
        The decision value of the class, which the map explains: of two classes, positive for the second.
    map : ndarray of float32, shape (height, width)
        Positive where the image speaks for the class, negative where it speaks against it. Of an activation map, the
        mean over positions is the score; of an occlusion map, a square's value is what covering it takes from that.
    pixels : ndarray of uint8, shape (height, width, 3)
        The image as the network sees it.
    method : {"activation", "occlusion"}
    """

    label: Any
    score: float
    map: Map
    pixels: np.ndarray[Any, Any]
    method: str


class Explainer:
    """Explain decisions of one model.

    Parameters
    ----------
    model : Model
    method : {"auto", "activation", "occlusion"}, default="auto"
        ``"activation"`` is the class activation map (Zhou et al. 2016, https://arxiv.org/abs/1512.04150): with average
        pooling and a linear head, the score is the mean over positions of the weighted maps plus the bias, so that it
        shows exactly what was added up. ``"occlusion"`` covers one square after another (Zeiler and Fergus 2014,
        https://arxiv.org/abs/1311.2901), for any model. ``"auto"`` is the first where it can be.
    compiled : Path or None, default=None
        Folder for compiled networks.

    Raises
    ------
    OptionError
        An unknown method, or an activation map of a model that has none: why, and what to do.
    """

    def __init__(self, model: Model, *, method: str = "auto", compiled: Path | None = None) -> None:
        if method not in METHODS:
            raise OptionError(f"method={method!r}: expected one of {', '.join(METHODS)}.")
        self.model = model
        self.resolved = model.resolve()
        if self.resolved.recipe.views:
            raise OptionError(
                f"{model.path!r} decides by several views of an image (views={self.resolved.recipe.views!r}), of which "
                "no one map tells. Train a model without views to have its decisions explained."
            )
        why_not = why_no_activation_map(model, self.resolved)
        if method == "activation" and why_not:
            raise OptionError(
                f"{model.path!r} has no class activation map: {why_not}. Pass method='occlusion' (--method occlusion)."
            )
        self.method = "occlusion" if why_not or method == "occlusion" else "activation"
        self._compiled = compiled
        self._engine: Engine | None = None

    def refuse_unknown(self, label: Any) -> None:
        """Raise if the model has no such class.

        Raises
        ------
        OptionError
        """
        classes = [str(name) for name in self.model.card.classes]
        if label is not None and not classes:
            raise OptionError(f"label={label!r}: this model predicts a quantity, and has no classes. Leave it out.")
        if label is not None and str(label) not in classes:
            hint = did_you_mean(str(label), classes)
            raise OptionError(
                f"label={label!r} is no class of the model.{hint} Expected one of: {', '.join(classes[:30])}."
            )

    def explain(self, pixels: np.ndarray[Any, Any], label: Any = None) -> Evidence:
        """Return where the evidence lies for a class, or for the one that the model decides for.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (height, width, 3)
            As :func:`featx.pixels.decode` gives them.
        label : class, default=None

        Raises
        ------
        OptionError
            The model has no such class.
        """
        if self.method == "activation":
            return self._activation(pixels, label)
        return self._occlusion(pixels, label)

    def _activation(self, pixels: np.ndarray[Any, Any], label: Any) -> Evidence:
        maps = self._run(self._of_maps, pixels[None])[0].reshape(self._shape_of_maps)
        affine = self.model.head.affine if self.model.head else None
        assert affine is not None  # or there would be no activation map
        values = maps.reshape(-1, maps.shape[-1]).astype(np.float64) @ affine.weights + affine.bias
        scores = values.mean(axis=0, keepdims=True)
        position, sign = self._of_class(label, scores)
        column = 0 if values.shape[1] == 1 else position
        return Evidence(
            self._name(position),
            float(sign * scores[0, column]),
            (sign * values[:, column]).reshape(maps.shape[:2]).astype(np.float32),
            pixels,
            "activation",
        )

    def _occlusion(self, pixels: np.ndarray[Any, Any], label: Any) -> Evidence:
        height, width = pixels.shape[:2]
        rows = np.linspace(0, height, min(_SQUARES, height) + 1).round().astype(int)
        columns = np.linspace(0, width, min(_SQUARES, width) + 1).round().astype(int)
        squares = [(*row, *column) for row in itertools.pairwise(rows) for column in itertools.pairwise(columns)]
        covered = np.repeat(pixels[None], len(squares) + 1, axis=0)
        for number, (top, bottom, left, right) in enumerate(squares, 1):
            covered[number, top:bottom, left:right] = _GREY
        scores, _ = self.model.decide(self._run(lambda resolved: resolved, covered))
        position, sign = self._of_class(label, scores[:1])
        values = sign * scores[:, 0 if scores.shape[1] == 1 else position]
        lost = (values[0] - values[1:]).reshape(len(rows) - 1, len(columns) - 1)
        return Evidence(self._name(position), float(values[0]), lost.astype(np.float32), pixels, "occlusion")

    def _run(self, change: Callable[[Resolved], Resolved], pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self._engine is None:
            self._engine = change(self.resolved).start(self._compiled)
        return self._engine(pixels)

    def _of_maps(self, resolved: Resolved) -> Resolved:
        """Return the same network, with every position of its maps for features."""
        recipe = dataclasses.replace(resolved.recipe, pooling="none")
        return dataclasses.replace(resolved, recipe=recipe, n_features=math.prod(self._shape_of_maps))

    @property
    def _shape_of_maps(self) -> tuple[int, ...]:
        return shape_of_maps(self.resolved)

    def _of_class(self, label: Any, scores: np.ndarray[Any, Any]) -> tuple[int, int]:
        """Return the position of a class, and the sign by which its column speaks for it."""
        self.refuse_unknown(label)
        if not self.model.card.classes:
            return 0, 1
        known = {str(name): at for at, name in enumerate(self.model.card.classes)}
        if scores.shape[1] == 1:
            position = int(scores[0, 0] > 0) if label is None else known[str(label)]
            return position, 1 if position else -1
        return int(scores[0].argmax()) if label is None else known[str(label)], 1

    def _name(self, position: int) -> Any:
        return self.model.card.classes[position] if self.model.card.classes else None


def shape_of_maps(resolved: Resolved) -> tuple[int, ...]:
    """Return height, width and channels of the maps that a network's features are averaged over."""
    backbone, recipe = resolved.backbone, resolved.recipe
    (layer,) = find_layers(backbone.name, backbone.layers(recipe.image_size), recipe.layers)
    return tuple(layer.shape)


def why_no_activation_map(model: Model, resolved: Resolved) -> str:
    """Return why a model has no class activation map, "" if it has one."""
    backbone, recipe = resolved.backbone, resolved.recipe
    if not isinstance(backbone, Network):
        return f"{backbone.name} is no network, and has no maps"
    if model.head is None or model.head.affine is None:
        return f"{model.card.estimator} is not linear in the features"
    if recipe.pooling != "avg" or len(recipe.layers) > 1:
        return "its features are not the averages of one layer's maps"
    if getattr(backbone, "normalizes_pooled", False) and recipe.layer == backbone.layer:
        return f"{backbone.name} normalises its features after they are averaged"
    return "" if len(shape_of_maps(resolved)) == 3 else f"layer {recipe.layer!r} has no positions"
