"""Colors of 16 bits: all of them count for a window, however the file stores them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.errors import UnreadableImageError
from featx.images.decode import decode_full_size, decode_image
from featx.recipe import Window
from tests import samples

COLORS = np.random.default_rng(0).integers(0, 4096, (6, 5, 4)).astype(np.uint16)
WINDOW = Window(100, 3000)


def scaled(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.clip((pixels.astype(float) - 100) / 2900 * 255, 0, 255)


def decoded(data: bytes, window: Window | None = WINDOW) -> np.ndarray[Any, Any]:
    return decode_image(data, (6, 5), window=window)


def tiff(pixels: np.ndarray[Any, Any], *, is_planar: bool = False, **options: Any) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    pixels = np.moveaxis(pixels, 2, 0) if is_planar else pixels
    tifffile.imwrite(buffer, pixels, photometric="rgb", planarconfig="separate" if is_planar else "contig", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"compression": "zlib", "byteorder": ">"}, {"tile": (16, 16)}],
    ids=str,
)
@pytest.mark.parametrize("is_planar", [False, True])
def test_tiff(options: dict[str, Any], is_planar: bool) -> None:
    pixels = COLORS[:, :, :3]
    data = tiff(pixels, is_planar=is_planar, **options)
    np.testing.assert_allclose(decode_full_size(data), pixels / 257, atol=1)
    if is_planar and "compression" in options:
        with pytest.raises(UnreadableImageError, match=r"compressed planes of 16 bits; pass bands=\(1, 2, 3\)"):
            decoded(data)
        np.testing.assert_allclose(decoded(data, Window(100, 3000, (1, 2, 3))), scaled(pixels), atol=1)
    else:
        np.testing.assert_allclose(decoded(data), scaled(pixels), atol=0.501)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_png(n_channels: int) -> None:
    pixels = COLORS[:, :, :n_channels]
    expected = np.broadcast_to(scaled(pixels), (6, 5, 3))
    np.testing.assert_allclose(decoded(samples.png(pixels, bits=16)), expected, atol=0.501)


@pytest.mark.parametrize("n_channels", [2, 4])
def test_png_with_transparency(n_channels: int) -> None:
    pixels = COLORS[:, :, :n_channels].copy()
    pixels[:, :, -1] = np.where(pixels[:, :, -1] > 2000, 65535, 0)  # opaque, or not visible
    expected = np.where(pixels[:, :, -1:] > 0, scaled(pixels[:, :, :-1]), 255)
    data = samples.png(pixels, bits=16)
    np.testing.assert_allclose(decoded(data), np.broadcast_to(expected, (6, 5, 3)), atol=0.501)


def test_orientation_and_eight_bits() -> None:
    turned = tiff(COLORS[:, :, :3], extratags=[(274, 3, 1, 6, True)])
    np.testing.assert_allclose(
        decode_image(turned, (5, 6), window=WINDOW), np.rot90(scaled(COLORS[:, :, :3]), -1), atol=0.501
    )
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (5, 6), (7, 8, 9)).save(buffer, "PNG")
    assert (decoded(buffer.getvalue()) == (7, 8, 9)).all()  # a window is for more bits
