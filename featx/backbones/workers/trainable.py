"""Build a network whose last layers can be trained, and save it with its preprocessing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files import keras_file
from featx.backbones.files.network_file import NetworkFile
from featx.backbones.keras_application import pooled
from featx.backbones.keras_import import import_keras, plain_settings
from featx.backbones.preprocessing import Preprocessing
from featx.backbones.registry import KerasBackbone
from featx.errors import TrainingError
from featx.recipe import Recipe


def build_trainable(task: dict[str, Any], recipe: Recipe) -> tuple[Any, Any, list[Any]]:
    """Return a network that is trainable from a layer on, in inference mode throughout.

    Parameters
    ----------
    task : dict
        ``backbone`` or ``model_file``, ``weights_path``, and ``first_trained_layer``, the index of a layer.
    recipe : Recipe

    Returns
    -------
    network : keras.Model
        From pixels between 0 and 255 to the output of the layer of the features; with several layers, to the features.
    rows : keras.Model
        From the same pixels to features.
    variables : list of keras.Variable
        Variables to train, without those of batch normalization.

    Raises
    ------
    TrainingError
        The network could not be loaded again after it was saved.
    """
    keras = import_keras()
    with plain_settings(keras):
        if "model_file" in task:
            network, layers, preprocessing = _load_model_file(keras, NetworkFile(**task["model_file"]), recipe)
        else:
            backbone = KerasBackbone(**task["backbone"])
            network, layers, preprocessing = _load_backbone(backbone, recipe, task["weights_path"])
        pixels = keras.Input((*recipe.image_size, 3), name="pixels")
        outputs = network.call(_preprocess(keras, pixels, preprocessing), training=False)
        row = pooled(keras, recipe, outputs)
        output = row if len(outputs) > 1 else outputs[recipe.layer]
        trained_network = keras.Model(pixels, output, name="tuned")
        rows = keras.Model(pixels, row)
    if foreign := keras_file.foreign_code(trained_network):
        raise TrainingError(
            f"Cannot fine-tune {recipe.backbone!r}: it contains {foreign}, which cannot be loaded from a file. Choose "
            "another backbone."
        )
    trained_layers = [layer for layer in layers[task["first_trained_layer"] :] if isinstance(layer, keras.layers.Layer)]
    return trained_network, rows, _make_trainable(trained_layers)


def _load_backbone(
    backbone: KerasBackbone, recipe: Recipe, weights_path: str | None
) -> tuple[Any, list[Any], Preprocessing]:
    network, truncated = backbone.load_truncated(recipe, Path(weights_path) if weights_path else None)
    return truncated, network.layers, backbone.preprocessing()


def _load_model_file(keras: Any, model_file: NetworkFile, recipe: Recipe) -> tuple[Any, list[Any], Preprocessing]:
    model_file.check_unchanged()
    network, truncated, layers = keras_file.load_truncated(model_file, recipe)
    network.trainable = False
    return truncated, layers, Preprocessing.from_text(recipe.preprocessing)


def _preprocess(keras: Any, pixels: Any, preprocessing: Preprocessing) -> Any:
    if preprocessing.is_bgr:
        pixels = keras.ops.flip(pixels, axis=-1)
    scale = np.array(preprocessing.scale)
    if (scale == 1).all() and not any(preprocessing.mean):
        return pixels
    offset = -np.array(preprocessing.mean) / scale
    return keras.layers.Rescaling((1 / scale).tolist(), offset.tolist(), name="prepared")(pixels)


def _make_trainable(layers: Sequence[Any]) -> list[Any]:
    """Make layers trainable, except for batch normalization; return their distinct variables."""
    for layer in layers:
        layer.trainable = True
    for layer in layers:
        for part in layer._flatten_layers(include_self=True, recursive=True):
            if type(part).__name__.startswith("BatchNormalization"):
                part.trainable = False
    variables = {id(variable): variable for layer in layers for variable in layer.trainable_variables}
    return list(variables.values())


def save_network(network: Any, path: Path) -> None:
    """Write a network as a ``.keras`` file without dates: equal weights give equal bytes."""
    dated_path = path.with_name(f"dated-{path.name}")
    network.save(dated_path)
    with zipfile.ZipFile(dated_path) as dated, zipfile.ZipFile(path, "w") as archive:
        for name in sorted(dated.namelist()):
            data = dated.read(name)
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "1980-01-01@00:00:00"}).encode()
            archive.writestr(zipfile.ZipInfo(name), data)
    dated_path.unlink()
