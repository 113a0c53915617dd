from __future__ import annotations

import collections
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx.datasets.folders.listers import ArchiveLister, FolderLister, SingleImageLister, UrlLister, make_lister
from featx.datasets.image_listing import ListedImage, Remarks, iter_images
from featx.system.files import remote
from tests.datasets.helpers import make_files


def test_each_source_has_its_lister(tmp_path: Path) -> None:
    make_files(tmp_path, "photos/cat/1.jpg")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(tmp_path / "photos" / "cat" / "1.jpg", "cat/1.jpg")
    listers = {
        str(tmp_path / "photos"): FolderLister,
        str(tmp_path / "photos.zip"): ArchiveLister,
        str(tmp_path / "photos.zip/cat/1.jpg"): SingleImageLister,
        str(tmp_path / "absent.jpg"): SingleImageLister,
        "https://example.org/photos/": UrlLister,
        "https://example.org/1.jpg?size=a/b": SingleImageLister,
    }
    for source, lister in listers.items():
        assert type(make_lister(source, collections.Counter())) is lister


def test_folders_are_listed_one_after_the_other(tmp_path: Path) -> None:
    make_files(tmp_path, "a/1.jpg", "b/1.jpg")
    images = iter_images([tmp_path], Remarks())
    assert next(images) == ListedImage(str(tmp_path / "a" / "1.jpg"), "a")
    make_files(tmp_path, "b/2.jpg")
    assert [image.path for image in images] == [str(tmp_path / "b" / name) for name in ("1.jpg", "2.jpg")]


def test_names_of_a_url_are_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def list_names(url: str) -> Iterator[str]:
        return (f"photos/class{number % 50}/{number:0100}.jpg" for number in range(20_000))

    monkeypatch.setattr(remote, "list_names", list_names)
    tracemalloc.start()
    try:
        images = iter_images(["s3://bucket/data"], Remarks())
        assert next(images) == ListedImage(f"s3://bucket/data/photos/class0/{0:0100}.jpg", "class0")
        assert sum(1 for _ in images) == 19_999
        assert tracemalloc.get_traced_memory()[1] < 2**20  # the names take 3 MB
    finally:
        tracemalloc.stop()
