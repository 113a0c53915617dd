"""Arrays as images."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, compare_images
from featx.datasets.failures import Failure, remedy_for
from featx.errors import InputError, UnreadableImageError
from featx.images.arrays import as_pixels
from featx.recipe import Window

RGB = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0]
RGBA = np.dstack([RGB, GRAY])


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (RGB, RGB),
        (GRAY, GRAY),
        (GRAY[:, :, None], GRAY),
        (GRAY[None], GRAY),
        (np.moveaxis(RGB, 2, 0), RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(np.uint16) * 257, RGB),
        (GRAY > 127, (GRAY > 127) * np.uint8(255)),
    ],
    ids=["RGB", "gray", "h,w,1", "1,h,w", "3,h,w", "float64", "float32", "int64", "uint16", "bool"],
)
def test_arrays_of_other_shapes_and_types(array: Any, expected: Any) -> None:
    pixels = as_pixels(array)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


def test_opacity_is_on_white_as_in_files() -> None:
    white = PIL.Image.new("RGBA", (20, 16), "white")
    expected = PIL.Image.alpha_composite(white, PIL.Image.fromarray(RGBA)).convert("RGB")
    for array in (RGBA, np.moveaxis(RGBA, 2, 0), RGBA / 255):
        np.testing.assert_array_equal(as_pixels(array), np.asarray(expected))


def test_window_of_values() -> None:
    np.testing.assert_array_equal(as_pixels(RGB.astype(np.float64), Window(0, 255)), RGB)
    np.testing.assert_array_equal(as_pixels(GRAY.astype(np.uint16) * 16, Window(0, 4080)), GRAY)
    np.testing.assert_array_equal(as_pixels(RGB, Window(0, 4095)), RGB)  # uint8 has 8 bits


def test_values_outside_of_the_range_are_an_error() -> None:
    with pytest.raises(UnreadableImageError, match=r"expected int32 pixels from 0 to 255, got -1 to -1.*window="):
        as_pixels(np.full((4, 4), -1, dtype=np.int32))


@pytest.mark.parametrize(
    ("least", "largest", "window"),
    [
        (0, 255, (0, 255)),
        (-3, 258, (0, 255)),
        (0, 16, (0, 16)),
        (0, 1.05, (0, 1)),
        (-0.02, 1, (0, 1)),
        (-1, 0.992, (-1, 1)),
        (-1000, 3000, (-1000, 3000)),
        (0, 4095, (0, 4095)),
    ],
)
def test_the_suggested_window_keeps_the_contrast(least: float, largest: float, window: tuple[float, float]) -> None:
    images = np.linspace(least, largest, 2 * 256).reshape(2, 16, 16)
    with pytest.raises(InputError) as error:
        FeatureExtractor("color_histogram", cache=None).transform(images)
    suggested = re.search(r"window=\((.*?), (.*?)\) \(--window \1 \2\)", str(error.value))
    assert suggested is not None
    assert tuple(map(float, suggested.groups())) == window
    pixels = as_pixels(images[1], Window(*map(float, suggested.groups())))
    assert np.ptp(pixels) > 115
    assert pixels.max() > 250


@pytest.mark.parametrize(("mean", "std"), [(0.45, 0.225), (0.1307, 0.3081)])
def test_the_standardization_of_pixels_is_to_be_undone(mean: float, std: float) -> None:
    extractor = FeatureExtractor("color_histogram", cache=None)
    images = (np.stack([RGB, RGB[::-1]]) / 255 - mean) / std
    with pytest.raises(
        InputError, match=r"standardized: undo this with np\.clip\(images \* std \+ mean, 0, 1\)"
    ) as error:
        extractor.transform(images)
    assert "window" not in str(error.value)
    undone = np.clip(images * std + mean, 0, 1)
    np.testing.assert_array_equal(extractor.transform(undone), extractor.transform(np.stack([RGB, RGB[::-1]])))
    with pytest.raises(UnreadableImageError, match="; they look standardized: undo") as reason:
        as_pixels(images[0])
    assert remedy_for(Failure(0, "images[0]", reason.value.reason, "UnreadableImageError")) == ""


def test_one_range_for_all_arrays_of_a_call() -> None:
    extractor = FeatureExtractor("color_histogram", cache=None)
    dark, bright = np.zeros((8, 8, 3)), np.full((8, 8, 3), 200.0)
    assert extractor.transform([dark, dark + 1]).shape == (2, 512)
    with pytest.raises(InputError, match=r"float64 pixels from 0 to 1, got 0 to 200.*window=\(0, 255\)"):
        extractor.transform([dark, bright])
    rows = FeatureExtractor("color_histogram", cache=None, window=(0, 255)).transform([dark, bright])
    expected = extractor.transform([dark.astype(np.uint8), bright.astype(np.uint8)])
    np.testing.assert_array_equal(rows, expected)


def test_one_array_with_nan_costs_no_other() -> None:
    extractor = FeatureExtractor("color_histogram", cache=None, on_error="nan")
    broken = np.full((8, 8, 3), np.nan)
    with pytest.warns(UserWarning, match="the array has NaN"):
        rows = extractor.transform([RGB / 255, broken])
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1]).all()


class Tensor:
    """What featx uses of a tensor of torch, tensorflow or dask."""

    def __init__(self, array: Any, device: str = "cpu") -> None:
        self._array, self._device, self.shape = array, device, array.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self._device != "cpu":
            raise TypeError(f"can't convert {self._device} tensor to numpy")
        return self._array


def test_arrays_of_other_libraries() -> None:
    extractor = FeatureExtractor("color_histogram", cache=None)
    batch = np.stack([RGB, RGB[::-1]])
    expected = extractor.transform(batch)
    np.testing.assert_array_equal(extractor.transform(Tensor(batch)), expected)
    np.testing.assert_array_equal(extractor.transform([Tensor(image) for image in batch]), expected)
    dask = pytest.importorskip("dask.array")
    np.testing.assert_array_equal(extractor.transform(dask.from_array(batch)), expected)
    with pytest.raises(InputError, match=r"can't convert cuda tensor.*\.detach\(\)\.cpu\(\)"):
        extractor.transform(Tensor(batch, "cuda"))


def test_comparisons_have_one_range_for_all_arrays():
    images = [np.full((8, 8, 3), value, dtype=np.float32) for value in (0.5, 200, 1, 250)]
    options = {"backbones": ["color_histogram"], "cache": None}
    with pytest.raises(
        InputError, match=r"Pass the range of all images to the extractor, such as window=\(0, 255\) \("
    ):
        compare_images(images, list("abab"), **options)


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (8, 8), (6, 10)])
def test_one_array_is_not_taken_for_several(shape):
    with pytest.raises(InputError, match=r"list.*\[image\]"):
        FeatureExtractor("color_histogram", cache=None).transform(np.zeros(shape, dtype=np.uint8))
