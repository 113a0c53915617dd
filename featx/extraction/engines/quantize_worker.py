"""Quantize one network to int8, in a child process."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.openvino_import import import_openvino
from featx.errors import EngineError
from featx.extraction.engines.calibration import calibration_pixels, whole_photographs
from featx.extraction.engines.openvino import add_pooling, read_network
from featx.extraction.engines.quality import save_cosines
from featx.features.search.cosine import mean_cosine
from featx.store.compiled_graphs import Graph
from featx.system.array_types import AnyArray
from featx.system.child_process import report_step, serve_task

#: Operations of networks that were quantized before.
_QUANTIZED = {"FakeQuantize", "FakeConvert"}


def quantize(task: dict[str, Any]) -> None:
    """Write ``graph.xml`` and ``graph.bin``: the quantized ``float32.xml`` and ``float32.bin`` of the task's folder."""
    folder = Path(task["folder"])
    openvino = import_openvino()
    source = Graph((folder / "float32.xml").read_bytes(), (folder / "float32.bin").read_bytes())
    network = read_network(openvino.Core(), source, tuple(task["image_size"]))
    _check_not_quantized(network, task["name"])
    report_step("reading photographs, and choosing ranges")
    quantized = _quantize(network, _batches(calibration_pixels(tuple(task["image_size"]))))
    report_step("comparing the features")
    photographs = whole_photographs(tuple(task["image_size"]))
    save_cosines(quantized, _cosines(network, quantized, photographs, task["layers"]))
    report_step("writing the graph")
    openvino.save_model(quantized, folder / "graph.xml", compress_to_fp16=False)


def _quantize(network: Any, batches: list[AnyArray]) -> Any:
    """Return a quantized copy of a network.

    The accurate bias correction takes seconds more than the fast one and halves the error. The overflow fix limits
    weights to 7 bits. On CPUs without VNNI, sums of two products would overflow 16 bits otherwise; so the rows are the
    same with and without VNNI. Ranges are those of all images: the default, a mean over images, clips unusual ones.
    """
    # As for openvino: nncf reports its use to its vendor if this package can be imported.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # documented: makes imports fail
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    copy = network.clone()
    _join_transposes(copy)
    return nncf.quantize(
        copy,
        nncf.Dataset(batches),
        subset_size=len(batches),
        fast_bias_correction=False,
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE, activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )


def _join_transposes(network: Any) -> None:
    """Remove pairs of transpositions that cancel each other.

    The conversion from Keras leaves them between layers that are outputs. nncf would take the axis behind the first
    one, the height, for the channels, and quantize the input of a depthwise convolution by it.
    """
    for operation in network.get_ordered_ops():
        if operation.get_type_name() != "Transpose":
            continue
        source = operation.input_value(0).get_node()
        orders = [node.input_value(1).get_node() for node in (source, operation) if node.get_type_name() == "Transpose"]
        if len(orders) < 2 or any(order.get_type_name() != "Constant" for order in orders):
            continue
        first, second = (order.get_data() for order in orders)
        if (first[second] == np.arange(len(first))).all():
            for reader in list(operation.output(0).get_target_inputs()):
                reader.replace_source_output(source.input_value(0))
    network.validate_nodes_and_infer_types()


def _check_not_quantized(network: Any, name: str) -> None:
    if any(operation.get_type_name() in _QUANTIZED for operation in network.get_ops()):
        raise EngineError(
            f'precision="int8" (--precision int8) requires a network in float32, but {name} is quantized already. Pass '
            'precision="float32" (--precision float32): its quantized layers run in int8 then as well.'
        )


def _batches(pixels: AnyArray) -> list[AnyArray]:
    return [pixels[start : start + COMPILED_BATCH_SIZE] for start in range(0, len(pixels), COMPILED_BATCH_SIZE)]


def _cosines(network: Any, quantized: Any, pixels: AnyArray, layers: list[str]) -> dict[str, float]:
    """Return the mean cosine similarity of the pooled features of each layer to those in float32."""
    layers = [layer for layer in layers if any(layer in output.get_names() for output in network.outputs)]
    rows, others = (_rows(each, pixels, layers) for each in (network, quantized))
    widths = [_row_width(output.shape) for layer in layers for output in [network.output(layer)]]
    ends = np.cumsum(widths)
    cosines = {}
    for layer, end, width in zip(layers, ends, widths, strict=True):
        cosines[layer] = mean_cosine(rows[:, end - width : end], others[:, end - width : end])
    return cosines


def _rows(network: Any, pixels: AnyArray, layers: list[str]) -> AnyArray:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = import_openvino().Core().compile_model(add_pooling(network, layers, "avg"), "CPU", settings)
    n_padding = -len(pixels) % COMPILED_BATCH_SIZE
    batches = _batches(np.concatenate([pixels, pixels[:n_padding]]))
    return np.concatenate([np.array(compiled([batch])[0]) for batch in batches])[: len(pixels)]


def _row_width(shape: Any) -> int:
    return int(shape[3]) if len(shape) == 4 else math.prod(list(shape)[1:])


if __name__ == "__main__":
    sys.exit(serve_task(quantize))
