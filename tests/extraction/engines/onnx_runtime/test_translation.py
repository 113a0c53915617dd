"""Each operation gives in ONNX Runtime what it gives in OpenVINO. Whole networks: ``tests/extraction/engines``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from featx.backbones.openvino_import import import_openvino
from featx.errors import EngineError
from featx.extraction.engines.onnx_runtime.device import make_session
from featx.extraction.engines.onnx_runtime.translation import to_onnx

RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> Any:
    return (RANDOM.standard_normal(shape) / 4).astype(np.float32)


def integers(*values: int) -> Any:
    return np.array(values, np.int64)


#: Operations of a tensor of shape (2, 6, 8, 4), by name.
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "activations": lambda ops, x: ops.elu(ops.prelu(ops.hswish(ops.hsigmoid(x)), weights(6)), 0.5),
    "attention": lambda ops, x: ops.scaled_dot_product_attention(x, x, x),
    "masked attention": lambda ops, x: ops.scaled_dot_product_attention(
        x, ops.tanh(x), x, weights(8, 8), np.float32(2)
    ),
    "average pool": lambda ops, x: ops.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], True, "ceil"),
    "broadcast": lambda ops, x: ops.tile(ops.broadcast(x, integers(2, 6, 8, 4)), integers(1, 1, 2, 1)),
    "clamp": lambda ops, x: ops.clamp(ops.exp(ops.negative(ops.abs(x))), 0.2, 0.6),
    "concat": lambda ops, x: ops.concat([x, ops.sqrt(ops.abs(x))], 1),
    "convolution": lambda ops, x: ops.convolution(x, weights(5, 6, 3, 3), [2, 1], [1, 0], [0, 1], [1, 1]),
    "gather": lambda ops, x: ops.gather(x, integers(2, 0), np.array(3)),
    "gelu": lambda ops, x: ops.add(ops.gelu(x, "erf"), ops.gelu(ops.multiply(x, np.float32(-2)), "tanh")),
    "grouped convolution": lambda ops, x: ops.group_convolution(
        x, weights(3, 4, 2, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]
    ),
    "matrix product": lambda ops, x: ops.matmul(x, weights(5, 4), False, True),
    "maximum pool": lambda ops, x: ops.max_pool(x, [2, 2], [1, 1], [0, 0], [1, 1], [3, 3], auto_pad="same_upper"),
    "dilated maximum pool": lambda ops, x: ops.max_pool(x, [1, 1], [2, 2], [1, 1], [1, 1], [2, 2]),
    "normalization": lambda ops, x: ops.mvn(x, integers(2, 3), True, 1e-6, "inside_sqrt"),
    "normalization to length 1": lambda ops, x: ops.normalize_l2(x, integers(3), 1e-6, "max"),
    "normalization with a large epsilon": lambda ops, x: ops.normalize_l2(x, integers(3), 2.0, "add"),
    "pad": lambda ops, x: ops.pad(x, integers(0, 0, 1, 2), integers(0, 0, 2, 1), "constant", np.float32(3)),
    "product": lambda ops, x: ops.matmul(x, x, True, False),
    "reduction": lambda ops, x: ops.add(ops.reduce_sum(x, integers(2), True), ops.reduce_max(x, integers(2), True)),
    "reshape": lambda ops, x: ops.softmax(
        ops.reshape(ops.transpose(x, integers(0, 3, 1, 2)), integers(0, -1), True), 1
    ),
    "roll": lambda ops, x: ops.roll(ops.sin(ops.cos(x)), integers(-1, 3), integers(1, 2)),
    "same padding": lambda ops, x: ops.convolution(
        x, weights(5, 6, 3, 3), [2, 2], [0, 0], [0, 0], [1, 1], "same_upper"
    ),
    "shape": lambda ops, x: ops.reshape(
        x, ops.concat([ops.gather(ops.shape_of(x), integers(0), np.array(0)), integers(-1)], 0), False
    ),
    "slice": lambda ops, x: ops.slice(x, integers(4, 0), integers(0, 6), integers(-1, 2), integers(1, 2)),
    "split": lambda ops, x: ops.subtract(
        ops.split(x, np.array(3), 2).output(1), ops.variadic_split(x, np.array(3), integers(1, 2, 1)).output(1)
    ),
    "squared difference": lambda ops, x: ops.squared_difference(x, ops.reduce_l2(x, integers(3), True)),
    "squeeze": lambda ops, x: ops.squeeze(
        ops.unsqueeze(ops.power(ops.abs(x), np.float32(1.5)), integers(2)), np.array(2)
    ),
    "strided slice of the last axis": lambda ops, x: ops.strided_slice(  # channels in reverse, as in ResNet50
        x, integers(0, 0), integers(0, 0), integers(1, -1), [0, 1], [0, 1], [], [], [1, 0]
    ),
    "strided slice": lambda ops, x: ops.strided_slice(
        x,
        integers(0, 1, -1, 0),
        integers(0, 0, 0, 0),
        integers(1, 2, 1, -1),
        [1, 0, 0, 1],
        [1, 1, 0, 1],
        [],
        [0, 0, 1, 0],
    ),
    "swish": lambda ops, x: ops.tanh(ops.swish(x, np.float32(1.5))),
}


def model_of(operation: Callable[[Any, Any], Any]) -> Any:
    """Return a network from pixels to the rows of one operation."""
    openvino = import_openvino()
    ops = openvino.opset15 if hasattr(openvino, "opset15") else __import__("openvino.runtime", fromlist=["x"]).opset15
    pixels = ops.parameter([2, 6, 8, 4], np.uint8, "pixels")
    scale = ops.convert(ops.constant(np.float64(64)), "f32")
    scaled = ops.subtract(ops.divide(ops.convert(pixels, "f32"), scale), np.float32(2))
    result = operation(ops, scaled)
    return openvino.Model([ops.result(result.output(0))], [pixels], "test")


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_that_of_openvino(name: str, half: bool) -> None:
    from featx.extraction.engines.onnx_runtime.engine import fold_constants

    network = model_of(OPERATIONS[name])
    pixels = RANDOM.integers(0, 256, (2, 6, 8, 4), dtype=np.uint8)
    compiled = import_openvino().Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.array(compiled([pixels])[0])
    if not half or name == "shape":  # otherwise the scale of pixels is computed
        fold_constants(network)
    rows = make_session(to_onnx(network, half=half), "cpu", half=half).run(None, {"pixels": pixels})[0]
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=0, atol=(6e-3 if half else 1e-5) * np.abs(expected).max())


def test_other_operations_are_refused_in_one_line() -> None:
    with pytest.raises(EngineError, match=r"operation CumSum has no translation\. Pass device=\"cpu\"") as caught:
        to_onnx(model_of(lambda ops, x: ops.cum_sum(x, np.array(1))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        (lambda ops, x: ops.mvn(x, integers(2, 3), True, 1e-6, "outside_sqrt"), "MVN with eps_mode outside_sqrt"),
        (lambda ops, x: ops.gather(x, np.zeros((2, 3), np.int64), np.array(1), 1), "Gather with batch_dims 1"),
    ],
    ids=["normalization", "gather"],
)
def test_settings_of_operations_without_a_translation_are_refused(operation: Any, problem: str) -> None:
    with pytest.raises(EngineError, match=f"operation {problem} has no translation"):
        to_onnx(model_of(operation))


def test_operations_of_the_same_friendly_name() -> None:
    def operation(ops: Any, x: Any) -> Any:
        nodes = [ops.abs(x), ops.negative(x)]
        for node in nodes:
            node.set_friendly_name("same")
        return ops.concat(nodes, 3)

    pixels = RANDOM.integers(0, 256, (2, 6, 8, 4), dtype=np.uint8)
    rows = make_session(to_onnx(model_of(operation)), "cpu", half=False).run(None, {"pixels": pixels})[0]
    scaled = pixels.astype(np.float32) / 64 - 2
    np.testing.assert_allclose(rows, np.concatenate([np.abs(scaled), -scaled], axis=3), atol=1e-6)
