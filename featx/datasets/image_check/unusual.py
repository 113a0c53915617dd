"""Unusual properties of an image: its size, its format, and how poor it is as a photograph."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from featx.datasets.image_check.result import CheckedImage
from featx.images.formats import IMAGE_SUFFIXES
from featx.images.quality.measures import MEASURED_SIDE, QUALITY_KINDS, describe_quality

#: Side in pixels below which an image is tiny: networks enlarge it sevenfold.
_TINY_SIDE = 32
_HUGE_PIXELS = 50_000_000
_MAX_ASPECT_RATIO = 10.0
#: Standard deviation of brightness, of 255, below which an image has nearly one color.
_MIN_CONTRAST = 2.0
#: Share and number of images from which poor quality is a property of the data set.
_COMMON_SHARE, _MIN_COMMON = 0.2, 10
_FORMAT_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "MPO": {".jpg", ".jpeg", ".mpo"},
    "PNG": {".png", ".apng"},
    "TIFF": {".tif", ".tiff"},
    "HEIF": {".heic", ".heif", ".hif"},
    "DICOM": {".dcm", ".dicom"},
    "JPEG2000": {".jp2", ".j2k", ".jpx"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
}


def without_common_properties(images: list[CheckedImage]) -> tuple[list[CheckedImage], list[str]]:
    """Return images without poor quality that many of them share: then the data set is like that; and notes on it."""
    kinds = collections.Counter(detail.partition(":")[0] for image in images for detail in image.unusual)
    n_readable = sum(not image.error for image in images)
    common = [kind for kind in QUALITY_KINDS if kinds[kind] >= max(_MIN_COMMON, _COMMON_SHARE * n_readable)]
    notes = [
        f"{kinds[kind]:,} of {n_readable:,} images are {kind.replace('low information', 'low in information')}. They "
        "are not listed, as it seems to be a property of these images."
        for kind in common
    ]
    if not common:
        return images, []
    kept = [tuple(detail for detail in image.unusual if detail.partition(":")[0] not in common) for image in images]
    return [dataclasses.replace(image, unusual=unusual) for image, unusual in zip(images, kept, strict=True)], notes


def unusual_properties(image: CheckedImage, thumbnail: np.ndarray[Any, Any], n_pages: int = 1) -> Iterator[str]:
    """Yield the unusual properties of a readable image. The thumbnail has the side that quality is measured on."""
    if n_pages > 1:
        yield f"several pages: the first of {n_pages:,} is read"
    size = f"{image.width} × {image.height} pixels"
    shorter, longer = sorted((image.width, image.height))
    if shorter < _TINY_SIDE:
        yield f"tiny: {size}"
    if image.width * image.height > _HUGE_PIXELS:
        yield f"huge: {size}"
    if longer > _MAX_ASPECT_RATIO * shorter:
        yield f"extreme aspect ratio: {size}"
    contrast = float(thumbnail.mean(axis=2).std())
    if contrast < _MIN_CONTRAST:
        yield f"nearly one color: standard deviation of brightness is {contrast:.1f} of 255"
    for kind, detail in describe_quality(thumbnail, is_enlarged=shorter < MEASURED_SIDE):
        yield f"{kind}: {detail}"
    suffix = os.path.splitext(image.path)[1].lower()
    expected = _FORMAT_SUFFIXES.get(image.format, {f".{image.format.lower()}"})
    if suffix in IMAGE_SUFFIXES and suffix not in expected:
        yield f"suffix is {suffix}, but the format is {image.format}"
