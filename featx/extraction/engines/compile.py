"""Compiled graphs: packaged, or converted once by a child process and cached on disk; checked whenever read."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.backbones.registry import NetworkBackbone
from featx.errors import FeatxError, StoreError, missing_dependency
from featx.extraction.engines.packaged import load_packaged
from featx.extraction.engines.quality import check_quality
from featx.recipe import LAYER_SEPARATOR, Recipe
from featx.store.compiled_graphs import Graph, load_graph, save_graph
from featx.store.layout import is_unusable_error, warn_unusable
from featx.system.child_process import run_child
from featx.system.files.temporary import temporary_error, temporary_folder, temporary_place
from featx.system.terminal.progress import announce, stage


def load_or_compile(backbone: NetworkBackbone, recipe: Recipe, weights_path: Path | None, folder: Path | None) -> Graph:
    """Return a graph with the layers of a recipe: from the package, from the cache, or after a conversion.

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
        If the network cannot be built, converted or quantized, or if the features of the quantized network are poor.
    MissingDependencyError
        If the network must be quantized and nncf is not installed.
    StoreError
        If the graph cannot be written to the folder.
    """
    graph = load_known(backbone, recipe, folder)
    if graph is None:
        full_recipe = compiled_recipe(backbone, recipe)
        graph = _make_graph(backbone, full_recipe, weights_path, folder)
        if folder is not None:
            keep_graph(graph, folder, full_recipe.graph_fingerprint)
    if recipe.calibration:
        check_quality(graph, recipe.layers, repr(backbone.name))
    return graph


def keep_graph(graph: Graph, folder: Path, name: str) -> None:
    """Write a graph to a folder of compiled graphs; a folder that cannot be written is only warned about."""
    try:
        save_graph(graph, folder, name)
    except StoreError as error:
        if not is_unusable_error(error):
            raise
        warn_unusable(folder.parent, error)


def load_known(backbone: NetworkBackbone, recipe: Recipe, folder: Path | None) -> Graph | None:
    """Return the graph of a recipe from the package or the cache; None if neither has it."""
    full_recipe = compiled_recipe(backbone, recipe)
    graph = load_packaged(backbone, full_recipe)
    if graph is None and folder is not None:
        try:
            graph = load_graph(folder, full_recipe.graph_fingerprint)
        except StoreError as error:
            if not is_unusable_error(error):
                raise
            warn_unusable(folder.parent, error, "read")
    return graph


def _make_graph(backbone: NetworkBackbone, recipe: Recipe, weights_path: Path | None, folder: Path | None) -> Graph:
    if not recipe.calibration:
        announce(f"Converting {backbone.name} for this machine, which takes 5 to 60 seconds. {how_often(folder)}")
        return convert_network(backbone, recipe, weights_path)
    check_nncf(backbone)
    graph = load_or_compile(backbone, dataclasses.replace(recipe, calibration=""), weights_path, folder)
    announce(f"Quantizing {backbone.name}, which takes 10 seconds to a few minutes. {how_often(folder)}")
    return quantize_graph(backbone, recipe, graph)


def how_often(folder: Path | None) -> str:
    """Return how often a conversion is repeated, as a sentence."""
    if folder is None:
        return "Without a cache, each process repeats it."
    return f"It happens once: the result is kept in {str(folder)!r}."


def compiled_recipe(backbone: NetworkBackbone, recipe: Recipe) -> Recipe:
    """Return the recipe of all layers that are compiled together with the layers of a recipe."""
    return dataclasses.replace(recipe, layer=LAYER_SEPARATOR.join(backbone.layers_to_compile(recipe.layers)))


def check_nncf(backbone: NetworkBackbone) -> None:
    """Raise an error if this machine cannot quantize networks.

    Raises
    ------
    MissingDependencyError
        If nncf is not installed.
    """
    if importlib.util.find_spec("nncf") is None:
        raise missing_dependency(
            f'precision="int8" (--precision int8) of {backbone.name!r}',
            "nncf",
            "'featx[int8]'",
            'pass precision="float32"',
        )


def convert_network(backbone: NetworkBackbone, recipe: Recipe, weights_path: Path | None) -> Graph:
    """Return the OpenVINO graph of a network, converted by a child process.

    Raises
    ------
    WeightsError, EngineError
        If the network cannot be built or converted.
    """
    task = {
        **backbone.as_task(),
        "recipe": recipe.as_dict(),
        "weights_path": str(weights_path.resolve()) if weights_path else None,
    }
    remedy = 'Pass engine="keras" (--engine keras), or reinstall tensorflow and openvino.'
    with stage("convert", 3, "steps", backbone.name) as progress:
        return run_worker(
            "featx.extraction.engines.compile_worker",
            task,
            {},
            f"converting {backbone.name!r} for OpenVINO",
            remedy,
            on_step=progress.begin_step,
        )


def quantize_graph(backbone: NetworkBackbone, recipe: Recipe, graph: Graph) -> Graph:
    """Return a quantized copy of a graph, made by a child process.

    Parameters
    ----------
    backbone : NetworkBackbone
        Network of the graph.
    recipe : Recipe
        Image size and layers of the graph.
    graph : Graph
        Network in float32.

    Raises
    ------
    EngineError
        If the network cannot be quantized.
    """
    task = {"name": repr(backbone.name), "image_size": list(recipe.image_size), "layers": recipe.layers}
    remedy = 'Pass precision="float32" (--precision float32), or reinstall nncf and openvino.'
    sources = {"float32.xml": graph.xml, "float32.bin": graph.bin}
    with stage("quantize", 3, "steps", backbone.name) as progress:
        purpose = f"quantizing {backbone.name!r}"
        module = "featx.extraction.engines.quantize_worker"
        return run_worker(module, task, sources, purpose, remedy, on_step=progress.begin_step)


def run_worker(
    module: str,
    task: dict[str, Any],
    sources: dict[str, bytes],
    purpose: str,
    remedy: str,
    *,
    on_step: Callable[[str], object],
) -> Graph:
    """Return the graph that a child process writes into the folder of its task.

    Parameters
    ----------
    module : str
        Module of the child process.
    task : dict
        JSON types; the folder is added.
    sources : dict of str to bytes
        Files that the child process reads from the folder, by name.
    purpose, remedy
        See :func:`run_child`.
    on_step : callable
        Called with the name of each step.
    """
    try:
        with temporary_folder() as folder:
            for name, data in sources.items():
                (folder / name).write_bytes(data)
            child_task = {**task, "folder": str(folder)}
            run_child(module, child_task, purpose, remedy, on_step)
            return Graph((folder / "graph.xml").read_bytes(), (folder / "graph.bin").read_bytes())
    except FeatxError:
        raise
    except OSError as error:
        raise temporary_error(temporary_place(), error) from error
