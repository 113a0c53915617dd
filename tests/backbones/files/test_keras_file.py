from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import Recipe
from featx.backbones.files import keras_file
from featx.backbones.files.model_source import ModelSource
from featx.backbones.files.network_file import MODEL_FILE
from featx.backbones.layers import find_layers
from featx.backbones.openvino_import import import_openvino
from featx.backbones.preprocessing import parse_preprocessing
from featx.errors import UnknownBackboneError, WeightsError
from featx.extraction.engines.compile_worker import build_graph
from featx.extraction.engines.openvino import add_pooling
from featx.extraction.options import ExtractionOptions
from tests.backbones.networks import SIZE, Array, build_network, rows

TF = parse_preprocessing("tf")


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize("name", ["code.keras", "code.h5"])
def test_lambda_layer_is_refused(name: str, folder: Path, pixels: Array) -> None:
    with pytest.raises(
        WeightsError, match="contains a layer of the class Lambda, which could execute code.*export the network to ONNX"
    ):
        rows(folder / name, pixels)


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"module": "os", "class_name": "system"}, "'system' of the module 'os'"),
        ({"module": "keras.utils", "class_name": "get_file"}, "'get_file' of the module 'keras.utils'"),
        ({"module": None, "class_name": "Mine", "registered_name": "mine>Mine"}, "'Mine' of the package 'mine'"),
        ({"module": "keras.layers", "class_name": "TFSMLayer"}, "a layer of the class TFSMLayer"),
        ({"activation": {"class_name": "function", "config": "evil", "module": "builtins"}}, "the function 'evil'"),
        ({"activation": {"class_name": "__lambda__", "config": {"value": "x"}}}, "a lambda function"),
    ],
)
def test_code_in_configuration_is_refused(change: dict[str, Any], reason: str, folder: Path, tmp_path: Path) -> None:
    altered = tmp_path / "evil.keras"
    with zipfile.ZipFile(folder / "fixed.keras") as whole, zipfile.ZipFile(altered, "w") as packed:
        for name in whole.namelist():
            data = whole.read(name)
            if name == "config.json":
                config = json.loads(data)
                layer = config["config"]["layers"][1]
                (layer["config"] if "activation" in change else layer).update(change)
                data = json.dumps(config).encode()
            packed.writestr(name, data)
    with pytest.raises(WeightsError, match=f"contains {reason}"):
        keras_file.load(altered)


@pytest.mark.slow  # Keras writes the files
def test_polyglot_file_is_read_as_keras_reads_it(folder: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.h5"
    both.write_bytes((folder / "code.h5").read_bytes() + (folder / "fixed.keras").read_bytes())
    with pytest.raises(WeightsError, match="a layer of the class Lambda"):
        keras_file.load(both)


@pytest.mark.slow  # Keras in child processes
def test_file_without_network_is_refused(folder: Path, tmp_path: Path, pixels: Array) -> None:
    with pytest.raises(WeightsError, match="is not a whole Keras network.*pass it as weights"):
        rows(folder / "only.weights.h5", pixels)
    for name in ("a.keras", "a.h5", "a.onnx", "a.xml"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        (tmp_path / "a.bin").write_bytes(b"")
        with pytest.raises(
            WeightsError, match="is not a whole Keras network|is not a network in OpenVINO|Cannot read network"
        ):
            keras_file.load(tmp_path / name) if name in ("a.keras", "a.h5") else rows(tmp_path / name, pixels)
    with pytest.raises(
        UnknownBackboneError, match="Cannot read network .*absent.onnx': .*No such file.*featx backbones"
    ):
        rows(tmp_path / "absent.onnx", pixels)


def trained_network(size: int | None) -> Any:
    """Return a typical transfer model: compiled, around a network that was compiled, too."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inner = keras.Input((size, size, 3))
    maps = layers.ReLU(name="active")(layers.Conv2D(6, 3, strides=2, name="maps")(inner))
    base = keras.Model(inner, layers.Conv2D(7, 3, strides=2, name="last")(maps), name="base")
    base.compile("sgd", keras.losses.MeanSquaredError(), metrics=[keras.metrics.AUC()])
    network = keras.Sequential(
        [keras.Input((size, size, 3)), base, layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    network.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    return network


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize(
    ("size", "name"),
    [(SIZE, "a.keras"), *(pytest.param(None, name, marks=pytest.mark.thorough) for name in ("a.h5", None))],
)
@pytest.mark.thorough
def test_layers_of_nested_network(size: int | None, name: str | None, tmp_path: Path, pixels: Array) -> None:
    import keras

    prepared = pixels / 127.5 - 1
    network = trained_network(size)
    if name:
        network.save(tmp_path / name)
    options = {"image_size": SIZE, "engine": "openvino" if name else "keras"}
    given = tmp_path / name if name else network
    base = network.get_layer("base")
    within = keras.Model(base.input, base.get_layer("active").output).predict(prepared, verbose=0)
    assert ExtractionOptions(given, preprocessing="tf", image_size=SIZE, layer=0.9).layer_name == "base/active"
    last = network.layers[-1].name
    actual = rows(given, pixels, layer=["base/active", "base", last], **options)
    np.testing.assert_allclose(actual[:, :6], within.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(actual[:, 13:], network.predict(prepared, verbose=0), atol=1e-5)
    assert actual.shape == (11, 15)


@pytest.mark.slow  # Keras writes the files
def test_custom_loss_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    def compiled(config: dict[str, Any], evil: dict[str, Any]) -> None:
        config["compile_config"] = {"optimizer": "adam", "loss": evil}

    evil = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    for within in (False, True):
        network = trained_network(SIZE)
        network.save(tmp_path / "a.keras")
        with zipfile.ZipFile(tmp_path / "a.keras") as whole, zipfile.ZipFile(tmp_path / "b.keras", "w") as packed:
            for name in whole.namelist():
                data = whole.read(name)
                if name == "config.json":
                    config = json.loads(data)
                    compiled(config["config"]["layers"][1] if within else config, evil)
                    data = json.dumps(config).encode()
                packed.writestr(name, data)
        if within:
            with pytest.raises(WeightsError, match="contains the function 'system'"):
                keras_file.load(tmp_path / "b.keras")
        else:
            assert not keras_file.load(tmp_path / "b.keras").compiled


@pytest.mark.thorough  # Keras in child processes
def test_mixed_precision_is_computed_in_float32(tmp_path: Path, pixels: Array) -> None:
    import keras

    exact = build_network(SIZE)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = build_network(SIZE)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(exact.get_weights())
    mixed.save(tmp_path / "a.keras")
    assert mixed.get_layer("second").compute_dtype == "float16"
    taken = keras.Model(exact.input, [exact.get_layer("second").output, exact.output])
    maps, head = taken.predict(pixels / 127.5 - 1, verbose=0)
    for engine in ("openvino", "keras"):
        actual = rows(tmp_path / "a.keras", pixels, layer="second+head", engine=engine)
        np.testing.assert_allclose(actual, np.hstack([maps.mean(axis=(1, 2)), head]), atol=1e-5)


def rows_of_both_engines(path: Path, pixels: Array) -> list[Array]:
    """Return the rows of both engines, computed in this process."""
    description = keras_file.describe(path, None)
    assert description.fixed_image_size is not None
    recipe = Recipe(
        MODEL_FILE,
        "",
        description.fixed_image_size,
        description.layer,
        "avg",
        "squash",
        "float32",
        preprocessing=TF.text,
    )
    network = ModelSource.open(str(path))
    graph = build_graph(network.as_task(), recipe)
    compiled = (
        import_openvino()
        .Core()
        .compile_model(add_pooling(graph, recipe.layers, "avg"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    assert list(find_layers("net", description.layers, [description.layer])[0].shape)[-1] == graph.outputs[0].shape[-1]
    return [compiled([pixels[:8]])[0], keras_file.build_features(path, recipe).predict_on_batch(pixels[:8])]


@pytest.mark.slow  # Keras, in this process
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_internal_precision_is_float32(policy: str, tmp_path: Path, pixels: Array) -> None:
    import keras

    def build() -> Any:
        keras.utils.set_random_seed(0)
        layers, image = keras.layers, keras.Input((SIZE, SIZE, 3))
        maps = layers.Conv2D(4, 3, strides=3, kernel_initializer="ones")(image)
        maps = layers.Normalization(mean=[1.0] * 4, variance=[2.0] * 4)(maps)
        maps = keras.ops.cast(maps, keras.config.dtype_policy().compute_dtype) * 2
        return keras.Model(image, layers.GlobalAveragePooling2D()(maps))

    expected = build().predict(pixels[:8] / 127.5 - 1, verbose=0)
    keras.config.set_dtype_policy(policy)
    try:
        build().save(tmp_path / "a.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    for actual in rows_of_both_engines(tmp_path / "a.keras", pixels):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough  # Keras, in this process
def test_tokens_are_pooled_as_maps(tmp_path: Path, pixels: Array) -> None:
    import keras

    layers, image = keras.layers, keras.Input((SIZE, SIZE, 3))
    tokens = layers.Reshape((-1, 6))(layers.Conv2D(6, 16, strides=16)(image))
    network = keras.Model(image, layers.LayerNormalization(name="tokens")(tokens))
    network.save(tmp_path / "a.keras")
    expected = network.predict(pixels[:8] / 127.5 - 1, verbose=0).mean(axis=1)
    assert keras_file.describe(tmp_path / "a.keras", None).layers[-1].shape == (9, 1, 6)
    for actual in rows_of_both_engines(tmp_path / "a.keras", pixels):
        np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.slow  # Keras, in this process
def test_description_of_inputs_and_outputs(tmp_path: Path) -> None:
    import keras

    image = keras.Input((None, None, 3), dtype="uint8")
    maps = keras.layers.Conv2D(4, 3, name="maps")(keras.layers.Rescaling(1 / 255)(image))
    means = keras.layers.GlobalAveragePooling2D(name="means")(maps)
    keras.Model(image, [means, maps]).save(tmp_path / "a.keras")
    description = keras_file.describe(tmp_path / "a.keras", None)
    assert (description.input_dtype, description.layer, description.other_outputs) == ("uint8", "means", ("maps",))
