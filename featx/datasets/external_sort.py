"""Names in order, however many: what does not fit into memory waits in files."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

#: Names in memory at a time, of some 100 bytes each.
_AT_ONCE = 500_000


def in_order(names: Iterable[str]) -> Iterator[str]:
    """Return names sorted as :func:`sorted` would; all of them are taken before the first is given.

    Examples
    --------
    >>> list(in_order(["b", "a", "a.jpg"]))
    ['a', 'a.jpg', 'b']
    """
    remaining = iter(names)
    kept = sorted(itertools.islice(remaining, _AT_ONCE))
    following = list(itertools.islice(remaining, _AT_ONCE))
    if not following:
        return iter(kept)
    files = []
    with contextlib.ExitStack() as opened:
        while following:
            files.append(opened.enter_context(_kept_in_file(kept)))
            kept = sorted(following)
            following = list(itertools.islice(remaining, _AT_ONCE))
        return _merged(files, kept, opened.pop_all())


def _kept_in_file(names: list[str]) -> IO[str]:
    file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115  # closed by the caller
    file.writelines(f"{json.dumps(name)}\n" for name in names)  # JSON: names of any letters, new lines too
    file.seek(0)
    return file


def _merged(files: list[IO[str]], kept: list[str], opened: contextlib.ExitStack) -> Iterator[str]:
    with opened:
        yield from heapq.merge(*(map(json.loads, file) for file in files), kept)
