"""One file of every kind of image, with its right pixels by a reference that is not featx."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.TiffImagePlugin

from featx.images.decode import decode_image
from featx.images.formats import open_image
from tests import samples
from tests.samples import Array, encoded, png, ramp, tiff16

RAMP = ramp()


SIZE = RAMP.shape[:2]


GRAY = RAMP[:, :, 1]


def decoded(data: bytes, **options: Any) -> Array:
    """The file at its own size: nothing is resized."""
    with open_image(data) as image:
        size = image.height, image.width
    return decode_image(data, size, **options).astype(int)


def on_white(pixels: Array, alpha: Array) -> Array:
    share = alpha[:, :, None] / 255
    return np.broadcast_to(pixels, (*alpha.shape, 3)) * share + 255 * (1 - share)


def to_rgb_array(gray: Array) -> Array:
    return np.repeat(gray[:, :, None], 3, axis=2)


ALPHA = np.linspace(0, 255, GRAY.size).reshape(GRAY.shape).astype(np.uint8)


DEEP = np.linspace(0, 65535, RAMP.size).reshape(RAMP.shape).astype(np.uint16)


PALETTE = PIL.Image.fromarray(RAMP).quantize(64)


CMYK = np.dstack([RAMP, GRAY // 2])


def cmyk_as_rgb(inks: Array = CMYK) -> Array:
    found: Array = 255 * (1 - inks[:, :, :3] / 255) * (1 - inks[:, :, 3:] / 255)
    return found


KINDS: dict[str, tuple[bytes, Array, float]] = {
    # The file, what its pixels are, and how far they may be from that on average (of 255).
    "gray PNG": (encoded(GRAY, "PNG"), to_rgb_array(GRAY), 0),
    "gray and alpha PNG": (png(np.dstack([GRAY, ALPHA])), on_white(GRAY[:, :, None], ALPHA), 1),
    "1-bit PNG": (encoded(PIL.Image.fromarray(GRAY > 100), "PNG"), to_rgb_array(np.where(GRAY > 100, 255, 0)), 0),
    "palette PNG": (encoded(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "palette GIF": (encoded(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "RGBA PNG": (png(np.dstack([RAMP, ALPHA])), on_white(RAMP, ALPHA), 1),
    "RGBA WebP": (encoded(np.dstack([RAMP, ALPHA]), "WEBP", lossless=True, exact=True), on_white(RAMP, ALPHA), 1),
    "16-bit gray PNG": (png(DEEP[:, :, :1], bits=16), to_rgb_array(DEEP[:, :, 0] / 257), 1),
    "16-bit RGB PNG": (png(DEEP, bits=16), DEEP / 257, 1),
    "16-bit RGBA PNG": (png(np.dstack([DEEP, ALPHA.astype(int) * 257]), bits=16), on_white(DEEP / 257, ALPHA), 1),
    "16-bit RGB TIFF": (tiff16(DEEP), DEEP / 257, 1),
    "16-bit gray TIFF": (encoded(DEEP[:, :, 0].copy(), "TIFF"), to_rgb_array(DEEP[:, :, 0] / 257), 1),
    "float TIFF": (encoded((GRAY / 255).astype(np.float32), "TIFF"), to_rgb_array(GRAY), 1),
    "CMYK TIFF": (encoded(PIL.Image.fromarray(CMYK, "CMYK"), "TIFF"), cmyk_as_rgb(), 1),
    "CMYK JPEG": (encoded(PIL.Image.fromarray(CMYK, "CMYK"), "JPEG", quality=98), cmyk_as_rgb(), 2),
    "YCCK JPEG": (samples.YCCK_JPEG, cmyk_as_rgb(np.dstack([ramp(24, 32), ramp(24, 32)[:, :, 1] // 2])), 2),
    "baseline JPEG": (encoded(RAMP, "JPEG", quality=95), RAMP, 2),
    "progressive JPEG": (encoded(RAMP, "JPEG", quality=95, progressive=True), RAMP, 2),
    "gray JPEG": (encoded(GRAY, "JPEG", quality=95), to_rgb_array(GRAY), 1),
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


#: Incompressible pixels.
NOISE = np.frombuffer(random.Random(0).randbytes(96 * 96 * 3), dtype=np.uint8).reshape(96, 96, 3)
