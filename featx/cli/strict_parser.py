"""An argument parser that rejects a repeated option with a single value, where argparse keeps only the last value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


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
        """Parse arguments. No option was given before."""
        self.given = {}
        return super().parse_known_args(args, namespace)

    def note_given(self, action: argparse.Action, option: str | None) -> None:
        """Raise a usage error if an option, or another one with the same meaning, was given before."""
        if option is None:  # a positional argument
            return
        if action.dest in self.given:
            first = self.given[action.dest]
            problem = "given twice" if first == option else f"cannot be combined with {first}"
            raise argparse.ArgumentError(action, f"{problem}: remove one of them")
        self.given[action.dest] = option


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
