"""Masks next to images, by their names."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx import find_images
from featx.system.files import remote

FILES = {
    "benign": ("benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png", "benign (10).png"),
    "normal": ("a.jpg", "a-seg.png", "A_GT.png", "a.mask.png", "a_1.jpg", "b_mask.png", "x_target.jpg", "x.jpg"),
    "with_mask": ("1.jpg", "1_mask.jpg"),
}
MASKS = {"benign (1)_mask.png", "benign (1)_mask_1.png", "a-seg.png", "a.mask.png"}
KEPT = [f"{folder}/{name}" for folder, names in FILES.items() for name in sorted(names) if name not in MASKS]


def check(source: str | Path, masks: set[str] = MASKS) -> None:
    table = find_images(source)
    kept = [path.removeprefix(f"{source}".rstrip("/")).lstrip("/") for path in table.paths]
    assert sorted(kept) == sorted([*KEPT, *(f"normal/{name}" for name in MASKS - masks)])
    assert table.ignored == {"masks or annotations": len(masks)}
    assert f"{len(masks)} images ignored: masks of the images next to them by their names" in table.notes[0]
    assert "such as 'benign/benign (1)_mask.png'" in table.notes[0]
    assert set(table.labels) == set(FILES)


def test_masks_in_folders_and_archives(tmp_path: Path) -> None:
    for folder, names in FILES.items():
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "photos" / folder / name).write_bytes(b"")
    check(tmp_path / "photos")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for folder, names in FILES.items():
            for name in names:
                archive.writestr(f"{folder}/{name}", b"")
    check(tmp_path / "photos.zip")


def test_masks_at_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    def list_names(url: str) -> Iterator[str]:
        return iter([f"{folder}/{name}" for folder, names in FILES.items() for name in sorted(names)])

    monkeypatch.setattr(remote, "list_names", list_names)
    check("s3://bucket/data/", MASKS - {"a-seg.png"})  # which is sorted before its image


def test_masks_alone_are_images(tmp_path: Path) -> None:
    for name in ("cat/1_mask.png", "dog/2_mask.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    assert find_images(tmp_path).labels == ["cat", "dog"]


def test_a_sample_of_an_archive_is_one_image(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("0.jpg", "0.cls", "0.seg.png", "0.depth.png", "1.left.jpg", "1.right.jpg", "1.cls"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(name[:1].encode()))
    table = find_images(tmp_path / "a.tar")
    assert [path.removeprefix(f"{tmp_path}/a.tar/") for path in table.paths] == ["0.jpg", "1.left.jpg", "1.right.jpg"]
    assert table.labels == [0, 1, 1]
    assert table.ignored == {"further images of a sample": 2}
