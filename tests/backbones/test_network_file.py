"""Networks in files that Keras and ONNX really wrote, against Keras and ONNX's own reference."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import json
import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from featx import FeatureExtractor, Recipe, load_backbone
from featx.backbones import registry as backbones
from featx.backbones.files import keras_file as keras_files
from featx.backbones.files import model_cache as kept_models
from featx.backbones.files import network_file as own
from featx.backbones.files import openvino_file as own_graphs
from featx.backbones.files.network_file import as_backbone_name, open_network_file
from featx.backbones.layers import as_layers, find_layers
from featx.backbones.openvino_import import import_openvino
from featx.backbones.preprocessing import (
    Preprocessing,
    check_integer_input,
    format_preprocessing,
    missing_preprocessing_error,
    parse_preprocessing,
    warn_extreme_pixels,
)
from featx.cli import main as cli
from featx.errors import (
    EngineError,
    FeatxWarning,
    MissingDependencyError,
    OptionError,
    RecipeMismatchError,
    UnknownBackboneError,
    WeightsError,
)
from featx.extraction.cache import CacheSummary, describe_recipe, find_recipes
from featx.extraction.engines import compile_worker as conversion
from featx.extraction.engines import openvino as openvino_engine
from featx.extraction.engines.compile import Graph
from featx.extraction.engines.engine import has_native_bfloat16
from featx.extraction.options import ExtractionOptions
from featx.store.info import CacheInfo, RecipeInfo
from featx.workflows.networks import as_extraction_options, backbone_names

onnx = pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
SIZE = 48
TF = parse_preprocessing("tf")


def _build(size: int | None) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    pixels = keras.Input((size, size, 3))
    maps = layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(pixels)
    maps = layers.Conv2D(16, 3, strides=2, activation="relu", name="second")(maps)
    features = layers.Dense(5, name="head")(layers.GlobalAveragePooling2D(name="pooled")(maps))
    return keras.Model(pixels, features, name="small")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network in each of Keras's formats, and as OpenVINO writes it."""
    import keras

    folder = tmp_path_factory.mktemp("own")
    network = _build(SIZE)
    network.save(folder / "fixed.keras")
    network.save(folder / "fixed.h5")
    network.export(folder / "saved", verbose=False)
    _build(None).save(folder / "any.keras")
    image = keras.Input((SIZE, SIZE, 3))
    doubled = keras.layers.Lambda(lambda pixels: pixels * 2)(image)
    with_code = keras.Model(image, keras.layers.GlobalAveragePooling2D()(doubled))
    for name in ("code.keras", "code.h5"):
        with_code.save(folder / name)
    network.save_weights(folder / "only.weights.h5")
    return folder


@pytest.fixture(scope="module")
def pixels() -> Array:
    return np.random.default_rng(0).integers(0, 256, (11, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def outputs(folder: Path, pixels: Array) -> dict[str, Array]:
    """What plain Keras gives, of pixels from −1 to 1."""
    import keras

    network = keras.models.load_model(folder / "fixed.keras")
    prepared = pixels.astype("float32") / 127.5 - 1
    taken = keras.Model(network.input, {name: network.get_layer(name).output for name in ("first", "second", "head")})
    return dict(taken.predict(prepared, verbose=0))


def rows(path: Path | str, pixels: Array, **options: Any) -> Array:
    extractor = FeatureExtractor(path, **{"preprocessing": "tf", "precision": "float32", "cache": None, **options})
    return np.asarray(extractor.fit_transform(pixels))


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize("engine", ["openvino", pytest.param("keras", marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    "name",
    [
        "fixed.keras",
        "saved",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("fixed.h5", "any.keras")),
    ],
)
def test_a_file_gives_the_rows_of_its_network(
    name: str, engine: str, folder: Path, pixels: Array, outputs: dict[str, Array]
) -> None:
    size = {"image_size": SIZE} if name == "any.keras" else {}
    if name == "saved" and engine == "keras":
        with pytest.raises(OptionError, match="engine='keras' cannot run"):
            rows(folder / name, pixels, engine=engine)
        return
    np.testing.assert_allclose(rows(folder / name, pixels, engine=engine, **size), outputs["head"], atol=1e-5)


@pytest.mark.slow  # Keras in child processes
def test_layers_of_a_file_are_taken_and_pooled(folder: Path, pixels: Array, outputs: dict[str, Array]) -> None:
    for layer, pooling, expected in (
        ("second", "max", outputs["second"].max(axis=(1, 2))),
        ("first+head", "avg", np.hstack([outputs["first"].mean(axis=(1, 2)), outputs["head"]])),
        (1, "avg", outputs["first"].mean(axis=(1, 2))),
    ):
        found = rows(folder / "fixed.keras", pixels, layer=layer, pooling=pooling)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    names = FeatureExtractor(folder / "fixed.keras", preprocessing="tf", layer="second").get_feature_names_out()
    assert names[-1] == "fixed_second_15"


@pytest.mark.thorough  # Keras in child processes
def test_a_network_of_any_size_is_asked_for_one(folder: Path, pixels: Array) -> None:
    with pytest.raises(OptionError, match="images of any size. Say which: image_size=224"):
        rows(folder / "any.keras", pixels)
    assert rows(folder / "any.keras", pixels, image_size=(40, 60)).shape == (11, 5)
    wide = ExtractionOptions(
        folder / "any.keras", preprocessing="tf", image_size=(40, 60), layer="first", pooling="none"
    )
    assert wide.n_features == 19 * 29 * 8
    with pytest.raises(OptionError, match="takes images of 48 × 48 pixels only. Leave it out"):
        rows(folder / "fixed.keras", pixels, image_size=64)


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize("name", ["code.keras", "code.h5"])
def test_code_in_a_file_is_refused_with_the_reason(name: str, folder: Path) -> None:
    with pytest.raises(
        WeightsError, match="holds a layer of the kind Lambda, which could run anything.*export it to ONNX"
    ):
        rows(folder / name, pixels)


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"module": "os", "class_name": "system"}, "'system' of the module 'os'"),
        ({"module": "keras.utils", "class_name": "get_file"}, "'get_file' of the module 'keras.utils'"),
        ({"module": None, "class_name": "Mine", "registered_name": "mine>Mine"}, "'Mine' of the package 'mine'"),
        ({"module": "keras.layers", "class_name": "TFSMLayer"}, "a layer of the kind TFSMLayer"),
        ({"activation": {"class_name": "function", "config": "evil", "module": "builtins"}}, "the function 'evil'"),
        ({"activation": {"class_name": "__lambda__", "config": {"value": "x"}}}, "a lambda function"),
    ],
)
def test_a_file_that_names_code_is_refused(change: dict[str, Any], reason: str, folder: Path, tmp_path: Path) -> None:
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
    with pytest.raises(WeightsError, match=f"holds {reason}"):
        keras_files.load(altered)


@pytest.mark.slow  # Keras writes the files
def test_a_file_that_is_two_things_is_what_keras_takes_it_for(folder: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.h5"
    both.write_bytes((folder / "code.h5").read_bytes() + (folder / "fixed.keras").read_bytes())
    with pytest.raises(WeightsError, match="a layer of the kind Lambda"):
        keras_files.load(both)


@pytest.mark.slow  # Keras in child processes
def test_what_holds_no_network_is_told(folder: Path, tmp_path: Path, pixels: Array) -> None:
    with pytest.raises(WeightsError, match="holds no whole network.*pass it as weights beside the name"):
        rows(folder / "only.weights.h5", pixels)
    for name in ("a.keras", "a.h5", "a.onnx", "a.xml"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        (tmp_path / "a.bin").write_bytes(b"")
        with pytest.raises(WeightsError, match="holds no whole network|cannot be read by OpenVINO"):
            keras_files.load(tmp_path / name) if name in ("a.keras", "a.h5") else rows(tmp_path / name, pixels)
    with pytest.raises(UnknownBackboneError, match="absent.onnx' cannot be read: .*No such file.*featx backbones"):
        rows(tmp_path / "absent.onnx", pixels)


@pytest.mark.thorough  # Keras in child processes
def test_a_network_is_known_by_what_it_holds_wherever_it_lies(folder: Path, tmp_path: Path, pixels: Array) -> None:
    cache = tmp_path / "cache"
    for name in ("fixed.keras", "saved"):
        first = rows(folder / name, pixels, cache=cache)
        copy = shutil.copytree if name == "saved" else shutil.copy
        moved = Path(copy(folder / name, tmp_path / f"moved{Path(name).suffix}"))
        resolved = [ExtractionOptions(at, preprocessing="tf").resolve().recipe for at in (folder / name, moved)]
        assert resolved[0].fingerprint == resolved[1].fingerprint
        np.testing.assert_array_equal(rows(moved, pixels, cache=cache), first)
    other = ExtractionOptions(folder / "fixed.keras", preprocessing="none").resolve().recipe
    assert other.fingerprint != resolved[0].fingerprint
    (moved / "assets").mkdir(exist_ok=True)
    (moved / "assets" / "words.txt").write_text("more")
    assert ExtractionOptions(moved, preprocessing="tf").resolve().recipe.weights != resolved[1].weights


@pytest.mark.slow  # Keras in child processes
def test_an_object_of_keras_is_a_backbone(pixels: Array, outputs: dict[str, Array], tmp_path: Path) -> None:
    network = _build(SIZE)
    extractor = FeatureExtractor(network, preprocessing="tf", precision="float32", cache=tmp_path / "cache")
    np.testing.assert_allclose(extractor.fit_transform(pixels), outputs["head"], atol=1e-5)
    assert list(extractor.get_feature_names_out()[:1]) == ["small_0"]
    kept = as_backbone_name(network)
    assert as_backbone_name(clone(extractor).backbone) == kept
    digest = load_backbone(kept).digest
    Path(kept).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="Pass the object once more"):
        load_backbone(kept)
    damaged, kept = kept, as_backbone_name(network)
    assert not Path(damaged).exists()
    assert zipfile.is_zipfile(kept)
    assert load_backbone(kept).digest == digest
    network.compile("sgd", "mse")
    assert as_backbone_name(network) == kept
    network.layers[1].set_weights([value + 1 for value in network.layers[1].get_weights()])
    os.utime(Path(kept).parents[1], (0, 0))  # last used half a century ago
    assert as_backbone_name(network) != kept
    assert not Path(kept).exists()
    with pytest.raises(RecipeMismatchError, match="weights"):  # it is not what was fitted any more
        extractor.transform(pixels)


@pytest.mark.thorough  # Keras builds and writes networks
def test_an_object_that_several_threads_keep_at_once_is_one_network() -> None:
    for seed in range(3):
        network = _build(SIZE)
        network.layers[1].bias.assign(np.full(8, seed))
        with ThreadPoolExecutor(4) as pool:
            kept = [one.result() for one in [pool.submit(as_backbone_name, network) for _ in range(4)]]
        assert len({load_backbone(path).digest for path in kept}) == 1


@pytest.mark.thorough  # Keras in child processes
def test_networks_that_differ_in_wiring_only_are_different(pixels: Array) -> None:
    import keras

    def build(second: int) -> Any:
        keras.utils.set_random_seed(0)
        image = keras.Input((SIZE, SIZE, 3), name="image")
        parts = [keras.layers.Conv2D(4, 3, name=f"b_{number}")(image) for number in (1, 2, 3)]
        joined = keras.layers.Add(name="joined")([parts[2], parts[second]])
        return keras.Model(image, keras.layers.GlobalAveragePooling2D(name="means")(joined), name="net")

    found = [rows(build(second), pixels[:2]) for second in (0, 1)]
    expected = [build(second).predict(pixels[:2] / 127.5 - 1, verbose=0) for second in (0, 1)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in [
                ("operation", None),
                ("nested", None),
                ("nested", SIZE),
                *itertools.product(["shared", "sequential"], [SIZE, None]),
            ]
        ),
    ],
)
def test_the_output_is_the_network_s_own_whatever_comes_last(
    kind: str, size: int | None, tmp_path: Path, pixels: Array
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((size, size, 3))
    maps = layers.Conv2D(4, 3, name="first")(image)
    if kind == "operation":
        features = keras.ops.normalize(layers.GlobalAveragePooling2D()(maps), axis=-1)
    elif kind == "shared":
        relu = layers.ReLU(name="twice")
        features = layers.GlobalAveragePooling2D()(relu(layers.Conv2D(4, 3)(relu(maps))))
    elif kind == "nested":
        inner = keras.Input((size, size, 3))
        base = keras.Model(inner, layers.Conv2D(5, 3, strides=2)(inner), name="base")
        features = layers.GlobalAveragePooling2D()(base(image))
    network = (
        keras.Sequential([keras.Input((size, size, 3)), layers.Conv2D(4, 3, name="one"), layers.GlobalMaxPooling2D()])
        if kind == "sequential"
        else keras.Model(image, features)
    )
    network.save(tmp_path / "net.keras")
    expected = network.predict(pixels / 127.5 - 1, verbose=0)
    options = {"image_size": SIZE} if size is None else {}
    for engine in ("openvino", "keras"):
        np.testing.assert_allclose(rows(tmp_path / "net.keras", pixels, engine=engine, **options), expected, atol=1e-5)
    if kind == "nested":
        assert rows(tmp_path / "net.keras", pixels, layer="base", **options).shape == (11, 5)
    if kind == "sequential":
        assert rows(tmp_path / "net.keras", pixels, layer="one", **options).shape == (11, 4)


def _save_onnx(path: Path, *, batch: int | str = "n", tokens: bool = False) -> None:
    """A network as PyTorch's exporter writes them: channels first."""
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


def _reference(path: Path, prepared: Array) -> Array:
    from onnx.reference import ReferenceEvaluator

    return np.asarray(ReferenceEvaluator(str(path)).run(None, {"pixels": prepared.transpose(0, 3, 1, 2)})[0])


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
def test_an_onnx_file_gives_the_rows_of_its_network(
    preprocessing: Any, prepare: Any, tmp_path: Path, pixels: Array
) -> None:
    _save_onnx(tmp_path / "a.onnx")
    expected = _reference(tmp_path / "a.onnx", prepare(pixels.astype(np.float64)).astype(np.float32))
    found = rows(tmp_path / "a.onnx", pixels, preprocessing=preprocessing)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_tokens_are_pooled_like_positions_and_layers_have_onnx_s_names(tmp_path: Path, pixels: Array) -> None:
    _save_onnx(tmp_path / "tokens.onnx", tokens=True)
    tokens = _reference(tmp_path / "tokens.onnx", (pixels / 127.5 - 1).astype(np.float32))
    np.testing.assert_allclose(rows(tmp_path / "tokens.onnx", pixels), tokens.mean(axis=1), atol=1e-5)
    found = rows(tmp_path / "tokens.onnx", pixels, layer="relu2", pooling="max")
    np.testing.assert_allclose(found, tokens.max(axis=1), atol=1e-5)
    layers = backbones.load_backbone(str(tmp_path / "tokens.onnx")).layers()
    assert [layer.name for layer in layers[:4]] == ["conv1", "relu1", "conv2", "relu2"]
    assert layers[3].shape == (12, 12, 16)


def test_weights_in_files_beside_an_onnx_file_belong_to_it(tmp_path: Path, pixels: Array) -> None:
    _save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    (tmp_path / "out").mkdir()
    external = {"save_as_external_data": True, "size_threshold": 100, "convert_attribute": False}
    onnx.save(model, tmp_path / "out" / "a.onnx", location=f"{'a' * 150}.data", **external)
    first = rows(tmp_path / "out" / "a.onnx", pixels)
    np.testing.assert_allclose(first, rows(tmp_path / "a.onnx", pixels), atol=1e-5)
    data = np.fromfile(tmp_path / "out" / f"{'a' * 150}.data", dtype=np.float32)
    (data * 2).tofile(tmp_path / "out" / f"{'a' * 150}.data")
    assert np.abs(rows(tmp_path / "out" / "a.onnx", pixels) - first).max() > 0.1
    (tmp_path / "out" / f"{'a' * 150}.data").unlink()
    with pytest.raises(
        UnknownBackboneError, match=r"without 'a+\.data', which holds its weights: No such file.*Put it"
    ):
        rows(tmp_path / "out" / "a.onnx", pixels)


def test_a_file_that_says_nothing_of_its_axes_has_channels_first(tmp_path: Path, pixels: Array) -> None:
    _save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    for axis, name in zip(model.graph.input[0].type.tensor_type.shape.dim, "nchw", strict=True):
        axis.dim_param = name
    onnx.save(model, tmp_path / "dynamic.onnx")
    found = rows(tmp_path / "dynamic.onnx", pixels, image_size=SIZE)
    np.testing.assert_allclose(found, rows(tmp_path / "a.onnx", pixels), atol=1e-5)


def test_a_layer_with_a_number_for_a_name_is_that_layer(tmp_path: Path, pixels: Array) -> None:
    _save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.node[1].name, model.graph.node[3].name = "7", "1"
    onnx.save(model, tmp_path / "a.onnx")
    assert rows(tmp_path / "a.onnx", pixels, layer="7").shape == (11, 8)
    assert rows(tmp_path / "a.onnx", pixels, layer=1).shape == (11, 16)


def test_an_empty_file_is_told(tmp_path: Path, pixels: Array) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be read by OpenVINO|takes"):
        rows(tmp_path / "a.onnx", pixels)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.onnx")
    with pytest.raises(UnknownBackboneError, match="not a regular file"):
        backbones.load_backbone(str(tmp_path / "a.onnx"))


def test_a_process_without_a_home_only_keeps_nothing(tmp_path: Path, pixels: Array, python: Any) -> None:
    _save_onnx(tmp_path / "a.onnx")
    code = (
        "import pathlib, sys\n"
        "def nowhere(*args): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = nowhere\n"
        "from featx.backbones import registry as backbones\n"
        "print(backbones.load_backbone(sys.argv[1]).n_features('avg'), "
        "backbones.load_backbone('vgg16').has_local_weights)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "KERAS_HOME")}
    assert python(code, str(tmp_path / "a.onnx"), env=environment).stdout == "5 False\n"


def test_a_file_and_a_network_by_name_are_compared(
    tmp_path: Path, photo_folder: Path, counting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _save_onnx(tmp_path / "a.onnx")
    both = ["--backbone", "counting", "--backbone", str(tmp_path / "a.onnx"), "--preprocessing", "torch"]
    assert cli.main(["compare", str(photo_folder), *both, "--estimator", "centroid", "--quiet"]) == 0
    assert capsys.readouterr().out.count("centroid") >= 2
    assert cli.main(["benchmark", "--backbone", str(tmp_path / "a.onnx")]) == 1
    assert "must be from keras.applications" in capsys.readouterr().err


def test_a_file_of_openvino_and_one_for_a_single_image(tmp_path: Path, pixels: Array) -> None:
    import openvino

    _save_onnx(tmp_path / "one.onnx", batch=1)
    openvino.save_model(openvino.Core().read_model(tmp_path / "one.onnx"), tmp_path / "one.xml", compress_to_fp16=False)
    prepared = (pixels / 127.5 - 1).astype(np.float32)
    expected = np.concatenate([_reference(tmp_path / "one.onnx", prepared[at : at + 1]) for at in range(len(pixels))])
    for name in ("one.onnx", "one.xml"):
        np.testing.assert_allclose(rows(tmp_path / name, pixels), expected, atol=1e-5)


def test_how_pixels_are_wanted_must_be_said_and_only_of_one_s_own(tmp_path: Path, pixels: Array) -> None:
    _save_onnx(tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="How does .*a.onnx' want its pixels.*'torch' .timm"):
        rows(tmp_path / "a.onnx", pixels, preprocessing=None)
    with pytest.raises(OptionError, match="'mobilenet' knows how it wants its pixels"):
        rows("mobilenet", pixels)
    with pytest.raises(OptionError, match="which holds its own. Leave weights out"):
        rows(tmp_path / "a.onnx", pixels, weights=tmp_path / "w.h5")


@pytest.mark.parametrize(
    "wrong", ["tff", "1/0", "1,2/3", (1,), (1, 2, 3), ((1, 2), 3), ("a", "b"), (0, float("nan")), 7]
)
def test_preprocessing_that_means_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(OptionError, match="expected 'tf' .*'caffe', 'none'"):
        parse_preprocessing(wrong)


@pytest.mark.parametrize(
    "given",
    ["tf", "torch", "caffe", "none", (0.5, (1, 2, 3)), "1/2", (1 / 3, 65535.12345), (np.ones(3), np.float32(2))],
    ids=["tf", "torch", "caffe", "none", "numbers", "text", "digits", "numpy"],
)
def test_preprocessing_survives_as_text(given: Any) -> None:
    wanted = parse_preprocessing(given)
    assert Preprocessing.from_text(wanted.text) == wanted


def test_the_command_line_takes_a_file(
    tmp_path: Path, photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _save_onnx(tmp_path / "a.onnx")
    command = ["extract", str(photo_folder), "--backbone", str(tmp_path / "a.onnx"), "--quiet"]
    assert cli.main([*command, "--preprocessing", "torch", "--layer", "relu1"]) == 0
    assert np.load("features.npy").shape == (24, 8)
    assert cli.main(command) == 1
    assert "Pass preprocessing (--preprocessing)" in capsys.readouterr().err
    assert cli.main(["backbones", str(tmp_path / "a.onnx"), "--layers"]) == 0
    assert "relu2" in capsys.readouterr().out
    assert cli.main(["cache", "info", "--backbone", str(tmp_path / "a.onnx"), "--json"]) == 0
    assert [one["rows"] for one in json.loads(capsys.readouterr().out)["recipes"]] == [24]
    _save_onnx(tmp_path / "b.onnx", tokens=True)
    assert cli.main(["cache", "clear", "--backbone", str(tmp_path / "b.onnx")]) == 1
    assert "has no rows of backbone" in capsys.readouterr().err


def _save_graph(
    path: Path,
    nodes: list[tuple[str, list[str], str, dict[str, Any]]],
    arrays: dict[str, Array],
    shape: tuple[int | str, ...] = ("n", 3, SIZE, SIZE),
) -> Any:
    """Write nodes of (operation, inputs, output, attributes), named by their outputs, from ``pixels`` to the last."""
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


def _weights(*shape: int) -> Array:
    return np.random.default_rng(0).normal(0, 0.2, shape).astype(np.float32)


_CONV = ("Conv", ["pixels", "w"], "maps", {"strides": [4, 4]})
_MEANS = ("ReduceMean", ["maps"], "means", {"axes": [2, 3], "keepdims": 0})


def _with_positions(path: Path) -> None:
    """A network that says nothing of its sides, and adds what it learned of the positions of images of 48 × 48."""
    arrays = {"w": _weights(4, 3, 4, 4), "positions": _weights(1, 4, 12, 12)}
    nodes = [_CONV, ("Add", ["maps", "positions"], "sums", {}), ("ReduceMean", ["sums"], "out", {"axes": [2, 3]})]
    _save_graph(path, nodes, arrays, ("n", 3, "h", "w"))


def test_a_file_of_dynamic_sides_that_takes_one_size_is_shown_that_size(tmp_path: Path, pixels: Array) -> None:
    _with_positions(tmp_path / "a.onnx")
    expected = _reference(tmp_path / "a.onnx", (pixels / 127.5 - 1).astype(np.float32))[:, :, 0, 0]
    found = rows(tmp_path / "a.onnx", pixels, image_size=SIZE)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert rows(tmp_path / "a.onnx", pixels, image_size=SIZE, layer="maps").shape == (11, 4)
    with pytest.raises(OptionError, match="Say which: image_size=224"):
        rows(tmp_path / "a.onnx", pixels)
    with pytest.raises(WeightsError, match="or pass the image_size that it was made for"):
        rows(tmp_path / "a.onnx", pixels, image_size=64)
    with pytest.raises(OptionError, match="a size that its file does not say.*Pass the image_size"):
        backbones.load_backbone(str(tmp_path / "a.onnx")).n_features("avg")


def test_too_small_a_size_is_told_from_a_file_that_takes_none(tmp_path: Path, pixels: Array) -> None:
    arrays = {"w": _weights(4, 3, 7, 7)}
    _save_graph(tmp_path / "a.onnx", [_CONV, _MEANS], arrays, ("n", 3, "h", "w"))
    with pytest.raises(OptionError, match="cannot take images of 3 × 3 pixels; it can of 224 × 224"):
        rows(tmp_path / "a.onnx", pixels, image_size=3)
    assert backbones.load_backbone(str(tmp_path / "a.onnx")).n_features("avg") == 4


@pytest.mark.parametrize("kind", ["reshaped", "whole"])
def test_a_network_whose_rows_depend_on_their_neighbours_is_refused(kind: str, tmp_path: Path, pixels: Array) -> None:
    arrays = {"w": _weights(4, 3, 4, 4), "flat": np.array([1, 4, -1]), "back": np.array([-1, 4, 12, 12])}
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
    _save_graph(tmp_path / "a.onnx", [_CONV, *(reshaped if kind == "reshaped" else whole)], arrays, shape)
    with pytest.raises(WeightsError, match="other features among other images.*dynamic batch axis"):
        rows(tmp_path / "a.onnx", pixels)


def test_layers_whose_channels_are_the_last_axis_are_pooled_over_their_positions(tmp_path: Path, pixels: Array) -> None:
    arrays = {"w": _weights(12, 3, 4, 4), "v": _weights(12, 20)}
    nodes: list[Any] = [
        _CONV,
        ("Transpose", ["maps"], "turned", {"perm": [0, 2, 3, 1]}),
        ("MatMul", ["turned", "v"], "mixed", {}),
        ("Relu", ["mixed"], "act", {}),
        ("ReduceMean", ["act"], "out", {"axes": [1, 2], "keepdims": 0}),
    ]
    _save_graph(tmp_path / "a.onnx", nodes, arrays)
    expected = _reference(tmp_path / "a.onnx", (pixels / 127.5 - 1).astype(np.float32))
    layers = {layer.name: layer.shape for layer in backbones.load_backbone(str(tmp_path / "a.onnx")).layers()}
    assert [layers[name] for name in ("maps", "turned", "act")] == [(12, 12, 12), (12, 12, 12), (12, 12, 20)]
    for layer in (None, "act"):
        np.testing.assert_allclose(rows(tmp_path / "a.onnx", pixels, layer=layer), expected, atol=1e-5)


def test_windows_and_tokens_keep_their_channels_and_heads_are_no_features(tmp_path: Path, pixels: Array) -> None:
    arrays = {
        **{"w": _weights(8, 3, 4, 4), "v": _weights(8, 8), "k": _weights(8, 8)},
        **{"cut": np.array([-1, 2, 6, 2, 6, 8]), "joined": np.array([-1, 12, 12, 8]), "flat": np.array([0, 8, 144])},
        "split": np.array([0, 144, 2, 4]),
    }
    nodes: list[Any] = [
        _CONV,
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
    model = _save_graph(tmp_path / "a.onnx", nodes, arrays)
    layers = {layer.name: layer.shape for layer in backbones.load_backbone(str(tmp_path / "a.onnx")).layers()}
    assert layers["sum"] == (12, 12, 8)
    assert layers["first"] == (12, 12, 8)
    assert layers["keys"] == layers["flat_out"] == (144, 1, 8)
    means = rows(tmp_path / "a.onnx", pixels, layer="sum+whole+flat_out+first").reshape(11, 4, 8)
    model.graph.output[0].name = "sum"
    onnx.save(model, tmp_path / "sum.onnx")
    expected = _reference(tmp_path / "sum.onnx", (pixels / 127.5 - 1).astype(np.float32)).mean(axis=(1, 2))
    np.testing.assert_allclose(means[:, [0, 2, 3]], np.stack([expected] * 3, axis=1), atol=1e-5)
    with pytest.raises(OptionError, match="has no layer 'heads'"):
        rows(tmp_path / "a.onnx", pixels, layer="heads")


def test_a_share_of_a_network_without_blocks_is_refused_and_all_of_it_is_its_output(
    tmp_path: Path, pixels: Array
) -> None:
    _save_graph(tmp_path / "a.onnx", [_CONV, ("GlobalAveragePool", ["maps"], "out", {})], {"w": _weights(4, 3, 4, 4)})
    with pytest.raises(
        OptionError, match="layer=0.5: no block ends within.*Name a layer or its place; 1.0 is the last"
    ):
        rows(tmp_path / "a.onnx", pixels, layer=0.5)
    np.testing.assert_array_equal(rows(tmp_path / "a.onnx", pixels, layer="1.0"), rows(tmp_path / "a.onnx", pixels))
    _save_onnx(tmp_path / "head.onnx")
    assert ExtractionOptions(tmp_path / "head.onnx", preprocessing="tf", layer=1.0).layer_name == "output"
    assert ExtractionOptions(tmp_path / "head.onnx", preprocessing="tf", layer=0.99).layer_name == "relu2"


def test_names_of_layers_that_look_like_something_else_are_names(tmp_path: Path, pixels: Array) -> None:
    w, v = _weights(4, 3, 4, 4), _weights(5, 4, 1, 1)
    nodes: list[Any] = [
        _CONV,
        ("Conv", ["maps", "v"], "1_0", {}),
        ("Relu", ["1_0"], "007", {}),
        ("Relu", ["007"], "1e-1", {}),
        ("ReduceMean", ["1e-1"], "a+b", {"axes": [2, 3], "keepdims": 0}),
    ]
    _save_graph(tmp_path / "a.onnx", nodes, {"w": w, "v": v})
    assert rows(tmp_path / "a.onnx", pixels).shape == (11, 5)
    names = [
        ExtractionOptions(tmp_path / "a.onnx", preprocessing="tf", layer=layer).layer_name
        for layer in (None, "1_0", "007", "1e-1", "maps+007", "0+007")
    ]
    assert names == ["a%2Bb", "1_0", "007", "1e-1", "maps+007", "maps+007"]
    assert rows(tmp_path / "a.onnx", pixels, layer="a%2Bb+maps").shape == (11, 9)
    with pytest.raises(OptionError, match="has no layer '1_1'"):
        rows(tmp_path / "a.onnx", pixels, layer="1_1")


def test_one_file_that_is_two_networks_has_two_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for name in ("a.h5", "a.hdf5", "a.onnx"):
        (tmp_path / name).write_bytes(b"both")
        digests.add(open_network_file(str(tmp_path / name)).digest)
    assert len(digests) == 2
    monkeypatch.setattr(
        "featx.backbones.files.network_file._REVISION", 10**6
    )  # another way to make graphs of files, other rows
    assert open_network_file(str(tmp_path / "a.onnx")).digest not in digests


def test_metadata_is_no_file_of_weights(tmp_path: Path, pixels: Array) -> None:
    _save_onnx(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    for length in (5, 200):
        onnx.helper.set_model_props(model, {"location": "P" * length})
        onnx.save(model, tmp_path / "a.onnx")
        assert rows(tmp_path / "a.onnx", pixels).shape == (11, 5)


def test_a_name_is_not_taken_for_a_file(
    tmp_path: Path, photo_folder: Path, in_folder: Path, counting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnknownBackboneError, match="Run `featx backbones`"):
        backbones.load_backbone("a" * 300)
    Path("counting").mkdir()
    Path("counting", "saved_model.pb").write_bytes(b"")
    _save_onnx(tmp_path / "a.onnx")
    both = ["--backbone", "counting", "--backbone", str(tmp_path / "a.onnx"), "--preprocessing", "torch"]
    assert cli.main(["compare", str(photo_folder), *both, "--estimator", "centroid", "--quiet"]) == 0
    assert cli.main(["cache", "info", "--backbone", "counting", "--json"]) == 0
    assert '"rows": 24' in capsys.readouterr().out


def test_without_openvino_a_file_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save_onnx(tmp_path / "a.onnx")

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    with pytest.raises(MissingDependencyError, match="needs the package openvino.*pip install openvino"):
        backbones.load_backbone(str(tmp_path / "a.onnx")).layers()


def test_a_file_is_run_in_bfloat16_where_the_cpu_does(tmp_path: Path, pixels: Array) -> None:
    if not has_native_bfloat16():
        pytest.skip("this CPU does not")
    _save_onnx(tmp_path / "a.onnx")
    exact, rounded = (rows(tmp_path / "a.onnx", pixels, precision=precision) for precision in ("float32", "auto"))
    assert 0 < np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()
    np.testing.assert_array_equal(rows(tmp_path / "a.onnx", pixels[3:4], precision="auto"), rounded[3:4])


def _trained(size: int | None) -> Any:
    """A transfer model as people train it: compiled, around a network that was compiled, too."""
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
def test_a_network_that_was_trained_is_used_down_to_the_layers_within_its_base(
    size: int | None, name: str | None, tmp_path: Path, pixels: Array
) -> None:
    import keras

    prepared = pixels / 127.5 - 1
    network = _trained(size)
    if name:
        network.save(tmp_path / name)
    options = {"image_size": SIZE, "engine": "openvino" if name else "keras"}
    given = tmp_path / name if name else network
    base = network.get_layer("base")
    within = keras.Model(base.input, base.get_layer("active").output).predict(prepared, verbose=0)
    assert ExtractionOptions(given, preprocessing="tf", image_size=SIZE, layer=0.9).layer_name == "base/active"
    last = network.layers[-1].name
    found = rows(given, pixels, layer=["base/active", "base", last], **options)
    np.testing.assert_allclose(found[:, :6], within.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(found[:, 13:], network.predict(prepared, verbose=0), atol=1e-5)
    assert found.shape == (11, 15)


@pytest.mark.slow  # Keras writes the files
def test_a_loss_of_somebody_s_own_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    def compiled(config: dict[str, Any], evil: dict[str, Any]) -> None:
        config["compile_config"] = {"optimizer": "adam", "loss": evil}

    evil = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    for within in (False, True):
        network = _trained(SIZE)
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
            with pytest.raises(WeightsError, match="holds the function 'system'"):
                keras_files.load(tmp_path / "b.keras")
        else:
            assert not keras_files.load(tmp_path / "b.keras").compiled


@pytest.mark.thorough  # Keras in child processes
def test_a_network_of_mixed_precision_is_computed_in_float32(tmp_path: Path, pixels: Array) -> None:
    import keras

    exact = _build(SIZE)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = _build(SIZE)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(exact.get_weights())
    mixed.save(tmp_path / "a.keras")
    assert mixed.get_layer("second").compute_dtype == "float16"
    taken = keras.Model(exact.input, [exact.get_layer("second").output, exact.output])
    maps, head = taken.predict(pixels / 127.5 - 1, verbose=0)
    for engine in ("openvino", "keras"):
        found = rows(tmp_path / "a.keras", pixels, layer="second+head", engine=engine)
        np.testing.assert_allclose(found, np.hstack([maps.mean(axis=(1, 2)), head]), atol=1e-5)


@pytest.mark.thorough  # tensorflow in child processes
def test_a_saved_model_as_tf_hub_has_them(tmp_path: Path, pixels: Array) -> None:
    import tensorflow as tf

    class FeatureVector(tf.Module):  # type: ignore[misc]  # tensorflow has no types
        def __init__(self) -> None:
            super().__init__()
            self.first = tf.Variable(_weights(3, 3, 3, 8), trainable=True)
            self.second = tf.Variable(_weights(3, 3, 8, 5), trainable=True)

        @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)])
        def __call__(self, images: Any) -> Any:
            maps = tf.nn.relu(tf.nn.conv2d(images, self.first, 2, "SAME"), name="active")
            return {"default": tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(maps, self.second, 2, "SAME")), [1, 2])}

    module = FeatureVector()
    tf.saved_model.save(module, str(tmp_path / "hub"), signatures=module.__call__.get_concrete_function())
    expected = module(tf.constant(pixels / 255, tf.float32))["default"].numpy()
    found = rows(tmp_path / "hub", pixels, preprocessing=(0, 255))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    maps = tf.nn.relu(tf.nn.conv2d(tf.constant(pixels / 255, tf.float32), module.first, 2, "SAME")).numpy()
    layers = backbones.load_backbone(str(tmp_path / "hub")).layers()
    (active,) = (layer.name for layer in layers if layer.kind == "Relu" and layer.shape == (24, 24, 8))
    found = rows(tmp_path / "hub", pixels, preprocessing=(0, 255), layer=active)
    np.testing.assert_allclose(found, maps.mean(axis=(1, 2)), atol=1e-5)


def _described(path: Path, kind: str = "onnx") -> Any:
    """What the child process says of a network, asked for here."""
    return own_graphs.describe(path, kind, None)


def _save_small(path: Path, type_: str = "FLOAT", n_outputs: int = 1) -> None:
    """A network of one mean of each channel, of numbers of a type, and more outputs beside it."""
    helper, proto = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=proto.FLOAT, name="numbers"),
        helper.make_node("ReduceMean", ["numbers"], ["out0"], axes=[2, 3], keepdims=0, name="out0"),
        *(helper.make_node("Relu", ["out0"], [f"out{at}"], name=f"out{at}") for at in range(1, n_outputs)),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("pixels", getattr(proto, type_), ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(f"out{at}", proto.FLOAT, ["n", 3]) for at in range(n_outputs)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize(
    ("takes", "given", "remedy"),
    [
        ("uint8", "tf", "from 0 to 255 .uint8.*from -1 to 1 that would be cut.*'none': it prepares"),
        ("uint8", (0, 255), "'none'"),
        ("int64", "caffe", "'none'"),
        ("int8", "none", "(128, 1)"),
        ("uint8", "none", None),
        ("int8", (128, 1), None),
        ("float32", "tf", None),
    ],
)
def test_pixels_that_a_network_of_whole_numbers_would_cut_are_refused(
    takes: str, given: Any, remedy: str | None
) -> None:
    steps = parse_preprocessing(given)
    if remedy is None:
        check_integer_input(steps, "a.onnx", takes)
        return
    with pytest.raises(OptionError, match=remedy):
        check_integer_input(steps, "a.onnx", takes)


def test_a_file_of_whole_numbers_is_refused_before_any_image_is_read(tmp_path: Path, pixels: Array) -> None:
    _save_small(tmp_path / "a.onnx", "UINT8")
    assert _described(tmp_path / "a.onnx").takes == "uint8"
    with pytest.raises(OptionError, match="takes whole numbers.*Pass preprocessing .--preprocessing. 'none'"):
        FeatureExtractor(tmp_path / "a.onnx", preprocessing="tf").fit([])


def test_pixels_far_from_what_networks_want_are_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    for fine in ("tf", "torch", "caffe", "none", (0, 255)):
        warn_extreme_pixels(parse_preprocessing(fine), "a.onnx")
    assert not recwarn
    with pytest.warns(FeatxWarning, match="'a.onnx' is shown pixels from -2.11.* to 1,111.* scale divides, and mean"):
        warn_extreme_pixels(parse_preprocessing((0.485, 0.229)), "a.onnx")


def test_a_file_of_several_outputs_says_which_is_taken_and_how_to_take_another(tmp_path: Path) -> None:
    _save_small(tmp_path / "a.onnx", n_outputs=3)
    assert list(_described(tmp_path / "a.onnx").others) == ["out1", "out2"]
    with pytest.warns(FeatxWarning, match="has 3 outputs.* of the first, 'out0'.*layer.*'out1', 'out2'"):
        ExtractionOptions(tmp_path / "a.onnx", preprocessing="tf").resolve()
    ExtractionOptions(tmp_path / "a.onnx", preprocessing="tf", layer="out1").resolve()


def _both_ways(path: Path, pixels: Array) -> list[Array]:
    """Rows through both engines, of a file of Keras, computed in this process."""
    found = keras_files.describe(path, None)
    assert found.fixed_image_size is not None
    recipe = Recipe(
        own.MODEL_FILE, "", found.fixed_image_size, found.layer, "avg", "squash", "float32", preprocessing=TF.text
    )
    network = open_network_file(str(path))
    graph = conversion.build_graph(network.as_task(), recipe)
    compiled = (
        import_openvino()
        .Core()
        .compile_model(
            openvino_engine.add_pooling(graph, recipe.layers, "avg"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
    )
    assert list(find_layers("net", as_layers(found.layers), [found.layer])[0].shape)[-1] == graph.outputs[0].shape[-1]
    return [compiled([pixels[:8]])[0], keras_files.build(network, recipe).predict_on_batch(pixels[:8])]


@pytest.mark.slow  # Keras, in this process
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_what_a_network_computes_within_in_another_precision_is_computed_in_float32(
    policy: str, tmp_path: Path, pixels: Array
) -> None:
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
    for found in _both_ways(tmp_path / "a.keras", pixels):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough  # Keras, in this process
def test_tokens_of_keras_are_pooled_like_those_of_other_files(tmp_path: Path, pixels: Array) -> None:
    import keras

    layers, image = keras.layers, keras.Input((SIZE, SIZE, 3))
    tokens = layers.Reshape((-1, 6))(layers.Conv2D(6, 16, strides=16)(image))
    network = keras.Model(image, layers.LayerNormalization(name="tokens")(tokens))
    network.save(tmp_path / "a.keras")
    expected = network.predict(pixels[:8] / 127.5 - 1, verbose=0).mean(axis=1)
    assert keras_files.describe(tmp_path / "a.keras", None).layers[-1][2] == [9, 1, 6]
    for found in _both_ways(tmp_path / "a.keras", pixels):
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow  # Keras, in this process
def test_a_file_of_keras_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    import keras

    image = keras.Input((None, None, 3), dtype="uint8")
    maps = keras.layers.Conv2D(4, 3, name="maps")(keras.layers.Rescaling(1 / 255)(image))
    means = keras.layers.GlobalAveragePooling2D(name="means")(maps)
    keras.Model(image, [means, maps]).save(tmp_path / "a.keras")
    found = keras_files.describe(tmp_path / "a.keras", None)
    assert (found.takes, found.layer, found.others) == ("uint8", "means", ["maps"])


def test_what_openvino_says_at_length_is_told_in_a_line() -> None:
    with pytest.raises(EngineError, match=r"OpenVINO \S+ cannot run the network \(\S.*\S\)\. Pass engine") as caught:
        openvino_engine.OpenVinoEngine(Graph(b"<net>", b""), ["a"], "avg", "float32")
    assert "\n" not in str(caught.value)


def test_the_weights_of_an_openvino_file_are_asked_for_and_other_xml_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<?xml version="1.0"?><net name="a" version="11"></net>')
    with pytest.raises(UnknownBackboneError, match=r"cannot be read without 'a\.bin', which holds.*beside the \.xml"):
        open_network_file(str(tmp_path / "a.xml"))
    (tmp_path / "page.xml").write_text("<html></html>")
    with pytest.raises(WeightsError, match="holds no whole network of OpenVINO: there is no <net>"):
        open_network_file(str(tmp_path / "page.xml"))


def test_keras_is_no_engine_of_other_files_and_openvino_is_not_missing(tmp_path: Path, pixels: Array) -> None:
    _save_small(tmp_path / "a.onnx")
    with pytest.raises(OptionError, match=r"of this kind \(onnx\) only OpenVINO runs. Pass engine='auto' .*auto.\.$"):
        FeatureExtractor(tmp_path / "a.onnx", preprocessing="tf", engine="keras", cache=None).transform(pixels[:1])


def test_a_network_that_gives_nan_is_told_from_a_mistake_of_its_user(tmp_path: Path, pixels: Array) -> None:
    _save_graph(
        tmp_path / "a.onnx",
        [("ReduceMean", ["pixels"], "means", {"axes": [2, 3], "keepdims": 0}), ("Log", ["means"], "out", {})],
        {},
    )
    with pytest.raises(EngineError, match="'a' gave NaN.*weights or the preprocessing are to blame.*a.onnx") as caught:
        rows(tmp_path / "a.onnx", pixels)
    assert "extract" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"class_name": "mypkg>Mine", "config": {}}, "'mypkg>Mine' of the package 'mypkg'"),
        (
            {"class_name": "Mine", "config": {}, "module": None, "registered_name": "Mine"},
            "'Mine', which is not Keras's",
        ),
        ({"class_name": "keras>Known", "config": {}}, ""),
        (
            {"class_name": "LayerScale", "module": "keras.src.applications.convnext", "registered_name": None},
            "",
        ),
        (
            {"class_name": "ConvNeXtTiny", "module": "keras.src.applications.convnext", "registered_name": None},
            "'ConvNeXtTiny' of the module 'keras.src.applications.convnext'",
        ),
        ({"class_name": "Dense", "config": {}, "name": "a"}, ""),
    ],
)
def test_layers_of_somebody_s_own_are_known_by_how_keras_names_them(part: dict[str, Any], reason: str) -> None:
    found = keras_files._foreign_code({"layers": [part]})
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


class _ModelOfCode:
    """What featx asks of an object of Keras, but none."""

    name, built = "mine", True

    def get_weights(self) -> list[Array]:
        return []

    def to_json(self) -> str:
        return "{}"

    def save(self, path: str) -> None:
        raise AssertionError("it is not to be kept")


@pytest.mark.parametrize(
    ("module", "built", "json_", "reason"),
    [
        ("mine", True, "{}", "'mine' .a keras.Model object. is of the class '_Model', whose code.*model.export"),
        ("keras.src.models.sequential", False, "{}", "is not built yet.*keras.Input"),
        (
            "keras.src.models.functional",
            True,
            '{"class_name": "Lambda"}',
            "of the kind Lambda. Objects are",
        ),
    ],
)
def test_objects_that_could_not_be_read_again_are_refused_by_their_name(
    module: str, built: bool, json_: str, reason: str
) -> None:
    kind = type("_Model", (_ModelOfCode,), {"__module__": module, "built": built, "to_json": lambda self: json_})
    with pytest.raises(WeightsError, match=reason):
        as_backbone_name(kind())


def test_an_object_is_called_by_its_name_and_a_file_by_its_path() -> None:
    kept = kept_models.folder() / ("0" * 64) / ("1" * 64) / "small.keras"
    assert kept_models.display_name(kept) == "'small' (a keras.Model object)"
    assert kept_models.display_name("nets/small.keras") == "'nets/small.keras'"
    with pytest.raises(OptionError, match="How does 'small' .a keras.Model object. want its pixels"):
        raise missing_preprocessing_error(str(kept))


def test_own_networks_are_told_apart_in_a_cache_and_by_names(
    tmp_path: Path, photo_folder: Path, counting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / folder / "a.onnx" for folder in ("one", "two")]
    for number, file in enumerate(files):
        file.parent.mkdir()
        _save_small(file, n_outputs=1 + number)
    resolved = [ExtractionOptions(str(file), preprocessing=(0, 255), layer="out0").resolve() for file in files]
    digests = [network.recipe.weights[:8] for network in resolved]
    both = backbone_names([*resolved, ExtractionOptions("counting").resolve()])
    assert both == [f"a {digests[0]}", f"a {digests[1]}", "counting"]
    assert backbone_names([resolved[0], ExtractionOptions("mobilenet").resolve()]) == ["a", "mobilenet"]
    info = RecipeInfo("f", resolved[0].recipe.as_dict(), 1, 3, 100, 1, 0, 0, 0)
    assert describe_recipe(info).endswith(f"weights {digests[0]}, preprocessing 0/255")
    cache = CacheInfo("cache", 0, [info, dataclasses.replace(info, rows=0, segments=0)], 0, 0, 0, 0, 0)
    assert CacheSummary(**vars(cache)).as_text().count("model file") == 1
    with pytest.raises(OptionError, match="It has: model file. For one 'model file', pass the path of its file"):
        find_recipes(cache, "mobilenet")
    assert cli.main(["backbones", str(files[0]), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["features"], row["megabytes"], row["weights"]) == (3, 0.0, "here")


@pytest.mark.parametrize(("given", "name"), [("torch", "torch"), ((0, 255), "0/255"), ("1,2,1/3", "1,2,1/3")])
def test_preprocessing_is_shown_as_it_was_written(given: Any, name: str) -> None:
    assert format_preprocessing(parse_preprocessing(given).text) == name


def test_an_object_among_networks_is_to_say_how_it_wants_its_pixels(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'mine', a keras.Model object.*Wrap it: FeatureExtractor.model"):
        as_extraction_options(_ModelOfCode())
    _save_small(tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="How does .*a.onnx' want its pixels"):
        as_extraction_options(tmp_path / "a.onnx")
