"""featx extract."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from featx.cli import main as cli
from featx.testing import CountingBackbone

SUMMARY = [
    "rows",
    "features",
    "computed",
    "cached",
    "failed",
    "padded",
    "seconds",
    "images_per_second",
    "backbone",
    "precision",
    "engine",
    "fingerprint",
    "output",
    "notes",
]


def test_extract_prints_summary(
    photo_folder: Path, in_folder: Path, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["extract", str(photo_folder), "--backbone", "counting", "-o", "f.npy"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("24 rows of 12 features in f.npy; paths and labels in f.csv\n24 computed, 0 cached or equal")
    assert "images/s" in err
    assert counting.n_images == 24


@pytest.mark.usefixtures("counting")
def test_extract_prints_json(photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photo_folder / "china" / "00.jpg").write_bytes(b"")
    args = ["extract", str(photo_folder), "--backbone", "counting", "--json", "--quiet", "--cache", "my-cache"]
    for computed, cached in ((23, 0), (0, 23)):
        assert cli.main(args) == 0
        out, err = capsys.readouterr()
        summary = json.loads(out)
        assert list(summary) == SUMMARY
        assert (summary["rows"], summary["computed"], summary["cached"], summary["failed"]) == (23, computed, cached, 1)
        assert err == ""
    assert (in_folder / "my-cache" / "features" / summary["fingerprint"]).is_dir()
    assert np.load("features.npy").shape == (23, 12)


def test_extract_options_reach_recipe(photo_folder: Path, in_folder: Path, counting: CountingBackbone) -> None:
    args = ["extract", str(photo_folder), "--backbone", "counting", "--quiet", "--cache", "c"]
    options = ["--image-size", "48", "--resize", "crop", "--pooling", "max", "--batch-size", "5"]
    assert cli.main([*args, *options, "--precision", "float32", "--engine", "auto"]) == 0
    (description,) = (in_folder / "c").glob("features/*/recipe.json")
    recipe = json.loads(description.read_text())["recipe"]
    assert recipe["image_size"] == [48, 48]
    assert (recipe["resize"], recipe["pooling"], recipe["precision"]) == ("crop", "max", "float32")


@pytest.mark.usefixtures("in_folder")
def test_no_cache(photo_folder: Path, counting: CountingBackbone) -> None:
    args = ["extract", str(photo_folder), "--backbone", "counting", "--quiet", "--no-cache"]
    assert cli.main(args) == cli.main(args) == 0
    assert counting.n_images == 48
    assert sorted(os.listdir()) == ["features.csv", "features.npy"]


@pytest.mark.usefixtures("in_folder", "counting")
def test_on_error_raise(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photo_folder / "china" / "05.jpg").write_bytes(b"")
    for command in ("extract", "compare", "rank"):
        args = [command, str(photo_folder), "--backbone", "counting", "--on-error", "raise", "--quiet"]
        assert cli.main(args) == 1
        assert "05.jpg' (index 5): " in capsys.readouterr().err
    assert os.listdir() == []


@pytest.mark.usefixtures("counting")
def test_extract_from_table(in_folder: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{path.relative_to(photo_folder)},{path.parent.name}" for path in sorted(photo_folder.glob("*/*.jpg"))]
    (photo_folder / "table.csv").write_text("\n".join(["bild,art", *lines]))
    table = str(photo_folder / "table.csv")
    columns = ["--path-column", "bild", "--label-column", "art"]
    assert cli.main(["extract", table, *columns, "--backbone", "counting", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 24
    with open("features.csv") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["china"] * 12 + ["flower"] * 12
