"""The page for contributors: its commands and files exist."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_page_is_short() -> None:
    assert len(PAGE.splitlines()) <= 60


def test_files_exist() -> None:
    names = [name for name in re.findall(r"`([\w.]+(?:/[\w.]+)*/?)`", PAGE) if "/" in name]
    names += [str(Path("docs", link)) for link in re.findall(r"\]\(([^)]+)\)", PAGE)]
    assert len(names) >= 10
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_first_page_lists_every_extra() -> None:
    text = (ROOT / "docs/get_started/index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE))))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert listed == set(extras) - {"test", "dev"}


def test_commands_come_with_the_extras_of_the_page() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[([\w,]+)\]", PAGE)[0].split(",")) <= set(extras)
    requirements = " ".join([*extras["dev"], *extras["test"]])
    packages = {"pytest": "pytest", "ruff": "ruff", "mypy": "mypy", "lint-imports": "import-linter"}
    commands = re.search(r"## Test\n\n```text\n(.*?)```", PAGE, re.DOTALL)
    assert commands is not None
    for line in commands[1].splitlines():
        assert packages[line.split()[0]] in requirements, line
    assert importlib.util.find_spec("docs.tools.__main__") is not None
