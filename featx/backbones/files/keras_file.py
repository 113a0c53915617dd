"""Networks in Keras's own files, loaded without running anybody's code, and cut where features are wanted."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.backbones.files.found_layers import Found, Row, rows_of_size
from featx.backbones.files.model_cache import display_name
from featx.backbones.keras_application import pooled
from featx.backbones.keras_import import first_line, import_keras, plain_settings
from featx.backbones.preprocessing import Preprocessing
from featx.backbones.workers.describe_application import as_functional, nodes_of, passed_by_all, rows_of
from featx.errors import EngineError, TrainingError, WeightsError
from featx.recipe import Recipe

if TYPE_CHECKING:
    from featx.backbones.files.network_file import NetworkFile

#: Modules of Keras whose classes compute and do nothing else.
_PLAIN = (
    *("keras.layers.", "keras.models.", "keras.initializers.", "keras.regularizers.", "keras.constraints."),
    *("keras.activations.", "keras.ops.", "keras.dtype_policies.", "keras.quantizers.", "keras.random."),
    *("keras.src.layers.", "keras.src.models.", "keras.src.ops.", "builtins."),
    # With which networks within others were compiled; Keras builds them, and they are not used.
    *("keras.optimizers.", "keras.losses.", "keras.metrics."),
)
#: One that it has beside a network of its own, and that multiplies: of ConvNeXt.
_LAYER_SCALE = ("keras.src.applications.convnext", "LayerScale")
#: In what Keras says of a network in ``.h5``: the name of what it does not know.
_UNKNOWN = re.compile(r"Unknown [a-z ]+: '([^']+)'")
#: Precisions of Keras, and what is computed in their place.
_NO_OTHER = dict.fromkeys(("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"), "float32")
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
        raise WeightsError(_refusal(path, refused))
    try:
        with plain_settings(keras), warnings.catch_warnings():
            # Of how a network within was trained, which nobody needs.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return _in_float32(keras, keras.models.load_model(path, compile=False, safe_mode=True))
    except Exception as error:  # Keras raises many kinds for what it cannot read
        if unknown := _UNKNOWN.search(str(error)):
            raise WeightsError(_refusal(path, f"a layer or function {unknown[1]!r} that is not Keras's own")) from error
        raise WeightsError(
            f"The network {display_name(path)} cannot be loaded by Keras {keras.__version__} "
            f"({first_line(error)}). Save it "
            "anew with model.save('network.keras')."
        ) from error


def _refusal(path: Path, held: str) -> str:
    return (
        f"The network {display_name(path)} holds {held}, which could run anything on this machine, and is "
        f"refused. Save it "
        "without (Keras's own layers do the same), or export it to ONNX, which holds no code."
    )


def _in_float32(keras: Any, network: Any) -> Any:
    """Return a network that computes as its recipe says, whatever precision it was trained in.

    It is built anew: casts, and constants that layers made when they were built, have another precision within.
    """
    config = keras.saving.serialize_keras_object(network)
    wanted = _with_float32(config)
    if wanted == config:
        return network
    twin = keras.saving.deserialize_keras_object(wanted)
    if [one.path for one in twin.weights] != [one.path for one in network.weights]:
        raise ValueError("in float32 it has other weights")
    twin.set_weights([np.asarray(keras.ops.cast(one, "float32")) for one in network.weights])
    return twin


def _with_float32(config: Any) -> Any:
    """Return a description of a network whose numbers with a point are all float32; quantized layers as they are."""
    if isinstance(config, list | tuple):
        return type(config)(map(_with_float32, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {"name": _NO_OTHER.get(config["config"]["name"], config["config"]["name"])}}
    return {
        name: _NO_OTHER.get(value, value) if name == "dtype" and isinstance(value, str) else _with_float32(value)
        for name, value in config.items()
    }


def _config(path: Path) -> Any:
    """Return the description of a network in a file, by which Keras builds it."""
    try:
        if path.suffix == ".keras":  # as Keras decides what it is
            with zipfile.ZipFile(path) as packed:
                config = json.loads(packed.read("config.json"))
                # How it was trained, which Keras leaves out when it loads a network not to be compiled.
                return {**config, "compile_config": None}
        import h5py

        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{display_name(path)} holds no whole network of Keras ({first_line(error)}). If it holds weights "
            f"only, pass it "
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
    if isinstance(kind, str) and ">" in kind and not kind.startswith("keras>"):  # as .h5 has it
        registered = kind
    is_plain = module == "keras" or f"{module}.".startswith(_PLAIN) or (module, kind) == _LAYER_SCALE
    if isinstance(module, str) and not is_plain:
        return f"{kind!r} of the module {module!r}"
    if isinstance(registered, str) and ">" in registered and not registered.startswith("keras>"):
        return f"{kind!r} of the package {registered.split('>')[0]!r}"
    if (
        kind and registered and module is None and not registered.startswith("keras>")
    ):  # of a class that nobody registered
        return f"{kind!r}, which is not Keras's own"
    return ""


def describe(path: Path, size: tuple[int, int] | None) -> Found:
    """Return what is in a network, its layers at a size.

    Parameters
    ----------
    path : Path
    size : (int, int) or None
        Of the images, for a network that takes several; None is any of them.

    Raises
    ------
    WeightsError
        It cannot be loaded, or does not take images.
    OptionError
        It does not take images of this size.
    """
    network = load(path)
    height, width = _input_size(path, network)
    rows, tensors = _rows(network)
    fixed = (height, width) if height is not None and width is not None else None
    found = rows if fixed else _rows_of_size(path, size, network, rows, tensors)
    names = {id(tensor): name for name, tensor in tensors.items()}
    outputs, inputs = (getattr(network, name, None) or [] for name in ("outputs", "inputs"))
    others = [names[id(output)] for output in outputs[1:] if id(output) in names and output is not outputs[0]]
    rows_as_maps = [(name, kind, _as_map(shape), ends_block) for name, kind, shape, ends_block in found]
    return Found(fixed, rows[-1][0], rows_as_maps, str(inputs[0].dtype) if inputs else "float32", others)


def _as_map(shape: list[int]) -> list[int]:
    """Return a shape without the batch; a row of tokens is a map one wide."""
    return [shape[0], 1, shape[1]] if len(shape) == 2 else shape


def _rows_of_size(
    path: Path, size: tuple[int, int] | None, network: Any, rows: list[Row], tensors: dict[str, Any]
) -> list[Row]:
    """Return the layers of a network that takes several sizes."""
    keras = import_keras()
    names = [row[0] for row in rows if row[0] in tensors]
    shaped = keras.Model(network.inputs, [tensors[name] for name in names]) if tensors else network

    def rows_at(size: tuple[int, int]) -> list[Row]:
        try:
            shapes = shaped.compute_output_shape((None, *size, 3))
        except Exception:  # each layer has its own for sides that are too small
            return []
        shape_of = dict(zip(names, shapes, strict=True)) if tensors else {rows[0][0]: shapes}
        return [(name, kind, list(shape_of.get(name, [0])[1:]), ends) for name, kind, _, ends in rows]

    return rows_of_size(path, size, rows_at)


def _rows(network: Any) -> tuple[list[Row], dict[str, Any]]:
    """Return the layers of any ``keras.Model``, its output the last; and their tensors by name.

    Of one that is not built of layers there is its output only, and no tensor.
    """
    functional = as_functional(network)
    if functional is None:
        return [("output", type(network).__name__, list(network.output_shape[1:]), True)], {}
    network = functional
    rows, tensors = _within(network)
    output = network.outputs[0]
    last = [row for row in rows if tensors.get(row[0]) is output]
    if not last:
        tensors["output"] = output
        last = [("output", type(network).__name__, list(output.shape[1:]), True)]
    return [row for row in rows if row not in last] + last, tensors


def _within(network: Any) -> tuple[list[Row], dict[str, Any]]:
    """Return the layers of a functional network and their tensors; those of a network within it before itself."""
    nodes = nodes_of(network)
    rows: list[Row] = []
    tensors: dict[str, Any] = {}
    operations = network.operations
    passed = passed_by_all(network, operations)
    for row, operation, is_passed in zip(rows_of(network, operations), operations, passed, strict=True):
        calls = nodes.get(id(operation), [])
        inner = as_functional(operation)
        if inner is not None and len(calls) == 1:
            for name, kind, ends_block, tensor in _of_inner(inner, calls[0].arguments):
                tensors[f"{row[0]}/{name}"] = tensor
                rows.append((f"{row[0]}/{name}", kind, list(tensor.shape[1:]), ends_block and is_passed))
        found = [tensor for node in calls for tensor in node.output_tensors]
        if len(found) == 1:  # a layer that is used twice has no one output
            tensors[row[0]] = found[0]
        rows.append(row)
    return rows, tensors


def _of_inner(inner: Any, arguments: Any) -> list[tuple[str, str, bool, Any]]:
    """Return (name, class, whether it ends a block, tensor) of the layers of a network that another one calls."""
    rows, tensors = _within(inner)
    rows = [row for row in rows if row[1] != "InputLayer" and row[0] in tensors]
    taken = import_keras().Model(inner.inputs, [tensors[row[0]] for row in rows])
    outputs = taken(*arguments.args, **arguments.kwargs)
    return [(row[0], row[1], row[3], tensor) for row, tensor in zip(rows, outputs, strict=True)]


def _input_size(path: Path, network: Any) -> tuple[int | None, int | None]:
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
        raise WeightsError(
            f"The network {display_name(path)} takes {shape}: expected images of three channels, the last axis: "
            "(None, height, width, 3)."
        )
    return shape[1], shape[2]


def build_layers(network: NetworkFile, recipe: Recipe, names: list[str]) -> Any:
    """Return a ``keras.Model`` from uint8 pixels to the outputs of layers, by name."""
    keras = import_keras()
    with plain_settings(keras):
        return keras.Model(*_taken(keras, network, recipe, names))


def build(network: NetworkFile, recipe: Recipe) -> Any:
    """Return a ``keras.Model`` from uint8 pixels to the features of a recipe."""
    keras = import_keras()
    with plain_settings(keras):
        pixels, outputs = _taken(keras, network, recipe, recipe.layers)
        return keras.Model(pixels, pooled(keras, recipe, outputs))


def load_truncated(network: NetworkFile, recipe: Recipe) -> tuple[Any, Any, list[Any]]:
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
            f"The network {display_name(network.path)} is not built of layers, so no part of it can be trained. "
            f"Build it with "
            "keras.Model(inputs, outputs)."
        )
    flat = model._functional if isinstance(model, keras.Sequential) else model
    by_name = {row[0]: one for row, one in zip(rows_of(flat, flat.operations), flat.operations, strict=True)}
    cut = keras.Model(model.inputs, {name: _as_maps(keras, tensors[name]) for name in recipe.layers})
    return model, cut, [by_name.get(row[0]) for row in rows]


def _taken(keras: Any, network: NetworkFile, recipe: Recipe, names: list[str]) -> tuple[Any, dict[str, Any]]:
    model = load(Path(network.path))
    model.trainable = False
    pixels = keras.Input((*recipe.image_size, 3), dtype="uint8", name="pixels")
    steps = Preprocessing.from_text(recipe.preprocessing)
    prepared = keras.ops.cast(pixels, "float32")
    if steps.is_bgr:
        prepared = keras.ops.flip(prepared, axis=-1)
    prepared = (prepared - np.array(steps.mean, np.float32)) / np.array(steps.scale, np.float32)
    _, tensors = _rows(model)
    if not tensors:
        return pixels, {"output": _as_maps(keras, keras.ops.cast(model(prepared, training=False), "float32"))}
    for name in names:
        if name not in tensors:
            raise EngineError(
                f"{display_name(network.path)} has no layer {name!r} any more. Leave layer out, or choose another."
            )
    cut = keras.Model(model.inputs, {name: tensors[name] for name in names})
    outputs = cut(prepared, training=False)
    return pixels, {name: _as_maps(keras, keras.ops.cast(output, "float32")) for name, output in outputs.items()}


def _as_maps(keras: Any, output: Any) -> Any:
    """Return an output of tokens as maps that are one wide, as OpenVINO's side has them; any other as it is."""
    return keras.ops.expand_dims(output, 2) if len(output.shape) == 3 else output
