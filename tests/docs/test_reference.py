"""The reference pages agree with the code."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

import featx
import featx.testing
from docs.tools import api_pages, architecture, backbone_pages, command_page, generated
from docs.tools import job_files as picture_of_job_files
from docs.tools.api_reference import SECTIONS
from featx import errors
from featx.cli.parser import make_parser
from featx.extraction.engines.engine import PRECISIONS
from featx.features import job_files
from featx.features.parquet import schema
from featx.models import archive
from featx.store import compiled_graphs, layout

REFERENCE = generated.DOCS / "reference"
PACKAGE = Path(featx.__file__).parent


def table_rows(page: str) -> list[list[str]]:
    """Return the cells of all table rows of a page, without rows of dashes."""
    lines = re.findall(r"^\| (.*) \|$", (REFERENCE / page).read_text(), flags=re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


@pytest.mark.parametrize("name", generated.generate())
def test_generated_page_is_up_to_date(name: str) -> None:
    """If this fails, run ``python -m docs.tools write``."""
    assert (generated.DOCS / name).read_text() == generated.generate()[name]


def test_every_page_of_backbones_is_generated() -> None:
    pages = {f"backbones/{path.name}" for path in (REFERENCE / "backbones").glob("*.md")}
    assert pages == set(backbone_pages.pages())


@pytest.mark.parametrize("module", [featx, featx.testing])
def test_every_export_is_in_one_section(module: object) -> None:
    listed = [name for section in SECTIONS if section.module == module.__name__ for name in section.names]
    assert sorted(listed) == sorted(set(module.__all__) - {"__version__"})


def test_each_export_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    api_pages.write_object_pages(tmp_path)
    pages = {page.stem: page.read_text() for page in (tmp_path / "docs" / "reference" / "api").iterdir()}
    assert set(pages) == {f"{section.module}.{name}" for section in SECTIONS for name in section.names} | {
        "featx.errors"
    }
    assert ".. autofunction:: compare_images" in pages["featx.compare_images"]
    assert ":members: as_text, best" in pages["featx.Comparison"]


def test_every_option_is_on_the_page_of_commands() -> None:
    text = command_page.page()
    for name, parser in command_page.commands_of(make_parser()):
        section = text.split(f"\n## featx {name}\n")[1].split("\n## ")[0]
        for action in parser._actions:
            for option in set(action.option_strings) - {"-h", "--help"}:
                assert re.search(rf"^\| .*`{option}[` ]", section, flags=re.MULTILINE), (name, option)


def classes_of_the_page() -> dict[str, set[str]]:
    """Return the classes that the page of errors lists, and the bases that it names in parentheses."""
    rows = [row for row in table_rows("errors.md") if row[0].startswith("`")]
    assert all(len(cause) > 20 and len(remedy) > 10 for _, cause, remedy in rows)
    classes = [re.findall(r"`(\w+)`", row[0]) for row in rows]
    assert len({name for name, *_ in classes}) == len(rows)
    return {name: set(bases) for name, *bases in classes}


def test_errors_page_lists_every_error_and_its_bases() -> None:
    kinds = [kind for kind in api_pages.error_classes() if issubclass(kind, errors.FeatxError)]
    bases = {kind.__name__: {base.__name__ for base in kind.__bases__} - {"FeatxError"} for kind in kinds}
    assert {name: bases for name, bases in classes_of_the_page().items() if "Warning" not in name} == bases


def test_errors_page_lists_every_warning() -> None:
    warnings = {kind.__name__ for kind in api_pages.error_classes() if issubclass(kind, Warning)}
    assert {name for name in classes_of_the_page() if "Warning" in name} == warnings


def environment_names() -> tuple[set[str], set[str]]:
    """Return the variables that the code of featx reads, and those that it sets if they are not set."""
    calls = [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call | ast.Subscript) and "os.environ" in ast.unparse(node)[:16]
    ]
    read, written = set(), set()
    for node in calls:
        key = node.slice if isinstance(node, ast.Subscript) else next(iter(node.args), None)
        if isinstance(key, ast.Constant):
            (written if "setdefault" in ast.unparse(node)[:24] else read).add(key.value)
    return read, written


def test_environment_page_lists_what_the_code_reads_and_sets() -> None:
    parts = (REFERENCE / "environment.md").read_text().split("| variable |")[1:]
    cells = (" ".join(re.findall(r"^\| (`.*?) \|", part, flags=re.MULTILINE)) for part in parts)
    own, of_libraries, written_by_featx = (set(re.findall(r"`([A-Z_]+)`", text)) for text in cells)
    read, written = environment_names()
    assert own == read
    assert written <= written_by_featx
    code = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert set(re.findall(r"\b(?:TMPDIR|XDG_\w+)\b", code)) <= of_libraries


def test_file_formats_page_has_the_versions_of_the_code() -> None:
    versions = [int(row[1]) for row in table_rows("file_formats.md") if len(row) == 3 and row[1].isdigit()]
    stores = [layout.FORMAT, compiled_graphs.GRAPH_FORMAT]
    assert versions == [*stores, job_files.FORMAT, schema.FORMAT, archive.FORMAT]


def test_glossary_is_sorted() -> None:
    terms = [row[0] for row in table_rows("glossary.md")][1:]
    assert len(terms) > 30
    assert terms == sorted(terms)


def test_picture_of_the_rooms_shows_every_room() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {"recipe", "errors"}
    assert {name for row in architecture.layers() for name in row} == rooms
    assert set(re.findall(r'class="name"[^>]*>(\w+)<', architecture.svg())) == rooms


def test_picture_of_a_job_shows_every_file() -> None:
    paths = [path for path, _, _ in picture_of_job_files.FILES]
    assert {path.split("/")[0] for path in paths if "/" in path} == {"plan", *job_files.FOLDERS}
    assert set(paths) >= {
        job_files.MANIFEST,
        job_files.plan_name(0, "ID"),
        job_files.matrix_name(42, "CHECKSUM"),
        job_files.table_name(42),
    }


def test_every_family_is_described() -> None:
    families = set(backbone_pages._DESCRIPTIONS)
    assert families == {record.family for record in backbone_pages.read_records()}


def test_functions_of_commands_are_public() -> None:
    commands = [name for name, _ in command_page.commands_of(make_parser())]
    assert {*command_page.FUNCTIONS, *command_page.MORE_FUNCTIONS} <= set(commands)
    assert {function for name in commands for function in command_page.functions_of(name)} <= set(featx.__all__)
    assert command_page.functions_of("compare") == ["compare_images", "compare_features"]


def test_glossary_names_every_field_of_the_recipe() -> None:
    meaning = next(row[1] for row in table_rows("glossary.md") if row[0] == "recipe")
    words = {"pixels": "pixel code", "tta": "test-time augmentation"}
    for field in dataclasses.fields(featx.Recipe):
        assert words.get(field.name, field.name.replace("_", " ")) in meaning, field.name


def test_glossary_names_every_value() -> None:
    meanings = dict(row for row in table_rows("glossary.md") if len(row) == 2)
    for value in (*PRECISIONS, "native", "cls", "none"):
        assert value in meanings["precision"] + meanings["pooling"]


def test_every_version_of_the_changelog_has_news() -> None:
    """In plain words, under the same heading."""
    headings = [
        re.findall(r"^## (.*)$", path.read_text(), flags=re.MULTILINE)
        for path in (generated.DOCS.parent / "CHANGELOG.md", generated.DOCS / "whats_new.md")
    ]
    assert headings[0] == headings[1] != []
