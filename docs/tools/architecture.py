"""The picture of the rooms, drawn from the import contracts in ``pyproject.toml``."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_ROOT = Path(__file__).parents[2]
#: What a room is for, in few words.
PURPOSES = {
    "testing": "helpers for tests of code that uses featx",
    "cli": "the command line: parse, call a public function, print",
    "jobs": "large datasets in shards: plan, run, status, merge",
    "workflows": "whole tasks: compare, rank, train, search; the report",
    "models": "a fitted pipeline: file, predict, explain, export, fine-tune",
    "extraction": "images to rows: options, FeatureExtractor, engines",
    "baselines": "estimators that are cross-validated on arrays",
    "features": "a matrix on disk, neighbors, duplicates",
    "backbones": "which networks exist, and how they are built",
    "store": "cached rows and compiled graphs",
    "datasets": "sources of images and labels, as a table",
    "images": "bytes to upright RGB pixels",
    "recipe": "everything that decides the value of a row",
    "system": "files, processes, locks, network, terminal",
    "errors": "exceptions and warnings",
}
_WIDTH, _MARGIN, _GAP, _LINE = 460, 38, 10, 17
#: Dark text on light boxes, and gray outside of them: readable on a light and on a dark page.
_STYLE = """\
    text { font-family: system-ui, sans-serif; font-size: 13px; fill: #16324a; }
    .name { font-weight: 600; font-size: 15px; }
    .library { font-style: italic; fill: #7a3e00; }
    .arrow { fill: none; stroke: #808080; stroke-width: 2; }
    .arrow-label { fill: #808080; }
    rect { fill: #dcebf7; stroke: #5b8db8; }
"""


def contracts() -> list[dict[str, Any]]:
    """Return the import contracts."""
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def layers() -> list[list[str]]:
    """Return the rooms of each row, from the one that nothing imports down to the errors."""
    rows = next(contract["layers"] for contract in contracts() if contract["type"] == "layers")
    names = [[module.removeprefix("featx.") for module in row.split(" | ")] for row in rows]
    return [[name for name in row if name != "__main__"] for row in names]


def libraries() -> dict[str, list[str]]:
    """Return the heavy libraries that have their home in a room."""
    homes: dict[str, list[str]] = {}
    for contract in contracts():
        for line in contract.get("ignore_imports", ()):
            module, library = line.split(" -> ")
            home = homes.setdefault(module.split(".")[1], [])
            if library not in home and library != "distributed":  # a part of Dask
                home.append(library)
    return homes


def svg() -> str:
    """Return the picture."""
    shapes, top = [], 10
    for row in layers():
        width = (_WIDTH - _MARGIN - _GAP * (len(row) - 1)) // len(row)
        boxes = [_text_lines(name, width) for name in row]
        height = max(map(len, boxes)) * _LINE + 14
        for index, lines in enumerate(boxes):
            shapes += _box(lines, _MARGIN + index * (width + _GAP), top, width, height)
        top += height + _GAP
    bottom = top - _GAP
    arrow = f'<path class="arrow" d="M 24 12 V {bottom - 4} m -5 -8 l 5 8 l 5 -8"/>'
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 10} {bottom + 10}" role="img" aria-labelledby="title">
  <title id="title">The rooms of featx. A room imports only from the rows below it.</title>
  <style>
{_STYLE}  </style>
  {arrow}
  <text class="arrow-label" transform="translate(15 {bottom // 2}) rotate(-90)" text-anchor="middle">imports</text>
{chr(10).join(f"  {shape}" for shape in shapes)}
</svg>
"""


def _text_lines(name: str, width: int) -> list[tuple[str, str]]:
    """Return the class and the text of each line of a box."""
    purpose = textwrap.wrap(PURPOSES[name], int(width / 8.3), break_long_words=False)
    used = libraries().get(name, [])
    used_lines = textwrap.wrap(", ".join(used), int(width / 8.3), break_long_words=False)
    return [("name", name), *(("purpose", line) for line in purpose), *(("library", line) for line in used_lines)]


def _box(lines: list[tuple[str, str]], left: int, top: int, width: int, height: int) -> list[str]:
    texts = [
        f'<text class="{kind}" x="{left + 10}" y="{top + 20 + number * _LINE}">{escape(line)}</text>'
        for number, (kind, line) in enumerate(lines)
    ]
    return [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6"/>', *texts]
