"""Single lines on standard error, above a progress bar if there is one."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any


def show_messages(quiet: bool, translate: Callable[[str], str] = str) -> None:
    """Show featx's messages (only warnings if quiet) and all Python warnings as single lines above the bar.

    Parameters
    ----------
    quiet : bool
    translate : callable, default=str
        Function that returns a message in the words of the reader.
    """
    log = logging.getLogger("featx")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.handlers = [_LineHandler(translate)]

    def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
        write_line(f"Warning: {translate(str(message))}")

    warnings.showwarning = show_warning
    # Pillow warns of unusual files without their names; featx reports what matters as an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def write_line(text: str) -> None:
    """Write text to standard error as one line, above the bar if there is one."""
    line = " ".join(text.split())
    if sys.stderr is None:  # closed by the parent process
        return
    with contextlib.suppress(OSError):  # a log on a full disk, or whose reader is gone, must not end the work
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)


class _LineHandler(logging.Handler):
    def __init__(self, translate: Callable[[str], str]) -> None:
        super().__init__()
        self._translate = translate

    def emit(self, record: logging.LogRecord) -> None:
        write_line(self._translate(self.format(record)))
