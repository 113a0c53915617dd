"""Preprocessing of Hugging Face, in the forms of its image processors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featx.backbones.hub.processor import Processor, read_processor
from featx.errors import WeightsError

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
SCALING = "123.675,116.28,103.53/58.395,57.12,57.375"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"size": 224, "resample": 2, **IMAGENET}, Processor((224, 224), "squash 1 bilinear", SCALING)),
        (
            {"size": {"height": 384, "width": 256}, "resample": 3, **IMAGENET},
            Processor((384, 256), "squash 1 bicubic", SCALING),
        ),
        (
            {"size": 256, "do_center_crop": True, "crop_size": 224, "resample": 3, **IMAGENET},
            Processor((224, 224), "crop 0.875 bicubic", SCALING),
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3, **IMAGENET},
            Processor((224, 224), "crop 0.875 bicubic", SCALING),
        ),
        (
            {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3, **IMAGENET},
            Processor((384, 384), "squash 1 bicubic", SCALING),
        ),
        (
            {"size": 224, "do_normalize": False, "rescale_factor": 1 / 255},
            Processor((224, 224), "squash 1 bilinear", "0.0,0.0,0.0/255.0,255.0,255.0"),
        ),
        (  # PoolFormer
            {"size": {"shortest_edge": 224}, "crop_pct": 0.9, "crop_size": 224, "do_center_crop": True, **IMAGENET},
            Processor((224, 224), "crop 0.9 bilinear", SCALING),
        ),
        (  # LeViT
            {
                **{"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 224}, "resample": 3},
                **{"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, **IMAGENET},
            },
            Processor((224, 224), "crop 0.875 bicubic", SCALING),
        ),
        (  # MobileViT
            {"size": 256, "crop_size": 224, "do_center_crop": True, "do_flip_channel_order": True},
            Processor((224, 224), "crop 0.875 bilinear", "0.0,0.0,0.0/255.0,255.0,255.0 bgr"),
        ),
        ({"size": 224}, Processor((224, 224), "squash 1 bilinear", None)),
        ({"do_resize": False, **IMAGENET}, Processor(None, "squash", SCALING)),
    ],
)
def test_forms_of_image_processors(tmp_path: Path, config: dict[str, Any], expected: Processor) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(config))
    assert read_processor(path, "hf://org/net/model.onnx") == expected


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"size": 224, "resample": 1}, r"resample must be 2 \(bilinear\) or 3 \(bicubic\), got 1"),
        ({"size": {"shortest_edge": 224}}, "got a shortest edge without a crop"),
        (
            {"size": 224, "do_flip_channel_order": True, **IMAGENET},
            "must be false for pixels that are normalized, got true",
        ),
    ],
)
def test_steps_that_featx_does_not_have_are_refused(tmp_path: Path, config: dict[str, Any], problem: str) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=rf"{problem}\. Download the network"):
        read_processor(path, "hf://org/net/model.onnx")


@pytest.mark.parametrize("text", ["", "[]", '{"size": {"longest_edge": 4}}', '{"size": "large"}'])
def test_unreadable_file_has_a_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"Download the network, and pass its path, preprocessing"):
        read_processor(path, "hf://org/net/model.onnx")
