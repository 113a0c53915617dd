"""Calibration images: the fixed photographs from which the ranges of an int8 network are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image

from featx.backbones.records import RECORDS_FOLDER
from featx.system.array_types import PixelArray

#: Public-domain photographs; the README next to them lists their sources.
CALIBRATION_FOLDER = RECORDS_FOLDER.parent / "calibration"
#: Part of the recipe of int8 rows: :func:`calibration_digest` of the photographs in the package.
CALIBRATION = "9ba71b0f1cceae18"
#: Version of the crops and of ``quantize_worker``. Raised whenever they change a network.
_METHOD = 3
#: Number of crops of a photograph by the first word of its name: aerial photographs are small.
_N_CROPS = {"aerial": 2, "photo": 13}
#: Smallest side of a crop, relative to the shorter side of the photograph. Such crops are smooth, like enlarged icons
#: and digits, on which nearest neighbors lose half a point with crops of 0.25 and more.
_MIN_SIDE = 0.04
#: Successive multiples, modulo 1, spread evenly over a cube (the R3 sequence): size, left edge and top edge.
_STEPS = (0.8191725133961645, 0.6710436067037893, 0.5497004779019703)


def calibration_paths() -> list[Path]:
    """Return the paths of the photographs, sorted by name."""
    return sorted(CALIBRATION_FOLDER.glob("*.jpg"))


def calibration_digest() -> str:
    """Return 16 hexadecimal digits that identify the photographs and the method."""
    digest = hashlib.blake2b(f"method {_METHOD}\n".encode(), digest_size=8)
    for path in calibration_paths():
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def calibration_pixels(image_size: tuple[int, int]) -> PixelArray:
    """Return the calibration images of a network: crops of all photographs at several scales.

    Parameters
    ----------
    image_size : tuple of (int, int)
        Height and width.

    Returns
    -------
    ndarray of uint8 of shape (240, height, width, 3)
    """
    return np.stack([pixels for path in calibration_paths() for pixels in _crops(path, image_size)])


def whole_photographs(image_size: tuple[int, int]) -> PixelArray:
    """Return the first crop of each photograph, its largest square: an array of shape (54, height, width, 3)."""
    return np.stack([next(_crops(path, image_size)) for path in calibration_paths()])


def _crops(path: Path, image_size: tuple[int, int]) -> Iterator[PixelArray]:
    height, width = image_size
    with PIL.Image.open(path) as file:
        photo = file.convert("RGB")
    for index in range(_N_CROPS[path.name.split("-")[0]]):
        scale, across, down = (index * step % 1 for step in _STEPS)
        side = min(photo.size) * _MIN_SIDE**scale
        left, top = (photo.width - side) * across, (photo.height - side) * down
        box = (left, top, left + side, top + side)
        yield np.asarray(photo.resize((width, height), PIL.Image.Resampling.BILINEAR, box))
