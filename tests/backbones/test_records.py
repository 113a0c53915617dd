from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

import featx
from featx.backbones.keras.builder import measure_preprocessing
from featx.backbones.preprocessing import parse_preprocessing
from featx.backbones.records import RECORDS_FOLDER, KerasRecord, imagenet_top1, read_records
from featx.backbones.registry import KerasBackbone
from featx.backbones.workers.survey import backbone_name, list_applications, survey, update_record
from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions

NETWORKS = [
    backbone for name in featx.available_backbones() if isinstance(backbone := featx.load_backbone(name), KerasBackbone)
]
FIRST_OF_MODULE = {record.module_name: record for record in read_records()}


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(backbone, id=backbone.name, marks=[pytest.mark.thorough] if backbone.name != "mobilenet" else [])
        for backbone in NETWORKS
    ],
)
@pytest.mark.slow
def test_record_matches_installed_keras(backbone: KerasBackbone) -> None:
    """Sizes, address and digest of the weights, layers."""
    module, function = backbone.application.split(".")
    fields, rows = survey(module, function, backbone.alpha)
    own = {name: value for name, value in dataclasses.asdict(backbone).items() if name in fields}
    for known in (own, fields):
        known.pop("layer")  # Keras numbers some names by what else was built in the process
    assert own == fields
    assert [row[1:] for row in rows] == [
        (layer.kind, list(layer.shape), layer.ends_block) for layer in backbone.layers()
    ]
    plain = [re.sub(r"_\d+$", "", row[0]) for row in rows]
    assert plain == [re.sub(r"_\d+$", "", layer.name) for layer in backbone.layers()]
    assert backbone.layers()[-1].name == backbone.layer


def test_all_keras_networks_have_records() -> None:
    names = {backbone_name(function, alpha) for _, function, alpha in list_applications()}
    assert names == {backbone.name for backbone in NETWORKS}
    assert len(names) == 50


@pytest.mark.parametrize("backbone", NETWORKS, ids=lambda backbone: backbone.name)
def test_image_size_below_minimum(backbone: KerasBackbone) -> None:
    least = backbone.min_image_size
    with pytest.raises(OptionError, match=f"from {least} to 4096 for {re.escape(repr(backbone.name))}"):
        ExtractionOptions(backbone.name, image_size=(224, least - 1))
    assert ExtractionOptions(backbone.name, image_size=(least, 224)).n_features == backbone.n_features("avg")


@pytest.mark.parametrize("record", read_records(), ids=lambda record: record.name)
def test_record_is_complete(record: KerasRecord) -> None:
    assert record.family
    assert record.license in {"Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "MIT"}
    assert record.pretraining_data in {"ImageNet-1k", "ImageNet-21k, ImageNet-1k"}
    assert all(urlsplit(url).scheme == "https" for url in (record.origin_url, record.paper, record.weights_url))
    assert record.n_parameters > 0
    assert 0.5 < (imagenet_top1(record.name) or 0) < 1


@pytest.mark.parametrize("record", FIRST_OF_MODULE.values(), ids=FIRST_OF_MODULE)
def test_preprocessing_is_that_of_keras(record: KerasRecord) -> None:
    named, measured = parse_preprocessing(record.preprocessing), measure_preprocessing(record)
    assert measured.is_bgr == named.is_bgr
    np.testing.assert_allclose(measured.value_table(), named.value_table(), atol=1e-4)


def test_accuracy_of_other_backbones_is_unknown() -> None:
    assert imagenet_top1("color_histogram") is None


def test_survey_keeps_what_keras_does_not_know(tmp_path: Path) -> None:
    path = Path(shutil.copy(RECORDS_FOLDER / "mobilenet.json", tmp_path))
    before = json.loads(path.read_text())
    known_to_keras = {name: value for name, value in before["networks"][0].items() if "bundled" not in name}
    update_record(path, known_to_keras)
    assert json.loads(path.read_text()) == before
    update_record(path, {**known_to_keras, "name": "mobilenet_2.0"})
    assert [network["name"] for network in json.loads(path.read_text())["networks"]][-1] == "mobilenet_2.0"


def test_survey_starts_file_of_new_family(tmp_path: Path) -> None:
    update_record(tmp_path / "new.json", {"name": "new_s", "application": "new.NewS"})
    family = json.loads((tmp_path / "new.json").read_text())
    assert family.pop("networks") == [{"name": "new_s", "application": "new.NewS"}]
    assert set(family.values()) == {""}
