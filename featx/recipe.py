"""The recipe: everything that decides a row's value, and the fingerprint that names it in the store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

#: Between the names of layers that are used at once.
JOINT = "+"
#: Raised whenever decoding or resizing changes the pixels a backbone sees, so that old rows are left alone.
PIXELS = 3
#: Recipes of an earlier featx do not have these, and keep their fingerprints.
_LEFT_OUT_IF_EMPTY = ("preprocessing", "tta")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the value of a row besides the image itself.

    What does not change values (batch size, threads, the engine at equal precision) is not in it.

    Attributes
    ----------
    backbone : str
        Name of the network.
    weights : str
        SHA-256 of the weights, in hex; the version of a backbone that has none.
    image_size : tuple of (int, int)
        Height and width that the backbone is shown, in pixels.
    layer : str
        Name of the layer whose output is pooled; several are joined by ``+``.
    pooling : {"avg", "max", "avgmax", "none"}
        How a layer's positions become one row.
    resize : {"squash", "crop", "pad"}
        How an image gets to `image_size`.
    precision : {"float32", "bfloat16"}
        Arithmetic of the network; rows are float32 either way.
    pixels : int
        Revision of decoding and resizing.
    preprocessing : str
        What a network of the user's own wants done to its pixels; "" of others, which know it.
    tta : str
        Views of the image whose rows are averaged, or one of them; "" is the image as it is.

    Examples
    --------
    >>> recipe = Recipe("mobilenet", "9c4f", (224, 224), "conv_pw_13_relu", "avg", "squash", "float32")
    >>> recipe.fingerprint == dataclasses.replace(recipe, pooling="max").fingerprint
    False
    """

    backbone: str
    weights: str
    image_size: tuple[int, int]
    layer: str
    pooling: str
    resize: str
    precision: str
    pixels: int = PIXELS
    preprocessing: str = ""
    tta: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON types."""
        fields = {**dataclasses.asdict(self), "image_size": list(self.image_size)}
        return {name: value for name, value in fields.items() if value or name not in _LEFT_OUT_IF_EMPTY}

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this recipe; equal recipes have equal ones on every machine."""
        return _fingerprint(self.as_dict())

    @property
    def graph_fingerprint(self) -> str:
        """16 hex digits that name the network as it is compiled, which recipes of other poolings share."""
        decides = ("backbone", "weights", "image_size", "layer", "preprocessing")
        return _fingerprint({key: value for key, value in self.as_dict().items() if key in decides})

    @property
    def layers(self) -> list[str]:
        """Names of the layers that features are taken from."""
        return self.layer.split(JOINT)


def _fingerprint(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
