from __future__ import annotations

import os
import time
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from featx.jobs.running.executors import (
    ClusterLostError,
    InlineExecutor,
    LocalExecutor,
    WorkerLostError,
    convert_errors,
    run_tasks,
)


def double(task: int) -> int:
    if task < 0:
        raise ValueError(task)
    return 2 * task


def die_at_three(task: int) -> int:
    if task == 3:
        os._exit(7)
    time.sleep(0.05)
    return os.getpid()


def results(executor: Any, tasks: Any, function: Any = double) -> dict[int, Any]:
    return {task: future.exception() or future.result() for task, future in run_tasks(executor, function, tasks)}


def test_inline_executor_returns_errors() -> None:
    found = results(InlineExecutor(), [1, -2, 3])
    assert (found[1], str(found[-2]), found[3]) == (2, "-2", 6)


def test_tasks_are_taken_as_others_complete() -> None:
    taken: list[int] = []

    def tasks() -> Any:
        for task in range(5):
            taken.append(task)
            yield task

    seen = []
    for task, _ in run_tasks(InlineExecutor(), double, tasks()):
        seen.append(task)
        assert len(taken) == len(seen)
    assert seen == [0, 1, 2, 3, 4]


def test_dead_worker_identifies_its_task_and_others_go_on() -> None:
    with LocalExecutor(2) as executor:
        found = results(executor, range(8), die_at_three)
    assert isinstance(found[3], WorkerLostError)
    assert str(found[3]) == "EXIT(7)"
    pids = {pid for task, pid in found.items() if task != 3}
    assert len(pids) in (2, 3)  # one of two workers was replaced
    assert os.getpid() not in pids


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_errors_are_converted(is_cancelled: bool) -> None:
    future: Future[int] = Future()
    converted = convert_errors(future, lambda error: ClusterLostError(type(error).__name__))
    if is_cancelled:
        future.cancel()
        future.set_running_or_notify_cancel()
    else:
        future.set_exception(OSError())
    with pytest.raises(ClusterLostError, match=CancelledError.__name__ if is_cancelled else "OSError"):
        converted.result(timeout=5)


def test_results_are_passed_on() -> None:
    future: Future[int] = Future()
    converted = convert_errors(future, lambda error: error)
    future.set_result(3)
    assert converted.result(timeout=5) == 3
