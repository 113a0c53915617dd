"""The layers of a network: which there are, and which of them a user means."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import numbers
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from featx.errors import OptionError, did_you_mean
from featx.recipe import LAYER_SEPARATOR

POOLINGS = ("avg", "max", "avgmax", "none")
#: The kinds of pooling that a row is made of: both, if it is ``"avgmax"``.
POOLS = ("avg", "max")
_FOLDER = Path(__file__).parent / "data" / "layers"

#: A layer as a user writes it: its name, its place in Keras's order, or a share of the depth.
Layer = str | int | float


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """One layer of a network.

    Attributes
    ----------
    name : str
    kind : str
        Class of the layer in Keras: ``"Conv2D"``.
    shape : tuple of int
        Of its output for one image at the network's default size: (height, width, channels), or (features,).
    ends_block : bool
        Whether all that the network knows of an image goes through this layer, after a nonlinearity or a sum:
        where a share of the depth is cut.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    ends_block: bool

    def n_features(self, pooling: str) -> int:
        """Return how many features its output becomes."""
        if pooling == "none":
            return math.prod(self.shape)
        return self.shape[-1] * (2 if pooling == "avgmax" and len(self.shape) == 3 else 1)


def layers_path(application: str, alpha: float) -> Path:
    """Return the file that lists the layers of a network of keras.applications; it may be absent."""
    return _FOLDER / f"{application}{f'-{alpha:g}' if alpha != 1 else ''}.json"


@functools.cache
def read_layers(path: Path) -> tuple[LayerInfo, ...] | None:
    """Return the layers of a network as a file lists them, or None if it is absent; Keras is not imported."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return as_layers(json.loads(text))


def missing_layer_message(layer: str) -> str:
    """Return the message for a layer that the installed version of Keras builds otherwise."""
    return (
        f"This version of Keras builds the network of other layers than featx knows of, and not {layer!r} where it "
        "should be. Leave layer out, or install another version of tensorflow."
    )


def pooled_output_name(layer: str, pool: str) -> str:
    """Return the name of the output of a layer that comes after the pooling."""
    return f"{layer} after {pool}"  # as no layer is called


def as_layer_name(name: str) -> str:
    """Return the name by which a layer can be written beside others: without what joins them."""
    return name.replace(LAYER_SEPARATOR, "%2B")  # as in an address


def as_layers(rows: Iterable[Sequence[Any]]) -> tuple[LayerInfo, ...]:
    """Return layers from the rows of a JSON file, which :mod:`featx.backbones.workers.describe_application` writes."""
    return tuple(LayerInfo(name, kind, tuple(shape), ends_block) for name, kind, shape, ends_block in rows)


def parse_layers(layer: Any) -> tuple[Layer, ...]:
    """Return the layers that a user wrote: one or several, names or depths, also as in ``"a+b"`` and ``"-2"``.

    Raises
    ------
    OptionError
    """
    several = layer if isinstance(layer, tuple | list) else [layer]
    wanted: list[Layer] = []
    for one in several:
        if isinstance(one, str):
            wanted += [part.strip() for part in one.split(LAYER_SEPARATOR)]
        elif isinstance(one, numbers.Integral) and not isinstance(one, bool):
            wanted.append(int(one))
        elif isinstance(one, numbers.Real) and not isinstance(one, bool):
            wanted.append(float(one))
        else:
            raise OptionError(f"layer={layer!r}: expected None, {_ACCEPTED}.")
    if not wanted or "" in wanted:
        raise OptionError(f"layer={layer!r} names no layer: expected None, {_ACCEPTED}.")
    return tuple(wanted)


_ACCEPTED = "a name, a place such as -2, a share of the depth such as 0.75, or several of these"


#: A place and a share as people write them, and as Python does; not all that it reads: ``"1_0"`` is a name.
_PLACE = re.compile(r"-?(0|[1-9][0-9]*)")
_SHARE = re.compile(r"-?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(\.[0-9]+)?e-?[0-9]+)")


def _number_or_name(text: str) -> Layer:
    if _PLACE.fullmatch(text):
        return int(text)
    return float(text) if _SHARE.fullmatch(text) else text


def find_layers(backbone: str, layers: Sequence[LayerInfo], wanted: Iterable[Layer]) -> tuple[LayerInfo, ...]:
    """Return the layers that are wanted of a network, each once.

    Parameters
    ----------
    backbone : str
        Its name, for the message.
    layers : sequence of LayerInfo
        All of it, in Keras's order, the input first.
    wanted : iterable of str, int or float
        As :func:`parse_layers` returns them.

    Raises
    ------
    OptionError
        There is no such layer (the nearest is named), or its output is not one of numbers for each image.
    """
    return tuple(dict.fromkeys(_find(backbone, layers, one) for one in wanted))


def _find(backbone: str, layers: Sequence[LayerInfo], wanted: Layer) -> LayerInfo:
    see = f"Run `featx backbones {backbone} --layers` to list all {len(layers)}."
    names = {layer.name: layer for layer in layers}
    if isinstance(wanted, str) and wanted not in names:
        wanted = _number_or_name(wanted)
    if str(wanted) in names:  # files of ONNX have layers with numbers for names
        found = names[str(wanted)]
    elif isinstance(wanted, str):
        raise OptionError(f"{backbone!r} has no layer {wanted!r}.{did_you_mean(wanted, names)} {see}")
    elif isinstance(wanted, int):
        if not -len(layers) <= wanted < len(layers):
            raise OptionError(f"layer={wanted}: {backbone!r} has layers 0 to {len(layers) - 1}. {see}")
        found = layers[wanted]
    else:
        found = _at_share(backbone, layers, wanted)
    if found.kind == "InputLayer" or len(found.shape) not in (1, 3):
        raise OptionError(
            f"The layer {found.name!r} of {backbone!r} ({found.kind}, {found.shape}) cannot be features: expected an "
            f"output of maps or of features. {see}"
        )
    return found


def _at_share(backbone: str, layers: Sequence[LayerInfo], share: float) -> LayerInfo:
    if not 0 < share <= 1:
        raise OptionError(f"layer={share!r}: expected a share of the depth of {backbone!r}, above 0 and up to 1.")
    if share == 1:  # all of it, also where the last layer ends no block
        return layers[-1]
    deepest = round(share * (len(layers) - 1))
    ends = [at for at, layer in enumerate(layers) if layer.ends_block]
    if not ends:
        raise OptionError(
            f"layer={share!r}: no block ends within {backbone!r}, where a share of the depth could be cut. Name a "
            f"layer or its place; 1.0 is the last. Run `featx backbones {backbone} --layers` to list all {len(layers)}."
        )
    within = [at for at in ends if at <= deepest]
    return layers[within[-1] if within else ends[0]]
