"""The README and the pages of docs/: their examples run, and their links lead somewhere."""

from __future__ import annotations

import functools
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.cli.parser import make_parser
from featx.datasets.find import find_images
from featx.datasets.sample_images import write_digits, write_sample_images
from featx.testing import registered
from tests.benchmarks import __main__ as _benchmarks  # noqa: F401  # registers them
from tests.benchmarks.accuracy import TABLES
from tests.benchmarks.harness import BENCHMARKS

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "user_guide"
#: In reading order: later pages use names of earlier ones.
READING_ORDER = [
    ROOT / "README.md",
    *(GUIDE / f"{name}.md" for name in ("scikit_learn", "command_line", "comparing", "ranking", "augmentation")),
    *(GUIDE / f"{name}.md" for name in ("models", "fine_tuning", "searching", "large_datasets", "cache")),
    *(GUIDE / f"{name}.md" for name in ("backbones", "custom_backbones", "images")),
]
PAGES = [*READING_ORDER, *sorted((ROOT / "docs" / "explanation").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str | None = None) -> list[str]:
    found = _BLOCK.findall(page.read_text())
    return [block for name, block in found if language is None or name == language]


@pytest.fixture
def _compiled(in_folder: Path, compiled_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FEATX_CACHE")
    monkeypatch.setattr(cli, "show_messages", lambda *_: None)
    shutil.copytree(compiled_cache / "compiled", "cache/compiled")
    with registered():
        yield


def test_every_page_is_in_the_reading_order() -> None:
    assert set(GUIDE.glob("*.md")) - {GUIDE / "index.md"} <= set(READING_ORDER)


def test_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


def test_readme_has_two_setup_commands() -> None:
    lines = [line for block in blocks(ROOT / "README.md") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("pip install")]
    assert commands == ["pip install . && featx demo", "pip install '.[test]' && pytest"]


@pytest.mark.usefixtures("_compiled")
def test_python_blocks_run(paths: list[str], labels: list[str]) -> None:
    names: dict[str, object] = {"paths": paths, "y": labels}
    python = [block for page in READING_ORDER for block in blocks(page, "python")]
    assert len(python) == 10
    for block in python:
        exec(block, names)


@pytest.mark.slow
@pytest.mark.usefixtures("_compiled")
def test_command_blocks_run(
    photo_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photos").symlink_to(photo_folder)
    # A fifth of the photos: measuring Keras takes its time.
    monkeypatch.setattr(
        "featx.datasets.sample_images.write_sample_images", functools.partial(write_sample_images, number=24)
    )
    lines = [line for page in READING_ORDER for block in blocks(page) for line in block.splitlines()]
    commands = [line.split("#")[0].strip() for line in lines if re.match(r"featx \w+.*#", line)]
    assert len(commands) == 39
    for command in dict.fromkeys(commands):
        if command != "featx demo":  # tests/cli/test_demo.py runs it
            assert cli.main(command.split()[1:]) == 0, command
            assert capsys.readouterr().out, command


def test_every_command_is_documented() -> None:
    (commands,) = [
        action.choices for action in make_parser()._actions if isinstance(getattr(action, "choices", None), dict)
    ]
    text = (GUIDE / "command_line.md").read_text()
    for command in commands:
        assert f"featx {command}" in text or f"`{command}`" in text


def named_measurements(page: Path, module: str) -> set[str]:
    """Return the names after ``python -m MODULE`` in a page, in lines of blocks and in code within the text."""
    text = page.read_text()
    code = [line for block in blocks(page) for line in block.splitlines()] + re.findall(
        r"`([^`]+)`", _BLOCK.sub("", text)
    )
    words = [command.split() for command in code if command.split()[:3] == ["python", "-m", module]]
    return {word for command in words for word in command[3:] if not word.startswith("--") and word.islower()}


def test_named_benchmarks_exist_and_all_are_named() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    column = re.findall(
        r"\| `([\w-]+)` \|$", (ROOT / "docs/explanation/performance.md").read_text(), flags=re.MULTILINE
    )
    benchmarks = set(column).union(*(named_measurements(page, "tests.benchmarks") for page in pages))
    explained = set(re.findall(r"`([\w-]+)`", (ROOT / "docs/explanation/performance.md").read_text()))
    assert benchmarks <= set(BENCHMARKS)
    assert not set(BENCHMARKS) - benchmarks - explained, "name them on docs/explanation/performance.md"
    assert set().union(*(named_measurements(page, "tests.benchmarks.accuracy") for page in pages)) == set(TABLES)


def shown_demo() -> str:
    """Return the output of the demo as shown in the README."""
    return blocks(ROOT / "README.md", "text")[0]


def without_measurements(text: str) -> str:
    """Blank what depends on the machine: times, the precision, and what another precision changes slightly.

    Scores are compared apart, with a tolerance: see `shown_scores`.
    """
    text = re.sub(r"\d+\.\d+ s, \d+ images/s \(mobilenet, \w+, \w+\)", "…", text)
    text = re.sub(r"^\*? +mobilenet +(\w+) .*$", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"\* best: \w+ on mobilenet, .*", "best", text)
    text = re.sub(r"^\d+ likely label errors; .*$", "label errors", text, flags=re.MULTILINE)
    text = re.sub(r"^\d+ images in \d+ groups of duplicates .*: \d+ near", "duplicates", text, flags=re.MULTILINE)
    return re.sub(r"ignored, \w+ would have accuracy \d\.\d+", "ungrouped", text)


def shown_scores(text: str) -> dict[str, list[float]]:
    """Return the scores of each estimator in the output of the demo, without times and standard deviations."""
    row = r"^\*? +mobilenet +(\w+) +(\S+) ± \S+ +(\S+) – (\S+) +\w+ +(\S+) +(\S+)"
    rows = re.findall(row, text, flags=re.MULTILINE)
    return {name: [float(score) for score in scores] for name, *scores in rows}


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.usefixtures("_compiled")
def test_readme_code_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """For the digits of the demo, apart from the numbers, of which those of bfloat16 are shown."""
    readme = ROOT / "README.md"
    write_digits("featx-demo/digits")
    images = find_images("featx-demo/digits")
    exec(blocks(readme, "python")[0], {"paths": images.paths, "y": images.labels})
    printed = without_numbers(capsys.readouterr().out)
    shown = [line for line in without_numbers(blocks(readme, "text")[1]) if line != "…"]
    assert len(shown) == 7
    assert [line for line in printed if line in shown] == shown


def without_numbers(text: str) -> list[str]:
    """Return the lines of a text that are not empty, with # for each number."""
    return [" ".join(re.sub(r"\d[\d.,]*", "#", line).split()) for line in text.splitlines() if line.strip()]


def test_first_page_shows_lines_of_the_demo() -> None:
    page = ROOT / "docs" / "get_started" / "index.md"
    (block,) = [block for block in blocks(page) if "computed" in block]
    lines = [line for line in block.splitlines() if line != "…"]
    assert len(lines) == 8
    shown = shown_demo().splitlines()
    assert set(lines) <= {*shown, *(line.removeprefix("   ") for line in shown)}


def test_composition_table_names_existing_tests() -> None:
    link = r"\[test\]\(../../tests/extraction/test_composition.py \"(test_\w+)\"\) \|$"
    named = re.findall(link, (GUIDE / "scikit_learn.md").read_text(), flags=re.MULTILINE)
    code = (ROOT / "tests" / "extraction" / "test_composition.py").read_text()
    assert len(named) == 16
    assert set(named) <= set(re.findall(r"^def (test_\w+)\(", code, flags=re.MULTILINE))


def test_architecture_page_shows_the_layers_of_the_import_contract() -> None:
    table = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs/explanation/architecture.md").read_text(), flags=re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = [[name.removeprefix("featx.") for name in layer.split(" | ") if "__main__" not in name] for layer in layers]
    assert [re.findall(r"`(\w+)`", row) for row in table] == rows
