"""Texts in workflows: searches by text, and zero-shot classification beside trained estimators."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from featx import (
    FeatureExtractor,
    compare_baselines,
    compare_features,
    compare_images,
    extract_images,
    find_images,
    similar_images,
)
from featx.cli import main as cli
from featx.errors import OptionError
from tests.color_words import ColorWords, save_colors
from tests.conftest import Register
from tests.jobs.job_samples import make_job

OPTIONS: dict[str, Any] = {"cv": 2, "duplicate_groups": False, "diagnostics": False, "cache": "c"}
pytestmark = pytest.mark.usefixtures("words", "in_folder")


@pytest.fixture
def words(register: Register) -> ColorWords:
    return register(ColorWords())


@pytest.fixture
def folder(in_folder: Path) -> Path:
    return save_colors(in_folder / "colors")


def run(*args: str) -> int:
    return cli.main([*args, "--cache", "c"])


def test_similar_finds_images_by_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("extract", "colors", "--backbone", "color_words", "--quiet") == 0
    capsys.readouterr()
    texts = ["--text", "a red car", "--text", "something blue"]
    assert run("similar", "features.npy", *texts, "--top", "2", "--html", "page.html") == 0
    captured = capsys.readouterr()
    assert re.findall(r"^(a red car|something blue) +\d  colors/(\w+)/", captured.out, re.MULTILINE) == [
        *[("a red car", "red")] * 2,
        *[("something blue", "blue")] * 2,
    ]
    assert "2 query texts." in captured.err
    page = Path("page.html").read_text()
    assert "2 query texts, 18 indexed rows" in page
    assert ">a red car</b>" in page
    assert run("similar", "features.npy", "colors/lime/0.png", "--text", "<b>lime</b>", "--json", "--quiet") == 0
    of_text, of_image = map(json.loads, capsys.readouterr().out.splitlines())
    assert of_text["text"] == "<b>lime</b>"
    assert of_image["path"] == "colors/lime/0.png"
    assert not any(match["identical"] for match in of_text["matches"])
    assert run("similar", "features.npy", "--text", "=red", "-o", "found.csv", "--quiet") == 0
    rows = list(csv.DictReader(io.StringIO(Path("found.csv").read_text())))
    assert rows[0]["path"].startswith("'=")  # not a formula


def test_similar_images_takes_texts(folder: Path) -> None:
    extract_images(folder, "features.npy", backbone="color_words", cache="c")
    both = similar_images("features.npy", [folder / "lime" / "0.png"], text="a red car", top=1, cache="c")
    assert [match.matches[0].label for match in both] == ["red", "lime"]
    assert [match.is_text for match in both] == [True, False]
    assert not similar_images("features.npy", [], cache="c").results
    with pytest.raises(OptionError, match=r"images or text \(--text\) is required"):
        similar_images("features.npy", cache="c")


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        (
            "color_histogram",
            ["--text", "red"],
            "text query needs a backbone with a text tower, got 'color_histogram'",
        ),
        ("color_words", ["--text", " "], "A text must be a non-empty str"),
        ("color_words", [], "IMAGES or --text is required: there is no query"),
    ],
)
def test_bad_text_queries_are_one_line(
    backbone: str, options: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("extract", "colors", "--backbone", backbone, "--quiet") == 0
    capsys.readouterr()
    assert run("similar", "features.npy", *options, "--quiet") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_zero_shot_is_compared_beside_trained_estimators(folder: Path, words: ColorWords) -> None:
    Path("prompts.txt").write_text("{}\na {} thing\n")
    comparison = compare_images(
        find_images(folder),
        backbones=["color_words", "color_histogram"],
        estimators=["zero-shot", "logreg"],
        prompts=Path("prompts.txt"),
        **OPTIONS,
    )
    rows = comparison.table[["backbone", "estimator", "accuracy_mean"]].to_numpy().tolist()
    assert ["color_words", "zero-shot", 1.0] in rows
    assert len(rows) == 3
    assert any("zero-shot compares images with texts such as 'blue'" in note for note in comparison.notes)
    assert any("zero-shot was not compared on color_histogram" in note for note in comparison.notes)
    assert sorted(words.computed) == ["a blue thing", "a lime thing", "a red thing", "blue", "lime", "red"]


def test_compare_command_takes_prompts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("prompts.csv").write_text("label,prompt\nred,lime\nlime,red\nblue,blue\n")
    options = ["--backbone", "color_words", "--estimator", "zero-shot", "--prompts", "prompts.csv"]
    assert run("compare", "colors", *options, "--cv", "2", "--no-duplicate-groups", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["accuracy_mean"] == pytest.approx(1 / 3)  # two texts are exchanged


def test_zero_shot_on_a_job(folder: Path) -> None:
    paths = sorted(map(str, folder.glob("*/*.png")))
    extractor = FeatureExtractor("color_words", cache=None).fit(paths)
    make_job(
        Path("job"),
        extractor.transform(paths),
        paths=paths,
        labels=[Path(path).parent.name for path in paths],
        recipe=extractor.recipe_,
        options={"backbone": "color_words"},
    )
    options: dict[str, Any] = {
        "estimators": ["dummy", "zero-shot"],
        "cv": 2,
        "diagnostics": False,
        "duplicate_groups": False,
    }
    of_job = compare_features("job", **options, cache="c")
    of_images = compare_images(find_images(folder), backbones=["color_words"], **options, cache="c")
    assert of_job.table["accuracy_mean"].tolist() == of_images.table["accuracy_mean"].tolist()
    assert of_job.best == "zero-shot"
    extract_images(folder, "features.npy", backbone="color_words", cache="c")
    with pytest.raises(OptionError, match="zero-shot needs to know the backbone, which 'features.npy' does not record"):
        compare_features("features.npy", **options)


def test_zero_shot_model_predicts_without_texts(
    folder: Path, words: ColorWords, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("prompts.txt").write_text("a {} thing")
    options = ["--estimator", "zero-shot", "--prompts", "prompts.txt", "--cv", "2", "--no-duplicate-groups"]
    assert run("train", "colors", "--backbone", "color_words", *options) == 0
    assert "a red thing" in words.computed
    words.computed.clear()
    capsys.readouterr()
    assert run("predict", "model.skops", "colors/red/0.png", "--quiet") == 0
    assert "colors/red/0.png,red," in capsys.readouterr().out
    assert words.computed == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"backbones": ["color_histogram"], "estimators": ["zero-shot"]},
            "zero-shot needs a backbone with a text tower",
        ),
        ({"backbones": ["color_words"], "estimators": ["knn"], "prompts": "{}"}, "requires the estimator 'zero-shot'"),
        ({"backbones": ["color_words"], "estimators": ["zero-shot"], "prompts": {"red": "red"}}, "got none for 'blue'"),
    ],
)
def test_bad_zero_shot_comparisons_are_one_line(options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(OptionError, match=message):
        compare_images(find_images(folder), **options, cache="c")


def test_zero_shot_by_name_needs_a_backbone() -> None:
    with pytest.raises(OptionError, match=r"Pass featx.ZeroShotClassifier\(backbone\)"):
        compare_baselines([[0.0], [1.0]] * 5, ["a", "b"] * 5, estimators=["zero-shot"], cv=2)
