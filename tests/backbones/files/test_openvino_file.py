from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from featx import FeatureExtractor, load_backbone
from featx.backbones.files import openvino_file
from featx.errors import FeatxWarning, OptionError, WeightsError
from featx.extraction.options import ExtractionOptions
from tests.backbones.networks import (
    CONV,
    MEANS,
    SIZE,
    Array,
    random_array,
    rows,
    run_reference,
    save_graph,
    save_onnx,
    save_small,
)


@pytest.mark.parametrize(
    ("preprocessing", "prepare"),
    [
        ("torch", lambda p: (p / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("tf", lambda p: p / 127.5 - 1),
        ("caffe", lambda p: p[..., ::-1] - [103.939, 116.779, 123.68]),
        ("none", lambda p: p),
        ((0, 255), lambda p: p / 255),
        ("1,2,3/10,20,30", lambda p: (p - [1, 2, 3]) / [10, 20, 30]),
    ],
    ids=["torch", "tf", "caffe", "none", "numbers", "text"],
)
def test_onnx_rows_equal_reference(preprocessing: Any, prepare: Any, tmp_path: Path, pixels: Array) -> None:
    save_onnx(tmp_path / "a.onnx")
    expected = run_reference(tmp_path / "a.onnx", prepare(pixels.astype(np.float64)).astype(np.float32))
    actual = rows(tmp_path / "a.onnx", pixels, preprocessing=preprocessing)
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


def test_tokens_are_pooled_and_layers_keep_their_names(tmp_path: Path, pixels: Array) -> None:
    save_onnx(tmp_path / "tokens.onnx", tokens=True)
    tokens = run_reference(tmp_path / "tokens.onnx", (pixels / 127.5 - 1).astype(np.float32))
    np.testing.assert_allclose(rows(tmp_path / "tokens.onnx", pixels), tokens.mean(axis=1), atol=1e-5)
    actual = rows(tmp_path / "tokens.onnx", pixels, layer="relu2", pooling="max")
    np.testing.assert_allclose(actual, tokens.max(axis=1), atol=1e-5)
    layers = load_backbone(str(tmp_path / "tokens.onnx")).layers()
    assert [layer.name for layer in layers[:4]] == ["conv1", "relu1", "conv2", "relu2"]
    assert layers[3].shape == (12, 12, 16)


def test_dynamic_axes_mean_channels_first(tmp_path: Path, pixels: Array) -> None:
    save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    for axis, name in zip(model.graph.input[0].type.tensor_type.shape.dim, "nchw", strict=True):
        axis.dim_param = name
    onnx.save(model, tmp_path / "dynamic.onnx")
    actual = rows(tmp_path / "dynamic.onnx", pixels, image_size=SIZE)
    np.testing.assert_allclose(actual, rows(tmp_path / "a.onnx", pixels), atol=1e-5)


def test_layer_named_by_number(tmp_path: Path, pixels: Array) -> None:
    save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.node[1].name, model.graph.node[3].name = "7", "1"
    onnx.save(model, tmp_path / "a.onnx")
    assert rows(tmp_path / "a.onnx", pixels, layer="7").shape == (11, 8)
    assert rows(tmp_path / "a.onnx", pixels, layer=1).shape == (11, 16)


def test_empty_file_is_refused(tmp_path: Path, pixels: Array) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match="Cannot read network .* with OpenVINO|takes"):
        rows(tmp_path / "a.onnx", pixels)


def test_openvino_file_and_batch_of_one(tmp_path: Path, pixels: Array) -> None:
    import openvino

    save_onnx(tmp_path / "one.onnx", batch=1)
    openvino.save_model(openvino.Core().read_model(tmp_path / "one.onnx"), tmp_path / "one.xml", compress_to_fp16=False)
    prepared = (pixels / 127.5 - 1).astype(np.float32)
    expected = np.concatenate(
        [run_reference(tmp_path / "one.onnx", prepared[index : index + 1]) for index in range(len(pixels))]
    )
    for name in ("one.onnx", "one.xml"):
        np.testing.assert_allclose(rows(tmp_path / name, pixels), expected, atol=1e-5)


def save_onnx_with_positions(path: Path) -> None:
    """Write a network with dynamic sides that adds an embedding of the positions in images of 48 × 48 pixels."""
    arrays = {"w": random_array(4, 3, 4, 4), "positions": random_array(1, 4, 12, 12)}
    nodes = [CONV, ("Add", ["maps", "positions"], "sums", {}), ("ReduceMean", ["sums"], "out", {"axes": [2, 3]})]
    save_graph(path, nodes, arrays, ("n", 3, "h", "w"))


def test_dynamic_sides_with_one_accepted_size(tmp_path: Path, pixels: Array) -> None:
    save_onnx_with_positions(tmp_path / "a.onnx")
    expected = run_reference(tmp_path / "a.onnx", (pixels / 127.5 - 1).astype(np.float32))[:, :, 0, 0]
    actual = rows(tmp_path / "a.onnx", pixels, image_size=SIZE)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert rows(tmp_path / "a.onnx", pixels, image_size=SIZE, layer="maps").shape == (11, 4)
    with pytest.raises(OptionError, match="accepts images of any size. Pass for example image_size"):
        rows(tmp_path / "a.onnx", pixels)
    with pytest.raises(WeightsError, match="or set image_size .* that it was trained with"):
        rows(tmp_path / "a.onnx", pixels, image_size=64)
    with pytest.raises(OptionError, match="does not state its image size.*Set image_size"):
        load_backbone(str(tmp_path / "a.onnx")).n_features("avg")


def test_image_size_too_small(tmp_path: Path, pixels: Array) -> None:
    arrays = {"w": random_array(4, 3, 7, 7)}
    save_graph(tmp_path / "a.onnx", [CONV, MEANS], arrays, ("n", 3, "h", "w"))
    with pytest.raises(OptionError, match="does not accept images of 3 × 3 pixels, but accepts 224 × 224"):
        rows(tmp_path / "a.onnx", pixels, image_size=3)
    assert load_backbone(str(tmp_path / "a.onnx")).n_features("avg") == 4


@pytest.mark.parametrize("kind", ["reshaped", "whole"])
def test_dependence_on_batch_is_refused(kind: str, tmp_path: Path, pixels: Array) -> None:
    arrays = {"w": random_array(4, 3, 4, 4), "flat": np.array([1, 4, -1]), "back": np.array([-1, 4, 12, 12])}
    reshaped: list[Any] = [
        ("Reshape", ["maps", "flat"], "rows", {}),
        ("Softmax", ["rows"], "shares", {"axis": -1}),
        ("Reshape", ["shares", "back"], "again", {}),
        ("ReduceMax", ["again"], "out", {"axes": [2, 3], "keepdims": 0}),
    ]
    whole: list[Any] = [
        ("ReduceMean", ["maps"], "mean", {"axes": [0], "keepdims": 1}),
        ("Sub", ["maps", "mean"], "rest", {}),
        ("ReduceMax", ["rest"], "out", {"axes": [2, 3], "keepdims": 0}),
    ]
    shape = (1, 3, SIZE, SIZE) if kind == "reshaped" else ("n", 3, SIZE, SIZE)
    save_graph(tmp_path / "a.onnx", [CONV, *(reshaped if kind == "reshaped" else whole)], arrays, shape)
    with pytest.raises(WeightsError, match="depend on the other images of its batch.*dynamic batch axis"):
        rows(tmp_path / "a.onnx", pixels)


@pytest.mark.thorough  # tensorflow in child processes
def test_saved_model_of_tensorflow_hub(tmp_path: Path, pixels: Array) -> None:
    import tensorflow as tf

    class FeatureVector(tf.Module):  # type: ignore[misc]  # tensorflow has no types
        def __init__(self) -> None:
            super().__init__()
            self.first = tf.Variable(random_array(3, 3, 3, 8), trainable=True)
            self.second = tf.Variable(random_array(3, 3, 8, 5), trainable=True)

        @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)])
        def __call__(self, images: Any) -> Any:
            maps = tf.nn.relu(tf.nn.conv2d(images, self.first, 2, "SAME"), name="active")
            return {"default": tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(maps, self.second, 2, "SAME")), [1, 2])}

    module = FeatureVector()
    tf.saved_model.save(module, str(tmp_path / "hub"), signatures=module.__call__.get_concrete_function())
    expected = module(tf.constant(pixels / 255, tf.float32))["default"].numpy()
    actual = rows(tmp_path / "hub", pixels, preprocessing=(0, 255))
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    maps = tf.nn.relu(tf.nn.conv2d(tf.constant(pixels / 255, tf.float32), module.first, 2, "SAME")).numpy()
    layers = load_backbone(str(tmp_path / "hub")).layers()
    (active,) = (layer.name for layer in layers if layer.kind == "Relu" and layer.shape == (24, 24, 8))
    actual = rows(tmp_path / "hub", pixels, preprocessing=(0, 255), layer=active)
    np.testing.assert_allclose(actual, maps.mean(axis=(1, 2)), atol=1e-5)


def test_integer_input_is_checked_in_fit(tmp_path: Path, pixels: Array) -> None:
    save_small(tmp_path / "a.onnx", "UINT8")
    assert openvino_file.describe(tmp_path / "a.onnx", "onnx", None).input_dtype == "uint8"
    with pytest.raises(
        OptionError, match="must be integers from 0 to 255.*Set preprocessing .--preprocessing. to 'none'"
    ):
        FeatureExtractor(tmp_path / "a.onnx", preprocessing="tf").fit([])


def test_several_outputs_warn(tmp_path: Path) -> None:
    save_small(tmp_path / "a.onnx", n_outputs=3)
    assert openvino_file.describe(tmp_path / "a.onnx", "onnx", None).other_outputs == ("out1", "out2")
    with pytest.warns(FeatxWarning, match="has 3 outputs.* from the first, 'out0'.*layer.*'out1', 'out2'"):
        ExtractionOptions(tmp_path / "a.onnx", preprocessing="tf").resolve()
    ExtractionOptions(tmp_path / "a.onnx", preprocessing="tf", layer="out1").resolve()
