"""Indexes and the reference: their examples run, and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from docs.tools import command_page
from docs.tools.cards import lists_to_grids
from docs.tools.generated import DOCS
from featx.cli.parser import make_parser

PAGES = [
    DOCS / "index.md",
    DOCS / "whats_new.md",
    DOCS / "get_started" / "questions.md",
    *(DOCS / name / "index.md" for name in ("tutorials", "how_to", "user_guide", "explanation")),
    *sorted((DOCS / "reference").rglob("*.md")),
]
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_python_blocks_run(
    page: Path,
    in_folder: Path,
    compiled_cache: Path,
    paths: list[str],
    labels: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FEATX_CACHE")
    shutil.copytree(compiled_cache / "compiled", in_folder / "cache" / "compiled")
    names: dict[str, object] = {"paths": paths, "y": labels}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        exec(block, names)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_pictures_are_described_and_small(page: Path) -> None:
    for description, target in re.findall(r"!\[(.*?)\]\(([^)\s]+)\)", page.read_text()):
        assert len(description) > 20, target
        assert (page.parent / target).stat().st_size <= 300_000, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse(page: Path) -> None:
    for block in re.findall(r"^```text\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(re.split(r" [>|] ", line)[0]) if line.startswith("featx ") else []
            if words[:1] == ["featx"]:
                make_parser().parse_args(words[1:])


def test_options_of_commands_in_prose_exist() -> None:
    options = {
        name: {option for action in parser._actions for option in action.option_strings}
        for name, parser in command_page.commands_of(make_parser())
    }
    n_commands = 0
    for page in (DOCS.parent / "README.md", *DOCS.rglob("*.md")):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for span in re.findall(r"`featx ([a-z][^`]*)`", text):
            words = shlex.split(re.split(r" [>|] ", span)[0])
            name = max((name for name in options if words[: len(name.split())] == name.split()), key=len)
            assert {word for word in words if word.startswith("-") and word != "-"} <= options[name], (page.name, span)
            n_commands += 1
    assert n_commands > 100


def test_cards_have_titles_pictures_and_text() -> None:
    text = "Before.\n\n<!-- cards -->\n\n- [A](a.md): One\n  two.\n- [B](b.md): Three.\n  ![A bee](b.png)\n\nAfter.\n"
    grid = lists_to_grids(text)
    assert "- [" not in grid
    assert ":::{grid-item-card} [A](a.md)\n\nOne\n  two.\n:::\n" in grid
    assert ":::{grid-item-card} [B](b.md)\n:img-top: b.png\n:img-alt: A bee\n\nThree.\n:::\n" in grid
    assert grid.startswith("Before.")
    assert grid.endswith("After.\n")
    assert lists_to_grids("- [A](a.md): One.\n") == "- [A](a.md): One.\n"


def test_a_card_without_a_link_is_an_error() -> None:
    with pytest.raises(ValueError, match="got '- One."):
        lists_to_grids("<!-- cards -->\n\n- One.\n")


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_pages_read_well_unbuilt(page: Path) -> None:
    """Without directives that only Sphinx knows, apart from the hidden navigation at the end of an index."""
    assert not re.search(r"^:::|\{(?!toctree)[\w-]+\}`", page.read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"^```(\{.*)$", page.read_text(), flags=re.MULTILINE)) <= {"{toctree}"}
