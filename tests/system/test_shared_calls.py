from __future__ import annotations

import contextlib
import gc
import itertools
import linecache
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from featx.errors import EngineError
from featx.extraction.compute import BatchError
from featx.system.shared_calls import SharedCalls


class Slow:
    """A function whose first call lasts until :meth:`end_first`; it records its arguments."""

    def __init__(self, fail: Callable[[list[int]], None] = lambda items: None) -> None:
        self.calls: list[list[int]] = []
        self.first_runs, self._may_end = threading.Event(), threading.Event()
        self._fail = fail

    def __call__(self, items: list[int]) -> list[int]:
        self.calls.append(items)
        self.first_runs.set()
        assert self._may_end.wait(10)
        self._fail(items)
        return [10 * item for item in items]

    def end_first(self) -> None:
        self._may_end.set()


def run_together(function: Slow, threads: ThreadPoolExecutor, items: list[list[int]]) -> list[Future[list[int]]]:
    """Call a function from one thread, and from others while it runs."""
    shared: SharedCalls[int] = SharedCalls(function)
    first = threads.submit(shared, items[0])
    assert function.first_runs.wait(10)
    others = [threads.submit(shared, part) for part in items[1:]]
    while len(shared._waiting) < len(others):
        time.sleep(0.001)
    function.end_first()
    return [first, *others]


def test_waiting_threads_share_a_call() -> None:
    function, items = Slow(), [[1], *([number, number + 1] for number in range(8)), []]
    with ThreadPoolExecutor(16) as threads:
        results = [future.result(10) for future in run_together(function, threads, items)]
    assert results == [[10 * item for item in part] for part in items]
    assert [sorted(call) for call in function.calls] == [[1], sorted(item for part in items[1:] for item in part)]


def test_a_call_waits_for_a_thread_that_prepares_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.system.shared_calls._MAX_WAIT_SECONDS", 10.0)
    calls: list[list[int]] = []
    shared: SharedCalls[int] = SharedCalls(lambda items: calls.append(items) or items)

    def join(items: list[int]) -> list[int]:
        with shared.joining():
            return shared(items)

    with ThreadPoolExecutor(1) as threads:
        with shared.joining():
            first = threads.submit(join, [1])
            deadline = time.monotonic() + 5
            while not shared._waiting:
                assert time.monotonic() < deadline, "the first call did not wait"
                time.sleep(0.001)
            assert shared([2]) == [2]
        assert first.result(10) == [1]
    assert calls == [[1, 2]]


def test_a_call_does_not_wait_for_a_thread_that_fails_to_prepare_its_items() -> None:
    shared: SharedCalls[int] = SharedCalls(lambda items: items)
    with contextlib.suppress(ValueError), shared.joining():
        raise ValueError
    assert shared([1]) == [1]
    assert shared._n_joining == 0


def test_lone_thread_calls_the_function_itself() -> None:
    threads = set()

    def function(items: list[int]) -> list[int]:
        threads.add(threading.current_thread())
        return items

    shared: SharedCalls[int] = SharedCalls(function)
    assert [shared([number]) for number in range(3)] == [[0], [1], [2]]
    assert threads == {threading.current_thread()}


def test_error_only_reaches_the_threads_whose_items_cause_it() -> None:
    def fail(items: list[int]) -> None:
        if -1 in items:
            raise BatchError("the network failed")

    function = Slow(fail)
    with ThreadPoolExecutor(4) as threads:
        first, good, bad = run_together(function, threads, [[1], [2], [-1]])
        assert (first.result(10), good.result(10)) == ([10], [20])
        with pytest.raises(EngineError, match="the network failed"):
            bad.result(10)
    shared: SharedCalls[int] = SharedCalls(function)
    assert shared([3]) == [30]


@pytest.mark.parametrize("error", [EngineError("the network cannot start"), MemoryError()])
def test_error_of_the_whole_call_is_not_repeated_for_each_thread(error: Exception) -> None:
    def fail(items: list[int]) -> None:
        if items != [1]:
            raise error

    function = Slow(fail)
    with ThreadPoolExecutor(5) as threads:
        first, *others = run_together(function, threads, [[number] for number in range(1, 6)])
        assert first.result(10) == [10]
        assert [future.exception(10) for future in others] == [error] * 4
    assert len(function.calls) == 2


def test_error_keeps_no_items_in_memory() -> None:
    def function(items: list[set[int]]) -> list[int]:
        raise EngineError("the network failed")

    shared: SharedCalls[int] = SharedCalls(function)
    items = [set(range(3))]
    item = weakref.ref(items[0])
    gc.disable()
    try:
        with contextlib.suppress(EngineError):
            shared(items)
        items.clear()
        assert item() is None
    finally:
        gc.enable()


def test_threads_that_wait_longest_share_a_call_of_limited_size() -> None:
    function, sizes = Slow(), [1, 40, 20, 10, 63, 70, 1]
    shared: SharedCalls[int] = SharedCalls(function)
    with ThreadPoolExecutor(8) as threads:
        futures = []
        for index, size in enumerate(sizes):
            futures.append(threads.submit(shared, [index] * size))
            while index and len(shared._waiting) < index:
                time.sleep(0.001)
            assert function.first_runs.wait(10)
        function.end_first()
        assert [future.result(10) for future in futures] == [[10 * index] * size for index, size in enumerate(sizes)]
    assert [list(dict.fromkeys(call)) for call in function.calls] == [[0], [1, 2], [3], [4], [5], [6]]


def test_interrupt_of_one_thread_does_not_reach_the_others() -> None:
    interrupts = [KeyboardInterrupt()]

    def fail(items: list[int]) -> None:
        if len(items) > 1 and interrupts:
            raise interrupts.pop()

    with ThreadPoolExecutor(4) as threads:
        first, *others = run_together(Slow(fail), threads, [[1], [2], [3], [4]])
        assert first.result(10) == [10]
        errors = [future.exception(10) for future in others]
    assert sorted(type(error).__name__ for error in errors) == ["KeyboardInterrupt", "NoneType", "NoneType"]


def test_interrupt_at_any_line_does_not_block_later_calls() -> None:
    """Raise an interrupt at the first line of a call, then at the second, and so on."""

    def interrupt_at(number: int) -> bool:
        n_lines = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal n_lines
            if not frame.f_code.co_filename.endswith("shared_calls.py"):
                return None
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if event == "line" and not line.lstrip().startswith("with "):  # Python unlocks without interruption
                n_lines += 1
                if n_lines == number:
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            shared([1])
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        return False

    shared: SharedCalls[int] = SharedCalls(lambda items: items)
    for number in itertools.count(1):
        is_interrupted = interrupt_at(number)
        later = threading.Thread(target=shared, args=([2],), daemon=True)
        later.start()
        later.join(5)
        assert not later.is_alive(), f"a call waits after an interrupt at line {number}"
        if not is_interrupted:
            break
    assert number > 15


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_process_that_is_forked_during_a_call_does_not_wait_for_it() -> None:
    function = Slow()
    with ThreadPoolExecutor(1) as threads:
        shared: SharedCalls[int] = SharedCalls(function)
        running = threads.submit(shared, [1])
        assert function.first_runs.wait(10)
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends a process that waits
            function.end_first()
            os._exit(0 if shared([2]) == [20] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        function.end_first()
        assert running.result() == [10]
