"""Decodes mutated images. Each must become pixels, or raise an error of featx.

``python -m tests.fuzz --number 20000`` prints other exceptions, images that take over five seconds, and peak memory.
A mutant depends only on its number, so that it can be reproduced.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import random
import re
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from featx.errors import TruncatedImageError, UnreadableImageError
from featx.images.decode import decode_image, decode_truncated
from tests import samples
from tests.samples import encoded, icc_profile, png, ramp, tiff16

MAX_SECONDS = 5.0
MAX_MEGABYTES = 1000


def seeds() -> list[tuple[str, bytes]]:
    """Return names and bytes of valid images of every format and of many modes."""
    rgb = ramp()
    noise = np.frombuffer(random.Random(0).randbytes(rgb.size), dtype=np.uint8).reshape(rgb.shape)
    deep = rgb.astype(np.uint16) * 257
    image = PIL.Image.fromarray(noise)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [PIL.Image.fromarray(rgb)]}
    images = [
        ("jpeg", encoded(rgb, "JPEG", exif=exif)),
        ("jpeg-noise", encoded(noise, "JPEG", quality=95)),
        ("jpeg-progressive", encoded(noise, "JPEG", progressive=True, icc_profile=icc_profile("Adobe RGB"))),
        ("jpeg-gray", encoded(image.convert("L"), "JPEG")),
        ("jpeg-cmyk", encoded(image.convert("CMYK"), "JPEG")),
        ("jpeg-ycck", samples.YCCK_JPEG),
        ("jpeg-arithmetic", samples.ARITHMETIC_JPEG),
        ("mpo", encoded(image, "MPO", **frames)),
        ("png", png(rgb)),
        ("png-alpha", encoded(image.convert("RGBA"), "PNG", icc_profile=icc_profile("Display P3"))),
        ("png-palette", encoded(image.quantize(32), "PNG", transparency=3)),
        ("png-1", encoded(image.convert("1"), "PNG")),
        ("png-16", png(deep, bits=16)),
        ("apng", encoded(image, "PNG", **frames)),
        ("webp", encoded(noise, "WEBP", exif=exif)),
        ("webp-lossless", encoded(image.convert("RGBA"), "WEBP", lossless=True)),
        ("webp-animated", encoded(image, "WEBP", **frames)),
        ("gif", encoded(image.quantize(32), "GIF", **frames)),
        ("tiff", encoded(rgb, "TIFF")),
        ("tiff-16", tiff16(deep)),
        ("tiff-lzw", encoded(noise, "TIFF", compression="tiff_lzw")),
        ("tiff-deflate", encoded(rgb, "TIFF", compression="tiff_adobe_deflate")),
        ("tiff-jpeg", encoded(rgb, "TIFF", compression="jpeg")),
        ("tiff-g4", encoded(image.convert("1"), "TIFF", compression="group4")),
        ("tiff-float", encoded(rgb[:, :, 0].astype(np.float32), "TIFF")),
        ("bmp", encoded(rgb, "BMP")),
        ("bmp-palette", encoded(image.quantize(16), "BMP")),
        ("ico", encoded(image, "ICO", sizes=[(16, 16), (32, 32)])),
        ("jp2", encoded(rgb, "JPEG2000")),
        ("ppm", encoded(rgb, "PPM")),
    ]
    if samples.HAS_AVIF:
        images.append(("avif", encoded(rgb, "AVIF", quality=80)))
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        buffer = io.BytesIO()
        pillow_heif.from_pillow(PIL.Image.fromarray(rgb)).save(buffer, quality=80)
        images.append(("heic", buffer.getvalue()))
    return images


def mutant(number: int, whole: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return name and bytes of a mutant: bits are flipped, and parts are overwritten, cut, doubled or replaced."""
    rng = random.Random(number)
    name, data = whole[number % len(whole)]
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        # Mutate headers often: by them, decoders decide how much memory they allocate.
        end = min(len(data), 64) if rng.random() < 0.4 else len(data)
        at, kind = rng.randrange(max(1, end)), rng.randrange(7)
        length = rng.choice((1, 2, 4, 16, 256))
        if kind <= 1:
            data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :] if data else data
        elif kind == 2:
            data = data[:at] + rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length + data[at + length :]
        elif kind == 3:
            data = data[:at] + data[at + length :]
        elif kind == 4:
            data = data[:at] + data[at : at + length] * 2 + data[at + length :]
        elif kind == 5:
            other = rng.choice(whole)[1]
            start = rng.randrange(len(other))
            data = data[:at] + other[start : start + length] + data[at + length :]
        else:
            data = data[: rng.randrange(len(data) + 1)]
    return name, data


def try_one(data: bytes) -> str:
    """Decode a mutant as extraction does, with padding. Return the problem, if there is one."""
    started = time.perf_counter()
    try:
        try:
            pixels = decode_image(data, (32, 32))
        except TruncatedImageError:
            pixels = decode_truncated(data, (32, 32))
    except UnreadableImageError as error:
        pixels = None
        if not error.reason:
            return "an error without a reason"
    except Exception as error:  # the kind of problem that this script looks for
        return f"{type(error).__name__}: {error}"
    if pixels is not None and (pixels.shape != (32, 32, 3) or pixels.dtype != np.uint8):
        return f"pixels of shape {pixels.shape} and type {pixels.dtype}"
    seconds = time.perf_counter() - started
    return f"{seconds:.1f} s" if seconds > MAX_SECONDS else ""


def peak_mb() -> int:
    """Return the peak memory of this process in MB."""
    try:
        # Not getrusage, which starts with the peak of the parent process.
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024  # type: ignore[index]
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--number", type=int, default=20_000, help="number of mutants (default: 20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant (default: 0)")
    args = parser.parse_args()
    faulthandler.enable()
    whole = seeds()
    n_read = n_wrong = 0
    for number in range(args.first, args.first + args.number):
        name, data = mutant(number, whole)
        faulthandler.dump_traceback_later(4 * MAX_SECONDS, exit=True)  # ends a hanging process with a traceback
        wrong = try_one(data)
        if number % 100 == 0 and peak_mb() > MAX_MEGABYTES:
            wrong = wrong or f"memory has grown to {peak_mb()} MB within the last hundred"
        if wrong:
            n_wrong += 1
            print(f"{number} ({name}): {wrong}")
        n_read += 1
    faulthandler.cancel_dump_traceback_later()
    print(f"{n_read} mutants, {n_wrong} wrong, peak memory {peak_mb()} MB")
    return 1 if n_wrong or peak_mb() > MAX_MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())
