"""Progress bars on standard error: moving on a terminal, widgets in notebooks, a line now and then in log files."""

from __future__ import annotations

import importlib.util
import io
import sys
import threading
from typing import TYPE_CHECKING, Any

from featx.system.terminal.messages import write_line

if TYPE_CHECKING:
    from featx.system.terminal.report import Progress


#: Units whose number per second is of interest.
_FAST = ("images", "rows", "bytes")


class ProgressBars:
    """Show the progress of stages, each in a bar of its own.

    The bar of a stage appears with its first step, so that starting a network does not count in its speed.

    Parameters
    ----------
    delay : float, default=0
        Seconds after which a bar is shown. Shorter stages show nothing.
    """

    def __init__(self, delay: float = 0) -> None:
        self._delay = delay
        self._bars: dict[str, Any] = {}
        self._labels: dict[str, str] = {}

    def __call__(self, progress: Progress) -> None:
        """Show the state of a stage."""
        bar = self._bars.get(progress.stage)
        if bar is None:
            if progress.total == 0 or (not progress.done and not progress.seconds):
                return
            bar = self._bars[progress.stage] = self._make_bar(progress)
        if self._labels.get(progress.stage) != label(progress):
            self._labels[progress.stage] = label(progress)
            bar.set_description(label(progress), refresh=_moves())
        bar.total = progress.total
        bar.update(progress.done - bar.n)
        if progress.done == progress.total:
            self._bars.pop(progress.stage).close()

    def close(self) -> None:
        """Close the bars of stages that an error has ended."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()

    def _make_bar(self, progress: Progress) -> Any:
        moves = _moves()
        counts = progress.unit in _FAST
        self._labels[progress.stage] = label(progress)
        return _load_tqdm()(
            initial=progress.done if counts else 0,  # the start is slower than the rest
            total=progress.total,
            desc=label(progress),
            unit="B" if progress.unit == "bytes" else f" {progress.unit}",
            unit_scale=progress.unit == "bytes",
            bar_format=None if counts else "{l_bar}{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}<{remaining}]",
            mininterval=0.1 if moves else 10.0,
            delay=self._delay,
            leave=None,  # the bar of a stage within another one vanishes at its end
            disable=sys.stderr is None,
            file=sys.stderr if moves else _LineWriter(),
        )


def label(progress: Progress) -> str:
    """Return the text before a bar.

    Examples
    --------
    >>> from featx import Progress
    >>> label(Progress("extract", 0, 10, "images", 0.0, "mobilenet"))
    'extract mobilenet'
    """
    return f"{progress.stage} {progress.message}".rstrip()


def is_interactive() -> bool:
    """Return whether somebody may be watching standard error: in a terminal or a notebook, and not in a worker."""
    if is_worker() or threading.current_thread() is not threading.main_thread():
        return False
    return _moves()


def _moves() -> bool:
    """Return whether a bar moves; in a log file it is a line now and then."""
    return _kernel() is not None or (sys.stderr is not None and sys.stderr.isatty())


def is_worker() -> bool:
    """Return whether this process is a worker of multiprocessing, joblib or Dask."""
    module = sys.modules.get("multiprocessing")  # loaded in every worker, and slow to import
    return module is not None and module.current_process().name != "MainProcess"


def _kernel() -> Any:
    """Return the kernel of the notebook in which this process runs, or None."""
    shell = sys.modules.get("IPython")
    session = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return getattr(session, "kernel", None)


def _load_tqdm() -> Any:
    """Return the class of bars: a widget in notebooks if ipywidgets is installed, text everywhere else."""
    if _kernel() is not None and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    return tqdm


class _LineWriter(io.TextIOBase):
    """Write the states of a bar as complete lines, without the first one at 0."""

    def __init__(self) -> None:
        self._has_begun = False

    def write(self, text: str) -> int:
        line = text.strip()
        if line and self._has_begun:
            write_line(line)
        self._has_begun = self._has_begun or bool(line)
        return len(text)
