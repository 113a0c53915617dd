"""Names in zip archives whose encoding is not declared, as programs of macOS and of Japanese Windows write them."""

from __future__ import annotations

import io
import multiprocessing
import unicodedata
import zipfile
from pathlib import Path

import PIL.Image
import pytest

from featx import find_images
from featx.errors import OptionError, SourceError
from featx.images.containers.archives import has_member, read_member
from featx.images.image import read_image


def write_zip(path: Path, names: list[str], encoding: str) -> Path:
    """Write an archive whose names are in an encoding that it does not declare."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    placeholders = [f"{number:02}" + "x" * (len(name.encode(encoding)) - 2) for number, name in enumerate(names)]
    with zipfile.ZipFile(path, "w") as archive:
        for placeholder in placeholders:
            archive.writestr(placeholder, buffer.getvalue())
    data = path.read_bytes()
    for placeholder, name in zip(placeholders, names, strict=True):
        data = data.replace(placeholder.encode(), name.encode(encoding))
    path.write_bytes(data)
    return path


def test_utf8_of_macos(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFD", name) for name in ("plag\u00e9/1.png", "for\u00eat/2.png")]
    archive = write_zip(tmp_path / "mac.zip", names, "utf-8")
    table = find_images(archive)
    assert table.labels == ["plag\u00e9", "for\u00eat"]
    assert table.notes == ()
    assert read_image(table.paths[0])[0]


def _n_bytes(path: str) -> int:
    return len(read_image(path)[0])


def test_japanese_names_need_their_encoding(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "photos.zip", ["\u732b/1.png", "\u72ac/\u88682.png"], "cp932")
    guessed = find_images(archive)
    assert "pass the encoding, for example" in guessed.notes[0]
    assert all(read_image(path)[0] for path in guessed.paths)  # in any case, they can be read
    table = find_images(archive, zip_encoding="Shift-JIS")
    assert table.labels == ["\u732b", "\u72ac"]
    assert table.notes == ()
    assert has_member(str(archive), "\u732b/1.png")
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a new process does not know the encoding
        assert all(pool.map(_n_bytes, table.paths))


def test_wrong_encodings_are_errors(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "photos.zip", ["\u732b/1.png"], "cp932")
    with pytest.raises(OptionError, match=r"zip_encoding \(--zip-encoding\) must be one of .*cp932.*, got 'klingon'"):
        find_images(archive, zip_encoding="klingon")
    with pytest.raises(SourceError, match="is not in this encoding. Pass another"):
        find_images(archive, zip_encoding="euc_kr")
    with pytest.raises(KeyError):
        zipfile.ZipFile(archive).read("\u732b/1.png")
    with pytest.raises(Exception, match="contains no file"):
        read_member(str(archive), "absent.png", 100)


def test_declared_names_are_unchanged(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("\u732b/1.png", b"")
        archive.writestr("plain/2.png", b"")
    assert find_images(tmp_path / "a.zip", zip_encoding="cp932").labels == ["\u732b", "plain"]
