from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import nbformat
import pytest

from docs.tools import notebooks
from docs.tools.cards import lists_to_grids
from featx.cli.parser import make_parser

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_notebooks_exist() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_the_outputs_of_a_run_without_errors(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_are_described(path: Path) -> None:
    """The site reads the description from the metadata of the cell."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if any("image/" in kind for output in cell.get("outputs", []) for kind in output.get("data", {})):
            description = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(description) > 20, cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_a_card(path: Path) -> None:
    root = path.parents[1]
    page = (root / "docs" / "tutorials" / "index.md").read_text(encoding="utf-8")
    cards = lists_to_grids(page)
    assert f"](../../notebooks/{path.name})\n:img-top: ../images/tutorials/{path.stem}.png\n:img-alt: " in cards
    assert (root / "docs" / "images" / "tutorials" / f"{path.stem}.png").stat().st_size < 50_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_commands_in_the_text_parse(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            commands = re.findall(r"^(featx .*)$|`(featx [^`]*)`", cell.source, flags=re.MULTILINE)
            for words in map(shlex.split, map("".join, commands)):
                if len(words) > 2:  # others name a command
                    make_parser().parse_args(words[1:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_run_took_less_than_three_minutes(path: Path) -> None:
    """``python -m docs.tools notebooks`` records it."""
    assert 0 < nbformat.read(path, as_version=4).metadata["seconds"] < 180


@pytest.mark.thorough
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_prints_what_it_shows(path: Path, tmp_path: Path, compiled_cache: Path) -> None:
    """Apart from numbers, and from cells with the tag "varies", whose text depends on the machine."""
    shutil.copytree(compiled_cache / "compiled", tmp_path / "cache" / "compiled")
    notebook = nbformat.read(path, as_version=4)
    saved = notebooks.texts(notebook)
    notebooks.execute(notebook, tmp_path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, shown, printed in zip(cells, saved, notebooks.texts(notebook), strict=True):
        if "varies" not in cell.metadata.get("tags", []):
            assert printed == shown, cell.source
