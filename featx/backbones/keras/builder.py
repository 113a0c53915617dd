"""Build networks of ``keras.applications`` from their records, with the frozen weights of a recipe.

The output of a network is the output of its last layer. Networks are built without their head.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.keras.describe import describe_layers, known_layers
from featx.backbones.keras.graph import pool_layer, pool_outputs
from featx.backbones.keras.keras_import import import_keras, plain_settings
from featx.backbones.layers import POOL_OPERATIONS, find_layers, missing_layer_message, pooled_output_name
from featx.backbones.preprocessing import Preprocessing
from featx.backbones.records import KerasRecord
from featx.backbones.weights import has_keras_hash, local_weights
from featx.errors import EngineError, WeightsError
from featx.recipe import Recipe
from featx.system.formatting import first_line

_SEED = 0
#: Standard deviations of the red, green and blue values of ImageNet, for values from 0 to 1.
_IMAGENET_STD = (0.229, 0.224, 0.225)


def build_features(record: KerasRecord, recipe: Recipe, weights_path: Path | None) -> Any:
    """Return the frozen network as a ``keras.Model`` from uint8 pixels to the features of a recipe.

    Parameters
    ----------
    record : KerasRecord
        Network to build.
    recipe : Recipe
        Image size, layers and pooling, and the digest of the weights.
    weights_path : Path or None
        Path of the weights; None for random weights.

    Raises
    ------
    WeightsError
        If the file is corrupt or belongs to another network.
    EngineError
        If the installed Keras builds the network with other layers.
    """
    with plain_settings(import_keras()) as keras:
        pixels, outputs = _from_pixels(keras, record, recipe, weights_path, recipe.layers)
        for name in recipe.layers:
            if name not in outputs:
                raise EngineError(missing_layer_message(name))
        return keras.Model(pixels, pool_outputs(keras, recipe, outputs))


def build_layers(record: KerasRecord, recipe: Recipe, weights_path: Path | None, names: Sequence[str]) -> Any:
    """Return the frozen network as a ``keras.Model`` from uint8 pixels to the outputs of layers, by name.

    A layer that is applied after pooling has one more output for each pooling operation. Layers that the installed
    Keras does not build are missing from the outputs.
    """
    with plain_settings(import_keras()) as keras:
        return keras.Model(*_from_pixels(keras, record, recipe, weights_path, names))


def load_truncated(record: KerasRecord, recipe: Recipe, weights_path: Path | None) -> tuple[Any, Any]:
    """Return the frozen network, and its part from preprocessed pixels to the layers of a recipe, by name."""
    keras = import_keras()
    network = _load(record, recipe, weights_path)
    return network, keras.Model(network.input, _layer_outputs(keras, record, network, recipe.layers))


def build_reference(record: KerasRecord, recipe: Recipe, weights_path: Path | None) -> tuple[Any, Any]:
    """Return the pooled network of preprocessed pixels and ``preprocess_input``, as in Keras's documentation.

    The default layer is pooled, whatever the layers of the recipe are.
    """
    with plain_settings(import_keras()) as keras:
        network = _load(record, recipe, weights_path)
        row = pool_outputs(keras, dataclasses.replace(recipe, layer=record.layer), {record.layer: network.output})
        return keras.Model(network.input, row), _module(record).preprocess_input


def build_empty(record: KerasRecord, image_size: tuple[int, int]) -> Any:
    """Return the network as a ``keras.Model`` with random weights, which are the same each time."""
    keras = import_keras()
    build = getattr(keras.applications, record.function_name)
    width = {"alpha": record.alpha} if record.alpha != 1 else {}
    with warnings.catch_warnings(), plain_settings(keras), _seeded():
        # For a size other than its default, Keras names the weights that it loads instead: here it loads none.
        warnings.filterwarnings("ignore", message=".*input_shape.* is undefined or non-square")
        return build(include_top=False, weights=None, input_shape=(*image_size, 3), **width)


def measure_preprocessing(record: KerasRecord) -> Preprocessing:
    """Return the preprocessing of a network, measured by its ``preprocess_input`` on black, red, green and blue."""
    import_keras()
    colors = np.zeros((1, 1, 4, 3), np.float32)
    colors[0, 0, 1:] = 255 * np.eye(3)
    prepared = np.asarray(_module(record).preprocess_input(colors))[0, 0]
    slopes = (prepared[1:] - prepared[0]) / 255
    scale = 1 / slopes.sum(axis=0).astype(np.float64)
    return Preprocessing(tuple(-prepared[0] * scale), tuple(scale), is_bgr=bool(abs(slopes[0, 2]) > 0))


def _from_pixels(
    keras: Any, record: KerasRecord, recipe: Recipe, weights_path: Path | None, names: Sequence[str]
) -> tuple[Any, dict[str, Any]]:
    """Return the input for uint8 pixels, and the outputs of layers by name."""
    network = _load(record, recipe, weights_path)
    pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
    prepared = _module(record).preprocess_input(keras.ops.cast(pixels, "float32"))
    outputs = keras.Model(network.input, _layer_outputs(keras, record, network, names))(prepared, training=False)
    return pixels, dict(outputs)


def _layer_outputs(keras: Any, record: KerasRecord, network: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return the outputs of the layers that the network has, by name."""
    outputs = {name: _layer_output(record, network, name) for name in names}
    outputs = {name: output for name, output in outputs.items() if output is not None}
    if record.pools_before_norm and record.layer in outputs:
        norm = network.layers[-1]
        for operation in POOL_OPERATIONS:
            pooled = pool_layer(keras, operation)(norm.input)
            outputs[pooled_output_name(record.layer, operation)] = norm(pooled)
    return outputs


def _layer_output(record: KerasRecord, network: Any, name: str) -> Any:
    """Return the output of a layer; None if the installed Keras builds another layer in its place."""
    known = known_layers(record)
    by_name = {layer.name: layer for layer in network.layers}
    if known is None and name in by_name:
        return by_name[name].output
    if name == (known[-1].name if known else record.layer):
        return network.output
    # By index, since Keras numbers the names of some layers by what else was built in the process.
    layers = known or describe_layers(record, (record.image_size, record.image_size))
    (expected,) = find_layers(record.name, layers, [name])
    index = layers.index(expected)
    layer: Any = network.layers[index] if index < len(network.layers) else None
    if type(layer).__name__ != expected.kind or layer.output.shape[-1] != expected.shape[-1]:
        return None
    return layer.output


def _load(record: KerasRecord, recipe: Recipe, weights_path: Path | None) -> Any:
    """Return the frozen network with its weights."""
    if weights_path is not None:
        _check_digest(record, recipe, weights_path)
    elif (backend := import_keras().backend.backend()) != "tensorflow":
        raise EngineError(
            f"Cannot draw random weights with KERAS_BACKEND={backend!r}: they differ from those of tensorflow. Unset "
            "the variable, or pass engine='openvino' (--engine openvino)."
        )
    network = build_empty(record, recipe.image_size)
    try:
        if weights_path is not None:
            network.load_weights(weights_path)
            _scale_stem(record, network, weights_path)
    except Exception as error:  # Keras and h5py raise many kinds for a file of the wrong shape
        raise WeightsError(
            f"Cannot load weights {str(weights_path)!r} into {record.name!r} without its head: {first_line(error)}. "
            "Pass a file that was saved from this network with include_top=False."
        ) from error
    network.trainable = False
    return network


def _check_digest(record: KerasRecord, recipe: Recipe, path: Path) -> None:
    digest = local_weights(path, record.name).digest
    if digest != recipe.weights:
        raise WeightsError(
            f"Checksum mismatch in weights {str(path)!r} of backbone {record.name!r}: expected SHA-256 "
            f"{recipe.weights}, got {digest}. Reinstall featx, or delete the file to download it again."
        )


def _scale_stem(record: KerasRecord, network: Any, path: Path) -> None:
    """Divide the first kernel of EfficientNet by the root of ImageNet's standard deviations.

    Keras adds a layer for that to networks which it builds with its ImageNet weights, and to no others; see
    https://github.com/tensorflow/tensorflow/issues/49930.
    """
    if record.module_name == "efficientnet" and has_keras_hash(path, record.weights_hash):
        stem = network.get_layer("stem_conv")
        stem.set_weights([value / np.sqrt(_IMAGENET_STD)[:, None] for value in stem.get_weights()])


def _module(record: KerasRecord) -> Any:
    return importlib.import_module(f"keras.applications.{record.module_name}")


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Make the random weights reproducible: Keras takes the seeds of its initializers from Python's generator."""
    state = random.getstate()
    random.seed(_SEED)
    try:
        yield
    finally:
        random.setstate(state)
