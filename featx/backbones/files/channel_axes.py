"""Which axis of what is computed within a graph holds the channels, followed from the images on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: What an axis may hold: the images of a batch, channels, positions; or it is not known, as of an attention's heads.
_IMAGES, _CHANNELS, _POSITIONS, _UNKNOWN = "NCS?"
Axes = tuple[str, ...]

#: Operations that take and give channels as the second axis, by their definition.
_CHANNELS_SECOND = {
    *(
        "Convolution",
        "GroupConvolution",
        "ConvolutionBackpropData",
        "GroupConvolutionBackpropData",
        "BinaryConvolution",
    ),
    *("DeformableConvolution", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "DepthToSpace"),
    *("SpaceToDepth", "BatchNormInference", "PRelu", "GroupNormalization"),
}
_RESHAPES = {"Reshape", "Squeeze", "Unsqueeze"}
_REDUCES = {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1", "ReduceL2"}
#: Operations after which axes mean something else, though there may be as many of them.
_OTHERWISE = {"Einsum", "Loop", "If", "TensorIterator", "ScaledDotProductAttention"}


def axes_within(operations: Sequence[Any], channels_first: bool) -> dict[str, Axes]:
    """Return what the axes hold of all that is computed of the images, by the names of its operations.

    Parameters
    ----------
    operations : sequence of openvino.Node
        In an order in which they can be computed.
    channels_first : bool
        Whether the images have channels as their second axis.
    """
    image = (
        (_IMAGES, _CHANNELS, _POSITIONS, _POSITIONS) if channels_first else (_IMAGES, _POSITIONS, _POSITIONS, _CHANNELS)
    )
    known: dict[str, Axes] = {}
    for operation in operations:
        name = operation.get_friendly_name()
        if operation.get_type_name() == "Parameter":
            known[name] = image
            continue
        inputs = [operation.input_value(at) for at in range(operation.get_input_size())]
        sources = [known.get(one.get_node().get_friendly_name()) for one in inputs]
        if any(one is not None for one in sources):
            known[name] = _axes_of(operation, inputs, sources)
    return known


def channel_axis(axes: Axes) -> int | None:
    """Return which axis holds the channels; None if that is not known of maps, the last of all else."""
    if _CHANNELS in axes:
        return axes.index(_CHANNELS)
    return None if len(axes) == 4 else len(axes) - 1


def _axes_of(operation: Any, inputs: list[Any], sources: list[Axes | None]) -> Axes:
    kind = operation.get_type_name()
    partial = operation.output(0).partial_shape
    rank = partial.rank.get_length() if partial.rank.is_static else 0
    first = sources[0]
    if kind in _CHANNELS_SECOND and rank > 2:
        return (_IMAGES, _CHANNELS) + (_POSITIONS,) * (rank - 2)
    if kind == "Transpose" and first and (order := _constant(inputs[1])) and len(order) == len(first):
        return tuple(first[at] for at in order)
    if kind in _RESHAPES and first:
        return _reshaped(first, inputs[0].partial_shape, partial)
    if kind in _REDUCES and first and rank < len(first) and (dropped := _constant(inputs[1])):
        gone = {at % len(first) for at in dropped}
        return tuple(axis for at, axis in enumerate(first) if at not in gone)
    if kind == "MatMul":
        return _multiplied(operation.get_attributes(), sources, rank)
    return _kept([] if kind in _OTHERWISE else sources, rank)


def _kept(sources: list[Axes | None], rank: int) -> Axes:
    """Return the axes of what has those of its inputs, as sums do."""
    alike = [one for one in sources if one and len(one) == rank]
    return tuple(map(_agreed, zip(*alike, strict=True))) if alike else (_UNKNOWN,) * rank


def _agreed(axis: tuple[str, ...]) -> str:
    """Return what an axis holds of which several inputs tell: those that know it, if they say the same."""
    told = set(axis) - {_UNKNOWN}
    return told.pop() if len(told) == 1 else _UNKNOWN


def _multiplied(attributes: dict[str, Any], sources: list[Axes | None], rank: int) -> Axes:
    """Return the axes of a product: with weights, the last one is the same kind of thing, mixed anew."""
    of_images = [one for one in sources if one]
    if len(of_images) != 1 or len(of_images[0]) != rank:
        return (_UNKNOWN,) * rank
    *others, last = of_images[0]
    if others and attributes.get("transpose_a" if sources[0] else "transpose_b"):
        others[-1], last = last, others[-1]
    if last == _UNKNOWN and _CHANNELS not in others:
        last = _CHANNELS
    return (*others, last)


def _reshaped(axes: Axes, before: Any, after: Any) -> Axes:
    """Return the axes of a reshaped array: parts of both shapes that hold as much are the same."""
    if not (before.is_static and after.is_static):
        return (_UNKNOWN,) * (after.rank.get_length() if after.rank.is_static else 0)
    old, new = [int(side) for side in before.to_shape()], [int(side) for side in after.to_shape()]
    found: list[str] = []
    at = 0
    while len(found) < len(new):
        start, n_new = at, 1
        held_old, held_new = old[at] if at < len(old) else 1, new[len(found)]
        at += 1
        while held_old != held_new:
            if held_old < held_new and at < len(old):
                held_old, at = held_old * old[at], at + 1
            elif held_old > held_new and len(found) + n_new < len(new):
                held_new, n_new = held_new * new[len(found) + n_new], n_new + 1
            else:
                return (*found, *[_UNKNOWN] * (len(new) - len(found)))
        group = list(axes[start:at])
        if len(group) > 1:  # an axis of one holds nothing
            group = [axis for axis, side in zip(group, old[start:at], strict=True) if side != 1]
        found += _regrouped(group, n_new)
    return tuple(found)


def _regrouped(group: list[str], n_new: int) -> list[str]:
    """Return what axes hold that a group of axes became."""
    if len(group) == n_new == 1:
        return group
    return [_POSITIONS if group and set(group) == {_POSITIONS} else _UNKNOWN] * n_new


def _constant(value: Any) -> list[int]:
    """Return the numbers of an input that is a constant; [] if it is not."""
    node = value.get_node()
    return [int(one) for one in node.data.flatten()] if node.get_type_name() == "Constant" else []
