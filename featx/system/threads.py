"""Process blocks in threads, ahead of the consumer, and import modules in one thread at a time."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from featx.system.processes import n_cores

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_import_lock = threading.RLock()


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
def hidden_modules(importing: str, names: Iterable[str]) -> Iterator[None]:
    """Let imports of modules fail in a block that imports another one, unless this or they were imported before.

    Only one thread at a time is in such a block.

    Parameters
    ----------
    importing : str
        Name of the module that the block imports.
    names : iterable of str
        Names of the modules to hide.
    """
    with _import_lock:
        hidden = [] if importing in sys.modules else [name for name in names if name not in sys.modules]
        for name in hidden:
            sys.modules[name] = None  # type: ignore[assignment]  # documented: makes imports fail
        try:
            yield
        finally:
            for name in hidden:
                sys.modules.pop(name, None)


_lock = threading.Lock()
_locks: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()


def lock_of(shared: Any) -> threading.Lock:
    """Return the lock of an object that several threads may use, such as an open file; others do not wait for it."""
    try:
        with _lock:
            return _locks.setdefault(shared, threading.Lock())
    except TypeError:  # it has no hash or no weak references
        return _lock


def _renew_locks() -> None:
    global _lock, _locks  # another thread of the parent may have held them
    _lock, _locks = threading.Lock(), weakref.WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
