from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import warnings
from pathlib import Path

import pytest

from featx.errors import StoreWarning
from featx.store.file_index import FileIndex, IndexCheck

DIGEST = bytes(range(16))
LATER = time.time() + 3600


def index_of(tmp_path: Path) -> FileIndex:
    return FileIndex(tmp_path / "digests.sqlite")


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    return str(path)


def remember(tmp_path: Path, path: str, read_at: float = LATER) -> None:
    index = index_of(tmp_path)
    index.add(path, os.stat(path), DIGEST, read_at)
    index.close()


def lookup(tmp_path: Path, path: str) -> bytes | None:
    index = index_of(tmp_path)
    (digest,) = index.find([(path, os.stat(path))])
    index.close()
    return digest


def test_unchanged_file_is_found(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    assert lookup(tmp_path, image) == DIGEST


@pytest.mark.parametrize(("seconds", "remembered"), [(0.0, False), (1.9, False), (2.1, True)])
def test_recently_changed_file_is_not_added(seconds: float, remembered: bool, tmp_path: Path, image: str) -> None:
    remember(tmp_path, image, os.stat(image).st_ctime + seconds)
    assert (lookup(tmp_path, image) == DIGEST) is remembered


def test_absent_cache_folder(tmp_path: Path, image: str) -> None:
    index = FileIndex(tmp_path / "absent" / "digests.sqlite")
    index.add(image, os.stat(image), DIGEST, LATER)
    index.close()
    assert not (tmp_path / "absent").exists()


def test_restored_modification_time(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    before = os.stat(image)
    Path(image).write_bytes(b"CONTENT")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert lookup(tmp_path, image) is None


def test_relative_path(tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tmp_path, image)
    monkeypatch.chdir(tmp_path)
    assert lookup(tmp_path, "a.jpg") == DIGEST


def test_absent_index_is_not_created(tmp_path: Path, image: str) -> None:
    assert lookup(tmp_path, image) is None
    assert not (tmp_path / "digests.sqlite").exists()


def test_corrupt_index_is_replaced(tmp_path: Path, image: str) -> None:
    (tmp_path / "digests.sqlite").write_bytes(b"not a database" * 100)
    index = index_of(tmp_path)
    with pytest.warns(StoreWarning, match="renamed.*the next run creates a new one"):
        assert index.find([(image, os.stat(image))]) == [None]
    index.add(image, os.stat(image), DIGEST, LATER)
    index.close()
    remember(tmp_path, image)
    assert lookup(tmp_path, image) == DIGEST


def test_locked_index_is_kept(tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(tmp_path, image)
    connect = sqlite3.connect
    monkeypatch.setattr("featx.store.file_index.sqlite3.connect", lambda path, timeout: connect(path, timeout=0))
    with connect(tmp_path / "digests.sqlite", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(StoreWarning, match="locked.*files are read again. Another process is using it"):
            assert lookup(tmp_path, image) is None
        other.execute("COMMIT")
    other.close()
    assert lookup(tmp_path, image) == DIGEST


@pytest.mark.parametrize("column", ["digest", "checksum"])
def test_corrupt_entry_is_ignored(tmp_path: Path, image: str, column: str) -> None:
    remember(tmp_path, image)
    with sqlite3.connect(tmp_path / "digests.sqlite") as connection:
        (value,) = connection.execute(f"SELECT {column} FROM file_digests").fetchone()
        for corrupt in (bytes([value[0] ^ 1]) + value[1:], b"", None, "text", 7):
            connection.execute(f"UPDATE file_digests SET {column} = ?", (corrupt,))
            connection.commit()
            assert lookup(tmp_path, image) is None
    connection.close()


def test_path_that_is_not_utf8(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    with open(path, "wb") as file:
        file.write(b"content")
    remember(tmp_path, path)
    assert lookup(tmp_path, path) == DIGEST


def test_flipped_byte(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    path = tmp_path / "digests.sqlite"
    whole = path.read_bytes()
    kept = unnoticed = 0
    # The file has many empty bytes: only every 41st of them is tested.
    for index in (index for index in range(len(whole)) if whole[index] or index % 41 == 0):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ (1 << index % 8)]) + whole[index + 1 :])
        is_intact = not index_of(tmp_path).check().problem
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            digest = lookup(tmp_path, image)
        assert digest in (DIGEST, None)
        unnoticed += is_intact and digest is None
        kept += digest is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            remember(tmp_path, image)  # the next run works in any case
    assert kept  # some bytes are not used
    assert unnoticed <= 4  # a flip in SQLite's bookkeeping may hide the entry


def test_truncated_index(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    path = tmp_path / "digests.sqlite"
    whole = path.read_bytes()
    for length in range(0, len(whole), 257):
        path.write_bytes(whole[:length])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert lookup(tmp_path, image) in (DIGEST, None)


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_link_is_not_followed(tmp_path: Path, image: str) -> None:
    sqlite3.connect(tmp_path / "mine.sqlite").close()
    (tmp_path / "digests.sqlite").symlink_to("mine.sqlite")
    assert index_of(tmp_path).check() == IndexCheck(0, "not a regular file", is_corrupt=True)
    with pytest.warns(StoreWarning, match="not a regular file.*renamed"):
        remember(tmp_path, image)
    assert (tmp_path / "mine.sqlite").read_bytes() == b""
    remember(tmp_path, image)
    assert lookup(tmp_path, image) == DIGEST


def test_check(tmp_path: Path, image: str) -> None:
    assert index_of(tmp_path).check() == IndexCheck(0)
    remember(tmp_path, image)
    path = tmp_path / "digests.sqlite"
    before = path.stat().st_mtime_ns
    assert index_of(tmp_path).check() == IndexCheck(1)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"no database" * 100)
    check = index_of(tmp_path).check()
    assert "not a database" in check.problem
    assert check.is_corrupt


def test_older_index_is_ignored(tmp_path: Path, image: str) -> None:
    path = tmp_path / "digests.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE files (path BLOB PRIMARY KEY, digest BLOB, seal BLOB) WITHOUT ROWID")
    assert index_of(tmp_path).check() == IndexCheck(0)
    assert lookup(tmp_path, image) is None
    remember(tmp_path, image)
    assert lookup(tmp_path, image) == DIGEST


def test_journal_of_a_killed_process_is_left_to_a_writer(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    path = tmp_path / "digests.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO file_digests VALUES (?, ?, ?)", [(b"%d" % n, b"x" * 500, b"") for n in range(99)]
    )
    unfinished, journal = path.read_bytes(), Path(f"{path}-journal").read_bytes()
    connection.close()
    path.write_bytes(unfinished)
    Path(f"{path}-journal").write_bytes(journal)
    reader = FileIndex(path, read_only=True)
    with pytest.warns(StoreWarning, match="repairs it"):
        assert reader.find([(image, os.stat(image))]) == [None]
    reader.close()
    assert (path.read_bytes(), Path(f"{path}-journal").read_bytes()) == (unfinished, journal)
    assert lookup(tmp_path, image) == DIGEST  # a writer rolls back
