"""Pages of the Python API: the overview in the repository, and a page for each name, written before a build."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docs.tools.api_reference import SECTIONS, Section
from featx import errors

_OVERVIEW = """\
# Python API

Public names are imported from `featx`, `featx.errors` and `featx.testing`; other modules may move. `import featx` loads
no heavy library: each name is imported when it is first used. [Errors and warnings](errors.md) have their own page.

In the built site (`pip install '.[docs]' && python -m docs.tools build` in a checkout), each name has a page with
parameters, returned values, errors and an example. Without it: `python -c "import featx; help(featx.compare_images)"`.
"""
_CLASS = """\
{title}
{line}

.. currentmodule:: {module}

.. autoclass:: {name}
   :members: {members}
"""
_FUNCTION = """\
{title}
{line}

.. currentmodule:: {module}

.. autofunction:: {name}
"""


def overview() -> str:
    """Return the page of all names by topic."""
    return "\n".join([_OVERVIEW, *(_section(section) for section in SECTIONS), _toctree()])


def _section(section: Section) -> str:
    rows = [f"| `{name}` | {summary(load(section.module, name))} |" for name in section.names]
    return "\n".join(
        [f"## {section.title}\n", f"{section.description}\n", "| name | purpose |", "|---|---|", *rows, ""]
    )


def _toctree() -> str:
    names = [f"{section.module}.{name}" for section in SECTIONS for name in section.names]
    return "\n".join(
        ["```{toctree}", ":hidden:", "", *(f"api/{name}" for name in names), "api/featx.errors", "```", ""]
    )


def load(module: str, name: str) -> Any:
    """Return a public object."""
    return getattr(importlib.import_module(module), name)


def summary(value: Any) -> str:
    """Return the first line of a docstring, as Markdown."""
    line = (inspect.getdoc(value) or "").split("\n")[0]
    return re.sub(r":\w+:`(?:featx\.)?([^`]*)`", r"`\1`", line).replace("``", "`")


def error_classes() -> list[type]:
    """Return the public errors and warnings, in the order of their module."""
    errors.InvalidOptionError  # noqa: B018  # defined when it is first used
    return [value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == "featx.errors"]


def write_object_pages(folder: str | Path) -> None:
    """Write one page for each public name, and one for all errors, below ``docs/reference/api``."""
    pages = Path(folder, "docs", "reference", "api")
    pages.mkdir(exist_ok=True)
    texts = {f"{section.module}.{name}": _page(section.module, name) for section in SECTIONS for name in section.names}
    texts["featx.errors"] = _errors_page()
    for page in pages.glob("*.rst"):
        if page.stem not in texts:
            page.unlink()
    for name, text in texts.items():
        page = pages / f"{name}.rst"
        if not page.exists() or page.read_text(encoding="utf-8") != text:  # an unchanged page is not read again
            page.write_text(text, encoding="utf-8")


def _page(module: str, name: str) -> str:
    value = load(module, name)
    if not inspect.isclass(value):
        return _FUNCTION.format(title=name, line="=" * len(name), module=module, name=name)
    return _CLASS.format(
        title=name, line="=" * len(name), module=module, name=name, members=", ".join(own_members(value))
    )


def own_members(cls: type) -> list[str]:
    """Return the public methods and properties that featx defines, inherited ones included, in alphabetical order.

    Members that come from scikit-learn or Python are described by these projects.
    """
    return [name for name in dir(cls) if not name.startswith(("_", "test_")) and _is_own(cls, name)]


def _is_own(cls: type, name: str) -> bool:
    definition = inspect.getattr_static(cls, name)
    function = getattr(definition, "fget", getattr(definition, "func", getattr(definition, "__func__", definition)))
    return inspect.isfunction(function) and function.__module__.startswith("featx")


def _errors_page() -> str:
    classes = "\n".join(
        f".. autoexception:: {cls.__name__}\n   :members:\n   :show-inheritance:\n" for cls in error_classes()
    )
    return f"featx.errors\n============\n\n.. currentmodule:: featx.errors\n\n{classes}"
