"""Small pictures of many images in one file, an atlas, so that a page of thousands stays small."""

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
from featx.system.processes import n_cores

#: Side of a thumbnail, in pixels, for up to so many images.
_SIDES = ((300, 128), (1200, 96), (2500, 72), (5000, 56))
#: No more images than this are shown; it keeps a page below 8 MB.
MAX_THUMBNAILS = 5000
#: The atlas is compressed harder until it takes no more than this.
_MOST_BYTES = 3_200_000


@dataclasses.dataclass(frozen=True)
class Atlas:
    """Thumbnails side by side in one WebP picture.

    Attributes
    ----------
    data : bytes
    side : int
        Of each, in pixels.
    n_columns : int
    """

    data: bytes
    side: int
    n_columns: int

    def corner(self, number: int) -> tuple[int, int]:
        """Return where the thumbnail of an image begins, in pixels from the left and from the top."""
        row, column = divmod(number, self.n_columns)
        return column * self.side, row * self.side

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return "data:image/webp;base64," + base64.b64encode(self.data).decode()


def make_atlas(paths: Sequence[str]) -> Atlas:
    """Return thumbnails of images in the order given, row by row; an image that is gone by now is grey."""
    import PIL.Image

    side = next((side for most, side in _SIDES if len(paths) <= most), _SIDES[-1][1])
    n_columns = max(1, math.ceil(math.sqrt(len(paths))))
    sheet = np.full((math.ceil(max(1, len(paths)) / n_columns) * side, n_columns * side, 3), 128, dtype=np.uint8)

    def place(at: int) -> None:
        row, column = divmod(at, n_columns)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = _thumbnail(paths[at], side)

    load_decoders()
    with concurrent.futures.ThreadPoolExecutor(n_cores()) as threads:
        for _ in threads.map(place, range(len(paths))):
            pass
    picture = PIL.Image.fromarray(sheet)
    for quality in (75, 60, 45, 30, 15, 5):
        buffer = io.BytesIO()
        picture.save(buffer, format="WEBP", quality=quality, method=2)
        if buffer.tell() <= _MOST_BYTES:
            break
    return Atlas(buffer.getvalue(), side, n_columns)


def _thumbnail(path: str, side: int) -> np.ndarray[Any, Any]:
    try:
        content, _ = read_image(path)
        return decode_image(content, (side, side), "pad")
    except (UnreadableImageError, OSError):
        return np.full((side, side, 3), 128, dtype=np.uint8)
