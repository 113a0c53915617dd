"""Recipe: everything that determines the features of an image or a text besides itself, and the fingerprints of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from featx.system.notebook.cards import Record

#: Separator of the names of several layers.
LAYER_SEPARATOR = "+"
#: Version of decoding and resizing. Raised whenever they change pixels, so that older rows are not used.
PIXELS = 5
#: Version of how texts are turned into tokens. Raised whenever that changes, so that older rows are not used.
TEXT = 1
#: Fields that are recorded only if they are not empty.
_OPTIONAL = ("preprocessing", "tta", "calibration", "window", "bands")
#: Fields that determine the compiled network. Recipes with the same network share its graph.
_GRAPH_FIELDS = ("backbone", "weights", "image_size", "layer", "preprocessing", "calibration")


class Window(NamedTuple):
    """How pixels of other depths and numbers of bands become colors of 8 bits.

    Attributes
    ----------
    low, high : float or None
        Values that become 0 and 255. None: the range of their type.
    bands : tuple of int
        Numbers of the bands of TIFF files that are red, green and blue, from 1. Empty: the colors of the file.
    """

    low: float | None
    high: float | None
    bands: tuple[int, ...] = ()

    @property
    def limits(self) -> tuple[float, float] | None:
        """Values that become 0 and 255. None: the range of their type."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def window_of(window: str, bands: str) -> Window | None:
    """Return the pixel range that two fields of a recipe describe. None: both are empty."""
    if not window and not bands:
        return None
    low, _, high = window.partition(":")
    numbers = tuple(map(int, bands.split(","))) if bands else ()
    return Window(float(low), float(high), numbers) if window else Window(None, None, numbers)


@dataclasses.dataclass(frozen=True)
class Recipe(Record):
    """Everything that determines the features of an image, besides the image itself.

    Options that do not change the features, such as the batch size or the engine, are not part of it.

    Attributes
    ----------
    backbone : str
        Name of the backbone.
    weights : str
        SHA-256 digest of the weights, in hexadecimal; the version of a backbone without weights.
    image_size : tuple of (int, int)
        Height and width of the network input, in pixels.
    layer : str
        Name of the layer that is pooled; names of several layers are joined by ``+``.
    pooling : {"native", "avg", "max", "avgmax", "cls", "none"}
        How the positions of a layer are pooled.
    resize : str
        How an image is fitted to `image_size`: "squash", "crop" or "pad", or one of these with the crop fraction
        and the interpolation, ``"crop 0.95 bicubic"``.
    precision : {"float32", "float16", "bfloat16", "int8"}
        Precision of the network. Rows are always float32.
    pixels : int
        Version of decoding and resizing.
    preprocessing : str
        Pixel scaling; "" for networks of Keras, which have their own.
    tta : str
        Test-time augmentation whose views are averaged, or the name of a single view; "" for the image itself.
    calibration : str
        Digest of the calibration images and the method with which an int8 network was quantized; "" for other
        precisions.
    window : str
        Lowest and highest value of pixels with more than 8 bits, which become 0 and 255, such as ``0:4095``; "": the
        range of their type.
    bands : str
        Bands of TIFF files that are red, green and blue, such as ``4,3,2``; "": the colors of the file.

    See Also
    --------
    FeatureExtractor : Extract features; its attribute ``recipe_`` is a recipe as a dict.

    Examples
    --------
    >>> import dataclasses
    >>> from featx import Recipe
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
    precision: Literal["float32", "float16", "bfloat16", "int8"]
    pixels: int = PIXELS
    preprocessing: str = ""
    tta: str = ""
    calibration: str = ""
    window: str = ""
    bands: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON types, without optional fields that are empty."""
        fields = {**dataclasses.asdict(self), "image_size": list(self.image_size)}
        return {name: value for name, value in fields.items() if value or name not in _OPTIONAL}

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify the recipe, the same on every machine."""
        return _fingerprint(self.as_dict())

    @functools.cached_property
    def graph_fingerprint(self) -> str:
        """16 hexadecimal digits that identify the compiled network."""
        return _fingerprint({name: value for name, value in self.as_dict().items() if name in _GRAPH_FIELDS})

    @property
    def pixel_range(self) -> Window | None:
        """Values of pixels with more than 8 bits, and bands. None: the range of their type, and colors."""
        return window_of(self.window, self.bands)

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return self.layer.split(LAYER_SEPARATOR)


@dataclasses.dataclass(frozen=True)
class TextRecipe:
    """Everything that determines the row of a text, besides the text itself. Rows are computed in float32.

    Attributes
    ----------
    backbone : str
        Name of the backbone.
    weights : str
        SHA-256 digest of the weights; the version of a backbone without weights.
    text : int
        Version of tokenization.
    """

    backbone: str
    weights: str
    text: int = TEXT

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON types."""
        return {**dataclasses.asdict(self), "precision": "float32"}

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify the recipe, and the compiled text tower."""
        return _fingerprint(self.as_dict())


def recipe_differences(
    expected: Mapping[str, Any], current: Mapping[str, Any], ignore: Collection[str] = ()
) -> dict[str, tuple[object, object]]:
    """Return the expected and the current value of each field that differs between two recipes."""
    return {
        name: (expected.get(name), current.get(name))
        for name in {**expected, **current}
        if name not in ignore and expected.get(name) != current.get(name)
    }


def _fingerprint(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
