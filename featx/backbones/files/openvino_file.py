"""Custom model files in ONNX, SavedModel or OpenVINO format: described, and cut at layers.

Runs in child processes only, since a file from elsewhere may be malicious.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.files.channel_axes import Axes, channel_axis, find_axes
from featx.backbones.files.description import NetworkDescription, batch_size_error, rows_at_size
from featx.backbones.keras.graph import LayerRow
from featx.backbones.layers import escape_layer_name
from featx.backbones.openvino_import import import_openvino, openvino_operations, openvino_reason, openvino_version
from featx.backbones.preprocessing import Preprocessing
from featx.errors import EngineError, WeightsError

#: Operations after which a block of a network usually ends.
_BLOCK_ENDS = {
    *("Add", "Concat", "Multiply", "MaxPool", "Relu", "PRelu", "Clamp", "Swish", "HSwish", "Gelu", "Sigmoid", "Elu"),
}


def describe(path: Path, kind: str, size: tuple[int, int] | None) -> NetworkDescription:
    """Return what a file contains, with its layers at an image size.

    Parameters
    ----------
    path : Path
        Path of the file, or of the folder of a SavedModel.
    kind : {"saved model", "onnx", "openvino"}
        Format of the file.
    size : tuple of (int, int) or None
        Height and width, for a network that accepts several. None: the first common size that it accepts.

    Raises
    ------
    WeightsError
        If the file cannot be read, the network does not accept a batch of images, or its output is not usable.
    OptionError
        If the network does not accept images of this size.
    """
    network = _read(path, kind)
    fixed = _fixed_size(path, network)

    def list_rows(size: tuple[int, int]) -> list[LayerRow]:
        return _layer_rows(path, network) if _reshape(path, network, size) else []

    if fixed and not (rows := list_rows(fixed)):
        raise batch_size_error(path, fixed)
    input_type = network.inputs[0].element_type
    if not fixed:
        rows = rows_at_size(path, size, list_rows)
    output, *others = _output_names(network)
    layer_names = {row[0] for row in rows}
    return NetworkDescription.from_rows(
        fixed,
        output,
        rows,
        input_type.to_dtype().name if input_type.is_integral() else "float32",
        [name for name in dict.fromkeys(others) if name in layer_names - {output}],
    )


def convert(path: Path, kind: str, size: tuple[int, int], names: list[str], preprocessing: str) -> Any:
    """Return an ``openvino.Model`` from uint8 pixels to the outputs of layers, by name.

    Parameters
    ----------
    path : Path
        Path of the file, or of the folder of a SavedModel.
    kind : {"saved model", "onnx", "openvino"}
        Format of the file.
    size : tuple of (int, int)
        Height and width of the images.
    names : list of str
        Names of the layers.
    preprocessing : str
        Scaling of pixels as a recipe records it.
    """
    openvino = import_openvino()
    network = _read(path, kind)
    if not _reshape(path, network, size):
        raise batch_size_error(path, size)
    shapes = {row[0]: row[2] for row in _layer_rows(path, network)}
    operations = network.get_ordered_ops()
    axes = find_axes(operations, _is_channels_first(path, network))
    nodes = {_layer_name(operation): operation for operation in operations}
    pixels = _insert_preprocessing(path, network, size, Preprocessing.from_text(preprocessing))
    results = []
    for name in names:
        if name not in shapes:
            raise EngineError(
                f"Network {str(path)!r} no longer has a layer {name!r}. Remove layer (--layer), or select another one."
            )
        node_axes = axes[nodes[name].get_friendly_name()]
        output = _to_channels_last(nodes[name].output(0), node_axes, shapes[name])
        result = openvino_operations(openvino).result(output)
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    return openvino.Model(results, [pixels], "network")


def _read(path: Path, kind: str) -> Any:
    """Return an ``openvino.Model`` whose only input is a batch of images."""
    openvino = import_openvino()
    try:
        network = openvino.convert_model(path) if kind == "saved model" else openvino.Core().read_model(path)
    except Exception as error:  # each reader of OpenVINO raises its own kinds
        raise WeightsError(
            f"Cannot read network {str(path)!r} with OpenVINO {openvino_version(openvino)}: {openvino_reason(error)}. "
            "Export it again."
        ) from error
    if len(network.inputs) != 1 or network.inputs[0].partial_shape.rank.get_length() != 4:
        shapes = ", ".join(str(tensor.partial_shape) for tensor in network.inputs)
        raise WeightsError(
            f"The input of network {str(path)!r} must be one batch of images with four axes, got {shapes}. Export the "
            "image network alone."
        )
    _is_channels_first(path, network)
    return network


def _is_channels_first(path: Path, network: Any) -> bool:
    shape = network.inputs[0].partial_shape
    first, last = (axis.is_static and axis.get_length() == 3 for axis in (shape[1], shape[3]))
    if not (shape[1].is_static or shape[3].is_static):  # nothing is stated, as in files of Hugging Face
        return True
    if first == last:
        raise WeightsError(
            f"The input of network {str(path)!r} must have three channels as its second or last axis, got the shape "
            f"{shape}. Export a network of RGB images."
        )
    return bool(first)


def _fixed_size(path: Path, network: Any) -> tuple[int, int] | None:
    """Return the only height and width that a network accepts; None if it accepts several."""
    shape = network.inputs[0].partial_shape
    sides = (shape[2], shape[3]) if _is_channels_first(path, network) else (shape[1], shape[2])
    return (sides[0].get_length(), sides[1].get_length()) if all(side.is_static for side in sides) else None


def _reshape(path: Path, network: Any, size: tuple[int, int]) -> bool:
    """Set the input to `COMPILED_BATCH_SIZE` images of a size; return whether the network accepts it."""
    images = [3, *size] if _is_channels_first(path, network) else [*size, 3]
    try:
        network.reshape([COMPILED_BATCH_SIZE, *images])
    except RuntimeError:  # exported for another batch size or other image sizes
        return False
    return True


def _output_names(network: Any) -> list[str]:
    return [_layer_name(output.get_node().input_value(0).get_node()) for output in network.outputs]


def _layer_name(operation: Any) -> str:
    return escape_layer_name(operation.get_friendly_name())


def _layer_rows(path: Path, network: Any) -> list[LayerRow]:
    """Return one row for each tensor that depends on the image and can be used as features, the output last."""
    axes = find_axes(network.get_ordered_ops(), _is_channels_first(path, network))
    computed = _image_operations(network)
    index_of = {operation.get_friendly_name(): index for index, (operation, _) in enumerate(computed)}
    last_reader = [0] * len(computed)
    for index, (_, sources) in enumerate(computed):
        for source in sources & index_of.keys():
            last_reader[index_of[source]] = max(last_reader[index_of[source]], index)
    rows = []
    farthest_reader = 0  # last operation that reads the output of an operation before this one
    for index, (operation, _) in enumerate(computed):
        is_single = operation.get_output_size() == 1
        if is_single and (shape := _feature_shape(operation.output(0), axes[operation.get_friendly_name()])):
            ends_block = farthest_reader <= index and operation.get_type_name() in _BLOCK_ENDS
            rows.append((_layer_name(operation), operation.get_type_name(), shape, ends_block))
        farthest_reader = max(farthest_reader, last_reader[index])
    output = _output_names(network)[0]
    last = [row for row in rows if row[0] == output]
    if not last:
        raise WeightsError(
            f"The output of network {str(path)!r} must be features or feature maps (channels second or last) for each "
            f"image, got the shape {network.outputs[0].partial_shape}. Export the network without what follows them."
        )
    return [row for row in rows if row[0] != output] + last


def _image_operations(network: Any) -> list[tuple[Any, set[str]]]:
    """Return the operations that depend on the image in topological order, with the names of their sources."""
    from_image = {network.inputs[0].get_node().get_friendly_name()}
    computed = []
    for operation in network.get_ordered_ops():
        if operation.get_type_name() in ("Constant", "Result"):
            continue
        inputs = [operation.input_value(index) for index in range(operation.get_input_size())]
        sources = {value.get_node().get_friendly_name() for value in inputs}
        if sources & from_image:
            from_image.add(operation.get_friendly_name())
            computed.append((operation, sources))
    return computed


def _feature_shape(output: Any, axes: Axes) -> list[int]:
    """Return a shape without the batch axis and with channels last; an empty list for neither features nor maps."""
    partial = output.partial_shape
    if not partial.is_static or not output.element_type.is_real():
        return []
    shape = [int(side) for side in partial.to_shape()]
    if len(shape) not in (2, 3, 4) or shape[0] != COMPILED_BATCH_SIZE or not (channels := channel_axis(axes)):
        return []
    positions = [side for axis, side in enumerate(shape) if axis not in (0, channels)]
    if len(shape) == 3:
        positions.append(1)  # a sequence of tokens is a map of width one
    return [*positions, shape[channels]]


def _insert_preprocessing(path: Path, network: Any, size: tuple[int, int], preprocessing: Preprocessing) -> Any:
    """Put uint8 pixels with channels last and their preprocessing before a network; return the new input."""
    openvino = import_openvino()
    operations = openvino_operations(openvino)
    pixels = operations.parameter([COMPILED_BATCH_SIZE, *size, 3], np.uint8, "pixels")
    prepared = operations.convert(pixels, "f32")
    if preprocessing.is_bgr:
        order = operations.constant(np.array([2, 1, 0], np.int32))
        prepared = operations.gather(prepared, order, operations.constant(np.array(3, np.int32)))
    mean, scale = (
        operations.constant(np.array(values, np.float32)) for values in (preprocessing.mean, preprocessing.scale)
    )
    prepared = operations.divide(operations.subtract(prepared, mean), scale)
    if _is_channels_first(path, network):
        prepared = operations.transpose(prepared, operations.constant(np.array([0, 3, 1, 2], np.int32)))
    entry = network.inputs[0].get_node()
    if entry.get_output_element_type(0) != openvino.Type.f32:
        prepared = operations.convert(prepared, entry.get_output_element_type(0).get_type_name())
    for reader in entry.output(0).get_target_inputs():
        reader.replace_source_output(prepared.output(0))
    return pixels


def _to_channels_last(output: Any, axes: Axes, shape: list[int]) -> Any:
    """Return an output as float32 with channels last."""
    operations = openvino_operations(import_openvino())
    node = operations.convert(output, "f32")
    rank, channels = len(axes), channel_axis(axes)
    if channels != rank - 1:
        order = [axis for axis in range(rank) if axis != channels] + [channels]
        node = operations.transpose(node, operations.constant(np.array(order, np.int32)))
    if rank == 3:
        tokens = operations.constant(np.array([COMPILED_BATCH_SIZE, *shape], np.int64))
        node = operations.reshape(node, tokens, False)
    return node
