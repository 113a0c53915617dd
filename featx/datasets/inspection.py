"""What is in a source, without any network: formats, sizes, what cannot be read, duplicates, odd images, classes."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from featx.datasets.image_folder import ImageTable, format_ignored
from featx.errors import OptionError, UnreadableImageError
from featx.images.decode import MAX_PIXELS, decode_image, load_decoders
from featx.images.formats import IMAGE_SUFFIXES, open_image
from featx.images.image import content_digest, describe_image, read_image
from featx.system.formatting import format_count, format_table, shorten
from featx.system.processes import n_cores

#: An image with a side below this is tiny: networks enlarge it sevenfold and see little.
_TINY = 32
_HUGE = 50_000_000
_LONG = 10.0
#: Standard deviation of the brightness of a small copy, of 255, below which an image shows next to nothing.
_EVEN = 2.0
_SMALL_COPY = (64, 64)
_SUFFIXES_OF = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "MPO": {".jpg", ".jpeg", ".mpo"},
    "PNG": {".png", ".apng"},
    "TIFF": {".tif", ".tiff"},
    "HEIF": {".heic", ".heif", ".hif"},
    "JPEG2000": {".jp2", ".j2k", ".jpx"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
}


@dataclasses.dataclass(frozen=True)
class CheckedImage:
    """What was found of one image.

    Attributes
    ----------
    path : str
    digest : bytes
        Of its bytes; b"" if they cannot be read.
    format, mode : str
        As Pillow calls them; "" if unknown.
    width, height : int
        In pixels, as stored; 0 if unknown.
    error, reason : str
        Class of the error, and why it cannot be read; "" if it can.
    odd : tuple of str
        What is unusual about it.
    """

    path: str
    digest: bytes = b""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    error: str = ""
    reason: str = ""
    odd: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ImageCheck:
    """What was found of all images of a source.

    Attributes
    ----------
    images : list of Inspected
    labels : sequence
    ignored : dict of str to int
        Files passed over, by kind.
    """

    images: list[CheckedImage]
    labels: Sequence[Any]
    ignored: dict[str, int]

    @property
    def unreadable(self) -> list[CheckedImage]:
        """Images that cannot be read."""
        return [image for image in self.images if image.error]

    @property
    def odd(self) -> list[CheckedImage]:
        """Images that can be read, and are unusual."""
        return [image for image in self.images if image.odd and not image.error]

    @property
    def duplicates(self) -> list[list[str]]:
        """Paths of images with the same bytes, the largest groups first."""
        groups: dict[bytes, list[str]] = {}
        for image in self.images:
            if image.digest:
                groups.setdefault(image.digest, []).append(image.path)
        return sorted((paths for paths in groups.values() if len(paths) > 1), key=lambda paths: (-len(paths), paths))

    def findings(self) -> Iterator[dict[str, str]]:
        """Yield ``path, finding, detail`` of everything that is wrong or odd: the lines of ``--csv``."""
        for image in self.unreadable:
            yield {"path": image.path, "finding": image.error, "detail": image.reason}
        for paths in self.duplicates:
            for path in paths[1:]:
                yield {"path": path, "finding": "duplicate", "detail": f"the same bytes as {paths[0]}"}
        for image in self.odd:
            for detail in image.odd:
                yield {"path": image.path, "finding": "odd", "detail": detail}

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx check --json`` prints."""
        readable = [image for image in self.images if not image.error]
        return {
            "images": len(self.images),
            "readable": len(readable),
            "formats": _counts(image.format for image in readable),
            "modes": _counts(image.mode for image in readable),
            "classes": _counts(str(label) for label in self.labels if label is not None),
            "without_label": sum(label is None for label in self.labels),
            "width": _range([image.width for image in readable]),
            "height": _range([image.height for image in readable]),
            "unreadable": [{"path": one.path, "error": one.error, "reason": one.reason} for one in self.unreadable],
            "duplicates": self.duplicates,
            "odd": [{"path": one.path, "odd": list(one.odd)} for one in self.odd],
            "ignored": self.ignored,
        }

    def as_text(self) -> str:
        """Return a summary for people."""
        found = self.as_dict()
        lines = [f"{format_count(len(self.images), 'image')}, {found['readable']:,} readable"]
        for name in ("formats", "modes", "classes"):
            kinds = list(found[name].items())
            said = ", ".join(f"{shorten(kind, 40)} {count:,}" for kind, count in kinds[:12])
            if kinds:
                lines.append(f"{name}: {said}{f' and {len(kinds) - 12} more' if len(kinds) > 12 else ''}")
        if found["width"]:
            width, height = (f"{found[side]['least']}–{found[side]['most']}" for side in ("width", "height"))
            lines.append(f"pixels: {width} wide, {height} high")
        if self.ignored:
            lines.append(f"passed over: {format_ignored(self.ignored)}")
        for title, rows in (
            ("cannot be read", [(one.path, one.reason) for one in self.unreadable]),
            ("the same bytes", [(paths[0], f"and {', '.join(paths[1:])}") for paths in self.duplicates]),
            ("odd", [(one.path, "; ".join(one.odd)) for one in self.odd]),
        ):
            lines += _listed(title, rows)
        return "\n".join(lines)


def check_images(
    table: ImageTable, *, max_pixels: int = MAX_PIXELS, progress: Callable[[int], object] | None = None
) -> ImageCheck:
    """Read and decode every image of a table, in threads.

    Parameters
    ----------
    table : ImageTable
    max_pixels : int, default=178_956_970
        Images of more pixels cannot be read.
    progress : callable, default=None
        Called with the number of images done since the last call.

    Returns
    -------
    Check
    """
    if max_pixels < 1:
        raise OptionError(f"max_pixels={max_pixels!r}: expected a whole number of pixels, 1 or more.")
    load_decoders()
    found = []
    with concurrent.futures.ThreadPoolExecutor(n_cores(), thread_name_prefix="featx-check") as threads:
        for start in range(0, len(table), 256):  # so that an interrupt is heard in time
            for one in threads.map(lambda path: _inspect(path, max_pixels), table.paths[start : start + 256]):
                found.append(one)
                if progress is not None:
                    progress(1)
    return ImageCheck(found, table.labels, table.ignored)


def _inspect(path: str, max_pixels: int) -> CheckedImage:
    found = CheckedImage(describe_image(path))
    try:
        content, _ = read_image(path)
        assert isinstance(content, bytes)  # as that of a file is
        found = dataclasses.replace(found, digest=content_digest(content))
        small = decode_image(content, _SMALL_COPY, max_pixels=max_pixels)
        with open_image(content) as image:
            found = dataclasses.replace(
                found, format=image.format or "", mode=image.mode, width=image.width, height=image.height
            )
    except UnreadableImageError as error:
        return dataclasses.replace(found, error=type(error).__name__, reason=error.reason)
    return dataclasses.replace(found, odd=tuple(_oddities(found, small)))


def _oddities(found: CheckedImage, small: np.ndarray[Any, Any]) -> Iterator[str]:
    size = f"{found.width} × {found.height} pixels"
    shorter, longer = sorted((found.width, found.height))
    if shorter < _TINY:
        yield f"tiny: {size}"
    if found.width * found.height > _HUGE:
        yield f"huge: {size}"
    if longer > _LONG * shorter:
        yield f"extreme shape: {size}"
    spread = float(small.mean(axis=2).std())
    if spread < _EVEN:
        yield f"nearly one colour: brightness varies by {spread:.1f} of 255"
    suffix = os.path.splitext(found.path)[1].lower()
    own = _SUFFIXES_OF.get(found.format, {f".{found.format.lower()}"})
    if suffix in IMAGE_SUFFIXES and suffix not in own:
        yield f"named {suffix}, but {found.format} inside"


def _counts(kinds: Iterator[str]) -> dict[str, int]:
    return dict(collections.Counter(kinds).most_common())


def _range(sides: list[int]) -> dict[str, float] | None:
    if not sides:
        return None
    return {"least": min(sides), "median": float(np.median(sides)), "most": max(sides)}


def _listed(title: str, rows: list[tuple[str, str]], most: int = 20) -> list[str]:
    if not rows:
        return []
    cells = [{"path": shorten(path), "why": shorten(why, 100)} for path, why in rows[:most]]
    table = format_table(cells).split("\n")[1:]
    more = [f"  and {len(rows) - most:,} more: --csv FILE lists them all"] if len(rows) > most else []
    return ["", f"{title}: {len(rows):,}", *(f"  {line}" for line in table), *more]
