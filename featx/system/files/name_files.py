"""Lists of names that may not fit into memory: in temporary files, and sorted through them."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator

from featx.system.files.temporary import temporary_place

#: Maximum number of names in memory, of about 100 bytes each.
_MAX_IN_MEMORY = 500_000


class NameFile(contextlib.AbstractContextManager["NameFile"]):
    """Names in a temporary file, which is deleted when it is closed.

    Each line is a JSON string: names may contain line breaks and lone surrogates.

    Parameters
    ----------
    names : iterable of str

    Examples
    --------
    >>> with NameFile(["b", "a"]) as names:
    ...     list(names), list(names)
    (['b', 'a'], ['b', 'a'])
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="ascii", dir=temporary_place())  # noqa: SIM115  # closed by `close`
        try:
            self._file.writelines(f"{json.dumps(name)}\n" for name in names)
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        return map(json.loads, self._file)

    def __exit__(self, *error: object) -> None:
        self._file.close()


def sort_names(names: Iterable[str], max_in_memory: int = _MAX_IN_MEMORY) -> Iterator[str]:
    """Return names in the order of :func:`sorted`. All of them are read before the first is returned.

    Parameters
    ----------
    names : iterable of str
    max_in_memory : int, default=500_000
        Maximum number of names of each of two lists in memory. More names are sorted in temporary files.

    Examples
    --------
    >>> list(sort_names(["b", "a", "a.jpg"]))
    ['a', 'a.jpg', 'b']
    """
    remaining = iter(names)
    batch = sorted(itertools.islice(remaining, max_in_memory))
    next_batch = list(itertools.islice(remaining, max_in_memory))
    if not next_batch:
        return iter(batch)
    files = []
    with contextlib.ExitStack() as opened:
        while next_batch:
            files.append(opened.enter_context(NameFile(batch)))
            batch = sorted(next_batch)
            next_batch = list(itertools.islice(remaining, max_in_memory))
        return _merge(files, batch, opened.pop_all())


def _merge(files: list[NameFile], batch: list[str], opened: contextlib.ExitStack) -> Iterator[str]:
    with opened:
        yield from heapq.merge(*files, batch)
