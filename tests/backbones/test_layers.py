from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import featx
from featx import FeatureExtractor
from featx.backbones.layers import find_layers
from featx.errors import FeatxWarning, OptionError
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone

MOBILENET = featx.load_backbone("mobilenet")
LAYERS = MOBILENET.layers()


@pytest.fixture(scope="module")
def pixels(photos: list[PIL.Image.Image]) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(photo.resize((224, 224))) for photo in photos[:9]])


@pytest.fixture(scope="module")
def maps(pixels: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of some layers of MobileNet in Keras."""
    import keras

    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3))
    network.load_weights(MOBILENET.find_weights("imagenet").path)
    names = ["conv_pw_6_relu", "conv_pw_12_bn", "conv_pw_13_relu"]
    taken = keras.Model(network.input, [network.get_layer(name).output for name in names])
    prepared = keras.applications.mobilenet.preprocess_input(pixels.astype("float32"))
    return dict(zip(names, taken.predict(prepared, verbose=0), strict=True))


def mean(maps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return maps.mean(axis=(1, 2))


def highest(maps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return maps.max(axis=(1, 2))


@pytest.mark.parametrize("engine", ["openvino", "keras"])
@pytest.mark.parametrize(
    ("layer", "pooling", "expected"),
    [
        ("conv_pw_6_relu", "avg", lambda outputs: mean(outputs["conv_pw_6_relu"])),
        (0.5, "max", lambda outputs: highest(outputs["conv_pw_6_relu"])),
        (
            -1,
            "avgmax",
            lambda outputs: np.hstack([mean(outputs["conv_pw_13_relu"]), highest(outputs["conv_pw_13_relu"])]),
        ),
        pytest.param(  # compiled separately
            *("conv_pw_12_bn", "avg", lambda outputs: mean(outputs["conv_pw_12_bn"])),
            marks=pytest.mark.slow,
            id="a layer within",
        ),
        (
            ["conv_pw_13_relu", 0.5],
            "avg",
            lambda outputs: np.hstack([mean(outputs["conv_pw_13_relu"]), mean(outputs["conv_pw_6_relu"])]),
        ),
        (
            "conv_pw_6_relu+1.0",
            "avgmax",
            lambda outputs: np.hstack(
                [
                    part
                    for name in ("conv_pw_6_relu", "conv_pw_13_relu")
                    for part in (mean(outputs[name]), highest(outputs[name]))
                ]
            ),
        ),
        (None, "none", lambda outputs: outputs["conv_pw_13_relu"].reshape(9, -1)),
    ],
)
def test_features_equal_those_of_keras(
    layer: Any,
    pooling: str,
    expected: Any,
    engine: str,
    pixels: np.ndarray[Any, Any],
    maps: dict[str, np.ndarray[Any, Any]],
    compiled_cache: Path,
) -> None:
    extractor = FeatureExtractor(
        layer=layer,
        pooling=pooling,
        engine=engine,
        precision="float32",
        cache=compiled_cache if engine != "keras" else None,
    )
    rows = extractor.fit_transform(pixels)
    right = expected(maps)
    assert rows.shape == right.shape == (9, extractor.n_features_out_) == (9, len(extractor.get_feature_names_out()))
    assert np.abs(rows - right).max() / np.abs(right).max() < 1e-4


def test_layers_and_poolings_share_one_graph(
    pixels: np.ndarray[Any, Any], compiled_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.extraction.engines.compile.convert_network", lambda *args: pytest.fail("compiled again"))
    for layer in ("conv_dw_13_relu", "conv_dw_12_relu", None):
        for pooling in ("avg", "max", "avgmax", "none"):
            FeatureExtractor(layer=layer, pooling=pooling, image_size=224, cache=compiled_cache).fit_transform(
                pixels[:1]
            )


def test_equal_layers_have_one_recipe() -> None:
    recipes = {
        ExtractionOptions(layer=layer).resolve().recipe
        for layer in (None, "conv_pw_13_relu", -1, 85, 1.0, "-1", "1.0", [-1], ("conv_pw_13_relu", 1.0))
    }
    assert len(recipes) == 1
    assert ExtractionOptions(layer=[0.5, -1]).layer_name == "conv_pw_6_relu+conv_pw_13_relu"
    assert ExtractionOptions(layer=" conv_pw_6_relu + -1").layer_name == "conv_pw_6_relu+conv_pw_13_relu"


def test_depth_of_one_is_the_default_layer() -> None:
    networks = [backbone for name in featx.available_backbones() if (backbone := featx.load_backbone(name)).layers()]
    assert len(networks) == 50
    assert [find_layers(network.name, network.layers(), [1.0])[0].name for network in networks] == [
        network.layer for network in networks
    ]
    assert ExtractionOptions("convnext_tiny", layer="0.5+1.0").layer_name.endswith("+layer_normalization")


def test_relative_depth_selects_end_of_block() -> None:
    assert ExtractionOptions("resnet50", layer=0.5).layer_name == "conv3_block4_out"
    assert ExtractionOptions("resnet50", layer=0.999).layer_name == "conv5_block3_out"
    assert ExtractionOptions("resnet50", layer=1e-9).layer_name == next(
        layer.name for layer in featx.load_backbone("resnet50").layers() if layer.ends_block
    )


def test_fitted_extractor_keeps_its_layer(pixels: np.ndarray[Any, Any], compiled_cache: Path) -> None:
    extractor = FeatureExtractor(layer=0.5, cache=compiled_cache).fit(pixels)
    assert extractor.recipe_["layer"] == "conv_pw_6_relu"
    assert extractor.transform(pixels).shape == (9, 512)
    assert extractor.set_params(layer=None).transform(pixels).shape == (9, 1024)


def test_many_features_warn() -> None:
    with pytest.warns(FeatxWarning, match="100,352 features.*Use pooling"):
        ExtractionOptions(layer=0.75, pooling="none").resolve()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ExtractionOptions(pooling="none").resolve().n_features == 50_176


@pytest.mark.thorough  # Keras in a child process
def test_image_size_decides_number_of_unpooled_features(pixels: np.ndarray[Any, Any]) -> None:
    options = ExtractionOptions(pooling="none", image_size=(96, 160), layer="conv_pw_5_relu+conv_pw_13_relu")
    assert options.n_features == 12 * 20 * 256 + 3 * 5 * 1024
    small = FeatureExtractor(pooling="none", image_size=(96, 160), cache=None)
    assert small.fit_transform(pixels[:1]).shape == (1, 3 * 5 * 1024)


def test_direct_backbone_has_one_output(counting: CountingBackbone) -> None:
    with pytest.raises(OptionError, match="plain Python and has a single output"):
        ExtractionOptions("counting", layer=0.5)
    assert ExtractionOptions("counting", layer="output").layer_name == "output"


def test_layer_without_features_is_refused() -> None:
    strange = [dataclasses.replace(LAYERS[1], name="strange", shape=(3, 4))]
    with pytest.raises(
        OptionError, match="Cannot extract features from layer 'strange'.*neither feature maps nor features"
    ):
        find_layers("a", strange, ["strange"])


@pytest.mark.slow  # Keras in a child process
@pytest.mark.thorough
def test_unknown_network_is_described_by_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.backbones.keras.describe.read_layers", lambda path: None)
    assert dataclasses.replace(MOBILENET, name="my_own").layers() == LAYERS
