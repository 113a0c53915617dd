"""An open image → upright RGB pixels, of its own size or shrunk on the way: JPEG's fast path, and the reference."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import ImageTooLargeError, TruncatedImageError, UnreadableImageError
from featx.images.color_profiles import to_srgb
from featx.images.resize import shrink_factor

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Images of more pixels are made smaller before their colours are converted.
LARGE_IMAGE = 16_000_000
#: Scans times pixels of a progressive JPEG: more take longer than four seconds, and are a bomb.
_MOST_SCANNED = 4_000_000_000
#: Bytes of a JPEG that belong to nothing; more of them were once pixels.
_MOST_STRAY_BYTES = 1000
#: Tags of EXIF and TIFF.
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 0x0112, 258, 262, 339
#: Grey of 2 or 4 bits is decoded to 8: by what its values are multiplied.
_STEPS = {"L;2": 85, "L;4": 17}


def load_upright(
    data: bytes, image: PILImage, size: tuple[int, int], resize: str, *, is_strict: bool = True
) -> PILImage:
    """Return an image upright and in RGB, of its own size or shrunk as far as `size` allows: decoding's first half.

    Parameters
    ----------
    data : bytes
    image : PIL.Image.Image
        As :func:`featx.images.formats.open_image` returned it for them.
    size, resize
        As for :func:`featx.images.decode.decode_image`.
    is_strict : bool, default=True
        Refuse a JPEG whose data ends before its pixels do.
    """
    if image.format == "JPEG" and (image.mode == "RGB" or (image.mode == "L" and "icc_profile" not in image.info)):
        scaled = _decode_jpeg(data, image, size, resize, is_strict=is_strict)
        if scaled is not None:
            return scaled
    return to_upright_rgb(image, (size, resize))


def _decode_jpeg(
    data: bytes, image: PILImage, size: tuple[int, int], resize: str, *, is_strict: bool
) -> PILImage | None:
    """Decode with libjpeg-turbo, scaled down on the way where that is harmless; None: it cannot."""
    import PIL.Image
    import simplejpeg

    orientation = _orientation(image)
    turned = size[::-1] if orientation in (5, 6, 7, 8) else size
    shrink = shrink_factor((image.height, image.width), turned, resize)
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    # Of others there is one: what looks like more belongs to something after the image, as in a motion photo.
    n_scans = data.count(b"\xff\xda") if image.info.get("progressive") else 1
    if n_scans * image.width * image.height > _MOST_SCANNED:
        raise ImageTooLargeError(f"it has {n_scans} scans of {image.width} × {image.height} pixels, as a bomb would")
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError as error:
        if is_strict:
            _refuse_what_is_missing(str(error))
        return None  # Pillow, the reference, decides whether the file is bad, and words the reason
    return _turned(to_srgb(PIL.Image.fromarray(pixels), image.info.get("icc_profile")), orientation)


def _refuse_what_is_missing(said: str) -> None:
    """Raise if a strict decoder says that part of a JPEG is missing or overwritten, which Pillow takes for grey.

    A few stray bytes, which some cameras write, are no harm.
    """
    if "premature end" in said.lower():
        raise TruncatedImageError(f"it is truncated ({said})")
    stray = re.search(r"(\d+) extraneous bytes", said)
    if stray and int(stray[1]) > _MOST_STRAY_BYTES:
        raise UnreadableImageError(f"its data is damaged ({said})")


def to_upright_rgb(image: PILImage, target: tuple[tuple[int, int], str] | None = None) -> PILImage:
    """Return a Pillow image upright and in RGB: the reference path. A large one is made smaller, as `target` allows."""
    import PIL.ImageChops

    grey = _Grey.of(image)
    image.load()
    orientation = 1 if image.format == "HEIF" else _orientation(image)  # a HEIC turns itself
    profile = image.info.get("icc_profile")
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow takes all of them for Adobe's, which stores inks inverted and says so.
        image = PIL.ImageChops.invert(image)
    if image.mode == "F" or (image.mode == "I" and not grey.is_unsigned):
        image = _made_smaller(image, orientation, target)
    image = _made_smaller(_with_plain_channels(image, grey), orientation, target)
    return _turned(_on_white(to_srgb(image, profile)), orientation)


@dataclasses.dataclass(frozen=True)
class _Grey:
    """What a header says of grey pixels that Pillow leaves to its user.

    Attributes
    ----------
    transparent : int or None
        The value that stands for transparent pixels, as it is decoded.
    is_inverted : bool
        White is zero.
    is_unsigned : bool
        Whole numbers of 32 bits without a sign, which Pillow takes for ones with.
    """

    transparent: int | None = None
    is_inverted: bool = False
    is_unsigned: bool = False

    @classmethod
    def of(cls, image: PILImage) -> _Grey:
        """Return what the header of an image says that is not loaded yet."""
        if image.format == "TIFF" and image.mode.startswith("I"):
            tags = getattr(image, "tag_v2", {})
            unsigned = tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1
            return cls(is_inverted=image.mode == "I;16" and tags.get(_PHOTOMETRIC) == 0, is_unsigned=unsigned)
        value = image.info.get("transparency")
        if image.format == "PNG" and isinstance(value, int) and image.mode in ("L", "I;16"):
            tiles = getattr(image, "tile", [])
            return cls(transparent=value * _STEPS.get(tiles[0][3] if tiles else "", 1))
        return cls()


def _with_plain_channels(image: PILImage, grey: _Grey) -> PILImage:
    """Return an image in channels of 8 bits, without a palette, and with transparency as a channel."""
    import PIL.Image

    if image.mode == "F" or image.mode.startswith("I"):
        scaled = _scaled_to_8_bits(image, grey)
        if grey.transparent is None:
            return scaled
        alpha = np.where(np.asarray(image) == grey.transparent, 0, 255).astype(np.uint8)
        return PIL.Image.merge("LA", (scaled, PIL.Image.fromarray(alpha)))
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "RGB") and image.has_transparency_data:
        if grey.transparent is not None:
            image.info["transparency"] = grey.transparent
        return image.convert("RGBA")
    return image


def _scaled_to_8_bits(image: PILImage, grey: _Grey) -> PILImage:
    """Return deep grey pixels as 0–255, by the range they are stored in, told by their type or largest value."""
    import PIL.Image

    pixels = np.asarray(image)
    if grey.is_unsigned:
        pixels = pixels.view(np.uint32)
    blocks = range(0, len(pixels), max(1, 2**20 // pixels.shape[1]))  # at a time: wide copies of all would be large
    top = max(_largest(pixels[at : at + blocks.step]) for at in blocks)
    ranges = {"f": [1.0, 255.0, 65535.0], "i": [255.0, 65535.0], "u": [255.0, 65535.0]}[pixels.dtype.kind]
    if pixels.dtype == np.uint16:
        ranges = [65535.0]
    full = next((limit for limit in ranges if top <= limit), top)
    scaled = np.empty(pixels.shape, dtype=np.uint8)
    for at in blocks:
        block = np.clip(pixels[at : at + blocks.step].astype(np.float64), 0, full) * (255.0 / full)
        scaled[at : at + blocks.step] = np.nan_to_num(block).round()
    return PIL.Image.fromarray(255 - scaled if grey.is_inverted else scaled)


def _largest(pixels: np.ndarray[Any, Any]) -> float:
    """Return the largest finite value, at least 0."""
    return float(pixels.max(initial=0, where=np.isfinite(pixels)))


def _made_smaller(image: PILImage, orientation: int, target: tuple[tuple[int, int], str] | None) -> PILImage:
    """Return a large image with fewer pixels, as far as the wanted size allows; others as they are."""
    if target is None or image.width * image.height <= LARGE_IMAGE:
        return image
    (height, width), resize = target
    turned = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    factor = shrink_factor((image.height, image.width), turned, resize)
    return image.reduce(factor) if factor > 1 else image


def _on_white(image: PILImage) -> PILImage:
    import PIL.Image

    if image.mode in ("La", "RGBa"):  # premultiplied, which Pillow turns into nothing but its plain kind
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, "white")
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: PILImage) -> int:
    """Return how an image is turned, 1 where its EXIF does not tell or is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels are no worse for it
        return 1


def _turned(image: PILImage, orientation: int) -> PILImage:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
