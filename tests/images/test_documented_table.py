"""The table in the documentation of images as input."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin

from featx.datasets.pixel_range import pixel_range_note
from featx.errors import UnreadableImageError
from featx.images.decode import MAX_PIXELS, decode_image, decode_truncated
from featx.images.decoders.dicom import is_dicom
from featx.images.image import read_image
from featx.recipe import Window
from tests import samples
from tests.images.kinds import KINDS, RAMP, SIZE, decoded
from tests.samples import encoded


def _can_be_padded() -> bool:
    return decode_truncated(KINDS["baseline JPEG"][0][:-20], SIZE).shape == (*SIZE, 3)


def _have_right_pixels(*kinds: str) -> bool:
    return all(np.abs(decoded(KINDS[kind][0]) - KINDS[kind][1]).mean() <= max(KINDS[kind][2], 1e-9) for kind in kinds)


def _error_of(content: bytes | Path) -> str:
    try:
        data = read_image(content)[0]
        decode_image(data, SIZE, max_pixels=1000 if content == KINDS["BMP"][0] else MAX_PIXELS)
    except UnreadableImageError as error:
        return type(error).__name__
    return ""


def _is_upright(orientation: int, kind: str) -> bool:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    stored = PIL.Image.fromarray(RAMP).transpose(PIL.Image.Transpose.ROTATE_90)
    decoded = decode_image(encoded(stored, kind, exif=exif, **lossless), SIZE)
    return bool(np.abs(decoded.astype(int) - RAMP).mean() < 2)


def _has_window() -> bool:
    values = RAMP[:, :, 0].astype(int) * 4095 // 255
    content = encoded(values.astype(np.uint16), "PNG")
    dark, scaled = (decode_image(content, SIZE, window=window)[:, :, 0] for window in (None, Window(0.0, 4095.0)))
    return bool(dark.max() <= 16 and np.abs(scaled.astype(int) - RAMP[:, :, 0]).max() <= 1)


def _wrong_header() -> bytes:
    return encoded(RAMP, "PPM").replace(b"56 40", b"9000 9000")


#: Test of each row of the table in docs/user_guide/images.md.
ROWS: dict[str, Callable[[Path], bool]] = {
    "JPEG (also": lambda folder: _have_right_pixels(
        "baseline JPEG", "arithmetic JPEG", "MPO", "ICO", "JPEG 2000", "PPM"
    ),
    "rotated by EXIF": lambda folder: all(_is_upright(6, kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP")),
    "grayscale, 1-bit": lambda folder: _have_right_pixels("gray PNG", "1-bit PNG", "palette PNG", "gray JPEG"),
    "transparent": lambda folder: _have_right_pixels("RGBA PNG", "RGBA WebP", "gray and alpha PNG"),
    "16-bit grayscale": lambda folder: _have_right_pixels(
        "16-bit gray PNG", "16-bit RGB PNG", "16-bit RGB TIFF", "16-bit gray TIFF"
    ),
    "10, 12 or 14 bits": lambda folder: _has_window(),
    "8-bit grayscale with": lambda folder: "multiply the pixels by 9." in pixel_range_note([RAMP[:, :, 0] // 8] * 2),
    "float or": lambda folder: _have_right_pixels("float TIFF"),
    "DICOM": lambda folder: is_dicom(bytes(128) + b"DICM"),  # tests/images/decoders/test_dicom.py reads some
    "TIFF of more": lambda folder: {_error_of(data) for data in UNSUPPORTED[:2]} == {"UnreadableImageError"},
    "TIFF of complex": lambda folder: {_error_of(data) for data in UNSUPPORTED[2:]} == {"UnreadableImageError"},
    "CMYK": lambda folder: _have_right_pixels("CMYK JPEG", "CMYK TIFF", "YCCK JPEG"),
    "ICC profile": lambda folder: (
        np.abs(
            decoded(encoded(RAMP, "PNG", icc_profile=samples.icc_profile("Display P3")))
            - samples.as_srgb(RAMP, "Display P3")
        ).mean()
        < 1
    ),
    "animation": lambda folder: _have_right_pixels(
        "animated GIF", "animated PNG", "animated WebP", "TIFF of two pages", "MPO"
    ),
    "truncated": lambda folder: (
        _error_of(KINDS["baseline JPEG"][0][:-20]) == "TruncatedImageError" and _can_be_padded()
    ),
    "more than 178,956,970": lambda folder: _error_of(KINDS["BMP"][0]) == "ImageTooLargeError",
    "more pixels in": lambda folder: _error_of(_wrong_header()) == "TruncatedImageError",
    "PDF": lambda folder: {_error_of(data) for data in OTHER_FILES} == {"UnknownFormatError"},
    "folder": lambda folder: {_error_of(path) for path in _unreachable_files(folder)} == {"UnreachableImageError"},
    "more than 1 GiB": lambda folder: _error_of(_two_gib_file(folder)) == "ImageTooLargeError",
}


UNSUPPORTED = (
    samples.tiff16(np.zeros((8, 8, 13))),
    samples.tiff16(np.zeros((8, 8, 3))).replace(b"\x10\0\x10\0\x10\0", b"\x20\0" * 3),
    b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\x50\0\x20\2\x2b\xd5\xb3\x7f",
)
OTHER_FILES = (b"%PDF", b"<html>", b"\x1aE\xdf\xa3 video", b"text", random.Random(1).randbytes(5000), b"")


def _unreachable_files(folder: Path) -> list[Path]:
    """Paths with the suffix of an image that are not readable files."""
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    (folder / "broken.jpg").symlink_to(folder / "absent")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    device = folder / "device.jpg"
    device.symlink_to("/dev/zero")  # which would never end
    return [*folder.glob("*.jpg"), folder / "absent.jpg"]


def _two_gib_file(folder: Path) -> Path:
    path = folder / "large.jpg"
    with open(path, "wb") as file:
        file.truncate(2**31)  # a hole, which takes no room
    return path


def test_documented_table_of_images_holds(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "user_guide" / "images.md").read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(ROWS) == 20
    for row, (start, holds) in zip(rows, ROWS.items(), strict=True):
        assert row.startswith(start)
        assert holds(tmp_path), row
