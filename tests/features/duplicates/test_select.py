"""Which image of a group of duplicates to keep."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from featx import find_duplicates, find_images, open_features, select_duplicates
from featx.cli import main as cli
from featx.errors import ComparisonError, OptionError, SourceError
from featx.features.duplicates.select import KEEP
from featx.features.parquet.writer import write_parquet
from featx.features.table_rows import TableRow

#: Images that are duplicates of each other, by name: group, label, scale, blur.
IMAGES = {
    "a_small": (0, "cat", 0.5, 0),
    "b_large": (0, None, 1.0, 0),
    "c_blurred": (0, "cat", 1.0, 6),
    "d_alone": (1, "dog", 1.0, 0),
    "e_blurred": (2, "cat", 1.0, 6),
    "f_sharp": (2, "dog", 1.0, 0),
    "g_sharp": (2, "dog", 1.0, 0),
}


@pytest.fixture
def features(tmp_path: Path) -> Path:
    from sklearn.datasets import load_sample_images

    photo = PIL.Image.fromarray(load_sample_images().images[0]).crop((100, 100, 356, 356))
    with open(tmp_path / "f.csv", "w") as file:
        file.write("row,path,label,digest\n")
        for row, (name, (_, label, scale, blur)) in enumerate(IMAGES.items()):
            image = photo.filter(PIL.ImageFilter.GaussianBlur(blur)).resize((int(256 * scale),) * 2)
            image.save(tmp_path / f"{name}.png")
            file.write(f"{row},{tmp_path / name}.png,{label or ''},\n")
    np.save(tmp_path / "f.npy", np.eye(3, dtype=np.float32)[[group for group, *_ in IMAGES.values()]])
    return tmp_path / "f.npy"


@pytest.mark.parametrize(
    ("keep", "expected", "reasons"),
    [
        ("best", ["c_blurred", "f_sharp"], ["largest", "sharpest"]),
        ("largest", ["b_large", "f_sharp"], ["sharpest", "sharpest"]),
        ("sharpest", ["b_large", "f_sharp"], ["sharpest", "sharpest"]),
        ("labeled", ["a_small", "e_blurred"], ["labeled", "first"]),
        ("first", ["a_small", "e_blurred"], ["first", "first"]),
    ],
)
def test_rules(features: Path, keep: Any, expected: list[str], reasons: list[str]) -> None:
    matrix = open_features(features)
    selection = select_duplicates(find_duplicates(matrix), matrix, keep=keep)
    assert [list(IMAGES)[row] for row in selection.kept] == expected
    assert selection.reasons == reasons
    assert {list(IMAGES)[row] for row in selection.kept_rows} == {*expected, "d_alone"}
    assert selection.is_kept.sum() == 3
    assert sorted([*selection.kept_rows, *selection.removed_rows]) == list(range(7))
    assert selection.notes == [
        "1 group of images with different labels: look at these before you remove images, as one of the labels may be "
        "wrong."
    ]
    assert "remove 4" in repr(selection)
    assert "Keep 3 of 7 rows" in selection._repr_html_()


def test_paths_and_labels_from_python(features: Path) -> None:
    paths = [str(features.parent / f"{name}.png") for name in IMAGES]
    duplicates = find_duplicates(features)
    labels = ["x", "x", float("nan"), None, None, None, None]
    selection = select_duplicates(duplicates, paths, labels=labels)
    assert [list(IMAGES)[row] for row in selection.kept] == ["b_large", "f_sharp"]
    assert selection.notes == []
    with pytest.raises(ComparisonError, match="labels must have one value for each of the 7 rows, got 2"):
        select_duplicates(duplicates, paths, labels=["x", "y"])
    with pytest.raises(ComparisonError, match="paths must have one value for each of the 7 rows, got 6"):
        select_duplicates(duplicates, paths[1:])
    with pytest.raises(OptionError, match="keep .*must be one of 'best'.*got 'worst'"):
        select_duplicates(duplicates, paths, keep="worst")  # type: ignore[arg-type]


def test_unreadable_images_are_kept_only_if_all_are(features: Path) -> None:
    matrix = open_features(features)
    (features.parent / "b_large.png").unlink()
    selection = select_duplicates(find_duplicates(matrix), matrix, keep="largest")
    assert [list(IMAGES)[row] for row in selection.kept] == ["c_blurred", "f_sharp"]
    assert selection.notes[-1] == "1 image of these groups cannot be read now."
    for name in IMAGES:
        (features.parent / f"{name}.png").unlink(missing_ok=True)
    selection = select_duplicates(find_duplicates(matrix), matrix, keep="largest")
    assert selection.kept == [0, 4]


def test_lists_have_no_secrets(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, listed = features.with_suffix(".csv"), features.parent / "unique.csv"
    urls = [f"https://host.invalid/{name}.png?token=abcdef123" for name in IMAGES]
    lines = [f"{row},{url},,{row:032x}" for row, url in enumerate(urls)]
    table.write_text("\n".join(["row,path,label,digest", *lines, ""]))
    assert cli.main(["duplicates", str(features), "--keep", "first", "--list", str(listed)]) == 0
    assert "The list has 3 URLs without signatures or passwords, which are not written" in capsys.readouterr().err
    assert "abcdef123" not in listed.read_text()
    with pytest.raises(SourceError, match="has URLs without their signatures or passwords, such as 'https://host.inv"):
        find_images(listed)


def test_command(features: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, decided = features.parent / "unique.csv", features.parent / "decided.csv"
    command = ["duplicates", str(features), "--keep", "best", "--list", str(listed), "--csv", str(decided), "--quiet"]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    assert "Keep 3 of 7 rows, remove 4. Number of groups by what decided: largest 1, sharpest 1." in text
    assert "keep " in text.splitlines()[2]
    assert text.rstrip().endswith("wrong.")
    table = find_images(listed)
    assert [Path(path).stem for path in table.paths] == ["c_blurred", "d_alone", "f_sharp"]
    assert list(table.labels) == ["cat", "dog", "dog"]
    with open(decided) as file:
        decisions = {Path(line["path"]).stem: line["decision"] for line in csv.DictReader(file)}
    assert [name for name, decision in decisions.items() if decision == "keep"] == ["c_blurred", "f_sharp"]
    assert len(decisions) == 6
    assert cli.main([*command, "--json"]) == 0  # files of featx are replaced
    result = json.loads(capsys.readouterr().out)
    assert [Path(path).stem for path in result["remove"]] == ["a_small", "b_large", "e_blurred", "g_sharp"]
    assert result["reasons"] == ["largest", "sharpest"]
    assert cli.main(["duplicates", str(features), "--list", str(listed)]) == 2
    assert "--list needs --keep" in capsys.readouterr().err
    assert cli.main(["duplicates", str(features), "--keep", "worst"]) == 2
    assert all(rule in capsys.readouterr().err for rule in KEEP[:1])


def test_arrays_in_files_and_the_range_of_the_recipe(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    for name, pixels in (("flat", np.full_like(noise, 4000)), ("sharp", noise)):
        PIL.Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    arrays = np.stack([np.full((64, 64), 128), noise // 16]).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=arrays)
    duplicates = find_duplicates(np.ones((2, 3)))
    selection = select_duplicates(duplicates, [f"{tmp_path}/a.npz#x/{row}" for row in range(2)], keep="sharpest")
    assert (selection.kept, selection.reasons) == ([1], ["sharpest"])
    rows = np.ones((2, 3), dtype=np.float32)
    # Outside the range of the recipe, all pixels are white.
    lines = [TableRow(str(tmp_path / name), None, f"{row:032x}") for row, name in enumerate(("flat.png", "sharp.png"))]
    for window, reason in (("0:4095", "sharpest"), ("-2:-1", "first")):
        record = {"recipe": {"backbone": "mobilenet", "window": window}}
        write_parquet(tmp_path / "f.parquet", lambda *part: rows[slice(*part)], (2, 3), lambda: lines, record)
        matrix = open_features(tmp_path / "f.parquet")
        assert select_duplicates(duplicates, matrix, keep="sharpest").reasons == [reason]
