"""Compiled graphs: converted once by a child process, cached on disk, and checked whenever they are read."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path

from featx.backbones.registry import NetworkBackbone
from featx.errors import EngineError, FeatxError
from featx.recipe import LAYER_SEPARATOR, Recipe
from featx.store.compiled_graphs import Graph, load_graph, save_graph
from featx.system.child_process import run_child
from featx.system.files.atomic import temporary_folder

_log = logging.getLogger("featx")


def load_or_compile(backbone: NetworkBackbone, recipe: Recipe, weights_path: Path | None, folder: Path | None) -> Graph:
    """Return a graph with the layers of a recipe, from the cache or after a conversion.

    Parameters
    ----------
    backbone : NetworkBackbone
        Network to compile.
    recipe : Recipe
        Image size, layers and preprocessing, and the digest of the weights.
    weights_path : Path or None
        Path of the weights; None for random weights.
    folder : Path or None
        Folder of compiled graphs; None: no caching.

    Raises
    ------
    WeightsError, EngineError
        If the network cannot be built or converted.
    StoreError
        If the graph cannot be written to the folder.
    """
    recipe = compiled_recipe(backbone, recipe)
    name = recipe.graph_fingerprint
    graph = load_graph(folder, name) if folder is not None else None
    if graph is None:
        _log.info("Compiling %s for this machine, which takes a few seconds …", backbone.name)
        graph = convert_network(backbone, recipe, weights_path)
        if folder is not None:
            save_graph(graph, folder, name)
    return graph


def compiled_recipe(backbone: NetworkBackbone, recipe: Recipe) -> Recipe:
    """Return the recipe of all layers that are compiled together with the layers of a recipe."""
    return dataclasses.replace(recipe, layer=LAYER_SEPARATOR.join(backbone.layers_to_compile(recipe.layers)))


def convert_network(backbone: NetworkBackbone, recipe: Recipe, weights_path: Path | None) -> Graph:
    """Return the OpenVINO graph of a network, converted by a child process.

    Raises
    ------
    WeightsError, EngineError
        If the network cannot be built or converted.
    """
    try:
        with temporary_folder() as folder:
            task = {
                **backbone.as_task(),
                "recipe": recipe.as_dict(),
                "weights_path": str(weights_path.resolve()) if weights_path else None,
                "folder": str(folder),
            }
            run_child(
                "featx.extraction.engines.compile_worker",
                task,
                f"converting {backbone.name!r} for OpenVINO",
                'Pass engine="keras" (--engine keras), or reinstall tensorflow and openvino.',
            )
            return Graph((folder / "graph.xml").read_bytes(), (folder / "graph.bin").read_bytes())
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise EngineError(
            f"Cannot convert backbone {backbone.name!r} in {tempfile.gettempdir()!r}: {error.strerror or error}. Free "
            "space there, or set the environment variable TMPDIR to another folder."
        ) from error
