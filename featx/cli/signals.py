"""Handling of Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_IGNORE_SECONDS = 5.0
_RESEND_SECONDS = 0.02


class Interrupts:
    """Context manager that turns SIGTERM and SIGHUP into KeyboardInterrupt, so that computed rows are committed.

    Further signals within five seconds are ignored, since the command is already ending. Later ones interrupt again.

    Attributes
    ----------
    first : int
        Number of the first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.first = 0
        self._last_time = 0.0
        self._previous_handlers: dict[int, Any] = {}
        self._is_active = False
        self._previous_unraisablehook = sys.unraisablehook

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # only the main thread may set handlers
            self._previous_handlers = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in self._previous_handlers.items():
            if handler in (signal.SIG_DFL, signal.default_int_handler):  # not under nohup
                signal.signal(number, self._interrupt)
        self._is_active, self._previous_unraisablehook = True, sys.unraisablehook
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *error: object) -> None:
        self._is_active, sys.unraisablehook = False, self._previous_unraisablehook
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: object) -> None:
        if self.first and time.monotonic() - self._last_time < _IGNORE_SECONDS:
            return
        self.first = self.first or number
        self._last_time = time.monotonic()
        raise KeyboardInterrupt(number)

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send the signal again if Python ignored the interrupt, as in a destructor or during an import."""
        if not (self.first and isinstance(unraisable.exc_value, KeyboardInterrupt)):
            self._previous_unraisablehook(unraisable)
            return
        self._last_time = -_IGNORE_SECONDS
        timer = threading.Timer(_RESEND_SECONDS, self._resend)
        timer.daemon = True
        timer.start()

    def _resend(self) -> None:
        if self._is_active:
            os.kill(os.getpid(), self.first)


def exit_now(code: int) -> NoReturn:
    """Exit after running exit handlers and flushing streams, without waiting for threads of libraries.

    Such threads may still run compiled code. If the interpreter shut down around them, they could crash and change the
    exit code.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed or absent: the exit code is enough
            stream.flush()
    os._exit(code)
