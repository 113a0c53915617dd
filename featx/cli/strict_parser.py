"""An argument parser with one-line errors, which also rejects what argparse would accept silently.

argparse keeps only the last value of a repeated option, prints the whole usage with each error, and names no similar
option or command.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from featx.errors import did_you_mean
from featx.system.terminal.messages import write_line

#: Errors of argparse, and the same in the form of all errors of featx.
_FORMS = (
    (r"argument (\S+?): invalid int value: (.*)", r"\1 must be an integer, got \2."),
    (r"argument (\S+?): invalid float value: (.*)", r"\1 must be a number, got \2."),
    (r"argument (\S+?): not allowed with argument (\S+)", r"\1 cannot be combined with \2. Remove one of them."),
    (r"argument (\S+?): expected (at least )?one argument", r"\1 needs a value."),
    (r"argument (\S+?): expected (\d+) arguments", r"\1 needs \2 values."),
    (r"argument (\S+?): ignored explicit argument (.*)", r"\1 takes no value, got \2."),
    (r"argument (\S+?): (.*)", r"\1 \2"),
    (r"the following arguments are required: (.*)", r"\1 must be given."),
)
#: An option with its short form, as argparse writes it.
_SHORT_FORM = re.compile(r"-\w/(?=--)")


class StrictParser(argparse.ArgumentParser):
    """Argument parser for which an option that is not repeatable may be given once.

    Examples
    --------
    >>> parser = StrictParser()
    >>> _ = parser.add_argument("--label-column")
    >>> parser.parse_args(["--label-column", "kind"]).label_column
    'kind'
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.given: dict[str, str] = {}
        self.register("action", None, _StoreOnce)
        self.register("action", "store", _StoreOnce)
        self.register("action", "store_const", _StoreConstOnce)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments. No option was given before; unknown ones are an error of the command that has them."""
        self.given = {}
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown_problem(unknown[0]))
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Print one line, with the help to read, and exit with code 2."""
        message = _SHORT_FORM.sub("", message)
        for form, replacement in _FORMS:
            if re.fullmatch(form, message, re.DOTALL):
                message = re.sub(form, replacement, message, count=1, flags=re.DOTALL)
                break
        write_line(f"Error: {message} For help, run: {self.prog} --help")
        self.exit(2)

    def note_given(self, action: argparse.Action, option: str | None) -> None:
        """Raise a usage error if an option, or another one with the same meaning, was given before."""
        if option is None:  # a positional argument
            return
        if action.dest in self.given:
            first = self.given[action.dest]
            is_same = first in action.option_strings
            problem = "was given twice" if is_same else f"cannot be combined with {first}"
            raise argparse.ArgumentError(action, f"{problem}. Remove one of them.")
        self.given[action.dest] = option

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise a usage error if a value is not one of the choices of its argument, and suggest the nearest."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        hint = did_you_mean(str(value), names)
        if isinstance(action, argparse._SubParsersAction):
            self.error(f"{self.prog} has no command {value!r}.{hint} Its commands are {', '.join(names)}.")
        raise argparse.ArgumentError(action, f"must be {' or '.join(map(repr, names))}, got {value!r}.{hint}")

    def _unknown_problem(self, argument: str) -> str:
        if not argument.startswith("-"):
            repeated = [action.metavar for action in self._actions if action.nargs in ("+", "*")]
            remedy = f" Write all {repeated[0]} next to each other." if repeated else ""
            return f"Unexpected argument {argument!r}.{remedy}"
        name = argument.partition("=")[0]
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        return f"{self.prog} has no option {name}.{did_you_mean(name, known)}"


class _Once(argparse.Action):
    """An action that is carried out once at most."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(parser, StrictParser)
        parser.note_given(self, option_string)
        super().__call__(parser, namespace, values, option_string)


class _StoreOnce(_Once, argparse._StoreAction):
    pass


class _StoreConstOnce(_Once, argparse._StoreConstAction):
    pass
