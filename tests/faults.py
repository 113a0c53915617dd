"""Faults on purpose: calls to the file system that fail, or at which the process dies or is interrupted.

Every call that changes the file system passes here under a name and its target: ``open`` (for writing), ``write``,
``fsync``, ``replace``, ``unlink``, ``mkdir``, ``rmdir``. A run without a fault lists them; a test then repeats the run
once for each, or goes for one by its name::

    with faults.watching() as calls:
        store.commit()
    for n in range(len(calls)):
        with pytest.raises(faults.Killed), faults.killing(n):
            store.commit()
        # … and look at what is on disk

    with pytest.raises(faults.Killed), faults.killing("replace *.json"):
        store.commit()
"""

from __future__ import annotations

import builtins
import contextlib
import fnmatch
import io
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from featx.system.files import atomic as files


class Killed(BaseException):
    """The process is dead. No ``except Exception`` holds it, and nothing it still tries reaches the disk."""


class _Watch:
    """Pass calls on, and let `fault` raise before or after some; a write that fails has written its first half."""

    def __init__(self, fault: Callable[[int, str, bool], None]) -> None:
        self.calls: list[str] = []
        self._fault = fault

    @contextlib.contextmanager
    def call(self, name: str, target: object) -> Iterator[None]:
        said = os.path.basename(os.fspath(target)) if isinstance(target, str | os.PathLike) else ""
        number, call = len(self.calls), f"{name} {said}"
        self.calls.append(call)
        self._fault(number, call, False)
        yield
        self._fault(number, call, True)

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *args: Any, **options: Any) -> Any:
            with self.call(name, args[0] if name == "replace" else path):
                return real(path, *args, **options)

        return called

    def open(self, path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if not set(mode) & set("wxa+"):
            return _open(path, mode, *args, **options)
        file = None
        try:
            with self.call("open", path):
                file = _open(path, mode, *args, **options)
        except BaseException:
            if file is not None:
                file.close()
            raise
        return _File(file, self, path) if "+" not in mode else file


class _File:
    def __init__(self, file: Any, watch: _Watch, path: Any) -> None:
        self._file, self._watch, self._path = file, watch, path

    def write(self, data: Any) -> Any:
        half = len(data) // 2
        try:
            with self._watch.call("write", self._path):
                half = len(data)
        finally:
            self._file.write(data[:half])
            self._file.flush()
        return half

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


_open = builtins.open
_CHANGING = ("fsync", "replace", "unlink", "mkdir", "rmdir")


@contextlib.contextmanager
def _watching(fault: Callable[[int, str, bool], None]) -> Iterator[list[str]]:
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
    with _watching(lambda number, call, is_done: None) as calls:
        yield calls


@contextlib.contextmanager
def failing(code: int, *names: str, first: int = 0) -> Iterator[list[str]]:
    """Let calls of these names fail with the errno `code`, from call number `first` on."""

    def fault(number: int, call: str, is_done: bool) -> None:
        if number >= first and not is_done and call.split(" ", maxsplit=1)[0] in names:
            raise OSError(code, os.strerror(code))

    with _watching(fault) as calls:
        yield calls


def _is_meant(at: int | str, number: int, call: str) -> bool:
    return number == at if isinstance(at, int) else fnmatch.fnmatch(call, at)


@contextlib.contextmanager
def raising(error: BaseException, at: int | str, *, after: bool = False) -> Iterator[list[str]]:
    """Raise an error, such as KeyboardInterrupt, just before or after one call; the calls that follow succeed.

    Parameters
    ----------
    error : BaseException
    at : int or str
        The number of the call, or a pattern of what it is, as ``"replace *.json"``; then the first that fits.
    after : bool, default=False
        When the call is done, as a signal does that comes during it.
    """
    to_come = [True]

    def fault(number: int, call: str, is_done: bool) -> None:
        if to_come and is_done is after and _is_meant(at, number, call):
            to_come.clear()
            raise error

    with _watching(fault) as calls:
        yield calls


@contextlib.contextmanager
def another_process() -> Iterator[None]:
    """Let what is done inside belong to a process that has ended afterwards."""
    with mock.patch.object(files, "_TOKEN", uuid.uuid4().hex[:8]):
        yield


@contextlib.contextmanager
def killing(at: int | str) -> Iterator[list[str]]:
    """Let the process die before a call, given by number or as a pattern, as far as the disk can tell.

    That call and every later one raise :class:`Killed` and do nothing, whatever handlers and ``finally`` blocks try.
    What the process leaves belongs to another than the one that goes on.
    """
    is_dead = []

    def fault(number: int, call: str, is_done: bool) -> None:
        if is_dead or (not is_done and _is_meant(at, number, call)):
            is_dead.append(True)
            raise Killed

    with another_process(), _watching(fault) as calls:
        yield calls
