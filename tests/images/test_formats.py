"""Every kind of file gives the right pixels, told by a reference that is not featx; and what is no image is named."""

from __future__ import annotations

import io
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin
import pytest
from PIL import ImageCms

from featx.errors import ImageTooLargeError, TruncatedImageError, UnknownFormatError, UnreadableImageError
from featx.images.decode import MAX_PIXELS, decode_full_size, decode_image, decode_truncated
from featx.images.formats import open_image
from featx.images.image import read_image
from tests import samples
from tests.samples import Array, encoded, png, ramp, tiff16

RAMP = ramp()
SIZE = RAMP.shape[:2]
GREY = RAMP[:, :, 1]


def decoded(data: bytes, **options: Any) -> Array:
    """The file at its own size: nothing is resized."""
    with open_image(data) as image:
        size = image.height, image.width
    return decode_image(data, size, **options).astype(int)


def on_white(pixels: Array, alpha: Array) -> Array:
    share = alpha[:, :, None] / 255
    return np.broadcast_to(pixels, (*alpha.shape, 3)) * share + 255 * (1 - share)


def as_three(grey: Array) -> Array:
    return np.repeat(grey[:, :, None], 3, axis=2)


ALPHA = np.linspace(0, 255, GREY.size).reshape(GREY.shape).astype(np.uint8)
DEEP = np.linspace(0, 65535, RAMP.size).reshape(RAMP.shape).astype(np.uint16)
PALETTE = PIL.Image.fromarray(RAMP).quantize(64)
CMYK = np.dstack([RAMP, GREY // 2])


def cmyk_as_rgb(inks: Array = CMYK) -> Array:
    found: Array = 255 * (1 - inks[:, :, :3] / 255) * (1 - inks[:, :, 3:] / 255)
    return found


KINDS: dict[str, tuple[bytes, Array, float]] = {
    # The file, what its pixels are, and how far they may be from that on average (of 255).
    "grey PNG": (encoded(GREY, "PNG"), as_three(GREY), 0),
    "grey and alpha PNG": (png(np.dstack([GREY, ALPHA])), on_white(GREY[:, :, None], ALPHA), 1),
    "1-bit PNG": (encoded(PIL.Image.fromarray(GREY > 100), "PNG"), as_three(np.where(GREY > 100, 255, 0)), 0),
    "palette PNG": (encoded(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "palette GIF": (encoded(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "RGBA PNG": (png(np.dstack([RAMP, ALPHA])), on_white(RAMP, ALPHA), 1),
    "RGBA WebP": (encoded(np.dstack([RAMP, ALPHA]), "WEBP", lossless=True, exact=True), on_white(RAMP, ALPHA), 1),
    "16-bit grey PNG": (png(DEEP[:, :, :1], bits=16), as_three(DEEP[:, :, 0] / 257), 1),
    "16-bit RGB PNG": (png(DEEP, bits=16), DEEP / 257, 1),
    "16-bit RGBA PNG": (png(np.dstack([DEEP, ALPHA.astype(int) * 257]), bits=16), on_white(DEEP / 257, ALPHA), 1),
    "16-bit RGB TIFF": (tiff16(DEEP), DEEP / 257, 1),
    "16-bit grey TIFF": (encoded(DEEP[:, :, 0].copy(), "TIFF"), as_three(DEEP[:, :, 0] / 257), 1),
    "float TIFF": (encoded((GREY / 255).astype(np.float32), "TIFF"), as_three(GREY), 1),
    "CMYK TIFF": (encoded(PIL.Image.fromarray(CMYK, "CMYK"), "TIFF"), cmyk_as_rgb(), 1),
    "CMYK JPEG": (encoded(PIL.Image.fromarray(CMYK, "CMYK"), "JPEG", quality=98), cmyk_as_rgb(), 2),
    "YCCK JPEG": (samples.YCCK_JPEG, cmyk_as_rgb(np.dstack([ramp(24, 32), ramp(24, 32)[:, :, 1] // 2])), 2),
    "baseline JPEG": (encoded(RAMP, "JPEG", quality=95), RAMP, 2),
    "progressive JPEG": (encoded(RAMP, "JPEG", quality=95, progressive=True), RAMP, 2),
    "grey JPEG": (encoded(GREY, "JPEG", quality=95), as_three(GREY), 1),
    "arithmetic JPEG": (samples.ARITHMETIC_JPEG, RAMP, 2),
    "BMP": (encoded(RAMP, "BMP"), RAMP, 0),
    "PPM": (encoded(RAMP, "PPM"), RAMP, 0),
    "JPEG 2000": (encoded(RAMP, "JPEG2000"), RAMP, 1),
    "lossless WebP": (encoded(RAMP, "WEBP", lossless=True), RAMP, 0),
    "ICO": (encoded(RAMP[:32, :32].copy(), "ICO", sizes=[(32, 32)]), RAMP[:32, :32], 0),
    "animated GIF": (
        encoded(PALETTE, "GIF", save_all=True, append_images=[PIL.Image.new("P", PALETTE.size)]),
        np.asarray(PALETTE.convert("RGB")),
        0,
    ),
    "animated PNG": (
        encoded(PIL.Image.fromarray(RAMP), "PNG", save_all=True, append_images=[PIL.Image.new("RGB", (56, 40))]),
        RAMP,
        0,
    ),
    "animated WebP": (
        encoded(
            PIL.Image.fromarray(RAMP),
            "WEBP",
            save_all=True,
            lossless=True,
            append_images=[PIL.Image.new("RGB", (56, 40))],
        ),
        RAMP,
        0,
    ),
    "TIFF of two pages": (
        encoded(PIL.Image.fromarray(RAMP), "TIFF", save_all=True, append_images=[PIL.Image.new("RGB", (56, 40))]),
        RAMP,
        0,
    ),
    "MPO": (
        encoded(
            PIL.Image.fromarray(RAMP), "MPO", save_all=True, quality=95, append_images=[PIL.Image.new("RGB", (56, 40))]
        ),
        RAMP,
        2,
    ),
}
if samples.HAS_AVIF:
    KINDS["AVIF"] = (encoded(RAMP, "AVIF", quality=95), RAMP, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_right_pixels(kind: str) -> None:
    data, right, tolerance = KINDS[kind]
    difference = np.abs(decoded(data) - right)
    assert difference.mean() <= max(tolerance, 1e-9)
    assert difference.max() <= max(1, 20 * tolerance)


def test_a_cmyk_jpeg_is_inverted_if_it_is_adobe_s() -> None:
    data = KINDS["CMYK JPEG"][0]
    assert b"Adobe" in data  # as Pillow writes it: inverted, and said so
    marker = data.index(b"\xff\xee")
    length = int.from_bytes(data[marker + 2 : marker + 4], "big")
    plain = data[:marker] + data[marker + 2 + length :]
    inks = 255 - CMYK.astype(int)  # what is stored, taken at its word
    right = (255 - inks[:, :, :3]) * (255 - inks[:, :, 3:]) / 255
    assert np.abs(decoded(plain) - right).mean() < 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("space", samples.SPACES)
def test_colours_with_a_profile_are_converted_to_srgb(space: str, format: str) -> None:
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    plain = decoded(encoded(RAMP, format, **options))
    converted = decoded(encoded(RAMP, format, icc_profile=samples.icc_profile(space), **options))
    right = samples.as_srgb(plain, space)
    assert np.abs(right - plain).mean() > 5
    assert np.abs(converted - right).mean() < 1
    assert np.abs(converted - right).max() <= 6  # near black, the curve of Little CMS is a table


def test_a_profile_of_srgb_or_a_broken_one_changes_nothing() -> None:
    plain = decoded(encoded(RAMP, "PNG"))
    whole = samples.icc_profile("Display P3")
    of_srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiles = [of_srgb, whole[:60], whole[:200], b"x" * 300, b"\0"]
    for profile in [*profiles, whole.replace(b"RGB XYZ ", b"CMYKXYZ ")]:
        np.testing.assert_array_equal(decoded(encoded(RAMP, "PNG", icc_profile=profile)), plain)


def test_a_profile_is_told_by_what_it_does_and_not_by_its_name() -> None:
    named = samples.icc_profile("Display P3", "P3-elle-V4-srgbtrc.icc")
    assert np.abs(decoded(encoded(RAMP, "PNG", icc_profile=named)) - samples.as_srgb(RAMP, "Display P3")).mean() < 1


def test_transparency_stays_where_colours_are_converted() -> None:
    data = encoded(np.dstack([RAMP, ALPHA]), "PNG", icc_profile=samples.icc_profile("Adobe RGB"))
    assert np.abs(decoded(data) - on_white(samples.as_srgb(RAMP, "Adobe RGB"), ALPHA)).mean() < 1


def test_inks_are_converted_by_the_profile_of_their_printer() -> None:
    def lab(inks: Array) -> Array:  # linear, so that however one interpolates between the corners, it is the same
        cyan, magenta, yellow, black = np.moveaxis(inks, -1, 0)
        lightness = 95 - 20 * cyan - 25 * magenta - 8 * yellow - 30 * black
        return np.stack([lightness, 12 * (magenta - cyan), 15 * (yellow - cyan)], axis=-1)

    corners = lab(np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1))
    corners = (corners * [2.55, 1, 1] + [0, 128, 128]).round()
    image = PIL.Image.fromarray(CMYK, "CMYK")
    converted = decoded(encoded(image, "TIFF", icc_profile=samples.cmyk_profile(corners)))
    assert np.abs(converted - cmyk_as_rgb()).mean() > 20  # it is not what it would be without
    assert np.abs(converted - samples.lab_as_srgb(lab(CMYK / 255))).mean() < 2
    as_jpeg = decoded(encoded(image, "JPEG", quality=98, icc_profile=samples.cmyk_profile(corners)))
    assert np.abs(as_jpeg - converted).mean() < 2


def _said_to_be_turned(orientation: int) -> tuple[PIL.Image.Exif, PIL.Image.Image]:
    """Say in EXIF that an image is turned, and what it is upright, by Pillow."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(RAMP)
    stored.getexif()[0x0112] = orientation
    return exif, PIL.ImageOps.exif_transpose(stored)


@pytest.mark.parametrize("format", ["MPO", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_formats_of_phones_are_turned_upright(orientation: int, format: str) -> None:
    exif, upright = _said_to_be_turned(orientation)
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
    found = decode_image(data, (upright.height, upright.width)).astype(int)
    assert np.abs(found - np.asarray(upright)).mean() < 3


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "16-bit grey", "float", "palette"])
def test_an_image_that_is_made_smaller_first_is_nearly_that_of_the_full_decode(
    kind: str, photo: PIL.Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.images.to_rgb.LARGE_IMAGE", 1_000_000)  # 16,000,000 would take seconds for each kind
    large = photo.resize((2000, 1335), PIL.Image.Resampling.BICUBIC)
    grey = np.asarray(large.convert("L"))
    if kind == "RGBA":
        large.putalpha(PIL.Image.linear_gradient("L").resize(large.size))
    data = {
        "RGB": lambda: encoded(large, "PNG", compress_level=1),
        "RGBA": lambda: encoded(large, "PNG", compress_level=1),
        "16-bit grey": lambda: encoded(grey.astype(np.uint16) * 257, "PNG", compress_level=1),
        "float": lambda: encoded((grey / 255).astype(np.float32), "TIFF"),
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


def _with_chunk(data: bytes, kind: bytes, body: bytes, *, last: bool = False) -> bytes:
    at = len(data) - 12 if last else 33
    return (
        data[:at] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) + data[at:]
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"zTXt", b"note\0\0" + zlib.compress(bytes(3_000_000))),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
        (b"iCCP", b"profile\0\7" + zlib.compress(b"")),
        (b"gAMA", b"\0"),
    ],
)
def test_metadata_costs_no_png_its_pixels(kind: bytes, body: bytes, last: bool) -> None:
    plain = encoded(RAMP, "PNG")
    data = _with_chunk(plain, kind, body, last=last)
    np.testing.assert_array_equal(decoded(data), RAMP)
    np.testing.assert_array_equal(decode_full_size(data), RAMP)


@pytest.mark.parametrize("bits", [2, 4, 16])
def test_a_grey_that_stands_for_transparent_is_white_at_any_depth(bits: int) -> None:
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


def _tiff_grey(pixels: Array, photometric: int, sample_format: int) -> bytes:
    data, bits = pixels.tobytes(), pixels.dtype.itemsize * 8
    tags = [(256, pixels.shape[1]), (257, pixels.shape[0]), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, pixels.shape[0]), (279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_deep_grey_tiffs_of_every_kind() -> None:
    deep = np.linspace(0, 65535, 16 * 9).reshape(9, 16)
    assert np.abs(decoded(_tiff_grey((65535 - deep).astype("<u2"), 0, 1))[:, :, 0] - deep / 257).max() <= 1
    for top in (65_536, 2**24, 2**31 - 1):
        values = (deep / 65535 * top).astype("<i4")
        assert np.abs(decoded(_tiff_grey(values, 1, 2))[:, :, 0] - deep / 257).max() <= 1
    values = (deep / 65535 * (2**32 - 1)).astype("<u4")
    assert np.abs(decoded(_tiff_grey(values, 1, 1))[:, :, 0] - deep / 257).max() <= 1
    with pytest.raises(UnreadableImageError, match="a TIFF image of a kind that is not read"):
        decoded(_tiff_grey(deep.astype("<f8"), 1, 3))


def test_a_tiff_and_an_icon_that_end_too_early_are_told(photo: PIL.Image.Image) -> None:
    for data in (encoded(photo, "TIFF", compression="tiff_lzw"), KINDS["ICO"][0]):
        for cut in _cuts(data)[:12]:  # what is later may belong to no pixel
            assert _error_of(cut) == "TruncatedImageError"


@pytest.mark.skipif(shutil.which("jpegtran") is None, reason="there is no program jpegtran")
def test_a_large_arithmetic_jpeg_in_cmyk_is_read(photo: PIL.Image.Image, tmp_path: Path) -> None:
    plain = encoded(photo.resize((999, 777)).convert("CMYK"), "JPEG", quality=75)
    done = subprocess.run(["jpegtran", "-arithmetic"], input=plain, capture_output=True, check=True)
    np.testing.assert_array_equal(decode_image(done.stdout, SIZE), decode_image(plain, SIZE))


def test_where_a_limit_is_not_the_user_s_no_remedy_is_offered() -> None:
    words = b"P3 2500 2500 255\n" + b"10 20 30 " * 6_250_000
    with pytest.raises(ImageTooLargeError, match="a PPM in words is read up to 4,000,000; save it as a PNG"):
        decode_image(words, SIZE, max_pixels=10**9)
    if "load_prepare" not in vars(PIL.TiffImagePlugin.TiffImageFile):
        return  # a Pillow that has no such limit
    tiff = encoded(PIL.Image.new("1", (20_000, 20_000)), "TIFF", compression="group4")
    with pytest.raises(ImageTooLargeError, match=r"178,956,970 pixels that Pillow decodes of its format, whatever"):
        decode_image(tiff, SIZE, max_pixels=10**9)


def test_a_float_that_is_no_number_or_out_of_range_spoils_no_other() -> None:
    values = np.full((4, 4), 0.5, dtype=np.float32)
    values[0] = [np.nan, np.inf, -np.inf, -3]
    assert decoded(encoded(values, "TIFF"))[0, :, 0].tolist() == [0, 255, 0, 0]
    assert set(decoded(encoded(values, "TIFF"))[1:].ravel()) == {128}


def test_content_decides_the_format_whatever_the_name() -> None:
    assert {open_image(data).format for data, _, _ in KINDS.values()} >= {"JPEG", "PNG", "TIFF", "WEBP", "GIF"}


def test_heic_is_read_if_its_package_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    buffer = io.BytesIO()
    turned = PIL.Image.fromarray(RAMP)
    heif.from_pillow(turned).save(buffer, quality=95, chroma=444)
    data = buffer.getvalue()
    assert np.abs(decoded(data) - RAMP).mean() < 3
    assert "HEIF" not in PIL.Image.OPEN  # Pillow itself is as it was
    for at in range(1, 16):
        with pytest.raises(UnreadableImageError):
            decode_image(data[: len(data) * at // 16], SIZE)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UnknownFormatError, match=r"pip install 'featx\[heic\]'"):
        decoded(data)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (20, 20_000)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_extreme_shapes_are_read(shape: tuple[int, int], format: str, resize: str) -> None:
    found = decode_image(encoded(np.full((*shape, 3), 99, dtype=np.uint8), format), (224, 224), resize)
    assert found.shape == (224, 224, 3)
    assert abs(int(found.max()) - 99) <= 1


def _cuts(data: bytes) -> list[bytes]:
    return [data[: len(data) * part // 16] for part in range(1, 16)]


WHOLE = random.Random(0).randbytes(96 * 96 * 3)
NOISE = np.frombuffer(WHOLE, dtype=np.uint8).reshape(96, 96, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "AVIF"])
def test_a_file_that_is_cut_anywhere_is_an_error(format: str) -> None:
    if format == "AVIF" and not samples.HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    for number, cut in enumerate(_cuts(encoded(NOISE, format)), 1):
        with pytest.raises(UnreadableImageError) as error:
            decode_image(cut, (96, 96))
        assert isinstance(error.value, TruncatedImageError), (number, error.value.reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"\n<!DOCTYPE html><html>404", "a web page"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\x00\x00\x00\x20ftypisom....", "a video"),
        (b"hello, world\n", "no image but text"),
        (bytes(5000), "zeros only"),
        (b"\xff\x0a....", "a JPEG XL image, which is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript document"),
        (random.Random(1).randbytes(5000), "first bytes are"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(UnknownFormatError, match=reason):
        decode_image(data, SIZE)


@pytest.mark.parametrize(
    ("data", "rows_of_the_whole"),
    [
        (encoded(NOISE, "JPEG", quality=90), 30),
        (encoded(NOISE, "JPEG", quality=90, progressive=True), 0),
        (encoded(NOISE, "PNG"), 30),
        (encoded(NOISE[:, :, 0].copy(), "PNG"), 30),
        (encoded(PIL.Image.fromarray(NOISE).convert("1"), "PNG"), 30),
        (png(np.dstack([NOISE, NOISE[:, :, 0]]).astype(np.uint16) * 257, bits=16), 30),
    ],
)
def test_what_there_is_of_a_truncated_image_can_be_taken(data: bytes, rows_of_the_whole: int) -> None:
    whole = decode_image(data, (96, 96)).astype(int)
    for part in (8, 12, 15):
        cut = data[: len(data) * part // 16]
        with pytest.raises(TruncatedImageError):
            decode_image(cut, (96, 96))
        found = decode_truncated(cut, (96, 96)).astype(int)
        assert found.shape == whole.shape
        np.testing.assert_array_equal(found[:rows_of_the_whole], whole[:rows_of_the_whole])
        assert (found != whole).any()


def test_of_other_formats_only_whole_files_can_be_read() -> None:
    for kind in ("GIF", "TIFF", "BMP", "WEBP"):
        data = encoded(NOISE, kind)
        with pytest.raises(TruncatedImageError, match="only whole files"):
            decode_truncated(data[: len(data) // 2], (96, 96))
    for at in (20, 40):
        with pytest.raises(UnreadableImageError):
            decode_truncated(encoded(NOISE, "PNG")[:at], (96, 96))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_header_that_lies_about_the_size_takes_no_memory(kind: str) -> None:
    data = bytearray(encoded(RAMP, kind))
    if kind == "PPM":
        data = data.replace(b"56 40", b"9000 9000")
    elif kind == "PNG":
        data[16:24] = (9000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    elif kind == "BMP":
        data[18:26] = (9000).to_bytes(4, "little") * 2
    else:
        for tag in (256, 257):
            at = data.index(tag.to_bytes(2, "little") + b"\x04\0" + b"\1\0\0\0")
            data[at + 8 : at + 12] = (9000).to_bytes(4, "little")
    with pytest.raises(UnreadableImageError, match="cannot hold 9000 × 9000 pixels") as error:
        decode_image(bytes(data), SIZE)
    assert isinstance(error.value, TruncatedImageError) is (kind != "PNG")  # which could be made complete


def test_a_very_even_image_may_be_very_small() -> None:
    for kind in ("PNG", "GIF", "WEBP", "JPEG"):
        data = encoded(PIL.Image.new("L", (4000, 4000), 77), kind)
        assert np.abs(decode_image(data, (4, 4)).astype(int) - 77).max() <= 1


@pytest.mark.slow
def test_20_000_mutated_images_take_no_gigabyte_and_crash_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--number", "20000"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "20000 mutants, 0 wrong" in done.stdout


def _pads() -> bool:
    return decode_truncated(KINDS["baseline JPEG"][0][:-20], SIZE).shape == (*SIZE, 3)


def _is_right(*kinds: str) -> bool:
    return all(np.abs(decoded(KINDS[kind][0]) - KINDS[kind][1]).mean() <= max(KINDS[kind][2], 1e-9) for kind in kinds)


def _error_of(content: bytes | Path) -> str:
    try:
        data = read_image(content)[0]
        decode_image(data, SIZE, max_pixels=1000 if content == KINDS["BMP"][0] else MAX_PIXELS)
    except UnreadableImageError as error:
        return type(error).__name__
    return ""


def _turned(orientation: int, kind: str) -> bool:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    stored = PIL.Image.fromarray(RAMP).transpose(PIL.Image.Transpose.ROTATE_90)
    found = decode_image(encoded(stored, kind, exif=exif, **lossless), SIZE)
    return bool(np.abs(found.astype(int) - RAMP).mean() < 2)


def _lies() -> bytes:
    return encoded(RAMP, "PPM").replace(b"56 40", b"9000 9000")


#: How each row of the table in docs/user_guide/images.md is tested.
ROWS: dict[str, Callable[[Path], bool]] = {
    "JPEG (also": lambda folder: _is_right("baseline JPEG", "arithmetic JPEG", "MPO", "ICO", "JPEG 2000", "PPM"),
    "rotated by EXIF": lambda folder: all(_turned(6, kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP")),
    "grayscale, 1-bit": lambda folder: _is_right("grey PNG", "1-bit PNG", "palette PNG", "grey JPEG"),
    "transparent": lambda folder: _is_right("RGBA PNG", "RGBA WebP", "grey and alpha PNG"),
    "16-bit grayscale": lambda folder: _is_right(
        "16-bit grey PNG", "16-bit RGB PNG", "16-bit RGB TIFF", "16-bit grey TIFF"
    ),
    "float or": lambda folder: _is_right("float TIFF"),
    "CMYK": lambda folder: _is_right("CMYK JPEG", "CMYK TIFF", "YCCK JPEG"),
    "ICC profile": lambda folder: (
        np.abs(
            decoded(encoded(RAMP, "PNG", icc_profile=samples.icc_profile("Display P3")))
            - samples.as_srgb(RAMP, "Display P3")
        ).mean()
        < 1
    ),
    "animation": lambda folder: _is_right("animated GIF", "animated PNG", "animated WebP", "TIFF of two pages", "MPO"),
    "truncated": lambda folder: _error_of(KINDS["baseline JPEG"][0][:-20]) == "TruncatedImageError" and _pads(),
    "more than 178,956,970": lambda folder: _error_of(KINDS["BMP"][0]) == "ImageTooLargeError",
    "more pixels in": lambda folder: _error_of(_lies()) == "TruncatedImageError",
    "PDF": lambda folder: {_error_of(data) for data in NO_IMAGES} == {"UnknownFormatError"},
    "folder": lambda folder: {_error_of(path) for path in _no_files(folder)} == {"UnreachableImageError"},
    "more than 1 GiB": lambda folder: _error_of(_of_two_gib(folder)) == "ImageTooLargeError",
}


NO_IMAGES = (b"%PDF", b"<html>", b"\x1aE\xdf\xa3 video", b"text", random.Random(1).randbytes(5000), b"")


def _no_files(folder: Path) -> list[Path]:
    """What has the name of an image, and is no file that can be opened."""
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    (folder / "broken.jpg").symlink_to(folder / "absent")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    device = folder / "device.jpg"
    device.symlink_to("/dev/zero")  # which would never end
    return [*folder.glob("*.jpg"), folder / "absent.jpg"]


def _of_two_gib(folder: Path) -> Path:
    path = folder / "large.jpg"
    with open(path, "wb") as file:
        file.truncate(2**31)  # a hole, which takes no room
    return path


def test_documented_table_of_images_holds(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "user_guide" / "images.md").read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(ROWS) == 15
    for row, (start, holds) in zip(rows, ROWS.items(), strict=True):
        assert row.startswith(start)
        assert holds(tmp_path), row


def test_a_jpeg_that_lacks_a_part_in_the_middle_is_an_error_too() -> None:
    data = encoded(np.kron(NOISE, np.ones((3, 3, 1), dtype=np.uint8)), "JPEG", quality=90)
    third = len(data) // 3
    for cut in (data[:third] + b"\xff\xd9", data[:third] + data[2 * third :]):
        with pytest.raises(TruncatedImageError):
            decode_image(cut, SIZE)
        assert decode_truncated(cut, SIZE).shape == (*SIZE, 3)
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode_image(data[:third] + bytes(third) + data[2 * third :], SIZE)
    np.testing.assert_array_equal(decode_image(data[:-2] + b"\0\1\2" + data[-2:], SIZE), decode_image(data, SIZE))


def test_what_follows_a_photo_is_none_of_its_scans() -> None:
    data = encoded(PIL.Image.new("RGB", (4000, 3000), "teal"), "JPEG")
    np.testing.assert_array_equal(decode_image(data + b"\xff\xda" * 1000, SIZE), decode_image(data, SIZE))


def test_scans_without_number_are_refused() -> None:
    data = encoded(PIL.Image.new("L", (2000, 2000), 9), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageTooLargeError, match="scans of 2000 × 2000 pixels"):
        decode_image(data[:last] + data[last:-2] * 2000 + data[-2:], SIZE)


def test_a_large_picture_in_an_icon_is_refused_before_it_is_decoded() -> None:
    inner = encoded(PIL.Image.new("RGB", (6000, 6000)), "PNG")
    icon = b"\0\0\1\0\1\0" + bytes([16, 16, 0, 0, 1, 0, 32, 0]) + struct.pack("<II", len(inner), 22) + inner
    with pytest.raises(ImageTooLargeError, match="an icon of 6000 × 6000"):
        decode_image(icon, SIZE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_costs_no_pixels(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    plain = decoded(encoded(RAMP, kind, **lossless))
    np.testing.assert_array_equal(decoded(encoded(RAMP, kind, exif=b"Exif\0\0garbage!!", **lossless)), plain)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("space", ["", "Adobe RGB"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_decoded_small_is_nearly_that_of_the_full_decode(
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
    found = decode_image(data, (224, 224))
    assert not np.array_equal(found, expected)  # it was not the slow path
    assert np.abs(found - expected).mean() < 1.5
