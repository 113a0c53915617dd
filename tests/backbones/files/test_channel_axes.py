from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from featx import load_backbone
from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions
from tests.backbones.networks import CONV, Array, random_array, rows, run_reference, save_graph, save_onnx


def test_channels_last_layers_are_pooled(tmp_path: Path, pixels: Array) -> None:
    arrays = {"w": random_array(12, 3, 4, 4), "v": random_array(12, 20)}
    nodes: list[Any] = [
        CONV,
        ("Transpose", ["maps"], "turned", {"perm": [0, 2, 3, 1]}),
        ("MatMul", ["turned", "v"], "mixed", {}),
        ("Relu", ["mixed"], "act", {}),
        ("ReduceMean", ["act"], "out", {"axes": [1, 2], "keepdims": 0}),
    ]
    save_graph(tmp_path / "a.onnx", nodes, arrays)
    expected = run_reference(tmp_path / "a.onnx", (pixels / 127.5 - 1).astype(np.float32))
    layers = {layer.name: layer.shape for layer in load_backbone(str(tmp_path / "a.onnx")).layers()}
    assert [layers[name] for name in ("maps", "turned", "act")] == [(12, 12, 12), (12, 12, 12), (12, 12, 20)]
    for layer in (None, "act"):
        np.testing.assert_allclose(rows(tmp_path / "a.onnx", pixels, layer=layer), expected, atol=1e-5)


def test_windows_tokens_and_heads(tmp_path: Path, pixels: Array) -> None:
    arrays = {
        **{"w": random_array(8, 3, 4, 4), "v": random_array(8, 8), "k": random_array(8, 8)},
        **{"cut": np.array([-1, 2, 6, 2, 6, 8]), "joined": np.array([-1, 12, 12, 8]), "flat": np.array([0, 8, 144])},
        "split": np.array([0, 144, 2, 4]),
    }
    nodes: list[Any] = [
        CONV,
        ("Transpose", ["maps"], "turned", {"perm": [0, 2, 3, 1]}),
        ("Reshape", ["turned", "cut"], "windows", {}),
        ("Transpose", ["windows"], "sorted", {"perm": [0, 1, 3, 2, 4, 5]}),
        ("MatMul", ["sorted", "v"], "mixed", {}),
        ("Transpose", ["mixed"], "unsorted", {"perm": [0, 1, 3, 2, 4, 5]}),
        ("Reshape", ["unsorted", "joined"], "whole", {}),
        ("Add", ["turned", "whole"], "sum", {}),
        ("Transpose", ["sum"], "first", {"perm": [0, 3, 1, 2]}),
        ("Reshape", ["first", "flat"], "flat_out", {}),
        ("Transpose", ["flat_out"], "tokens", {"perm": [0, 2, 1]}),
        ("MatMul", ["tokens", "k"], "keys", {}),
        ("Reshape", ["keys", "split"], "heads", {}),
        ("ReduceMean", ["heads"], "out", {"axes": [1], "keepdims": 0}),
        ("Flatten", ["out"], "features", {}),
    ]
    model = save_graph(tmp_path / "a.onnx", nodes, arrays)
    layers = {layer.name: layer.shape for layer in load_backbone(str(tmp_path / "a.onnx")).layers()}
    assert layers["sum"] == (12, 12, 8)
    assert layers["first"] == (12, 12, 8)
    assert layers["keys"] == layers["flat_out"] == (144, 1, 8)
    means = rows(tmp_path / "a.onnx", pixels, layer="sum+whole+flat_out+first").reshape(11, 4, 8)
    model.graph.output[0].name = "sum"
    onnx.save(model, tmp_path / "sum.onnx")
    expected = run_reference(tmp_path / "sum.onnx", (pixels / 127.5 - 1).astype(np.float32)).mean(axis=(1, 2))
    np.testing.assert_allclose(means[:, [0, 2, 3]], np.stack([expected] * 3, axis=1), atol=1e-5)
    with pytest.raises(OptionError, match="has no layer 'heads'"):
        rows(tmp_path / "a.onnx", pixels, layer="heads")


def test_relative_depth_without_blocks(tmp_path: Path, pixels: Array) -> None:
    save_graph(tmp_path / "a.onnx", [CONV, ("GlobalAveragePool", ["maps"], "out", {})], {"w": random_array(4, 3, 4, 4)})
    with pytest.raises(
        OptionError, match="relative depth 0.5: .* no layer that ends a block.*Pass a name or an index; 1.0 is the last"
    ):
        rows(tmp_path / "a.onnx", pixels, layer=0.5)
    np.testing.assert_array_equal(rows(tmp_path / "a.onnx", pixels, layer="1.0"), rows(tmp_path / "a.onnx", pixels))
    save_onnx(tmp_path / "head.onnx")
    assert ExtractionOptions(tmp_path / "head.onnx", preprocessing="tf", layer=1.0).layer_name == "output"
    assert ExtractionOptions(tmp_path / "head.onnx", preprocessing="tf", layer=0.99).layer_name == "relu2"


def test_ambiguous_layer_names(tmp_path: Path, pixels: Array) -> None:
    w, v = random_array(4, 3, 4, 4), random_array(5, 4, 1, 1)
    nodes: list[Any] = [
        CONV,
        ("Conv", ["maps", "v"], "1_0", {}),
        ("Relu", ["1_0"], "007", {}),
        ("Relu", ["007"], "1e-1", {}),
        ("ReduceMean", ["1e-1"], "a+b", {"axes": [2, 3], "keepdims": 0}),
    ]
    save_graph(tmp_path / "a.onnx", nodes, {"w": w, "v": v})
    assert rows(tmp_path / "a.onnx", pixels).shape == (11, 5)
    names = [
        ExtractionOptions(tmp_path / "a.onnx", preprocessing="tf", layer=layer).layer_name
        for layer in (None, "1_0", "007", "1e-1", "maps+007", "0+007")
    ]
    assert names == ["a%2Bb", "1_0", "007", "1e-1", "maps+007", "maps+007"]
    assert rows(tmp_path / "a.onnx", pixels, layer="a%2Bb+maps").shape == (11, 9)
    with pytest.raises(OptionError, match="has no layer '1_1'"):
        rows(tmp_path / "a.onnx", pixels, layer="1_1")
