from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.errors import ImageTooLargeError, SourceError, UnreachableImageError, UnreadableImageError
from featx.images.containers.archives import CompressedTar
from featx.images.image import read_image
from featx.testing import CountingBackbone
from tests.extraction.helpers import extract

KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


def pack(folder: Path, kind: str, *, within: str = "photos") -> str:
    """An archive of a folder, in an order that is not that of names."""
    archive = folder.parent / f"photos.{kind}"
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name[::-1])
    names = [(path, str(Path(within, path.relative_to(folder)))) for path in paths]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, name in names:
                packed.write(path, name)
    else:
        with tarfile.open(archive, f"w:{kind[4:]}") as tar:
            for path, name in names:
                tar.add(path, name)
    return str(archive)


@pytest.mark.parametrize("kind", KINDS)
def test_archive_equals_folder(kind: str, photo_folder: Path, tmp_path: Path, counting: CountingBackbone) -> None:
    folder = find_images([photo_folder])
    archive = pack(photo_folder, kind)
    packed = find_images([archive])
    by_name = dict(zip(map(os.path.basename, packed.paths), packed.labels, strict=True))
    assert by_name == dict(zip(map(os.path.basename, folder.paths), folder.labels, strict=True))
    rows, ledger = extract(packed.paths, tmp_path / "cache", on_error="nan")
    assert (ledger.failures, counting.n_images) == ([], 24)
    of_folder, _ = extract(folder.paths, tmp_path / "cache", on_error="nan")
    assert counting.n_images == 24  # what is unpacked later is known
    order = [list(map(os.path.basename, packed.paths)).index(os.path.basename(path)) for path in folder.paths]
    np.testing.assert_array_equal(of_folder, rows[order])
    again, ledger = extract(packed.paths, tmp_path / "cache", on_error="nan")
    assert ledger.n_cached == 24
    np.testing.assert_array_equal(again, rows)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_in_any_order_in_threads(kind: str, photo_folder: Path) -> None:
    archive = pack(photo_folder, kind)
    paths = find_images([archive]).paths
    right = {os.path.basename(path): Path(path).read_bytes() for path in find_images([photo_folder]).paths}
    orders = [paths, paths[::-1], [*paths[12:], *paths[:12]], paths * 2]
    wrong: list[str] = []

    def read(order: list[str]) -> None:
        wrong.extend(path for path in order if read_image(path)[0] != right[os.path.basename(path)])

    threads = [threading.Thread(target=read, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_compressed_tar_buffers_up_to_its_limit(photo_folder: Path) -> None:
    archive = CompressedTar(pack(photo_folder, "tar.gz"), max_buffered_bytes=10_000)
    names = list(archive.names)
    for name in [*names[::-1], *names]:
        assert archive.read(name, 2**20)[:2] == b"\xff\xd8"
        assert archive.reader.n_buffered_bytes <= 20_000


def test_folder_that_contains_everything_is_not_a_class(photo_folder: Path) -> None:
    for within in ("photos", "", "a/b"):
        assert set(find_images([pack(photo_folder, "zip", within=within)]).labels) == ({"china", "flower"})


def test_splits_in_an_archive(tmp_path: Path, photos: Any) -> None:
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "d" / part / label).mkdir(parents=True)
            photos[0].save(tmp_path / "d" / part / label / "1.jpg")
    table = find_images([pack(tmp_path / "d", "zip")])
    assert sorted(zip(table.splits or [], table.labels, strict=True)) == [
        ("test", "cat"),
        ("test", "dog"),
        ("train", "cat"),
        ("train", "dog"),
    ]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_outside_of_the_archive_are_ignored(kind: str, tmp_path: Path, photos: Any) -> None:
    photos[0].save(tmp_path / "secret.jpg")
    data = (tmp_path / "secret.jpg").read_bytes()
    archive = tmp_path / f"evil.{kind}"
    names = ["../secret.jpg", "/etc/x.jpg", "a/../../secret.jpg", "good.jpg", "__MACOSX/good.jpg", "._good.jpg"]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names:
                packed.writestr(name, data)
            link = zipfile.ZipInfo("link.jpg")
            link.external_attr = 0o120777 << 16
            packed.writestr(link, "../secret.jpg")
    else:
        with tarfile.open(archive, "w") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            for type_ in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
                member = tarfile.TarInfo(f"special-{type_!r}.jpg")
                member.type, member.linkname = type_, "../secret.jpg"
                tar.addfile(member)
    table = find_images([archive])
    assert [os.path.basename(path) for path in table.paths] == ["good.jpg"]
    n_links = 1 if kind == "zip" else 4
    ignored = {"system files": 1, "hidden": 1, "outside of the archive": 3, "links and special files": n_links}
    assert table.ignored == ignored
    with pytest.raises(UnreadableImageError):
        read_image(f"{archive}/../secret.jpg/x")
    with pytest.raises(UnreachableImageError, match="contains no file"):
        read_image(f"{archive}/link.jpg")


@pytest.mark.parametrize("kind", KINDS)
def test_corrupt_archive_loses_only_corrupt_images(kind: str, photo_folder: Path, counting: CountingBackbone) -> None:
    archive = Path(pack(photo_folder, kind))
    paths = find_images([archive]).paths
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    if kind == "zip":
        with pytest.raises(SourceError, match="Cannot read archive.*Download or create it again"):
            find_images([archive])
        archive.write_bytes(whole[: len(whole) // 2] + bytes(64) + whole[len(whole) // 2 + 64 :])
    rows, ledger = extract(paths, None, on_error="nan")
    assert 0 < len(ledger.failures) <= 24
    assert {failure.error for failure in ledger.failures} <= {"UnreachableImageError", "TruncatedImageError"}
    good = [index for index in range(24) if index not in {failure.position for failure in ledger.failures}]
    assert np.isfinite(rows[good]).all()
    assert good or kind not in ("zip", "tar")


def test_large_member_is_an_error(tmp_path: Path) -> None:
    for kind in ("zip", "tar.gz"):
        folder = tmp_path / kind / "photos"
        folder.mkdir(parents=True)
        (folder / "bomb.jpg").write_bytes(bytes(5_000_000))
        (path,) = find_images([pack(folder, kind)]).paths
        with pytest.raises(ImageTooLargeError, match=r"5\.0 MB, more than the limit of 4\.0 MB"):
            read_image(path, max_bytes=4_000_000)


@pytest.mark.skipif(shutil.which("zip") is None, reason="there is no program zip")
def test_encrypted_file_is_unreadable(tmp_path: Path, photos: Any) -> None:
    photos[0].save(tmp_path / "1.jpg")
    subprocess.run(["zip", "-q", "-P", "x", "a.zip", "1.jpg"], cwd=tmp_path, check=True)
    with pytest.raises(UnreachableImageError, match="encrypted"):
        read_image(f"{tmp_path}/a.zip/1.jpg")


def test_replaced_archive_is_read_again(
    photo_folder: Path, tmp_path: Path, counting: CountingBackbone, later: None
) -> None:
    archive = Path(pack(photo_folder, "zip"))
    paths = find_images([archive]).paths
    before, _ = extract(paths, tmp_path / "cache", on_error="nan")
    shutil.copy(photo_folder / "china" / "00.jpg", photo_folder / "flower" / "20.jpg")
    archive.unlink()
    after, _ = extract(find_images([pack(photo_folder, "zip")]).paths, tmp_path / "cache", on_error="nan")
    changed = [index for index in range(24) if not np.array_equal(before[index], after[index])]
    assert [os.path.basename(paths[index]) for index in changed] == ["20.jpg"]


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no program tar")
@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_archive_of_gnu_tar(kind: str, photo_folder: Path) -> None:
    os.link(photo_folder / "china" / "00.jpg", photo_folder / "flower" / "again.jpg")
    archive = photo_folder.parent / f"photos.{kind}"
    subprocess.run(["tar", "-caf", str(archive), "."], cwd=photo_folder, check=True)
    table = find_images([archive])
    assert sorted(os.path.relpath(path, archive) for path in table.paths) == sorted(
        os.path.relpath(path, photo_folder) for path in find_images([photo_folder]).paths
    )
    for path in table.paths:
        assert read_image(path)[0] == (photo_folder / os.path.relpath(path, archive)).read_bytes()


def test_invalid_names_make_an_archive_corrupt(tmp_path: Path, photos: Any, counting: CountingBackbone) -> None:
    photos[0].save(tmp_path / "good.jpg")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("ä.jpg", (tmp_path / "good.jpg").read_bytes())
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace("ä".encode(), b"\xff\xfe"))
    with pytest.raises(SourceError, match="Cannot read archive"):
        find_images([tmp_path / "a.zip"])
    first = whole.index("ä".encode())
    (tmp_path / "b.zip").write_bytes(whole[:first] + b"\xff\xfe" + whole[first + 2 :])
    _, ledger = extract([str(tmp_path / "good.jpg"), f"{tmp_path}/b.zip/ä.jpg"], None, on_error="nan")
    assert [(failure.position, failure.error) for failure in ledger.failures] == [(1, "UnreachableImageError")]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_corrupt_header_is_not_the_end_of_a_tar(kind: str, photo_folder: Path) -> None:
    archive = Path(pack(photo_folder, "tar"))
    whole = archive.read_bytes()
    header = whole.index(b"photos/flower/")
    flipped = whole[: header + 20] + bytes([whole[header + 20] ^ 255]) + whole[header + 21 :]
    shorter = whole[: header + 600] + whole[header + 700 :]
    for damaged in (flipped, shorter):
        archive.with_suffix(f".{kind}").write_bytes(_COMPRESS[kind](damaged))
        with pytest.raises(SourceError, match=": (bad checksum|expected the header of a file at byte)"):
            find_images([archive.with_suffix(f".{kind}")])


_COMPRESS = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}


def test_flipped_bit_in_compressed_data_is_detected(photo_folder: Path) -> None:
    archive = Path(pack(photo_folder, "tar.gz"))
    whole = archive.read_bytes()
    for index in np.linspace(100, len(whole) - 20, 12).astype(int):
        archive.write_bytes(whole[:index] + bytes([whole[index] ^ 16]) + whole[index + 1 :])
        with pytest.raises(SourceError, match="Cannot read archive"):
            find_images([archive])


def test_content_decides_the_format(photo_folder: Path) -> None:
    paths = {}
    for kind, name in (("zip", "a.tar"), ("tar", "a.zip"), ("tar.gz", "b.tar"), ("tar.xz", "b.zip")):
        archive = Path(pack(photo_folder, kind))
        paths[kind] = find_images([archive.rename(archive.with_name(name))]).paths
        assert read_image(paths[kind][-1])[0] is not None
    assert {len(found) for found in paths.values()} == {24}


def test_format_with_misleading_names_and_stubs(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("PK/0.jpg")
        tar.addfile(member, io.BytesIO())
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        packed.writestr("cat/0.jpg", b"x")
    whole = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "c.zip").write_bytes(b"MZ this unpacks itself" + whole)
    for name in ("a.tar", "b.zip", "c.zip"):
        assert len(find_images([tmp_path / name])) == 1


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_replaced_members_are_counted(kind: str, tmp_path: Path) -> None:
    archive, names = tmp_path / f"a.{kind}", ["a/1.jpg", "./a/1.jpg", "a//1.jpg", "b/1.jpg"]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names:
                packed.writestr(name, name)
    else:
        with tarfile.open(archive, "w") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                tar.addfile(member, io.BytesIO(name.encode()))
    table = find_images([archive])
    assert table.labels == ["a", "b"]
    assert table.ignored == {"replaced by a later file of the same name": 2}
    assert read_image(table.paths[0])[0] == b"a//1.jpg"


NAMES = [
    "back\\slash.jpg",
    "cafe\u0301.jpg",  # as macOS writes é
    "caf\u00e9.jpg",
    "new\nline.jpg",
    "\N{CAMERA} space .JPG",
    "=1+1.jpg",
    "n" * 251 + ".jpg",
]


@pytest.mark.parametrize("kind", KINDS)
def test_unusual_names(
    kind: str, tmp_path: Path, photos: Any, counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    photos[0].save(tmp_path / "photo.jpg")
    data = (tmp_path / "photo.jpg").read_bytes()
    names = NAMES if kind == "zip" else [*NAMES, "\udcff not utf-8.jpg"]
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names:
                packed.writestr(zipfile.ZipInfo(name), data)
        archive.write_bytes(archive.read_bytes().replace(b"back/slash", b"back\\slash"))  # as some programs write it
    else:
        with tarfile.open(archive, f"w:{kind[4:]}") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    paths = [f"{archive}/{name}".replace("\\", "/") for name in names]
    assert sorted(find_images([archive]).paths) == sorted(paths)
    for path in paths:
        assert read_image(path)[0] == data
    assert cli.main(["check", str(archive), "--csv", str(tmp_path / "found.csv"), "--quiet"]) == 0
    with open(tmp_path / "found.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = list(csv.DictReader(file))
    first = find_images([archive]).paths[0]
    assert {line["path"] for line in lines if line["finding"] == "duplicate"} == set(paths) - {first}


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_archives_raise_only_featx_errors(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        (folder / f"{number}.jpg").write_bytes(random.bytes(300))
    whole = Path(pack(folder, kind)).read_bytes()
    n_listed = n_read = 0
    for number in range(300):
        data = bytearray(whole)
        for index in random.integers(0, len(data), 1 + number % 8):
            data[index] = random.integers(0, 256)
        start, stop = sorted(random.integers(0, len(data), 2))
        data = {0: data[:stop], 1: data[:start] + data[stop:], 2: data[:stop] + data[start:]}.get(number % 10, data)
        archive = tmp_path / f"{number}.{kind}"
        archive.write_bytes(data)
        paths = [f"{archive}/photos/{name}.jpg" for name in range(4)]
        with contextlib.suppress(SourceError):
            paths += find_images([archive]).paths
            n_listed += 1
        for path in paths:
            with contextlib.suppress(UnreadableImageError):
                n_read += read_image(path)[0] != b""
        archive.unlink()
    if kind in ("zip", "tar"):  # the others are one block, all of which a flipped bit damages
        assert n_listed > 10
        assert n_read > 10
