"""Signals that end a command as Ctrl-C does."""

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
_IMPATIENCE_SECONDS = 5.0
_AGAIN_SECONDS = 0.02


class Interrupts:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: what is computed is committed, the rest cleared up.

    Signals that follow at once are for those who press a key twice: the end is under way. Later ones end that too.

    Attributes
    ----------
    first : int
        Number of the first signal that came; 0 if none did.
    """

    def __init__(self) -> None:
        self.first = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}
        self._is_on = False
        self._unraisable_before = sys.unraisablehook

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # Python takes handlers from no other
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in self._before.items():
            if handler in (signal.SIG_DFL, signal.default_int_handler):  # not under nohup
                signal.signal(number, self._interrupt)
        self._is_on, self._unraisable_before = True, sys.unraisablehook
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *error: object) -> None:
        self._is_on, sys.unraisablehook = False, self._unraisable_before
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: object) -> None:
        if self.first and time.monotonic() - self._since < _IMPATIENCE_SECONDS:
            return
        self.first = self.first or number
        self._since = time.monotonic()
        raise KeyboardInterrupt(number)

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Interrupt once more if it came where Python ignores errors: in a destructor, or in the midst of an import."""
        if not (self.first and isinstance(unraisable.exc_value, KeyboardInterrupt)):
            self._unraisable_before(unraisable)
            return
        self._since = -_IMPATIENCE_SECONDS
        again = threading.Timer(_AGAIN_SECONDS, self._send_again)
        again.daemon = True
        again.start()

    def _send_again(self) -> None:
        if self._is_on:
            os.kill(os.getpid(), self.first)


def leave_at_once(code: int) -> NoReturn:
    """End the process beside threads that libraries have left, all that is to be cleared up cleared up.

    Some may be in the midst of compiled code, of a command that ended early or of a pool that waits for work: were
    Python taken down around them, they might crash, and the exit code be theirs.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, gone, or none: the code says enough
            stream.flush()
    os._exit(code)
