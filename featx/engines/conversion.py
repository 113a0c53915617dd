"""Convert one Keras network for OpenVINO: run as a child process, told on standard input what to do."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from featx.backbones import KerasBackbone
from featx.children import serve_task
from featx.engines.batches import COMPILED_BATCH
from featx.engines.openvino import import_openvino
from featx.recipe import Recipe


def convert(task: dict[str, Any]) -> None:
    """Write ``graph.xml`` and ``graph.bin`` into the task's folder: one output for each layer, under its name."""
    fields = task["recipe"]
    recipe = Recipe(**{**fields, "image_size": tuple(fields["image_size"])})
    backbone = KerasBackbone(**task["backbone"])
    weights_path = Path(task["weights_path"]) if task["weights_path"] else None
    model = backbone.build_layers(recipe, weights_path, recipe.layers)
    openvino = import_openvino()
    with warnings.catch_warnings():
        # OpenVINO calls the model with a list of one tensor, which Keras remarks upon.
        warnings.filterwarnings("ignore", message="The structure of `inputs`", category=UserWarning)
        graph = openvino.convert_model(model)
    graph.reshape([COMPILED_BATCH, *recipe.image_size, 3])
    openvino.save_model(graph, Path(task["folder"]) / "graph.xml", compress_to_fp16=False)


if __name__ == "__main__":
    sys.exit(serve_task(convert))
