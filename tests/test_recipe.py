from __future__ import annotations

import dataclasses

import pytest

from featx import Recipe

RECIPE = Recipe("mobilenet", "9c4f", (224, 224), "conv_pw_13_relu", "avg", "squash", "float32")
CHANGES = {
    "backbone": "other",
    "weights": "other",
    "image_size": (224, 192),
    "layer": "other",
    "pooling": "max",
    "resize": "crop",
    "precision": "bfloat16",
    "pixels": RECIPE.pixels + 1,
    "preprocessing": "0,0,0/255,255,255",
    "tta": "flip",
    "calibration": "9ba71b0f1cceae18",
    "window": "0:4095",
    "bands": "4,3,2",
}


def test_fingerprint_is_stable() -> None:
    # If this changes, no cached row of any user is found any more.
    assert RECIPE.fingerprint == "9c981fca28014317"


def test_every_field_is_covered() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_changes_the_fingerprint(field: str) -> None:
    assert dataclasses.replace(RECIPE, **{field: CHANGES[field]}).fingerprint != RECIPE.fingerprint


@pytest.mark.parametrize("field", CHANGES)
def test_recipes_with_the_same_network_share_its_graph(field: str) -> None:
    changed = dataclasses.replace(RECIPE, **{field: CHANGES[field]})
    shared = field in ("pooling", "resize", "precision", "pixels", "tta", "window", "bands")
    assert (changed.graph_fingerprint == RECIPE.graph_fingerprint) is shared
