"""Graphs that are distributed with featx: the bundled network needs no conversion and no tensorflow."""

from __future__ import annotations

import dataclasses
import warnings

from featx.backbones.records import RECORDS_FOLDER
from featx.backbones.registry import NetworkBackbone
from featx.errors import StoreWarning
from featx.recipe import Recipe
from featx.store.compiled_graphs import Graph, graph_manifest

#: ``tests.extraction.engines.package_graphs`` writes the files; the README next to them describes them.
GRAPHS_FOLDER = RECORDS_FOLDER.parent / "graphs"


def load_packaged(backbone: NetworkBackbone, recipe: Recipe) -> Graph | None:
    """Return the graph of a recipe from the package; None if it is not part of the package.

    Parameters
    ----------
    backbone : NetworkBackbone
        Network of the recipe.
    recipe : Recipe
        Recipe of all layers that are compiled together.

    Warns
    -----
    StoreWarning
        The files are corrupt.
    """
    name = packaged_name(backbone, recipe)
    paths = [GRAPHS_FOLDER / (name + suffix) for suffix in (".json", ".xml", ".bin")]
    try:
        manifest, xml, weights = (path.read_bytes() for path in paths)
    except FileNotFoundError:
        return None
    graph = Graph(xml, weights)
    if manifest.decode(errors="replace") != graph_manifest(graph):
        warnings.warn(
            f"The graph {str(paths[1])!r} is corrupt: the checksum does not match. The backbone is compiled again; "
            "reinstall featx.",
            StoreWarning,
            stacklevel=2,
        )
        return None
    return graph


def packaged_name(backbone: NetworkBackbone, recipe: Recipe) -> str:
    """Return the name of the files of a graph, whether or not they exist.

    A graph in float32 serves every image size. The ranges of a quantized one were measured at one size.
    """
    if not recipe.calibration:
        recipe = dataclasses.replace(recipe, image_size=(backbone.image_size, backbone.image_size))
    return f"{recipe.backbone}-{recipe.graph_fingerprint}"
