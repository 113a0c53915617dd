"""Fill the missing end of a truncated JPEG or PNG, so that a decoder accepts it. Missing pixels are gray or black."""

from __future__ import annotations

import struct
import zlib

from featx.errors import TruncatedImageError
from featx.images.formats import PNG_SIGNATURE, png_chunks
from featx.system.formatting import first_line

#: Start and step of columns and rows in each pass of a PNG, by its interlace method (PNG specification, section 8).
_PASSES = {
    0: ((0, 1, 0, 1),),
    1: ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)),
}
#: Number of channels by the color type of a PNG.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MAX_SCANLINE_BYTES = 2**30


def pad_truncated(data: bytes) -> bytes:
    """Return the bytes of a truncated image with its missing end filled.

    Raises
    ------
    TruncatedImageError
        The image is neither a JPEG nor a PNG, or ends before its first pixel.
    """
    if data[:3] == b"\xff\xd8\xff":
        # With an end marker, libjpeg continues without data and leaves the rest gray.
        return data + b"\xff\xd9"
    if data.startswith(PNG_SIGNATURE):
        return _pad_png(data)
    raise TruncatedImageError("the file is truncated, and only JPEG and PNG files can be padded")


def _pad_png(data: bytes) -> bytes:
    chunks, compressed = [], []
    for kind, start, end in png_chunks(data):
        body = data[start + 8 : end - 4]
        if kind == b"IDAT":
            compressed.append(body)
        elif kind != b"IEND" and end - 4 <= len(data):
            chunks.append((kind, body))
    header = next((body for kind, body in chunks if kind == b"IHDR" and len(body) == 13), b"")
    if not header or not compressed:
        raise TruncatedImageError("the file is truncated before its first pixel")
    n_bytes = _n_scanline_bytes(header)
    try:
        scanlines = zlib.decompressobj().decompress(b"".join(compressed), n_bytes)
    except zlib.error as error:
        raise TruncatedImageError(f"the file is truncated, and its data is corrupt ({first_line(error)})") from error
    scanlines += bytes(n_bytes - len(scanlines))
    padded = [*chunks, (b"IDAT", zlib.compress(scanlines, 1)), (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in padded
    )


def _n_scanline_bytes(header: bytes) -> int:
    """Return the number of bytes of all scanlines of a PNG, each with its filter type."""
    width, height, bits, color_type, _, _, interlace = struct.unpack(">IIBBBBB", header)
    is_known = color_type in _CHANNELS and interlace in _PASSES and bits in (1, 2, 4, 8, 16)
    if not is_known or not width or not height:  # no bytes would mean no limit to zlib
        raise TruncatedImageError("the file is truncated, and its header is corrupt")
    n_bytes = 0
    for first_column, column_step, first_row, row_step in _PASSES[interlace]:
        n_columns, n_rows = -(-(width - first_column) // column_step), -(-(height - first_row) // row_step)
        if n_columns > 0 and n_rows > 0:
            n_bytes += n_rows * (1 + -(-n_columns * bits * _CHANNELS[color_type] // 8))
    if n_bytes > _MAX_SCANLINE_BYTES:
        raise TruncatedImageError("the file is truncated, and too large to be padded")
    return n_bytes
