"""The pages of ``docs/`` that are generated from code and data."""

from __future__ import annotations

from pathlib import Path

from docs.tools import api_pages, architecture, backbone_pages, command_page, job_files

DOCS = Path(__file__).parents[1]


def write_pages() -> None:
    """Write every generated page."""
    for name, text in generate().items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def generate() -> dict[str, str]:
    """Return the text of every generated page, by its path below ``docs``."""
    backbones = {f"reference/{name}": text for name, text in backbone_pages.pages().items()}
    return {
        "explanation/architecture.svg": architecture.svg(),
        "explanation/job_files.svg": job_files.svg(),
        "reference/api.md": api_pages.overview(),
        "reference/command_line.md": command_page.page(),
        **backbones,
    }
