from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from featx.cli.parser import make_parser

Words = tuple[str, ...]


def _parsers(parser: argparse.ArgumentParser, words: Words = ()) -> Iterator[tuple[Words, argparse.ArgumentParser]]:
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from _parsers(child, (*words, name))


def _single_valued() -> Iterator[tuple[Words, argparse.Action]]:
    for words, parser in _parsers(make_parser()):
        for action in parser._actions:
            is_single = action.nargs in (None, 2) and action.option_strings and type(action).__name__ != "_AppendAction"
            if is_single and action.nargs != 0:
                yield words, action


def test_each_option_with_one_value_may_be_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    options = list(_single_valued())
    assert len(options) > 100
    for words, action in options:
        option = max(action.option_strings, key=len)
        value = "1" if action.type is not None or not action.choices else str(next(iter(action.choices)))
        values = [value] * (action.nargs if isinstance(action.nargs, int) else 1)
        with pytest.raises(SystemExit) as stopped:
            make_parser().parse_args([*words, option, *values, option, *values])
        assert stopped.value.code == 2
        assert f"{option}: given twice: remove one of them" in capsys.readouterr().err, (words, option)


def test_options_with_several_values_may_be_repeated() -> None:
    args = make_parser().parse_args(["compare", "a", "--estimator", "knn", "--estimator", "svm", "--backbone", "x"])
    assert args.estimator == ["knn", "svm"]
    assert make_parser().parse_args(["compare", "a", "--quiet", "--quiet"]).quiet


def test_options_with_the_same_meaning_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["extract", "a", "--cache", "c", "--no-cache"])
    assert "--no-cache: cannot be combined with --cache: remove one of them" in capsys.readouterr().err


def test_two_calls_of_one_parser_are_independent() -> None:
    parser = make_parser()
    for _ in range(2):
        assert parser.parse_args(["check", "a", "--csv", "x.csv"]).csv == "x.csv"
