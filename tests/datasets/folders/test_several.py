"""Several sources: classes, folds, or parts of a split."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from featx import find_images
from tests.datasets.helpers import make_files


def make_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


@pytest.mark.parametrize(
    ("names", "labels", "note"),
    [
        ("cat/1.jpg dog/1.jpg", ["cat", "dog"], ""),
        (
            "cat/2019/1.jpg cat/2020/1.jpg dog/1.jpg",
            ["cat", "cat", "dog"],
            "Each source is a class by its name. The sub",
        ),
        ("cat/2019/1.jpg dog/2019/1.jpg", ["2019", "2019"], "with class_level=1 (--class-level 1)"),
        ("1/1.jpg 2/1.jpg 10/1.jpg", ["1", "10", "2"], ""),
        ("fold1/cat/1.jpg fold2/dog/1.jpg", ["cat", "dog"], "images of one fold are never split"),
        ("a/train/cat/1.jpg a/test/cat/1.jpg b/dog/1.jpg", ["cat", "cat", "dog"], "the split of 'a' is not used"),
    ],
)
def test_folders_of_one_folder(
    names: str, labels: list[str], note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_files(tmp_path, *names.split()))
    sources = sorted({name.split("/")[0] for name in names.split()})
    table = find_images(sources)
    assert (table.labels, table.splits) == (labels, None)
    assert table.groups == (["fold1", "fold2"] if "fold1" in sources else None)
    assert note in " ".join(table.notes)
    assert bool(note) == bool(table.notes)
    if "--class-level" in note:
        assert find_images(tmp_path, class_level=1).labels == sources
    if "split" in note and "fold" not in note:
        assert find_images("a").splits == ["test", "train"]


def test_folders_of_different_folders(tmp_path: Path) -> None:
    make_files(tmp_path, "land/sea/1.jpg", "land/town/1.jpg", "more/beach/1.jpg")
    table = find_images([tmp_path / "land", tmp_path / "more" / "beach"])
    assert table.labels == ["sea", "town", "beach"]
    assert table.notes == (
        "Sources without subfolders are classes: 'beach'. The classes of the others are their subfolders.",
    )


@pytest.mark.parametrize("names", ["HAM_part_1 HAM_part_2", "fold1 fold2", "train1 train2", "train2017 val2017"])
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_flat_parts_are_no_classes(names: str, suffix: str, tmp_path: Path) -> None:
    sources = [tmp_path / f"{name}{suffix}" for name in names.split()]
    for source in sources:
        make_zip(source, "1.jpg") if suffix else make_files(source, "1.jpg")
    table = find_images(sources)
    assert table.labels == [None, None]
    assert "by their names, not classes, and have no class folders" in table.no_labels_reason
    assert table.groups == (["fold1", "fold2"] if "fold" in names else None)
    if not suffix:
        assert find_images(tmp_path, class_level=1).labels == names.split()


def test_archives_are_classes_if_their_names_differ(tmp_path: Path) -> None:
    cat, dog = make_zip(tmp_path / "cat.zip", "1.jpg"), make_zip(tmp_path / "dog.zip", "2.jpg")
    table = find_images([cat, dog])
    assert table.labels == ["cat", "dog"]
    assert table.notes == ("Archives without folders are classes by their names.",)
    shards = [make_zip(tmp_path / f"pets-{number:03}.zip", "1.jpg") for number in range(2)]
    table = find_images(shards)
    assert table.labels == [None, None]
    assert table.no_labels_reason.startswith("The archives 'pets-000.zip', 'pets-001.zip' have no class folders")
    nested = [make_zip(tmp_path / "a.zip", "cat/1.jpg"), make_zip(tmp_path / "b.zip", "dog/1.jpg")]
    assert find_images(nested).labels == ["cat", "dog"]
    assert find_images(nested).notes == ()
    assert find_images([cat, nested[1]]).labels == ["cat", "dog"]


def test_labels_in_archives_precede_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(("red", "blue")):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for file, data in (("0.jpg", b""), ("0.cls", str(number).encode())):
                info = tarfile.TarInfo(file)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    assert find_images([tmp_path / "red.tar", tmp_path / "blue.tar"]).labels == [0, 1]
