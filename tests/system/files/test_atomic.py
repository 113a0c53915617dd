from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featx.system.files.atomic import (
    atomic_write,
    make_folder,
    remove_abandoned,
    sync_folder,
    write_problem,
    write_text,
)
from featx.system.processes import is_process_running, pid_namespace, process_start_time
from featx.testing import faults


def test_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_exception_keeps_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_zombie_is_not_running() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_process_running(process.pid)
    assert is_process_running(process.pid, process_start_time(process.pid))
    if process_start_time(process.pid) is not None:  # Linux
        assert not is_process_running(process.pid, 1)  # that was another, which had the number before
    process.kill()
    assert process.stdin is not None
    process.stdin.close()
    until = time.monotonic() + 10
    while is_process_running(process.pid):  # it keeps its number until it is waited for
        assert time.monotonic() < until
    assert process.wait() == -9


def test_file_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    replace = os.replace
    monkeypatch.setattr("featx.system.files.atomic.os.fsync", lambda descriptor: done.append("synced"))
    monkeypatch.setattr("featx.system.files.atomic.os.replace", lambda *paths: (done.append("named"), replace(*paths)))
    write_text(tmp_path / "a", "new")
    sync_folder(tmp_path)
    assert done == ["synced", "named", "synced"]


def test_old_files_of_other_machines_are_removed(tmp_path: Path) -> None:
    young, old = (tmp_path / f".featx-other.host-1-0123abcd-{n * 8}.tmp" for n in "12")
    for path in (young, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    remove_abandoned(tmp_path)
    assert os.listdir(tmp_path) == [young.name]


def test_earlier_process_with_the_same_pid(tmp_path: Path) -> None:
    (tmp_path / f".featx-{pid_namespace()}-{os.getpid()}-00000000-11111111.tmp").write_text("half")
    remove_abandoned(tmp_path)
    assert os.listdir(tmp_path) == []


def test_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from featx.system.files.atomic import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1]) / 'a') as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with atomic_write(tmp_path / "b") as mine:
        mine.write_text("half")
        assert len(os.listdir(tmp_path)) == 2
        remove_abandoned(tmp_path)
        assert os.listdir(tmp_path) == [mine.name]


def test_impossible_pid(tmp_path: Path) -> None:
    for pid in ("9" * 10, "9" * 14):
        (tmp_path / f".featx-{pid_namespace()}-{pid}-00000000-11111111.tmp").write_text("half")
    remove_abandoned(tmp_path)


def test_make_folder_is_durable(tmp_path: Path) -> None:
    with faults.recording() as calls:
        make_folder(tmp_path / "a" / "b")
        make_folder(tmp_path / "a" / "b")
    assert [call.split()[0] for call in calls] == ["mkdir", "fsync"] * 2
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="exists"):
        make_folder(tmp_path / "file")


def test_write_problem(tmp_path: Path) -> None:
    assert write_problem(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
    assert write_problem(tmp_path / "absent") == "No such file or directory"
    if Path("/proc").is_dir():  # whose permissions promise root everything
        assert write_problem(Path("/proc"))
