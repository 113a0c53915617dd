"""Images of 10 or 12 bits that are stored in 16, and signed images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import (
    FeatureExtractor,
    check_images,
    extract_images,
    find_images,
    load_pipeline,
    open_features,
    train_images,
)
from featx.datasets.pixel_range import pixel_range_note, sample_pixel_range
from featx.errors import FeatxWarning, OptionError
from featx.images.decode import decode_image
from featx.images.image_lists import name_images
from featx.recipe import Window
from tests import samples

FAST: dict[str, Any] = {"backbone": "color_histogram", "image_size": 32, "cache": None}


def gray(photos: list[PIL.Image.Image]) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(photo.convert("L")) for photo in photos[:4]]


@pytest.fixture
def eight_bits(photos: list[PIL.Image.Image], tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"8-{number}.png" for number in range(4)]
    for path, pixels in zip(paths, gray(photos), strict=True):
        PIL.Image.fromarray(pixels).save(path)
    return [str(path) for path in paths]


def write_deep(photos: list[PIL.Image.Image], folder: Path, bits: int) -> list[str]:
    """Write photos with values of fewer bits than the 16 that they are stored in."""
    (folder / "all").mkdir(exist_ok=True)
    paths = [folder / "all" / f"{bits}-{number}.png" for number in range(4)]
    for path, pixels in zip(paths, gray(photos), strict=True):
        scaled = np.round(pixels.astype(np.float64) * (2**bits - 1) / 255).astype(np.uint16)
        PIL.Image.fromarray(scaled).save(path)
    return [str(path) for path in paths]


def test_the_pixels_of_cached_rows_are_not_examined_again(
    photos: list[PIL.Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_deep(photos, tmp_path, 12)
    extractor = FeatureExtractor(**FAST | {"cache": tmp_path / "cache"})
    with pytest.warns(FeatxWarning, match="pass bit_depth=12"):
        rows = extractor.transform(paths)
    monkeypatch.setattr("featx.extraction.feature_extractor.pixel_range_note", None)
    assert np.array_equal(extractor.transform(paths), rows)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_few_bits_in_16_are_noted_and_scaled(
    bits: int, photos: list[PIL.Image.Image], eight_bits: list[str], tmp_path: Path
) -> None:
    paths = write_deep(photos, tmp_path, bits)
    note = pixel_range_note(paths)
    assert f"pass bit_depth={bits} (--bit-depth {bits})" in note
    assert pixel_range_note(paths, (0, 4095)) == ""
    assert note in check_images(paths).as_text().replace("\n  ", " ")
    expected = FeatureExtractor(**FAST).transform(eight_bits)
    with pytest.warns(FeatxWarning, match=f"bit_depth={bits}"):
        dark = FeatureExtractor(**FAST).transform(paths)
    assert not np.allclose(dark, expected, atol=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(FeatureExtractor(**FAST, bit_depth=bits).transform(paths), expected, atol=1e-6)
        window = (0, 2**bits - 1)
        np.testing.assert_allclose(FeatureExtractor(**FAST, window=window).transform(paths), expected, atol=1e-6)


def test_full_16_bits_and_8_bits_have_no_note(
    photos: list[PIL.Image.Image], eight_bits: list[str], tmp_path: Path
) -> None:
    assert pixel_range_note(write_deep(photos, tmp_path, 16)) == ""
    assert pixel_range_note(eight_bits) == ""
    assert sample_pixel_range(eight_bits) is None
    rows = [FeatureExtractor(**FAST, **options).transform(eight_bits) for options in ({}, {"bit_depth": 12})]
    np.testing.assert_array_equal(*rows)  # images with 8 bits are not scaled


def test_window_of_signed_pixels(tmp_path: Path) -> None:
    pixels = np.linspace(-1000, 3000, 256).reshape(16, 16).astype(np.int32)
    PIL.Image.fromarray(pixels).save(tmp_path / "ct.tif")
    assert "Pass the range of interest, for example window=(-1000, 3000)" in pixel_range_note([tmp_path / "ct.tif"])
    decoded = decode_image((tmp_path / "ct.tif").read_bytes(), (16, 16), window=Window(-1000, 400))[:, :, 0]
    expected = np.round(np.clip((pixels + 1000) / 1400, 0, 1) * 255)
    np.testing.assert_allclose(decoded, expected, atol=1)


def test_window_of_a_pillow_image() -> None:
    image = PIL.Image.fromarray(np.full((8, 8), 4095, dtype=np.uint16))
    white = FeatureExtractor(**FAST).transform([PIL.Image.new("RGB", (8, 8), "white")])
    np.testing.assert_array_equal(FeatureExtractor(**FAST, bit_depth=12).transform([image]), white)
    with pytest.warns(FeatxWarning, match="bit_depth=12"):
        assert not np.array_equal(FeatureExtractor(**FAST).transform([image]), white)


def test_window_is_part_of_the_recipe(photos: list[PIL.Image.Image], tmp_path: Path) -> None:
    paths = write_deep(photos, tmp_path, 12)
    recipes = [
        FeatureExtractor(**FAST, **options).fit(paths).recipe_
        for options in ({}, {"bit_depth": 12}, {"window": (0, 4095)}, {"window": [0.0, 4095.0]})
    ]
    assert "window" not in recipes[0]
    assert [recipe["window"] for recipe in recipes[1:]] == ["0:4095"] * 3
    summary = extract_images(paths, tmp_path / "f.npy", **FAST)
    assert "bit_depth=12" in summary.notes[0]
    scaled = extract_images(paths, tmp_path / "g.npy", **FAST, bit_depth=12)
    assert scaled.notes == []
    assert scaled.fingerprint != summary.fingerprint
    assert not np.array_equal(open_features(tmp_path / "f.npy"), open_features(tmp_path / "g.npy"))


def test_model_keeps_the_window(photos: list[PIL.Image.Image], tmp_path: Path) -> None:
    paths = write_deep(photos, tmp_path, 12)
    backbone = FeatureExtractor(**FAST, window=(0, 4095))
    model = train_images(paths, ["a", "b", "a", "b"], backbone=backbone, estimator="knn", cache=None)
    model.save(tmp_path / "model.skops")
    extractor = load_pipeline(tmp_path / "model.skops", cache=None)[0]
    assert tuple(extractor.window) == (0, 4095)
    np.testing.assert_array_equal(extractor.transform(paths), backbone.transform(paths))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bit_depth": 0}, "bit_depth .* from 1 to 32, got 0"),
        ({"bit_depth": 33}, "bit_depth .* from 1 to 32, got 33"),
        ({"window": (5, 5)}, "window .*--window 0 4095.* got"),
        ({"window": (1,)}, "window .* must be the lowest and the highest value"),
        ({"window": (0, float("inf"))}, "window .* must be the lowest and the highest value"),
        ({"window": (0, 1), "bit_depth": 12}, "cannot be combined. Remove one of them"),
    ],
    ids=str,
)
def test_invalid_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        FeatureExtractor(**FAST, **options).fit(["a.png"])


def test_unreadable_and_remote_images_are_left_to_the_extraction(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    images = [tmp_path / "a.png", tmp_path / "absent.png", "https://example.invalid/b.png", b"", None]
    assert pixel_range_note(images) == ""


@pytest.mark.parametrize("write", [lambda pixels: samples.png(pixels, bits=16), samples.tiff16], ids=["png", "tiff"])
def test_dark_colors_of_16_bits_are_noted(write: Any, tmp_path: Path) -> None:
    suffix = "tif" if write is samples.tiff16 else "png"
    bright = np.random.default_rng(0).integers(0, 65536, (8, 8, 3))
    (tmp_path / f"bright.{suffix}").write_bytes(write(bright))
    assert pixel_range_note([str(tmp_path / f"bright.{suffix}")]) == ""
    (tmp_path / f"dark.{suffix}").write_bytes(write(bright // 16))
    dark = str(tmp_path / f"dark.{suffix}")
    highest = int((bright // 16).max())
    assert pixel_range_note([dark]).startswith(f"Images have 16 bits per pixel, but values up to {highest:,} only")
    pixels = decode_image(Path(dark).read_bytes(), (8, 8), window=Window(0, 4095))
    np.testing.assert_allclose(pixels, bright / 257, atol=1)


def test_dark_images_in_memory_and_in_tables_are_noted(tmp_path: Path) -> None:
    dark = samples.png(np.random.default_rng(0).integers(0, 4096, (8, 8, 3)), bits=16)
    assert "pass bit_depth=12" in pixel_range_note([dark])
    assert "pass bit_depth=12" in pixel_range_note(find_images([dark, dark]).paths)
    table = pytest.importorskip("pyarrow").table({"image": [dark] * 20})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "t.parquet")
    assert "pass bit_depth=12" in pixel_range_note(find_images(tmp_path / "t.parquet").paths)
    np.savez(tmp_path / "a.npz", images=np.full((3, 8, 8), 900, dtype=np.uint16))
    assert "pass bit_depth=10" in pixel_range_note(find_images(tmp_path / "a.npz").paths)


def test_dark_arrays_are_noted() -> None:
    array = np.full((4, 8, 8), 4000, dtype=np.uint16)
    assert "pass bit_depth=12" in pixel_range_note(list(array))
    assert "pass bit_depth=12" in pixel_range_note(find_images(array).paths)
    assert pixel_range_note([array.astype(np.uint8), b"bytes"]) == ""


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_12_bits_in_other_types_are_noted(dtype: str, tmp_path: Path) -> None:
    images = [PIL.Image.fromarray(np.full((8, 8), value, dtype=dtype)) for value in (900, 4095)]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.tif")
    paths = sorted(map(str, tmp_path.iterdir()))
    for source in (paths, images, [Path(path).read_bytes() for path in paths]):
        note = pixel_range_note(source)
        assert note.startswith("Images have 32 bits per pixel, but values up to 4,095 only in a sample of 2")
        assert "pass bit_depth=12 (--bit-depth 12)" in note
    assert pixel_range_note(find_images(tmp_path).paths) == note
    assert decode_image(Path(paths[1]).read_bytes(), (8, 8)).max() < 20
    assert decode_image(Path(paths[1]).read_bytes(), (8, 8), window=Window(0, 4095)).min() == 255


def test_images_with_ranges_of_their_own_are_noted() -> None:
    images = [PIL.Image.fromarray(np.full((8, 8), value, dtype=np.int32)) for value in (250, 260)]
    note = pixel_range_note(images)
    assert "are scaled from different ranges ('0–255', '0–65535')" in note
    assert "window=(0, 260) (--window 0 260)" in note
    assert pixel_range_note(images, (0, 260)) == ""
    floats = [PIL.Image.fromarray(np.full((8, 8), value, dtype=np.float32)) for value in (0.5, 0.9)]
    assert pixel_range_note(floats) == ""
    assert "('0–1', '0–255')" in pixel_range_note([*floats, PIL.Image.fromarray(np.full((8, 8), 7, dtype=np.float32))])
    assert (
        pixel_range_note([PIL.Image.new("I", (8, 8), 200), PIL.Image.new("L", (8, 8)), PIL.Image.new("RGB", (8, 8))])
        == ""
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_arrays_of_small_integers_are_noted(dtype: type) -> None:
    digits = np.arange(4 * 64, dtype=dtype).reshape(4, 8, 8) % 17
    for images in (list(digits), name_images(list(digits), "images")):
        note = pixel_range_note(images)
        assert "values up to 16 only in a sample of 4: they are nearly black" in note
        assert "If 16 is white, multiply the pixels by 15." in note
        assert pixel_range_note(images, "0:16") == ""
    assert pixel_range_note(list(digits * 15)) == ""  # the remedy
    assert pixel_range_note(list(digits / 16)) == ""
    assert pixel_range_note([np.zeros((8, 8), dtype=dtype)] * 3) == ""


def test_masks_of_0_and_1_in_files_are_noted(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "masks.npz", images=masks)
    for factor in (1, 255):
        (tmp_path / str(factor)).mkdir()
        for number, mask in enumerate(masks * np.uint8(factor)):
            PIL.Image.fromarray(mask).save(tmp_path / str(factor) / f"{number}.png")
    paths = [str(path) for path in sorted((tmp_path / "1").iterdir())]
    for images in (tmp_path / "1", tmp_path / "masks.npz", [Path(path).read_bytes() for path in paths]):
        assert "If 1 is white, multiply the pixels by 255." in pixel_range_note(find_images(images).paths)
        assert len(check_images(images).notes) == 1
    assert pixel_range_note(find_images(tmp_path / "255").paths) == ""  # the remedy
    assert pixel_range_note([*paths, str(tmp_path / "255" / "0.png")]) == ""
    for path in paths:  # a palette has colors
        image = PIL.Image.open(path)
        image.putpalette([0, 0, 0, 255, 0, 0])
        image.save(path)
    assert pixel_range_note(paths) == ""


def test_floats_that_are_divided_twice_are_noted() -> None:
    images = np.random.default_rng(0).random((3, 8, 8, 3))
    images[:, 0, 0] = 1.0
    note = pixel_range_note(list(images / 255))
    assert "Pixels, whose white is 1, have values up to 0.00392 only in a sample of 3: they are nearly black." in note
    assert "multiply the pixels by 255." in note
    assert pixel_range_note(list(images)) == pixel_range_note(list(images / 2)) == ""
    assert pixel_range_note([np.full((8, 8), np.nan)] * 3) == ""


@pytest.mark.parametrize("opacity", [0, 1])
@pytest.mark.parametrize("is_first", [False, True])
def test_arrays_that_are_transparent_are_noted(opacity: int, is_first: bool) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    images = np.concatenate([colors, np.full((3, 8, 8, 1), opacity, dtype=np.uint8)], axis=3)
    note = pixel_range_note(list(np.moveaxis(images, 3, 1) if is_first else images))
    assert f"opacity, with values up to {opacity} of 255 only in a sample of 3: they are nearly white" in note
    assert pixel_range_note(list(images[..., :3])) == ""  # the remedy
    assert pixel_range_note(list(images / 255)).startswith("The fourth channel of arrays is opacity")
