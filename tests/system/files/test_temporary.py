"""Temporary files are in the first folder that can be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx.errors import ResourceError
from featx.system.files import temporary
from featx.system.files.temporary import folder_until_exit, temporary_folder, temporary_place
from featx.system.locks import FairLock, try_lock


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    temporary._known.clear()


def _no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *writable: Path) -> None:
    """Let only some folders be writable."""
    monkeypatch.setattr(
        temporary, "write_problem", lambda folder: "" if folder in writable else "Read-only file system"
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "unwritable"))


def test_folder_of_the_system_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert temporary_place() == tmp_path
    with temporary_folder() as folder:
        assert folder.parent == tmp_path
        assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert list(tmp_path.iterdir()) == []


def test_folder_until_exit_is_removed_by_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = folder_until_exit()
    temporary._remove_own(folder, os.getpid() + 1)  # in a forked process
    assert list(tmp_path.iterdir()) == [folder]
    temporary._remove_own(folder, os.getpid())
    assert list(tmp_path.iterdir()) == []
    killed = folder.with_name(folder.name.replace(f"-{os.getpid()}-", "-4194305-"))  # no process has this number
    killed.mkdir()
    with temporary_folder():
        assert not killed.exists()


def test_memory_and_cache_come_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, cache = tmp_path / "shm", tmp_path / "xdg" / "featx"
    memory.mkdir()
    monkeypatch.setattr(temporary, "_SHARED_MEMORY", str(memory))
    _no_folder(monkeypatch, tmp_path, memory, cache)
    assert temporary_place() == memory
    temporary._known.clear()
    _no_folder(monkeypatch, tmp_path, cache)
    assert temporary_place() == cache


def test_without_a_folder_the_error_names_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_folder(monkeypatch, tmp_path)
    with pytest.raises(ResourceError, match=r"No folder for temporary files.*unwritable.*Set the environment.*TMPDIR"):
        temporary_place()
    lock = FairLock("name")  # processes do not wait for each other then
    lock.acquire()
    assert lock.locked
    lock.release()
    with try_lock("name") as is_locked:
        assert is_locked


def test_working_folder_is_not_used(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", os.getcwd())  # Python's last resort
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert temporary_place() != in_folder
