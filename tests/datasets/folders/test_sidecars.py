"""Labels in files next to the images of an archive, as in WebDataset."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path

import PIL.Image
import pytest

from featx import check_images, find_images, plan_job
from featx.datasets.folders.sidecars import read_sidecars
from featx.errors import SourceError


def test_keys_with_periods(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("scan.2020.png", png(1)), ("scan.2020.cls", b"3"), ("scan.2021.png", png(2))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert find_images(tmp_path / "a.tar").labels == [3, None]
    assert find_images(tmp_path).paths[0] == f"{tmp_path}/a.tar/scan.2020.png"
    (tmp_path / "notes.csv").write_text("a,b\n")
    with pytest.raises(SourceError, match=r"but archives. Pass these as sources: '.*/a\.tar'"):
        find_images(tmp_path)


@pytest.mark.parametrize("start", ["", "set/"])
def test_splits_in_one_archive(start: str, tmp_path: Path) -> None:
    files = {f"{start}{part}/{name}": data for part in ("train", "val") for name, data in shard(0).items()}
    table = find_images(write_tar(tmp_path / "a.tar", files))
    assert table.labels == [0, 1, 0, 1] * 2
    assert table.splits == ["train"] * 4 + ["test"] * 4
    assert "Folders are parts of a split by their names: 'train' (train), 'val' (val)." in table.notes
    other = {name.replace("val/", "extra/"): data for name, data in files.items()}
    table = find_images(write_tar(tmp_path / "b.tar", other))
    assert (table.labels, table.splits, len(table.notes)) == ([0, 1, 0, 1] * 2, None, 1)


def test_folds_in_one_archive(tmp_path: Path) -> None:
    files = {f"fold{fold}/{name}": data for fold in (1, 2) for name, data in shard(0).items()}
    table = find_images(write_tar(tmp_path / "a.tar", files))
    assert (table.labels, table.splits) == ([0, 1, 0, 1] * 2, None)
    assert table.groups == ["fold1"] * 4 + ["fold2"] * 4
    assert "Folders 'fold1', 'fold2' are folds: images of one fold are never split." in table.notes


@pytest.mark.parametrize("folder", ["", "photos/"])
def test_table_in_an_archive_is_named(folder: str, tmp_path: Path) -> None:
    table = b"file_name,label\n0000.png,cat\n0001.png,dog\n"
    files = {f"{folder}{number:04}.png": png(number) for number in range(2)}
    path = write_tar(tmp_path / "a.tar", {**files, f"{folder}metadata.csv": table})
    reason = find_images(path).no_labels_reason
    root = re.search(r"extract this table, and pass it with root='(.*?)'", reason)
    if folder:  # the only folder is a class
        assert root is None
        return
    assert root is not None
    (tmp_path / "metadata.csv").write_bytes(table)
    images = find_images(tmp_path / "metadata.csv", root=root[1])
    assert (images.labels, images.paths[0]) == (["cat", "dog"], f"{path}/0000.png")


def test_folder_of_archives(tmp_path: Path) -> None:
    for name, first in (("train-000", 0), ("train-001", 4), ("test-000", 8)):
        write_tar(tmp_path / f"{name}.tar", shard(first))
    table = find_images(tmp_path)
    assert table.splits == ["test"] * 4 + ["train"] * 8
    assert table.labels == [0, 1] * 6
    assert "Images are read from archives, such as" in table.notes[0]
    assert "Files are splits by their names" in table.notes[1]
    (tmp_path / "test-000.tar").unlink()
    table = find_images(tmp_path)
    assert (len(table), table.splits) == (8, None)


@pytest.mark.parametrize("folders", [(".",), ("train", "test")])
def test_files_next_to_images_of_folders_are_read_in_the_archive_that_is_named(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    for folder in folders:
        (tmp_path / "my set" / folder).mkdir(parents=True, exist_ok=True)
        for name, data in shard(0).items():
            (tmp_path / "my set" / folder / name).write_bytes(data)
    table = find_images(tmp_path / "my set")
    assert set(table.labels) == {None}
    command = re.search(r"Pack and pass one: (tar -cf (.*) -C .*)$", table.no_labels_reason)
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)
    table = find_images(shlex.split(command[2])[0])
    assert sorted(table.labels) == sorted([0, 1, 0, 1] * len(folders))
    assert (table.splits is None) == (len(folders) == 1)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def shard(first: int, suffix: str = ".cls") -> dict[str, bytes]:
    files = {}
    for number in range(first, first + 4):
        files[f"{number:04}.png"] = png(number)
        label = json.dumps({"label": number % 2, "width": 8}) if suffix == ".json" else str(number % 2)
        files[f"{number:04}{suffix}"] = label.encode()
    return files


@pytest.mark.parametrize("suffix", [".cls", ".json", ".txt"])
@pytest.mark.parametrize("archive", ["a.tar", "a.tar.gz"])
def test_labels_beside_images(suffix: str, archive: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / archive, shard(0, suffix))
    images = find_images(path)
    assert images.paths[1] == f"{path}/0001.png"
    assert images.labels == [0, 1, 0, 1]
    assert images.notes == (f"Labels are read from the {suffix} files next to the images.",)
    assert images.ignored == {}
    assert not check_images(path).unreadable


def test_field_of_json(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", shard(0, ".json"))
    assert find_images(path, label_column="width").labels == [8] * 4
    assert find_images(path, label_column="height").labels == [None] * 4


def test_several_tars_and_patterns(tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / f"train-{number:03}.tar", shard(4 * number)) for number in range(3)]
    for source in (tars, [tmp_path / "train-{000..002}.tar"], str(tmp_path / "train-{000..002}.tar")):
        images = find_images(source)  # type: ignore[arg-type]
        assert images.labels == [0, 1] * 6
        assert images.paths[4] == f"{tars[1]}/0004.png"
    pytest.importorskip("pyarrow")
    plan = plan_job(str(tmp_path / "train-{000..002}.tar"), tmp_path / "job", backbone="color_histogram", sample=0)
    assert plan.images == 12


def test_captions_are_no_labels() -> None:
    texts = {f"{number}.txt": f"a photo of thing {number}".encode() for number in range(4)}
    assert read_sidecars([f"{number}.jpg" for number in range(4)], texts, texts.__getitem__) is None


def test_boxes_and_folders_of_classes_are_kept(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(4):
            file.writestr(f"{'cat' if number % 2 else 'dog'}/{number}.png", png(number))
            file.writestr(f"{'cat' if number % 2 else 'dog'}/{number}.txt", "0 0.5 0.5 1 1")
    assert find_images(tmp_path / "a.zip").labels == ["dog", "cat", "dog", "cat"]


def test_one_bad_label_costs_no_other(tmp_path: Path) -> None:
    files = {**shard(0, ".json"), "0001.json": b"{", "0002.json": b"[1]", "0004.png": png(4)}
    assert find_images(write_tar(tmp_path / "a.tar", files)).labels == [0, None, None, 1, None]


@pytest.mark.parametrize("first", ["tar", "folder"])
def test_labels_of_an_archive_and_of_folders_have_one_type(first: str, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", shard(0))
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.png").write_bytes(png(9))
    sources = [tar, tmp_path / "photos"] if first == "tar" else [tmp_path / "photos", tar]
    labels = find_images(sources).labels
    assert labels == (["0", "1", "0", "1", "cat"] if first == "tar" else ["cat", "0", "1", "0", "1"])
    assert find_images(tar).labels == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({".txt": "a photo of thing {}"}, "The .txt files next to the images are no classes, but captions or boxes."),
        (
            {".txt": "thing {}", ".json": '{{"caption": "{}", "width": 3}}'},
            "has the fields 'caption', 'width'. Pass one",
        ),
        (
            {".json": '{{"label": ["a", "b{}"]}}'},
            """The field 'label' of '0.json' is no label, but ["a", "b0"]. Pass""",
        ),
        ({".json": "[{}]"}, "'0.json' is no JSON object with a label"),
        ({".json": "{{{}"}, "Cannot read labels from '0.json': it is not JSON"),
        ({".json": '{{"label": "b{}"}}'}, ""),
        ({}, ""),
    ],
)
def test_why_files_beside_images_are_no_labels(files: dict[str, str], reason: str, tmp_path: Path) -> None:
    images = {f"{number}.png": png(number) for number in range(4)}
    texts = {f"{n}{suffix}": text.format(n).encode() for suffix, text in files.items() for n in range(4)}
    table = find_images(write_tar(tmp_path / "a.tar", images | texts))
    assert reason in table.no_labels_reason
    assert bool(reason) == bool(table.no_labels_reason)
    if "'width'" in reason:
        assert find_images(tmp_path / "a.tar", label_column="width").labels == [3] * 4
