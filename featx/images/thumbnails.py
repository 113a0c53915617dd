"""Thumbnails of many images in one file, an atlas, so that a report on thousands of images stays small."""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import UnreadableImageError
from featx.images.decode import decode_image, load_decoders
from featx.images.image import read_image
from featx.system.files.remote import is_url
from featx.system.processes import n_cores

#: Maximum number of thumbnails, which keeps a report below 8 MB.
MAX_THUMBNAILS = 5000
#: Maximum number of images for each side of a thumbnail, in pixels.
_SIDES = ((300, 128), (1200, 96), (2500, 72), (MAX_THUMBNAILS, 56))
#: Maximum size of an atlas. Its quality is reduced until it fits.
_MAX_ATLAS_BYTES = 3_200_000
#: Side of larger thumbnails, and the maximum size of an atlas of them.
_LARGE_SIDE = 224
_MAX_LARGE_BYTES = 800_000
_QUALITIES = (75, 60, 45, 30, 15, 5)
_GRAY = 128
#: Maximum size of a thumbnail of its own.
_MAX_URL_BYTES = 2200


@dataclasses.dataclass(frozen=True)
class Atlas:
    """Thumbnails side by side in one WebP image.

    Attributes
    ----------
    data : bytes
        The WebP file.
    side : int
        Side of each thumbnail, in pixels.
    n_columns : int
    """

    data: bytes
    side: int
    n_columns: int

    def cell(self, index: int) -> tuple[int, int]:
        """Return the column and the row of a thumbnail."""
        row, column = divmod(index, self.n_columns)
        return column, row

    def corner(self, index: int) -> tuple[int, int]:
        """Return the left and top pixel of a thumbnail."""
        column, row = self.cell(index)
        return column * self.side, row * self.side

    @property
    def url(self) -> str:
        """The atlas as a data URL."""
        return "data:image/webp;base64," + base64.b64encode(self.data).decode()


def make_atlas(paths: Sequence[str]) -> Atlas:
    """Return thumbnails of images, row by row. The thumbnail of an unreadable image is gray."""
    side = next((side for max_images, side in _SIDES if len(paths) <= max_images), _SIDES[-1][1])
    return _make_atlas(paths, side, _MAX_ATLAS_BYTES)


def make_large_atlas(paths: Sequence[str]) -> Atlas:
    """Return larger thumbnails of a few images, as `make_atlas` does."""
    return _make_atlas(paths, _LARGE_SIDE, _MAX_LARGE_BYTES)


def _make_atlas(paths: Sequence[str], side: int, max_bytes: int) -> Atlas:
    import PIL.Image

    n_columns = max(1, math.ceil(math.sqrt(len(paths))))
    n_rows = math.ceil(max(1, len(paths)) / n_columns)
    sheet = np.full((n_rows * side, n_columns * side, 3), _GRAY, dtype=np.uint8)

    def draw(index: int) -> None:
        row, column = divmod(index, n_columns)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = _thumbnail(paths[index], side)

    load_decoders()
    with concurrent.futures.ThreadPoolExecutor(n_cores()) as threads:
        for _ in threads.map(draw, range(len(paths))):
            pass
    image = PIL.Image.fromarray(sheet)
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, format="WEBP", quality=quality, method=2)
        if buffer.tell() <= max_bytes:
            break
    return Atlas(buffer.getvalue(), side, n_columns)


def thumbnail_url(path: str, side: int = 56) -> str:
    """Return the thumbnail of a local image as a data URL of at most 3 kB, or "" if the image cannot be read.

    Results call this when they are displayed, which must not wait for a server: images at URLs have no thumbnail.
    """
    import PIL.Image

    if is_url(path):
        return ""
    try:
        content, _ = read_image(path)
        pixels = decode_image(content, (side, side), "pad")
    except (UnreadableImageError, OSError):
        return ""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels).save(buffer, format="WEBP", quality=quality, method=2)
        if buffer.tell() <= _MAX_URL_BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _thumbnail(path: str, side: int) -> np.ndarray[Any, Any]:
    try:
        content, _ = read_image(path)
        return decode_image(content, (side, side), "pad")
    except (UnreadableImageError, OSError):
        return np.full((side, side, 3), _GRAY, dtype=np.uint8)
