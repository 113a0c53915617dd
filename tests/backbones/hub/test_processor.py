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


def of(kind: str, **config: Any) -> dict[str, Any]:
    return {"image_processor_type": f"{kind}ImageProcessor", **IMAGENET, **config}


CROP = {"do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
#: Forms of files, with the sizes and the resize that transformers 5.24 computes for them.
FORMS = [
    ({"size": 224, "resample": 2, **IMAGENET}, (224, 224), "squash 1 bilinear"),  # the first files of ViT
    (of("ViT", size={"height": 384, "width": 256}, resample=3), (384, 256), "squash 1 bicubic"),
    (of("Siglip", size={"height": 224, "width": 224}), (224, 224), "squash 1 bicubic"),
    (of("DeiT", size=256, **CROP), (224, 224), "squash 0.875 bicubic floor"),
    (of("CLIP", size=224, crop_size=224), (224, 224), "crop 1 bicubic floor"),
    (of("Bit", size={"shortest_edge": 256}, **CROP), (224, 224), "crop 0.875 bicubic floor"),
    (of("ConvNext", size=224, crop_pct=0.875), (224, 224), "crop 0.875 bicubic floor"),
    (of("ConvNext", size={"shortest_edge": 384}, crop_pct=0.875), (384, 384), "squash 1 bicubic"),
    (of("PoolFormer", size=224, crop_pct=0.9, **CROP), (224, 224), "crop 0.9032 bicubic floor"),
    (of("Levit", size={"shortest_edge": 224}, **CROP), (224, 224), "crop 0.875 bicubic floor"),
    (of("MobileNetV2", size={"shortest_edge": 256}, **CROP), (224, 224), "crop 0.875 bilinear floor"),
    (of("Vit", do_resize=False) | {"image_processor_type": "ViTImageProcessorFast"}, None, "squash"),
]


@pytest.mark.parametrize(("config", "image_size", "resize"), FORMS)
def test_resize_is_that_of_the_class(
    tmp_path: Path, config: dict[str, Any], image_size: tuple[int, int] | None, resize: str
) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(config))
    assert read_processor(path, "hf://org/net/model.onnx") == Processor(image_size, resize, SCALING)


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({"do_normalize": False, "rescale_factor": 1 / 255}, "0.0,0.0,0.0/255.0,255.0,255.0"),
        ({}, None),
        (of("MobileViT", do_center_crop=False), "0.0,0.0,0.0/255.0,255.0,255.0 bgr"),
        (  # pixel / 127.5 - 1, normalized, and divided again
            of(
                "EfficientNet", rescale_factor=1 / 127.5, rescale_offset=True, image_mean=[0.5] * 3, image_std=[0.2] * 3
            ),
            "191.25,191.25,191.25/5.1,5.1,5.1",
        ),
        (
            of("EfficientNet", include_top=False, image_mean=[0.5] * 3, image_std=[0.2] * 3),
            "127.5,127.5,127.5/51.0,51.0,51.0",
        ),
    ],
)
def test_scaling(tmp_path: Path, config: dict[str, Any], scaling: str | None) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({"size": {"height": 224, "width": 224}, **config}))
    assert read_processor(path, "hf://org/net/model.onnx").preprocessing == scaling


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"size": 224, "resample": 1}, r"resample must be 2 \(bilinear\) or 3 \(bicubic\), got 1"),
        ({"size": {"shortest_edge": 224}}, "got a shortest edge without a crop"),
        ({"size": 224, "do_flip_channel_order": True, **IMAGENET, "do_normalize": True}, "normalized, got true"),
        ({"size": 256, "crop_size": 224, "do_center_crop": True}, "for a size of one number with a crop, got none"),
        (of("DPT", size=384), "must be one that featx knows, .*, got 'DPT'"),
        (of("ViT", size=384, ensure_multiple_of=32), "must be those of ViT, got 'ensure_multiple_of'"),
        (of("CLIP", size=224, crop_size=256), r"crop_size must be a part of the size .*, got \(256, 256\) of .*"),
        (of("ViT"), "size must be set, got none"),
        (of("ViT", do_resize=False, **CROP), "do_resize must be true with a crop, got false"),
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
