from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from featx import extract_images
from featx.system.terminal.tables import fit_text, format_table, terminal_width, text_width, wrap_text
from tests.terminal import Terminal


def test_table() -> None:
    rows = [
        {"name": "a", "n_rows": 12_000, "score": 0.5, "local": True, "note": None},
        {"name": "long name", "n_rows": 3, "score": float("nan"), "local": False, "note": "x"},
    ]
    assert format_table(rows, formats={"score": ".3f"}).splitlines() == [
        "name       n rows  score  local  note",
        "a          12,000  0.500    yes",
        "long name       3                x",
    ]


def test_marked_table_without_header() -> None:
    rows = [{"name": "a"}, {"name": "b"}]
    assert format_table(rows, marked=[1], header=False).splitlines() == ["  a", "* b"]


def test_empty_table() -> None:
    assert format_table([]) == ""


ROWS = [
    {"path": f"photos/a folder with a long name/image {number}.jpg", "label": "cat", "cosine": 0.5, "rank": number}
    for number in (1, 12_345)
]


def test_long_texts_are_shortened_in_the_middle() -> None:
    assert format_table(ROWS, width=50).splitlines() == [
        "path                         label  cosine    rank",
        "photos/a…g name/image 1.jpg  cat       0.5       1",
        "photos/a…me/image 12345.jpg  cat       0.5  12,345",
    ]


def test_columns_without_room_follow_below() -> None:
    assert format_table(ROWS, width=26, marked=[1]).split("\n") == [
        "  label: cat",
        "",
        "  path              cosine",
        "  photo…mage 1.jpg     0.5",
        "* photo… 12345.jpg     0.5",
        "",
        "  path                rank",
        "  photo…mage 1.jpg       1",
        "* photo… 12345.jpg  12,345",
    ]


def comparison_rows(*backbones: str) -> list[dict[str, object]]:
    estimators = ("logreg", "svm", "HistGradientBoostingClassifier", "HistGradientBoostingClassifier (2)")
    return [
        {"backbone": backbone, "estimator": estimator, "accuracy": "0.911 ± 0.012", "interval": "0.812 – 0.950"}
        for backbone in backbones
        for estimator in estimators
    ]


SMALL = "timm/mobilenetv4_conv_small.e2400_r224_in1k"


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("backbones", [(SMALL,), (SMALL, SMALL.replace("2400", "1200")), ("mobilenet", "resnet50")])
def test_rows_are_distinct_at_each_width(backbones: tuple[str, ...], width: int) -> None:
    rows = comparison_rows(*backbones)
    text = format_table(rows, width=width, marked=[0])
    assert max(map(text_width, text.split("\n"))) <= width
    assert text.count("0.911 ± 0.012") == text.count("0.812 – 0.950") == len(rows)
    for part in text.split("\n\n"):
        lines = [line.split("  0.")[0] for line in part.split("\n") if "0." in line]
        assert len(set(lines)) == len(lines), part


def test_what_all_rows_share_stands_above() -> None:
    assert format_table(comparison_rows(SMALL)[:2], width=40).split("\n") == [
        f"backbone: {SMALL[:30]}",
        f"  {SMALL[30:]}",
        "",
        "estimator  accuracy       interval",
        "logreg     0.911 ± 0.012  0.812 – 0.950",
        "svm        0.911 ± 0.012  0.812 – 0.950",
    ]


def test_numbers_and_intervals_are_never_shortened() -> None:
    rows = [{"name": "a", "interval": "0.123456 – 0.234567 ± 0.1", "count": 123_456_789_012}]
    text = format_table(rows, width=20)
    assert "0.123456 – 0.234567 ± 0.1" in text
    assert "123,456,789,012" in text


def test_empty_columns_need_no_room() -> None:
    rows = [{"path": "photos/a/b/c/d/e/f.jpg", "error": "", "score": 0.25}]
    assert format_table(rows, width=80).splitlines()[0].split() == ["path", "error", "score"]
    assert format_table(rows, width=26).splitlines()[0].split() == ["path", "score"]


def test_wide_characters_are_aligned() -> None:
    lines = format_table([{"label": "猫", "n": 1}, {"label": "dog", "n": 2}]).splitlines()
    assert {text_width(line) for line in lines} == {8}
    long = [{"label": "猫" * 30, "n": 1}]
    assert max(map(text_width, format_table(long, width=40).splitlines())) <= 40


def test_output_that_is_piped_keeps_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal_width() is None
    text = format_table([{"path": "a" * 300, "n": 1}])
    assert len(text.splitlines()[1]) == 303
    assert fit_text("word " * 50) == "word " * 50
    assert max(map(len, wrap_text("word " * 50).splitlines())) > 100
    monkeypatch.setattr(sys, "stdout", None)
    assert terminal_width() is None


COMMANDS = {
    "backbones": ["backbones"],
    "layers": ["backbones", "mobilenet", "--layers"],
    "compare": ["compare", "photos", "--backbone", "color_histogram", "--cv", "3", "--no-cache"],
    "rank": ["rank", "photos", "--backbone", "color_histogram", "--no-cache"],
    "check": ["check", "photos"],
    "similar": ["similar", "features.npy", "photos", "--backbone", "color_histogram", "--no-cache"],
    "duplicates": ["duplicates", "features.npy"],
    "cache": ["cache", "info", "--cache", "cache"],
}


@pytest.fixture(scope="module")
def folder(photos: list[PIL.Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    for number, image in enumerate(photos):
        kind = folder / "photos" / ("china" if number < 12 else "flower")
        kind.mkdir(parents=True, exist_ok=True)
        image.save(kind / f"a name that no narrow terminal has room for {number:02}.jpg")
    extract_images(folder / "photos", folder / "features.npy", backbone="color_histogram", cache=folder / "cache")
    return folder


@pytest.fixture(scope="module")
def terminal(folder: Path) -> Iterator[Terminal]:
    with Terminal(folder) as terminal:
        yield terminal


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_fit_the_terminal(command: str, columns: int, terminal: Terminal) -> None:
    lines = terminal.run(columns, *COMMANDS[command])
    assert [line for line in lines if text_width(line) > columns and " " in line.strip()] == []
    assert len(lines) > 3


def test_numbers_of_a_comparison_are_complete(terminal: Terminal) -> None:
    """The narrow table has the numbers of the wide one."""
    numbers = [
        sorted(re.findall(r"\d\.\d+", "\n".join(terminal.run(columns, *COMMANDS["rank"])))) for columns in (40, 200)
    ]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) >= 4
