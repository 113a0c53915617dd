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
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from featx import errors
from featx.errors import EngineError, FeatxError
from featx.system.files.temporary import temporary_folder, temporary_place

_INTERRUPT_SECONDS = 5
#: Environment variables that a child gets. Others may change how Python, TensorFlow or Keras work, such as
#: PYTHONOPTIMIZE, PYTHONINSPECT, TF_USE_LEGACY_KERAS and KERAS_FLOATX.
_PASSED = {
    *("PATH", "HOME", "USER", "LOGNAME", "USERPROFILE", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "PYTHONHOME"),
    *("PYTHONUTF8", "PYTHONIOENCODING", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
    *("SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"),
    *("NUMBER_OF_PROCESSORS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TORCH_HOME"),
    *("PYTHONUSERBASE", "PYTHONNOUSERSITE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("FEATX_CACHE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
}
_PASSED_PREFIXES = ("LC_", "XDG_", "ONEDNN_", "DNNL_", "HF_", "OV_", "GLIBC_", "MALLOC_")
#: Begins a line of the child's standard output that reports a step; libraries print there, too.
_STEP = "featx step: "


def run_child(
    module: str, task: dict[str, Any], purpose: str, remedy: str, on_step: Callable[[str], object] | None = None
) -> None:
    """Run ``python -m module`` with a task on its standard input, and wait for it.

    Parameters
    ----------
    module : str
        Name of a module that ends with ``sys.exit(serve_task(function))``.
    task : dict
        JSON types.
    purpose : str
        Purpose of the child, for error messages: ``"compiling 'resnet50' for OpenVINO"``.
    remedy : str
        Last sentence of the error if the child fails.
    on_step : callable or None, default=None
        Called with the message of each :func:`report_step` of the child. None: the standard output of the child goes
        to standard error if featx shows messages.

    Raises
    ------
    FeatxError
        The error that the child raised, of the same class; EngineError if it ended in another way.
    """
    # -P: a file keras.py in the working directory must not be imported as Keras.
    command = [sys.executable or "", "-P", "-m", module]
    try:
        # The child has its own temporary folder, so that all it leaves is removed.
        with (
            temporary_folder() as folder,
            tempfile.TemporaryFile(dir=folder) as errors_file,
        ):
            with _start(command, _environment(str(folder)), errors_file, purpose, is_read=on_step is not None) as child:
                returncode = _run(child, json.dumps(task), on_step)
            errors_file.seek(0)
            stderr = errors_file.read().decode(errors="replace")
    except FeatxError:
        raise
    except OSError as error:
        raise EngineError(
            f"Cannot run a child process for {purpose} in {str(temporary_place())!r}: {error.strerror or error}. Free "
            "some space, or set TMPDIR to another folder."
        ) from error
    if returncode != 0:
        raise child_error(stderr, returncode, purpose, remedy)


def _start_error(error: OSError, purpose: str) -> EngineError:
    """Return the error of a child that cannot be started. Its remedy is not that of a full disk."""
    reason = f"Cannot start a child process for {purpose}: "
    if not sys.executable or not os.access(sys.executable, os.X_OK):
        return EngineError(
            f"{reason}there is no Python interpreter {sys.executable or ''!r} (sys.executable). Set sys.executable to "
            "the Python in which featx is installed, and try again."
        )
    return EngineError(
        f"{reason}{error.strerror or error}. End other processes, or raise the limits of processes (ulimit -u), open "
        "files (ulimit -n) and memory."
    )


def _message_target() -> int:
    """Return the file descriptor of standard error if messages are shown; in a notebook, it has none."""
    if not logging.getLogger("featx").isEnabledFor(logging.INFO):
        return subprocess.DEVNULL
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _start(
    command: list[str], environment: dict[str, str], errors_file: IO[bytes], purpose: str, *, is_read: bool
) -> subprocess.Popen[str]:
    """Start a child process, which writes its errors to a file: no pipe can fill up unread."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if is_read else _message_target(),
            stderr=errors_file,
            text=True,
            errors="replace",
            env=environment,
        )
    except OSError as error:
        raise _start_error(error, purpose) from error


def _run(child: subprocess.Popen[str], task: str, on_step: Callable[[str], object] | None) -> int:
    """Give a child process its task, report its steps, and return its exit code."""
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:  # its error has the reason
            child.stdin.write(task)
        for line in child.stdout or ():
            if on_step is not None and line.startswith(_STEP):
                on_step(line.removeprefix(_STEP).rstrip("\n"))
        return child.wait()
    except BaseException:
        _stop(child)
        raise


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
    passed = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}
    # Networks are compiled from TensorFlow's graph on the CPU, whatever backend the user has chosen for Keras. The
    # user's keras.json may set another data format or precision.
    fixed = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**passed, **fixed, "PYTHONPATH": path, "TMPDIR": temporary, "KERAS_HOME": temporary}


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


def report_step(message: str) -> None:
    """Report from the child process that a step begins."""
    sys.stdout.write(f"{_STEP}{message}\n")
    sys.stdout.flush()


def child_error(stderr: str, returncode: int, purpose: str, remedy: str) -> FeatxError:
    """Return the error of a failed child: its own error of featx, or one with its last line of output."""
    lines = stderr.strip().splitlines()
    for line in reversed(lines):
        if line.startswith('{"error"'):
            fields = json.loads(line)
            return _error_class(fields["error"])(fields["message"])
    if returncode < 0:
        return EngineError(
            f"The child process for {purpose} was killed by {_signal_name(-returncode)}. If memory was short, free "
            f"some, or raise the memory limit of the container. {remedy}"
        )
    last_line = lines[-1] if lines else f"exit code {returncode}"
    return EngineError(f"The child process for {purpose} failed: {last_line}. {remedy}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _error_class(name: str) -> type[FeatxError]:
    """Return the error class of this name, or its nearest base class that is made from a message alone."""
    named = getattr(errors, name, None)
    if not (inspect.isclass(named) and issubclass(named, FeatxError)):
        return EngineError
    return next(
        base for base in named.__mro__ if issubclass(base, FeatxError) and not inspect.isfunction(base.__init__)
    )
