"""Truncated files."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin
import pytest

from featx.errors import TruncatedImageError, UnreadableImageError
from featx.images.decode import decode_image, decode_truncated
from tests import samples
from tests.images.kinds import KINDS, NOISE, SIZE
from tests.samples import encoded, png


def test_truncated_tiff_and_icon(photo: PIL.Image.Image) -> None:
    for data in (encoded(photo, "TIFF", compression="tiff_lzw"), KINDS["ICO"][0]):
        for cut in _cuts(data)[:12]:  # what is later may belong to no pixel
            with pytest.raises(TruncatedImageError):
                decode_image(cut, SIZE)


def _cuts(data: bytes) -> list[bytes]:
    return [data[: len(data) * part // 16] for part in range(1, 16)]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "AVIF"])
def test_file_cut_anywhere_is_an_error(format: str) -> None:
    if format == "AVIF" and not samples.HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    for number, cut in enumerate(_cuts(encoded(NOISE, format)), 1):
        with pytest.raises(UnreadableImageError) as error:
            decode_image(cut, (96, 96))
        assert isinstance(error.value, TruncatedImageError), (number, error.value.reason)
        assert "Truncated File Read" not in error.value.reason


def test_reason_of_a_corrupt_header_is_in_plain_words() -> None:
    with pytest.raises(UnreadableImageError) as error:
        decode_image(encoded(NOISE, "JPEG")[:20], (96, 96))
    assert error.value.reason.startswith("the header of the JPEG image is corrupt")
    assert "driver" not in error.value.reason


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
def test_padding_keeps_the_existing_part(data: bytes, rows_of_the_whole: int) -> None:
    whole = decode_image(data, (96, 96)).astype(int)
    for part in (8, 12, 15):
        cut = data[: len(data) * part // 16]
        with pytest.raises(TruncatedImageError):
            decode_image(cut, (96, 96))
        decoded = decode_truncated(cut, (96, 96)).astype(int)
        assert decoded.shape == whole.shape
        np.testing.assert_array_equal(decoded[:rows_of_the_whole], whole[:rows_of_the_whole])
        assert (decoded != whole).any()


def test_other_formats_cannot_be_padded() -> None:
    for kind in ("GIF", "TIFF", "BMP", "WEBP"):
        data = encoded(NOISE, kind)
        with pytest.raises(TruncatedImageError, match="only JPEG and PNG files can be padded"):
            decode_truncated(data[: len(data) // 2], (96, 96))
    for n_bytes in (20, 40):
        with pytest.raises(UnreadableImageError):
            decode_truncated(encoded(NOISE, "PNG")[:n_bytes], (96, 96))


def test_jpeg_without_its_middle_is_an_error() -> None:
    data = encoded(np.kron(NOISE, np.ones((3, 3, 1), dtype=np.uint8)), "JPEG", quality=90)
    third = len(data) // 3
    for cut in (data[:third] + b"\xff\xd9", data[:third] + data[2 * third :]):
        with pytest.raises(TruncatedImageError):
            decode_image(cut, SIZE)
        assert decode_truncated(cut, SIZE).shape == (*SIZE, 3)
    with pytest.raises(UnreadableImageError, match="corrupt"):
        decode_image(data[:third] + bytes(third) + data[2 * third :], SIZE)
    np.testing.assert_array_equal(decode_image(data[:-2] + b"\0\1\2" + data[-2:], SIZE), decode_image(data, SIZE))
