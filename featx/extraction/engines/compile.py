"""The compiled graph on disk: made once from Keras in a child process, checked whenever it is read."""

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
    """Return a graph with the layers of a recipe: from the folder if it is there and whole, else made from Keras.

    Parameters
    ----------
    backbone : NetworkBackbone
    recipe : Recipe
    weights_path : Path or None
    folder : Path or None
        Where compiled graphs are kept; None keeps nothing.

    Raises
    ------
    WeightsError, EngineError
        The network cannot be built or converted.
    StoreError
        The folder cannot be written.
    """
    recipe = compiled_recipe(backbone, recipe)
    name = recipe.graph_fingerprint
    graph = load_graph(folder, name) if folder is not None else None
    if graph is None:
        _log.info("Compiling %s for this machine, once: a few seconds …", backbone.name)
        graph = _convert(backbone, recipe, weights_path)
        if folder is not None:
            save_graph(graph, folder, name)
    return graph


def compiled_recipe(backbone: NetworkBackbone, recipe: Recipe) -> Recipe:
    """Return the recipe of all layers that are compiled together with those of a recipe."""
    return dataclasses.replace(recipe, layer=LAYER_SEPARATOR.join(backbone.layers_to_compile(recipe.layers)))


def _convert(backbone: NetworkBackbone, recipe: Recipe, weights_path: Path | None) -> Graph:
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
                'Pass engine="keras" (--engine keras), or install tensorflow and openvino anew.',
            )
            return Graph((folder / "graph.xml").read_bytes(), (folder / "graph.bin").read_bytes())
    except OSError as error:
        if isinstance(error, FeatxError):
            raise
        raise EngineError(
            f"{backbone.name!r} cannot be converted in {tempfile.gettempdir()!r}: {error.strerror or error}. "
            "Make room there, or name another folder in the variable TMPDIR."
        ) from error
