"""The compiled graph that becomes part of a model file."""

from __future__ import annotations

import warnings
from typing import Any

from featx.backbones.registry import NetworkBackbone
from featx.errors import FeatxError, FeatxWarning
from featx.extraction.engines.archived_graph import BIN_MEMBER, XML_MEMBER, UnusableGraphError, describe_graph
from featx.extraction.engines.compile import load_known, load_or_compile
from featx.extraction.feature_extractor import resolve_extractor
from featx.extraction.options import Resolved, resolve_cache


def make_graph(extractor: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the graph of a fitted extractor as members of an archive, and what a model card records of it.

    Parameters
    ----------
    extractor : FeatureExtractor

    Returns
    -------
    members : dict of str to bytes
    description : dict
        Both are empty if the extractor runs no graph of OpenVINO.

    Warns
    -----
    FeatxWarning
        The network cannot be converted here. The model is saved without it.
    """
    resolved = resolve_extractor(extractor)
    if resolved.engine not in ("openvino", "onnxruntime") or not isinstance(resolved.backbone, NetworkBackbone):
        return {}, {}
    cache = resolve_cache(extractor.cache)
    try:
        graph = _graph_of(resolved, resolved.backbone, cache and cache / "compiled")
    except FeatxError as error:  # the training is done, and must not be lost
        warnings.warn(f"The model is saved without its graph: {error}", FeatxWarning, stacklevel=3)
        return {}, {}
    description = describe_graph(graph, resolved.backbone, resolved.recipe)
    return {XML_MEMBER: graph.xml, BIN_MEMBER: graph.bin}, description


def _graph_of(resolved: Resolved, backbone: NetworkBackbone, compiled: Any) -> Any:
    weights_path = resolved.weights_path
    if resolved.archived is not None and resolved.options is not None:
        if (known := load_known(backbone, resolved.recipe, compiled)) is not None:
            return known
        try:
            return resolved.archived.load()
        except UnusableGraphError:
            weights_path = resolved.find_weights_path()
    return load_or_compile(backbone, resolved.recipe, weights_path, compiled)
