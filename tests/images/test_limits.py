"""Decompression bombs and wrong headers."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin
import pytest

from featx.errors import ImageTooLargeError, TruncatedImageError, UnreadableImageError
from featx.images.decode import decode_image
from tests.images.kinds import RAMP, SIZE
from tests.samples import encoded


def test_fixed_limits_offer_no_remedy() -> None:
    words = b"P3 2500 2500 255\n" + b"10 20 30 " * 6_250_000
    with pytest.raises(
        ImageTooLargeError, match="more than the limit of 4,000,000 for PPM files in text; save it as a PNG"
    ):
        decode_image(words, SIZE, max_pixels=10**9)
    if "load_prepare" not in vars(PIL.TiffImagePlugin.TiffImageFile):
        return  # a Pillow that has no such limit
    tiff = encoded(PIL.Image.new("1", (20_000, 20_000)), "TIFF", compression="group4")
    with pytest.raises(
        ImageTooLargeError,
        match=r"178,956,970 pixels, Pillow's own limit for its format; max_pixels .* does not change it",
    ):
        decode_image(tiff, SIZE, max_pixels=10**9)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_wrong_size_in_header_takes_no_memory(kind: str) -> None:
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
            position = data.index(tag.to_bytes(2, "little") + b"\x04\0" + b"\1\0\0\0")
            data[position + 8 : position + 12] = (9000).to_bytes(4, "little")
    with pytest.raises(UnreadableImageError, match="cannot hold 9000 × 9000 pixels") as error:
        decode_image(bytes(data), SIZE)
    assert isinstance(error.value, TruncatedImageError) is (kind != "PNG")  # a truncated PNG could be padded


def test_uniform_image_may_have_few_bytes() -> None:
    for kind in ("PNG", "GIF", "WEBP", "JPEG"):
        data = encoded(PIL.Image.new("L", (4000, 4000), 77), kind)
        assert np.abs(decode_image(data, (4, 4)).astype(int) - 77).max() <= 1


def test_too_many_scans() -> None:
    data = encoded(PIL.Image.new("L", (2000, 2000), 9), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageTooLargeError, match="scans of 2000 × 2000 pixels"):
        decode_image(data[:last] + data[last:-2] * 2000 + data[-2:], SIZE)


def test_large_image_in_icon() -> None:
    inner = encoded(PIL.Image.new("RGB", (6000, 6000)), "PNG")
    icon = b"\0\0\1\0\1\0" + bytes([16, 16, 0, 0, 1, 0, 32, 0]) + struct.pack("<II", len(inner), 22) + inner
    with pytest.raises(ImageTooLargeError, match="the icon has 6000 × 6000"):
        decode_image(icon, SIZE)
