"""Convert one network to an OpenVINO graph, in a child process."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.files import keras_file, openvino_file
from featx.backbones.files.display_name import display_name
from featx.backbones.files.model_source import ModelSource
from featx.backbones.keras.builder import build_layers
from featx.backbones.openvino_import import import_openvino, openvino_reason
from featx.backbones.records import KerasRecord
from featx.backbones.torch import worker
from featx.errors import EngineError
from featx.extraction.engines.fixed_batch import check_batch_independence
from featx.recipe import Recipe
from featx.system.child_process import report_step, serve_task


def convert(task: dict[str, Any]) -> None:
    """Write ``graph.xml`` and ``graph.bin`` into the task's folder: one output for each layer, under its name."""
    fields = task["recipe"]
    recipe = Recipe(**{**fields, "image_size": tuple(fields["image_size"])})
    report_step("loading the network")
    graph = build_graph(task, recipe)
    report_step("writing the graph")
    import_openvino().save_model(graph, Path(task["folder"]) / "graph.xml", compress_to_fp16=False)


def build_graph(task: dict[str, Any], recipe: Recipe) -> Any:
    """Return the ``openvino.Model`` of a task: one output for each layer of the recipe, under its name.

    Parameters
    ----------
    task : dict
        ``model_file``; or ``backbone`` or ``torch``, and ``weights_path``.
    recipe : Recipe
        Image size, layers and preprocessing.
    """
    if "model_file" in task:
        return _convert_file(ModelSource(**task["model_file"]), recipe)
    weights_path = Path(task["weights_path"]) if task["weights_path"] else None
    if "torch" in task:
        return worker.build_graph(task["torch"], recipe, weights_path)
    model = build_layers(KerasRecord(**task["backbone"]), recipe, weights_path, recipe.layers)
    report_step("converting")
    return _convert_for_batches(model, recipe)


def convert_keras_model(model: Any) -> Any:
    """Return a ``keras.Model`` as an ``openvino.Model``."""
    with warnings.catch_warnings():
        # OpenVINO calls the model with a list of one tensor, and Keras warns about that.
        warnings.simplefilter("ignore", category=UserWarning)
        return import_openvino().convert_model(model)


def _convert_file(source: ModelSource, recipe: Recipe) -> Any:
    source.check_unchanged()
    path = Path(source.path)
    if source.kind == "keras":
        graph = _convert_for_batches(keras_file.build_layers(path, recipe, recipe.layers), recipe)
    else:
        graph = openvino_file.convert(path, source.kind, recipe.image_size, recipe.layers, recipe.preprocessing)
    try:
        compiled = import_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        other = "pass engine='keras' (--engine keras)" if source.kind == "keras" else "export the network again"
        raise EngineError(
            f"OpenVINO cannot run network {display_name(path)}: {openvino_reason(error)}. Install another version of "
            f"openvino, or {other}."
        ) from error
    check_batch_independence(
        lambda batch: list(compiled([batch]).values()), recipe.image_size, display_name(source.path)
    )
    return graph


def _convert_for_batches(model: Any, recipe: Recipe) -> Any:
    graph = convert_keras_model(model)
    graph.reshape([COMPILED_BATCH_SIZE, *recipe.image_size, 3])
    return graph


if __name__ == "__main__":
    sys.exit(serve_task(convert))
