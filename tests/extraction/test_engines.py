"""Both engines on every backbone: MobileNet with its own weights, the others with random ones."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import KerasBackbone, available_backbones
from featx.backbones.base import COMPILED_BATCH_SIZE
from featx.backbones.registry import load_backbone
from featx.errors import EngineError, MissingDependencyError, StoreWarning, WeightsError
from featx.extraction.engines import engine as engines
from featx.extraction.engines.fixed_batch import run_in_batches
from featx.extraction.options import ExtractionOptions
from featx.recipe import Recipe
from featx.store import compiled_graphs
from featx.testing import CountingBackbone

KERAS_NAMES = [name for name in available_backbones() if isinstance(load_backbone(name), KerasBackbone)]


@pytest.fixture(scope="module")
def pixels(photos: list[PIL.Image.Image]) -> np.ndarray[Any, Any]:
    """Photographs as the backbones are shown them; more than one batch, and no multiple of it."""
    assert len(photos) % COMPILED_BATCH_SIZE == 0
    return np.stack([np.asarray(photo.resize((224, 224))) for photo in photos[:-3]])


#: With random weights, these double what they are given in every block, until any rounding is chaos.
_EXPLODE = ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l")


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Weights of a network to test with: random where featx has none of its own."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name: str) -> str:
        import keras

        backbone = load_backbone(name)
        assert isinstance(backbone, KerasBackbone)
        if backbone.bundled:
            return "imagenet"
        path = folder / f"{name}.weights.h5"
        if not path.exists():
            keras.utils.set_random_seed(0)
            network = _plain(backbone, (96, 96))
            for layer in network.layers if name in _EXPLODE else []:
                if type(layer).__name__ == "BatchNormalization":
                    layer.gamma.assign(layer.gamma * 0.7)
            network.save_weights(path)
        return str(path)

    return make


def _plain(backbone: KerasBackbone, size: tuple[int, int], **options: Any) -> Any:
    """The network as people build it."""
    import keras

    width = {"alpha": backbone.alpha} if backbone.alpha != 1 else {}
    function = getattr(keras.applications, backbone.application.split(".")[1])
    return function(**{"include_top": False, "weights": None, "input_shape": (*size, 3), **width, **options})


def rows_of(pixels: np.ndarray[Any, Any], compiled: Path | None, **options: Any) -> np.ndarray[Any, Any]:
    return np.asarray(ExtractionOptions(**options).resolve().start(compiled)(pixels))


def usual_rows(name: str, weights: str, pixels: np.ndarray[Any, Any], pooling: str) -> np.ndarray[Any, Any]:
    """What people write: preprocess_input, then predict."""
    import keras

    backbone = load_backbone(name)
    assert isinstance(backbone, KerasBackbone)
    network = _plain(backbone, pixels.shape[1:3], pooling=pooling)
    network.load_weights(backbone.find_weights(weights).path)
    module = getattr(keras.applications, backbone.application.split(".")[0])
    rows = network.predict(module.preprocess_input(pixels.astype("float32")), verbose=0)
    assert network.output_shape == (None, backbone.n_features("avg"))
    return np.asarray(rows)


#: One that takes blue first.
_SLOW = ("resnet50",)
_MARKS = {"mobilenet": [], **{name: [pytest.mark.slow] for name in _SLOW}}
#: The one kind that is built otherwise.
_MARKS_OF_IMAGENET = {"efficientnet_b0": [pytest.mark.slow]}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_MARKS.get(name, [pytest.mark.thorough])) for name in KERAS_NAMES]
)
def test_both_engines_give_the_rows_of_plain_keras(
    name: str,
    weights_of: Callable[[str], str],
    photos: list[PIL.Image.Image],
    tmp_path: Path,
) -> None:
    import keras

    backbone = load_backbone(name)
    assert isinstance(backbone, KerasBackbone)
    side = backbone.image_size if name == "mobilenet" else max(backbone.min_image_size, 96)
    pixels = np.stack([np.asarray(photo.resize((side, side))) for photo in photos[:11]])
    weights = weights_of(name)
    for pooling in ("avg", "max"):
        usual = usual_rows(name, weights, pixels, pooling)
        for engine in ("keras", "openvino"):
            options = {"backbone": name, "weights": weights, "engine": engine, "precision": "float32"}
            rows = rows_of(pixels, tmp_path / "compiled", pooling=pooling, image_size=side, **options)
            assert rows.dtype == np.float32
            assert np.abs(rows - usual).max() / np.abs(usual).max() < 1e-4, (engine, pooling)
    keras.utils.clear_session()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_MARKS_OF_IMAGENET.get(name, [pytest.mark.thorough])) for name in KERAS_NAMES]
)
def test_weights_of_imagenet_are_used_as_keras_uses_them(
    name: str, photos: list[PIL.Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras builds some networks with a layer more when the weights are its own."""
    import keras

    known = load_backbone(name)
    assert isinstance(known, KerasBackbone)
    side = known.image_size
    keras.utils.set_random_seed(0)
    path = tmp_path / known.weights_url.rsplit("/", 1)[1]
    _plain(known, (side, side)).save_weights(path.with_suffix(".weights.h5"))
    path = path.with_suffix(".weights.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(path))
    pixels = np.stack([np.asarray(photo.resize((side, side))) for photo in photos[:2]])
    module = getattr(keras.applications, known.application.split(".")[0])
    usual = _plain(known, (side, side), weights="imagenet", pooling="avg")
    expected = usual.predict(module.preprocess_input(pixels.astype("float32")), verbose=0)
    backbone = dataclasses.replace(known, weights_hash=hashlib.sha256(path.read_bytes()).hexdigest(), bundled="")
    found = backbone.find_weights(str(path))
    recipe = Recipe(name, found.digest, (side, side), known.layer, "avg", "squash", "float32")
    rows = backbone.build(recipe, found.path).predict(pixels, verbose=0)
    assert np.abs(rows - expected).max() / np.abs(expected).max() < 1e-4
    keras.utils.clear_session()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_a_row_depends_on_its_image_alone(
    engine: str, precision: str, pixels: np.ndarray[Any, Any], compiled_cache: Path
) -> None:
    if precision == "bfloat16" and (engine == "keras" or not engines.has_native_bfloat16()):
        pytest.skip("no bfloat16 here")
    options = {"engine": engine, "precision": precision}
    together = rows_of(pixels, compiled_cache / "compiled", **options)
    order = np.random.default_rng(0).permutation(len(pixels))
    shuffled = rows_of(pixels[order], compiled_cache / "compiled", **options)
    alone = rows_of(pixels[5:6], compiled_cache / "compiled", **options)
    tolerance = 1e-5 if engine == "keras" else 0
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=tolerance)
    np.testing.assert_allclose(alone, together[5:6], rtol=0, atol=tolerance)


@pytest.mark.skipif(not engines.has_native_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16_stays_near_float32(pixels: np.ndarray[Any, Any], compiled_cache: Path) -> None:
    half = rows_of(pixels, compiled_cache / "compiled", precision="bfloat16")
    full = rows_of(pixels, compiled_cache / "compiled", precision="float32")
    cosines = (half * full).sum(axis=1) / np.linalg.norm(half, axis=1) / np.linalg.norm(full, axis=1)
    assert cosines.mean() > 0.98
    assert not np.array_equal(half, full)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling_is_over_positions(pooling: str, pixels: np.ndarray[Any, Any], compiled_cache: Path) -> None:
    import keras

    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3))
    network.load_weights(load_backbone("mobilenet").find_weights("imagenet").path)
    prepared = keras.applications.mobilenet.preprocess_input(pixels[:8].astype("float32"))
    maps = network.predict(prepared, verbose=0)
    pooled = maps.mean(axis=(1, 2)) if pooling == "avg" else maps.max(axis=(1, 2))
    rows = rows_of(pixels[:8], compiled_cache / "compiled", pooling=pooling, precision="float32")
    np.testing.assert_allclose(rows, pooled, atol=1e-3)  # maxima run to 30


def test_extracting_changes_no_weight(pixels: np.ndarray[Any, Any]) -> None:
    from featx.extraction.engines.keras import KerasEngine

    backbone = load_backbone("mobilenet")
    assert isinstance(backbone, KerasBackbone)
    resolved = ExtractionOptions().resolve()
    assert resolved.weights_path is not None
    model = backbone.build(resolved.recipe, resolved.weights_path)
    before = [np.array(value) for value in model.get_weights()]
    KerasEngine(model)(pixels)
    assert len(before) > 100
    assert not model.trainable_weights
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_any_number_of_images_runs_in_batches_of_one_size() -> None:
    sizes = []

    def run(batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        sizes.append(len(batch))
        return batch[:, 0, 0, :1].astype(np.float32)

    pixels = np.arange(19, dtype=np.uint8).reshape(19, 1, 1, 1)
    np.testing.assert_array_equal(run_in_batches(run, pixels)[:, 0], np.arange(19))
    assert sizes == [COMPILED_BATCH_SIZE] * 3


def test_altered_weights_are_refused(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    resolved = ExtractionOptions(precision="float32").resolve()
    assert resolved.weights_path is not None
    altered = tmp_path / resolved.weights_path.name
    data = bytearray(resolved.weights_path.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)
    for engine in ("keras", "openvino"):
        wrong = dataclasses.replace(resolved, weights_path=altered, engine=engine)
        engines._started.clear()
        with pytest.raises(WeightsError, match="altered or damaged: expected SHA-256 9c4fd7b4.*Install featx again"):
            wrong.start(None)


@pytest.mark.slow
def test_weights_of_another_network_are_refused(weights_of: Callable[[str], str]) -> None:
    for engine in ("keras", "openvino"):
        options = ExtractionOptions(backbone="resnet50", weights=weights_of("mobilenet_v2"), engine=engine)
        with pytest.raises(WeightsError, match="do not fit 'resnet50'.*include_top=False"):
            options.resolve().start(None)


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".json"])
def test_a_damaged_compiled_graph_is_compiled_anew(
    suffix: str, tmp_path: Path, compiled_cache: Path, pixels: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.extraction.engines import compile as compilation

    folder = tmp_path / "compiled"
    shutil.copytree(compiled_cache / "compiled", folder)
    resolved = ExtractionOptions(precision="float32").resolve()
    assert isinstance(resolved.backbone, KerasBackbone)
    path = folder / f"{compilation.compiled_recipe(resolved.backbone, resolved.recipe).graph_fingerprint}{suffix}"
    whole = path.read_bytes()
    converted = compiled_graphs.Graph(*(path.with_suffix(part).read_bytes() for part in (".xml", ".bin")))
    monkeypatch.setattr(compilation, "_convert", lambda *args: converted)
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    expected = rows_of(pixels, compiled_cache / "compiled", precision="float32")
    engines._started.clear()
    with pytest.warns(StoreWarning, match="corrupt.*compiled again"):
        np.testing.assert_array_equal(resolved.start(folder)(pixels), expected)


def test_no_flipped_or_cut_byte_of_a_compiled_graph_passes(tmp_path: Path) -> None:
    graph, name = compiled_graphs.Graph(b"<net>" * 30, bytes(range(200))), "ab" * 8
    compiled_graphs.save_graph(graph, tmp_path, name)
    assert compiled_graphs.graph_names(tmp_path) == [name]
    assert compiled_graphs.check_graph(tmp_path, name)[1] == ""
    for suffix in (".xml", ".bin", ".json"):
        path = tmp_path / (name + suffix)
        whole = path.read_bytes()
        flipped = [whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :] for at in range(len(whole))]
        for damaged in [*flipped, b"", whole[:-1], whole + b" "]:
            path.write_bytes(damaged)
            assert compiled_graphs.check_graph(tmp_path, name)[1]
            with pytest.warns(StoreWarning, match="compiled again"):
                assert compiled_graphs.load_graph(tmp_path, name) is None
        path.unlink()
        assert compiled_graphs.check_graph(tmp_path, name) == (path, "the file is missing")
        assert compiled_graphs.load_graph(tmp_path, name) is None
        path.mkdir()
        assert compiled_graphs.check_graph(tmp_path, name) == (path, "not a regular file")
        compiled_graphs.save_graph(graph, tmp_path, name)  # sets the folder aside
        assert compiled_graphs.check_graph(tmp_path, name)[1] == ""
    assert compiled_graphs.load_graph(tmp_path, name) == graph
    os.truncate(tmp_path / f"{name}.bin", 2**40)  # and nothing reads a terabyte to find out
    assert "bytes, which its manifest does not say" in compiled_graphs.check_graph(tmp_path, name)[1]


def test_a_started_engine_is_used_again(compiled_cache: Path) -> None:
    resolved = ExtractionOptions().resolve()
    assert resolved.start(compiled_cache / "compiled") is resolved.start(None)


def test_only_a_few_engines_stay_started(compiled_cache: Path, tmp_path: Path) -> None:
    resolved = ExtractionOptions().resolve()
    for name in ("a", "b", "c"):
        shutil.copytree(compiled_cache / "compiled", tmp_path / name)
        resolved.start(tmp_path / name)
    assert len(engines._started) == 2


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere featx asks for float32 without looking")
def test_native_bfloat16_is_what_openvino_says() -> None:
    from featx.backbones.openvino_import import import_openvino

    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert engines.has_native_bfloat16() is ("BF16" in capabilities)


def test_auto_is_keras_where_openvino_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.extraction.engines.engine.importlib.util.find_spec", lambda name: None)
    assert engines.resolve_engine("auto", load_backbone("mobilenet")) == "keras"
    assert engines.resolve_precision("auto", "keras") == "float32"
    with pytest.raises(MissingDependencyError, match="pip install openvino"):
        engines.resolve_engine("openvino", load_backbone("mobilenet"))


def test_keras_computes_in_float32_only() -> None:
    with pytest.raises(EngineError, match='Pass precision="float32"'):
        ExtractionOptions(engine="keras", precision="bfloat16").resolve()


def test_a_plain_python_backbone_runs_itself(counting: CountingBackbone) -> None:
    resolved = ExtractionOptions(backbone="counting").resolve()
    assert (resolved.engine, resolved.recipe.precision, resolved.recipe.weights) == ("direct", "float32", "version 1")
    assert resolved.start(None)(np.zeros((2, 32, 32, 3), dtype=np.uint8)).shape == (2, 12)
    assert counting.n_images == 2


def test_a_quota_of_cores_limits_the_threads_of_the_network(
    compiled_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.extraction.engines.openvino.n_visible", lambda: 2)
    monkeypatch.setattr("featx.extraction.engines.openvino.n_cores", lambda: 1)
    monkeypatch.setattr(
        "featx.extraction.engines.engine._started", collections.OrderedDict()
    )  # networks of other tests have their threads
    engine = ExtractionOptions().resolve().start(compiled_cache / "compiled")
    assert engine._request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 1
