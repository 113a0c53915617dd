"""The compiled graph that becomes part of a model file."""

from __future__ import annotations

import dataclasses
import os
import warnings
from typing import Any

from featx.backbones.described import DescribedNetwork
from featx.backbones.files.network_file import is_single_file
from featx.backbones.registry import KerasBackbone, NetworkBackbone
from featx.errors import FeatxError, FeatxWarning
from featx.extraction.engines.archived_graph import BIN_MEMBER, XML_MEMBER, UnusableGraphError, describe_graph
from featx.extraction.engines.compile import load_known, load_or_compile
from featx.extraction.feature_extractor import resolve_extractor
from featx.extraction.options import Resolved, resolve_cache
from featx.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class GraphOfModel:
    """Compiled graph to store in a model file; empty without one.

    Attributes
    ----------
    members : dict of str to bytes
        Members of the archive.
    card : dict
        Entry of the card of the model.
    network : str
        Description of the network, without which its library would be needed; "" if the network is part of featx, or
        of the model.
    """

    members: dict[str, bytes] = dataclasses.field(default_factory=dict)
    card: dict[str, Any] = dataclasses.field(default_factory=dict)
    network: str = ""


def make_graph(extractor: Any) -> GraphOfModel:
    """Return the graph of a fitted extractor, or none if the extractor runs no graph of OpenVINO.

    Parameters
    ----------
    extractor : FeatureExtractor

    Warns
    -----
    FeatxWarning
        The network cannot be converted here. The model is saved without it.
    """
    resolved = resolve_extractor(extractor)
    if resolved.engine not in ("openvino", "onnxruntime") or not isinstance(resolved.backbone, NetworkBackbone):
        return GraphOfModel()
    cache = resolve_cache(extractor.cache)
    try:
        graph = _graph_of(resolved, resolved.backbone, cache and cache / "compiled")
        network = _describe_network(resolved.backbone, os.fspath(extractor.backbone), resolved.recipe)
    except FeatxError as error:  # the training is done, and must not be lost
        warnings.warn(f"The model is saved without its graph: {error}", FeatxWarning, stacklevel=3)
        return GraphOfModel()
    card = describe_graph(graph, resolved.backbone, resolved.recipe)
    return GraphOfModel({XML_MEMBER: graph.xml, BIN_MEMBER: graph.bin}, card, network)


def _describe_network(backbone: NetworkBackbone, given_name: str, recipe: Recipe) -> str:
    is_described = isinstance(backbone, DescribedNetwork)  # its file need not be here
    # Networks of Keras are records of featx or of the user, who registers them.
    if not is_described and (isinstance(backbone, KerasBackbone) or is_single_file(given_name)):
        return ""
    return DescribedNetwork.of(backbone, given_name, recipe).as_text()


def _graph_of(resolved: Resolved, backbone: NetworkBackbone, compiled: Any) -> Any:
    if resolved.archived is not None and resolved.options is not None:
        try:
            return resolved.archived.load()
        except UnusableGraphError as error:
            if (known := load_known(backbone, resolved.recipe, compiled)) is not None:
                return known
            resolved = resolved.without_graph(error)
            assert isinstance(resolved.backbone, NetworkBackbone)
            backbone = resolved.backbone
    return load_or_compile(backbone, resolved.recipe, resolved.weights_path, compiled)
