"""Small networks that Keras and ONNX write, their reference results, and their rows in featx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from featx import FeatureExtractor

Array = np.ndarray[Any, Any]
#: Height and width of the images, in pixels.
SIZE = 48


def build_network(size: int | None) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    pixels = keras.Input((size, size, 3))
    maps = layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(pixels)
    maps = layers.Conv2D(16, 3, strides=2, activation="relu", name="second")(maps)
    features = layers.Dense(5, name="head")(layers.GlobalAveragePooling2D(name="pooled")(maps))
    return keras.Model(pixels, features, name="small")


def save_onnx(path: Path, *, batch: int | str = "n", tokens: bool = False) -> None:
    """Write a network as the exporter of PyTorch does, with channels first."""
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    random = np.random.default_rng(0)
    arrays = {
        "w1": random.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32),
        "w2": random.normal(0, 0.2, (16, 8, 3, 3)).astype(np.float32),
        "w3": random.normal(0, 1, (16, 5)).astype(np.float32),
        "shape": np.array([0, 16, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "w1"], ["maps1"], strides=[2, 2], pads=[1, 1, 1, 1], name="conv1"),
        helper.make_node("Relu", ["maps1"], ["relu1"], name="relu1"),
        helper.make_node("Conv", ["relu1", "w2"], ["maps2"], strides=[2, 2], pads=[1, 1, 1, 1], name="conv2"),
        helper.make_node("Relu", ["maps2"], ["relu2"], name="relu2"),
    ]
    if tokens:
        nodes.append(helper.make_node("Reshape", ["relu2", "shape"], ["rows"], name="rows"))
        nodes.append(helper.make_node("Transpose", ["rows"], ["output"], perm=[0, 2, 1], name="tokens"))
    else:
        nodes.append(helper.make_node("GlobalAveragePool", ["relu2"], ["means"], name="means"))
        nodes.append(helper.make_node("Flatten", ["means"], ["flat"], name="flat"))
        nodes.append(helper.make_node("MatMul", ["flat", "w3"], ["output"], name="head"))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("pixels", float_, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output", float_, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def run_reference(path: Path, prepared: Array) -> Array:
    from onnx.reference import ReferenceEvaluator

    return np.asarray(ReferenceEvaluator(str(path)).run(None, {"pixels": prepared.transpose(0, 3, 1, 2)})[0])


def save_graph(
    path: Path,
    nodes: list[tuple[str, list[str], str, dict[str, Any]]],
    arrays: dict[str, Array],
    shape: tuple[int | str, ...] = ("n", 3, SIZE, SIZE),
) -> Any:
    """Write a network of nodes (operation, inputs, output, attributes), which are named by their outputs."""
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], name=output, **more) for kind, inputs, output, more in nodes],
        "graph",
        [helper.make_tensor_value_info("pixels", float_, shape)],
        [helper.make_tensor_value_info(nodes[-1][2], float_, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return model


def random_array(*shape: int) -> Array:
    return np.random.default_rng(0).normal(0, 0.2, shape).astype(np.float32)


CONV = ("Conv", ["pixels", "w"], "maps", {"strides": [4, 4]})


MEANS = ("ReduceMean", ["maps"], "means", {"axes": [2, 3], "keepdims": 0})


def save_small(path: Path, type_: str = "FLOAT", n_outputs: int = 1) -> None:
    """Write a network that returns the mean of each channel, with an input dtype and a number of outputs."""
    helper, proto = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=proto.FLOAT, name="numbers"),
        helper.make_node("ReduceMean", ["numbers"], ["out0"], axes=[2, 3], keepdims=0, name="out0"),
        *(helper.make_node("Relu", ["out0"], [f"out{number}"], name=f"out{number}") for number in range(1, n_outputs)),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("pixels", getattr(proto, type_), ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(f"out{number}", proto.FLOAT, ["n", 3]) for number in range(n_outputs)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def rows(path: Path | str, pixels: Array, **options: Any) -> Array:
    extractor = FeatureExtractor(path, **{"preprocessing": "tf", "precision": "float32", "cache": None, **options})
    return np.asarray(extractor.fit_transform(pixels))


class ModelWithCode:
    """Imitation of a ``keras.Model`` with custom code."""

    name, built = "mine", True

    def get_weights(self) -> list[Array]:
        return []

    def to_json(self) -> str:
        return "{}"

    def save(self, path: str) -> None:
        raise AssertionError("it is not to be kept")
