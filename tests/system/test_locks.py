from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from featx.system import locks
from featx.system.locks import FairLock, try_lock, wait_lock
from featx.testing import CountingBackbone
from tests.extraction.helpers import extract
from tests.store.processes import computed, finish, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX file locks")


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Name of a lock that no other test uses."""
    return str(tmp_path)


def test_second_lock_waits_for_release(name: str) -> None:
    first, second = FairLock(name), FairLock(name)
    first.hold_seconds = 0.0
    first.acquire()
    assert first.locked
    assert not first.should_release  # no process waits
    acquired_at: list[float] = []
    thread = threading.Thread(target=lambda: (second.acquire(), acquired_at.append(time.monotonic())))
    thread.start()
    deadline = time.monotonic() + 10
    while not first.should_release and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not acquired_at
    released_at = time.monotonic()
    first.release()
    thread.join(10)
    assert acquired_at[0] >= released_at
    assert second.locked
    assert not first.locked
    second.release()


def test_new_lock_should_not_be_released(name: str) -> None:
    lock = FairLock(name)
    lock.acquire()
    assert not lock.should_release
    lock.release()


def test_release_lets_waiting_processes_go_first(name: str) -> None:
    order: list[str] = []

    def work(worker: str) -> None:
        lock = FairLock(name)
        for _ in range(5):
            lock.acquire()
            order.append(worker)
            time.sleep(0.03)
            lock.release()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(previous != current for previous, current in itertools.pairwise(order)) >= 6, order


def test_stale_holder_is_not_waited_for(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A process that sleeps is waited for once, and the lock of a killed process is free."""
    code = (
        "import sys, time; from featx.system.locks import FairLock\n"
        "FairLock(sys.argv[1]).acquire(); print('locked', flush=True); time.sleep(60)"
    )
    lock = FairLock(name)
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        lock.stale_seconds = 0.5
        lock.acquire()
        assert lock.locked
        lock.release()
        assert "Check whether the other process is stopped (Ctrl-Z) or stuck." in caplog.text
        started = time.monotonic()
        FairLock(name).acquire()  # the same heartbeat is not waited for again
        assert time.monotonic() - started < 1
        holder.kill()
        holder.wait()
    lock.stale_seconds = 60.0
    lock.acquire()
    lock.release()


def test_holder_with_heartbeat_is_waited_for(name: str) -> None:
    holder, waiting = FairLock(name), FairLock(name)
    waiting.stale_seconds, holder.heartbeat_seconds = 0.4, 0.1
    holder.acquire()

    def hold() -> None:
        for _ in range(20):
            time.sleep(0.06)
            assert not holder.should_release
        holder.release()

    thread = threading.Thread(target=hold)
    started = time.monotonic()
    thread.start()
    waiting.acquire()
    assert time.monotonic() - started > 1
    thread.join()
    waiting.release()


def test_missing_file_locks_do_not_block(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("featx.system.locks.temporary_place", lambda: tmp_path / "absent")
    for lock in (FairLock(name), FairLock(name)):
        lock.acquire()
        assert lock.locked
        assert not lock.should_release
    monkeypatch.setattr(locks, "fcntl", None)
    FairLock(name).acquire()
    with try_lock(name) as is_locked:
        assert is_locked


def test_try_lock_does_not_wait(name: str) -> None:
    with try_lock(name) as first, try_lock(name) as second, try_lock(f"{name}/other") as other:
        assert (first, second, other) == (True, False, True)
    with try_lock(name) as again:
        assert again


def test_wait_lock(name: str) -> None:
    def hold() -> str:
        with wait_lock(name):
            return "held"

    with ThreadPoolExecutor(1) as threads:
        with try_lock(name):
            waiting = threads.submit(hold)
            time.sleep(0.1)
            assert not waiting.done()
            with wait_lock(name, max_seconds=0.05), try_lock(name) as is_locked:  # a holder that is stopped
                assert not is_locked
        assert waiting.result(10) == "held"
    with wait_lock(name), try_lock(name) as is_locked:
        assert not is_locked


def test_lock_files_are_few_and_in_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("featx.system.locks.temporary_place", lambda: tmp_path)
    for number in range(100):
        lock = FairLock(f"lock {number}")
        lock.acquire()
        lock.release()
        with try_lock(f"lock {number}") as is_locked:
            assert is_locked
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"featx-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert 1 < len(list(folder.iterdir())) <= 16


def test_lock_folder_of_another_user_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("featx.system.locks.temporary_place", lambda: tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"featx-{os.getuid()}").symlink_to("elsewhere")
    with try_lock("a") as is_locked:
        assert is_locked
    assert not list((tmp_path / "elsewhere").iterdir())


def test_lock_file_that_its_holder_deleted_is_no_lock(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that opened the file before its holder deleted it opens the new one."""
    monkeypatch.setattr("featx.system.locks.temporary_place", lambda: tmp_path)
    lock_file, opened = locks._lock_file, []

    def open_late(path: Path, *, exclusive: bool) -> int | None:
        descriptor = lock_file(path, exclusive=exclusive)
        opened.append(path)
        if len(opened) == 1:
            path.unlink()
        return descriptor

    monkeypatch.setattr(locks, "_lock_file", open_late)
    with try_lock(name) as first:
        monkeypatch.setattr(locks, "_lock_file", lock_file)
        with try_lock(name) as second:
            assert (first, second) == (True, False)
    assert len(opened) == 2


def test_concurrent_processes_compute_each_row_once(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    reference, _ = extract(paths, None)
    logs = [tmp_path / str(number) for number in range(3)]
    # Slow enough that each process releases the lock before it is done.
    runs = [start(log, tmp_path / "cache", paths, seconds=0.05, hold_seconds=0.2) for log in logs]
    for log, run in zip(logs, runs, strict=True):
        finish(run)
        np.testing.assert_array_equal(np.load(f"{log}.npy"), reference)
    rows = [row for log in logs for row in computed(log)]
    assert len(rows) == len(set(rows)) == 24
    assert set(rows) == {row.tobytes().hex() for row in reference}
    assert sum(bool(computed(log)) for log in logs) > 1
