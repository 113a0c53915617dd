"""Colors of 16 bits in PNG and TIFF files, of which Pillow keeps the high bytes.

Pillow selects the bytes of a pixel by the name of a raw mode, such as ``RGB;16B`` for big-endian files. With the other
byte order, it returns the low bytes.
"""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import UnreadableImageError
from featx.system.array_types import PixelArray

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_RAW_MODE = re.compile(r"([A-Z]+);16([LBN])")
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
#: Tags of TIFF: bits of each sample, and whether samples are stored in planes.
_BITS, _PLANAR = 258, 284
_PLANES = 2


def correct_planes(image: PILImage) -> None:
    """Change how an opened TIFF is decoded if it has uncompressed planes of 16 bits, which Pillow takes for 8 bits."""
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR) != _PLANES or set(tags.get(_BITS, ())) != {16}:
        return
    order = "L" if tags.prefix == b"II" else "B"
    tiles: Any = image.tile  # type: ignore[attr-defined]  # images of files have it
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:])) if tile.codec_name == "raw" else tile
        for tile in tiles
    ]


def low_bytes(data: bytes, image: PILImage) -> PixelArray | None:
    """Return the low bytes of colors of 16 bits, of shape (height, width, 3). None: the image has no such colors.

    Parameters
    ----------
    data : bytes
        Content of the file.
    image : PIL.Image.Image
        Image that :func:`featx.images.formats.open_image` returned for `data`, and whose pixels are not decoded yet.

    Raises
    ------
    UnreadableImageError
        The colors are in compressed planes, of which Pillow returns the high bytes only.
    """
    modes = {_raw_mode(tile) for tile in getattr(image, "tile", [])} if image.mode in ("RGB", "RGBA") else set()
    if not modes or not all(map(_RAW_MODE.fullmatch, modes)):
        return None
    low: Any = type(image)(io.BytesIO(data))  # type: ignore[call-arg]  # a class of image files
    low.decodermaxblock = max(len(data), 2**16)
    if getattr(image, "tag_v2", {}).get(_PLANAR) == _PLANES:
        if any(tile.codec_name == "libtiff" for tile in low.tile):
            raise UnreadableImageError(
                "the TIFF has compressed planes of 16 bits; pass bands=(1, 2, 3) (--bands 1,2,3) with the range of "
                "values"
            )
        correct_planes(low)
    low.tile = [_with_low_bytes(tile) for tile in low.tile]
    pixels = np.asarray(low)
    # The four bytes of gray and opacity are read as a pixel of four colors.
    return pixels[:, :, [1, 1, 1]] if modes == {"LA;16B"} else pixels[:, :, :3]


def _with_low_bytes(tile: Any) -> Any:
    mode = _raw_mode(tile)
    low = "RGBA" if mode == "LA;16B" else _RAW_MODE.sub(lambda match: f"{match[1]};16{_OTHER_ORDER[match[2]]}", mode)
    return tile._replace(args=low if isinstance(tile.args, str) else (low, *tile.args[1:]))


def _raw_mode(tile: Any) -> str:
    return str(tile.args if isinstance(tile.args, str) else tile.args[0])
