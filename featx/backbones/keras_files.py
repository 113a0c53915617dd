"""Networks in Keras's own files, loaded without running anybody's code, and cut where features are wanted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.keras_applications import pooled
from featx.backbones.keras_import import first_line, import_keras, plain_settings
from featx.backbones.layers import other_layers
from featx.backbones.preprocessing import Preprocessing
from featx.errors import EngineError, WeightsError
from featx.recipe import Recipe

if TYPE_CHECKING:
    from featx.backbones.own import OwnNetwork


def load(path: Path) -> Any:
    """Return the ``keras.Model`` in a ``.keras`` or ``.h5`` file.

    Raises
    ------
    WeightsError
        It cannot be read, holds no whole network, or needs code that is not Keras's own.
    """
    keras = import_keras()
    refused = _foreign_code(_config(path))
    if refused:
        raise WeightsError(
            f"The network {str(path)!r} holds {refused}, which could run anything on this machine, and is refused. "
            "Save it without (Keras's own layers do the same), or export it to ONNX, which holds no code."
        )
    try:
        with plain_settings(keras):
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for what it cannot read
        raise WeightsError(
            f"The network {str(path)!r} cannot be loaded by Keras {keras.__version__} ({first_line(error)}). Save it "
            "anew with model.save('network.keras')."
        ) from error


def _config(path: Path) -> Any:
    """Return the description of a network in a file, by which Keras builds it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                return json.loads(packed.read("config.json"))
        import h5py  # type: ignore[import-untyped]  # it has no types

        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{str(path)!r} holds no whole network of Keras ({first_line(error)}). If it holds weights only, pass it "
            "as weights beside the name of their network; else save it anew with model.save('network.keras')."
        ) from error


def _foreign_code(config: Any) -> str:
    """Return what in a description is not Keras's own, "" if nothing is."""
    if isinstance(config, list):
        return next(filter(None, map(_foreign_code, config)), "")
    if not isinstance(config, dict):
        return ""
    kind = config.get("class_name")
    module = config.get("module")
    if kind in ("Lambda", "__lambda__", "function"):
        return "a Lambda layer" if kind != "function" else f"the function {config.get('config')!r}"
    if isinstance(module, str) and module.split(".")[0] not in ("keras", "builtins", "tensorflow"):
        return f"{kind!r} of the module {module!r}"
    if config.get("registered_name") and module is None and isinstance(kind, str) and ">" in config["registered_name"]:
        package = config["registered_name"].split(">")[0]
        if package != "keras":
            return f"{kind!r} of the package {package!r}"
    return next(filter(None, map(_foreign_code, config.values())), "")


def layer_rows(network: Any) -> list[tuple[str, str, list[int], bool]]:
    """Return the layers of any ``keras.Model``; of one that is not built of layers only its output."""
    from featx.backbones.describing import layer_rows as rows_of

    if isinstance(network, import_keras().Sequential | import_keras().src.models.functional.Functional):
        return rows_of(network)
    return [("output", type(network).__name__, list(network.output_shape[1:]), True)]


def describe(path: Path) -> tuple[tuple[int, int] | None, list[tuple[str, str, list[int], bool]]]:
    """Return the only size that a network takes, None if it takes several, and its layers.

    Raises
    ------
    WeightsError
        It cannot be loaded, or does not take images.
    """
    network = load(path)
    height, width = _input_size(path, network)
    rows = layer_rows(network)
    return (None if height is None or width is None else (height, width)), rows


def _input_size(path: Path, network: Any) -> tuple[int | None, int | None]:
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
        raise WeightsError(
            f"The network {str(path)!r} takes {shape}: expected images of three channels, the last axis: "
            "(None, height, width, 3)."
        )
    return shape[1], shape[2]


def build_layers(network: OwnNetwork, recipe: Recipe, names: list[str]) -> Any:
    """Return a ``keras.Model`` from uint8 pixels to the outputs of layers, by name."""
    keras = import_keras()
    with plain_settings(keras):
        return keras.Model(*_taken(keras, network, recipe, names))


def build(network: OwnNetwork, recipe: Recipe) -> Any:
    """Return a ``keras.Model`` from uint8 pixels to the features of a recipe."""
    keras = import_keras()
    with plain_settings(keras):
        pixels, outputs = _taken(keras, network, recipe, recipe.layers)
        return keras.Model(pixels, pooled(keras, recipe, outputs))


def _taken(keras: Any, network: OwnNetwork, recipe: Recipe, names: list[str]) -> tuple[Any, dict[str, Any]]:
    model = load(Path(network.path))
    model.trainable = False
    pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
    steps = Preprocessing.of_text(recipe.preprocessing)
    prepared = keras.ops.cast(pixels, "float32")
    if steps.is_bgr:
        prepared = keras.ops.flip(prepared, axis=-1)
    prepared = (prepared - np.array(steps.mean, np.float32)) / np.array(steps.scale, np.float32)
    known = layer_rows(model)
    if len(known) == 1 and known[0][0] == "output":
        return pixels, {"output": model(prepared, training=False)}
    places = {row[0]: at for at, row in enumerate(known)}
    for name in names:
        if name not in places:
            raise EngineError(other_layers(name))
    cut = keras.Model(model.inputs, {name: model.layers[places[name]].output for name in names})
    return pixels, dict(cut(prepared, training=False))


def shapes_at(path: Path, size: tuple[int, int]) -> list[tuple[str, str, list[int], bool]]:
    """Return the layers of a network that takes several sizes, at one of them."""
    keras = import_keras()
    model = load(path)
    rows = layer_rows(model)
    if rows[0][0] == "output" and len(rows) == 1:
        return [("output", rows[0][1], list(model.compute_output_shape((None, *size, 3))[1:]), True)]
    computed = keras.Model(model.inputs, [layer.output for layer in model.layers])
    shapes = computed.compute_output_shape((None, *size, 3))
    return [(name, kind, list(shape[1:]), ends) for (name, kind, _, ends), shape in zip(rows, shapes, strict=True)]
