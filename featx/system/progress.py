"""Progress and messages on standard error: images done, images/s, time left."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def progress_bar(n_images: int | None, label: str, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Yield the function to call with the number of images done since the last call.

    The bar appears with the first image done, so that what comes before (compiling a network, an
    error) is not counted and not overwritten. Without a number of images, it shows no end.
    """
    from tqdm import tqdm

    # A log file gets a line now and then; a person watching gets a bar that moves.
    watched = sys.stderr is not None and sys.stderr.isatty()
    bars: list[Any] = []

    def advance(n_done: int) -> None:
        if not bars:
            bars.append(
                tqdm(
                    total=n_images,
                    desc=label,
                    unit=" images",
                    mininterval=0.1 if watched else 10.0,
                    disable=not shown or sys.stderr is None,
                    file=sys.stderr if watched else _Lines(),
                )
            )
        bars[0].update(n_done)

    try:
        yield advance
    finally:
        for bar in bars:
            bar.close()


class _Lines(io.TextIOBase):
    """Takes the states of a bar as whole lines, as data may go into the same file; not the first, of nothing done."""

    def __init__(self) -> None:
        self._has_begun = False

    def write(self, text: str) -> int:
        line = text.strip()
        if line and self._has_begun:
            write_line(line)
        self._has_begun = self._has_begun or bool(line)
        return len(text)


def show_messages(quiet: bool) -> None:
    """Show featx's messages (unless quiet) and all warnings as single lines, above a bar if there is one."""
    log = logging.getLogger("featx")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.handlers = [_AboveTheBar()]

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        write_line(f"Warning: {message}")

    warnings.showwarning = show
    # Pillow remarks upon odd files one by one and without their names; what matters becomes an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def write_line(text: str) -> None:
    """Write one line to standard error, whatever line breaks the text has, above a bar if there is one."""
    line = " ".join(text.split())
    if sys.stderr is None:  # closed by whoever started us
        return
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)


class _AboveTheBar(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write_line(self.format(record))
