"""featx compare and featx rank."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from featx.cli import main as cli
from featx.cli.commands import compare
from featx.cli.parser import make_parser
from featx.testing import CountingBackbone


@pytest.mark.usefixtures("in_folder", "counting")
def test_compare_prints_table(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["compare", str(photo_folder), "--backbone", "counting", "--cv", "3", "--csv", "scores.csv"]
    assert cli.main([*args, "--estimator", "knn", "--estimator", "dummy"]) == 0
    out, err = capsys.readouterr()
    assert "24 images, 2 classes" in out
    assert "* best: " in out
    assert "compare counting, dummy: 100%" in err
    with open("scores.csv", newline="") as file:
        assert [row["estimator"] for row in csv.DictReader(file)] == ["knn", "dummy"]


@pytest.mark.usefixtures("in_folder", "counting")
def test_compare_prints_json(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(photo_folder), "--backbone", "counting", "--cv", "3", "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert (compared["rows"], compared["classes"], compared["features"]) == (24, 2, 12)
    assert set(compared["best"]) == {"backbone", "layer", "pooling", "estimator"}
    assert compared["task"] == "classification"
    assert "NaN" not in json.dumps(compared)
    expected = {"backbone", "estimator"} | {
        f"{score}_{stat}" for score in ("accuracy", "f1_macro") for stat in ("mean", "std")
    }
    assert all(expected | {"fit_seconds", "predict_seconds"} <= set(result) for result in compared["results"])
    assert [result["estimator"] for result in compared["results"]] == ["dummy", "logreg", "svm", "knn"]


@pytest.mark.usefixtures("in_folder")
def test_rank_prints_table_and_uses_cache(
    photo_folder: Path, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    poolings = ["--pooling", "avg", "--pooling", "max"]
    args = [
        "rank",
        str(photo_folder),
        "--backbone",
        "counting",
        *poolings,
        "--duplicate-threshold",
        "1",
        "--csv",
        "ranks.csv",
    ]
    for _ in range(2):
        assert cli.main(args) == 0
        out, err = capsys.readouterr()
        assert out.startswith("24 images, 2 classes; ")
        assert "* best: counting " in out
        assert "rank: 100%" in err
        assert counting.n_images == 48
    with open("ranks.csv", newline="") as file:
        assert sorted(row["pooling"] for row in csv.DictReader(file)) == ["avg", "max"]


@pytest.mark.usefixtures("in_folder", "counting")
def test_rank_prints_json(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photo_folder / "china" / "05.jpg").write_bytes(b"")
    args = ["rank", str(photo_folder), "--backbone", "counting", "--duplicate-threshold", "1", "--json", "--quiet"]
    assert cli.main(args) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert (found["rows"], found["classes"], found["failed"], found["computed"]) == (23, 2, 1, 23)
    criteria = {"loo_ridge", "logme", "loo_knn", "h_score"}
    assert criteria | {f"{name}_rank" for name in criteria} | {"backbone", "layer", "pooling"} <= set(found["best"])
    assert found["ranking"] == [found["best"]]


@pytest.mark.usefixtures("in_folder", "counting")
def test_compare_reports_skipped_files_and_uses_random_state(
    photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo_folder / "china" / "05.jpg").write_bytes(b"")
    (photo_folder / "stray.png").write_bytes(b"")
    (photo_folder / "notes.txt").write_bytes(b"")
    tables = []
    for state in ("0", "1", "1"):
        args = ["compare", str(photo_folder), "--backbone", "counting", "--cv", "4", "--json", "--random-state", state]
        assert cli.main(args) == 0
        out, err = capsys.readouterr()
        tables.append([result["accuracy_mean"] for result in json.loads(out)["results"]])
    assert tables[0] != tables[1] == tables[2]
    notes = json.loads(out)["notes"]
    assert any(note.startswith("1 unreadable image excluded: ") for note in notes)
    assert any(note.startswith("1 image without a label excluded: ") for note in notes)
    assert "1 file skipped, not images by their names: 1 .txt." in err


@pytest.mark.usefixtures("counting")
def test_compare_tables_test_sets_poolings_and_outputs(
    in_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        f"{path},{path.parent.name},{'test' if number % 4 == 0 else 'train'},{number // 2}"
        for number, path in enumerate(sorted(photo_folder.glob("*/*.jpg")))
    ]
    (in_folder / "table.csv").write_text("\n".join(["path,label,part,site", *lines]))
    common = ["--backbone", "counting", "--duplicate-threshold", "1", "--json", "--quiet"]
    assert cli.main(["compare", "table.csv", "--split-column", "part", *common]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["split"] == "18 training, 6 test samples"
    assert report["results"][0]["accuracy_std"] is None
    assert cli.main(["compare", "table.csv", "--group-column", "site", "--cv", "3", "--repeats", "2", *common]) == 0
    assert json.loads(capsys.readouterr().out)["split"] == "3 stratified folds, 2 repeats"
    assert cli.main(["compare", str(photo_folder), "--test", "table.csv", *common]) == 1
    assert "All training images are also test images" in capsys.readouterr().err
    args = ["--pooling", "avg", "--pooling", "max", "--diagnostics", "--tune", "--estimator", "knn"]
    assert cli.main(["compare", "table.csv", "--cv", "3", *args, *common]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["pooling"] for row in report["results"]] == ["avg", "max"]
    assert report["learning_curve"][0]["n_per_class"] == 1
    assert report["results"][0]["best_params"].startswith("n_neighbors=")
    files = ["--csv", "scores.csv", "--label-issues", "labels.csv"]
    assert cli.main(["compare", "table.csv", "--cv", "3", *files, *common]) == 0
    with open("labels.csv") as file:
        assert next(csv.reader(file)) == [
            "path",
            "given",
            "suggested",
            "confidence",
            "probability_of_given",
        ]


def test_no_label_errors(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for number in range(16):
        label, low = (("dark", 0), ("light", 150))[number % 2]
        pixels = rng.integers(low, low + 100, (8, 8, 3), dtype=np.uint8)
        (in_folder / "photos" / label).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(in_folder / "photos" / label / f"{number}.png")
    args = ["compare", "photos", "--backbone", "color_histogram", "--image-size", "8", "--estimator", "logreg"]
    assert cli.main([*args, "--cv", "2", "--label-issues", "issues.csv"]) == 0
    assert "No likely label errors were found; issues.csv has only a header.\n" in capsys.readouterr().err
    assert (in_folder / "issues.csv").read_text() == "path,given,suggested,confidence,probability_of_given\n"


def test_options_do_not_apply_to_color_histogram() -> None:
    command = "rank photos --backbone mobilenet --backbone color_histogram --layer 0.5 --layer -1 --pooling max"
    options = compare._all_options(make_parser().parse_args(command.split()))
    assert [(item.backbone, item.layer, item.pooling) for item in options] == [
        ("mobilenet", "0.5", "max"),
        ("mobilenet", "-1", "max"),
        ("color_histogram", None, "native"),
    ]


@pytest.mark.usefixtures("in_folder", "counting")
def test_no_duplicate_groups(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Duplicates are still reported, with a warning instead of the scores without groups."""
    shutil.copy(photo_folder / "china" / "00.jpg", photo_folder / "china" / "copy.jpg")
    args = ["compare", str(photo_folder), "--backbone", "counting", "--estimator", "knn", "--cv", "3", "--json"]
    results = []
    for option in ([], ["--no-duplicate-groups"]):
        assert cli.main([*args, "--quiet", *option]) == 0
        results.append(json.loads(capsys.readouterr().out))
    grouped, split = results
    assert grouped["duplicates"]["identical_files"] == split["duplicates"]["identical_files"] == 1
    assert grouped["duplicates"]["ungrouped_scores"]
    assert split["duplicates"]["ungrouped_scores"] is None
    assert any("duplicate_groups=False" in warning for warning in split["notes"])
