"""Rendering of a template to an HTML page that needs no other file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from featx.errors import missing_dependency
from featx.system.files.atomic import write_text
from featx.system.files.output_paths import as_output_error

_FOLDER = os.path.dirname(__file__)


def render(template: str, **content: Any) -> str:
    """Return a page: a template of this folder, filled with content and the common style sheet.

    Raises
    ------
    MissingDependencyError
        If Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing_dependency("A report", "jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # Bokeh defines a model where it occurs first, so the order of keys must be kept.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    return environment.get_template(template).render(**content, style=read_asset("page.css"))


def read_asset(name: str) -> str:
    """Return the text of a file of this folder."""
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def write_page(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write a page atomically.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with as_output_error(path):
        write_text(path, text, errors=errors)
