from __future__ import annotations

import dataclasses
import re

import pytest

import featx
from featx.backbones.registry import KerasBackbone
from featx.backbones.workers.survey import backbone_name, list_applications, survey
from featx.errors import OptionError
from featx.extraction.options import ExtractionOptions

NETWORKS = [
    backbone for name in featx.available_backbones() if isinstance(backbone := featx.load_backbone(name), KerasBackbone)
]


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(one, id=one.name, marks=[pytest.mark.thorough] if one.name != "mobilenet" else [])
        for one in NETWORKS
    ],
)
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
    assert names == {one.name for one in NETWORKS}
    assert len(names) == 50


@pytest.mark.parametrize("backbone", NETWORKS, ids=lambda one: one.name)
def test_image_size_below_minimum(backbone: KerasBackbone) -> None:
    least = backbone.min_image_size
    with pytest.raises(OptionError, match=f"from {least} to 4096 for {re.escape(repr(backbone.name))}"):
        ExtractionOptions(backbone.name, image_size=(224, least - 1))
    assert ExtractionOptions(backbone.name, image_size=(least, 224)).n_features == backbone.n_features("avg")
