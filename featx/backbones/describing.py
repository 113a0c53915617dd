"""Describe the layers of one Keras network: run as a child process, told on standard input what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from featx.backbones import KerasBackbone
from featx.children import serve_task

_ENDS = ("Activation", "Add", "Concatenate", "MaxPooling2D", "Multiply", "ReLU")


def describe(task: dict[str, Any]) -> None:
    """Write the layers of the task's ``backbone`` at its ``image_size`` into the task's ``file``."""
    backbone = KerasBackbone(**task["backbone"])
    rows = layer_rows(backbone.build_empty(tuple(task["image_size"])))
    Path(task["file"]).write_text(as_json(rows), encoding="utf-8")


def layer_rows(network: Any) -> list[tuple[str, str, list[int], bool]]:
    """Return (name, class, shape, whether it ends a block) of each layer of a ``keras.Model``, in its order."""
    layers = network.layers
    place = {id(layer): at for at, layer in enumerate(layers)}
    last_reader = [0] * len(layers)
    for at, layer in enumerate(layers):
        for source in _sources(layer):
            if source in place:  # a layer that is a network itself has other sources within
                last_reader[place[source]] = max(last_reader[place[source]], at)
    rows = []
    farthest = 0  # the last layer that reads something from before this one
    for at, layer in enumerate(layers):
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        ends_block = farthest <= at and (type(layer).__name__ in _ENDS or activation != "linear")
        output = layer.output
        shape = list(output.shape[1:]) if hasattr(output, "shape") else []
        rows.append((_plain_name(layer, at), type(layer).__name__, shape, ends_block))
        farthest = max(farthest, last_reader[at])
    return rows


def _plain_name(layer: Any, at: int) -> str:
    # Keras numbers inputs by what else was built in the process.
    return "input" if at == 0 else str(layer.name)


def _sources(layer: Any) -> list[int]:
    """Return which layers this one reads, by identity; Keras has no public name for it."""
    return [id(tensor._keras_history.operation) for node in layer._inbound_nodes for tensor in node.input_tensors]


def as_json(rows: list[tuple[str, str, list[int], bool]]) -> str:
    """Return JSON with a line for each layer, so that a change shows in a diff."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    sys.exit(serve_task(describe))
