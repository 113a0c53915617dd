"""Describe the layers of one Keras network: run as a child process, told on standard input what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.backbones.layers import as_layer_name
from featx.backbones.registry import KerasBackbone
from featx.system.child_process import serve_task

_ENDS = ("Activation", "Add", "Concatenate", "MaxPooling2D", "Multiply", "ReLU")


def describe(task: dict[str, Any]) -> None:
    """Write the layers of the task's ``backbone`` at its ``image_size`` into the task's ``file``."""
    backbone = KerasBackbone(**task["backbone"])
    rows = layer_rows(backbone.build_empty(tuple(task["image_size"])))
    Path(task["file"]).write_text(as_json(rows), encoding="utf-8")


def layer_rows(network: Any) -> list[tuple[str, str, list[int], bool]]:
    """Return (name, class, shape, whether it ends a block) of each layer of a ``keras.Model``, in its order."""
    return rows_of(network, network.layers)


def rows_of(network: Any, operations: Sequence[Any]) -> list[tuple[str, str, list[int], bool]]:
    """Return (name, class, shape, whether it ends a block) of layers and other operations of a functional network."""
    nodes = nodes_of(network)
    rows = []
    for operation, is_passed in zip(operations, passed_by_all(network, operations), strict=True):
        tensors = [tensor for node in nodes.get(id(operation), []) for tensor in node.output_tensors]
        shape = list(tensors[0].shape[1:]) if len(tensors) == 1 else []
        # Keras numbers inputs by what else was built in the process.
        name = "input" if type(operation).__name__ == "InputLayer" else as_layer_name(operation.name)
        rows.append((name, type(operation).__name__, shape, is_passed and _is_end(operation)))
    return rows


def passed_by_all(network: Any, operations: Sequence[Any]) -> list[bool]:
    """Return of each operation whether all that a functional network knows of an image goes through it."""
    nodes = nodes_of(network)
    place = {id(operation): at for at, operation in enumerate(operations)}
    sources = [
        [id(tensor._keras_history.operation) for node in nodes.get(id(one), []) for tensor in node.input_tensors]
        for one in operations
    ]
    last_reader = [0] * len(operations)
    for at, read in enumerate(sources):
        for source in read:
            if source in place:
                last_reader[place[source]] = max(last_reader[place[source]], at)
    passed = []
    farthest = 0  # the last one that reads something from before this one
    for at in range(len(operations)):
        passed.append(farthest <= at)
        farthest = max(farthest, last_reader[at])
    return passed


def _is_end(operation: Any) -> bool:
    """Return whether an operation is a nonlinearity or a sum; a network within another is what it ends in."""
    if (inner := as_functional(operation)) is not None:
        return _is_end(inner.outputs[0]._keras_history.operation)
    activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
    return type(operation).__name__ in _ENDS or activation != "linear"


def as_functional(network: Any) -> Any:
    """Return a network that is built of layers as Keras wires it; None if it is a single layer, or code."""
    wired = getattr(network, "_functional", network)  # what a Sequential is within
    return wired if hasattr(wired, "_nodes_by_depth") and getattr(wired, "outputs", None) else None


def nodes_of(network: Any) -> dict[int, list[Any]]:
    """Return where each operation stands in this network, by its identity; Keras has no public name for it.

    A layer may stand in other networks, too, and in this one several times.
    """
    found: dict[int, list[Any]] = {}
    for node in [node for nodes in network._nodes_by_depth.values() for node in nodes]:
        found.setdefault(id(node.operation), []).append(node)
    return found


def as_json(rows: list[tuple[str, str, list[int], bool]]) -> str:
    """Return JSON with a line for each layer, so that a change shows in a diff."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    sys.exit(serve_task(describe))
