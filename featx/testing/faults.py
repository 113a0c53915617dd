"""Fault injection: file operations that fail, are interrupted, or at which the process dies.

Every call that changes the file system is recorded as a name and a target. The names are ``open`` (for writing),
``write``, ``fsync``, ``replace``, ``unlink``, ``mkdir`` and ``rmdir``. A run without a fault lists the calls; a test
then repeats the run with a fault at each of them, or at a call that matches a pattern::

    with faults.recording() as calls:
        store.commit()
    for index in range(len(calls)):
        with pytest.raises(faults.Killed), faults.killing(index):
            store.commit()
        # check the files on disk

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

from featx.system.files import atomic


class Killed(BaseException):
    """The simulated end of the process.

    ``except Exception`` does not catch it, and no later call reaches the disk.
    """


class _Recorder:
    """Record calls and forward them. `fault` may raise before or after each; a failing write writes its first half."""

    def __init__(self, fault: Callable[[int, str, bool], None]) -> None:
        self.calls: list[str] = []
        self._fault = fault

    @contextlib.contextmanager
    def call(self, name: str, target: object) -> Iterator[None]:
        target_name = os.path.basename(os.fspath(target)) if isinstance(target, str | os.PathLike) else ""
        index, call = len(self.calls), f"{name} {target_name}"
        self.calls.append(call)
        self._fault(index, call, False)
        yield
        self._fault(index, call, True)

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
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
    def __init__(self, file: Any, recorder: _Recorder, path: Any) -> None:
        self._file, self._recorder, self._path = file, recorder, path

    def write(self, data: Any) -> Any:
        half = len(data) // 2
        try:
            with self._recorder.call("write", self._path):
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
_CHANGING_CALLS = ("fsync", "replace", "unlink", "mkdir", "rmdir")


@contextlib.contextmanager
def _injecting(fault: Callable[[int, str, bool], None]) -> Iterator[list[str]]:
    recorder = _Recorder(fault)
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(builtins, "open", recorder.open))
        patches.enter_context(mock.patch.object(io, "open", recorder.open))
        for name in _CHANGING_CALLS:
            patches.enter_context(mock.patch.object(os, name, recorder.wrap(name, getattr(os, name))))
        yield recorder.calls


@contextlib.contextmanager
def recording() -> Iterator[list[str]]:
    """Record calls, such as ``"replace NAME"``, without any fault.

    Yields
    ------
    list of str
        The calls so far.
    """
    with _injecting(lambda index, call, is_done: None) as calls:
        yield calls


@contextlib.contextmanager
def failing(code: int, *names: str, first: int = 0) -> Iterator[list[str]]:
    """Make calls fail with an ``OSError``.

    Parameters
    ----------
    code : int
        Error number, such as ``errno.ENOSPC``.
    *names : str
        Names of the calls that fail.
    first : int, default=0
        Index of the first call that may fail.

    Yields
    ------
    list of str
        The calls so far.
    """

    def fault(index: int, call: str, is_done: bool) -> None:
        if index >= first and not is_done and call.split(" ", maxsplit=1)[0] in names:
            raise OSError(code, os.strerror(code))

    with _injecting(fault) as calls:
        yield calls


def _matches(position: int | str, index: int, call: str) -> bool:
    return index == position if isinstance(position, int) else fnmatch.fnmatch(call, position)


@contextlib.contextmanager
def raising(error: BaseException, position: int | str, *, after: bool = False) -> Iterator[list[str]]:
    """Raise an error, such as ``KeyboardInterrupt``, at one call. Later calls succeed.

    Parameters
    ----------
    error : BaseException
        Error to raise.
    position : int or str
        Index of the call, or a pattern such as ``"replace *.json"``, of which the first match counts.
    after : bool, default=False
        Whether to raise after the call instead of before it, like a signal that arrives during the call.

    Yields
    ------
    list of str
        The calls so far.
    """
    is_pending = True

    def fault(index: int, call: str, is_done: bool) -> None:
        nonlocal is_pending
        if is_pending and is_done is after and _matches(position, index, call):
            is_pending = False
            raise error

    with _injecting(fault) as calls:
        yield calls


@contextlib.contextmanager
def another_process() -> Iterator[None]:
    """Attribute temporary files of the block to another process, which has ended when the block ends."""
    with mock.patch.object(atomic, "_TOKEN", uuid.uuid4().hex[:8]):
        yield


@contextlib.contextmanager
def killing(position: int | str) -> Iterator[list[str]]:
    """Simulate the end of the process before a call.

    That call and all later ones raise :class:`Killed` and do nothing, in handlers and ``finally`` blocks too. Temporary
    files of the block belong to another process.

    Parameters
    ----------
    position : int or str
        Index of the call, or a pattern such as ``"replace *.json"``.

    Yields
    ------
    list of str
        The calls so far.
    """
    is_dead = False

    def fault(index: int, call: str, is_done: bool) -> None:
        nonlocal is_dead
        if is_dead or (not is_done and _matches(position, index, call)):
            is_dead = True
            raise Killed

    with another_process(), _injecting(fault) as calls:
        yield calls
