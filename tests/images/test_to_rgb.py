"""Pixels, orientation and transparency of every kind of file, by a reference that is not featx."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin
import pytest

from featx.errors import UnreadableImageError
from featx.images.decode import decode_image
from tests import samples
from tests.images.kinds import CMYK, KINDS, RAMP, SIZE, decoded
from tests.samples import Array, encoded


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_of_every_kind_of_file(kind: str) -> None:
    data, right, tolerance = KINDS[kind]
    difference = np.abs(decoded(data) - right)
    assert difference.mean() <= max(tolerance, 1e-9)
    assert difference.max() <= max(1, 20 * tolerance)


def test_cmyk_jpeg_is_inverted_only_with_adobe_marker() -> None:
    data = KINDS["CMYK JPEG"][0]
    assert b"Adobe" in data  # Pillow writes inverted inks with this marker
    marker = data.index(b"\xff\xee")
    length = int.from_bytes(data[marker + 2 : marker + 4], "big")
    plain = data[:marker] + data[marker + 2 + length :]
    inks = 255 - CMYK.astype(int)  # the stored values, not inverted
    right = (255 - inks[:, :, :3]) * (255 - inks[:, :, 3:]) / 255
    assert np.abs(decoded(plain) - right).mean() < 2


def _exif_and_upright_image(orientation: int) -> tuple[PIL.Image.Exif, PIL.Image.Image]:
    """Return EXIF data with an orientation, and the upright image by Pillow."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(RAMP)
    stored.getexif()[0x0112] = orientation
    return exif, PIL.ImageOps.exif_transpose(stored)


@pytest.mark.parametrize("format", ["MPO", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_in_formats_of_phones(orientation: int, format: str) -> None:
    exif, upright = _exif_and_upright_image(orientation)
    if format == "HEIC":
        heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
        buffer = io.BytesIO()
        image = heif.from_pillow(PIL.Image.fromarray(RAMP))
        image.save(buffer, quality=95, chroma=444, exif=exif.tobytes())
        data = buffer.getvalue()
    elif format == "AVIF" and not samples.HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    else:
        pages = {"save_all": True, "append_images": [PIL.Image.new("RGB", (56, 40))]} if format == "MPO" else {}
        data = encoded(PIL.Image.fromarray(RAMP), format, quality=95, exif=exif, **pages)
    decoded = decode_image(data, (upright.height, upright.width)).astype(int)
    assert np.abs(decoded - np.asarray(upright)).mean() < 3


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "16-bit gray", "float", "palette"])
def test_reduced_large_image_is_close_to_full_decode(
    kind: str, photo: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.images.to_rgb.LARGE_IMAGE", 1_000_000)  # 16,000,000 would take seconds for each kind
    large = photo.resize((2000, 1335), PIL.Image.Resampling.BICUBIC)
    gray = np.asarray(large.convert("L"))
    if kind == "RGBA":
        large.putalpha(PIL.Image.linear_gradient("L").resize(large.size))
    data = {
        "RGB": lambda: encoded(large, "PNG", compress_level=1),
        "RGBA": lambda: encoded(large, "PNG", compress_level=1),
        "16-bit gray": lambda: encoded(gray.astype(np.uint16) * 257, "PNG", compress_level=1),
        "float": lambda: encoded((gray / 255).astype(np.float32), "TIFF"),
        "palette": lambda: encoded(large.quantize(256), "PNG"),
    }[kind]()
    whole = {
        "RGB": lambda: large,
        "RGBA": lambda: PIL.Image.alpha_composite(PIL.Image.new("RGBA", large.size, "white"), large).convert("RGB"),
        "palette": lambda: large.quantize(256).convert("RGB"),
    }.get(kind, lambda: large.convert("L").convert("RGB"))()
    expected = np.asarray(whole.resize((224, 224), PIL.Image.Resampling.BILINEAR)).astype(int)
    found = decode_image(data, (224, 224))
    assert not np.array_equal(found, expected)  # it was made smaller first
    assert np.abs(found - expected).mean() < 1.5


@pytest.mark.parametrize("bits", [2, 4, 16])
def test_transparent_gray_value_becomes_white(bits: int) -> None:
    steps = np.arange(1 << min(bits, 4))
    values = steps * 4096 + 7 if bits == 16 else steps
    line = np.resize(values, 16)
    packed = (
        line.astype(">u2").tobytes()
        if bits == 16
        else int("".join(f"{v:0{bits}b}" for v in line), 2).to_bytes(2 * bits)
    )
    header = struct.pack(">IIBBBBB", 16, 1, bits, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", struct.pack(">H", values[2])), (b"IDAT", zlib.compress(b"\0" + packed))]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [*parts, (b"IEND", b"")]
    )
    right = np.where(line == values[2], 255, line * 255 / ((1 << bits) - 1))
    assert np.abs(decoded(data)[0, :, 0] - right).max() <= 1


def _gray_tiff(pixels: Array, photometric: int, sample_format: int) -> bytes:
    data, bits = pixels.tobytes(), pixels.dtype.itemsize * 8
    tags = [(256, pixels.shape[1]), (257, pixels.shape[0]), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, pixels.shape[0]), (279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_gray_tiffs_of_16_and_32_bits() -> None:
    deep = np.linspace(0, 65535, 16 * 9).reshape(9, 16)
    assert np.abs(decoded(_gray_tiff((65535 - deep).astype("<u2"), 0, 1))[:, :, 0] - deep / 257).max() <= 1
    for top in (65_536, 2**24, 2**31 - 1):
        values = (deep / 65535 * top).astype("<i4")
        assert np.abs(decoded(_gray_tiff(values, 1, 2))[:, :, 0] - deep / 257).max() <= 1
    values = (deep / 65535 * (2**32 - 1)).astype("<u4")
    assert np.abs(decoded(_gray_tiff(values, 1, 1))[:, :, 0] - deep / 257).max() <= 1
    with pytest.raises(UnreadableImageError, match="this kind of TIFF image is not supported"):
        decoded(_gray_tiff(deep.astype("<f8"), 1, 3))


@pytest.mark.skipif(shutil.which("jpegtran") is None, reason="there is no program jpegtran")
def test_large_arithmetic_cmyk_jpeg(photo: PIL.Image.Image, tmp_path: Path) -> None:
    plain = encoded(photo.resize((999, 777)).convert("CMYK"), "JPEG", quality=75)
    done = subprocess.run(["jpegtran", "-arithmetic"], input=plain, capture_output=True, check=True)
    np.testing.assert_array_equal(decode_image(done.stdout, SIZE), decode_image(plain, SIZE))


def test_nan_and_out_of_range_floats() -> None:
    values = np.full((4, 4), 0.5, dtype=np.float32)
    values[0] = [np.nan, np.inf, -np.inf, -3]
    assert decoded(encoded(values, "TIFF"))[0, :, 0].tolist() == [0, 255, 0, 0]
    assert set(decoded(encoded(values, "TIFF"))[1:].ravel()) == {128}


def test_data_after_a_jpeg_is_not_a_scan() -> None:
    data = encoded(PIL.Image.new("RGB", (4000, 3000), "teal"), "JPEG")
    np.testing.assert_array_equal(decode_image(data + b"\xff\xda" * 1000, SIZE), decode_image(data, SIZE))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_invalid_exif_is_ignored(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    plain = decoded(encoded(RAMP, kind, **lossless))
    np.testing.assert_array_equal(decoded(encoded(RAMP, kind, exif=b"Exif\0\0garbage!!", **lossless)), plain)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("space", ["", "Adobe RGB"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_decoded_at_reduced_size_is_close_to_full_decode(
    orientation: int, space: str, mode: str, progressive: bool, photo: PIL.Image.Image
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    profile = {"icc_profile": samples.icc_profile(space)} if space and mode == "RGB" else {}
    large = photo.resize((1920, 1281), PIL.Image.Resampling.BICUBIC).convert(mode)
    data = encoded(large, "JPEG", quality=90, exif=exif, progressive=progressive, **profile)
    whole = PIL.Image.open(io.BytesIO(data))
    reference = PIL.ImageOps.exif_transpose(whole).convert("RGB")
    if profile:
        reference = PIL.Image.fromarray(samples.as_srgb(np.asarray(reference), space).astype(np.uint8))
    expected = np.asarray(reference.resize((224, 224), PIL.Image.Resampling.BILINEAR)).astype(int)
    decoded = decode_image(data, (224, 224))
    assert not np.array_equal(decoded, expected)  # it was not the slow path
    assert np.abs(decoded - expected).mean() < 1.5


def test_large_tiff_has_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("L", (9, 9), 200).save(buffer, "TIFF")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 50)  # Pillow raises an error above twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(buffer.getvalue(), (8, 8)).min() == 200
