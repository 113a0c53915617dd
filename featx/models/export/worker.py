"""Child process that writes a network with a head to a file; it reads its task from standard input."""

from __future__ import annotations

import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.files import keras_file
from featx.backbones.files.model_source import ModelSource
from featx.backbones.keras.keras_import import import_keras
from featx.backbones.openvino_import import import_openvino
from featx.backbones.registry import KerasBackbone
from featx.errors import ExportError, missing_dependency
from featx.extraction.engines.compile_worker import build_graph, convert_keras_model
from featx.extraction.engines.openvino import add_pooling
from featx.models.head.head import Head
from featx.models.head.steps import (
    Affine,
    Normalize,
    NormalizeSum,
    OneVsOneVotes,
    RbfKernel,
    Sigmoid,
    Softmax,
    Step,
    TwoClasses,
)
from featx.recipe import Recipe
from featx.system.child_process import serve_task

#: Key of the metadata in the file.
KEY = "featx"


def export(task: dict[str, Any]) -> None:
    """Write the network to the ``file`` of a task, and its outputs for ``pixels.npy`` to ``outputs.npy``."""
    fields = task["recipe"]
    recipe = Recipe(**{**fields, "image_size": tuple(fields["image_size"])})
    folder = Path(task["folder"])
    with np.load(folder / "head.npz") as arrays:
        head = Head.from_arrays(task["head"], dict(arrays))
    pixels = np.load(folder / "pixels.npy")
    file = Path(task["file"])
    outputs = _WRITERS[task["format"]](task, recipe, head, file, pixels)
    np.save(folder / "outputs.npy", outputs)


def _keras_model(task: dict[str, Any], recipe: Recipe, head: Head) -> Any:
    """Return backbone and head as one ``keras.Model`` of pixels."""
    if "model_file" in task:
        model_file = ModelSource(**task["model_file"])
        if model_file.kind != "keras":
            raise ExportError(
                f"Cannot export {model_file.path!r} to {task['format']}: the network is not a Keras model. Export it "
                "to OpenVINO: pass the name of a folder (-o model/)."
            )
        network = keras_file.build_features(Path(model_file.path), recipe)
    elif "torch" in task:
        raise ExportError(
            f"Cannot export {task['torch']['name']['model']!r} to {task['format']}: the network is not a Keras model. "
            "Export it to OpenVINO: pass the name of a folder (-o model/)."
        )
    else:
        weights_path = Path(task["weights_path"]) if task["weights_path"] else None
        network = KerasBackbone(**task["backbone"]).build(recipe, weights_path)
    keras = import_keras()
    return keras.Model(network.input, apply_head(keras, network.output, head), name="featx_model")


def apply_head(keras: Any, features: Any, head: Head) -> Any:
    """Return the output of a head for a tensor of features, as Keras layers."""
    steps = [*head.scores, *(head.probabilities or ())]
    for step in steps:
        features = _apply_step(keras, features, step)
    return features


def _apply_step(keras: Any, rows: Any, step: Step) -> Any:  # noqa: PLR0911  # one case for each type of step
    layers, ops = keras.layers, keras.ops
    match step:
        case Affine(weights, bias) if weights.ndim == 1:
            return layers.Rescaling(weights.tolist(), bias.tolist())(rows)
        case Affine(weights, bias):
            return _dense(keras, rows, weights, bias)
        case Normalize():
            return layers.UnitNormalization()(rows)
        case RbfKernel(vectors, gamma):
            # ‖x − v‖² = ‖x‖² − 2 x·v + ‖v‖²
            distances = _dense(keras, rows, -2 * vectors.T, (vectors * vectors).sum(axis=1))
            distances = layers.ReLU()(layers.Add()([distances, layers.Dot(axes=1)([rows, rows])]))
            return layers.Activation("exponential")(layers.Rescaling(-gamma)(distances))
        case OneVsOneVotes():
            first, second = step.pairs()
            is_first = layers.Rescaling(0.5, 0.5)(ops.sign(rows))
            votes = _dense(keras, is_first, first - second, second.sum(axis=0))
            sums = _dense(keras, rows, first - second, np.zeros(step.n_classes))
            return layers.Add()([votes, layers.Rescaling(1 / 3)(layers.Activation("softsign")(sums))])
        case Softmax():
            return layers.Softmax()(rows)
        case Sigmoid():
            return layers.Activation("sigmoid")(rows)
        case TwoClasses():
            return _dense(keras, rows, np.array([[-1.0, 1.0]]), np.array([1.0, 0.0]))
        case NormalizeSum():
            return ops.divide(rows, ops.maximum(ops.sum(rows, axis=-1, keepdims=True), 1e-30))
    raise TypeError(step)


def _dense(keras: Any, rows: Any, weights: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]) -> Any:
    layer = keras.layers.Dense(weights.shape[1])
    output = layer(rows)
    layer.set_weights([weights.astype(np.float32), bias.astype(np.float32)])
    return output


def _write_keras(task: dict[str, Any], recipe: Recipe, head: Head, file: Path, pixels: Any) -> Any:
    model = _keras_model(task, recipe, head)
    model.save(file)
    with zipfile.ZipFile(file, "a") as archive:  # Keras has no metadata, and ignores other files
        archive.writestr(f"{KEY}.json", task["metadata"])
    return import_keras().models.load_model(file, compile=False).predict(pixels, verbose=0)


def _write_onnx(task: dict[str, Any], recipe: Recipe, head: Head, file: Path, pixels: Any) -> Any:
    try:
        import onnx
        import tf2onnx  # noqa: F401  # Keras's export needs it
    except ImportError as error:
        raise missing_dependency("Export to ONNX", str(error.name), "'featx[onnx]'") from error
    model = _keras_model(task, recipe, head)
    model(pixels[:1])  # Keras exports only models that were called
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx uses deprecated functions of numpy
        model.export(file, format="onnx", verbose=False)
    written = onnx.load(file)
    _rename(written, "pixels", "probabilities" if head.probabilities is not None else "scores")
    entry = written.metadata_props.add()
    entry.key, entry.value = KEY, task["metadata"]
    onnx.save(written, file)
    return _run_by_openvino(file, pixels)


def _rename(model: Any, pixels: str, output: str) -> None:
    """Rename the input and the output of an ONNX model, and make the number of images dynamic."""
    new_names = {model.graph.input[0].name: pixels, model.graph.output[0].name: output}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new_names.get(name, name)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.name = new_names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "n"


def _write_openvino(task: dict[str, Any], recipe: Recipe, head: Head, file: Path, pixels: Any) -> Any:
    openvino, keras = import_openvino(), import_keras()
    converted = Path(task["folder"]) / "network.xml"  # a network of torch
    graph = openvino.Core().read_model(converted) if converted.is_file() else build_graph(task, recipe)
    network = add_pooling(graph, recipe.layers, recipe.pooling)
    row = network.outputs[0].get_node().input_value(0)
    features = keras.Input((row.shape[-1],), name="features")
    head_model = convert_keras_model(keras.Model(features, apply_head(keras, features, head)))
    for reader in head_model.inputs[0].get_node().output(0).get_target_inputs():
        reader.replace_source_output(row)
    model = openvino.Model(head_model.get_results(), network.get_parameters(), "featx_model")
    model.outputs[0].get_tensor().set_names({"probabilities" if head.probabilities is not None else "scores"})
    model.reshape([-1, *recipe.image_size, 3])
    model.set_rt_info(task["metadata"], [KEY])
    openvino.save_model(model, file, compress_to_fp16=False)
    return _run_by_openvino(file, pixels)


def _run_by_openvino(file: Path, pixels: Any) -> Any:
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([pixels])[0]


_WRITERS = {"keras": _write_keras, "onnx": _write_onnx, "openvino": _write_openvino}
FORMATS: Sequence[str] = tuple(_WRITERS)


if __name__ == "__main__":
    sys.exit(serve_task(export))
