"""Run a module of featx in a child process, so that time and memory of TensorFlow end with it."""

from __future__ import annotations

import contextlib
import inspect
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

_INTERRUPT_SECONDS = 5


def run_child(
    module: str, task: dict[str, Any], purpose: str, remedy: str, on_output: Callable[[str], object] | None = None
) -> None:
    """Run ``python -m module`` with a task on its standard input, and wait for it.

    Parameters
    ----------
    module : str
        Name of a module that ends with ``sys.exit(serve_task(function))``.
    task : dict
        JSON types.
    purpose : str
        What the child does, for error messages: ``"compiling 'resnet50' for OpenVINO"``.
    remedy : str
        Last sentence of the error if the child fails.
    on_output : callable or None, default=None
        Called in another thread with each line that the child prints. None: the standard output of the child goes to
        standard error if featx shows messages.

    Raises
    ------
    FeatxError
        The error that the child raised, of the same class; EngineError if it ended in another way.
    """
    # -P: a file keras.py in the working directory must not be imported as Keras.
    command = [sys.executable, "-P", "-m", module]
    try:
        # The child has its own temporary folder, so that all it leaves is removed.
        with tempfile.TemporaryDirectory(prefix="featx-") as folder, _output_target(on_output) as stdout:
            returncode, stderr = _run(command, json.dumps(task), _environment(folder), stdout)
    except OSError as error:
        raise EngineError(
            f"Cannot run a child process for {purpose} in {tempfile.gettempdir()!r}: {error.strerror or error}. Free "
            "some space, or set TMPDIR to another folder."
        ) from error
    if returncode != 0:
        raise child_error(stderr, returncode, purpose, remedy)


@contextlib.contextmanager
def _output_target(on_output: Callable[[str], object] | None) -> Iterator[int]:
    """Yield the file descriptor for the standard output of the child."""
    if on_output is None:
        yield _message_target()
        return
    read_end, write_end = os.pipe()

    def forward_lines() -> None:
        with open(read_end, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                on_output(line.rstrip("\n"))

    thread = threading.Thread(target=forward_lines, name="featx-child", daemon=True)
    thread.start()
    try:
        yield write_end
    finally:
        os.close(write_end)
        thread.join(timeout=5)


def _message_target() -> int:
    """Return the file descriptor of standard error if messages are shown; in a notebook, it has none."""
    if not logging.getLogger("featx").isEnabledFor(logging.INFO):
        return subprocess.DEVNULL
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _run(command: list[str], task: str, environment: dict[str, str], stdout: int) -> tuple[int, str]:
    """Return the exit code and the standard error of a child process."""
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
            _, stderr = child.communicate(task)
        except BaseException:
            _stop(child)
            raise
    return child.returncode, stderr


def _stop(child: subprocess.Popen[str]) -> None:
    """Interrupt a child, so that it cleans up; kill it if it does not end."""
    if os.name != "nt":
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=_INTERRUPT_SECONDS)
            return
    child.kill()


def _environment(temporary: str) -> dict[str, str]:
    package_parent = str(Path(errors.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    # Networks are compiled from TensorFlow's graph on the CPU, whatever backend the user has chosen for Keras.
    fixed = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**os.environ, **fixed, "PYTHONPATH": path, "TMPDIR": temporary}


def serve_task(function: Callable[[dict[str, Any]], None]) -> int:
    """Call a function with the task on standard input, in the child process.

    An error of featx is written to standard error for :func:`run_child`.

    Returns
    -------
    int
        Exit code.
    """
    try:
        function(json.load(sys.stdin))
    except FeatxError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), file=sys.stderr)
        return 1
    return 0


def child_error(stderr: str, returncode: int, purpose: str, remedy: str) -> FeatxError:
    """Return the error of a failed child: its own error of featx, or one with its last line of output."""
    lines = stderr.strip().splitlines()
    for line in reversed(lines):
        if line.startswith('{"error"'):
            fields = json.loads(line)
            return _error_class(fields["error"])(fields["message"])
    last_line = lines[-1] if lines else f"exit code {returncode}"
    return EngineError(f"The child process for {purpose} failed: {last_line}. {remedy}")


def _error_class(name: str) -> type[FeatxError]:
    """Return the error class of this name, or its nearest base class that is made from a message alone."""
    named = getattr(errors, name, None)
    if not (inspect.isclass(named) and issubclass(named, FeatxError)):
        return EngineError
    return next(
        base for base in named.__mro__ if issubclass(base, FeatxError) and not inspect.isfunction(base.__init__)
    )
