"""Networks in Keras's own files, loaded without running anybody's code, and cut where features are wanted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.describing import nodes_of, rows_of
from featx.backbones.keras_applications import pooled
from featx.backbones.keras_import import first_line, import_keras, plain_settings
from featx.backbones.preprocessing import Preprocessing
from featx.errors import EngineError, TrainingError, WeightsError
from featx.recipe import Recipe

if TYPE_CHECKING:
    from featx.backbones.own import OwnNetwork

#: Modules of Keras whose classes compute and do nothing else.
_PLAIN = (
    *("keras.layers.", "keras.models.", "keras.initializers.", "keras.regularizers.", "keras.constraints."),
    *("keras.activations.", "keras.ops.", "keras.dtype_policies.", "keras.quantizers.", "keras.random."),
    *("keras.src.layers.", "keras.src.models.", "keras.src.ops.", "builtins."),
)
#: Layers that run somebody's code, or read files that the description names.
_REFUSED = (
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("StringLookup", "IntegerLookup", "TextVectorization"),
)


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
        if path.suffix == ".keras":  # as Keras decides what it is
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


def foreign_code(network: Any) -> str:
    """Return what in a ``keras.Model`` would be refused, were it in a file; "" if nothing."""
    return _foreign_code(json.loads(network.to_json()))


def _foreign_code(config: Any) -> str:
    """Return what in a description is not a layer, or part of one, that computes and does nothing else; else ""."""
    if isinstance(config, dict):
        return _why_foreign(config) or _foreign_code(list(config.values()))
    return next(filter(None, map(_foreign_code, config)), "") if isinstance(config, list) else ""


def _why_foreign(part: dict[str, Any]) -> str:
    kind, module, registered = (part.get(name) for name in ("class_name", "module", "registered_name"))
    if kind in _REFUSED:
        return f"a layer of the kind {kind}"
    if kind in ("__lambda__", "function"):
        return "a lambda function" if kind == "__lambda__" else f"the function {part.get('config')!r}"
    if isinstance(module, str) and module != "keras" and not f"{module}.".startswith(_PLAIN):
        return f"{kind!r} of the module {module!r}"
    if isinstance(registered, str) and ">" in registered and not registered.startswith("keras>"):
        return f"{kind!r} of the package {registered.split('>')[0]!r}"
    return ""


def describe(
    path: Path, size: tuple[int, int] | None, any_size: tuple[int, int]
) -> tuple[tuple[int, int] | None, list[tuple[str, str, list[int], bool]]]:
    """Return the only height and width that a network takes, None if it takes several; and its layers.

    Parameters
    ----------
    path : Path
    size : (int, int) or None
        Of the images, for a network that takes several.
    any_size : (int, int)
        What it is described at if none is said.

    Raises
    ------
    WeightsError
        It cannot be loaded, or does not take images.
    """
    network = load(path)
    height, width = _input_size(path, network)
    if height is not None and width is not None:
        return (height, width), _rows(network)[0]
    keras = import_keras()
    rows, tensors = _rows(network)
    shaped = size or any_size
    if not tensors:
        shape = network.compute_output_shape((None, *shaped, 3))
        return None, [(rows[0][0], rows[0][1], list(shape[1:]), True)]
    names = [row[0] for row in rows if row[0] in tensors]
    shapes = keras.Model(network.inputs, [tensors[name] for name in names]).compute_output_shape((None, *shaped, 3))
    shape_of = dict(zip(names, shapes, strict=True))
    return None, [(name, kind, list(shape_of.get(name, [0])[1:]), ends) for name, kind, _, ends in rows]


def _rows(network: Any) -> tuple[list[tuple[str, str, list[int], bool]], dict[str, Any]]:
    """Return the layers of any ``keras.Model``, its output the last; and their tensors by name.

    Of one that is not built of layers there is its output only, and no tensor.
    """
    keras = import_keras()
    if isinstance(network, keras.Sequential):
        network = network._functional
    if not hasattr(network, "_nodes_by_depth") or not network.outputs:
        return [("output", type(network).__name__, list(network.output_shape[1:]), True)], {}
    nodes = nodes_of(network)
    rows = rows_of(network, network.operations)
    tensors = {}
    for row, operation in zip(rows, network.operations, strict=True):
        found = [tensor for node in nodes.get(id(operation), []) for tensor in node.output_tensors]
        if len(found) == 1:  # a layer that is used twice has no one output
            tensors[row[0]] = found[0]
    output = network.outputs[0]
    last = [row for row in rows if tensors.get(row[0]) is output]
    if not last:
        tensors["output"] = output
        last = [("output", type(network).__name__, list(output.shape[1:]), True)]
    return [row for row in rows if row not in last] + last, tensors


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


def load_cut(network: OwnNetwork, recipe: Recipe) -> tuple[Any, Any, list[Any]]:
    """Return a network; the part of it from prepared pixels to the layers of a recipe, by name; and its layers.

    The layers are as :func:`describe` lists them, None in the place of an output that is none.

    Raises
    ------
    TrainingError
        It is not built of layers.
    """
    keras = import_keras()
    model = load(Path(network.path))
    rows, tensors = _rows(model)
    if not tensors:
        raise TrainingError(
            f"The network {network.path!r} is not built of layers, so no part of it can be trained. Build it with "
            "keras.Model(inputs, outputs)."
        )
    flat = model._functional if isinstance(model, keras.Sequential) else model
    by_name = {row[0]: one for row, one in zip(rows_of(flat, flat.operations), flat.operations, strict=True)}
    cut = keras.Model(model.inputs, {name: tensors[name] for name in recipe.layers})
    return model, cut, [by_name.get(row[0]) for row in rows]


def _taken(keras: Any, network: OwnNetwork, recipe: Recipe, names: list[str]) -> tuple[Any, dict[str, Any]]:
    model = load(Path(network.path))
    model.trainable = False
    pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
    steps = Preprocessing.of_text(recipe.preprocessing)
    prepared = keras.ops.cast(pixels, "float32")
    if steps.is_bgr:
        prepared = keras.ops.flip(prepared, axis=-1)
    prepared = (prepared - np.array(steps.mean, np.float32)) / np.array(steps.scale, np.float32)
    _, tensors = _rows(model)
    if not tensors:
        return pixels, {"output": model(prepared, training=False)}
    for name in names:
        if name not in tensors:
            raise EngineError(f"{network.path!r} has no layer {name!r} any more. Leave layer out, or choose another.")
    cut = keras.Model(model.inputs, {name: tensors[name] for name in names})
    return pixels, dict(cut(prepared, training=False))
