"""Networks in ONNX, a SavedModel or OpenVINO's format: what is in them, and cut where features are wanted.

Run in child processes only: whoever wrote the file may have meant harm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.files.channel_axes import Axes, axes_within, channel_axis
from featx.backbones.files.found_layers import Found, Row, cannot_take, rows_of_size
from featx.backbones.layers import as_layer_name
from featx.backbones.openvino_import import import_openvino, operations_of, reason_of
from featx.backbones.preprocessing import Preprocessing
from featx.errors import EngineError, WeightsError

#: Operations after which a block of a network usually ends.
_ENDS = {"Add", "Concat", "Multiply", "MaxPool", "Relu", "PRelu", "Clamp", "Swish", "HSwish", "Gelu", "Sigmoid", "Elu"}


def read(path: Path, kind: str) -> Any:
    """Return an ``openvino.Model`` of one input and one batch of images.

    Raises
    ------
    WeightsError
        It cannot be read, or does not take images.
    """
    openvino = import_openvino()
    try:
        network = openvino.convert_model(path) if kind == "saved model" else openvino.Core().read_model(path)
    except Exception as error:  # each of OpenVINO's readers has its own
        raise WeightsError(
            f"The network {str(path)!r} cannot be read by OpenVINO {openvino.__version__} ({reason_of(error)}). Export "
            "it anew."
        ) from error
    if len(network.inputs) != 1 or network.inputs[0].partial_shape.rank.get_length() != 4:
        shapes = ", ".join(str(one.partial_shape) for one in network.inputs)
        raise WeightsError(f"The network {str(path)!r} takes {shapes}: expected one batch of images, of four axes.")
    _channels_first(path, network)
    return network


def _channels_first(path: Path, network: Any) -> bool:
    shape = network.inputs[0].partial_shape
    first, last = (axis.is_static and axis.get_length() == 3 for axis in (shape[1], shape[3]))
    if not (shape[1].is_static or shape[3].is_static):  # nothing is said, as in files of Hugging Face
        return True
    if first == last:
        raise WeightsError(
            f"The network {str(path)!r} takes {shape}: expected images of three channels, as the second axis or the "
            "last."
        )
    return bool(first)


def _fixed_size(path: Path, network: Any) -> tuple[int, int] | None:
    """Return the only height and width that a network takes; None if it takes several."""
    shape = network.inputs[0].partial_shape
    sides = (shape[2], shape[3]) if _channels_first(path, network) else (shape[1], shape[2])
    return (sides[0].get_length(), sides[1].get_length()) if all(side.is_static for side in sides) else None


def _reshape(path: Path, network: Any, size: tuple[int, int]) -> bool:
    """Let a network take `COMPILED_BATCH_SIZE` images of a size; return whether it does."""
    shape = [COMPILED_BATCH_SIZE, 3, *size] if _channels_first(path, network) else [COMPILED_BATCH_SIZE, *size, 3]
    try:
        network.reshape(shape)
    except RuntimeError:  # it was exported for another number of images, or other sizes
        return False
    return True


def describe(path: Path, kind: str, size: tuple[int, int] | None) -> Found:
    """Return what is in a network, its layers at a size.

    Raises
    ------
    WeightsError
        It cannot be read, does not take several images, or gives what cannot be features.
    OptionError
        It does not take images of this size.
    """
    network = read(path, kind)
    fixed = _fixed_size(path, network)

    def rows_at(size: tuple[int, int]) -> list[Row]:
        return layer_rows(path, network) if _reshape(path, network, size) else []

    if fixed and not (rows := rows_at(fixed)):
        raise cannot_take(path, fixed)
    takes = network.inputs[0].element_type
    if not fixed:
        rows = rows_of_size(path, size, rows_at)
    output, *others = _output_names(network)
    known = {row[0] for row in rows}
    return Found(
        fixed,
        output,
        rows,
        takes.to_dtype().name if takes.is_integral() else "float32",
        [name for name in dict.fromkeys(others) if name in known - {output}],
    )


def _output_names(network: Any) -> list[str]:
    return [_name(output.get_node().input_value(0).get_node()) for output in network.outputs]


def _name(operation: Any) -> str:
    return as_layer_name(operation.get_friendly_name())


def layer_rows(path: Path, network: Any) -> list[Row]:
    """Return (name, operation, shape as featx has it, whether it ends a block) of what is computed of the image."""
    axes = axes_within(network.get_ordered_ops(), _channels_first(path, network))
    operations = [one for one in network.get_ordered_ops() if one.get_type_name() not in ("Constant", "Result")]
    of_image = {network.inputs[0].get_node().get_friendly_name()}
    computed = []
    for operation in operations:
        sources = {operation.input_value(at).get_node().get_friendly_name() for at in range(operation.get_input_size())}
        if sources & of_image:
            of_image.add(operation.get_friendly_name())
            computed.append((operation, sources))
    place = {operation.get_friendly_name(): at for at, (operation, _) in enumerate(computed)}
    last_reader = [0] * len(computed)
    for at, (_, sources) in enumerate(computed):
        for source in sources & place.keys():
            last_reader[place[source]] = max(last_reader[place[source]], at)
    rows = []
    farthest = 0
    for at, (operation, _) in enumerate(computed):
        if operation.get_output_size() == 1 and (
            shape := _as_ours(operation.output(0), axes[operation.get_friendly_name()])
        ):
            ends_block = farthest <= at and operation.get_type_name() in _ENDS
            rows.append((_name(operation), operation.get_type_name(), shape, ends_block))
        farthest = max(farthest, last_reader[at])
    output = _output_names(network)[0]
    last = [row for row in rows if row[0] == output]
    if not last:
        raise WeightsError(
            f"The output of {str(path)!r}, {network.outputs[0].partial_shape}, cannot be features: expected numbers, "
            "or maps whose channels are the second axis or the last, for each image. Export the network without what "
            "comes after such."
        )
    return [row for row in rows if row[0] != output] + last


def _as_ours(output: Any, axes: Axes) -> list[int]:
    """Return a shape without the batch, channels last; [] if it is not one of numbers or maps for each image."""
    partial = output.partial_shape
    if not partial.is_static or not output.element_type.is_real():
        return []
    shape = [int(side) for side in partial.to_shape()]
    if len(shape) not in (2, 3, 4) or shape[0] != COMPILED_BATCH_SIZE or not (channels := channel_axis(axes)):
        return []
    positions = [side for at, side in enumerate(shape) if at not in (0, channels)]
    if len(shape) == 3:
        positions.append(1)  # a row of tokens is a map one wide
    return [*positions, shape[channels]]


def convert(path: Path, kind: str, size: tuple[int, int], names: list[str], preprocessing: str) -> Any:
    """Return an ``openvino.Model`` from uint8 pixels to the outputs of layers, by name."""
    openvino = import_openvino()
    network = read(path, kind)
    if not _reshape(path, network, size):
        raise cannot_take(path, size)
    shapes = {row[0]: row[2] for row in layer_rows(path, network)}
    operations = network.get_ordered_ops()
    axes = axes_within(operations, _channels_first(path, network))
    nodes = {_name(operation): operation for operation in operations}
    pixels = _with_pixels(path, network, size, Preprocessing.from_text(preprocessing))
    results = []
    for name in names:
        if name not in shapes:
            raise EngineError(
                f"The network {str(path)!r} has no layer {name!r} any more. Leave layer out, or choose another."
            )
        output = nodes[name].output(0)
        result = operations_of(openvino).result(
            _channels_last(output, axes[nodes[name].get_friendly_name()], shapes[name])
        )
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    return openvino.Model(results, [pixels], "own")


def _with_pixels(path: Path, network: Any, size: tuple[int, int], steps: Preprocessing) -> Any:
    """Let a network read uint8 pixels, channels last, prepared within; return the parameter that takes them."""
    openvino = import_openvino()
    operations = operations_of(openvino)
    pixels = operations.parameter([COMPILED_BATCH_SIZE, *size, 3], np.uint8, "pixels")
    prepared = operations.convert(pixels, "f32")
    if steps.is_bgr:
        axis = operations.constant(np.array([2, 1, 0], np.int32))
        prepared = operations.gather(prepared, axis, operations.constant(np.array(3, np.int32)))
    mean, scale = (operations.constant(np.array(values, np.float32)) for values in (steps.mean, steps.scale))
    prepared = operations.divide(operations.subtract(prepared, mean), scale)
    if _channels_first(path, network):
        prepared = operations.transpose(prepared, operations.constant(np.array([0, 3, 1, 2], np.int32)))
    entry = network.inputs[0].get_node()
    if entry.get_output_element_type(0) != openvino.Type.f32:
        prepared = operations.convert(prepared, entry.get_output_element_type(0).get_type_name())
    for reader in entry.output(0).get_target_inputs():
        reader.replace_source_output(prepared.output(0))
    return pixels


def _channels_last(output: Any, axes: Axes, shape: list[int]) -> Any:
    """Return an output in the shape that featx has it in, as float32."""
    operations = operations_of(import_openvino())
    node = operations.convert(output, "f32")
    rank, channels = len(axes), channel_axis(axes)
    if channels != rank - 1:
        order = [at for at in range(rank) if at != channels] + [channels]
        node = operations.transpose(node, operations.constant(np.array(order, np.int32)))
    if rank == 3:
        tokens = operations.constant(np.array([COMPILED_BATCH_SIZE, *shape], np.int64))
        node = operations.reshape(node, tokens, False)
    return node
