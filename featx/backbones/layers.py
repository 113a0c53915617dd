"""The layers of a network, and the selection of layers by name, index or relative depth."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import numbers
import re
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from featx.errors import OptionError, did_you_mean
from featx.recipe import LAYER_SEPARATOR
from featx.system.notebook.cards import Record

#: How the positions of a feature map are pooled.
Pooling = Literal["native", "avg", "max", "avgmax", "cls", "none"]
POOLINGS: tuple[str, ...] = typing.get_args(Pooling)
#: The pooling operations that a row can consist of; ``"avgmax"`` uses both.
POOL_OPERATIONS = ("avg", "max")
#: Poolings that are outputs of a network: the class token, and the input of its own head.
NETWORK_POOLINGS = ("cls", "native")
_LAYERS_FOLDER = Path(__file__).parent / "data" / "layers"

#: Selection of a layer: its name, its index, or a relative depth in (0, 1].
Layer = str | int | float
_EXPECTED = "None, a name, an index such as -2, a relative depth such as 0.75, or a list of these"
#: Text that is an index or a relative depth. Not all that Python parses as a number: ``"1_0"`` is a name.
_INDEX = re.compile(r"-?(0|[1-9][0-9]*)")
_DEPTH = re.compile(r"-?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(\.[0-9]+)?e-?[0-9]+)")


@dataclasses.dataclass(frozen=True)
class LayerInfo(Record):
    """One layer of a network.

    Attributes
    ----------
    name : str
        Name of the layer.
    kind : str
        Class of the layer in Keras, such as ``"Conv2D"``, or operation in OpenVINO.
    shape : tuple of int
        Output shape for one image: (height, width, channels) or (features,).
    ends_block : bool
        Whether every path from the input to the output passes through this layer, after a nonlinearity or a sum.
        Relative depths select such layers.
    has_class_token : bool, default=False
        Whether the output has a class token besides the positions of the image.
    n_native : int, default=0
        Number of inputs of the network's classification head; 0 for other layers.

    See Also
    --------
    load_backbone : Load a backbone; its method ``layers`` returns them.

    Examples
    --------
    >>> from featx import load_backbone
    >>> layers = load_backbone("mobilenet").layers()
    >>> layers[-1].name, layers[-1].shape
    ('conv_pw_13_relu', (7, 7, 1024))
    >>> [layer.name for layer in layers if layer.ends_block][-1]
    'conv_pw_13_relu'
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    ends_block: bool
    has_class_token: bool = False
    n_native: int = 0

    def n_features(self, pooling: str) -> int:
        """Return the number of features that the output becomes.

        Parameters
        ----------
        pooling : {"avg", "max", "avgmax", "native", "cls", "none"}
            How positions are pooled.

        Returns
        -------
        int
            Number of features.
        """
        if pooling == "native" and self.n_native:
            return self.n_native
        if pooling == "none":
            return math.prod(self.shape)
        return self.shape[-1] * (2 if pooling == "avgmax" and len(self.shape) == 3 else 1)


def layers_path(application: str, alpha: float) -> Path:
    """Return the path of the file that lists the layers of a Keras network; the file may be missing."""
    return _LAYERS_FOLDER / f"{application}{f'-{alpha:g}' if alpha != 1 else ''}.json"


@functools.cache
def read_layers(path: Path) -> tuple[LayerInfo, ...] | None:
    """Return the layers that a file lists; None if the file is missing."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return as_layers(json.loads(text))


def as_layers(rows: Iterable[Sequence[Any]]) -> tuple[LayerInfo, ...]:
    """Return layers from the rows of a JSON file: the fields of a layer in their order."""
    return tuple(LayerInfo(name, kind, tuple(shape), *others) for name, kind, shape, *others in rows)


def missing_layer_message(layer: str) -> str:
    """Return the error message for a layer that the installed Keras does not build."""
    return (
        f"The installed version of Keras builds this network without the expected layer {layer!r}. Remove layer "
        "(--layer), or install another version of tensorflow."
    )


def pooled_output_name(layer: str, operation: str) -> str:
    """Return the name of the output that is the pooled output of a layer."""
    return f"{layer} after {operation}"  # no layer has a name with spaces


def escape_layer_name(name: str) -> str:
    """Return a layer name without the character that joins the names of several layers."""
    return name.replace(LAYER_SEPARATOR, "%2B")  # percent-encoding, as in URLs


def parse_layers(layer: Any) -> tuple[Layer, ...]:
    """Return the layers of an option as a tuple of names, indices and relative depths.

    Parameters
    ----------
    layer : str, int, float or sequence of these
        Value of the option. Names may be joined: ``"a+b"``.

    Raises
    ------
    OptionError
        If the value has another type or is empty.
    """
    layers: list[Layer] = []
    for item in layer if isinstance(layer, tuple | list) else [layer]:
        if isinstance(item, str):
            layers += [part.strip() for part in item.split(LAYER_SEPARATOR)]
        elif isinstance(item, numbers.Integral) and not isinstance(item, bool):
            layers.append(int(item))
        elif isinstance(item, numbers.Real) and not isinstance(item, bool):
            layers.append(float(item))
        else:
            raise OptionError(f"layer (--layer) must be {_EXPECTED}, got {layer!r}.")
    if not layers or "" in layers:
        raise OptionError(f"layer (--layer) must be {_EXPECTED}, got {layer!r}.")
    return tuple(layers)


def find_layers(backbone: str, layers: Sequence[LayerInfo], selected: Iterable[Layer]) -> tuple[LayerInfo, ...]:
    """Return the selected layers of a network, without repetitions.

    Parameters
    ----------
    backbone : str
        Name of the network, for error messages.
    layers : sequence of LayerInfo
        All layers in the order of the network, the input first.
    selected : iterable of str, int or float
        Layers as :func:`parse_layers` returns them.

    Returns
    -------
    tuple of LayerInfo
        Selected layers in the given order.

    Raises
    ------
    OptionError
        If a layer does not exist, or its output is neither feature maps nor features.
    """
    return tuple(dict.fromkeys(_find_layer(backbone, layers, layer) for layer in selected))


def _find_layer(backbone: str, layers: Sequence[LayerInfo], selected: Layer) -> LayerInfo:
    names = {layer.name: layer for layer in layers}
    if isinstance(selected, str) and selected not in names:
        selected = _parse_number(selected)
    if str(selected) in names:  # layers of ONNX files can have numbers as names
        layer = names[str(selected)]
    elif isinstance(selected, str):
        hint = did_you_mean(selected, names)
        raise OptionError(f"{backbone!r} has no layer {selected!r}.{hint} {_list_hint(backbone, layers)}")
    elif isinstance(selected, int):
        if not -len(layers) <= selected < len(layers):
            raise OptionError(
                f"layer (--layer) must be from {-len(layers)} to {len(layers) - 1} for {backbone!r}, got {selected}. "
                f"{_list_hint(backbone, layers)}"
            )
        layer = layers[selected]
    else:
        layer = _layer_at_depth(backbone, layers, selected)
    if layer.kind == "InputLayer" or len(layer.shape) not in (1, 3):
        raise OptionError(
            f"Cannot extract features from layer {layer.name!r} of {backbone!r} ({layer.kind}, {layer.shape}): its "
            f"output is neither feature maps nor features. {_list_hint(backbone, layers)}"
        )
    return layer


def _parse_number(text: str) -> Layer:
    if _INDEX.fullmatch(text):
        return int(text)
    return float(text) if _DEPTH.fullmatch(text) else text


def _list_hint(backbone: str, layers: Sequence[LayerInfo]) -> str:
    return f"Run `featx backbones {backbone} --layers` to list all {len(layers)}."


def _layer_at_depth(backbone: str, layers: Sequence[LayerInfo], depth: float) -> LayerInfo:
    """Return the last layer up to a relative depth that ends a block."""
    if not 0 < depth <= 1:
        raise OptionError(f"A relative depth in layer (--layer) must be above 0 and at most 1, got {depth!r}.")
    if depth == 1:  # the whole network, even if the last layer does not end a block
        return layers[-1]
    max_index = round(depth * (len(layers) - 1))
    block_ends = [index for index, layer in enumerate(layers) if layer.ends_block]
    if not block_ends:
        raise OptionError(
            f"layer (--layer) cannot be the relative depth {depth!r}: {backbone!r} has no layer that ends a block. "
            f"Pass a name or an index; 1.0 is the last layer. {_list_hint(backbone, layers)}"
        )
    return layers[max((index for index in block_ends if index <= max_index), default=block_ends[0])]
