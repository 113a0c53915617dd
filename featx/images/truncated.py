"""A JPEG or PNG that ends too early, made complete: what is missing becomes grey or black."""

from __future__ import annotations

import struct
import zlib

from featx.errors import TruncatedImageError

_PNG = b"\x89PNG\r\n\x1a\n"
#: Of a PNG: start and step of columns and rows in each pass of an interlaced one; a plain one has one pass.
_PASSES = {
    0: ((0, 1, 0, 1),),
    1: ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)),
}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def pad_truncated(data: bytes) -> bytes:
    """Return the bytes of an image with whatever it lacks at its end.

    Raises
    ------
    TruncatedImageError
        It is neither JPEG nor PNG, or ends before its first pixel.
    """
    if data[:3] == b"\xff\xd8\xff":
        # libjpeg goes on without data when it meets the end, and leaves the rest grey.
        return data + b"\xff\xd9"
    if data[:8] == _PNG:
        return _padded_png(data)
    raise TruncatedImageError("it is truncated, and of a format that only whole files of can be read")


def _padded_png(data: bytes) -> bytes:
    chunks, compressed, at = [], [], len(_PNG)
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IDAT":
            compressed.append(body)
        elif len(body) == size and kind != b"IEND":
            chunks.append((kind, body))
        at += 12 + size
    header = next((body for kind, body in chunks if kind == b"IHDR" and len(body) == 13), b"")
    if not header or not compressed:
        raise TruncatedImageError("it is truncated before its first pixel")
    size = _size_of_lines(header)
    stream = zlib.decompressobj()
    try:
        lines = stream.decompress(b"".join(compressed), size)
    except zlib.error as error:
        raise TruncatedImageError(f"it is truncated, and what there is of it is damaged ({error})") from error
    lines += bytes(size - len(lines))
    whole = [*chunks, (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")]
    return _PNG + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in whole
    )


def _size_of_lines(header: bytes) -> int:
    """Return how many bytes the lines of a PNG take, each with the number of its filter."""
    width, height, bits, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if kind not in _CHANNELS or interlaced not in _PASSES or bits not in (1, 2, 4, 8, 16):
        raise TruncatedImageError("it is truncated, and its header is damaged")
    n_bytes = 0
    for column, columns, row, rows in _PASSES[interlaced]:
        wide, high = -(-(width - column) // columns), -(-(height - row) // rows)
        if wide > 0 and high > 0:
            n_bytes += high * (1 + -(-wide * bits * _CHANNELS[kind] // 8))
    if n_bytes > 2**30:
        raise TruncatedImageError("it is truncated, and too large to be made complete")
    return n_bytes
