"""Every option of every command with an invalid value: exit code 2, and one line in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import featx
from featx.cli import main as cli
from featx.cli.completion import VALUES
from featx.cli.option_words import in_option_words, options_of
from featx.cli.parser import make_parser
from featx.testing import CountingBackbone, registered
from tests.cli.helpers import parsers

#: Arguments of each command, in a folder with images, a model, features and a job.
ARGUMENTS = {
    "extract": "photos -o x.npy",
    "compare": "photos",
    "rank": "photos",
    "train": "photos -o x.skops",
    "predict": "m.skops photos",
    "explain": "m.skops photos -o x",
    "export": "m.skops -o x.onnx",
    "similar": "f.npy photos",
    "duplicates": "f.npy",
    "check": "photos",
    "benchmark": "photos",
    "job plan": "photos -o x",
    "job run": "job",
    "job merge": "job -o x.npy",
}
#: Options whose values are names of files, columns, labels or texts: any value is valid usage.
FREE = {
    *("cache", "root", "report", "csv", "label_issues", "html", "list", "output", "prompts", "test", "folder"),
    *("search", "label", "text", "weights", "backbone", "encoding", "zip_encoding", "path_template", "scheduler"),
    *("label_separator", "label_column", "split_column", "path_column", "group_column", "select_from", "estimator"),
}


def _invalid() -> Iterator[tuple[str, list[str]]]:
    """Yield each option with an invalid value: an unknown word, and a number out of range."""
    for command, parser in parsers(make_parser()):
        for action in parser._actions:
            if not action.option_strings or action.nargs == 0 or action.dest in FREE:
                continue
            option = max(action.option_strings, key=len)
            is_number = action.type in (int, float) and action.dest != "n_jobs"
            for value in ("wrong", "-5") if is_number else ("0",) if action.dest == "n_jobs" else ("wrong",):
                yield command, [option, value, value] if action.nargs == 2 else [f"{option}={value}"]


INVALID = [(command, arguments) for command, arguments in _invalid() if command in ARGUMENTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photos: list[object]) -> Iterator[Path]:
    """A folder with images, a model, features and a job of a backbone in plain Python."""
    folder = tmp_path_factory.mktemp("options")
    for index, image in enumerate(photos):
        path = folder / "photos" / ("china" if index < 12 else "flower") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)  # type: ignore[attr-defined]
    with registered(CountingBackbone()), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FEATX_CACHE", "cache")
        table = featx.find_images("photos")
        featx.extract_images(table, "f.npy", backbone="counting")
        featx.train_images(table, backbone="counting").save("m.skops")
        featx.plan_job("photos", "job", backbone="counting", sample=0)
        yield folder


def test_all_options_with_limited_values_are_tried() -> None:
    tried = {arguments[0].partition("=")[0] for _, arguments in INVALID}
    assert {f"--{name.replace('_', '-')}" for name in VALUES} <= tried | {"--estimator"}
    assert len(INVALID) > 150


def test_invalid_value_exits_with_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    parser = make_parser()
    monkeypatch.setattr(cli, "make_parser", lambda: parser)
    names = {option.strip("-").replace("-", "_") for option in options_of(parser, "") if "-" in option.strip("-")}
    in_python = re.compile(rf"(?<![\w-])({'|'.join(sorted(names))})(?!\w)")
    before = sorted(path.name for path in folder.iterdir())
    for command, arguments in INVALID:
        own = options_of(parser, command)
        backbone = ["--backbone", "counting"] if "--backbone" in own and command != "benchmark" else []
        line = [*command.split(), *ARGUMENTS[command].split(), *backbone, *arguments, "--quiet"]
        try:
            code = cli.main(line)
        except SystemExit as stopped:
            code = int(str(stopped.code))
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (2, "", 1), (line, out, err)
        assert arguments[0].partition("=")[0] in err, (line, err)
        assert not in_python.search(err), (line, err)
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("batch_size (--batch-size) must be 1, got 0.", "--batch-size must be 1, got 0."),
        ('Pass tta="flip" (--tta flip).', "Pass --tta flip."),
        ("Workers of backend='dask' (--backend) fail.", "Workers of --backend dask fail."),
        ("Pass window=(0, 4095) (--window 0 4095).", "Pass --window 0 4095."),
        ("Use exact=True (--exact) for it.", "Use --exact for it."),
        ("Pass cache=None (--no-cache).", "Pass --no-cache."),
        ("Set folder with cache= (--cache).", "Set folder with --cache."),
        ('on_error="skip" (--on-error skip; "nan" in FeatureExtractor).', "--on-error skip."),
        ("Set layer and pooling (--layer, --pooling).", "Set --layer and --pooling."),
        ("bands=(1, 2, 3) and window=(0, 1) (--bands 1,2,3 --window 0 1)", "--bands 1,2,3 --window 0 1"),
        ("Pass split_column='set'\n  (--split-column set).", "Pass --split-column set."),
        ("Pass its path and preprocessing (--preprocessing).", "Pass its path and --preprocessing."),
        ("tta (--tta) must be None or one of 'flip'.", "--tta must be one of 'flip'."),
        ("threshold (--threshold) must be None for it.", "--threshold cannot be given for it."),
        ('Pass precision="float16", or a smaller image_size.', "Pass --precision float16, or a smaller --image-size."),
        ("Cannot read 'a/image_size.csv' with columns 'image_size'.", None),
        ("Use f(image_size=3), KERAS_BACKEND=x and resize='pad'.", None),
    ],
)
def test_message_in_option_words(message: str, expected: str | None) -> None:
    options = {"--precision", "--image-size"}
    assert in_option_words(message, options) == (message if expected is None else expected)
