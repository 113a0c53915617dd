"""Faults on purpose: calls to the file system that fail, or at which the process dies.

Every call that changes the file system passes here under a name: ``open`` (for writing), ``write``, ``fsync``,
``replace``, ``unlink``, ``mkdir``, ``rmdir``. A run without a fault lists them; a test then repeats the run once for
each::

    with faults.watching() as calls:
        store.commit()
    for n in range(len(calls)):
        with pytest.raises(faults.Killed), faults.killing(n):
            store.commit()
        # … and look at what is on disk
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from featx import files


class Killed(BaseException):
    """The process is dead. No ``except Exception`` holds it, and nothing it still tries reaches the disk."""


class _Watch:
    """Pass calls on, and let `fault` raise before some of them; a write that fails has written its first half."""

    def __init__(self, fault: Callable[[int, str], None]) -> None:
        self.calls: list[str] = []
        self._fault = fault

    def call(self, name: str, path: object) -> None:
        self.calls.append(f"{name} {os.path.basename(os.fspath(path)) if isinstance(path, str | os.PathLike) else ''}")
        self._fault(len(self.calls) - 1, name)

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *args: Any, **options: Any) -> Any:
            self.call(name, path)
            return real(path, *args, **options)

        return called

    def open(self, path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        writes = set(mode) & set("wxa+")
        if writes:
            self.call("open", path)
        file = _open(path, mode, *args, **options)
        return _File(file, self, path) if writes and "+" not in mode else file


class _File:
    def __init__(self, file: Any, watch: _Watch, path: Any) -> None:
        self._file, self._watch, self._path = file, watch, path

    def write(self, data: Any) -> Any:
        try:
            self._watch.call("write", self._path)
        except BaseException:
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


_open = builtins.open
_CHANGING = ("fsync", "replace", "unlink", "mkdir", "rmdir")


@contextlib.contextmanager
def _watching(fault: Callable[[int, str], None]) -> Iterator[list[str]]:
    watch = _Watch(fault)
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(builtins, "open", watch.open))
        patches.enter_context(mock.patch.object(io, "open", watch.open))
        for name in _CHANGING:
            patches.enter_context(mock.patch.object(os, name, watch.around(name, getattr(os, name))))
        yield watch.calls


@contextlib.contextmanager
def watching() -> Iterator[list[str]]:
    """List the calls, as ``"replace name"`` and so on, without any fault."""
    with _watching(lambda number, name: None) as calls:
        yield calls


@contextlib.contextmanager
def failing(code: int, *names: str, first: int = 0) -> Iterator[list[str]]:
    """Let calls of these names fail with the errno `code`, from call number `first` on."""

    def fault(number: int, name: str) -> None:
        if number >= first and name in names:
            raise OSError(code, os.strerror(code))

    with _watching(fault) as calls:
        yield calls


@contextlib.contextmanager
def raising(error: BaseException, at: int) -> Iterator[list[str]]:
    """Raise an error, such as KeyboardInterrupt, at one call; the calls after it succeed."""

    def fault(number: int, name: str) -> None:
        if number == at:
            raise error

    with _watching(fault) as calls:
        yield calls


@contextlib.contextmanager
def another_process() -> Iterator[None]:
    """Let what is done inside belong to a process that has ended afterwards."""
    with mock.patch.object(files, "_TOKEN", uuid.uuid4().hex[:8]):
        yield


@contextlib.contextmanager
def killing(at: int) -> Iterator[list[str]]:
    """Let the process die at call number `at`, as far as the disk can tell.

    That call and every later one raise :class:`Killed` and do nothing, whatever handlers and ``finally`` blocks try.
    What the process leaves belongs to another than the one that goes on.
    """

    def fault(number: int, name: str) -> None:
        if number >= at:
            raise Killed

    with another_process(), _watching(fault) as calls:
        yield calls
