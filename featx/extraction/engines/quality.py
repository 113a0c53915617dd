"""The quality of a quantized network: how similar its features are to those in float32.

It is that of the mean over positions, whatever the pooling of a recipe: a quantized graph serves all of them.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from featx.errors import EngineError
from featx.store.compiled_graphs import Graph

#: Smallest mean cosine similarity on the calibration photographs with which a layer is used.
MIN_COSINE = 0.99
_KEY = ["featx", "cosines"]
_COSINES = re.compile(rb'<cosines value="([^"]*)"')


def save_cosines(network: Any, cosines: Mapping[str, float]) -> None:
    """Record the mean cosine similarity of each layer in an ``openvino.Model``, and so in its graph."""
    rounded = {layer: round(cosine, 5) for layer, cosine in cosines.items()}
    network.set_rt_info(json.dumps(rounded), _KEY)


def read_cosines(graph: Graph) -> dict[str, float]:
    """Return the mean cosine similarity of each layer that a quantized graph records."""
    match = _COSINES.search(graph.xml)
    cosines: dict[str, float] = json.loads(html.unescape(match[1].decode())) if match else {}
    return cosines


def check_quality(graph: Graph, layers: Sequence[str], name: str) -> None:
    """Raise an error if the features of a quantized graph differ too much from those in float32.

    Parameters
    ----------
    graph : Graph
        Quantized network.
    layers : sequence of str
        Layers of the recipe.
    name : str
        Name of the network in the error message.

    Raises
    ------
    EngineError
        If the mean cosine similarity of a layer is below `MIN_COSINE`, or was not measured.
    """
    cosines = read_cosines(graph)
    if missing := [layer for layer in layers if layer not in cosines]:
        raise EngineError(
            f'Cannot run {name} with precision="int8": its quantized network has no layer {missing[0]!r}. Pass another '
            'layer (--layer), or precision="float32" (--precision float32).'
        )
    layer = min(layers, key=lambda name: cosines[name])
    cosine = cosines[layer]
    if cosine < MIN_COSINE:
        raise EngineError(
            f'Cannot run {name} with precision="int8": the mean cosine similarity of the features of layer {layer!r} '
            f"to float32 is {cosine:.3f} on the calibration photographs, below {MIN_COSINE}. Pass "
            'precision="bfloat16" (--precision bfloat16) or precision="float32" (--precision float32).'
        )
