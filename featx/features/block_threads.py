"""Work on one block after another in threads, a few blocks ahead of who takes the results."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from featx.system.processes import n_cores

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def side_by_side(
    work: Callable[[_Item], _Result], items: Iterable[_Item], n_threads: int | None = None
) -> Generator[_Result]:
    """Yield what some work gives for each item, in order; no more than a few results wait.

    Each thread has one BLAS thread, so that all of the work is done side by side, and not the products alone.

    Parameters
    ----------
    work : callable
    items : iterable
    n_threads : int or None, default=None
        None is as many as there are cores.
    """
    from threadpoolctl import threadpool_limits

    n_threads = n_threads or n_cores()
    with threadpool_limits(limits=1), concurrent.futures.ThreadPoolExecutor(n_threads) as threads:
        remaining = iter(items)
        waiting = [threads.submit(work, item) for item in itertools.islice(remaining, 2 * n_threads)]
        while waiting:
            found = waiting.pop(0).result()
            waiting += [threads.submit(work, item) for item in itertools.islice(remaining, 1)]
            yield found
