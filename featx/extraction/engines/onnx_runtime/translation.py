"""Translate a network of OpenVINO to ONNX, operation by operation: every network that featx runs becomes ONNX.

This file is long because it has one short method for each kind of operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from featx.errors import EngineError, missing_dependency

#: Version of ONNX's operations: the first with layer normalization.
_OPSET = 17
#: Largest file of ONNX that holds its own weights, and largest finite number of float16.
_MAX_BYTES, _MAX_FLOAT16 = 2**31 - 2**20, 65504
#: Operations that are the same in ONNX, or have another name there; all inputs are tensors.
_SAME = {
    **{name: name for name in ("Abs", "Add", "Cos", "Elu", "Erf", "Exp", "Floor", "Log", "Sigmoid", "Sin", "Sqrt")},
    **{"Broadcast": "Expand", "Divide": "Div", "HSwish": "HardSwish", "Maximum": "Max", "Minimum": "Min"},
    **{
        "Multiply": "Mul",
        "Negative": "Neg",
        "Tanh": "Tanh",
        "Tile": "Tile",
        "Power": "Pow",
        "ReLU": "Relu",
        "Relu": "Relu",
    },
    **{"Reshape": "Reshape", "SoftPlus": "Softplus", "Squeeze": "Squeeze", "Subtract": "Sub", "Unsqueeze": "Unsqueeze"},
}
#: Operations of scaling and ordering pixels. Before other ones, they are computed in float32.
_SCALING = ("Add", "Divide", "Gather", "Multiply", "StridedSlice", "Subtract", "Transpose")
#: Masks of StridedSlice: a bit for each axis.
_SLICE_MASKS = ("begin_mask", "end_mask", "shrink_axis_mask", "ellipsis_mask")
#: Those whose second input is a shape or axes.
_WITH_SHAPE = ("Broadcast", "Reshape", "Squeeze", "Tile", "Unsqueeze")


def to_onnx(network: Any, *, half: bool = False) -> bytes:
    """Return an ``openvino.Model`` with fixed shapes and one output as an ONNX model.

    Parameters
    ----------
    network : openvino.Model
        Network from uint8 pixels to float32 rows.
    half : bool, default=False
        Whether weights and activations have 16 bits. Pixels and rows keep their types.

    Raises
    ------
    EngineError
        If an operation has no translation, or the network has more than 2 GB.
    MissingDependencyError
        If onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_dependency(
            'engine="onnxruntime" (--engine onnxruntime)', "onnx", "'featx[gpu]'", 'pass device="cpu" (--device cpu)'
        ) from error
    return _Translation(onnx, half=half).translate(network)


class _Translation:
    """Nodes and constants of an ONNX model that is being written."""

    def __init__(self, onnx: Any, *, half: bool) -> None:
        self._onnx = onnx
        self._half = half
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._arrays: dict[str, Any] = {}
        self._unrounded: set[str] = set()  # pixels in float32, although the network computes in float16

    def translate(self, network: Any) -> bytes:
        helper, types = self._onnx.helper, self._onnx.TensorProto
        pixels, rows = list(network.inputs[0].shape), list(network.outputs[0].shape)
        for operation in network.get_ordered_ops():
            self._translate(operation)
        read = {name for node in self._nodes for name in node.input}  # axes and the like became attributes
        graph = helper.make_graph(
            self._nodes,
            "features",
            [helper.make_tensor_value_info("pixels", types.UINT8, pixels)],
            [helper.make_tensor_value_info("features", types.FLOAT, rows)],
            [constant for constant in self._constants if constant.name in read],
        )
        if sum(constant.ByteSize() for constant in graph.initializer) > _MAX_BYTES:
            raise EngineError(
                "Cannot run the network with ONNX Runtime: its weights have more than 2 GB. Pass "
                'device="cpu" (--device cpu), or precision="float16".'
            )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        return bytes(model.SerializeToString())

    def _translate(self, operation: Any) -> None:
        kind = operation.get_type_name()
        inputs = [_name(operation.input_value(index)) for index in range(operation.get_input_size())]
        outputs = [_name(output) for output in operation.outputs()]
        if self._unrounded.intersection(inputs):
            inputs = self._round(operation, inputs, outputs)
        if kind == "Parameter":
            self._add("Identity", ["pixels"], outputs)
        elif kind == "Constant":
            self._constant(np.array(operation.data), outputs[0])
        elif kind == "Result":
            self._add("Cast", inputs, ["features"], to=self._onnx.TensorProto.FLOAT)
        elif kind in _SAME:
            attributes = operation.get_attributes()
            given = {"alpha": attributes["alpha"]} if kind == "Elu" else {}
            if kind in _WITH_SHAPE and len(inputs) > 1:
                inputs[1] = self._as_int64(inputs[1])
            self._add(_SAME[kind], inputs, outputs, **given)
        elif kind in _TRANSLATIONS:
            _TRANSLATIONS[kind](self, operation, inputs, outputs)
        else:
            raise _refused(f"operation {kind} has no translation")

    def _round(self, operation: Any, inputs: list[str], outputs: list[str]) -> list[str]:
        """Return the inputs of an operation in its precision: that of the network after the scaling of pixels."""
        types = self._onnx.TensorProto
        if operation.get_type_name() not in _SCALING:
            return [self._add("Cast", [name], to=types.FLOAT16) if name in self._unrounded else name for name in inputs]
        self._unrounded.update(outputs)
        for index, name in enumerate(inputs):
            if name in self._arrays and self._arrays[name].dtype.kind == "f":
                inputs[index] = self._constant(self._arrays[name], half=False)
            elif name not in self._unrounded and operation.get_input_element_type(index).is_real():
                inputs[index] = self._add("Cast", [name], to=types.FLOAT)
        return inputs

    def _add(self, kind: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        """Add a node, and return the name of its first output."""
        outputs = outputs or [f"{kind}_{len(self._nodes)}"]
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def _constant(self, array: Any, name: str = "", *, half: bool = True) -> str:
        """Add a constant; its floats have the precision of the network, unless they scale pixels."""
        name = name or f"constant_{len(self._constants)}"
        self._arrays[name] = array = np.asarray(array)
        if array.dtype.kind == "f":
            half = half and self._half
            limit = _MAX_FLOAT16 if half else np.inf
            array = np.clip(array, -limit, limit).astype(np.float16 if half else np.float32)
        self._constants.append(
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        )
        return name

    def _as_int64(self, name: str) -> str:
        """Return a constant of integers, such as a shape, as ONNX requires it."""
        array = self._arrays.get(name)
        return name if array is None else self._constant(np.atleast_1d(array).astype(np.int64))

    def _integers(self, name: str) -> list[int]:
        return [int(value) for value in np.atleast_1d(self._arrays[name])]

    def convert(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        dtype = operation.get_output_element_type(0).to_dtype()
        if dtype.kind == "f" and self._half and operation.get_input_element_type(0).is_integral():
            self._unrounded.update(outputs)
        elif dtype.kind == "f":
            dtype = np.dtype(np.float16 if self._half else np.float32)
        self._add("Cast", inputs, outputs, to=self._onnx.helper.np_dtype_to_tensor_dtype(dtype))

    def clamp(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        attributes = operation.get_attributes()
        limits = [self._constant(np.float32(attributes[name])) for name in ("min", "max")]
        self._add("Clip", [inputs[0], *limits], outputs)

    def prelu(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        channels, *positions = list(operation.input_value(0).shape)[1:]
        if list(operation.input_value(1).shape) == [channels]:
            shape = self._constant(np.array([channels, *(1 for _ in positions)], np.int64))
            inputs[1] = self._add("Reshape", [inputs[1], shape])
        self._add("PRelu", inputs, outputs)

    def convolution(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        attributes = operation.get_attributes()
        n_groups, weights = 1, inputs[1]
        if operation.get_type_name() == "GroupConvolution":
            n_groups, per_group, *rest = list(operation.input_value(1).shape)
            weights = self._add("Reshape", [weights, self._constant(np.array([n_groups * per_group, *rest], np.int64))])
        self._add(
            "Conv",
            [inputs[0], weights],
            outputs,
            group=n_groups,
            strides=list(attributes["strides"]),
            dilations=list(attributes["dilations"]),
            **_padding(attributes),
        )

    def pool(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        attributes = operation.get_attributes()
        is_average = operation.get_type_name() == "AvgPool"
        given: dict[str, Any] = {}
        if is_average:
            given["count_include_pad"] = int(not attributes["exclude-pad"])
        else:
            given["dilations"] = list(attributes["dilations"])
        self._add(
            "AveragePool" if is_average else "MaxPool",
            inputs,
            outputs[:1],
            kernel_shape=list(attributes["kernel"]),
            strides=list(attributes["strides"]),
            ceil_mode=int(str(attributes["rounding_type"]).lower() != "floor"),
            **_padding(attributes),
            **given,
        )

    def matmul(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        attributes = operation.get_attributes()
        for index, side in enumerate(("a", "b")):
            if attributes[f"transpose_{side}"]:
                inputs[index] = self._transposed(inputs[index], len(operation.input_value(index).shape))
        self._add("MatMul", inputs, outputs)

    def _transposed(self, name: str, rank: int) -> str:
        """Return a tensor with its last two axes exchanged."""
        return self._add("Transpose", [name], perm=[*range(rank - 2), rank - 1, rank - 2])

    def transpose(self, _: Any, inputs: list[str], outputs: list[str]) -> None:
        self._add("Transpose", inputs[:1], outputs, perm=self._integers(inputs[1]))

    def concat(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        self._add("Concat", inputs, outputs, axis=operation.get_attributes()["axis"])

    def split(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        (axis,) = self._integers(inputs[1])
        sizes = self._constant(np.array([output.shape[axis] for output in operation.outputs()], np.int64))
        self._add("Split", [inputs[0], sizes], outputs, axis=axis)

    def slice(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        data, start, stop, step, *axes = inputs
        chosen = axes[0] if axes else self._constant(np.arange(len(operation.input_value(1).shape), dtype=np.int64))
        self._add("Slice", [data, *map(self._as_int64, (start, stop, chosen, step))], outputs)

    def strided_slice(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        attributes = operation.get_attributes()
        if any(attributes["new_axis_mask"]):
            raise _refused("it adds axes in a slice")
        begin, end = self._integers(inputs[1]), self._integers(inputs[2])
        steps = self._integers(inputs[3]) if len(inputs) > 3 else [1] * len(begin)
        masks = {name: [*attributes[name], *[0] * (len(begin) - len(attributes[name]))] for name in _SLICE_MASKS}
        if any(masks["ellipsis_mask"]):  # it stands for all other axes, which are whole
            at = masks["ellipsis_mask"].index(1)
            n_whole = len(operation.input_value(0).shape) - len(begin) + 1
            begin[at : at + 1], end[at : at + 1], steps[at : at + 1] = [0] * n_whole, [0] * n_whole, [1] * n_whole
            for name, value in zip(_SLICE_MASKS, (1, 1, 0, 0), strict=True):
                masks[name][at : at + 1] = [value] * n_whole
        farthest = np.iinfo(np.int64).max
        shrunk = [axis for axis, bit in enumerate(masks["shrink_axis_mask"]) if bit]
        for axis in range(len(begin)):
            if axis in shrunk:
                end[axis], steps[axis] = begin[axis] + 1 or farthest, 1
                continue
            if masks["begin_mask"][axis]:
                begin[axis] = 0 if steps[axis] > 0 else farthest
            if masks["end_mask"][axis]:
                end[axis] = farthest if steps[axis] > 0 else -farthest
        given = [self._constant(np.array(values, np.int64)) for values in (begin, end, range(len(begin)), steps)]
        if shrunk:
            sliced = self._add("Slice", [inputs[0], *given])
            self._add("Squeeze", [sliced, self._constant(np.array(shrunk, np.int64))], outputs)
        else:
            self._add("Slice", [inputs[0], *given], outputs)

    def gather(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        _check_attribute(operation, "batch_dims", 0)
        self._add("Gather", inputs[:2], outputs, axis=self._integers(inputs[2])[0])

    def reduce(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        kept, axes = int(operation.get_attributes()["keep_dims"]), self._integers(inputs[1])
        if operation.get_type_name() == "ReduceSum":  # its axes became an input before those of the others
            self._add("ReduceSum", [inputs[0], self._as_int64(inputs[1])], outputs, keepdims=kept)
        else:
            self._add(operation.get_type_name(), inputs[:1], outputs, axes=axes, keepdims=kept)

    def softmax(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        self._add("Softmax", inputs, outputs, axis=operation.get_attributes()["axis"])

    def normalize(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        attributes, shape = operation.get_attributes(), list(operation.input_value(0).shape)
        axes = sorted(axis % len(shape) for axis in self._integers(inputs[1]))
        if axes != list(range(axes[0], len(shape))) or not attributes["normalize_variance"]:
            raise _refused("it normalizes axes other than the last ones")
        _check_attribute(operation, "eps_mode", "inside_sqrt")
        scale = self._constant(np.ones(shape[axes[0] :], np.float32))
        self._add("LayerNormalization", [inputs[0], scale], outputs, axis=axes[0], epsilon=attributes["eps"])

    def normalize_l2(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        attributes, axes = operation.get_attributes(), self._integers(inputs[1])
        smallest = self._constant(np.float32(attributes["eps"] ** 0.5))
        pair = [self._add("ReduceL2", inputs[:1], axes=axes, keepdims=1), smallest]
        length = self._add("Max", pair)
        if str(attributes["eps_mode"]).lower() == "add":  # the root of the sum of squares, which may exceed float16
            ratio = self._add("Div", [self._add("Min", pair), length])
            square = self._add("Mul", [ratio, ratio])
            root = self._add("Sqrt", [self._add("Add", [square, self._constant(np.float32(1))])])
            length = self._add("Mul", [length, root])
        self._add("Div", [inputs[0], length], outputs)

    def squared_difference(self, _: Any, inputs: list[str], outputs: list[str]) -> None:
        difference = self._add("Sub", inputs)
        self._add("Mul", [difference, difference], outputs)

    def roll(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        name, shape = inputs[0], list(operation.input_value(0).shape)
        shifts, axes = self._integers(inputs[1]), self._integers(inputs[2])
        for shift, axis in zip(shifts, axes, strict=True):
            sides = [shape[axis] - shift % shape[axis], shift % shape[axis]]
            first, second = (f"{outputs[0]} {axis} {side}" for side in range(2))
            self._add("Split", [name, self._constant(np.array(sides, np.int64))], [first, second], axis=axis)
            name = self._add("Concat", [second, first], axis=axis)
        self._add("Identity", [name], outputs)

    def gelu(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        half, one = self._constant(np.float32(0.5)), self._constant(np.float32(1))
        if str(operation.get_attributes()["approximation_mode"]).upper() == "ERF":
            inner = self._add("Div", [inputs[0], self._constant(np.float32(np.sqrt(2)))])
            curve = self._add("Erf", [inner])
        else:
            square = self._add("Mul", [inputs[0], inputs[0]])
            weighted = self._add("Mul", [square, self._constant(np.float32(0.044715))])
            factor = self._add("Mul", [inputs[0], self._add("Add", [weighted, one])])
            inner = self._add("Mul", [factor, self._constant(np.float32(np.sqrt(2 / np.pi)))])
            curve = self._add("Tanh", [inner])
        product = self._add("Mul", [inputs[0], self._add("Add", [curve, one])])
        self._add("Mul", [product, half], outputs)

    def swish(self, _: Any, inputs: list[str], outputs: list[str]) -> None:
        inner = self._add("Mul", inputs) if len(inputs) > 1 else inputs[0]
        self._add("Mul", [inputs[0], self._add("Sigmoid", [inner])], outputs)

    def hard_sigmoid(self, _: Any, inputs: list[str], outputs: list[str]) -> None:
        self._add("HardSigmoid", inputs, outputs, alpha=1 / 6, beta=0.5)

    def pad(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        pads = self._constant(np.array(self._integers(inputs[1]) + self._integers(inputs[2]), np.int64))
        mode = str(operation.get_attributes()["pad_mode"]).lower()
        self._add("Pad", [inputs[0], pads, *inputs[3:4]], outputs, mode=mode)

    def attention(self, operation: Any, inputs: list[str], outputs: list[str]) -> None:
        query, key, value, *rest = inputs
        if operation.get_attributes()["causal"] or (rest and not operation.get_input_element_type(3).is_real()):
            raise _refused("its attention is causal or has a mask of bool")
        shape = list(operation.input_value(1).shape)
        scale = rest[1] if len(rest) > 1 else self._constant(np.float32(shape[-1] ** -0.5))
        # Scaled before the product, so that no value exceeds the range of float16.
        products = self._add("MatMul", [self._add("Mul", [query, scale]), self._transposed(key, len(shape))])
        if rest:
            products = self._add("Add", [products, rest[0]])
        self._add("MatMul", [self._add("Softmax", [products], axis=-1), value], outputs)


_Handler = Callable[[_Translation, Any, list[str], list[str]], None]
_TRANSLATIONS: dict[str, _Handler] = {
    **dict.fromkeys(("Convolution", "GroupConvolution"), _Translation.convolution),
    **dict.fromkeys(("AvgPool", "MaxPool"), _Translation.pool),
    **dict.fromkeys(("ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum"), _Translation.reduce),
    **dict.fromkeys(("SoftMax", "Softmax"), _Translation.softmax),
    **dict.fromkeys(("Split", "VariadicSplit"), _Translation.split),
    "Clamp": _Translation.clamp,
    "Concat": _Translation.concat,
    "Convert": _Translation.convert,
    "Gather": _Translation.gather,
    "Gelu": _Translation.gelu,
    "HSigmoid": _Translation.hard_sigmoid,
    "MVN": _Translation.normalize,
    "MatMul": _Translation.matmul,
    "NormalizeL2": _Translation.normalize_l2,
    "PRelu": _Translation.prelu,
    "Pad": _Translation.pad,
    "Roll": _Translation.roll,
    "ScaledDotProductAttention": _Translation.attention,
    "Slice": _Translation.slice,
    "SquaredDifference": _Translation.squared_difference,
    "StridedSlice": _Translation.strided_slice,
    "Swish": _Translation.swish,
    "Transpose": _Translation.transpose,
}


def _name(output: Any) -> str:
    return f"{output.get_node().get_name()}:{output.get_index()}"  # unlike the friendly one, this name is unique


def _check_attribute(operation: Any, name: str, expected: object) -> None:
    """Raise EngineError if an attribute of an operation has another value than the one that is translated."""
    value = str(operation.get_attributes().get(name, expected)).lower()
    if value != str(expected):
        raise _refused(f"operation {operation.get_type_name()} with {name} {value} has no translation")


def _refused(reason: str) -> EngineError:
    return EngineError(f'Cannot run the network with ONNX Runtime: {reason}. Pass device="cpu" (--device cpu).')


def _padding(attributes: dict[str, Any]) -> dict[str, Any]:
    kind = str(attributes["auto_pad"]).upper()
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        return {"auto_pad": kind}
    return {} if kind == "VALID" else {"pads": [*attributes["pads_begin"], *attributes["pads_end"]]}
