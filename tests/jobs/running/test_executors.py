from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import Any

from featx.jobs.running.executors import ClusterLostError, TaskExecutor, run_tasks


def double(task: int) -> int:
    if task < 0:
        raise ValueError(task)
    return 2 * task


def results(executor: Any, tasks: Any, function: Any = double) -> dict[int, Any]:
    return dict(run_tasks(executor, function, tasks))


def test_errors_are_returned() -> None:
    found = results(TaskExecutor(), [1, -2, 3])
    assert (found[1], str(found[-2]), found[3]) == (2, "-2", 6)


def test_tasks_are_taken_as_others_complete() -> None:
    taken: list[int] = []

    def tasks() -> Any:
        for task in range(5):
            taken.append(task)
            yield task

    seen = []
    for task, _ in run_tasks(TaskExecutor(), double, tasks()):
        seen.append(task)
        assert len(taken) == len(seen)
    assert seen == [0, 1, 2, 3, 4]


class Breaks(TaskExecutor):
    """Its futures fail, or are canceled."""

    def submit(self, function: object, task: str) -> Future[Any]:
        future: Future[Any] = Future()
        if task == "cancel":
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_exception(OSError())
        return future

    def convert(self, error: BaseException) -> BaseException:
        return ClusterLostError(type(error).__name__)


def test_errors_are_converted() -> None:
    found = dict(run_tasks(Breaks(), repr, ["cancel", "fail"]))
    assert {task: (type(error), str(error)) for task, error in found.items()} == {
        "cancel": (ClusterLostError, CancelledError.__name__),
        "fail": (ClusterLostError, "OSError"),
    }
