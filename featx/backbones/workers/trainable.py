"""A network as one flat model that can be trained further, and saved so that it prepares its pixels itself."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files import keras_file as keras_files
from featx.backbones.files.network_file import NetworkFile
from featx.backbones.keras_application import pooled
from featx.backbones.keras_import import import_keras, plain_settings
from featx.backbones.preprocessing import Preprocessing
from featx.backbones.registry import KerasBackbone
from featx.errors import TrainingError
from featx.recipe import Recipe


def build(task: dict[str, Any], recipe: Recipe) -> tuple[Any, Any, list[Any]]:
    """Return a network to be trained from the task's ``first`` layer on, in inference mode throughout.

    Parameters
    ----------
    task : dict
        ``backbone`` or ``own``, ``weights_path``, and ``first``: the place of the first layer that is trained.
    recipe : Recipe

    Returns
    -------
    network : keras.Model
        From pixels from 0 to 255 to what becomes features: the maps of a layer; or the row, if there are several.
    rows : keras.Model
        From the same pixels to rows of features.
    variables : list of keras.Variable
        Those that are trained. Batch normalisation is not.

    Raises
    ------
    TrainingError
        The network could not be loaded again once it is saved.
    """
    keras = import_keras()
    with plain_settings(keras):
        if "model_file" in task:
            network, layers, steps = _own(keras, NetworkFile(**task["model_file"]), recipe)
        else:
            network, layers, steps = _known(KerasBackbone(**task["backbone"]), recipe, task["weights_path"])
        pixels = keras.Input((*recipe.image_size, 3), name="pixels")
        outputs = network.call(_prepared(keras, pixels, steps), training=False)
        row = pooled(keras, recipe, outputs)
        is_row = len(outputs) > 1
        tuned = keras.Model(pixels, row if is_row else outputs[recipe.layer], name="tuned")
        rows = keras.Model(pixels, row)
    if foreign := keras_files.foreign_code(tuned):
        raise TrainingError(
            f"{recipe.backbone!r} cannot be fine-tuned: it holds {foreign}, which is refused in files of networks. "
            "Choose another backbone."
        )
    return tuned, rows, _unfrozen([one for one in layers[task["first"] :] if isinstance(one, keras.layers.Layer)])


def _known(backbone: KerasBackbone, recipe: Recipe, weights_path: str | None) -> tuple[Any, list[Any], Preprocessing]:
    network, taken = backbone.load_truncated(recipe, Path(weights_path) if weights_path else None)
    return taken, network.layers, backbone.preprocessing()


def _own(keras: Any, own: NetworkFile, recipe: Recipe) -> tuple[Any, list[Any], Preprocessing]:
    own.check_unchanged()
    network, taken, layers = keras_files.load_truncated(own, recipe)
    network.trainable = False
    return taken, layers, Preprocessing.from_text(recipe.preprocessing)


def _prepared(keras: Any, pixels: Any, steps: Preprocessing) -> Any:
    if steps.is_bgr:
        pixels = keras.ops.flip(pixels, axis=-1)
    scale = np.array(steps.scale)
    if (scale == 1).all() and not any(steps.mean):
        return pixels
    offset = -np.array(steps.mean) / scale
    return keras.layers.Rescaling((1 / scale).tolist(), offset.tolist(), name="prepared")(pixels)


def _unfrozen(layers: Sequence[Any]) -> list[Any]:
    """Let layers be trained, but for batch normalisation; return their variables, each once."""
    for layer in layers:
        layer.trainable = True
    for layer in layers:
        for part in layer._flatten_layers(include_self=True, recursive=True):
            if type(part).__name__.startswith("BatchNormalization"):
                part.trainable = False
    found = {id(variable): variable for layer in layers for variable in layer.trainable_variables}
    return list(found.values())


def save(network: Any, path: Path) -> None:
    """Write a network as a ``.keras`` file; of the same numbers the same bytes, whenever it is written."""
    saved = path.with_name(f"saved-{path.name}")
    network.save(saved)
    with zipfile.ZipFile(saved) as dated, zipfile.ZipFile(path, "w") as packed:
        for name in sorted(dated.namelist()):
            data = dated.read(name)
            if name == "metadata.json":
                data = json.dumps({**json.loads(data), "date_saved": "1980-01-01@00:00:00"}).encode()
            packed.writestr(zipfile.ZipInfo(name), data)
    saved.unlink()
