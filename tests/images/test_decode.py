from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, compare_baselines
from featx.errors import ImageTooLargeError, UnreadableImageError
from featx.features.search.cosine import mean_cosine
from featx.images.decode import decode_image, decode_pillow
from featx.images.resize import shrink_factor

SIZE = (224, 224)
Encode = Callable[..., bytes]


def expected(image: PIL.Image.Image, size: tuple[int, int] = SIZE) -> np.ndarray[Any, Any]:
    """Reference: Pillow converts and resizes."""
    return np.asarray(image.convert("RGB").resize(size[::-1], PIL.Image.Resampling.BILINEAR))


@pytest.mark.usefixtures("pillow_resize")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_formats_equal_pillow(format: str, photo: PIL.Image.Image, encoded: Encode) -> None:
    data = encoded(photo, format)
    reference = expected(PIL.Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data, SIZE), reference)


@pytest.mark.usefixtures("pillow_resize")
def test_arrays_equal_pillow(photo: PIL.Image.Image) -> None:
    np.testing.assert_array_equal(decode_image(np.asarray(photo), SIZE), expected(photo))
    gray = np.asarray(photo.convert("L"))
    np.testing.assert_array_equal(decode_image(gray, SIZE), expected(photo.convert("L")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(orientation: int, format: str, photo: PIL.Image.Image, encoded: Encode) -> None:
    methods = {
        1: None,
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # method of Pillow that stores it so that it is displayed upright
    method = methods[orientation]
    stored = photo if method is None else photo.transpose(PIL.Image.Transpose(method))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(format, {})
    decoded = decode_image(encoded(stored, format, exif=exif, **options), SIZE)
    assert np.abs(decoded.astype(int) - expected(photo)).mean() < 2


def test_transparency_on_white(encoded: Encode) -> None:
    clear = PIL.Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert (decode_image(encoded(clear, "PNG"), SIZE) == 255).all()
    half = PIL.Image.new("RGBA", (64, 64), (0, 0, 0, 128))
    assert np.abs(decode_image(encoded(half, "PNG"), SIZE).astype(int) - 127).max() <= 1


def test_palette_transparency_on_white(encoded: Encode) -> None:
    palette = PIL.Image.new("P", (64, 64), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert (decode_image(encoded(palette, "PNG", transparency=0), SIZE) == 255).all()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled(format: str, encoded: Encode) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    decoded = decode_image(encoded(PIL.Image.fromarray(ramp), format), (64, 64))
    assert np.abs(decoded[:, :, 0].astype(int) - (ramp / 257).round()).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "F"])
def test_modes_become_rgb(mode: str, photo: PIL.Image.Image, encoded: Encode) -> None:
    image = (
        photo.convert(mode) if mode != "F" else PIL.Image.fromarray(np.asarray(photo.convert("L")) / np.float32(255))
    )
    decoded = decode_image(encoded(image, "TIFF"), SIZE)
    reference = expected(photo if mode in ("P", "CMYK") else photo.convert("L"))
    assert decoded.shape == (224, 224, 3)
    assert np.abs(decoded.astype(int) - reference).mean() < (30 if mode in ("1", "P") else 2)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_pixels_are_scaled(top: float, encoded: Encode) -> None:
    ramp = np.linspace(0, top, 64 * 64, dtype=np.float32).reshape(64, 64)
    ramp[0, 0] = np.nan
    decoded = decode_image(encoded(PIL.Image.fromarray(ramp), "TIFF"), (64, 64))
    expected = np.linspace(0, 255, 64 * 64).reshape(64, 64).round()
    assert np.abs(decoded[:, :, 0] - expected).max() <= 1


def test_premultiplied_modes(photo: PIL.Image.Image) -> None:
    for mode, premultiplied in (("LA", "La"), ("RGBA", "RGBa")):
        plain = photo.convert("L" if mode == "LA" else "RGB")
        np.testing.assert_array_equal(decode_pillow(photo.convert(mode).convert(premultiplied)), plain.convert("RGB"))


@pytest.mark.usefixtures("pillow_resize")
def test_animation_gives_first_frame(photo: PIL.Image.Image, encoded: Encode) -> None:
    black = PIL.Image.new("RGB", photo.size)
    data = encoded(photo, "WEBP", save_all=True, append_images=[black], lossless=True, duration=100)
    np.testing.assert_array_equal(decode_image(data, SIZE), expected(photo))


def test_large_jpeg_is_close_to_full_decode(photo: PIL.Image.Image, encoded: Encode) -> None:
    data = encoded(photo.resize((2560, 1708), PIL.Image.Resampling.BICUBIC), quality=90)
    decoded = decode_image(data, SIZE)
    reference = expected(PIL.Image.open(io.BytesIO(data)))
    assert not np.array_equal(decoded, reference)
    assert np.abs(decoded.astype(int) - reference).mean() < 1


@pytest.mark.parametrize(
    ("full", "resize", "factor"),
    [
        ((400, 400), "squash", 1),
        ((800, 800), "squash", 2),
        ((8000, 800), "squash", 2),
        ((8000, 8000), "squash", 8),
        ((760, 760), "crop", 1),
        ((780, 780), "crop", 2),
        ((800, 3000), "pad", 8),
    ],
)
def test_shrink_factor(full: tuple[int, int], resize: str, factor: int) -> None:
    assert shrink_factor(full, SIZE, resize) == factor


def test_size_is_height_and_width(photo: PIL.Image.Image) -> None:
    for resize in ("squash", "crop", "pad"):
        assert decode_image(np.asarray(photo), (100, 200), resize).shape == (100, 200, 3)


@pytest.mark.usefixtures("pillow_resize")
def test_crop_is_the_center_at_256_for_224(photo: PIL.Image.Image) -> None:
    width = round(640 * 256 / 427)
    scaled = photo.resize((width, 256), PIL.Image.Resampling.BILINEAR)
    left = (width - 224) / 2
    reference = np.asarray(scaled.crop((round(left), 16, round(left) + 224, 240)))
    decoded = decode_image(np.asarray(photo), SIZE, "crop")
    assert np.abs(decoded.astype(int) - reference).mean() < 3
    # Exactly: the part of the photo that those pixels show, resized in one step.
    side = 427 * 224 / 256
    box = (320 - side / 2, 213.5 - side / 2, 320 + side / 2, 213.5 + side / 2)
    np.testing.assert_array_equal(decoded, np.asarray(photo.resize(SIZE, PIL.Image.Resampling.BILINEAR, box=box)))


@pytest.mark.usefixtures("pillow_resize")
def test_pad_resizes_like_pillow(photo: PIL.Image.Image) -> None:
    inner = photo.resize((224, 149), PIL.Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode_image(np.asarray(photo), SIZE, "pad")[37:186], np.asarray(inner))


def test_pad_fills_with_black() -> None:
    white = np.full((100, 200, 3), 255, dtype=np.uint8)
    decoded = decode_image(white, SIZE, "pad")
    assert (decoded[56:168] == 255).all()
    assert (decoded[:56] == 0).all()
    assert (decoded[168:] == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_extreme_shapes(shape: tuple[int, int], resize: str) -> None:
    assert decode_image(np.full((*shape, 3), 9, dtype=np.uint8), SIZE, resize).max() == 9


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_truncated_file_is_an_error(format: str, photo: PIL.Image.Image, encoded: Encode) -> None:
    data = encoded(photo, format)
    with pytest.raises(UnreadableImageError):
        decode_image(data[: len(data) // 2], SIZE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"\xff\xd8\xff", "header of the JPEG image is corrupt")],
)
def test_reason_of_invalid_data(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(data, SIZE)


def test_max_pixels(encoded: Encode) -> None:
    with pytest.raises(ImageTooLargeError, match="more than the limit of 399; if this size is correct, raise"):
        decode_image(encoded(PIL.Image.new("RGB", (20, 20)), "PNG"), SIZE, max_pixels=399)
    assert decode_image(encoded(PIL.Image.new("RGB", (20, 20)), "PNG"), SIZE, max_pixels=400).shape == (224, 224, 3)


@pytest.mark.thorough
def test_shrinking_large_jpegs_keeps_features_and_scores(
    ucmerced: list[str], compiled_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints the figures of the page on performance."""
    labels = [Path(path).parent.name for path in ucmerced]
    tiles = [PIL.Image.open(path).convert("RGB").resize((256, 256)) for path in ucmerced]
    enlarged = [_jpeg(tile.resize((720, 720), PIL.Image.Resampling.BICUBIC)) for tile in tiles]
    sharpest = [_jpeg(_mosaic(tiles[start : start + 9])) for start in range(0, len(tiles) - 8, 9)]
    extractor = FeatureExtractor(cache=compiled_cache)

    def both_paths(images: list[bytes]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        assert shrink_factor(PIL.Image.open(io.BytesIO(images[0])).size, SIZE, "squash") == 2
        whole = [np.asarray(PIL.Image.open(io.BytesIO(image))) for image in images]  # decoded by Pillow at full size
        return extractor.fit_transform(images), extractor.fit_transform(whole)

    fast, reference = both_paths(enlarged)
    cosines = [mean_cosine(fast, reference), mean_cosine(*both_paths(sharpest))]
    with capsys.disabled():
        print("\ncosine:", *(f"{cosine:.4f}" for cosine in cosines))
    assert min(cosines) >= 0.995
    for name in ("logreg", "svm", "knn"):
        scores = [
            compare_baselines(X, labels, estimators=[name], cv=5).table["accuracy_mean"].iloc[0]
            for X in (fast, reference)
        ]
        with capsys.disabled():
            print(f"{name}: shrunk {scores[0]:.4f}, full size {scores[1]:.4f}")
        assert abs(scores[0] - scores[1]) <= 0.003, (name, scores)


def _jpeg(image: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _mosaic(tiles: list[PIL.Image.Image]) -> PIL.Image.Image:
    """Nine photos side by side, with more detail than one enlarged photo."""
    whole = PIL.Image.new("RGB", (768, 768))
    for index, tile in enumerate(tiles):
        whole.paste(tile, (index % 3 * 256, index // 3 * 256))
    return whole
