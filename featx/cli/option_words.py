"""Messages of the library in the words of the command line: options instead of parameters.

The library writes both where they differ, ``image_size (--image-size)`` or ``tta="flip" (--tta flip)``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection

_VALUE = r"""(?:"[^"]*"|'[^']*'|\([^()]*\)|\[[^\[\]]*\]|[\w.+-]*\w)"""
_PARAMETER = rf"\b[a-z]\w*(?:=(?:{_VALUE})?)?"
_OPTION = r"(?:--[a-z][a-z-]*|-o)"
#: Several parameters, with values or without, followed by their options; and one. Lines may be wrapped between them.
#: The number is limited: long lists of names would take time that grows with the square of their length.
_SEVERAL = re.compile(rf"{_PARAMETER}(?:(?:,| and)\s+{_PARAMETER}){{1,5}}\s+\(({_OPTION}[^()]*?--[^()]*)\)")
_SINGLE = re.compile(rf"({_PARAMETER})\s+\(({_OPTION}[^();]*)(?:;[^()]*)?\)")
#: A parameter with a value, without its option.
_ASSIGNMENT = re.compile(rf"(?<![\w.(-])([a-z]\w*)=({_VALUE})")
#: A parameter whose name is no word of English.
_NAME = re.compile(r"(?<![\w.=/'\"-])([a-z]+(?:_[a-z]+)+)(?![\w=(/'\"])")


def options_of(parser: argparse.ArgumentParser, command: str) -> set[str]:
    """Return the options of a command, such as ``job plan``; of all commands without one."""
    for word in command.split():
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction) and word in action.choices:
                parser = action.choices[word]
    options: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            options.update(*(options_of(child, "") for child in action.choices.values()))
        options.update(action.option_strings)
    return options


def in_option_words(text: str, options: Collection[str] = ()) -> str:
    """Return a message with options instead of parameters.

    Parameters
    ----------
    text : str
        Message of the library.
    options : collection of str, default=()
        Options of the command, for parameters whose option the message does not name.

    Examples
    --------
    >>> in_option_words("batch_size (--batch-size) must be an integer of at least 1, got 0.")
    '--batch-size must be an integer of at least 1, got 0.'
    >>> in_option_words('Pass precision="float16", or device="cpu" (--device cpu).', ["--precision"])
    'Pass --precision float16, or --device cpu.'
    """
    text = _SEVERAL.sub(lambda match: " and ".join(match[1].rsplit(", ", 1)), text)
    text = _SINGLE.sub(_single_option, text)
    text = _ASSIGNMENT.sub(lambda match: _assignment(match, options), text)
    text = _NAME.sub(lambda match: option if (option := _option(match[1])) in options else match[0], text)
    return _must_be_none(text)


def _must_be_none(text: str) -> str:
    text = re.sub(rf"({_OPTION}) must be None or ", r"\1 must be ", text)
    return re.sub(rf"({_OPTION}) must be None\b", r"\1 cannot be given", text)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _single_option(match: re.Match[str]) -> str:
    """Return the option, with its value if only the parameter has one: ``backend="dask" (--backend)``."""
    value, option = match[1].partition("=")[2].strip("\"'"), match[2].strip()
    has_value = value not in ("", "None", "True", "False") and re.fullmatch(_OPTION, option)
    return f"{option} {value}" if has_value else option


def _assignment(match: re.Match[str], options: Collection[str]) -> str:
    option, value = _option(match[1]), match[2]
    if option not in options or value in ("None", "False") or value.startswith(("(", "[")):
        return match[0]
    value = value.strip("\"'")
    return option if value == "True" else f"{option} {value}"
