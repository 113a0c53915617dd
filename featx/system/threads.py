"""Process blocks in threads, ahead of the consumer; call a function regularly in a thread."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from featx.system.processes import n_cores

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_JOIN_SECONDS = 5.0


def map_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], n_threads: int | None = None
) -> Generator[_Result]:
    """Yield the result of a function for each item, in order. At most two items per thread are in progress.

    BLAS uses one thread in each of them, so that all of the function runs in parallel, not only its matrix products.

    Parameters
    ----------
    function : callable
    items : iterable
    n_threads : int or None, default=None
        Number of threads. None: the number of cores.
    """
    from threadpoolctl import threadpool_limits

    n_threads = n_threads or n_cores()
    with threadpool_limits(limits=1), concurrent.futures.ThreadPoolExecutor(n_threads) as threads:
        remaining = iter(items)
        pending = [threads.submit(function, item) for item in itertools.islice(remaining, 2 * n_threads)]
        while pending:
            result = pending.pop(0).result()
            pending += [threads.submit(function, item) for item in itertools.islice(remaining, 1)]
            yield result


def parallel_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], n_jobs: int | None
) -> Generator[_Result]:
    """Yield the result of a function for each item, in order, in threads of joblib: nested fits take no more threads.

    Parameters
    ----------
    function : callable
    items : iterable
    n_jobs : int or None
        Number of threads as scikit-learn counts them. -1: one per core. None: 1.
    """
    from joblib import Parallel, delayed

    call = delayed(function)
    results = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(call(item) for item in items)
    try:
        yield from results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # results that nobody takes after an error are no surprise
            results.close()


@contextlib.contextmanager
def repeating(function: Callable[[], object], seconds: float, *, max_share: float = 1.0) -> Iterator[None]:
    """Call a function regularly in a thread while the block runs; at its end, wait some seconds for a call that runs.

    Parameters
    ----------
    function : callable
        It must not raise.
    seconds : float
        Minimum pause between two calls.
    max_share : float, default=1.0
        Maximum share of the time that the function runs; the pause grows if it is slow.
    """
    is_over = threading.Event()

    def repeat() -> None:
        pause = seconds
        while not is_over.wait(pause):
            started = time.monotonic()
            function()
            pause = max(seconds, (time.monotonic() - started) / max_share)

    thread = threading.Thread(target=repeat, daemon=True, name=f"featx-{function.__name__}")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(timeout=_JOIN_SECONDS)
