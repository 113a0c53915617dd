"""Read items that are stored one after another, such as the files of a compressed tar, without reading any twice."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from featx.errors import ImageTooLargeError, UnreachableImageError
from featx.system.formatting import format_bytes

#: Maximum number of bytes that are kept because other threads may ask for them soon.
MAX_BUFFERED_BYTES = 256 * 2**20


class Item(NamedTuple):
    """One item: its position, its number of bytes, and a function that reads it."""

    position: int
    n_bytes: int
    read: Callable[[], Any]


class SequentialReader:
    """Read items in their own order. Items that are passed on the way are buffered up to a limit.

    Threads ask for neighbors in any order.

    Parameters
    ----------
    walk : callable
        Function that returns an iterator over the items from an index on.
    start_of : callable or None, default=None
        Function that returns the last index, at most a given one, from which `walk` can start. None: only from 0.
    max_buffered_bytes : int, default=268_435_456
        Maximum number of buffered bytes, in addition to the item that is read.
    """

    def __init__(
        self,
        walk: Callable[[int], Iterator[Item]],
        start_of: Callable[[int], int] | None = None,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
    ) -> None:
        self._walk = walk
        self._start_of = start_of or (lambda index: 0)
        self._max_buffered_bytes = max_buffered_bytes
        self._items: Iterator[Item] = iter(())
        self._position = -1
        self._buffer: collections.OrderedDict[int, tuple[int, Any]] = collections.OrderedDict()
        self._lock = threading.Lock()
        self.n_buffered_bytes = 0

    def read(self, index: int, max_bytes: int) -> Any:
        """Return an item.

        Raises
        ------
        ImageTooLargeError
            It has more than `max_bytes`.
        UnreachableImageError
            There is no such item any more.
        """
        with self._lock:
            if index not in self._buffer:
                self._advance_to(index, max_bytes)
            n_bytes, data = self._buffer.pop(index)
            self.n_buffered_bytes -= n_bytes
        return data

    def _advance_to(self, target: int, max_bytes: int) -> None:
        start = self._start_of(target)
        if not start <= self._position <= target:
            self._items = self._walk(start)
        self._position = -1  # an error ends the iterator
        for index, n_bytes, read in self._items:
            if index == target:
                check_n_bytes(n_bytes, max_bytes)
            if n_bytes <= max_bytes:
                self._add_to_buffer(index, n_bytes, read(), target)
            if index == target:
                self._position = target + 1
                return
        raise UnreachableImageError("the archive changed while it was read")

    def _add_to_buffer(self, index: int, n_bytes: int, data: Any, target: int) -> None:
        self.n_buffered_bytes += n_bytes - self._buffer.pop(index, (0, None))[0]
        self._buffer[index] = n_bytes, data
        while self.n_buffered_bytes > self._max_buffered_bytes and next(iter(self._buffer)) != target:
            self.n_buffered_bytes -= self._buffer.popitem(last=False)[1][0]


def check_n_bytes(n_bytes: int, max_bytes: int) -> None:
    """Raise an error if a file has more than `max_bytes`.

    Raises
    ------
    ImageTooLargeError
    """
    if n_bytes > max_bytes:
        raise ImageTooLargeError(
            f"the file has {format_bytes(n_bytes)}, more than the limit of {format_bytes(max_bytes)}"
        )
