"""Networks in files that Keras and ONNX really wrote, against Keras and ONNX's own reference."""

from __future__ import annotations

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

from featx import FeatureExtractor, backbones, cli, load_backbone
from featx.backbones import keras_files
from featx.backbones.own import as_name
from featx.backbones.preprocessing import Preprocessing, as_preprocessing
from featx.errors import OptionError, RecipeMismatchError, UnknownBackboneError, WeightsError
from featx.options import ExtractionOptions

onnx = pytest.importorskip("onnx")

Array = np.ndarray[Any, Any]
SIZE = 48


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
@pytest.mark.parametrize("engine", ["openvino", "keras"])
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
    kept = as_name(network)
    assert as_name(clone(extractor).backbone) == kept
    Path(kept).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="Pass the object once more"):
        load_backbone(kept)
    damaged, kept = kept, as_name(network)
    assert not Path(damaged).exists()
    assert zipfile.is_zipfile(kept)
    assert load_backbone(kept).digest == Path(damaged).parents[1].name
    network.compile("sgd", "mse")
    assert as_name(network) == kept
    network.layers[1].set_weights([value + 1 for value in network.layers[1].get_weights()])
    os.utime(Path(kept).parents[1], (0, 0))  # last used half a century ago
    assert as_name(network) != kept
    assert not Path(kept).exists()
    with pytest.raises(RecipeMismatchError, match="weights"):  # it is not what was fitted any more
        extractor.transform(pixels)


def test_an_object_that_several_threads_keep_at_once_is_one_network() -> None:
    for seed in range(3):
        network = _build(SIZE)
        network.layers[1].bias.assign(np.full(8, seed))
        with ThreadPoolExecutor(4) as pool:
            kept = [one.result() for one in [pool.submit(as_name, network) for _ in range(4)]]
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
        ("nested", None),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in [
                ("operation", None),
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
    with pytest.raises(UnknownBackboneError, match=r"aaa\.data.*No such file"):
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
    with pytest.raises(UnknownBackboneError, match="no regular file"):
        backbones.load_backbone(str(tmp_path / "a.onnx"))


def test_a_process_without_a_home_only_keeps_nothing(tmp_path: Path, pixels: Array, python: Any) -> None:
    _save_onnx(tmp_path / "a.onnx")
    code = (
        "import pathlib, sys\n"
        "def nowhere(*args): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = nowhere\n"
        "from featx import backbones\n"
        "print(backbones.load_backbone(sys.argv[1]).n_features('avg'), "
        "backbones.load_backbone('vgg16').has_weights_here)"
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
    assert cli.main(["bench", "--backbone", str(tmp_path / "a.onnx")]) == 1
    assert "nothing to be compared with" in capsys.readouterr().err


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
        as_preprocessing(wrong)


@pytest.mark.parametrize(
    "given",
    ["tf", "torch", "caffe", "none", (0.5, (1, 2, 3)), "1/2", (1 / 3, 65535.12345), (np.ones(3), np.float32(2))],
    ids=["tf", "torch", "caffe", "none", "numbers", "text", "digits", "numpy"],
)
def test_preprocessing_survives_as_text(given: Any) -> None:
    wanted = as_preprocessing(given)
    assert Preprocessing.of_text(wanted.text) == wanted


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
