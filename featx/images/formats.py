"""Which image formats are read, told by content; and what something else probably is."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, Literal

from featx.errors import ImageTooLargeError, UnknownFormatError, UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: Pillow's decoders that are used. The others are left alone: some run programs (EPS), some take anything for an image
#: (TGA, PCX), and none of them is what photographs are kept in.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "ICO", "JPEG2000", "PPM")
#: Files of a folder with these suffixes, in any case, are taken for images.
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif"),
        *(".gif", ".tif", ".tiff", ".bmp", ".ico", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)

_LARGEST_ICON = 2048
_PNG = b"\x89PNG\r\n\x1a\n"
#: Chunks of a PNG that decide its pixels.
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"%!PS", "a PostScript document"),
    (b"8BPS", "a Photoshop document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x00\x05\x16\x07", "a resource file of macOS"),
    (b"RIFF", "a video or sound file"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"\xff\x0a", "a JPEG XL image, which is not read"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image, which is not read"),
    (b"FUJIFILM", "a raw photograph, which is not read"),
    (b"<svg", "an SVG drawing, which is not read"),
    (b"<?xml", "an XML document"),
    (b"{", "a JSON document"),
)


def open_image(data: bytes) -> PILImage:
    """Return an image by its content, whatever its name: its header is read, and nothing decoded.

    Raises
    ------
    UnknownFormatError
        It is none, or of a format that is not read: with what it probably is.
    """
    import PIL.Image

    if not data:
        raise UnknownFormatError("it is empty (0 bytes)")
    if is_heic(data):
        return _open_heic(data)
    for name in FORMATS:
        opener, accepts = PIL.Image.OPEN.get(name, (None, None))
        # Not PIL.Image.open: its limit of pixels is the same for all of a process, and this one's is the caller's.
        if opener is not None and accepts is not None and accepts(data[:16]) is True:
            if name == "ICO":
                _check_icon(data)
            return _opened(opener, data, name)
    raise UnknownFormatError(_what_it_is(data))


def _check_icon(data: bytes) -> None:
    """Refuse an icon that holds a large picture, which Pillow decodes to know its size."""
    for entry in range(int.from_bytes(data[4:6], "little")):
        at = int.from_bytes(data[18 + 16 * entry : 22 + 16 * entry], "little")
        if data[at : at + 4] == b"\x89PNG":
            width, height = (int.from_bytes(data[at + start : at + start + 4], "big") for start in (16, 20))
            if width * height > _LARGEST_ICON**2:
                raise ImageTooLargeError(f"it is an icon of {width} × {height} pixels, which no icon has")


def _opened(opener: Any, data: bytes, name: str) -> PILImage:
    try:
        try:
            image: PILImage = opener(io.BytesIO(data), "")
        except Exception:  # whatever it is, it may be of metadata only; otherwise it comes again
            if (plain := strip_metadata(data)) == data:
                raise
            image = opener(io.BytesIO(plain), "")
    except (SyntaxError, IndexError, TypeError, struct.error) as error:  # as Pillow's openers say that they cannot
        if "unknown pixel mode" in str(error):
            raise UnreadableImageError(f"it is a {name} image of a kind that is not read ({error})") from error
        raise UnreadableImageError(f"the header of a {name} image is damaged ({error})") from error
    # Whole, not in parts: Pillow's decoder of arithmetic JPEGs cannot wait for more.
    image.decodermaxblock = max(len(data), 2**16)  # type: ignore[attr-defined]  # of Pillow's images with a file
    return image


def strip_metadata(data: bytes) -> bytes:
    """Return a PNG without what is not needed for its pixels, and which Pillow may refuse the whole for.

    What is no PNG, or does not end as one, is returned as it is.
    """
    if not data.startswith(_PNG) or not data.endswith(b"IEND\xaeB`\x82"):
        return data
    kept, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in _NEEDED or (kind == b"iCCP" and _is_plain_profile(data[at + 8 : end - 4])):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _is_plain_profile(body: bytes) -> bool:
    """Return whether Pillow takes this profile of a PNG: it inflates to a megabyte at most."""
    _, _, compressed = body.partition(b"\0")
    try:
        return compressed[:1] == b"\0" and len(zlib.decompressobj().decompress(compressed[1:], 2**20)) < 2**20
    except zlib.error:
        return False


def declared_size(data: bytes) -> int:
    """Return how many bytes a file should have by what it says itself; 0 if it does not."""
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little")
    if data[:4] in (b"II*\0", b"MM\0*"):  # TIFF: its list of contents, which libtiff writes last
        order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
        return int.from_bytes(data[4:8], order) + 2
    if data[:4] == b"\0\0\1\0":
        end = 6 + 16 * int.from_bytes(data[4:6], "little")
        sizes = [int.from_bytes(data[at : at + 4], "little") for at in range(14, end, 16)]
        places = [int.from_bytes(data[at : at + 4], "little") for at in range(18, end, 16)]
        return max([end, *map(sum, zip(sizes, places, strict=True))])
    at = 0
    if data[4:8] in (b"ftyp", b"jP  "):  # a row of boxes: AVIF, HEIC, JPEG 2000
        while len(data) - at > 0:
            size = int.from_bytes(data[at : at + 4], "big")
            size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
            if size < 8:  # 0: up to the end of the file
                return 0
            at += size
    return at


def is_heic(data: bytes) -> bool:
    """Return whether these bytes are an image of an iPhone: HEIC or HEIF, and not AVIF."""
    if data[4:8] != b"ftyp":
        return False
    brand, others = data[8:12], data[16 : min(int.from_bytes(data[:4], "big"), 128)]
    return brand in _HEIC_BRANDS or (brand in (b"mif1", b"msf1") and b"avif" not in others)


def _open_heic(data: bytes) -> PILImage:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnknownFormatError(
            "it is a HEIC image, which needs a package that is not installed: pip install 'featx[heic]'"
        ) from error
    # Opened by itself: registering it with Pillow would change what every other program of this process reads.
    image: PILImage = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]  # it has no types
    return image


def _what_it_is(data: bytes) -> str:
    """Return what bytes are that are no image, as far as their beginning tells."""
    head = data[:512].lstrip()
    kind = next((kind for start, kind in _OTHERS if head.startswith(start) or data.startswith(start)), "")
    if data[4:8] == b"ftyp":
        kind = "an AVIF image, which this Pillow does not read" if b"avif" in data[8:64] else "a video"
    elif b"<html" in head.lower() or head[:9].lower() == b"<!doctype":
        kind = "a web page, such as a server sends for a file that is gone"
    elif not kind and not any(data[:4096]):
        return "it holds zeros only, as a download or a copy that broke off leaves"
    elif not kind and head and all(32 <= byte < 127 or byte in b"\r\n\t" for byte in head):
        kind = f"text (it begins with {head[:20].decode()!r})"
    if kind:
        return f"it is {kind}" if kind.endswith("not read") else f"it is no image but {kind}"
    return f"it is no image of a known format (its first bytes are {data[:8]!r})"
