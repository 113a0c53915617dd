"""The fast engine: a compiled graph on the CPU."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones.layers import POOLS, missing_layer_message, pooled_output_name
from featx.backbones.openvino_import import import_openvino, operations_of, reason_of
from featx.errors import EngineError
from featx.extraction.engines.fixed_batch import run_in_batches
from featx.store.compiled_graphs import Graph
from featx.system.processes import n_cores, n_visible_cores

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def add_pooling(network: Any, layers: Sequence[str], pooling: str) -> Any:
    """Return a network from pixels to one row of features, which computes no further than these layers."""
    openvino = import_openvino()
    operations = operations_of(openvino)
    reduce = {"avg": operations.reduce_mean, "max": operations.reduce_max}
    outputs = {name: output.get_node().input_value(0) for output in network.outputs for name in output.get_names()}
    parts = []
    for layer in layers:
        if layer not in outputs:
            raise EngineError(missing_layer_message(layer))
        maps = outputs[layer]
        if pooling == "none" or len(maps.shape) != 4:
            parts.append(operations.reshape(maps, [-1, math.prod(list(maps.shape)[1:])], False))
            continue
        for pool in POOLS:
            if pool in pooling:
                pooled = outputs.get(pooled_output_name(layer, pool))
                parts.append(reduce[pool](maps, [1, 2], False) if pooled is None else pooled)
    row = parts[0] if len(parts) == 1 else operations.concat(parts, 1)
    return openvino.Model([operations.result(row)], network.get_parameters(), "features")


class OpenVinoEngine:
    """Run a compiled graph from uint8 pixels to features.

    Parameters
    ----------
    graph : Graph
        The network for `COMPILED_BATCH_SIZE` images, with one output for each layer.
    layers : sequence of str
        The layers that features are taken from.
    pooling : {"avg", "max", "avgmax", "none"}
    precision : {"float32", "bfloat16"}

    Raises
    ------
    EngineError
        OpenVINO cannot run the graph, or not at this precision on this CPU.
    """

    def __init__(self, graph: Graph, layers: Sequence[str], pooling: str, precision: str) -> None:
        openvino = import_openvino()
        # LATENCY gives all cores to one run; decoding goes on in threads of its own meanwhile.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
        if n_cores() < n_visible_cores():  # OpenVINO 2026 knows nothing of quotas
            settings["INFERENCE_NUM_THREADS"] = n_cores()
        try:
            core = openvino.Core()
            network = add_pooling(core.read_model(model=graph.xml, weights=graph.bin), layers, pooling)
            compiled = core.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO {openvino.__version__} cannot run the network ({reason_of(error)}). "
                'Pass engine="keras", or install another version of openvino.'
            ) from error
        used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if used != _HINTS[precision]:
            raise EngineError(
                f'This CPU does not run precision="{precision}" natively (OpenVINO chose {used}). '
                'Pass precision="float32".'
            )
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return float32 rows (n, n_features) of uint8 pixels (n, height, width, 3)."""
        with self._lock:
            return run_in_batches(self._run, pixels)

    def _run(self, batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        # Shared, the request's own output buffer is written again by the next run: hence one copy.
        return np.array(self._request.infer([batch], share_outputs=True)[0])
