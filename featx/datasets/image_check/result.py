"""The result of a check of images: findings, counts and text."""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.folders.absent import format_ignored
from featx.system.formatting import as_printable, format_count, shorten
from featx.system.notebook.cards import Record
from featx.system.notebook.html import TextResult
from featx.system.terminal.encoding import spell
from featx.system.terminal.tables import format_table, terminal_width, text_width, wrap_text

if TYPE_CHECKING:
    import pandas as pd

#: Maximum number of rows of a list in the text summary, of paths of a group, and of classes.
_MAX_LISTED, _MAX_PATHS, _MAX_KINDS = 20, 3, 12


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
        lines += _format_images("unreadable", [(image.path, image.reason) for image in self.unreadable])
        lines += _format_groups("groups of identical images", self.duplicates)
        lines += _format_images("unusual", [(image.path, "; ".join(image.unusual)) for image in self.unusual])
        lines += ["", *map(wrap_text, self.notes)] if self.notes else []
        return "\n".join(lines)


def _count(kinds: Iterable[str]) -> dict[str, int]:
    return dict(collections.Counter(kinds).most_common())


def _range(sides: list[int]) -> dict[str, float] | None:
    return {"min": min(sides), "median": float(np.median(sides)), "max": max(sides)} if sides else None


def _format_counts(counts: dict[str, int]) -> str:
    kinds = list(counts.items())
    colon = ":" if any(kind[-1:].isdigit() for kind in counts) else ""  # else a class 3 and its count run together
    more = f" and {len(kinds) - _MAX_KINDS} more" if len(kinds) > _MAX_KINDS else ""
    return ", ".join(f"{shorten(kind, 40)}{colon} {count:,}" for kind, count in kinds[:_MAX_KINDS]) + more


def _format_section(title: str, n_rows: int, lines: list[str]) -> list[str]:
    """Return the title of a list, the lines of its first rows, and the number of the others; nothing for no rows."""
    if not n_rows:
        return []
    n_more = n_rows - _MAX_LISTED
    more = [f"  and {n_more:,} more; all are in to_frame (--csv FILE)"] if n_more > 0 else []
    return ["", f"{title}: {n_rows:,}", *lines, *more]


def _format_images(title: str, details: list[tuple[str, str]]) -> list[str]:
    """Return a list of images: path and details on one line, or below each other in a terminal that is too narrow."""
    shown = [(as_printable(path), as_printable(detail)) for path, detail in details[:_MAX_LISTED]]
    cells = [{"path": path, "detail": detail} for path, detail in shown]
    lines = format_table(cells, header=False, indent=2, width=sys.maxsize).split("\n")
    width = terminal_width()
    if width is not None and max(map(text_width, lines)) > width:
        lines = [f"  {spell(path)}\n{wrap_text(detail, indent='    ')}" for path, detail in shown]
    return _format_section(title, len(details), lines)


def _format_groups(title: str, groups: list[list[str]]) -> list[str]:
    """Return a list of groups of images: the size of each, and its first paths."""
    lines = []
    for paths in groups[:_MAX_LISTED]:
        n_more = len(paths) - _MAX_PATHS
        more = f" and {n_more:,} more" if n_more > 0 else ""
        lines.append(f"  {format_count(len(paths), 'image')}: {', '.join(map(as_printable, paths[:_MAX_PATHS]))}{more}")
    return _format_section(title, len(groups), lines)
