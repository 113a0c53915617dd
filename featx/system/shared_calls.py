"""Let threads that call a function at the same time share its calls."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")

#: Maximum time that a call waits for those of other threads.
_MAX_WAIT_SECONDS = 0.002


class SharedCalls(Generic[_Result]):
    """Call a function on the items of all threads that wait for it.

    While the function runs for one thread, others wait. Then one of them passes the items of all that wait to one
    call. It first waits, for two milliseconds at most, until as many threads wait as shared the last call. So a lone
    thread waits only once, after threads that shared a call.

    Parameters
    ----------
    function : callable
        Returns one result for each item of a list. Only one thread calls it at a time.
    """

    def __init__(self, function: Callable[[list[Any]], Sequence[_Result]]) -> None:
        self._function = function
        self._change = threading.Condition()
        self._waiting: list[_Call[_Result]] = []
        self._is_running = False
        self._n_shared = 1

    def __reduce__(self) -> tuple[type[SharedCalls[_Result]], tuple[Any]]:
        return SharedCalls, (self._function,)  # locks and waiting threads belong to this process

    def __call__(self, items: Sequence[Any]) -> list[_Result]:
        """Return the result of each item.

        Every thread that shares the call raises an error of its own; an interrupt only reaches its own thread.
        """
        call: _Call[_Result] = _Call(items)
        with self._change:
            self._waiting.append(call)
            self._change.notify_all()
        try:
            while not call.is_done:
                self._run_or_wait(call)
        except BaseException:
            with self._change:
                self._waiting = [other for other in self._waiting if other is not call]
            raise
        if call.error is not None:
            raise call.error
        return call.results

    def _run_or_wait(self, own: _Call[_Result]) -> None:
        """Run the calls of all waiting threads, or wait until another thread has run some."""
        with self._change:
            if self._is_running:
                self._change.wait()
                return
            self._is_running = True
        calls: list[_Call[_Result]] = []
        try:
            with self._change:
                self._change.wait_for(lambda: len(self._waiting) >= self._n_shared, _MAX_WAIT_SECONDS)
                calls, self._waiting = self._waiting, []
                self._n_shared = len(calls)
            results = iter(self._function([item for call in calls for item in call.items]))
            for call in calls:
                call.results = [next(results) for _ in call.items]
                call.is_done = True
        except Exception as error:
            for call in calls:
                call.error, call.is_done = error if call is own else _copy(error), True
        finally:
            with self._change:  # after an interrupt of this thread, the others run their items themselves
                self._waiting = [call for call in calls if not call.is_done and call is not own] + self._waiting
                self._is_running = False
                self._change.notify_all()


def _copy(error: Exception) -> Exception:
    """Return an equal error for another thread: raising one object in several would mix their tracebacks."""
    try:
        other = copy.copy(error)
    except Exception:  # its class has arguments that it does not keep
        return error
    other.__cause__ = error
    return other


@dataclasses.dataclass(eq=False)
class _Call(Generic[_Result]):
    """Items of one thread, and their results or the error."""

    items: Sequence[Any]
    results: list[_Result] = dataclasses.field(default_factory=list)
    error: Exception | None = None
    is_done: bool = False
