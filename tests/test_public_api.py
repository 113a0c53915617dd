"""Each command of the command line is a public function with the same options."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator

import pytest

import featx
from docs.tools import command_page
from featx.cli.parser import make_parser
from featx.cli.shared_options import EXTRACTION_OPTIONS

#: The public function of each command whose options are compared.
FUNCTIONS = {name: function for name, function in command_page.FUNCTIONS.items() if name != "backbones"}
#: Options about how the command line prints, and their equivalents in Python.
PRINTING = {"help", "json", "quiet", "yes"}
#: Options that write a result, which has a method for it in Python.
WRITING = {"csv", "html", "report", "tsne", "label_issues", "output"}
#: Parameters that are named unlike the option: lists are plural, and :func:`featx.find_images` reads a source.
_IMAGES = dict.fromkeys(("source", "path_column", "path_template", "root", "zip_encoding"), "images")
_LABELED = {
    **dict.fromkeys(("source", "path_column", "path_template", "root", "class_level", "zip_encoding"), "paths"),
    "split_column": "paths",
    "label_column": "y",
    "group_column": "groups",
    "no_duplicate_groups": "duplicate_groups",
}
RENAMED = {
    "compare": {**_LABELED, "backbone": "backbones", "estimator": "estimators", "learning_curve": "diagnostics"},
    "rank": {**_LABELED, "backbone": "backbones"},
    "train": _LABELED,
    "predict": _IMAGES,
    "explain": _IMAGES,
    "similar": _IMAGES,
    "benchmark": {"backbone": "backbones"},
    "model": {"model": "path"},
    "job plan": {"backbone": "options"},
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
