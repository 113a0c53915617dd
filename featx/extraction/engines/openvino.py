"""Run a network with OpenVINO on the CPU: the fast engine."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featx.backbones.layers import NETWORK_POOLINGS, POOL_OPERATIONS, missing_layer_message, pooled_output_name
from featx.backbones.openvino_import import import_openvino, openvino_operations, openvino_reason, openvino_version
from featx.errors import EngineError
from featx.extraction.engines.fixed_batch import FixedBatches, RunBatch
from featx.store.compiled_graphs import Graph
from featx.system.processes import n_cores, n_visible_cores

#: Operations of an int8 network that are not quantized run in float32.
_PRECISION_HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "f32"}


def add_pooling(network: Any, layers: Sequence[str], pooling: str) -> Any:
    """Return an ``openvino.Model`` from pixels to one row of features; it computes nothing beyond the layers.

    Parameters
    ----------
    network : openvino.Model
        Network with one named output for each layer.
    layers : sequence of str
        Names of the layers whose features are concatenated.
    pooling : {"native", "avg", "max", "avgmax", "cls", "none"}
        How the positions of a feature map are pooled.

    Raises
    ------
    EngineError
        If the network has no output for a layer.
    """
    openvino = import_openvino()
    operations = openvino_operations(openvino)
    reduce = {"avg": operations.reduce_mean, "max": operations.reduce_max}
    outputs = {name: output.get_node().input_value(0) for output in network.outputs for name in output.get_names()}
    parts = []
    for layer in layers:
        if layer not in outputs:
            raise EngineError(missing_layer_message(layer))
        maps = outputs[layer]
        if pooling in NETWORK_POOLINGS and (name := pooled_output_name(layer, pooling)) in outputs:
            parts.append(outputs[name])
            continue
        if pooling == "none" or len(maps.shape) != 4:
            parts.append(operations.reshape(maps, [-1, math.prod(list(maps.shape)[1:])], False))
            continue
        for operation in POOL_OPERATIONS:
            if operation in pooling:
                pooled = outputs.get(pooled_output_name(layer, operation))
                parts.append(reduce[operation](maps, [1, 2], False) if pooled is None else pooled)
    row = parts[0] if len(parts) == 1 else operations.concat(parts, 1)
    return openvino.Model([operations.result(row)], network.get_parameters(), "features")


def read_network(core: Any, graph: Graph, image_size: tuple[int, int] | None = None) -> Any:
    """Return the ``openvino.Model`` of a graph, for images of this height and width."""
    network = core.read_model(model=graph.xml, weights=graph.bin)
    shape = list(network.inputs[0].shape)
    if image_size is not None and tuple(shape[1:3]) != image_size:
        network.reshape([shape[0], *image_size, shape[3]])
    return network


class OpenVinoEngine(FixedBatches):
    """Run a compiled graph from uint8 pixels to features.

    Parameters
    ----------
    graph : Graph
        Network for `COMPILED_BATCH_SIZE` images with one output for each layer.
    layers : sequence of str
        Names of the layers to extract features from.
    pooling : {"native", "avg", "max", "avgmax", "cls", "none"}
        How the positions of a feature map are pooled.
    precision : {"float32", "float16", "bfloat16", "int8"}
        Precision of the computation; "int8" for a quantized graph.
    image_size : tuple of (int, int) or None, default=None
        Height and width of the images. None: those of the graph.

    Attributes
    ----------
    compiled : openvino.CompiledModel
        Network for `COMPILED_BATCH_SIZE` images.

    Raises
    ------
    EngineError
        If OpenVINO cannot run the graph, or this CPU does not support the precision natively.
    """

    def __init__(
        self,
        graph: Graph,
        layers: Sequence[str],
        pooling: str,
        precision: str,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        openvino = import_openvino()
        # The LATENCY hint gives all cores to one run; featx decodes images in other threads meanwhile.
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if n_cores() < n_visible_cores():  # OpenVINO 2026 ignores CPU quotas
            settings["INFERENCE_NUM_THREADS"] = n_cores()
        try:
            core = openvino.Core()
            network = read_network(core, graph, image_size)
            network = add_pooling(network, layers, pooling)
            compile_model = functools.partial(core.compile_model, device_name="CPU", config=settings)
            compiled = compile_model(network)
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO {openvino_version(openvino)} cannot run the network: {openvino_reason(error)}. Pass "
                'engine="keras" (--engine keras), or install another version of openvino.'
            ) from error
        used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if used != _PRECISION_HINTS[precision]:
            raise EngineError(
                f'precision="{precision}" requires native support by the CPU; OpenVINO uses {used} on this one. Pass '
                'precision="float32" (--precision float32).'
            )
        height, width = list(network.inputs[0].shape)[1:3]
        single = functools.partial(_compile_single, network, compile_model)  # the compiled network shares its weights
        self.compiled = compiled
        super().__init__(_as_function(compiled), (height, width), single, compiled.release_memory)


def _compile_single(network: Any, compile_model: Callable[[Any], Any]) -> RunBatch | None:
    """Compile a network for one image; None if its graph is bound to the batch size."""
    single = network.clone()
    try:
        single.reshape([1, *list(network.inputs[0].shape)[1:]])
        return _as_function(compile_model(single))
    except RuntimeError:
        return None


def _as_function(compiled: Any) -> RunBatch:
    """Return a function that runs a compiled network; only one thread may call it at a time."""
    request = compiled.create_infer_request()
    # The next run overwrites the shared output buffer of the request: hence one copy.
    return lambda batch: np.array(request.infer([batch], share_outputs=True)[0])
