from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest

from featx.cli.parser import make_parser
from tests.cli.helpers import parsers


def _single_valued(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for command, child in parsers(parser):
        for action in child._actions:
            is_single = action.nargs in (None, 2) and action.option_strings and type(action).__name__ != "_AppendAction"
            if is_single and action.nargs != 0:
                yield command, action


def test_each_option_with_one_value_may_be_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser()
    options = list(_single_valued(parser))
    assert len(options) > 100
    for command, action in options:
        option = max(action.option_strings, key=len)
        value = "1" if action.type is not None or not action.choices else str(next(iter(action.choices)))
        values = [value] * (action.nargs if isinstance(action.nargs, int) else 1)
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args([*command.split(), option, *values, option, *values])
        assert stopped.value.code == 2
        assert f"{option} was given twice. Remove one of them." in capsys.readouterr().err, (command, option)


def test_options_with_several_values_may_be_repeated() -> None:
    args = make_parser().parse_args(["compare", "a", "--estimator", "knn", "--estimator", "svm", "--backbone", "x"])
    assert args.estimator == ["knn", "svm"]
    assert make_parser().parse_args(["compare", "a", "--quiet", "--quiet"]).quiet


def test_options_with_the_same_meaning_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["extract", "a", "--cache", "c", "--no-cache"])
    assert "--no-cache cannot be combined with --cache. Remove one of them." in capsys.readouterr().err


def test_two_calls_of_one_parser_are_independent() -> None:
    parser = make_parser()
    for _ in range(2):
        assert parser.parse_args(["check", "a", "--csv", "x.csv"]).csv == "x.csv"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("comprae photos", "featx has no command 'comprae'. Did you mean 'compare'?"),
        ("cache clera", "featx cache has no command 'clera'. Did you mean 'clear'?"),
        ("dance", "featx has no command 'dance'. Its commands are extract, compare,"),
        ("compare photos --estimater svm", "featx compare has no option --estimater. Did you mean '--estimator'?"),
        ("job plan a -o b --batch-sise=3", "featx job plan has no option --batch-sise. Did you mean '--batch-size'?"),
        ("extract a --pool avg", "featx extract has no option --pool. Did you mean '--pooling'?"),
        ("demo --colour", "featx demo has no option --colour. For help"),
        ("extract a --on-error skpi", "--on-error must be 'skip' or 'raise', got 'skpi'. Did you mean 'skip'?"),
        ("extract a --class-level x", "--class-level must be an integer, got 'x'."),
        ("compare a --time-limit 0", "--time-limit must be a positive number of minutes, got '0'."),
        ("extract a --cache", "--cache needs a value."),
        ("extract a --window 3", "--window needs 2 values."),
        ("extract a --quiet=3", "--quiet takes no value, got '3'."),
        ("extract a -o x b", "Unexpected argument 'b'."),
        ("extract a -o x --output y", "--output was given twice. Remove one of them."),
        ("train a --estimator svm --select-from knn", "--select-from cannot be combined with --estimator."),
        ("extract", "SOURCE must be given."),
        ("", "COMMAND must be given."),
    ],
)
def test_wrong_usage_is_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        make_parser().parse_args(line.split())
    out, err = capsys.readouterr()
    assert (stopped.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"Error: {message}")
    assert re.search(r" For help, run: featx( \w+)* --help$", err)
