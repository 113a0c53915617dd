"""Splits, groups and types of labels that are stored with features: the comparison is that of the images."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featx import (
    ImageTable,
    compare_features,
    compare_images,
    extract_images,
    find_images,
    merge_job,
    open_features,
    plan_job,
    rank_images,
    run_job,
    similar_images,
)
from featx.cli import main as cli
from featx.datasets.tags import Tags
from featx.errors import OutputError, SourceError
from featx.features.matrix import FeatureMatrix
from featx.system.files.local_folder import LocalFolder

pytestmark = pytest.mark.usefixtures("in_this_process")

OPTIONS: dict[str, Any] = {"backbone": "color_histogram", "cache": None}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run jobs without worker processes, whose start takes seconds."""
    monkeypatch.setattr(LocalFolder, "is_shared", False)


@pytest.fixture
def images(in_folder: Path) -> list[str]:
    """24 images of noise in the working directory."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = Path("im", f"{number:02}.png")
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    return [f"im/{number:02}.png" for number in range(24)]


def split_and_group(number: int, path: str) -> dict[str, Any]:
    group = f"P{number // 3}" if number % 7 else ""
    return {"path": path, "label": "ab"[number % 2], "part": ["train", "val", "test"][number % 3], "patient": group}


def tags(number: int, path: str) -> dict[str, Any]:
    return {"path": path, "label": ["red", "red,blue", "", "blue"][number % 4]}


SOURCES = {
    "splits and groups": (split_and_group, {"split_column": "part", "group_column": "patient"}, "a"),
    "tags": (tags, {"label_separator": ","}, Tags(["red"])),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_stored_features_keep_what_the_source_defines(images: list[str], kind: str) -> None:
    line, options, label = SOURCES[kind]
    with open("source.csv", "w", newline="") as file:
        rows = [line(number, path) for number, path in enumerate(images)]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = find_images("source.csv", **options)
    assert table.labels[0] == label
    extract_images("source.csv", "f.npy", **OPTIONS, **options)
    extract_images("source.csv", "f.parquet", **OPTIONS, **options)
    plan_job("source.csv", "job", shard_size=7, sample=0, **OPTIONS, **options)
    run_job("job", cache=None)
    merge_job("job", "m.npy")
    merge_job("job", "m.parquet")
    open_features("job").to_parquet("t.parquet")
    assert Path("m.csv").read_bytes() == Path("f.csv").read_bytes()
    for name in ("f.npy", "f.parquet", "job", "m.parquet", "t.parquet"):
        features = open_features(name)
        assert columns_of(features) == (table.paths, list(table.labels), table.splits, table.groups), name
    assert cli.main(["duplicates", "job", "--keep", "first", "--list", "list.csv", "--duplicate-threshold", "1"]) == 0
    train = pd.read_csv("list.csv")[:1]
    assert find_images(train).splits == (None if table.splits is None else ["train"])  # no test image is left
    for listed in ("list.csv", "f.csv", "f.parquet", pd.read_csv("list.csv")):
        found = find_images(listed)
        assert (found.paths, found.labels, found.splits, found.groups) == columns_of(open_features("job"))
    if kind != "splits and groups":
        return
    compared = compare_images(table, backbones=["color_histogram"], estimators=["dummy"], diagnostics=False, cache=None)
    stored = compare_features("f.npy", estimators=["dummy"], diagnostics=False)
    assert folds(stored) == folds(compared)
    assert set(compared.notes) <= set(stored.notes)
    assert "The splits and groups of images are those with which the features were extracted." in stored.notes


def columns_of(
    features: FeatureMatrix,
) -> tuple[list[str], list[Any], list[str | None] | None, list[str | None] | None]:
    splits, groups = features.splits, features.groups
    parts = [None if column is None else column[:].tolist() for column in (splits, groups)]
    return features.paths[:].tolist(), features.labels[:].tolist(), parts[0], parts[1]


def folds(comparison: Any) -> list[Any]:
    return [(train.tolist(), test.tolist()) for train, test in comparison.backbones[0].comparison.split.folds]


def test_folders_named_by_numbers_stay_classes(images: list[str]) -> None:
    table = ImageTable(images, [str(101 + number // 3) for number in range(24)])
    extract_images(table, "f.npy", **OPTIONS)
    assert Path("f.csv").read_text().splitlines()[:2] == [
        "row,path,label,digest,label_type",
        f"0,im/00.png,101,{open_features('f.npy').digests[0]},str",
    ]
    assert open_features("f.npy").labels[:3].tolist() == ["101"] * 3
    assert find_images("f.csv").labels[:3] == ["101"] * 3
    # Without such labels the table is as short as before.
    extract_images(ImageTable(images, ["a", "b"] * 12), "f.npy", **OPTIONS)
    assert Path("f.csv").read_text().startswith("row,path,label,digest\n")


def test_labels_that_look_like_formulas_stay_as_they_are(images: list[str]) -> None:
    extract_images(ImageTable(images, ["=a", "+b"] * 12), "f.npy", **OPTIONS)
    assert Path("f.csv").read_text().splitlines()[1].endswith(",str")
    for labels in (open_features("f.npy").labels[:2].tolist(), find_images("f.csv").labels[:2]):
        assert labels == ["=a", "+b"]
    assert find_images(pd.read_csv("f.csv")).labels[:2] == ["=a", "+b"]


def test_folders_of_splits_and_folds_are_kept(images: list[str]) -> None:
    for number, path in enumerate(images):
        for top in (f"split/{('train', 'test')[number % 2]}", f"folds/fold{number % 3}"):
            target = Path(top, "ab"[number // 12], f"{number:02}.png")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
    for source, columns in (("split", ("split",)), ("folds", ("group",))):
        plan_job(source, f"{source}-job", sample=0, **OPTIONS)
        run_job(f"{source}-job", cache=None)
        features = open_features(f"{source}-job")
        assert features.part_columns == columns
        table = find_images(source)
        assert columns_of(features)[2:] == (table.splits, table.groups)


def test_tags_that_text_cannot_separate_need_parquet(images: list[str]) -> None:
    table = ImageTable(images[:2], [Tags(["a;b", "c"]), Tags([])])
    with pytest.raises(OutputError, match=r"'a;b' to a table that is text.*-o features.parquet"):
        extract_images(table, "f.npy", **OPTIONS)
    extract_images(table, "f.parquet", **OPTIONS)
    assert open_features("f.parquet").labels[:].tolist() == table.labels
    (result,) = similar_images("f.parquet", images[:1], include_self=True, cache=None)
    assert [match["label"] for match in json.loads(result.as_json())["matches"]] == [["a;b", "c"], []]
    assert pq.read_table("f.parquet")["label"].to_pylist() == [["a;b", "c"], []]


def test_joined_lists_with_several_types_of_labels_are_refused(images: list[str]) -> None:
    Path("list.csv").write_text(f"path,label,label_type\n{images[0]},1,str\n{images[1]},2,int\n")
    with pytest.raises(SourceError, match="several types in the column 'label_type': 'str' and 'int'"):
        find_images("list.csv")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".feather"])
def test_lists_of_text_are_tags(images: list[str], suffix: str) -> None:
    lists = [["a", "b"], ["b"], [], None]
    records = [{"path": path, "label": label} for path, label in zip(images, lists, strict=False)]
    table = pa.Table.from_pylist(records)
    expected = [Tags(["a", "b"]), Tags(["b"]), Tags([]), None]
    if suffix == ".jsonl":
        Path("t.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    elif suffix == ".parquet":
        pq.write_table(table, "t.parquet")
    else:
        pa.feather.write_feather(table, "t.feather")
    found = find_images(f"t{suffix}")
    assert found.labels == expected
    assert found.notes == ("1 image without tags: none of the tags is taken to apply to them.",)
    for frame in (table, table.to_pandas(), pd.DataFrame(records)):
        assert find_images(frame).labels == expected
    assert "3 distinct labels" in repr(found)


def test_lists_beside_single_labels_are_an_error(images: list[str]) -> None:
    Path("t.jsonl").write_text(f'{{"path": "{images[0]}", "label": ["a"]}}\n{{"path": "{images[1]}", "label": "a"}}\n')
    with pytest.raises(SourceError, match="mix lists of tags and single labels"):
        find_images("t.jsonl")
    Path("t.jsonl").write_text(f'{{"path": "{images[0]}", "label": [0.5]}}\n')
    with pytest.raises(SourceError, match="must have text or integers, got 0.5"):
        find_images("t.jsonl")


def test_commands_that_need_no_labels_take_options_of_tags(
    images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{path},{number % 2},{number // 2 % 2}" for number, path in enumerate(images)]
    Path("t.csv").write_text("\n".join(["path,red,blue", *lines]))
    columns = ["--label-column", "red", "--label-column", "blue", "--quiet"]
    assert cli.main(["check", "t.csv", *columns]) == 0
    options = [*columns, "--backbone", "color_histogram", "--no-cache"]
    assert cli.main(["extract", "t.csv", *options, "-o", "f.npy"]) == 0
    assert cli.main(["job", "plan", "t.csv", *options, "-o", "job", "--sample", "0"]) == 0
    assert cli.main(["extract", "t.csv", *options, "-o", "job/"]) == 0  # the same job, which is resumed
    for name in ("f.npy", "job"):
        assert open_features(name).labels[:3].tolist() == [Tags([]), Tags(["red"]), Tags(["blue"])]


def test_features_are_a_source_of_their_images(
    images: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    labels = ["a", "b"] * 12
    with open("t.csv", "w") as file:
        file.write("path,label,patient\n")
        file.writelines(
            f"{path},{label},{number // 4}\n" for number, (path, label) in enumerate(zip(images, labels, strict=True))
        )
    plan_job("t.csv", "job", sample=0, group_column="patient", **OPTIONS)
    run_job("job", cache=None)
    (tmp_path / "elsewhere").mkdir()
    source = str(Path("job").absolute())
    monkeypatch.chdir(tmp_path / "elsewhere")  # the paths of a job start where it was planned
    options = {"backbones": ["color_histogram"], "duplicate_groups": False, "cache": None}
    ranking = rank_images(open_features(source), **options)
    direct = rank_images(
        [str(Path(open_features(source).folder or ".", path)) for path in images],
        labels,
        groups=[number // 4 for number in range(24)],
        **options,
    )
    assert ranking.table.drop(columns="name").equals(direct.table.drop(columns="name"))
    assert "The groups of images are those with which the features were extracted." in ranking.notes
    command = ["duplicates", source, "--keep", "first", "--list", "list.csv", "--duplicate-threshold", "1", "--quiet"]
    assert cli.main(command) == 0
    assert all(map(os.path.exists, find_images("list.csv").paths))
    assert cli.main(["rank", source, "--backbone", "color_histogram", "--no-cache", "--quiet"]) == 0
