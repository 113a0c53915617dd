"""Let threads that call a function at the same time share its calls."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import inspect
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from featx.errors import EngineError, MissingDependencyError, ModelFileError, ResourceError, StoreError, WeightsError

_Result = TypeVar("_Result")

#: Maximum time that a call waits for threads that read their images. With eight threads on two cores, 8 ms reach 0.84
#: of the rate of one call and 12 ms 0.90, but delay a small image more while another thread reads a large one
#: (``tests.benchmarks serve-threads serve-large``).
_MAX_WAIT_SECONDS = 0.008


#: Errors of a network that cannot start, of memory or of a disk: a call for each thread would fail after the same time.
_ERRORS_OF_ALL = (
    EngineError,
    MissingDependencyError,
    ModelFileError,
    ResourceError,
    StoreError,
    WeightsError,
    MemoryError,
)


class ItemError:
    """Base class of errors that one item of a call can cause, although similar ones concern all items."""


class SharedCalls(Generic[_Result]):
    """Call a function on the items of all threads that wait for it.

    While the function runs for one thread, others wait. Then one of them passes the items of all that wait to one
    call. It first waits, for 8 milliseconds at most, for those that are in a :meth:`joining` block, if all callers use
    one. A single thread never waits. Those that wait longest go first.

    Parameters
    ----------
    function : callable
        Returns one result for each item of a list. Only one thread calls it at a time.
    max_items : int, default=64
        Maximum number of items of threads that share a call, so that no thread waits for the items of all others.
    """

    def __init__(self, function: Callable[[list[Any]], Sequence[_Result]], max_items: int = 64) -> None:
        is_method = inspect.ismethod(function)  # its object may hold these calls: they do not keep it alive
        self._function_of: Callable[[], Any] = weakref.WeakMethod(function) if is_method else lambda: function
        self._max_items = max_items
        self._reset()
        _instances.add(self)

    def _reset(self) -> None:
        """Forget all calls: those of other threads do not end in a forked process."""
        self._lock = threading.RLock()  # an interrupt cannot leave it locked, as it can a Condition's own `with`
        self._arrival, self._end_of_call = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: list[_Call[_Result]] = []
        self._runner: _Call[_Result] | None = None
        self._n_joining = 0

    def __reduce__(self) -> tuple[type[SharedCalls[_Result]], tuple[Any, int]]:
        return SharedCalls, (self._function_of(), self._max_items)  # locks and waiting threads belong to this process

    @contextlib.contextmanager
    def joining(self) -> Iterator[None]:
        """Let calls of other threads wait for this one, which prepares its items and passes them in this block."""
        with self._lock:
            self._n_joining += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_joining = max(0, self._n_joining - 1)  # a forked process has forgotten this block
                self._arrival.notify()

    def __call__(self, items: Sequence[Any]) -> list[_Result]:
        """Return the result of each item.

        If the function raises an error that one item can cause, it is called again for each thread alone: only those
        whose items cause it raise it. Any other error reaches all threads that share the call. An interrupt only
        reaches its own thread.
        """
        call: _Call[_Result] = _Call(items)
        try:
            with self._lock:
                self._waiting.append(call)
                self._arrival.notify()  # the one that collects calls; others need not wake up
            while not call.is_done:
                self._run_or_wait(call)
        except BaseException:
            self._end(call)
            raise
        error, call.error = call.error, None
        if error is None:
            return call.results
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame, so that it would keep itself and the items in memory

    def _run_or_wait(self, own: _Call[_Result]) -> None:
        """Run the calls of all waiting threads, or wait until another thread has run some."""
        with self._lock:
            if own.is_done:  # meanwhile
                return
            if self._runner is not None or self._waiting[0] is not own:
                self._end_of_call.wait()
                return
            self._runner = own
            self._arrival.wait_for(lambda: len(self._waiting) >= self._n_joining, _MAX_WAIT_SECONDS)
            n_shared = self._count_shared()
            own.shared, self._waiting = self._waiting[:n_shared], self._waiting[n_shared:]
        self._run(own.shared)
        self._end(own)

    def _count_shared(self) -> int:
        """Return how many of the waiting calls have `max_items` items together; the first may have more."""
        n_items = list(itertools.accumulate(len(call.items) for call in self._waiting))
        return max(1, bisect.bisect_right(n_items, self._max_items))

    def _run(self, calls: list[_Call[_Result]]) -> None:
        try:
            results = iter(self._function_of()([item for call in calls for item in call.items]))
            for call in calls:
                call.results = [next(results) for _ in call.items]
                call.is_done = True
        except Exception as error:
            if len(calls) == 1 or (isinstance(error, _ERRORS_OF_ALL) and not isinstance(error, ItemError)):
                for call in calls:
                    if not call.is_done:
                        call.error, call.is_done = error, True
                return
        for call in calls:
            if not call.is_done:
                self._run([call])

    def _end(self, own: _Call[_Result]) -> None:
        """Let another thread run; after an interrupt of this one, also the calls that it has not run."""

        def is_left(call: _Call[_Result]) -> bool:
            return not call.is_done and call is not own

        with self._lock:  # no loop: Python 3.12 does not unlock after an interrupt of its jump
            own.shared, self._waiting = [], list(filter(is_left, [*own.shared, *self._waiting]))
            if self._runner is own:
                self._runner = None
            self._end_of_call.notify_all()


@dataclasses.dataclass(eq=False)
class _Call(Generic[_Result]):
    """Items of one thread, their results or the error, and the calls that this thread runs."""

    items: Sequence[Any]
    shared: list[_Call[_Result]] = dataclasses.field(default_factory=list)
    results: list[_Result] = dataclasses.field(default_factory=list)
    error: Exception | None = None
    is_done: bool = False


_instances: weakref.WeakSet[SharedCalls[Any]] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for instance in _instances:
        instance._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
