from __future__ import annotations

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from featx import FeatureExtractor, load_backbone
from featx.backbones.files.display_name import display_name, network_cache_folder
from featx.backbones.files.network_file import as_backbone_name
from featx.backbones.preprocessing import missing_preprocessing_error
from featx.errors import OptionError, RecipeMismatchError, WeightsError
from tests.backbones.networks import SIZE, Array, ModelWithCode, build_network


@pytest.mark.slow  # Keras in child processes
def test_keras_object_is_a_backbone(pixels: Array, outputs: dict[str, Array], tmp_path: Path) -> None:
    network = build_network(SIZE)
    extractor = FeatureExtractor(network, preprocessing="tf", precision="float32", cache=tmp_path / "cache")
    np.testing.assert_allclose(extractor.fit_transform(pixels), outputs["head"], atol=1e-5)
    assert list(extractor.get_feature_names_out()[:1]) == ["small_0"]
    kept = as_backbone_name(network)
    assert as_backbone_name(clone(extractor).backbone) == kept
    digest = load_backbone(kept).source.digest
    Path(kept).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="Pass the object again"):
        load_backbone(kept)
    damaged, kept = kept, as_backbone_name(network)
    assert not Path(damaged).exists()
    assert zipfile.is_zipfile(kept)
    assert load_backbone(kept).source.digest == digest
    network.compile("sgd", "mse")
    assert as_backbone_name(network) == kept
    network.layers[1].set_weights([value + 1 for value in network.layers[1].get_weights()])
    os.utime(Path(kept).parents[1], (0, 0))  # last used half a century ago
    assert as_backbone_name(network) != kept
    assert not Path(kept).exists()
    with pytest.raises(RecipeMismatchError, match="weights"):  # it was fitted with other weights
        extractor.transform(pixels)


@pytest.mark.thorough  # Keras builds and writes networks
def test_threads_cache_one_network() -> None:
    for seed in range(3):
        network = build_network(SIZE)
        network.layers[1].bias.assign(np.full(8, seed))
        with ThreadPoolExecutor(4) as pool:
            kept = list(pool.map(as_backbone_name, [network] * 4))
        assert len({load_backbone(path).source.digest for path in kept}) == 1


@pytest.mark.parametrize(
    ("module", "built", "json_", "reason"),
    [
        (
            "mine",
            True,
            "{}",
            "'mine' .a keras.Model object.: files do not hold the code of its class '_Model'.*model.export",
        ),
        ("keras.src.models.sequential", False, "{}", "it is not built .*keras.Input"),
        (
            "keras.src.models.functional",
            True,
            '{"class_name": "Lambda"}',
            "of the class Lambda. The model is read from a file",
        ),
    ],
)
def test_unreadable_objects_are_refused(module: str, built: bool, json_: str, reason: str) -> None:
    kind = type("_Model", (ModelWithCode,), {"__module__": module, "built": built, "to_json": lambda self: json_})
    with pytest.raises(WeightsError, match=reason):
        as_backbone_name(kind())


def test_display_name() -> None:
    kept = network_cache_folder() / ("0" * 64) / ("1" * 64) / "small.keras"
    assert display_name(kept) == "'small' (a keras.Model object)"
    assert display_name("nets/small.keras") == "'nets/small.keras'"
    with pytest.raises(OptionError, match="must be set for the custom model file 'small' .a keras.Model object."):
        raise missing_preprocessing_error(str(kept))
