"""The resize: equal to Pillow's within one level, on every CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor
from featx.errors import OptionError
from featx.images.resize import fast_resizer, parse_resize, resize_image

cykooz_resizer = pytest.importorskip("cykooz_resizer", reason="it has no wheels for this system")


def random_pixels(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return noise or a smooth image, of 1 to 800 pixels a side."""
    height, width = (int(side) for side in np.exp(rng.uniform(0, np.log(800), 2)))
    noise = PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if rng.random() < 0.5:
        noise = noise.resize((width, height), box=(0, 0, max(1, width / 5), max(1, height / 5)))
    return np.asarray(noise)


def pillow_reference(pixels: np.ndarray[Any, Any], size: tuple[int, int], resize: str) -> np.ndarray[Any, Any]:
    image, bilinear = PIL.Image.fromarray(pixels), PIL.Image.Resampling.BILINEAR
    ratios = size[0] / image.height, size[1] / image.width
    if resize == "squash":
        return np.asarray(image.resize(size[::-1], bilinear))
    if resize == "crop":
        scale = max(ratios) * 256 / 224
        left, top = (image.width - size[1] / scale) / 2, (image.height - size[0] / scale) / 2
        return np.asarray(image.resize(size[::-1], bilinear, (left, top, image.width - left, image.height - top)))
    inner = image.resize([max(1, round(side * min(ratios))) for side in image.size], bilinear)
    padded = PIL.Image.new("RGB", size[::-1])
    padded.paste(inner, ((size[1] - inner.width) // 2, (size[0] - inner.height) // 2))
    return np.asarray(padded)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_fast_resize_differs_from_pillow_by_one_at_most(resize: str) -> None:
    assert fast_resizer() is cykooz_resizer
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(150):
        pixels, size = random_pixels(rng), (int(rng.integers(1, 300)), int(rng.integers(1, 300)))
        resized = resize_image(pixels, size, resize)
        difference = np.abs(resized.astype(int) - pillow_reference(pixels, size, resize))
        assert difference.max() <= 1, (pixels.shape, size)
        differences.append(difference.mean())
    assert 0 < np.mean(differences) < 0.2


@pytest.mark.usefixtures("pillow_resize")
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_fallback_is_pillow(resize: str, photo: PIL.Image.Image) -> None:
    pixels = np.asarray(photo)
    np.testing.assert_array_equal(
        resize_image(pixels, (100, 224), resize), pillow_reference(pixels, (100, 224), resize)
    )


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 65_536), (1, 1)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    difference = resize_image(pixels, (224, 224), "squash").astype(int) - pillow_reference(pixels, (224, 224), "squash")
    assert np.abs(difference).max() <= 1


def test_result_is_the_same_on_every_cpu(photo: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(photo)
    here = resize_image(pixels, (224, 224), "crop")
    for extensions in (cykooz_resizer.CpuExtensions.none, cykooz_resizer.CpuExtensions.sse4_1):
        limited = cykooz_resizer.Resizer()
        try:
            limited.cpu_extensions = extensions
        except ValueError:  # not of this CPU
            continue
        monkeypatch.setattr(cykooz_resizer, "Resizer", lambda limited=limited: limited)
        np.testing.assert_array_equal(resize_image(pixels, (224, 224), "crop"), here)


def library_reference(image: PIL.Image.Image, side: int, share: float, mode: str, method: int) -> PIL.Image.Image:
    """Resize and CenterCrop of torchvision."""
    resized = int(side / share)
    sides = (resized, resized)
    if mode == "crop":
        width, height = image.size
        sides = (
            (resized, int(resized * height / width)) if width <= height else (int(resized * width / height), resized)
        )
    scaled = image.resize(sides, method)
    left, top = round((scaled.width - side) / 2), round((scaled.height - side) / 2)
    return scaled.crop((left, top, left + side, top + side))


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("share", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("mode", ["squash", "crop"])
def test_resize_with_a_share_is_that_of_timm(mode: str, share: float, method: str, photo: PIL.Image.Image) -> None:
    number = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}[method]
    for size in [(640, 427), (301, 257), (257, 301), (200, 200), (80, 900), (64, 48)]:
        image = photo.resize(size)
        for side in (224, 98):
            expected = np.asarray(library_reference(image, side, share, mode, number))
            resized = resize_image(np.asarray(image), (side, side), f"{mode} {share:g} {method}")
            np.testing.assert_array_equal(resized, expected)


def test_resize_text_is_parsed_and_checked() -> None:
    for text in ("crop", "squash 0.9 bicubic", "crop 0.875 bilinear", "pad bicubic", "pad", "pad #808080 bicubic"):
        assert parse_resize(parse_resize(text).text) == parse_resize(text)
    assert resize_image(np.zeros((30, 40, 3), np.uint8), (20, 30), "crop 0.9 bicubic").shape == (20, 30, 3)
    for text in (
        "",
        "stretch",
        "crop 2",
        "crop 0",
        "crop nan",
        "crop cubic",
        "pad 0.9",
        "crop 0.9 0.8",
        "bicubic",
        "crop #808080",
    ):
        with pytest.raises(OptionError, match="resize .* must be 'native', 'squash', 'crop' or 'pad'"):
            parse_resize(text)


def test_noncontiguous_pixels(photo: PIL.Image.Image) -> None:
    pixels = np.asarray(photo)
    flipped = resize_image(pixels[:, ::-1], (50, 60), "squash")
    np.testing.assert_array_equal(flipped, resize_image(pixels[:, ::-1].copy(), (50, 60), "squash"))


def test_threads_do_not_disturb_each_other(photos: list[PIL.Image.Image]) -> None:
    def resize(image: PIL.Image.Image) -> np.ndarray[Any, Any]:
        return resize_image(np.asarray(image), (224, 224), "squash")

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(resize, photos * 4))
    for resized, image in zip(together, photos * 4, strict=True):
        np.testing.assert_array_equal(resized, resize(image))


@pytest.mark.slow
def test_features_with_fast_resize_are_close_to_those_with_pillow(
    photos: list[PIL.Image.Image], request: pytest.FixtureRequest
) -> None:
    extractor = FeatureExtractor(precision="float32", cache=None)
    fast = extractor.fit_transform(photos)
    request.getfixturevalue("pillow_resize")
    reference = extractor.fit_transform(photos)
    norms = np.linalg.norm(fast, axis=1) * np.linalg.norm(reference, axis=1)
    assert ((fast * reference).sum(axis=1) / norms).min() > 0.999
    assert not np.array_equal(fast, reference)


def test_padding_of_a_color() -> None:
    pixels = np.full((10, 20, 3), 7, dtype=np.uint8)
    padded = resize_image(pixels, (16, 16), "pad #0A80ff bicubic")
    assert padded[0, 0].tolist() == [10, 128, 255]
    assert (padded == 7).all(axis=2).sum() == 8 * 16
    assert parse_resize("pad #0A80ff bicubic").text == "pad #0a80ff bicubic"
