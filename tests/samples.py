"""Image files that Pillow cannot write: 16-bit colors, color profiles, arithmetic coding."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL.Image

Array = np.ndarray[Any, Any]
PIL.Image.init()
#: Whether Pillow reads AVIF, as versions since 11.3 do.
HAS_AVIF = "AVIF" in PIL.Image.SAVE


def ramp(height: int = 40, width: int = 56) -> Array:
    """Return an image whose three channels increase in three directions."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 4, y * 6, (x + y) * 2]).astype(np.uint8)


def png(pixels: Array, *, bits: int = 8) -> bytes:
    """Return a PNG of 1 to 4 channels of 8 or 16 bits."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    lines = b"".join(b"\0" + line.astype(">u2" if bits == 16 else "u1").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def tiff16(pixels: Array) -> bytes:
    """Return an uncompressed TIFF with three channels of 16 bits."""
    height, width, channels = pixels.shape
    data = pixels.astype("<u2").tobytes()
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 0), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 0), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(data))]
    after = 8 + 2 + 12 * len(tags) + 4
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    values = {258: after, 273: after + len(bits)}
    entries = b"".join(struct.pack("<HHII", tag, kind, n, values.get(tag, value)) for tag, kind, n, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + bits + data


#: Chromaticities of red, green and blue, and the exponent of Display P3 (the sRGB curve as one exponent) and of Adobe
#: RGB (1998).
SPACES = {
    "Display P3": (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), 2.2),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 563 / 256),
}
_SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D65, _D50 = (0.3127, 0.3290), (0.3457, 0.3585)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _xyz(chromaticity: tuple[float, float]) -> Array:
    x, y = chromaticity
    return np.array([x / y, 1, (1 - x - y) / y])


def to_xyz(primaries: Any) -> Array:
    """Return the matrix from linear colors of these primaries to XYZ, with the white point D65."""
    columns = np.stack([_xyz(primary) for primary in primaries], axis=1)
    matrix: Array = columns * np.linalg.solve(columns, _xyz(_D65))
    return matrix


def icc_profile(space: str, name: str = "") -> bytes:
    """Return a matrix profile (ICC version 2) of a color space."""
    primaries, exponent = SPACES[space]
    adapted = np.diag((_BRADFORD @ _xyz(_D50)) / (_BRADFORD @ _xyz(_D65)))
    colorants = np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ to_xyz(primaries)
    fixed = lambda value: round(float(value) * 65536)  # noqa: E731
    xyz = lambda values: b"XYZ \0\0\0\0" + struct.pack(">3i", *map(fixed, values))  # noqa: E731
    text = (name or space).encode()
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256)) + b"\0\0"
    tags = {b"desc": description, b"wtpt": xyz(_xyz(_D50)), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= {key: xyz(column) for key, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants.T, strict=True)}
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for key, data in tags.items():
        table += struct.pack(">4sII", key, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = at + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    header += bytes(28) + struct.pack(">3i", *map(fixed, _xyz(_D50)))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def cmyk_profile(corners: Array) -> bytes:
    """Return the profile of a printer (ICC version 2, lut8): the colors of all 16 corners of inks, linear in between.

    `corners` has shape (2, 2, 2, 2, 3) and Lab values with the white point D50 as bytes: L · 2.55, a + 128, b + 128.
    """
    identity = np.arange(256, dtype=np.uint8).tobytes()
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    lut += identity * 4 + corners.astype(np.uint8).tobytes() + identity * 3
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"p\0" + bytes(78), b"A2B0": lut, b"A2B1": lut}
    tags |= {
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),
        b"cprt": b"text" + bytes(4) + b"n\0",
    }
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for key, data in tags.items():
        table += struct.pack(">4sII", key, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"test", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def lab_as_srgb(lab: Array) -> Array:
    """Convert Lab with the white point D50 to sRGB, by CIE 15, Bradford adaptation to D65, and IEC 61966-2-1."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    f = np.stack([(lightness + 16) / 116 + a / 500, (lightness + 16) / 116, (lightness + 16) / 116 - b / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _xyz(_D50)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _xyz(_D65)) / (_BRADFORD @ _xyz(_D50))) @ _BRADFORD
    linear = np.clip(xyz @ adapted.T @ np.linalg.inv(to_xyz(_SRGB)).T, 0, 1)
    srgb: Array = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb


def as_srgb(pixels: Array, space: str) -> Array:
    """Convert pixels of a color space to sRGB, by both matrices and both curves (IEC 61966-2-1)."""
    primaries, exponent = SPACES[space]
    linear = (pixels / 255.0) ** exponent
    linear = np.clip(linear @ to_xyz(primaries).T @ np.linalg.inv(to_xyz(_SRGB)).T, 0, 1)
    srgb: Array = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb.round()


def encoded(image: PIL.Image.Image | Array, format: str, **options: Any) -> bytes:
    """Return the bytes of a file that Pillow writes."""
    buffer = io.BytesIO()
    (PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, format, **options)
    return buffer.getvalue()


#: The ramp as a progressive JPEG with arithmetic coding, written by cjpeg of libjpeg-turbo.
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMU"
    "FRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBT/ygARCAAoADgDASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8A20ijhzBPoJ/USG8P/LIi9W9EKuunG6OK"
    "GEg8SCERVVmKH/UAZ4WfaQire3GX5vWnl/YFKb3KV+V5sRyfwP/MAAQQBf/aAAgBAQABBQIYGdBPLPpT8QbNlKDc1JCEUUUUUUUU"
    "UUUUUUUUYP/MAAQRBf/aAAgBAwEBPwEVE7XHywi8XAI+rESRNCRy0lADtp9jyP/MAAQRBf/aAAgBAgEBPwEQLDbsVux82bk07P/M"
    "AAQQBf/aAAgBAQAGPwKw/8wABBAF/9oACAEBAAE/IR9VPAcx6DtO8c+goP/aAAwDAQACAAMAAAAQ/UlQBUAxOWf4/8wABBEF/9oA"
    "CAEDAQE/EKgOFBPPMgc93oD/zAAEEQX/2gAIAQIBAT8Q74jzooIT/8wABBAF/9oACAEBAAE/EKoy40UjtZq+e+wuoP/Z"
)

#: A ramp of 24 × 32 pixels in cyan, magenta and yellow, and half its green in black, as a YCCK JPEG with Adobe's
#: marker.
YCCK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAC/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoK"
    "CgYICwwLCgwJCgoK/9sAQwECAgICAgIFAwMFCgcGBwoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoK"
    "CgoKCgoK/8AAFAgAGAAgBAEiAAIRAQMRAQQiAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMF"
    "BQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RV"
    "VldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh"
    "4uPk5ebn6Onq8fLz9PX29/j5+v/EAB8BAAMBAQEBAQEBAQEAAAAAAAABAgMEBQYHCAkKC//EALURAAIBAgQEAwQHBQQEAAECdwAB"
    "AgMRBAUhMQYSQVEHYXETIjKBCBRCkaGxwQkjM1LwFWJy0QoWJDThJfEXGBkaJicoKSo1Njc4OTpDREVGR0hJSlNUVVZXWFlaY2Rl"
    "ZmdoaWpzdHV2d3h5eoKDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uLj5OXm5+jp"
    "6vLz9PX29/j5+v/aAA4EAQACEQMRBAAAPwD8R9F+HfT9x+lddovw76fuP0r0rRfh30/cfpXXaL8O+n7j9K8ujmW2p43DvGO3vH7p"
    "f8Jv/wBNv1o/4Tf/AKbfrXj/APwm/wD02/Wj/hN/+m3615rovw76fuP0rrdF+HfT9x+lel6L8O+n7j9K63Rfh30/cfpXq0cy13P3"
    "bh3jH4fePYP+E3/6bfrR/wAJv/02/WvH/wDhN/8Apt+tH/Cb/wDTb9aztF+HfT9x+lddovw76fuP0oor81o16l9z/Pnh3NMZ7vvH"
    "j/8Awm//AE2/Wj/hN/8Apt+tFFddovw76fuP0rrdF+HfT9x+lFFepRr1L7n7rw7mmM094P8AhN/+m360f8Jv/wBNv1oor//Z"
)
