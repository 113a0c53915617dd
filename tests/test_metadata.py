"""The metadata of the project: what a package index shows of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    fields: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return fields


def test_description_is_that_of_the_readme(project: dict[str, Any]) -> None:
    assert project["readme"] == "README.md"
    assert project["license"] in (ROOT / "README.md").read_text(encoding="utf-8")
    assert all((ROOT / name).is_file() for name in project["license-files"])
    assert len(project["keywords"]) >= 5


def test_authors_have_one_name(project: dict[str, Any]) -> None:
    (author,) = project["authors"]
    configuration = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    names = re.findall(r'^(?:author|project_copyright) = "(the [\w ]+)', configuration, flags=re.MULTILINE)
    assert {name.capitalize() for name in names} == {author["name"]}


def test_classifiers_agree_with_the_documentation(project: dict[str, Any]) -> None:
    minors = [int(name.rsplit(".", 1)[1]) for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert project["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))
    first_page = (ROOT / "docs" / "get_started" / "index.md").read_text(encoding="utf-8")
    assert f"Python 3.{minors[0]} to 3.{minors[-1]}" in first_page
    systems = [name for name in project["classifiers"] if name.startswith("Operating System")]
    questions = (ROOT / "docs" / "get_started" / "questions.md").read_text(encoding="utf-8")
    assert systems == ["Operating System :: POSIX :: Linux"]
    assert "developed and tested on Linux" in questions
