from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import FeatureExtractor
from featx.datasets.find import find_images
from featx.errors import InputError, OptionError, SourceError, SourceNotFoundError, UnreadableImageError
from tests import samples
from tests.datasets.helpers import make_files


def found(*sources: Path) -> list[tuple[str, str | None]]:
    table = find_images(sources)
    root = os.path.commonpath([os.path.dirname(path) for path in table.paths])
    return [(os.path.relpath(path, root), label) for path, label in zip(table.paths, table.labels, strict=True)]


def test_first_folder_level_is_the_class(tmp_path: Path) -> None:
    make_files(tmp_path, "dog/2.JPEG", "cat/1.jpg", "cat/2019/deep/3.png")
    assert found(tmp_path) == [("cat/1.jpg", "cat"), ("cat/2019/deep/3.png", "cat"), ("dog/2.JPEG", "dog")]


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    assert found(make_files(tmp_path, "b.webp", "a.gif")) == [("a.gif", None), ("b.webp", None)]


def test_several_flat_folders_are_classes(tmp_path: Path) -> None:
    make_files(tmp_path, "cat/1.jpg", "dog/2.jpg")
    assert found(tmp_path / "dog", tmp_path / "cat") == [("dog/2.jpg", "dog"), ("cat/1.jpg", "cat")]


def test_repeated_folder_is_noted(photo_folder: Path) -> None:
    table = find_images([photo_folder, f"{photo_folder}/"])
    assert table.notes[0] == f"'{photo_folder}' is given several times: its images have a row each time."


def test_images_outside_of_class_folders_have_no_label(tmp_path: Path) -> None:
    make_files(tmp_path, "cat/1.jpg", "stray.jpg")
    table = find_images([tmp_path])
    assert table.labels == ["cat", None]
    assert [os.path.basename(path) for path in table.labeled().paths] == ["1.jpg"]


def test_explicit_file_may_have_any_suffix(tmp_path: Path) -> None:
    make_files(tmp_path, "scan", "other.jpg")
    assert find_images([tmp_path / "scan"]).paths == [str(tmp_path / "scan")]


def test_hidden_and_other_files_are_ignored_and_counted(tmp_path: Path) -> None:
    make_files(tmp_path, "a.JPG", ".hidden.jpg", ".git/x.jpg", "notes.txt", "Thumbs.db", "__MACOSX/a.jpg", "bare")
    table = find_images([tmp_path])
    assert [os.path.basename(path) for path in table.paths] == ["a.JPG"]
    assert table.ignored == {"hidden": 2, "system files": 2, ".txt": 1, "without suffix": 1}


def test_class_names_are_normalized(tmp_path: Path) -> None:
    make_files(tmp_path, "caf\u00e9/1.jpg", "cafe\u0301/2.jpg")
    assert set(find_images([tmp_path]).labels) == {"caf\u00e9"}


def test_tree_deeper_than_recursion_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        os.mkdir("d")
        os.chdir("d")
    Path("1.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    (path,) = find_images(["d"]).paths
    assert path.count("d") == 1100
    os.chdir(os.path.dirname(path))  # pytest's own clearing up would recurse
    os.unlink("1.jpg")
    for _ in range(1100):
        os.chdir("..")
        os.rmdir("d")


@pytest.mark.slow  # makes 100,000 files
@pytest.mark.thorough
def test_100_000_files_are_listed_in_two_seconds(tmp_path: Path) -> None:
    for number in range(100_000):
        os.close(os.open(tmp_path / f"{number}.jpg", os.O_CREAT))
    started = time.perf_counter()
    assert len(find_images([tmp_path])) == 100_000
    assert time.perf_counter() - started < 2


def test_loop_of_links_ends(tmp_path: Path) -> None:
    make_files(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    found = find_images([tmp_path])
    assert (len(found), found.ignored) == (1, {"already listed": 1})


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    make_files(tmp_path, "all/cat/1.jpg", "subset/dog/2.jpg")
    (tmp_path / "subset" / "cat").symlink_to(tmp_path / "all" / "cat")
    assert find_images([tmp_path / "subset"]).labels == ["cat", "dog"]


def test_paths_begin_with_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(tmp_path, "photos/cat/1.jpg")
    monkeypatch.chdir(tmp_path)
    assert find_images(["photos"]).paths == [os.path.join("photos", "cat", "1.jpg")]


def test_unusual_names_are_found(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "emoji 🦆.jpg", "e\u0301.jpg", os.fsdecode(b"\xff\xfe.jpg"), "x" * 250 + ".jpg"]
    make_files(tmp_path, *names)
    assert sorted(os.path.basename(path) for path in find_images([tmp_path]).paths) == sorted(names)


def test_missing_folder_suggests_similar_name(tmp_path: Path) -> None:
    make_files(tmp_path, "photos/1.jpg")
    with pytest.raises(SourceNotFoundError, match="Did you mean '.*photos'"):
        find_images([tmp_path / "photo"])


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    make_files(tmp_path, "a.txt", "b.txt", "c.pdf")
    with pytest.raises(SourceError, match=r"2 \.txt, 1 \.pdf.*\.jpg"):
        find_images([tmp_path])


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "test"], ["train", "test"]),
        (["Training", "validation"], ["train", "test"]),
        (["train", "val", "test"], ["train", "train", "test"]),
    ],
)
def test_folders_of_splits(names: list[str], splits: list[str], tmp_path: Path) -> None:
    for name in names:
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            (tmp_path / name / label / "1.jpg").write_bytes(b"")
    table = find_images([tmp_path])
    assert table.labels == ["cat", "dog"] * len(names)
    by_folder = dict(zip((Path(path).parts[-3] for path in table.paths), table.splits or [], strict=True))
    assert by_folder == dict(zip(names, splits, strict=True))


def test_other_folders_are_classes(tmp_path: Path) -> None:
    for name in ("train", "car"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"")
    table = find_images([tmp_path])
    assert table.splits is None
    assert table.labels == ["car", "train"]
    (tmp_path / "car" / "1.jpg").unlink()
    (tmp_path / "car").rmdir()
    assert find_images([tmp_path]).splits is None  # a class of trains
    (tmp_path / "train" / "1.jpg").unlink()
    for name in ("train/cat", "test/cat", "extra"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").write_bytes(b"")
    assert "other folders ('extra'). For the split, move" in find_images([tmp_path]).no_labels_reason


def test_self_link_and_locked_folder_are_kept_as_images(tmp_path: Path) -> None:
    make_files(tmp_path, "x/1.jpg", "locked/2.jpg")
    (tmp_path / "x" / "self.jpg").symlink_to("self.jpg")
    os.chmod(tmp_path / "locked", 0)
    try:
        table = find_images([tmp_path])
    finally:
        os.chmod(tmp_path / "locked", 0o755)
    names = [os.path.basename(path) for path in table.paths]
    # Reading them reports the reason. Root can list all folders.
    assert names == ["2.jpg" if os.geteuid() == 0 else "locked", "1.jpg", "self.jpg"]


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="users of POSIX")
def test_folder_that_cannot_be_listed_is_reported(python: Callable[..., Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        make_files(Path(folder), "x/1.jpg", "x/locked/2.jpg")
        os.chmod(Path(folder, "x/locked"), 0)
        code = (
            "import json, os, sys\n"
            "import concurrent.futures.thread\n"
            "from featx import check_images\n"
            "from featx.images.decode import load_decoders\n"
            "load_decoders()\n"
            "if os.geteuid() == 0: os.setuid(65534)  # root can list all folders\n"
            "print(json.dumps(check_images(sys.argv[1]).as_dict()))"
        )
        done = python(code, folder)
    unreadable = {os.path.basename(image["path"]): image["reason"] for image in json.loads(done.stdout)["unreadable"]}
    assert unreadable["locked"].startswith("the path is a folder that cannot be listed (Permission denied)")


def test_broken_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").symlink_to("gone.jpg")
    with pytest.raises(SourceNotFoundError, match=r"is a link to 'gone.jpg', which does not exist"):
        find_images([tmp_path / "broken.jpg"])


def test_system_folder_beside_splits_is_ignored(tmp_path: Path) -> None:
    table = find_images(make_files(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "__MACOSX/x.jpg"))
    assert (table.labels, table.splits) == (["cat", "cat"], ["test", "train"])


def test_source_types(tmp_path: Path) -> None:
    make_files(tmp_path, "cat/1.jpg", "dog/2.jpg")
    paths = [str(tmp_path / "cat" / "1.jpg"), str(tmp_path / "dog" / "2.jpg")]
    table = find_images(tmp_path)
    assert table.paths == paths
    assert find_images(table) is table
    for source in (str(tmp_path), [tmp_path], (tmp_path,), np.array([str(tmp_path)]), (path for path in [tmp_path])):
        assert find_images(source).labels == ["cat", "dog"]
    assert find_images(pd.Series(paths)).paths == paths


def test_dataframe_is_a_source(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["a.jpg", "b.jpg"], "label": [" cat ", None], "part": ["train", "test"]})
    table = find_images(frame, split_column="part")
    assert (table.paths, table.labels, table.splits) == (["a.jpg", "b.jpg"], ["cat", None], ["train", "test"])
    assert find_images(frame[["file"]].rename(columns={"file": "x"})).paths == ["a.jpg", "b.jpg"]
    assert find_images(frame.assign(label=[1, 2])).labels == [1, 2]
    with pytest.raises(SourceError, match=r"No path column in 'DataFrame'.*Pass path_column \(--path-column\)"):
        find_images(frame.drop(columns="file"))
    with pytest.raises(SourceError, match="lists no images"):
        find_images(frame[:0])


@pytest.mark.parametrize("source", [3, [3], [None], [["a.jpg"]]], ids=str)
def test_other_sources_are_errors(source: object) -> None:
    with pytest.raises(InputError):
        find_images(source)


def test_no_source_is_an_error() -> None:
    with pytest.raises(SourceError, match="at least one folder or file"):
        find_images([])


def test_notes_show_long_labels_in_part(tmp_path: Path) -> None:
    pd.DataFrame({"path": ["1.jpg", "2.jpg"], "label": ["1", "x" * 50_000]}).to_csv(tmp_path / "t.csv", index=False)
    table = find_images(tmp_path / "t.csv")
    assert len(table.notes[0]) < 500
    assert "Labels mix numbers and text ('1', 'xxx" in table.notes[0]


def test_a_table_in_a_flat_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    assert find_images(tmp_path).no_labels_reason == ""
    (tmp_path / "labels.csv").write_text("path,label\n1.png,x\n")
    reason = find_images(tmp_path).no_labels_reason
    assert reason.endswith("labels.csv' lists their labels, pass this table.")
    assert find_images(tmp_path / "labels.csv").labels == ["x"]  # the remedy
    with pytest.raises(OptionError, match="must name each column once"):
        find_images(tmp_path / "labels.csv", label_column=["label", "label"])


@pytest.mark.parametrize("folders", [("",), ("train", "val")])
def test_text_next_to_images_is_no_label(folders: tuple[str, ...], tmp_path: Path) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "1.jpg").write_bytes(b"")
        (tmp_path / folder / "1.txt").write_text("0 0.5 0.5 0.1 0.2\n")
    table = find_images(tmp_path)
    assert set(table.labels) == {None}
    assert "are not read, as most are boxes (YOLO) or captions" in table.no_labels_reason


def test_readme_next_to_images_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("photos")
    assert find_images(tmp_path).no_labels_reason == ""


def test_data_urls_are_named_with_their_remedy() -> None:
    url = "data:image/png;base64," + base64.b64encode(samples.png(np.zeros((8, 8, 3)))).decode()
    with pytest.raises(SourceNotFoundError, match=r"is no path; if it is an image in base64, decode it"):
        find_images([url])
    extractor = FeatureExtractor("color_histogram", cache=None)
    with pytest.raises(UnreadableImageError, match="is no path; if it is an image in base64"):
        extractor.transform([url])
    assert extractor.transform([base64.b64decode(url.partition(",")[2])]).shape == (1, 512)
