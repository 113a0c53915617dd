"""Links of the README and of all pages lead to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.tools.generated import DOCS

PAGES = sorted([DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md", *DOCS.rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub and Sphinx give the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def broken_links(page: Path) -> list[str]:
    """Return the targets of links and pictures that do not exist."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        is_found = file.exists() and (not anchor or (file.suffix == ".md" and anchor in anchors(file)))
        if not target.startswith("http") and not is_found:
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize(
    ("text", "broken"), [("[a](#one-two)", 0), ("[a](#three)", 1), ("![a](b.png)", 1), ("[a](.)", 0)]
)
def test_broken_links_are_found(tmp_path: Path, text: str, broken: int) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# One, two\n\n{text}\n")
    assert len(broken_links(page)) == broken


def test_every_page_is_linked() -> None:
    """From the README or another page, besides the hidden lists for Sphinx."""
    linked = set()
    for page in PAGES:
        targets = re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8"))
        linked |= {(page.parent / target).resolve() for target in targets if not target.startswith("http")}
    assert [page for page in DOCS.rglob("*.md") if page not in linked] == [DOCS / "index.md"]
