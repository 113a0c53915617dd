"""Find the channel axis of each tensor in an OpenVINO graph by following the axes of the input image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: What an axis can hold: the images of a batch, channels, positions, or something unknown such as attention heads.
_BATCH, _CHANNELS, _POSITIONS, _UNKNOWN = "NCS?"
Axes = tuple[str, ...]

#: Operations that by definition have channels as the second axis of input and output.
_CHANNELS_SECOND = {
    *("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"),
    *("BinaryConvolution", "DeformableConvolution", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool"),
    *("DepthToSpace", "SpaceToDepth", "BatchNormInference", "PRelu", "GroupNormalization"),
}
_RESHAPES = {"Reshape", "Squeeze", "Unsqueeze"}
_REDUCTIONS = {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2"}
#: Operations whose output axes differ from the input axes even if their number is the same.
_OPAQUE = {"Einsum", "Loop", "If", "TensorIterator", "ScaledDotProductAttention"}


def find_axes(operations: Sequence[Any], channels_first: bool) -> dict[str, Axes]:
    """Return the axes of all tensors that depend on the input image, by the name of their operation.

    Parameters
    ----------
    operations : sequence of openvino.Node
        Operations in topological order.
    channels_first : bool
        Whether channels are the second axis of the input image.
    """
    channels_last = (_BATCH, _POSITIONS, _POSITIONS, _CHANNELS)
    image = (_BATCH, _CHANNELS, _POSITIONS, _POSITIONS) if channels_first else channels_last
    known: dict[str, Axes] = {}
    for operation in operations:
        name = operation.get_friendly_name()
        if operation.get_type_name() == "Parameter":
            known[name] = image
            continue
        inputs = [operation.input_value(index) for index in range(operation.get_input_size())]
        input_axes = [known.get(value.get_node().get_friendly_name()) for value in inputs]
        if any(axes is not None for axes in input_axes):
            known[name] = _output_axes(operation, inputs, input_axes)
    return known


def channel_axis(axes: Axes) -> int | None:
    """Return the index of the channel axis; None if it is unknown for maps, the last axis for anything else."""
    if _CHANNELS in axes:
        return axes.index(_CHANNELS)
    return None if len(axes) == 4 else len(axes) - 1


def _output_axes(operation: Any, inputs: list[Any], input_axes: list[Axes | None]) -> Axes:
    kind = operation.get_type_name()
    shape = operation.output(0).partial_shape
    rank = shape.rank.get_length() if shape.rank.is_static else 0
    first = input_axes[0]
    if kind in _CHANNELS_SECOND and rank > 2:
        return (_BATCH, _CHANNELS) + (_POSITIONS,) * (rank - 2)
    if kind == "Transpose" and first and (order := _constant_values(inputs[1])) and len(order) == len(first):
        return tuple(first[axis] for axis in order)
    if kind in _RESHAPES and first:
        return _reshaped_axes(first, inputs[0].partial_shape, shape)
    if kind in _REDUCTIONS and first and rank < len(first) and (reduced := _constant_values(inputs[1])):
        dropped = {axis % len(first) for axis in reduced}
        return tuple(axis for index, axis in enumerate(first) if index not in dropped)
    if kind == "MatMul":
        return _product_axes(operation.get_attributes(), input_axes, rank)
    return _elementwise_axes([] if kind in _OPAQUE else input_axes, rank)


def _elementwise_axes(input_axes: list[Axes | None], rank: int) -> Axes:
    """Return the output axes of an operation that keeps the axes of its inputs, such as a sum."""
    same_rank = [axes for axes in input_axes if axes and len(axes) == rank]
    return tuple(map(_merge_axis, zip(*same_rank, strict=True))) if same_rank else (_UNKNOWN,) * rank


def _merge_axis(axis: tuple[str, ...]) -> str:
    """Return what an axis holds according to all inputs that know it; unknown if they disagree."""
    known = set(axis) - {_UNKNOWN}
    return known.pop() if len(known) == 1 else _UNKNOWN


def _product_axes(attributes: dict[str, Any], input_axes: list[Axes | None], rank: int) -> Axes:
    """Return the axes of a product with weights: the last axis keeps its meaning, since weights mix its values."""
    image_axes = [axes for axes in input_axes if axes]
    if len(image_axes) != 1 or len(image_axes[0]) != rank:
        return (_UNKNOWN,) * rank
    *others, last = image_axes[0]
    if others and attributes.get("transpose_a" if input_axes[0] else "transpose_b"):
        others[-1], last = last, others[-1]
    if last == _UNKNOWN and _CHANNELS not in others:
        last = _CHANNELS
    return (*others, last)


def _reshaped_axes(axes: Axes, before: Any, after: Any) -> Axes:
    """Return the axes of a reshaped tensor: groups of axes with the same number of elements correspond."""
    if not (before.is_static and after.is_static):
        return (_UNKNOWN,) * (after.rank.get_length() if after.rank.is_static else 0)
    old, new = [int(side) for side in before.to_shape()], [int(side) for side in after.to_shape()]
    result: list[str] = []
    index = 0
    while len(result) < len(new):
        start, n_new = index, 1
        old_size, new_size = old[index] if index < len(old) else 1, new[len(result)]
        index += 1
        while old_size != new_size:
            if old_size < new_size and index < len(old):
                old_size, index = old_size * old[index], index + 1
            elif old_size > new_size and len(result) + n_new < len(new):
                new_size, n_new = new_size * new[len(result) + n_new], n_new + 1
            else:
                return (*result, *[_UNKNOWN] * (len(new) - len(result)))
        group = list(axes[start:index])
        if len(group) > 1:  # axes of length one hold nothing
            group = [axis for axis, side in zip(group, old[start:index], strict=True) if side != 1]
        result += _regroup(group, n_new)
    return tuple(result)


def _regroup(group: list[str], n_new: int) -> list[str]:
    """Return what the `n_new` axes hold that a group of axes becomes."""
    if len(group) == n_new == 1:
        return group
    return [_POSITIONS if group and set(group) == {_POSITIONS} else _UNKNOWN] * n_new


def _constant_values(value: Any) -> list[int]:
    """Return the values of an input that is constant; an empty list if it is not."""
    node = value.get_node()
    return [int(number) for number in node.data.flatten()] if node.get_type_name() == "Constant" else []
