"""Processes of this machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from featx.jobs.running.executors import WorkerLostError, run_tasks
from featx.jobs.running.local import LocalExecutor, interruptible


def die_at_three(task: int) -> int:
    if task == 3:
        os._exit(7)
    time.sleep(0.05)
    return os.getpid()


def test_dead_worker_identifies_its_task_and_others_go_on() -> None:
    with LocalExecutor(2) as executor:
        found: dict[int, Any] = dict(run_tasks(executor, die_at_three, range(8)))
    assert isinstance(found[3], WorkerLostError)
    assert str(found[3]) == "EXIT(7)"
    pids = {pid for task, pid in found.items() if task != 3}
    assert len(pids) in (2, 3)  # one of two workers was replaced
    assert os.getpid() not in pids


def test_threads_of_libraries_are_limited_if_there_are_several_workers() -> None:
    for n_jobs, expected in ((1, [os.environ.get("OMP_NUM_THREADS")]), (64, ["1"])):
        with LocalExecutor(n_jobs) as executor:
            assert [value for _, value in run_tasks(executor, os.getenv, ["OMP_NUM_THREADS"])] == expected


def store_at_end(path: str) -> None:
    with interruptible():
        try:
            Path(path).touch()
            time.sleep(60)
        finally:
            Path(path).write_text("stored")


@pytest.mark.parametrize("is_begun", [True, False])
def test_workers_store_what_they_have_if_the_run_ends(is_begun: bool, tmp_path: Path) -> None:
    path, started = tmp_path / "state", time.monotonic()
    with pytest.raises(KeyError), LocalExecutor(1) as executor:
        executor.submit(store_at_end, str(path))
        while is_begun and not path.exists():
            time.sleep(0.01)
        raise KeyError
    assert not is_begun or path.read_text() == "stored"
    assert time.monotonic() - started < 30


def test_signal_to_a_worker_ends_it() -> None:
    with LocalExecutor(1) as executor:
        (first,) = run_tasks(executor, _own_pid, [0])
        os.kill(first[1], signal.SIGTERM)
        time.sleep(0.5)
        (second,) = run_tasks(executor, _own_pid, [0])
        (third,) = run_tasks(executor, _own_pid, [0])
    assert isinstance(second[1], WorkerLostError)  # the client learns it with the next task
    assert third[1] not in (first[1], os.getpid())


def _own_pid(task: int) -> int:
    return os.getpid()
