"""Descriptions of networks in model files: what was saved is read again, and what no network can be is refused."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from featx.backbones.described import DescribedNetwork
from featx.backbones.layers import POOLINGS, LayerInfo

LAYERS = (LayerInfo("stem", "Conv2D", (24, 24, 8), True), LayerInfo("head", "Norm", (3, 3, 16), True, True, 16))
NETWORK = DescribedNetwork(
    given_name="timm/tiny",
    name="timm/tiny.in1k",
    recorded_name="timm/tiny.in1k",
    size=(48, 48),
    image_size=48,
    min_image_size=32,
    only_size=(48, 48),
    layer="head",
    resize="crop 0.95 bicubic",
    preprocessing_text="123.675,116.28,103.53/58.395,57.12,57.375",
    is_model_file=False,
    native_pooling="cls",
    default_layers=LAYERS,
    sized_layers=LAYERS,
    compiled_layers=("stem", "head"),
    license="apache-2.0",
)
#: What a crafted file may have in place of a value.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 2**16 + 1, 2**40, 1.5, float("nan"), float("inf"), "", "x", "crop", "avg", "\0"),
    *(
        [],
        [1],
        [48, 48],
        [0, 48],
        [48, -48],
        ["a"],
        [[]],
        [["a"]],
        [[1, 2, 3, 4]],
        [["a", "b", [0], True]],
        {},
        {"a": 1},
    ),
    *([["head", "Norm", [2**20, 2**20], True]], [["head", "Norm", [8], True, False, -1]], [["head", 3, [8], True]]),
    *("0,0,0/1,1,1", "0,0/1,1", "0,0,0/0,1,1", "nan,0,0/1,1,1", "0,0,0/1,1,1 rgb", "none", "max", "crop 2", "pad red"),
]


def test_what_was_saved_is_read_again() -> None:
    assert DescribedNetwork.from_text(NETWORK.as_text()) == NETWORK


@pytest.mark.parametrize("resize", ["", "squash", "squash 1 bicubic", "crop 0.875 bilinear", "pad #808080 bicubic"])
def test_resizes_of_networks(resize: str) -> None:
    text = json.dumps({**json.loads(NETWORK.as_text()), "resize": resize})
    assert DescribedNetwork.from_text(text).resize == resize


def changed(rng: random.Random, value: Any) -> Any:
    """Return JSON with one value, at any depth, replaced."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        items = dict(value) if isinstance(value, dict) else list(value)
        key = rng.choice(list(items) if isinstance(items, dict) else range(len(items)))
        items[key] = changed(rng, items[key])
        return items
    return rng.choice(VALUES)


def test_2_000_changed_descriptions() -> None:
    """Each is refused by an error that reading a model reports as a corrupt file, or is that of a possible network."""
    rng, original = random.Random(0), json.loads(NETWORK.as_text())
    n_accepted = 0
    for _ in range(2_000):
        text = json.dumps(changed(rng, original))
        try:
            network = DescribedNetwork.from_text(text)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        n_accepted += 1
        assert all(1 <= side <= 2**16 for side in (*network.size, network.min_image_size)), text
        assert network.only_size in (None, network.size), text
        for pooling in POOLINGS:
            if pooling == "cls" and not network.layers()[-1].has_class_token:
                continue
            assert 1 <= network.n_features(network.resolve_pooling(pooling)) <= 2**32, text
        assert network.as_text()
    assert 0 < n_accepted < 1_000
