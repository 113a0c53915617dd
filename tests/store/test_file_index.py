from __future__ import annotations

import os
import sqlite3
import time
import warnings
from pathlib import Path

import pytest

from featx.errors import StoreWarning
from featx.store.file_index import DigestIndex, IndexCheck

DIGEST = bytes(range(16))
LATER = time.time() + 3600


def index_of(tmp_path: Path) -> DigestIndex:
    return DigestIndex(tmp_path / "digests.sqlite")


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    return str(path)


def remember(tmp_path: Path, path: str, read_at: float = LATER) -> None:
    index = index_of(tmp_path)
    index.add(path, os.stat(path), DIGEST, read_at)
    index.close()


def found(tmp_path: Path, path: str) -> bytes | None:
    index = index_of(tmp_path)
    (digest,) = index.find([(path, os.stat(path))])
    index.close()
    return digest


def test_an_unchanged_file_is_known_to_the_next_process(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    assert found(tmp_path, image) == DIGEST


@pytest.mark.parametrize(("seconds", "remembered"), [(0.0, False), (1.9, False), (2.1, True)])
def test_a_file_touched_a_moment_ago_is_not_remembered(
    seconds: float, remembered: bool, tmp_path: Path, image: str
) -> None:
    remember(tmp_path, image, os.stat(image).st_ctime + seconds)
    assert (found(tmp_path, image) == DIGEST) is remembered


def test_a_cache_folder_that_is_absent_is_no_trouble(tmp_path: Path, image: str) -> None:
    index = DigestIndex(tmp_path / "absent" / "digests.sqlite")
    index.add(image, os.stat(image), DIGEST, LATER)
    index.close()
    assert not (tmp_path / "absent").exists()


def test_new_bytes_of_the_same_size_under_a_restored_mtime_are_noticed(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    before = os.stat(image)
    Path(image).write_bytes(b"CONTENT")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert found(tmp_path, image) is None


def test_a_relative_path_means_the_file_it_means_now(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(tmp_path, image)
    monkeypatch.chdir(tmp_path)
    assert found(tmp_path, "a.jpg") == DIGEST


def test_without_a_file_nothing_is_known_and_none_is_made(tmp_path: Path, image: str) -> None:
    assert found(tmp_path, image) is None
    assert not (tmp_path / "digests.sqlite").exists()


def test_a_damaged_file_costs_a_warning_and_nothing_else(tmp_path: Path, image: str) -> None:
    (tmp_path / "digests.sqlite").write_bytes(b"not a database" * 100)
    index = index_of(tmp_path)
    with pytest.warns(StoreWarning, match="set aside.*the next run starts a new one"):
        assert index.find([(image, os.stat(image))]) == [None]
    index.add(image, os.stat(image), DIGEST, LATER)
    index.close()
    remember(tmp_path, image)
    assert found(tmp_path, image) == DIGEST


def test_a_locked_index_is_done_without_and_not_set_aside(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(tmp_path, image)
    connect = sqlite3.connect
    monkeypatch.setattr("featx.store.file_index.sqlite3.connect", lambda path, timeout: connect(path, timeout=0))
    with connect(tmp_path / "digests.sqlite", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.warns(StoreWarning, match="locked.*files are read again. Another process holds it"):
            assert found(tmp_path, image) is None
        other.execute("COMMIT")
    other.close()
    assert found(tmp_path, image) == DIGEST


@pytest.mark.parametrize("column", ["digest", "seal"])
def test_a_damaged_entry_is_never_believed(tmp_path: Path, image: str, column: str) -> None:
    remember(tmp_path, image)
    with sqlite3.connect(tmp_path / "digests.sqlite") as connection:
        (value,) = connection.execute(f"SELECT {column} FROM files").fetchone()
        for damaged in (bytes([value[0] ^ 1]) + value[1:], b"", None, "text", 7):
            connection.execute(f"UPDATE files SET {column} = ?", (damaged,))
            connection.commit()
            assert found(tmp_path, image) is None
    connection.close()


def test_non_utf8_names_are_kept(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    with open(path, "wb") as file:
        file.write(b"content")
    remember(tmp_path, path)
    assert found(tmp_path, path) == DIGEST


def test_no_flipped_byte_gives_a_wrong_digest(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    path = tmp_path / "digests.sqlite"
    whole = path.read_bytes()
    kept = unnoticed = 0
    # Most of the pages are empty; of those bytes every 41st will do.
    for at in (at for at in range(len(whole)) if whole[at] or at % 41 == 0):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        whole_says_the_check = not index_of(tmp_path).check().problem
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            digest = found(tmp_path, image)
        assert digest in (DIGEST, None)
        unnoticed += whole_says_the_check and digest is None
        kept += digest is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            remember(tmp_path, image)  # and whatever is damaged, the next run goes on
    assert kept  # some bytes decide nothing
    assert unnoticed <= 4  # a flip in the bookkeeping may lose the entry as if it had never been there


def test_a_cut_or_empty_file_gives_no_wrong_digest(tmp_path: Path, image: str) -> None:
    remember(tmp_path, image)
    path = tmp_path / "digests.sqlite"
    whole = path.read_bytes()
    for length in range(0, len(whole), 257):
        path.write_bytes(whole[:length])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert found(tmp_path, image) in (DIGEST, None)


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_a_link_to_somebody_else_s_database_is_left_alone(tmp_path: Path, image: str) -> None:
    sqlite3.connect(tmp_path / "mine.sqlite").close()
    (tmp_path / "digests.sqlite").symlink_to("mine.sqlite")
    assert index_of(tmp_path).check() == IndexCheck(0, "not a regular file", is_damage=True)
    with pytest.warns(StoreWarning, match="not a regular file.*set aside"):
        remember(tmp_path, image)
    assert (tmp_path / "mine.sqlite").read_bytes() == b""
    remember(tmp_path, image)
    assert found(tmp_path, image) == DIGEST


def test_a_check_tells_entries_and_damage_and_changes_nothing(tmp_path: Path, image: str) -> None:
    assert index_of(tmp_path).check() == IndexCheck(0)
    remember(tmp_path, image)
    path = tmp_path / "digests.sqlite"
    before = path.stat().st_mtime_ns
    assert index_of(tmp_path).check() == IndexCheck(1)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"no database" * 100)
    check = index_of(tmp_path).check()
    assert "not a database" in check.problem
    assert check.is_damage
