"""The graph of a ``keras.Model``: its layers, their order, and pooling of their outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from featx.backbones.layers import POOL_OPERATIONS, escape_layer_name, pooled_output_name
from featx.recipe import Recipe

#: One layer in a JSON file: name, class, output shape without the batch axis, whether it ends a block.
LayerRow = tuple[str, str, list[int], bool]
_BLOCK_ENDS = ("Activation", "Add", "Concatenate", "MaxPooling2D", "Multiply", "ReLU")


def pool_layer(keras: Any, operation: str) -> Any:
    """Return a Keras layer that pools the positions of feature maps."""
    return {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}[operation]()


def pool_outputs(keras: Any, recipe: Recipe, outputs: Mapping[str, Any]) -> Any:
    """Return the tensor of feature rows from the outputs of the layers of a recipe."""
    parts = []
    for name in recipe.layers:
        maps = outputs[name]
        if recipe.pooling == "none" or len(maps.shape) != 4:
            parts.append(keras.layers.Flatten()(maps))
            continue
        for operation in POOL_OPERATIONS:
            if operation in recipe.pooling:
                pooled = outputs.get(pooled_output_name(name, operation))
                parts.append(pool_layer(keras, operation)(maps) if pooled is None else pooled)
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)


def as_functional(network: Any) -> Any:
    """Return the functional graph of a network; None for a single layer and for models that are code."""
    functional = getattr(network, "_functional", network)  # a Sequential model contains one
    has_graph = hasattr(functional, "_nodes_by_depth") and getattr(functional, "outputs", None)
    return functional if has_graph else None


def nodes_by_operation(network: Any) -> dict[int, list[Any]]:
    """Return the nodes of each operation in this network, by the id of the operation.

    An operation can have several nodes, and nodes in other networks too. Keras has no public name for this.
    """
    nodes: dict[int, list[Any]] = {}
    for node in [node for level in network._nodes_by_depth.values() for node in level]:
        nodes.setdefault(id(node.operation), []).append(node)
    return nodes


def layer_rows(network: Any, operations: Sequence[Any] | None = None) -> list[LayerRow]:
    """Return one row for each layer of a functional network.

    Parameters
    ----------
    network : keras.Model
        Functional network.
    operations : sequence of keras.Operation or None, default=None
        Operations to describe. None: the layers of the network.
    """
    operations = network.layers if operations is None else operations
    nodes = nodes_by_operation(network)
    rows = []
    for operation, is_bottleneck in zip(operations, find_bottlenecks(network, operations), strict=True):
        tensors = [tensor for node in nodes.get(id(operation), []) for tensor in node.output_tensors]
        shape = list(tensors[0].shape[1:]) if len(tensors) == 1 else []
        # Keras numbers input layers by what else was built in the process.
        name = "input" if type(operation).__name__ == "InputLayer" else escape_layer_name(operation.name)
        rows.append((name, type(operation).__name__, shape, is_bottleneck and _is_block_end(operation)))
    return rows


def find_bottlenecks(network: Any, operations: Sequence[Any]) -> list[bool]:
    """Return for each operation whether every path from the input to the output passes through it."""
    nodes = nodes_by_operation(network)
    sources = [
        [id(tensor._keras_history.operation) for node in nodes.get(id(operation), []) for tensor in node.input_tensors]
        for operation in operations
    ]
    index_of = {id(operation): index for index, operation in enumerate(operations)}
    last_reader = [0] * len(operations)
    for index, read in enumerate(sources):
        for source in read:
            if source in index_of:
                last_reader[index_of[source]] = max(last_reader[index_of[source]], index)
    bottlenecks = []
    farthest_reader = 0  # last operation that reads the output of an operation before this one
    for index in range(len(operations)):
        bottlenecks.append(farthest_reader <= index)
        farthest_reader = max(farthest_reader, last_reader[index])
    return bottlenecks


def _is_block_end(operation: Any) -> bool:
    """Return whether an operation is a nonlinearity or a sum; the output decides for a nested network."""
    if (inner := as_functional(operation)) is not None:
        return _is_block_end(inner.outputs[0]._keras_history.operation)
    activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
    return type(operation).__name__ in _BLOCK_ENDS or activation != "linear"


def rows_to_json(rows: Sequence[LayerRow]) -> str:
    """Return layer rows as JSON with one line for each layer, so that a diff shows each change."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
