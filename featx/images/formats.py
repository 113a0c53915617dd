"""Open images by their content, name the formats that are not supported, and read parts of file headers."""

from __future__ import annotations

import codecs
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from featx.errors import ImageTooLargeError, UnknownFormatError, UnreadableImageError
from featx.images.decoders.deep_colors import correct_planes
from featx.images.decoders.dicom import is_dicom, open_dicom
from featx.images.decoders.tiff_bands import open_bands
from featx.recipe import Window
from featx.system.formatting import first_line

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Formats that are read, as Pillow names them. Its other decoders are not used: some run programs (EPS), and some
#: accept any file as an image (TGA, PCX).
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "ICO", "JPEG2000", "PPM")
#: Suffixes of images in folders, in lower case.
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"),
        *(".gif", ".tif", ".tiff", ".bmp", ".ico", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
        *(".dcm", ".dicom"),
    )
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MAX_ICON_SIDE = 2048
_MAX_PNG_PROFILE_BYTES = 2**20
#: Chunks of a PNG that decide its pixels.
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
#: Number of bytes of a file type box in which compatible brands are searched.
_MAX_BRAND_BYTES = 128
#: Beginnings of TIFF, and of BigTIFF.
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Maximum number of samples per pixel that Pillow reads: four colors and opacity.
_MAX_SAMPLES = 5
#: Beginnings of other files.
_OTHER_FILES = (
    (b"version https://git-lfs", "a Git LFS pointer (run git lfs pull in its repository)"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"%!PS", "a PostScript document"),
    (b"8BPS", "a Photoshop document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x00\x05\x16\x07", "a macOS resource file"),
    (b"RIFF", "a video or audio file"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"<?xml", "an XML document"),
    (b"{", "a JSON document"),
)
#: Beginnings of images in formats that are not supported.
_UNSUPPORTED_IMAGES = (
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"FUJIFILM", "a raw photo"),
    (b"<svg", "an SVG drawing"),
)


def open_image(data: bytes, window: Window | None = None, max_pixels: int | None = None) -> PILImage:
    """Return an image whose header is read and whose pixels are not decoded yet. Its content decides the format.

    Parameters
    ----------
    data : bytes
    window : Window or None, default=None
        Bands of TIFF files that are red, green and blue. None: the colors of the file.
    max_pixels : int or None, default=None
        Maximum number of pixels of DICOM images and bands of TIFF files, which are decoded here. None: the limits of
        their decoders.

    Raises
    ------
    UnknownFormatError
        The data is not an image, or in an unsupported format.
    UnreadableImageError
        The header is corrupt.
    """
    import PIL.Image

    if not data:
        raise UnknownFormatError("the file is empty (0 bytes)")
    if is_heic(data):
        return _open_heic(data)
    if is_dicom(data):
        return open_dicom(data, max_pixels)
    if window is not None and window.bands and data[:4] in _TIFF_SIGNATURES:
        return open_bands(data, window, max_pixels)
    _check_kind(data)
    for name in FORMATS:
        opener, accepts = PIL.Image.OPEN.get(name, (None, None))
        # PIL.Image.open is not used: its limit of pixels is global, and ours is a parameter of the caller.
        if opener is not None and accepts is not None and accepts(data[:16]) is True:
            if name == "ICO":
                _check_icon(data)
            image = _open_with(opener, data, name)
            correct_planes(image)
            return image
    raise UnknownFormatError(_describe_unknown(data))


def _check_kind(data: bytes) -> None:
    """Raise an error for kinds of PNG and TIFF that Pillow does not read, with their names.

    Raises
    ------
    UnreadableImageError
    """
    if data.startswith(PNG_SIGNATURE) and data[12:16] == b"CgBI":
        raise UnreadableImageError(
            "the PNG is in the format of iOS apps (CgBI), which is not supported; convert it with Xcode: pngcrush "
            "-revert-iphone-optimizations"
        )
    if data[:4] in _TIFF_SIGNATURES[:2]:
        _check_tiff(data)


def _check_tiff(data: bytes) -> None:
    tags = tiff_tags(data)
    n_samples, bits = tags.get(277, 1), tags.get(258, 1)
    if n_samples > _MAX_SAMPLES:
        raise UnreadableImageError(
            f"the TIFF has {n_samples} bands, which are no colors; select red, green and blue with bands, for example "
            "bands=(4, 3, 2) (--bands 4,3,2)"
        )
    if n_samples >= 3 and bits > 16:
        raise UnreadableImageError(
            f"the TIFF has {n_samples} bands of {bits} bits; select red, green and blue with bands, and the range of "
            "their values with window, for example bands=(1, 2, 3) and window=(0, 1) (--bands 1,2,3 --window 0 1)"
        )
    if tags.get(339, 1) in (5, 6):
        raise UnreadableImageError("the TIFF has complex numbers, which are no image; write their magnitude")


def tiff_tags(data: bytes) -> dict[int, int]:
    """Return the first value of each tag in the first directory of a TIFF, as far as it is a small integer."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)
    sizes = {1: 1, 3: 2, 4: 4}
    end = start + 2 + 12 * int.from_bytes(data[start : start + 2], order)
    tags = {}
    for entry in range(start + 2, min(end, len(data) - 11), 12):
        fields = (data[entry : entry + 2], data[entry + 2 : entry + 4], data[entry + 4 : entry + 8])
        tag, kind, count = (int.from_bytes(field, order) for field in fields)
        if kind in sizes:
            value = entry + 8
            if count * sizes[kind] > 4:
                value = int.from_bytes(data[value : value + 4], order)
            tags[tag] = int.from_bytes(data[value : value + sizes[kind]], order)
    return tags


def _check_icon(data: bytes) -> None:
    """Raise an error for an icon that contains a large PNG. Pillow would decode it to find its size."""
    for entry in range(int.from_bytes(data[4:6], "little")):
        offset = int.from_bytes(data[18 + 16 * entry : 22 + 16 * entry], "little")
        if data[offset : offset + 4] == PNG_SIGNATURE[:4]:
            width, height = (
                int.from_bytes(data[offset + position : offset + position + 4], "big") for position in (16, 20)
            )
            if width * height > _MAX_ICON_SIDE**2:
                raise ImageTooLargeError(
                    f"the icon has {width} × {height} pixels, more than the limit of {_MAX_ICON_SIDE**2:,}"
                )


def _open_with(opener: Any, data: bytes, name: str) -> PILImage:
    try:
        try:
            image: PILImage = opener(io.BytesIO(data), "")
        except Exception:  # perhaps because of metadata; otherwise the second attempt raises it too
            if (stripped := strip_metadata(data)) == data:
                raise
            image = opener(io.BytesIO(stripped), "")
    except (SyntaxError, IndexError, TypeError, struct.error) as error:  # what Pillow's openers raise
        if "unknown pixel mode" in str(error):
            raise UnreadableImageError(f"this kind of {name} image is not supported ({first_line(error)})") from error
        detail = first_line(error)
        detail = "" if "this driver" in detail else f" ({detail})"  # Pillow's words where it knows no reason
        raise UnreadableImageError(f"the header of the {name} image is corrupt{detail}") from error
    # All data at once: Pillow's decoder of arithmetic JPEGs cannot wait for more.
    image.decodermaxblock = max(len(data), 2**16)  # type: ignore[attr-defined]  # only images with a file have it
    return image


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and declared end of each chunk of a PNG. The end may lie beyond the end of the data."""
    start = len(PNG_SIGNATURE)
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : start + 8], start, end
        start = end


def strip_metadata(data: bytes) -> bytes:
    """Return a PNG without the chunks that do not decide its pixels: Pillow may reject a file because of them.

    Other data, and a PNG without its end, is returned unchanged.
    """
    if not data.startswith(PNG_SIGNATURE) or not data.endswith(b"IEND\xaeB`\x82"):
        return data
    chunks = [
        data[start:end]
        for kind, start, end in png_chunks(data)
        if kind in _PIXEL_CHUNKS or (kind == b"iCCP" and _is_valid_profile(data[start + 8 : end - 4]))
    ]
    return PNG_SIGNATURE + b"".join(chunks)


def _is_valid_profile(body: bytes) -> bool:
    """Return whether Pillow accepts the ICC profile of a PNG: it inflates to at most a megabyte."""
    _, _, compressed = body.partition(b"\0")
    if compressed[:1] != b"\0":
        return False
    try:
        profile = zlib.decompressobj().decompress(compressed[1:], _MAX_PNG_PROFILE_BYTES)
    except zlib.error:
        return False
    return len(profile) < _MAX_PNG_PROFILE_BYTES


def declared_size(data: bytes) -> int:
    """Return the number of bytes that a file should have by its own headers. 0: its format does not declare it."""
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little")
    if data[:4] in (b"II*\0", b"MM\0*"):  # TIFF: the offset of its directory, which libtiff writes last
        order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
        return int.from_bytes(data[4:8], order) + 2
    if data[:4] == b"\0\0\1\0":  # ICO: sizes and offsets of its images
        end = 6 + 16 * int.from_bytes(data[4:6], "little")
        sizes = [int.from_bytes(data[position : position + 4], "little") for position in range(14, end, 16)]
        offsets = [int.from_bytes(data[position : position + 4], "little") for position in range(18, end, 16)]
        return max([end, *map(sum, zip(sizes, offsets, strict=True))])
    return _end_of_boxes(data) if data[4:8] in (b"ftyp", b"jP  ") else 0


def _end_of_boxes(data: bytes) -> int:
    """Return where the boxes of an AVIF, HEIC or JPEG 2000 file end. 0: the last one extends to the end of the file."""
    end = 0
    while end < len(data):
        size = int.from_bytes(data[end : end + 4], "big")
        size = int.from_bytes(data[end + 8 : end + 16], "big") if size == 1 else size
        if size < 8:
            return 0
        end += size
    return end


def is_heic(data: bytes) -> bool:
    """Return whether data is a HEIC or HEIF image, as phones write it, and not an AVIF image."""
    if data[4:8] != b"ftyp":
        return False
    brand, compatible = data[8:12], data[16 : min(int.from_bytes(data[:4], "big"), _MAX_BRAND_BYTES)]
    return brand in _HEIC_BRANDS or (brand in (b"mif1", b"msf1") and b"avif" not in compatible)


def _open_heic(data: bytes) -> PILImage:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnknownFormatError(
            "HEIC images require the package pillow-heif, which is not installed: pip install 'featx[heic]'"
        ) from error
    # Not registered with Pillow, which would change what other code of this process reads.
    image: PILImage = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]  # it has no types
    return image


def _describe_unknown(data: bytes) -> str:
    """Return a reason that names the kind of data that is not an image, as far as its beginning shows."""
    head = data[:512].lstrip()
    unsupported, other = _kind_by_start(data, head, _UNSUPPORTED_IMAGES), _kind_by_start(data, head, _OTHER_FILES)
    if data[4:8] == b"ftyp":
        unsupported, other = ("an AVIF image", "") if b"avif" in data[8:64] else ("", "a video")
    elif b"<html" in head.lower() or head[:9].lower() == b"<!doctype":
        unsupported, other = "", "a web page, as servers send for a missing file"
    if unsupported:
        return f"the file is {unsupported}, which is not supported"
    if other:
        return f"the file is not an image but {other}"
    if not any(data[:4096]):
        return "the file contains only zeros, as after an interrupted download or copy"
    # The content is not quoted: the file may be secret, and the reader of the message a client of a service.
    return f"the file is not an image {'but text' if _is_text(head) else 'of a known format'}"


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut off
    except UnicodeDecodeError:
        return False
    return text != "" and all(character.isprintable() or character.isspace() for character in text)


def _kind_by_start(data: bytes, head: bytes, kinds: Iterable[tuple[bytes, str]]) -> str:
    return next((kind for start, kind in kinds if data.startswith(start) or head.startswith(start)), "")
