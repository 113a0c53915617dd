"""Which format a file has, and what other files are."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin
import pytest

from featx.errors import UnknownFormatError, UnreadableImageError
from featx.images.decode import decode_full_size, decode_image
from featx.images.formats import open_image
from tests import samples
from tests.images.kinds import KINDS, RAMP, SIZE, decoded
from tests.samples import encoded


def _with_chunk(data: bytes, kind: bytes, body: bytes, *, last: bool = False) -> bytes:
    position = len(data) - 12 if last else 33
    return (
        data[:position]
        + struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body))
        + data[position:]
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
def test_invalid_metadata_of_png_is_ignored(kind: bytes, body: bytes, last: bool) -> None:
    plain = encoded(RAMP, "PNG")
    data = _with_chunk(plain, kind, body, last=last)
    np.testing.assert_array_equal(decoded(data), RAMP)
    np.testing.assert_array_equal(decode_full_size(data), RAMP)


def test_content_decides_the_format() -> None:
    assert {open_image(data).format for data, _, _ in KINDS.values()} >= {"JPEG", "PNG", "TIFF", "WEBP", "GIF"}


def test_heic_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    buffer = io.BytesIO()
    turned = PIL.Image.fromarray(RAMP)
    heif.from_pillow(turned).save(buffer, quality=95, chroma=444)
    data = buffer.getvalue()
    assert np.abs(decoded(data) - RAMP).mean() < 3
    assert "HEIF" not in PIL.Image.OPEN  # Pillow itself is as it was
    for sixteenths in range(1, 16):
        with pytest.raises(UnreadableImageError):
            decode_image(data[: len(data) * sixteenths // 16], SIZE)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UnknownFormatError, match=r"pip install 'featx\[heic\]'"):
        decoded(data)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (20, 20_000)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_extreme_shapes(shape: tuple[int, int], format: str, resize: str) -> None:
    decoded = decode_image(encoded(np.full((*shape, 3), 99, dtype=np.uint8), format), (224, 224), resize)
    assert decoded.shape == (224, 224, 3)
    assert abs(int(decoded.max()) - 99) <= 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"\n<!DOCTYPE html><html>404", "a web page"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\x00\x00\x00\x20ftypisom....", "a video"),
        (b"hello, world\n", "not an image but text"),
        ("# größer".encode()[:6], "not an image but text"),
        (bytes(5000), "only zeros"),
        (b"\xff\x0a....", "a JPEG XL image, which is not supported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript document"),
        (random.Random(1).randbytes(5000), "not an image of a known format"),
    ],
)
def test_other_files_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(UnknownFormatError, match=reason):
        decode_image(data, SIZE)


@pytest.mark.parametrize(
    "data",
    [
        *(b"PASSWORD=secret\n", b"\x00\x01secret", b"P3 secret 3 255", b"P3 2 2 255 1 2 secret", b"P1 2 2 secret"),
        *(b"P5\n10 10 secret-of-more-than-ten-characters 255", b"Pf secret secret", b"GIF89a secret", b"BMsecret"),
        *(b"Psecret", b"II*\0secret", b"<?xml secret", b"%PDF secret"),
    ],
)
def test_content_of_other_files_is_not_quoted(data: bytes) -> None:
    """A service must not show parts of a file that a client names."""
    with pytest.raises(UnreadableImageError) as error:
        decode_image(data, SIZE)
    assert "secret" not in str(error.value)
    assert "b'" not in error.value.reason


@pytest.mark.slow
def test_20_000_mutated_images() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--number", "20000"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "20000 mutants, 0 wrong" in done.stdout


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (samples.tiff16(np.zeros((8, 8, 13))), "the TIFF has 13 bands, which are no colors; .*--bands 4,3,2"),
        (samples.tiff16(np.zeros((8, 8, 3))).replace(b"\x10\0\x10\0\x10\0", b"\x20\0" * 3), "3 bands of 32 bits"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\x50\0\x20\2\x2b\xd5\xb3\x7f",
            r"iOS apps \(CgBI\).*-revert-iphone-optimizations",
        ),
    ],
    ids=["bands", "float colors", "CgBI"],
)
def test_kinds_that_pillow_does_not_read_are_named(data: bytes, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(data, (8, 8))
    assert capfd.readouterr().err == ""
