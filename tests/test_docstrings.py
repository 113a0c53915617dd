"""Docstrings of all public names follow numpydoc, and their defaults are those of the signatures."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc, NumpyDocString
from numpydoc.validate import validate

#: Checks of numpydoc: https://numpydoc.readthedocs.io/en/latest/validation.html
CHECKS = {
    *("GL03", "GL05", "GL06", "GL07", "GL08"),  # sections: known ones in the right order
    *("SS01", "SS02", "SS03", "SS04", "SS05", "SS06"),  # a summary of one line, in the imperative
    *("PR01", "PR02", "PR03", "PR04", "PR05", "PR06", "PR07", "PR09", "PR10"),  # parameters are those of the signature
    *("RT01", "RT03", "RT05", "YD01"),  # returned values are described
    *("SA02", "SA03", "SA04"),  # See Also has descriptions
}
#: Functions and classes need these too; methods do not.
CHECKS_OF_TOP_LEVEL = {"SA01", "EX01"}
PUBLIC_MODULES = ("featx", "featx.errors", "featx.testing")


def public_names() -> Iterator[str]:
    """Yield the full names of public functions, classes and their public methods and properties."""
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", None) or error_names(module):
            value = getattr(module, name)
            if not inspect.isroutine(value) and not inspect.isclass(value):
                continue
            yield f"{module_name}.{name}"
            if inspect.isclass(value):
                yield from (f"{module_name}.{name}.{method}" for method in own_methods(value))


def error_names(module: ModuleType) -> list[str]:
    """Return the names of the errors and warnings of a module."""
    values = {name: getattr(module, name) for name in dir(module)}
    return [name for name, value in values.items() if inspect.isclass(value) and value.__module__ == module.__name__]


def own_methods(cls: type) -> Iterator[str]:
    """Yield the names of public methods and properties that featx defines, inherited ones included."""
    for name in dir(cls):
        definition = inspect.getattr_static(cls, name)
        function = getattr(definition, "fget", getattr(definition, "func", getattr(definition, "__func__", definition)))
        is_own = inspect.isfunction(function) and function.__module__.startswith("featx")
        if is_own and not name.startswith(("_", "test_")):
            yield name


def load(full_name: str) -> Any:
    """Return the object of a full name."""
    module = next(name for name in sorted(PUBLIC_MODULES, key=len, reverse=True) if full_name.startswith(f"{name}."))
    value: Any = importlib.import_module(module)
    for part in full_name.removeprefix(f"{module}.").split("."):
        value = inspect.getattr_static(value, part) if inspect.isclass(value) else getattr(value, part)
    return value


def problems_of(full_name: str) -> list[str]:
    """Return what is wrong with a docstring."""
    value = load(full_name)
    checks = CHECKS | (CHECKS_OF_TOP_LEVEL if full_name.rsplit(".", 1)[0] in PUBLIC_MODULES else set())
    is_error = inspect.isclass(value) and issubclass(value, Exception)
    if is_error:
        checks -= CHECKS_OF_TOP_LEVEL  # users get errors from functions, which name them under Raises
    problems = [f"{code}: {text}" for code, text in validate(full_name)["errors"] if code in checks]
    if is_error and "__init__" not in vars(value):
        return [problem for problem in problems if not problem.startswith("PR01")]  # parameters of the base class
    if not parsed(value)["Parameters"] and not has_parameters(value):
        # The summary of a property, or of a method without parameters, is enough.
        problems = [problem for problem in problems if not problem.startswith("RT01")]
    if inspect.isclass(value) and (dataclasses.is_dataclass(value) or is_named_tuple(value)):
        # Users get instances from functions: the fields are documented as attributes.
        problems = [problem for problem in problems if not problem.startswith("PR01")]
        problems += undocumented_fields(value)
    if getattr(value, "_is_protocol", False):
        problems = [problem for problem in problems if not problem.startswith("PR01")]
    return problems + wrong_types(value) + wrong_defaults(value) + wrong_choices(value)


def has_parameters(value: Any) -> bool:
    return (
        callable(value) and not typing.is_typeddict(value) and bool(set(inspect.signature(value).parameters) - {"self"})
    )


def parsed(value: Any) -> NumpyDocString:
    if inspect.isclass(value):
        return ClassDoc(value, config={"show_class_members": False})
    function = getattr(value, "fget", getattr(value, "func", getattr(value, "__func__", value)))
    return FunctionDoc(function)


def is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def undocumented_fields(cls: Any) -> list[str]:
    documented = {
        name.strip()
        for entry in (*parsed(cls)["Attributes"], *parsed(cls)["Parameters"])
        for name in entry.name.split(",")
    }
    names = cls._fields if is_named_tuple(cls) else [field.name for field in dataclasses.fields(cls)]
    fields = {name for name in names if not name.startswith("_")}
    return [f"attributes not documented: {', '.join(sorted(fields - documented))}"] if fields - documented else []


def wrong_types(value: Any) -> list[str]:
    """Return types of arrays without ``of shape``, but for "list, ndarray, …" of images."""
    docstring = parsed(value)
    entries = [entry for section in ("Parameters", "Returns", "Attributes") for entry in docstring[section]]
    types = [entry.type or entry.name for entry in entries]
    return [
        f'"of shape" is missing: {text}'
        for text in types
        if re.search(r"(?<!list, )\b(ndarray|array-like)\b", text) and "of shape" not in text
    ]


def wrong_defaults(value: Any) -> list[str]:
    """Return parameters whose documented default is not the one of the signature."""
    has_signature = callable(value) and not typing.is_typeddict(value)
    if not has_signature or (isinstance(value, type) and dataclasses.is_dataclass(value)):
        return []
    documented = {name.strip(): entry.type for entry in parsed(value)["Parameters"] for name in entry.name.split(",")}
    problems = []
    for name, parameter in inspect.signature(value).parameters.items():
        default, text = parameter.default, documented.get(name)
        if text is None or default is inspect.Parameter.empty:
            continue
        match = re.search(r"default=(.+)$", text)
        if not match:
            problems.append(f"{name}: the default {default!r} is not documented")
        elif not is_same(match.group(1).strip(), default):
            problems.append(f"{name}: documented default {match.group(1)}, signature {default!r}")
    return problems


def wrong_choices(value: Any) -> list[str]:
    """Return parameters whose documented choices are not those of the type annotation."""
    function = value.__init__ if inspect.isclass(value) else value
    if not inspect.isfunction(function) or (inspect.isclass(value) and dataclasses.is_dataclass(value)):
        return []
    documented = {name.strip(): entry.type for entry in parsed(value)["Parameters"] for name in entry.name.split(",")}
    problems = []
    for name, parameter in inspect.signature(function).parameters.items():
        braces = re.search(r"\{(.*?)\}", documented.get(name) or "")
        if not isinstance(parameter.annotation, str):  # self
            continue
        with contextlib.suppress(NameError, TypeError):  # a type that is imported for checkers only
            choices = choices_of(eval(parameter.annotation, function.__globals__))
            if choices and choices != set(ast.literal_eval(f"[{braces[1]}]") if braces else []):
                problems.append(f"{name}: documented choices {documented.get(name)}, annotation {sorted(choices)}")
    return problems


def choices_of(annotation: Any) -> set[Any]:
    """Return the values of all literals in a type."""
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return set().union(*map(choices_of, typing.get_args(annotation)))


def is_same(text: str, default: Any) -> bool:
    try:
        return bool(ast.literal_eval(text) == default)
    except (SyntaxError, ValueError):
        return text in (str(default), repr(default), getattr(default, "__name__", ""))


@pytest.mark.parametrize("full_name", list(public_names()))
def test_docstring(full_name: str) -> None:
    assert problems_of(full_name) == []
