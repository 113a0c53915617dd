"""A network as one flat model that can be trained, and saved with its preprocessing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files import keras_file
from featx.backbones.files.model_source import ModelSource
from featx.backbones.files.safe_config import find_unsafe_part
from featx.backbones.keras import builder
from featx.backbones.keras.graph import pool_outputs
from featx.backbones.keras.keras_import import import_keras, plain_settings
from featx.backbones.preprocessing import Preprocessing
from featx.backbones.records import KerasRecord
from featx.errors import TrainingError
from featx.recipe import Recipe


def build_trainable(task: dict[str, Any], recipe: Recipe) -> tuple[Any, Any, list[Any]]:
    """Return a network that is trainable from a layer on, in inference mode.

    Parameters
    ----------
    task : dict
        ``backbone`` or ``model_file``, ``weights_path``, and ``first_trained_layer``, the index of a layer.
    recipe : Recipe
        Image size, layers and pooling.

    Returns
    -------
    network : keras.Model
        From pixels from 0 to 255 to the maps of a layer, or to the row of several layers.
    rows : keras.Model
        From the same pixels to rows of features.
    variables : list of keras.Variable
        Variables to train; those of batch normalization are not among them.

    Raises
    ------
    TrainingError
        If the network could not be loaded again after it is saved.
    """
    with plain_settings(import_keras()) as keras:
        truncated, layers, preprocessing = _load_truncated(task, recipe)
        pixels = keras.Input((*recipe.image_size, 3), name="pixels")
        outputs = truncated.call(_preprocess(keras, pixels, preprocessing), training=False)
        row = pool_outputs(keras, recipe, outputs)
        tuned = keras.Model(pixels, row if len(outputs) > 1 else outputs[recipe.layer], name="tuned")
        rows = keras.Model(pixels, row)
    if unsafe := find_unsafe_part(json.loads(tuned.to_json())):
        raise TrainingError(
            f"Cannot fine-tune backbone {recipe.backbone!r}: it contains {unsafe}, which is refused in model files. "
            "Choose another backbone."
        )
    return (
        tuned,
        rows,
        _unfreeze([layer for layer in layers[task["first_trained_layer"] :] if isinstance(layer, keras.layers.Layer)]),
    )


def save_network(network: Any, path: Path) -> None:
    """Write a network as a ``.keras`` file, whose bytes depend on the network alone and not on the time."""
    saved = path.with_name(f"saved-{path.name}")
    network.save(saved)
    with zipfile.ZipFile(saved) as dated, zipfile.ZipFile(path, "w") as archive:
        for name in sorted(dated.namelist()):
            data = dated.read(name)
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "1980-01-01@00:00:00"}).encode()
            archive.writestr(zipfile.ZipInfo(name), data)
    saved.unlink()


def _load_truncated(task: dict[str, Any], recipe: Recipe) -> tuple[Any, list[Any], Preprocessing]:
    """Return the network up to the layers of a recipe, its layers, and its preprocessing."""
    if "model_file" in task:
        source = ModelSource(**task["model_file"])
        source.check_unchanged()
        network, truncated, layers = keras_file.load_truncated(Path(source.path), recipe)
        network.trainable = False
        return truncated, layers, Preprocessing.from_text(recipe.preprocessing)
    record = KerasRecord(**task["backbone"])
    weights_path = Path(task["weights_path"]) if task["weights_path"] else None
    network, truncated = builder.load_truncated(record, recipe, weights_path)
    return truncated, network.layers, builder.measure_preprocessing(record)


def _preprocess(keras: Any, pixels: Any, preprocessing: Preprocessing) -> Any:
    if preprocessing.is_bgr:
        pixels = keras.ops.flip(pixels, axis=-1)
    scale = np.array(preprocessing.scale)
    if (scale == 1).all() and not any(preprocessing.mean):
        return pixels
    offset = -np.array(preprocessing.mean) / scale
    return keras.layers.Rescaling((1 / scale).tolist(), offset.tolist(), name="prepared")(pixels)


def _unfreeze(layers: Sequence[Any]) -> list[Any]:
    """Make all layers but batch normalization trainable; return their variables without repetitions."""
    for layer in layers:
        layer.trainable = True
    for layer in layers:
        for part in layer._flatten_layers(include_self=True, recursive=True):
            if type(part).__name__.startswith("BatchNormalization"):
                part.trainable = False
    variables = {id(variable): variable for layer in layers for variable in layer.trainable_variables}
    return list(variables.values())
