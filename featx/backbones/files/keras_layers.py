"""All layers of a Keras network, those of nested networks included, and their output tensors.

A layer of a nested network has a name such as ``base/conv_1``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from featx.backbones.keras.graph import LayerRow, as_functional, find_bottlenecks, layer_rows, nodes_by_operation
from featx.backbones.keras.keras_import import import_keras


@dataclasses.dataclass(frozen=True)
class LayerGraph:
    """Layers of a network, the output last, and their output tensors by name.

    A network that is not functional has one row, its output, and no tensors.
    """

    rows: list[LayerRow]
    tensors: dict[str, Any]


def list_layers(network: Any) -> LayerGraph:
    """Return the layers of any ``keras.Model``."""
    functional = as_functional(network)
    if functional is None:
        return LayerGraph([("output", type(network).__name__, list(network.output_shape[1:]), True)], {})
    graph = _functional_graph(functional)
    tensors, output = graph.tensors, functional.outputs[0]
    last = [row for row in graph.rows if tensors.get(row[0]) is output]
    if not last:
        tensors = {**tensors, "output": output}
        last = [("output", type(functional).__name__, list(output.shape[1:]), True)]
    return LayerGraph([row for row in graph.rows if row not in last] + last, tensors)


def _functional_graph(network: Any) -> LayerGraph:
    """Return the layers of a functional network; those of a nested network come before itself."""
    nodes = nodes_by_operation(network)
    rows: list[LayerRow] = []
    tensors: dict[str, Any] = {}
    bottlenecks = find_bottlenecks(network, network.operations)
    for row, operation, is_bottleneck in zip(operation_rows(network), network.operations, bottlenecks, strict=True):
        calls = nodes.get(id(operation), [])
        inner = as_functional(operation)
        if inner is not None and len(calls) == 1:
            for name, kind, ends_block, tensor in _nested_layers(inner, calls[0].arguments):
                tensors[f"{row[0]}/{name}"] = tensor
                rows.append((f"{row[0]}/{name}", kind, list(tensor.shape[1:]), ends_block and is_bottleneck))
        outputs = [tensor for node in calls for tensor in node.output_tensors]
        if len(outputs) == 1:  # a layer that is used twice has several outputs
            tensors[row[0]] = outputs[0]
        rows.append(row)
    return LayerGraph(rows, tensors)


def operation_rows(network: Any) -> list[LayerRow]:
    """Return one row for each operation of a functional network, without those of nested networks."""
    return layer_rows(network, network.operations)


def _nested_layers(inner: Any, arguments: Any) -> list[tuple[str, str, bool, Any]]:
    """Return (name, class, whether it ends a block, tensor) of the layers of a network that another one calls."""
    graph = _functional_graph(inner)
    rows = [row for row in graph.rows if row[1] != "InputLayer" and row[0] in graph.tensors]
    model = import_keras().Model(inner.inputs, [graph.tensors[row[0]] for row in rows])
    outputs = model(*arguments.args, **arguments.kwargs)
    return [(row[0], row[1], row[3], tensor) for row, tensor in zip(rows, outputs, strict=True)]
