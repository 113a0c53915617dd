"""Check images without a network: unreadable files, duplicates, unusual or poor images, formats, sizes and classes.

A quarter of this file is the documentation of its public class and function.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.find import find_images
from featx.datasets.image_listing import format_ignored
from featx.datasets.image_table import ImagesLike
from featx.datasets.label_names import conflicts_note, missing_labels_note, similar_names_note
from featx.datasets.pixel_range import pixel_range_note
from featx.errors import UnreadableImageError, shorten_quoted
from featx.images.decode import MAX_PIXELS, decode_image, load_decoders
from featx.images.formats import IMAGE_SUFFIXES, open_image
from featx.images.image import content_digest, describe_image, read_image
from featx.images.quality.measures import MEASURED_SIDE, QUALITY_KINDS, describe_quality
from featx.system.formatting import format_count, shorten
from featx.system.notebook.cards import Record
from featx.system.notebook.html import TextResult
from featx.system.option_checks import check_integer
from featx.system.processes import n_cores
from featx.system.terminal.progress import ProgressFunction, counted, reporting, stage
from featx.system.terminal.tables import format_table, wrap_text

if TYPE_CHECKING:
    import pandas as pd

#: Side in pixels below which an image is tiny: networks enlarge it sevenfold.
_TINY_SIDE = 32
_HUGE_PIXELS = 50_000_000
_MAX_ASPECT_RATIO = 10.0
#: Standard deviation of brightness, of 255, below which an image has nearly one color.
_MIN_CONTRAST = 2.0
_THUMBNAIL_SIZE = (MEASURED_SIDE, MEASURED_SIDE)
#: Share and number of images from which poor quality is a property of the data set.
_COMMON_SHARE, _MIN_COMMON = 0.2, 10
#: Number of images between two checks for an interrupt.
_BATCH_SIZE = 256
#: Maximum number of rows of a list in the text summary, and of classes.
_MAX_LISTED, _MAX_KINDS = 20, 12
#: Maximum number of characters of a reason there.
_MAX_DETAIL = 240
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


@dataclasses.dataclass(frozen=True)
class CheckedImage(Record):
    """Result of the check of one image.

    Attributes
    ----------
    path : str
    digest : bytes
        Digest of the bytes. Empty if they cannot be read.
    format, mode : str
        Format and mode as Pillow names them. Empty if unknown.
    width, height : int
        Size in pixels as stored. 0 if unknown.
    error, reason : str
        Name of the error class, and the reason why the image is unreadable. Empty if it is readable.
    unusual : tuple of str
        Unusual properties of the image.

    See Also
    --------
    ImageCheck : Result of the check of all images.

    Examples
    --------
    >>> CheckedImage("a.jpg", error="TruncatedImageError", reason="the file is truncated").error
    'TruncatedImageError'
    """

    path: str
    digest: bytes = b""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    error: str = ""
    reason: str = ""
    unusual: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ImageCheck(TextResult):
    """Result of :func:`featx.check_images`.

    Attributes
    ----------
    images : list of CheckedImage
    labels : sequence
        Label of each image. None: no label.
    ignored : dict of str to int
        Number of ignored files by kind.
    notes : list of str
        Remarks on how the source was interpreted.

    See Also
    --------
    check_images : Check the images of a source.

    Examples
    --------
    >>> image = CheckedImage("a.jpg", error="TruncatedImageError", reason="the file is truncated")
    >>> check = ImageCheck([image], labels=[None], ignored={})
    >>> check
    <ImageCheck: 1 image; unreadable 1, unusual 0, duplicates 0>
    >>> list(check.findings())
    [{'path': 'a.jpg', 'finding': 'TruncatedImageError', 'detail': 'the file is truncated'}]
    """

    images: list[CheckedImage]
    labels: Sequence[Any]
    ignored: dict[str, int]
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def unreadable(self) -> list[CheckedImage]:
        """Images that cannot be read."""
        return [image for image in self.images if image.error]

    @property
    def unusual(self) -> list[CheckedImage]:
        """Readable images with unusual properties."""
        return [image for image in self.images if image.unusual and not image.error]

    @property
    def duplicates(self) -> list[list[str]]:
        """Paths of images with identical bytes, the largest groups first."""
        groups: dict[bytes, list[str]] = {}
        for image in self.images:
            if image.digest:
                groups.setdefault(image.digest, []).append(image.path)
        return sorted((paths for paths in groups.values() if len(paths) > 1), key=lambda paths: (-len(paths), paths))

    def __repr__(self) -> str:
        counts = {"unreadable": len(self.unreadable), "unusual": len(self.unusual)}
        counts["duplicates"] = sum(len(paths) - 1 for paths in self.duplicates)
        return f"<ImageCheck: {format_count(len(self.images), 'image')}; {_format_counts(counts)}>"

    def findings(self) -> Iterator[dict[str, str]]:
        """Yield each problem: the rows of ``featx check --csv``.

        Yields
        ------
        dict of str to str
            Values of ``path``, ``finding`` and ``detail``.
        """
        for image in self.unreadable:
            yield {"path": image.path, "finding": image.error, "detail": image.reason}
        for paths in self.duplicates:
            for path in paths[1:]:
                yield {"path": path, "finding": "duplicate", "detail": f"same bytes as {paths[0]}"}
        for image in self.unusual:
            for detail in image.unusual:
                yield {"path": image.path, "finding": "unusual", "detail": detail}

    def to_frame(self) -> pd.DataFrame:
        """Return the findings as a DataFrame with the columns ``path``, ``finding`` and ``detail``."""
        import pandas as pd

        # Text stays dtype object: pandas's string types reject names outside UTF-8.
        return pd.DataFrame(self.findings(), columns=["path", "finding", "detail"], dtype=object)

    def as_dict(self) -> dict[str, Any]:
        """Return the summary that ``featx check --json`` prints."""
        readable = [image for image in self.images if not image.error]
        return {
            "images": len(self.images),
            "readable": len(readable),
            "formats": _count(image.format for image in readable),
            "modes": _count(image.mode for image in readable),
            "classes": _count(str(label) for label in self.labels if label is not None),
            "without_label": sum(label is None for label in self.labels),
            "width": _range([image.width for image in readable]),
            "height": _range([image.height for image in readable]),
            "unreadable": [
                {"path": image.path, "error": image.error, "reason": image.reason} for image in self.unreadable
            ],
            "duplicates": self.duplicates,
            "unusual": [{"path": image.path, "reasons": list(image.unusual)} for image in self.unusual],
            "ignored": self.ignored,
            "notes": self.notes,
        }

    def as_text(self) -> str:
        """Return a summary as human-readable text."""
        summary = self.as_dict()
        lines = [f"{format_count(len(self.images), 'image')}, {summary['readable']:,} readable"]
        lines += [
            f"{name}: {_format_counts(summary[name])}" for name in ("formats", "modes", "classes") if summary[name]
        ]
        if summary["classes"] and summary["without_label"]:
            lines[-1] += f"; {summary['without_label']:,} without a label"
        if summary["width"]:
            sides = (f"{side} {summary[side]['min']}–{summary[side]['max']}" for side in ("width", "height"))
            lines.append(f"pixels: {', '.join(sides)}")
        if self.ignored:
            lines.append(f"ignored: {format_ignored(self.ignored)}")
        lines += _format_list("unreadable", [(image.path, image.reason) for image in self.unreadable])
        lines += _format_list("identical bytes", [(paths[0], ", ".join(paths[1:])) for paths in self.duplicates])
        lines += _format_list("unusual", [(image.path, "; ".join(image.unusual)) for image in self.unusual])
        lines += ["", *map(wrap_text, self.notes)] if self.notes else []
        return "\n".join(lines)


def check_images(
    source: ImagesLike | str | os.PathLike[str],
    *,
    path_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    path_template: str | None = None,
    root: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
    class_level: int | None = None,
    zip_encoding: str | None = None,
    max_pixels: int = MAX_PIXELS,
    verbose: bool | None = None,
    progress: ProgressFunction | None = None,
) -> ImageCheck:
    """Check images without a network: read and decode each one, in threads.

    Unusual images are tiny, huge or long, have nearly one color, are dark, overexposed, blurred or low in information,
    or have another format than their suffix. The bounds of quality are such that none of 888 good photos exceeds them.
    Poor quality that at least a fifth of the images share is reported in one note.

    Parameters
    ----------
    source : str, Path, DataFrame, ImageTable, or sequence or iterable of images
        See :func:`featx.find_images`.
    path_column : str or None, default=None
        Column of paths of a table, see :func:`featx.find_images`.
    label_column : str, sequence of str or None, default=None
        Column of labels; several columns of 0 and 1 are tags.
    label_separator : str or None, default=None
        Separator of tags in the label column, such as ";".
    path_template : str or None, default=None
        Paths made of columns of a table.
    root : str, Path or None, default=None
        Where relative paths of a table start.
    encoding : str or None, default=None
        Encoding of a CSV, TSV, JSON Lines or text file, such as "cp1251". None: UTF-8 or UTF-16, else Latin-1.
    class_level : int or None, default=None
        Depth of the class folders.
    zip_encoding : str or None, default=None
        Encoding of undeclared names in a zip archive.
    max_pixels : int, default=178_956_970
        Maximum number of pixels of an image. Larger images are reported as unreadable.
    verbose : bool or None, default=None
        Whether to show progress on standard error. None: in a terminal or notebook only.
    progress : callable or None, default=None
        Function that is called with a :class:`Progress` now and then, for example ``print``.

    Returns
    -------
    ImageCheck
        Unreadable, duplicate and unusual images, and counts of formats, modes and classes.

    Raises
    ------
    SourceError
        See :func:`featx.find_images`.
    OptionError
        `max_pixels` is not positive.

    See Also
    --------
    find_images : Find the images of a folder, archive, table or URL.
    find_duplicates : Find near-duplicates by their features.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "text.jpg").write_text("hello")
    ...     check = check_images(folder)
    >>> check
    <ImageCheck: 1 image; unreadable 1, unusual 0, duplicates 0>
    >>> check.unreadable[0].error
    'UnknownFormatError'
    """
    check_integer("max_pixels", max_pixels)
    table = find_images(
        source,
        path_column=path_column,
        label_column=label_column,
        label_separator=label_separator,
        path_template=path_template,
        root=root,
        encoding=encoding,
        class_level=class_level,
        zip_encoding=zip_encoding,
    )
    load_decoders()
    images: list[CheckedImage] = []
    with (
        reporting(verbose, progress),
        stage("check", len(table)) as advance,
        concurrent.futures.ThreadPoolExecutor(n_cores(), thread_name_prefix="featx-check") as threads,
    ):
        for start in range(0, len(table), _BATCH_SIZE):
            batch = table.paths[start : start + _BATCH_SIZE]
            images += counted(threads.map(lambda path: _check_image(path, max_pixels), batch), advance)
    images, quality_notes = _without_common(images)
    found = [f(table.labels) for f in (similar_names_note, missing_labels_note)] + [pixel_range_note(table.paths)]
    notes = [*table.all_notes(), *map(shorten_quoted, filter(None, found))]
    conflicts = conflicts_note([(image.digest, image.path) for image in images], table.labels)
    notes += [*quality_notes, *filter(None, [conflicts])]
    return ImageCheck(images, table.labels, table.ignored, notes)


def _check_image(path: str, max_pixels: int) -> CheckedImage:
    checked = CheckedImage(describe_image(path))
    try:
        content, _ = read_image(path)
        checked = dataclasses.replace(checked, digest=content_digest(content))
        thumbnail = decode_image(content, _THUMBNAIL_SIZE, max_pixels=max_pixels)
        if isinstance(content, bytes):
            with open_image(content) as image:
                kind = image.format or "", image.mode, image.width, image.height
        else:
            kind = "pixels", "RGB" if content.ndim == 3 else "L", content.shape[1], content.shape[0]
        checked = dataclasses.replace(checked, format=kind[0], mode=kind[1], width=kind[2], height=kind[3])
    except UnreadableImageError as error:
        return dataclasses.replace(checked, error=type(error).__name__, reason=error.reason)
    return dataclasses.replace(checked, unusual=tuple(_unusual_properties(checked, thumbnail)))


def _without_common(images: list[CheckedImage]) -> tuple[list[CheckedImage], list[str]]:
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


def _unusual_properties(image: CheckedImage, thumbnail: np.ndarray[Any, Any]) -> Iterator[str]:
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


def _count(kinds: Iterable[str]) -> dict[str, int]:
    return dict(collections.Counter(kinds).most_common())


def _range(sides: list[int]) -> dict[str, float] | None:
    return {"min": min(sides), "median": float(np.median(sides)), "max": max(sides)} if sides else None


def _format_counts(counts: dict[str, int]) -> str:
    kinds = list(counts.items())
    colon = ":" if any(kind[-1:].isdigit() for kind in counts) else ""  # else a class 3 and its count run together
    more = f" and {len(kinds) - _MAX_KINDS} more" if len(kinds) > _MAX_KINDS else ""
    return ", ".join(f"{shorten(kind, 40)}{colon} {count:,}" for kind, count in kinds[:_MAX_KINDS]) + more


def _format_list(title: str, rows: list[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    cells = [{"path": shorten(path), "detail": shorten(detail, _MAX_DETAIL)} for path, detail in rows[:_MAX_LISTED]]
    table = format_table(cells, header=False, indent=2)
    n_more = len(rows) - _MAX_LISTED
    more = [f"  and {n_more:,} more: all are in to_frame() (--csv FILE)"] if n_more > 0 else []
    return ["", f"{title}: {len(rows):,}", table, *more]
