"""Each command of the command line is a public function with the same options."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import featx.errors
import featx.testing
from docs.tools import command_page
from featx.cli.parser import make_parser
from featx.cli.shared_options import EXTRACTION_OPTIONS

#: The public function of each command whose options are compared.
FUNCTIONS = {name: function for name, function in command_page.FUNCTIONS.items() if name != "backbones"}
#: Options about how the command line prints, and their equivalents in Python.
PRINTING = {"help", "json", "quiet", "yes"}
#: Options that write a result, which has a method for it in Python.
WRITING = {"csv", "html", "report", "tsne", "label_issues", "no_graph", "output"}
#: Options of a second function, :func:`featx.select_duplicates`, which takes the result of the first.
WRITING |= {"keep", "list"}
#: Parameters that are named unlike the option: lists are plural, and :func:`featx.find_images` reads a source.
_IMAGES = dict.fromkeys(("source", "path_column", "path_template", "root", "encoding", "zip_encoding"), "images")
_LABELED = {
    **_IMAGES,
    "class_level": "images",
    "split_column": "images",
    "label_column": "y",
    "label_separator": "y",
    "group_column": "groups",
    "no_duplicate_groups": "duplicate_groups",
}
RENAMED = {
    "compare": {**_LABELED, "backbone": "backbones", "estimator": "estimators"},
    "rank": {**_LABELED, "backbone": "backbones"},
    "train": _LABELED,
    "predict": _IMAGES,
    "explain": _IMAGES,
    "similar": _IMAGES,
    "benchmark": {"backbone": "backbones"},
    "model": {"model": "path"},
    "job plan": {"backbone": "options"},
}


#: Classes that public attributes and parameters have, and that users neither make nor read: they pass them on, or see
#: their text.
OPAQUE = {
    "ArchivedGraph",
    "ArchivedNetwork",
    "Compaction",
    "Finding",
    "Head",
    "ImageSearch",
    "Index",
    "RowsPart",
    "NoveltyDetector",
    "Window",
    "ReportedExtraction",
    "Resolved",
    "RowTable",
}


def _commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield f"{prefix}{name}", child
                yield from _commands(child, f"{prefix}{name} ")


COMMANDS = dict(_commands(make_parser()))


def test_every_command_is_a_public_function() -> None:
    assert set(COMMANDS) - {"demo", "backbones", "job", "cache"} == set(FUNCTIONS)
    assert set(FUNCTIONS.values()) <= set(featx.__all__)


@pytest.mark.parametrize("command", FUNCTIONS)
def test_options_are_parameters(command: str) -> None:
    parameters = set(inspect.signature(getattr(featx, FUNCTIONS[command])).parameters)
    takes_options = bool({"backbone", "backbones", "options"} & parameters)
    missing = [
        action.dest
        for action in COMMANDS[command]._actions
        if action.dest not in PRINTING | WRITING
        and not (takes_options and action.dest in EXTRACTION_OPTIONS)
        and RENAMED.get(command, {}).get(action.dest, action.dest) not in parameters
    ]
    assert missing == []


#: Parameters without an option: of progress, of arrays, and of files and requests of others in programs.
PYTHON_ONLY = {"verbose", "progress", "test_mask", "allow", "trusted"}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_parameters_are_options(command: str) -> None:
    names = RENAMED.get(command, {})
    options = {names.get(action.dest, action.dest) for action in COMMANDS[command]._actions}
    parameters = inspect.signature(getattr(featx, FUNCTIONS[command])).parameters
    assert set(parameters) - options - PYTHON_ONLY == set()


def _classes() -> set[str]:
    """Return the names of all classes of featx."""
    texts = [path.read_text(encoding="utf-8") for path in Path(featx.__file__).parent.rglob("*.py")]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    return {node.name for node in nodes if not node.name.startswith("_")}


def _annotated(value: object) -> Iterator[object]:
    """Yield a public function, or a class with its public methods."""
    yield value
    for base in value.__mro__ if isinstance(value, type) else ():
        for name, member in vars(base).items():
            function = getattr(member, "fget", getattr(member, "func", getattr(member, "__func__", member)))
            if base.__module__.startswith("featx") and (name == "__init__" or not name.startswith("_")):
                yield function


def test_types_in_public_signatures_are_public() -> None:
    annotations = [
        annotation
        for name in featx.__all__
        for value in _annotated(getattr(featx, name))
        for field, annotation in getattr(value, "__annotations__", {}).items()
        if not field.startswith("_")
    ]
    words = {word for annotation in annotations for word in re.findall(r"\w+", str(annotation))}
    public = {*featx.__all__, *dir(featx.errors), *dir(featx.testing)}
    assert (words & _classes()) - public == OPAQUE
