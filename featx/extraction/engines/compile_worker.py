"""Convert one network for OpenVINO: run as a child process, told on standard input what to do."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.files import keras_file as keras_files
from featx.backbones.files import openvino_file as own_graphs
from featx.backbones.files.model_cache import display_name
from featx.backbones.files.network_file import NetworkFile
from featx.backbones.openvino_import import import_openvino, reason_of
from featx.backbones.registry import KerasBackbone
from featx.errors import EngineError
from featx.extraction.engines.fixed_batch import check_batch_independence
from featx.recipe import Recipe
from featx.system.child_process import serve_task


def convert(task: dict[str, Any]) -> None:
    """Write ``graph.xml`` and ``graph.bin`` into the task's folder: one output for each layer, under its name."""
    fields = task["recipe"]
    recipe = Recipe(**{**fields, "image_size": tuple(fields["image_size"])})
    graph = build_graph(task, recipe)
    import_openvino().save_model(graph, Path(task["folder"]) / "graph.xml", compress_to_fp16=False)


def build_graph(task: dict[str, Any], recipe: Recipe) -> Any:
    """Return the ``openvino.Model`` of a task: one output for each layer, under its name."""
    if "model_file" in task:
        return _graph_of_own(NetworkFile(**task["model_file"]), recipe)
    weights_path = Path(task["weights_path"]) if task["weights_path"] else None
    model = KerasBackbone(**task["backbone"]).build_layers(recipe, weights_path, recipe.layers)
    return _graph_of_keras(model, recipe)


def _graph_of_own(network: NetworkFile, recipe: Recipe) -> Any:
    network.check_unchanged()
    if network.kind == "keras":
        graph = _graph_of_keras(keras_files.build_layers(network, recipe, recipe.layers), recipe)
    else:
        path = Path(network.path)
        graph = own_graphs.convert(path, network.kind, recipe.image_size, recipe.layers, recipe.preprocessing)
    try:
        compiled = import_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        remedy = "pass engine='keras' (--engine keras)" if network.kind == "keras" else "export it anew"
        raise EngineError(
            f"OpenVINO cannot run the network {display_name(network.path)} ({reason_of(error)}). Install "
            f"another version of "
            f"openvino, or {remedy}."
        ) from error
    check_batch_independence(
        lambda batch: list(compiled([batch]).values()), recipe.image_size, display_name(network.path)
    )
    return graph


def _graph_of_keras(model: Any, recipe: Recipe) -> Any:
    graph = convert_keras_model(model)
    graph.reshape([COMPILED_BATCH_SIZE, *recipe.image_size, 3])
    return graph


def convert_keras_model(model: Any) -> Any:
    """Return a ``keras.Model`` as an ``openvino.Model``."""
    with warnings.catch_warnings():
        # OpenVINO calls the model with a list of one tensor, which Keras remarks upon.
        warnings.simplefilter("ignore", category=UserWarning)
        return import_openvino().convert_model(model)


if __name__ == "__main__":
    sys.exit(serve_task(convert))
