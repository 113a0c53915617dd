"""Signals that end a command as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_IMPATIENCE_SECONDS = 5.0


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

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # Python takes handlers from no other
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in self._before.items():
            if handler in (signal.SIG_DFL, signal.default_int_handler):  # not under nohup
                signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: object) -> None:
        if self.first and time.monotonic() - self._since < _IMPATIENCE_SECONDS:
            return
        self.first = self.first or number
        self._since = time.monotonic()
        raise KeyboardInterrupt(number)
