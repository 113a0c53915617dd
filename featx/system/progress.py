"""Progress bar and messages on standard error."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def progress_bar(n_images: int | None, label: str, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Show the number of processed images, images/s and the remaining time.

    The bar appears with the first image, so that compiling a network does not count and errors are not overwritten.

    Parameters
    ----------
    n_images : int or None
        Number of images. None: unknown; no remaining time is shown.
    label : str
        Text before the bar.
    shown : bool, default=True
        Whether to show the bar.

    Yields
    ------
    callable
        Function to call with the number of images processed since the last call.
    """
    tqdm = _load_tqdm()
    # A terminal shows a moving bar, a log file a line now and then.
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    bars: list[Any] = []

    def advance(n_processed: int) -> None:
        if not bars:
            bars.append(
                tqdm(
                    total=n_images,
                    desc=label,
                    unit=" images",
                    mininterval=0.1 if is_terminal else 10.0,
                    disable=not shown or sys.stderr is None,
                    file=sys.stderr if is_terminal else _LineWriter(),
                )
            )
        bars[0].update(n_processed)

    try:
        yield advance
    finally:
        for bar in bars:
            bar.close()


def _load_tqdm() -> Any:
    """Return the class of bars: a widget in notebooks if ipywidgets is installed, text everywhere else."""
    shell = sys.modules.get("IPython")
    kernel = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    if getattr(kernel, "kernel", None) is not None and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm


class _LineWriter(io.TextIOBase):
    """Write the states of a bar as complete lines, without the first one at 0 images."""

    def __init__(self) -> None:
        self._has_begun = False

    def write(self, text: str) -> int:
        line = text.strip()
        if line and self._has_begun:
            write_line(line)
        self._has_begun = self._has_begun or bool(line)
        return len(text)


def show_messages(quiet: bool) -> None:
    """Show featx's messages (only warnings if quiet) and all Python warnings as single lines above the bar."""
    log = logging.getLogger("featx")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.handlers = [_LineHandler()]

    def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
        write_line(f"Warning: {message}")

    warnings.showwarning = show_warning
    # Pillow warns of unusual files without their names; featx reports what matters as an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def write_line(text: str) -> None:
    """Write text to standard error as one line, above the bar if there is one."""
    line = " ".join(text.split())
    if sys.stderr is None:  # closed by the parent process
        return
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr)


class _LineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        write_line(self.format(record))
