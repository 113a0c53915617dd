"""The page of similar images: queries and their matches with thumbnails."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featx.features.matrix import FeatureMatrix, incomplete_notes
from featx.images.image import file_state
from featx.images.thumbnails import MAX_THUMBNAILS, Atlas, make_atlas
from featx.system.files import remote
from featx.system.formatting import format_count, shorten
from featx.system.version import __version__
from featx.workflows.report.html_page import render, write_page
from featx.workflows.report.inputs import ReportedMatch, ReportedMatches

#: Maximum number of queries on a page, so that it stays short and fast.
_MAX_QUERIES = 200
#: Maximum number of images on a page: with more of them thumbnails get smaller, but names do not.
_MAX_IMAGES = 5000


def max_queries(top: int, *, max_images: int = _MAX_IMAGES) -> int:
    """Return the maximum number of queries on a page with `top` matches each."""
    return max(1, min(_MAX_QUERIES, max_images // (top + 1)))


def write_similar(
    path: Path,
    results: Sequence[ReportedMatches],
    features: FeatureMatrix,
    index: str,
    *,
    command: str = "",
    n_omitted: int = 0,
    max_images: int = _MAX_IMAGES,
) -> None:
    """Write matches as one self-contained HTML page, atomically.

    Parameters
    ----------
    path : Path
    results : sequence of ReportedMatches
        One for each query.
    features : FeatureMatrix
        Features that were searched.
    index : str
        Description of the index.
    command : str, default=""
        Command that repeats the search.
    n_omitted : int, default=0
        Number of queries that are not among the results.
    max_images : int, default=5000
        Maximum number of images on the page.

    Raises
    ------
    OutputError
        If the file cannot be written.
    MissingDependencyError
        If Jinja2 is not installed.
    """
    readable = [result for result in results if not result.error]
    max_matches = max(1, max_images // max(1, len(results)))
    paths = _pictured_paths(readable, features, max_matches)
    tiles = _Tiles(paths, features)
    text = render(
        "similar.html.jinja",
        title=f"Similar images in {shorten(features.address)}",
        summary=f"{_count_queries(readable)}, {format_count(len(features), 'indexed row')}; {index}.",
        notes=_notes(readable, features, paths, n_omitted, max_matches),
        results=[
            {
                "query": tiles.query(result),
                "matches": [tiles.match(match) for match in result.matches[:max_matches]],
            }
            for result in readable
        ],
        unreadable=[(result.path, result.error) for result in results if result.error],
        atlas=tiles.atlas,
        command=command,
        version=__version__,
    )
    write_page(path, text, errors="replace")


def _count_queries(results: Sequence[ReportedMatches]) -> str:
    n_texts = sum(result.is_text for result in results)
    n_images = len(results) - n_texts
    parts = [format_count(n_texts, "query text")] if n_texts else []
    return ", ".join([*parts, *([format_count(n_images, "query image")] if n_images or not n_texts else [])])


def _pictured_paths(results: Sequence[ReportedMatches], features: FeatureMatrix, max_matches: int) -> list[str]:
    """Return the paths of queries and matches, each once."""
    paths: dict[str, None] = {}
    for result in results:
        if not result.is_text:
            paths[result.path] = None
        paths.update((features.resolve_path(match.path), None) for match in result.matches[:max_matches])
    return list(paths)[:MAX_THUMBNAILS]


class _Tiles:
    """Thumbnails of queries and matches, as the template shows them."""

    def __init__(self, paths: Sequence[str], features: FeatureMatrix) -> None:
        self._numbers = {path: number for number, path in enumerate(paths)}
        self._features = features
        self.atlas: Atlas = make_atlas(paths)

    def query(self, result: ReportedMatches) -> dict[str, Any]:
        if result.is_text:
            return {"name": "text query", "text": result.path, "cell": None, "label": "", "is_identical": False}
        return self._tile(result.path, result.path, "query")

    def match(self, match: ReportedMatch) -> dict[str, Any]:
        tile = self._tile(match.shown_path, self._features.resolve_path(match.path), f"{match.cosine:.3f}")
        return {**tile, "label": match.shown_label, "is_identical": match.is_identical}

    def _tile(self, name: str, path: str, text: str) -> dict[str, Any]:
        number = self._numbers.get(path)
        cell = None if number is None else self.atlas.cell(number)
        return {"name": shorten(name, 200), "text": text, "cell": cell, "label": "", "is_identical": False}


def _notes(
    results: Sequence[ReportedMatches], features: FeatureMatrix, paths: Sequence[str], n_omitted: int, max_matches: int
) -> list[str]:
    notes = incomplete_notes(features, "were searched")
    if n_missing := sum(not _exists(path) for path in paths):
        notes.append(f"{n_missing:,} of {format_count(len(paths), 'image')} no longer exist at their paths (gray).")
    if any(_is_relative(match.path) for result in results for match in result.matches):
        notes.append(f"Relative paths of matches start at {features.folder or os.getcwd()}.")
    if any(_is_relative(result.path) for result in results if not result.is_text) and features.folder not in (
        None,
        os.getcwd(),
    ):
        notes.append(f"Relative paths of query images start at {os.getcwd()}.")
    if n_omitted:
        notes.append(f"{format_count(n_omitted, 'more query image')} not shown. -o and --json list all of them.")
    if any(len(result.matches) > max_matches for result in results):
        notes.append(f"Only the first {max_matches:,} matches of each query are shown. -o and --json list all of them.")
    return notes


def _is_relative(path: str) -> bool:
    return not (remote.is_url(path) or os.path.isabs(path))


def _exists(path: str) -> bool:
    if remote.is_url(path):
        return True  # not worth a request
    try:
        file_state(path)
    except (OSError, ValueError):
        return False
    return True
