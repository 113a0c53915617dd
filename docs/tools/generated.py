"""The pages of ``docs/`` that are generated from code and data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.tools import api_pages

DOCS = Path(__file__).parents[1]
#: What writes each page.
PAGES: dict[str, Callable[[], str]] = {"reference/api.md": api_pages.overview}


def write_pages() -> None:
    """Write every generated page."""
    for name, text in generate().items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def generate() -> dict[str, str]:
    """Return the text of every generated page."""
    return {name: page() for name, page in PAGES.items()}
