"""Resize images to the input size of a network, and decide how far a JPEG may be reduced while it is decoded."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import re
from collections.abc import Callable
from types import ModuleType

import numpy as np

from featx.errors import OptionError
from featx.system.array_types import PixelArray

MODES = ("squash", "crop", "pad")
INTERPOLATIONS = ("bilinear", "bicubic")

#: With resize="crop", the shorter side becomes size · 256 / 224 before the center is cut out: the usual evaluation of
#: ImageNet networks.
CROP_RATIO = 256 / 224

#: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if this many times the target size remains. Decoding at a reduced
#: size causes slight aliasing. On mosaics of aerial photos, the sharpest images at hand, the mean cosine of features to
#: the full decode is 0.995 with a margin of 1.5, but 0.985 with 1.
_SHRINK_MARGIN = 1.5
_COLOR = re.compile("#[0-9a-fA-F]{6}")


@dataclasses.dataclass(frozen=True)
class Resize:
    """How an image is fitted to the input size of a network.

    Attributes
    ----------
    mode : {"squash", "crop", "pad"}
        See :func:`resize_image`.
    share : float or None, default=None
        Side of the central square that remains, relative to the resized image, as ``crop_pct`` of timm. None: the
        default of the mode.
    interpolation : {"bilinear", "bicubic"} or None, default=None
        Interpolation of Pillow. None: bilinear, by the faster resizer.
    fill : str, default=""
        Color around a padded image, such as ``"#808080"``. "": black.
    rounding : {"", "floor"}, default=""
        How an odd margin of a cropped image is halved. "": to even numbers, as torchvision does. "floor": down, as
        Hugging Face does.
    """

    mode: str
    share: float | None = None
    interpolation: str | None = None
    fill: str = ""
    rounding: str = ""

    @property
    def text(self) -> str:
        """The resize as a recipe records it; equal ones have equal texts."""
        share = "" if self.share is None else f"{self.share:g}"
        return " ".join(filter(None, (self.mode, share, self.fill, self.interpolation, self.rounding)))


@functools.lru_cache(maxsize=64)
def parse_resize(text: str) -> Resize:
    """Return the resize that an option specifies: a mode, or a mode with a share and an interpolation.

    Raises
    ------
    OptionError
        If the text specifies none.

    Examples
    --------
    >>> [parse_resize(text).text for text in ("crop", "crop 0.9 bicubic", "squash bicubic", "pad #808080")]
    ['crop', 'crop 0.9 bicubic', 'squash 1 bicubic', 'pad #808080 bilinear']
    """
    mode, *others = text.split() or [""]
    rounding = "floor" if mode != "pad" and others[-1:] == ["floor"] else ""
    others = others[:-1] if rounding else others
    names = [word for word in others if word in INTERPOLATIONS]
    fills = [word.lower() for word in others if _COLOR.fullmatch(word)]
    shares = [_parse_share(word) for word in others if word not in INTERPOLATIONS and word.lower() not in fills]
    is_counted = len(names) <= 1 and len(shares) <= (mode != "pad") and len(fills) <= (mode == "pad")
    if not (mode in MODES and is_counted and all(shares)):
        raise OptionError(
            "resize (--resize) must be 'native', 'squash', 'crop' or 'pad', the last three optionally with the share "
            "that remains (or the color to pad with) and the interpolation, such as 'crop 0.95 bicubic' or 'pad "
            f"#808080 bicubic', got {text!r}."
        )
    if not others and not rounding:
        return Resize(mode)
    default = {"crop": 1 / CROP_RATIO, "squash": 1.0, "pad": None}[mode]
    return Resize(mode, shares[0] if shares else default, names[0] if names else "bilinear", "".join(fills), rounding)


def _parse_share(word: str) -> float:
    """Return a share from 0.1 to 1; 0 for any other word."""
    try:
        share = float(word)
    except ValueError:
        return 0.0
    return share if 0.1 <= share <= 1 else 0.0


def shrink_factor(image_size: tuple[int, int], target_size: tuple[int, int], resize: str) -> int:
    """Return the largest of 1, 2, 4 and 8 that leaves enough pixels for the antialiased resize.

    Parameters
    ----------
    image_size, target_size : tuple of (int, int)
        Height and width.
    resize : str
        See :func:`resize_image`.
    """
    parsed = parse_resize(resize)
    ratios = [target / side for target, side in zip(target_size, image_size, strict=True)]
    share = parsed.share or (1 / CROP_RATIO if parsed.mode == "crop" else 1)
    scale = (min(ratios) if parsed.mode == "pad" else max(ratios)) / share
    return next((factor for factor in (8, 4, 2) if factor * scale * _SHRINK_MARGIN <= 1), 1)


def resize_image(pixels: PixelArray, size: tuple[int, int], resize: str) -> PixelArray:
    """Return RGB pixels resized to exactly `size`, with antialiased interpolation.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width, 3)
    size : tuple of (int, int)
        Height and width of the result.
    resize : str
        How to change the aspect ratio. "squash": stretch the image. "crop": cut out the center after scaling the
        shorter side to size · 256 / 224. "pad": fit the whole image and fill the rest with black. With a share and an
        interpolation, as in "crop 0.95 bicubic", the pixels are those of timm and torchvision: the shorter side is
        scaled to size / share by Pillow, in whole pixels; with "floor" at the end, the pixels are those of Hugging
        Face. "pad #808080 bicubic" fills the rest with this color, as the crop mode "border" of timm does.

    Returns
    -------
    ndarray of uint8 of shape (size[0], size[1], 3)
    """
    parsed = parse_resize(resize)
    height, width = pixels.shape[:2]
    if parsed.mode == "pad":
        scale = min(size[0] / height, size[1] / width)
        inner_size = (max(1, round(height * scale)), max(1, round(width * scale)))
        if parsed.fill:  # rounded like timm
            ratio = max(height / size[0], width / size[1])
            inner_size = (max(1, round(height / ratio)), max(1, round(width / ratio)))
        return _pad(_resample(pixels, inner_size, interpolation=parsed.interpolation), size, parsed.fill)
    if parsed.share is not None:
        return _scale_and_crop(pixels, size, parsed)
    if parsed.mode == "squash":
        return _resample(pixels, size)
    scale = max(size[0] / height, size[1] / width) * CROP_RATIO
    crop_height, crop_width = size[0] / scale, size[1] / scale
    return _resample(pixels, size, ((width - crop_width) / 2, (height - crop_height) / 2, crop_width, crop_height))


def _pad(inner: PixelArray, size: tuple[int, int], fill: str) -> PixelArray:
    top, left = (size[0] - inner.shape[0]) // 2, (size[1] - inner.shape[1]) // 2
    padded = np.full((*size, 3), list(bytes.fromhex(fill[1:])) if fill else 0, dtype=np.uint8)
    padded[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return padded


def _scale_and_crop(pixels: PixelArray, size: tuple[int, int], resize: Resize) -> PixelArray:
    """Return the result of ``Resize`` and ``CenterCrop`` of torchvision, bit by bit."""
    assert resize.share is not None
    height, width = pixels.shape[:2]
    scaled_height, scaled_width = (math.floor(side / resize.share) for side in size)
    if resize.mode == "crop":  # the other side follows the aspect ratio, rounded down
        if scaled_height * width >= scaled_width * height:
            scaled_width = max(scaled_width, int(scaled_height * width / height))
        else:
            scaled_height = max(scaled_height, int(scaled_width * height / width))
    halve: Callable[[float], int] = math.floor if resize.rounding else round
    top, left = halve((scaled_height - size[0]) / 2), halve((scaled_width - size[1]) / 2)
    scaled = _resample(pixels, (scaled_height, scaled_width), interpolation=resize.interpolation)
    return scaled[top : top + size[0], left : left + size[1]]


def _resample(
    pixels: PixelArray,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
    interpolation: str | None = None,
) -> PixelArray:
    """Return pixels at another size.

    A value differs by at most 1 between Pillow and the faster resizer.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width, 3)
    size : tuple of (int, int)
        Height and width of the result.
    box : tuple of (left, top, width, height), or None, default=None
        Part of the image to use. None: all of it.
    interpolation : {"bilinear", "bicubic"} or None, default=None
        Interpolation of Pillow. None: bilinear, by the faster resizer where it is installed.
    """
    resizer = fast_resizer()
    if resizer is None or interpolation is not None:
        import PIL.Image

        corners = None if box is None else (box[0], box[1], box[0] + box[2], box[1] + box[3])
        method = PIL.Image.Resampling.BICUBIC if interpolation == "bicubic" else PIL.Image.Resampling.BILINEAR
        return np.asarray(PIL.Image.fromarray(pixels).resize(size[::-1], method, box=corners))
    height, width = pixels.shape[:2]
    source = resizer.ImageData(width, height, resizer.PixelType.U8x3, pixels.tobytes())
    result = resizer.ImageData(size[1], size[0], resizer.PixelType.U8x3)
    bilinear = resizer.ResizeAlg.convolution(resizer.FilterType.bilinear)
    crop = None if box is None else resizer.CropBox(*box)
    options = resizer.ResizeOptions(bilinear, use_alpha=False, crop_box=crop)
    resizer.Resizer().resize(source, result, options)
    return np.frombuffer(result.get_buffer(), dtype=np.uint8).reshape(*size, 3)


@functools.cache
def fast_resizer() -> ModuleType | None:
    """Return the package cykooz_resizer (fast_image_resize in Rust), which takes a quarter of Pillow's time.

    None where it is not installed: it has no wheels for some systems, such as Linux on ARM. Pillow is used there.
    """
    try:
        return importlib.import_module("cykooz_resizer")
    except ImportError:
        return None
