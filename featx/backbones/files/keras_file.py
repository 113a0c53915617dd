"""Custom model files of Keras: loaded without running code from the file, and cut at layers."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files.description import NetworkDescription, rows_at_size
from featx.backbones.files.display_name import display_name
from featx.backbones.files.keras_layers import LayerGraph, list_layers, operation_rows
from featx.backbones.files.safe_config import find_unsafe_part
from featx.backbones.keras.graph import LayerRow, as_functional, pool_outputs
from featx.backbones.keras.keras_import import import_keras, plain_settings
from featx.backbones.preprocessing import Preprocessing
from featx.errors import EngineError, TrainingError, WeightsError
from featx.recipe import Recipe
from featx.system.formatting import first_line

#: What Keras reports about an unknown object in an ``.h5`` file.
_UNKNOWN = re.compile(r"Unknown [a-z ]+: '([^']+)'")
#: Precisions that are replaced, so that a network computes as its recipe states.
_TO_FLOAT32 = dict.fromkeys(("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"), "float32")


def load(path: Path) -> Any:
    """Return the ``keras.Model`` in a ``.keras`` or ``.h5`` file.

    Raises
    ------
    WeightsError
        If the file cannot be read, does not hold a whole network, or requires code that is not part of Keras.
    """
    keras = import_keras()
    if unsafe := find_unsafe_part(_read_config(path)):
        raise WeightsError(_unsafe_message(path, unsafe))
    try:
        with plain_settings(keras), warnings.catch_warnings():
            # About the training state of nested networks, which is not used.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return _in_float32(keras, keras.models.load_model(path, compile=False, safe_mode=True))
    except Exception as error:  # Keras raises many kinds for what it cannot read
        if unknown := _UNKNOWN.search(str(error)):
            what = f"a layer or function {unknown[1]!r} that is not part of Keras"
            raise WeightsError(_unsafe_message(path, what)) from error
        raise WeightsError(
            f"Keras {keras.__version__} cannot load network {display_name(path)}: {first_line(error)}. Save it again "
            "with model.save('network.keras')."
        ) from error


def describe(path: Path, size: tuple[int, int] | None) -> NetworkDescription:
    """Return what a file contains, with its layers at an image size.

    Parameters
    ----------
    path : Path
        Path of the file.
    size : tuple of (int, int) or None
        Height and width, for a network that accepts several. None: the first common size that it accepts.

    Raises
    ------
    WeightsError
        If the file cannot be loaded, or the network does not accept images.
    OptionError
        If the network does not accept images of this size.
    """
    network = load(path)
    height, width = _input_size(path, network)
    graph = list_layers(network)
    fixed = (height, width) if height is not None and width is not None else None
    rows = graph.rows if fixed else _rows_at_size(path, size, network, graph)
    name_of = {id(tensor): name for name, tensor in graph.tensors.items()}
    outputs, inputs = (getattr(network, name, None) or [] for name in ("outputs", "inputs"))
    others = [name_of[id(output)] for output in outputs[1:] if id(output) in name_of and output is not outputs[0]]
    return NetworkDescription.from_rows(
        fixed,
        graph.rows[-1][0],
        [(name, kind, _map_shape(shape), ends_block) for name, kind, shape, ends_block in rows],
        str(inputs[0].dtype) if inputs else "float32",
        others,
    )


def build_features(path: Path, recipe: Recipe) -> Any:
    """Return a ``keras.Model`` from uint8 pixels to the features of a recipe."""
    with plain_settings(import_keras()) as keras:
        pixels, outputs = _from_pixels(keras, path, recipe, recipe.layers)
        return keras.Model(pixels, pool_outputs(keras, recipe, outputs))


def build_layers(path: Path, recipe: Recipe, names: list[str]) -> Any:
    """Return a ``keras.Model`` from uint8 pixels to the outputs of layers, by name."""
    with plain_settings(import_keras()) as keras:
        return keras.Model(*_from_pixels(keras, path, recipe, names))


def load_truncated(path: Path, recipe: Recipe) -> tuple[Any, Any, list[Any]]:
    """Return a network, its part from preprocessed pixels to the layers of a recipe, and its layers.

    The layers are in the order of :func:`describe`, with None in the place of an output that is not a layer.

    Raises
    ------
    TrainingError
        If the network is not functional.
    """
    keras = import_keras()
    network = load(path)
    graph = list_layers(network)
    if not graph.tensors:
        raise TrainingError(
            f"Cannot fine-tune network {display_name(path)}: it is not built of layers. Build it with "
            "keras.Model(inputs, outputs)."
        )
    flat = as_functional(network)
    by_name = {row[0]: operation for row, operation in zip(operation_rows(flat), flat.operations, strict=True)}
    outputs = {name: _as_maps(keras, graph.tensors[name]) for name in recipe.layers}
    return network, keras.Model(network.inputs, outputs), [by_name.get(row[0]) for row in graph.rows]


def _unsafe_message(path: Path, what: str) -> str:
    return (
        f"Cannot load network {display_name(path)}: it contains {what}, which could execute code. Replace it by "
        "Keras's own layers, or export the network to ONNX."
    )


def _in_float32(keras: Any, network: Any) -> Any:
    """Return a network that computes in float32, whatever precision it was trained in.

    It is built again, since casts and constants of its layers have the other precision.
    """
    config = keras.saving.serialize_keras_object(network)
    float32_config = _with_float32(config)
    if float32_config == config:
        return network
    twin = keras.saving.deserialize_keras_object(float32_config)
    if [weight.path for weight in twin.weights] != [weight.path for weight in network.weights]:
        raise ValueError("in float32 it has other weights")
    twin.set_weights([np.asarray(keras.ops.cast(weight, "float32")) for weight in network.weights])
    return twin


def _with_float32(config: Any) -> Any:
    """Return a configuration whose floating-point precisions are float32; quantized layers stay as they are."""
    if isinstance(config, list | tuple):
        return type(config)(map(_with_float32, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        policy = config["config"]["name"]
        return {**config, "config": {"name": _TO_FLOAT32.get(policy, policy)}}
    return {
        name: _TO_FLOAT32.get(value, value) if name == "dtype" and isinstance(value, str) else _with_float32(value)
        for name, value in config.items()
    }


def _read_config(path: Path) -> Any:
    """Return the configuration in a file, from which Keras builds the network."""
    try:
        if path.suffix == ".keras":  # Keras decides by the suffix too
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                # Keras ignores this part when a network is not to be compiled.
                return {**config, "compile_config": None}
        import h5py

        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{display_name(path)} is not a whole Keras network: {first_line(error)}. If it holds weights only, pass "
            "it as weights (--weights) with the name of its network; otherwise save it again with "
            "model.save('network.keras')."
        ) from error


def _input_size(path: Path, network: Any) -> tuple[int | None, int | None]:
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
        raise WeightsError(
            f"Network {display_name(path)} must accept images with channels last, (None, height, width, 3), got the "
            f"input shape {shape}. Pass a network of RGB images."
        )
    return shape[1], shape[2]


def _map_shape(shape: list[int]) -> list[int]:
    """Return an output shape without the batch axis; a sequence of tokens becomes a map of width one."""
    return [shape[0], 1, shape[1]] if len(shape) == 2 else shape


def _as_maps(keras: Any, output: Any) -> Any:
    """Return an output with tokens as maps of width one, as in graphs of OpenVINO; any other as it is."""
    return keras.ops.expand_dims(output, 2) if len(output.shape) == 3 else output


def _rows_at_size(path: Path, size: tuple[int, int] | None, network: Any, graph: LayerGraph) -> list[LayerRow]:
    """Return the layers of a network that accepts several image sizes."""
    keras = import_keras()
    names = [row[0] for row in graph.rows if row[0] in graph.tensors]
    model = keras.Model(network.inputs, [graph.tensors[name] for name in names]) if names else network

    def list_rows(size: tuple[int, int]) -> list[LayerRow]:
        try:
            shapes = model.compute_output_shape((None, *size, 3))
        except Exception:  # each layer raises another kind for a size that is too small
            return []
        shape_of = dict(zip(names, shapes, strict=True)) if names else {graph.rows[0][0]: shapes}
        return [(name, kind, list(shape_of.get(name, [0])[1:]), ends) for name, kind, _, ends in graph.rows]

    return rows_at_size(path, size, list_rows)


def _from_pixels(keras: Any, path: Path, recipe: Recipe, names: list[str]) -> tuple[Any, dict[str, Any]]:
    """Return the input for uint8 pixels, and the float32 outputs of layers by name."""
    model = load(path)
    model.trainable = False
    pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
    prepared = _preprocess(keras, pixels, Preprocessing.from_text(recipe.preprocessing))
    tensors = list_layers(model).tensors
    if not tensors:
        return pixels, {"output": _as_maps(keras, keras.ops.cast(model(prepared, training=False), "float32"))}
    for name in names:
        if name not in tensors:
            raise EngineError(
                f"Network {display_name(path)} no longer has a layer {name!r}. Remove layer (--layer), or select "
                "another one."
            )
    truncated = keras.Model(model.inputs, {name: tensors[name] for name in names})
    outputs = truncated(prepared, training=False)
    return pixels, {name: _as_maps(keras, keras.ops.cast(output, "float32")) for name, output in outputs.items()}


def _preprocess(keras: Any, pixels: Any, preprocessing: Preprocessing) -> Any:
    prepared = keras.ops.cast(pixels, "float32")
    if preprocessing.is_bgr:
        prepared = keras.ops.flip(prepared, axis=-1)
    mean, scale = (np.array(values, np.float32) for values in (preprocessing.mean, preprocessing.scale))
    return (prepared - mean) / scale
