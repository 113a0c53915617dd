"""Rows of both engines for every backbone, and the selection of engines.

MobileNet has its ImageNet weights, the others have random ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, KerasBackbone, available_backbones
from featx.backbones.registry import load_backbone
from featx.errors import EngineError, MissingDependencyError, OptionError, WeightsError
from featx.extraction.engines.engine import (
    MAX_STARTED,
    count_started,
    has_native_bfloat16,
    resolve_engine,
    resolve_precision,
    stop_engines,
)
from featx.extraction.engines.keras import KerasEngine
from featx.extraction.options import ExtractionOptions
from featx.recipe import Recipe
from featx.store.compiled_graphs import Graph
from featx.system.array_types import AnyArray
from featx.testing import CountingBackbone
from tests.extraction.engines.conftest import rows_of

KERAS_NAMES = [name for name in available_backbones() if isinstance(load_backbone(name), KerasBackbone)]


#: With random weights, these networks double their input in each block, which amplifies any rounding.
_EXPLODE = ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l")


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return weights for a network: bundled or random ones."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name: str) -> str:
        import keras

        backbone = load_backbone(name)
        assert isinstance(backbone, KerasBackbone)
        if backbone.bundled_file:
            return "imagenet"
        path = folder / f"{name}.weights.h5"
        if not path.exists():
            keras.utils.set_random_seed(0)
            network = build_plain(backbone, (96, 96))
            for layer in network.layers if name in _EXPLODE else []:
                if type(layer).__name__ == "BatchNormalization":
                    layer.gamma.assign(layer.gamma * 0.7)
            network.save_weights(path)
        return str(path)

    return make


def build_plain(backbone: KerasBackbone, size: tuple[int, int], **options: Any) -> Any:
    """Build a network as in the documentation of Keras."""
    import keras

    width = {"alpha": backbone.alpha} if backbone.alpha != 1 else {}
    function = getattr(keras.applications, backbone.application.split(".")[1])
    return function(**{"include_top": False, "weights": None, "input_shape": (*size, 3), **width, **options})


def keras_rows(name: str, weights: str, pixels: AnyArray, pooling: str) -> AnyArray:
    """Return rows as in the documentation of Keras: preprocess_input, then predict."""
    import keras

    backbone = load_backbone(name)
    assert isinstance(backbone, KerasBackbone)
    network = build_plain(backbone, pixels.shape[1:3], pooling=pooling)
    network.load_weights(backbone.find_weights(weights).path)
    module = getattr(keras.applications, backbone.application.split(".")[0])
    rows = network.predict(module.preprocess_input(pixels.astype("float32")), verbose=0)
    assert network.output_shape == (None, backbone.n_features("avg"))
    return np.asarray(rows)


#: A network with channels in the order blue, green, red.
_SLOW = ("resnet50",)


_MARKS = {"mobilenet": [], **{name: [pytest.mark.slow] for name in _SLOW}}


#: The one kind that Keras builds in another way.
_MARKS_OF_IMAGENET = {"efficientnet_b0": [pytest.mark.slow]}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_MARKS.get(name, [pytest.mark.thorough])) for name in KERAS_NAMES]
)
def test_rows_equal_those_of_keras(
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
        usual = keras_rows(name, weights, pixels, pooling)
        for engine in ("keras", "openvino", *(("onnxruntime",) if name != "mobilenet" else ())):
            options = {"backbone": name, "weights": weights, "engine": engine, "precision": "float32"}
            rows = rows_of(pixels, tmp_path / "compiled", pooling=pooling, image_size=side, **options)
            assert rows.dtype == np.float32
            assert np.abs(rows - usual).max() / np.abs(usual).max() < 1e-4, (engine, pooling)
    keras.utils.clear_session()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_MARKS_OF_IMAGENET.get(name, [pytest.mark.thorough])) for name in KERAS_NAMES]
)
def test_imagenet_weights_are_used_as_in_keras(
    name: str, photos: list[PIL.Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras adds a layer to some networks if it loads their ImageNet weights."""
    import keras

    known = load_backbone(name)
    assert isinstance(known, KerasBackbone)
    side = known.image_size
    keras.utils.set_random_seed(0)
    path = tmp_path / known.weights_url.rsplit("/", 1)[1]
    build_plain(known, (side, side)).save_weights(path.with_suffix(".weights.h5"))
    path = path.with_suffix(".weights.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(path))
    pixels = np.stack([np.asarray(photo.resize((side, side))) for photo in photos[:2]])
    module = getattr(keras.applications, known.application.split(".")[0])
    usual = build_plain(known, (side, side), weights="imagenet", pooling="avg")
    expected = usual.predict(module.preprocess_input(pixels.astype("float32")), verbose=0)
    backbone = dataclasses.replace(known, weights_hash=hashlib.sha256(path.read_bytes()).hexdigest(), bundled_file="")
    found = backbone.find_weights(str(path))
    recipe = Recipe(name, found.digest, (side, side), known.layer, "avg", "squash", "float32")
    rows = backbone.build(recipe, found.path).predict(pixels, verbose=0)
    assert np.abs(rows - expected).max() / np.abs(expected).max() < 1e-4
    keras.utils.clear_session()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_row_depends_on_its_image_alone(engine: str, precision: str, pixels: AnyArray, compiled_cache: Path) -> None:
    if precision == "bfloat16" and (engine == "keras" or not has_native_bfloat16()):
        pytest.skip("no bfloat16 here")
    options = {"engine": engine, "precision": precision}
    together = rows_of(pixels, compiled_cache / "compiled", **options)
    order = np.random.default_rng(0).permutation(len(pixels))
    shuffled = rows_of(pixels[order], compiled_cache / "compiled", **options)
    alone = rows_of(pixels[5:6], compiled_cache / "compiled", **options)
    tolerance = 1e-5 if engine == "keras" else 0
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=tolerance)
    np.testing.assert_allclose(alone, together[5:6], rtol=0, atol=tolerance)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_lone_images_have_the_rows_of_batches(precision: str, pixels: AnyArray, compiled_cache: Path) -> None:
    if precision == "bfloat16" and not has_native_bfloat16():
        pytest.skip("no bfloat16 here")
    engine = ExtractionOptions(precision=precision).resolve().start(compiled_cache / "compiled")
    together = engine(pixels)
    alone = [engine(pixels[index : index + 1])[0] for index in range(4)]
    np.testing.assert_array_equal(alone, together[:4])


@pytest.mark.skipif(not has_native_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16_is_close_to_float32(pixels: AnyArray, compiled_cache: Path) -> None:
    half = rows_of(pixels, compiled_cache / "compiled", precision="bfloat16")
    full = rows_of(pixels, compiled_cache / "compiled", precision="float32")
    cosines = (half * full).sum(axis=1) / np.linalg.norm(half, axis=1) / np.linalg.norm(full, axis=1)
    assert cosines.mean() > 0.98
    assert not np.array_equal(half, full)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling_is_over_positions(pooling: str, pixels: AnyArray, compiled_cache: Path) -> None:
    import keras

    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3))
    network.load_weights(load_backbone("mobilenet").find_weights("imagenet").path)
    prepared = keras.applications.mobilenet.preprocess_input(pixels[:8].astype("float32"))
    maps = network.predict(prepared, verbose=0)
    pooled = maps.mean(axis=(1, 2)) if pooling == "avg" else maps.max(axis=(1, 2))
    rows = rows_of(pixels[:8], compiled_cache / "compiled", pooling=pooling, precision="float32")
    np.testing.assert_allclose(rows, pooled, atol=1e-3)  # maxima run to 30


def test_weights_do_not_change(pixels: AnyArray) -> None:

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


@pytest.mark.slow
def test_corrupt_weights_are_refused(tmp_path: Path, pixels: AnyArray) -> None:
    resolved = ExtractionOptions(precision="float32", layer="conv_pw_13_bn").resolve()  # not in the packaged graph
    assert resolved.weights_path is not None
    altered = tmp_path / resolved.weights_path.name
    data = bytearray(resolved.weights_path.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)
    for engine in ("keras", "openvino"):
        wrong = dataclasses.replace(resolved, weights_path=altered, engine=engine)
        stop_engines()
        with pytest.raises(WeightsError, match="Checksum mismatch.*expected SHA-256 9c4fd7b4.*Reinstall featx"):
            wrong.start(None)


@pytest.mark.slow
def test_weights_of_another_network_are_refused(weights_of: Callable[[str], str]) -> None:
    for engine in ("keras", "openvino"):
        options = ExtractionOptions(backbone="resnet50", weights=weights_of("mobilenet_v2"), engine=engine)
        with pytest.raises(WeightsError, match="Cannot load weights .* into 'resnet50'.*include_top=False"):
            options.resolve().start(None)


def test_started_engine_is_reused(compiled_cache: Path) -> None:
    resolved = ExtractionOptions().resolve()
    assert resolved.start(compiled_cache / "compiled") is resolved.start(None)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A conversion of a network that waits, and fails."""

    begins: threading.Event = dataclasses.field(default_factory=threading.Event)
    ends: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __call__(self, *args: Any) -> Graph:
        self.begins.set()
        assert self.ends.wait(10)
        raise EngineError("no conversion")


def convert_slowly(monkeypatch: pytest.MonkeyPatch) -> Conversion:
    """Let all networks that start from now on be converted slowly."""
    conversion = Conversion()
    monkeypatch.setattr("featx.extraction.engines.engine.load_or_compile", conversion)
    return conversion


def test_started_engine_does_not_wait_for_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    running, other = ExtractionOptions().resolve(), ExtractionOptions(image_size=160).resolve()
    first = running.start(None)
    slow = convert_slowly(monkeypatch)
    with ThreadPoolExecutor(3) as threads:
        conversion = threads.submit(other.start, None)
        assert slow.begins.wait(10)
        slow.begins.clear()
        same = threads.submit(other.start, None)  # waits, then tries itself
        assert threads.submit(running.start, None).result(10) is first
        assert not slow.begins.is_set()
        slow.ends.set()
        for future in (conversion, same):
            with pytest.raises(EngineError, match="no conversion"):
                future.result(10)


def test_others_compute_while_a_network_starts(
    compiled_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with another network does not wait for a conversion."""
    gray = [np.full((8, 8, 3), level, dtype=np.uint8) for level in (50, 100, 200)]
    extractor = FeatureExtractor(cache=tmp_path).fit([])
    extractor.transform(gray[:1])
    slow = convert_slowly(monkeypatch)
    with ThreadPoolExecutor(2) as threads:
        conversion = threads.submit(FeatureExtractor(image_size=160, cache=compiled_cache).fit_transform, gray)
        assert slow.begins.wait(10)
        assert threads.submit(extractor.transform, gray).result(10).shape == (3, 1024)
        slow.ends.set()
        with pytest.raises(EngineError, match="no conversion"):
            conversion.result(10)


def test_number_of_started_engines_is_limited(tmp_path: Path) -> None:
    resolved = ExtractionOptions().resolve()
    for name in ("a", "b", "c"):
        resolved.start(tmp_path / name)
    assert count_started() == MAX_STARTED


@pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere featx asks for float32 without looking")
def test_native_bfloat16_agrees_with_openvino() -> None:
    from featx.backbones.openvino_import import import_openvino

    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert has_native_bfloat16() is ("BF16" in capabilities)


def test_auto_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.extraction.engines.engine.importlib.util.find_spec", lambda name: None)
    assert resolve_engine("auto", load_backbone("mobilenet")) == "keras"
    assert resolve_precision("auto", "keras") == "float32"
    with pytest.raises(MissingDependencyError, match="pip install openvino"):
        resolve_engine("openvino", load_backbone("mobilenet"))


def test_keras_refuses_bfloat16() -> None:
    with pytest.raises(OptionError, match='Pass precision="float32"'):
        ExtractionOptions(engine="keras", precision="bfloat16").resolve()


def test_direct_backbone_runs_itself(counting: CountingBackbone) -> None:
    resolved = ExtractionOptions(backbone="counting").resolve()
    assert (resolved.engine, resolved.recipe.precision, resolved.recipe.weights) == ("direct", "float32", "version 1")
    assert resolved.start(None)(np.zeros((2, 32, 32, 3), dtype=np.uint8)).shape == (2, 12)
    assert counting.n_images == 2
