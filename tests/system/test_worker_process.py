from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from featx.system.worker_process import WorkerDiedError, WorkerProcess


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    worker = WorkerProcess({"FEATX_OF_THE_TEST": "set"})
    worker.start()
    yield worker
    worker.shutdown(kill=True)


def test_tasks_run_in_the_process_until_it_must_end(worker: WorkerProcess) -> None:
    assert worker.run(os.getpid) not in (os.getpid(), None)
    assert worker.run(os.getenv, "FEATX_OF_THE_TEST") == "set"
    assert worker.terminate() is None  # it is at no task
    with pytest.raises(CancelledError):
        worker.run(os.getpid)


def test_process_that_dies_is_reported(worker: WorkerProcess) -> None:
    with pytest.raises(WorkerDiedError, match="3"):
        worker.run(os._exit, 3)


def test_task_of_a_process_that_must_end_is_returned(worker: WorkerProcess) -> None:
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(worker.run, time.sleep, 0.5)
        deadline = time.monotonic() + 10
        while (task := worker._task) is None or not task.running():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert worker.terminate() is task
        running.result(10)  # SIGTERM interrupts only blocks that are declared interruptible
