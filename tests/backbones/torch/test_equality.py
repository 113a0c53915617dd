"""Rows equal those of timm, torchvision and open_clip: their own forward pass on their own transform of an image.

No weights can be downloaded here, so they are random; every tensor of a network differs from its initial value.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, load_backbone, save_pipeline
from featx.images.resize import resize_image
from tests.backbones.torch import reference_rows

pytest.importorskip("timm")
pytest.importorskip("open_clip")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the libraries warn about their own use of torch
]
TIMM = [
    ("test_efficientnet.r160_in1k", {}),
    *(
        pytest.param(model, options, marks=pytest.mark.thorough)
        for model, options in (
            ("resnet18.a1_in1k", {}),
            ("mobilenetv3_small_050.lamb_in1k", {}),
            ("convnext_atto.d2_in1k", {}),
            ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", {}),
            ("vit_small_patch14_dinov2.lvd142m", {"img_size": 98}),
            ("vit_small_patch14_reg4_dinov2.lvd142m", {"img_size": 98}),
            ("vit_base_patch16_siglip_224.webli", {"img_size": 64}),
        )
    ),
]


@pytest.fixture(scope="module")
def photo_paths(photos: list[PIL.Image.Image], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Photographs that are higher or wider than the input of each network."""
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for number, size in enumerate([(301, 257), (240, 320), (640, 427)]):
        photos[number].resize(size).save(folder / f"{number}.png")
        paths.append(str(folder / f"{number}.png"))
    return paths


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches") / "cache"


def extract(name: str, paths: Sequence[str], **options: Any) -> np.ndarray[Any, Any]:
    return FeatureExtractor(name, precision="float32", **options).fit_transform(paths)


def assert_equal(rows: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert rows.shape == expected.shape
    assert np.abs(rows - expected).max() <= 1e-3 * np.abs(expected).max()
    distances = np.linalg.norm(expected[0] - expected[1:], axis=1)
    assert distances.min() > 1e-2 * np.linalg.norm(expected[0])  # the rows differ between images


def assert_independent(
    name: str, paths: Sequence[str], rows: np.ndarray[Any, Any], cache: Path, **options: Any
) -> None:
    """Each row is the same, bit by bit, whatever the other images of its batch are."""
    shutil.copytree(cache / "compiled", cache.parent / "others" / "compiled", dirs_exist_ok=True)
    others = extract(name, [*paths[::-1], *paths * 2], cache=cache.parent / "others", **options)
    np.testing.assert_array_equal(others[:3], rows[::-1])


@pytest.mark.parametrize(("model", "options"), TIMM)
def test_timm(model: str, options: dict[str, Any], photo_paths: list[str], tmp_path: Path, cache: Path) -> None:
    import timm

    weights = tmp_path / "weights.safetensors"
    reference_rows.save_random_weights(timm.create_model(model), weights)
    size = {"image_size": options["img_size"]} if options else {}
    rows = extract(f"timm/{model}", photo_paths, weights=weights, cache=cache, **size)
    assert_equal(rows, reference_rows.timm_reference(model, weights, photo_paths, **options))
    assert_independent(f"timm/{model}", photo_paths, rows, cache, weights=weights, **size)
    if "reg4" in model:
        for pooling in ("cls", "avg"):
            others = extract(f"timm/{model}", photo_paths, weights=weights, cache=cache, pooling=pooling, **size)
            assert_equal(others, reference_rows.timm_reference(model, weights, photo_paths, pooling, **options))
        block = extract(f"timm/{model}", photo_paths, weights=weights, cache=cache, layer=0.5, pooling="cls", **size)
        assert block.shape == (3, 384)


@pytest.mark.parametrize("size", [(96, 96), (64, 128)])
def test_pixels_with_a_border_equal_those_of_timm(size: tuple[int, int], photos: list[PIL.Image.Image]) -> None:
    from timm.data import create_transform

    from featx.backbones.torch.names import parse_name
    from featx.backbones.torch.timm_library import configuration

    name = "deepseek_vit_412m.deepseek_v4_1_flash"
    resize = configuration(parse_name(f"timm/{name}"), None).resize
    assert resize == "pad #808080 bicubic"
    border = {"crop_mode": "border", "crop_pct": 1.0, "mean": (0.5, 0.5, 0.5), "interpolation": "bicubic"}
    transform = create_transform((3, *size), **border, normalize=False)
    for photo, sides in zip(photos, [(301, 257), (240, 320), (640, 427), (50, 50), (33, 97)], strict=False):
        image = photo.resize(sides)
        expected = transform(image).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(resize_image(np.asarray(image), size, resize), expected)


@pytest.mark.thorough
@pytest.mark.parametrize(("model", "tag"), [("resnet18", "IMAGENET1K_V1"), ("mobilenet_v3_small", "IMAGENET1K_V1")])
def test_torchvision(model: str, tag: str, photo_paths: list[str], tmp_path: Path, cache: Path) -> None:
    import torchvision

    weights = tmp_path / "weights.safetensors"
    reference_rows.save_random_weights(torchvision.models.get_model(model), weights)
    rows = extract(f"torchvision/{model}.{tag}", photo_paths, weights=weights, cache=cache)
    assert_equal(rows, reference_rows.torchvision_reference(model, tag, weights, photo_paths))
    assert_independent(f"torchvision/{model}.{tag}", photo_paths, rows, cache, weights=weights)


@pytest.mark.thorough
@pytest.mark.parametrize(("model", "pooling"), [("swin_t", "avg"), ("vit_b_32", "cls"), ("squeezenet1_1", "avg")])
def test_maps_of_torchvision(model: str, pooling: str) -> None:
    """Maps with channels last, a class token, and a network whose head is a convolution."""
    import torch

    from featx.backbones.torch import torchvision_library
    from featx.backbones.torch.names import TorchName

    torch.manual_seed(0)
    network = torchvision_library.build(TorchName("torchvision", model), None, None, None)
    if model == "squeezenet1_1":
        images = torch.randn(2, 3, 224, 224)
        with torch.inference_mode():
            expected = network.module.features(images).mean((2, 3))
            np.testing.assert_allclose(network.forward(images).flatten(1), expected, atol=1e-5)
        assert torchvision_library.sizes(model)[1] == 512
    layers, native = network.describe((224, 224))
    assert native == pooling
    assert layers[-1].shape == ((13, 13, 512) if model == "squeezenet1_1" else (7, 7, 768))
    assert layers[-1].has_class_token == (model == "vit_b_32")


@pytest.mark.parametrize("model", ["ViT-S-32"])
def test_open_clip(model: str, photo_paths: list[str], tmp_path: Path, cache: Path) -> None:
    import open_clip

    weights = tmp_path / "weights.safetensors"
    reference_rows.save_random_weights(open_clip.create_model(model), weights)
    rows = extract(f"open_clip/{model}", photo_paths, weights=weights, cache=cache)
    assert_equal(rows, reference_rows.open_clip_reference(model, weights, photo_paths))
    assert_independent(f"open_clip/{model}", photo_paths, rows, cache, weights=weights)
    assert load_backbone(f"open_clip/{model}").n_features("cls") == 384
    extractor = FeatureExtractor(f"open_clip/{model}", weights=weights, precision="float32", cache=cache)
    pipeline = make_pipeline(extractor, LogisticRegression()).fit(photo_paths, ["a", "b", "b"])
    expected = pipeline.predict_proba(photo_paths).max(axis=1)
    save_pipeline(pipeline, tmp_path / "model.skops")
    weights.unlink()
    np.testing.assert_allclose(
        probabilities_without_libraries(tmp_path / "model.skops", photo_paths), expected, atol=1e-4
    )


def probabilities_without_libraries(model: Path, paths: Sequence[str]) -> list[float]:
    """Return the probabilities that a model predicts in a process that has neither torch nor the library."""
    code = """
import json, sys
sys.modules.update(torch=None, open_clip=None, timm=None, tensorflow=None)
from featx import Predictor
print(json.dumps([item.top[0][1] for item in Predictor(sys.argv[1], cache=None).predict_each(sys.argv[2:])]))
"""
    command = [sys.executable, "-c", code, str(model), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(value) for value in json.loads(done.stdout)]


def test_torch_is_not_needed_once_a_network_is_compiled(photo_paths: list[str], cache: Path, python: Any) -> None:
    """In this process, the tests above import torch."""
    script = f"""
import shutil
import sys
from featx import FeatureExtractor
FeatureExtractor("timm/test_resnet.r160_in1k", weights=None, cache={str(cache)!r}).fit_transform({photo_paths!r})
print([name for name in ("torch", "timm", "torchvision", "open_clip", "tensorflow") if name in sys.modules])
"""
    done = python(script)
    assert done.stdout.strip() == "[]", done.stderr
    assert "torch" in sys.modules
