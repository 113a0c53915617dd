"""Run one of featx's own modules in a child process, which takes tensorflow's seconds and memory with it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from featx import errors
from featx.errors import EngineError, FeatxError


def run_child(
    module: str, task: dict[str, Any], purpose: str, remedy: str, said: Callable[[str], object] | None = None
) -> None:
    """Run ``python -m module``, hand it a task on standard input, and wait.

    What the child prints to standard output (a progress bar, say) appears on our standard error if featx's
    messages do.

    Parameters
    ----------
    module : str
        A module that ends in ``sys.exit(serve_task(function))``.
    task : dict
        Plain JSON types.
    purpose, remedy : str
        For the message if it fails: ``"converting 'resnet50' for OpenVINO"``, and what to do then.
    said : callable or None, default=None
        Called with each line that the child prints, from another thread, instead of showing it.

    Raises
    ------
    FeatxError
        The one that the child raised, of the same kind; EngineError if it ended in any other way.
    """
    # -P: a file named keras.py in the user's folder must not be taken for Keras.
    command = [sys.executable, "-P", "-m", module]
    try:
        # A folder of the child's own, so that whatever it leaves goes with it.
        with tempfile.TemporaryDirectory(prefix="featx-") as folder, _hearing(said) as stdout:
            returncode, last_words = _run(command, json.dumps(task), _environment(folder), stdout)
    except OSError as error:
        raise EngineError(
            f"A child process failed at {purpose} in {tempfile.gettempdir()!r}: {error.strerror or error}. Make room "
            "there, or name another folder in the variable TMPDIR."
        ) from error
    if returncode != 0:
        raise _error_of(last_words, returncode, purpose, remedy)


@contextlib.contextmanager
def _hearing(said: Callable[[str], object] | None) -> Iterator[int]:
    """Yield where the child's standard output goes: where our messages do; or to a thread that hands lines on."""
    if said is None:
        yield _our_stderr()
        return
    heard, spoken = os.pipe()

    def hear() -> None:
        with open(heard, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                said(line.rstrip("\n"))

    listener = threading.Thread(target=hear, name="featx-child", daemon=True)
    listener.start()
    try:
        yield spoken
    finally:
        os.close(spoken)
        listener.join(timeout=5)


def _run(command: list[str], task: str, environment: dict[str, str], stdout: int) -> tuple[int, str]:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    ) as child:
        try:
            _, said = child.communicate(task)
        except BaseException:
            _end(child)
            raise
    return child.returncode, said


def _end(child: subprocess.Popen[str]) -> None:
    """End a child as Ctrl-C does, so that it clears up; or by force if it does not."""
    if os.name != "nt":
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=5)
            return
    child.kill()


def serve_task(function: Callable[[dict[str, Any]], None]) -> int:
    """Call the function with the task on standard input; tell of featx's errors on standard error.

    Returns
    -------
    int
        The exit code.
    """
    try:
        function(json.load(sys.stdin))
    except FeatxError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), file=sys.stderr)
        return 1
    return 0


def _our_stderr() -> int:
    """Where the child's progress goes; a notebook's standard error has no file behind it."""
    if not logging.getLogger("featx").isEnabledFor(logging.INFO):
        return subprocess.DEVNULL
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _environment(temporary: str) -> dict[str, str]:
    here = str(Path(errors.__file__).parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    # Networks are converted from tensorflow's graph, on the CPU, whatever the user's own Keras runs on.
    fixed = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **fixed, "PYTHONPATH": path, "TMPDIR": temporary}


def _error_of(said: str, returncode: int, purpose: str, remedy: str) -> FeatxError:
    """Return the child's error: its own kind if it is featx's, else the end of what it printed."""
    lines = said.strip().splitlines()
    for line in reversed(lines):
        if line.startswith('{"error"'):
            told = json.loads(line)
            kind = getattr(errors, told["error"])
            error: FeatxError = kind(told["message"])
            return error
    last = lines[-1] if lines else f"exit code {returncode}"
    return EngineError(f"A child process failed at {purpose} ({last}). {remedy}")
