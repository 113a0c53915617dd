"""Data sets in several files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from featx import find_images
from featx.datasets.tables.shards import expand_sources
from featx.errors import SourceError, SourceNotFoundError
from tests.datasets.tables.test_tables_with_images import CODES, IMAGES, hugging_face

parquet = pytest.importorskip("pyarrow.parquet")


def test_folders_of_splits(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        parquet.write_table(hugging_face(IMAGES[:2], CODES[:2]), tmp_path / name / "0000.parquet")
    table = find_images(tmp_path)
    assert table.splits is not None
    assert set(table.splits) == {"train", "test"}
    assert any("Files are splits by their names" in note for note in table.notes)
    (tmp_path / "test" / "a.jpg").write_bytes(b"")
    assert find_images(tmp_path).paths == [str(tmp_path / "test" / "a.jpg")]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_of_splits(name: str, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for number, image in enumerate(IMAGES[:2]):
            (tmp_path / part / f"{number}.png").write_bytes(image)
        rows = [("0.png", "cat"), ("1.png", "dog")]
        csv = "file_name,label\n" + "".join(f"{path},{label}\n" for path, label in rows)
        jsonl = "".join(json.dumps({"file_name": path, "label": label}) + "\n" for path, label in rows)
        (tmp_path / part / name).write_text(csv if name.endswith("csv") else jsonl)
    table = find_images(tmp_path)
    assert Counter(zip(table.labels, table.splits or [], strict=True)) == {
        (label, split): 1 for label in ("cat", "dog") for split in ("train", "test")
    }
    assert str(tmp_path / "train" / "0.png") in table.paths
    assert "Files are splits by their names" in table.notes[0]
    (tmp_path / "test" / name).unlink()
    assert "pass a table of paths and labels" in (reason := find_images(tmp_path).no_labels_reason)
    assert "(there are tables in 'train')" in reason


def write_shards(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [
        folder / f"{name}.parquet" for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")
    ]
    for path, rows in zip(paths, (slice(0, 8), slice(8, 15), slice(15, 20)), strict=True):
        parquet.write_table(hugging_face(IMAGES[rows], CODES[rows]), path)
    return paths


@pytest.mark.parametrize("place", [".", "data"])
def test_folder_of_parquet_files(place: str, tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "set" / place)
    (tmp_path / "set" / "README.md").write_text("A data set")
    for source in (tmp_path / "set", paths):
        images = find_images(source)
        assert sorted(images.labels) == ["cat"] * 10 + ["dog"] * 10
        assert (images.splits or []).count("test") == 5
        assert "splits by their names" in images.notes[0]
        assert f"{paths[1]}#6" in images.paths


def test_pattern_of_parquet_files(tmp_path: Path) -> None:
    write_shards(tmp_path / "set")
    assert len(find_images(tmp_path / "set" / "train-{00000..00001}-of-00002.parquet")) == 15


def test_features_beside_images_are_not_the_source(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(IMAGES[0])
    parquet.write_table(hugging_face(), tmp_path / "features.parquet")
    assert find_images(tmp_path).labels == ["cat"]


def test_patterns() -> None:
    assert expand_sources(["{0..1}/{8..9}.tar"]) == ["0/8.tar", "0/9.tar", "1/8.tar", "1/9.tar"]
    with pytest.raises(SourceError, match="smaller number first"):
        expand_sources(["{9..0}.tar"])
    with pytest.raises(SourceNotFoundError, match=r"x-0\.tar"):
        find_images("x-{0..1}.tar")


def test_other_tables_must_be_alone(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("path\n1.jpg\n")
    with pytest.raises(SourceError, match="A table must be the only source, got 2 sources"):
        find_images([tmp_path / "a.csv", tmp_path / "b.csv"])
