"""Progress of long calls: one channel from the code that works to bars on standard error and the user's function.

A public function opens the channel with :func:`reporting`. The code below it opens stages with :func:`stage`, without
a parameter for every function in between.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from featx.errors import OptionError, redact_secrets
from featx.system.terminal.bars import ProgressBars, is_interactive, is_worker
from featx.system.terminal.messages import write_line
from featx.system.terminal.report import Progress

_Item = TypeVar("_Item")
_log = logging.getLogger("featx")
#: Minimum seconds between two reports of one stage; its start, its end and new messages are always reported.
_INTERVAL = 0.1
#: Seconds after which a bar is shown by default.
_DELAY = 1.0


ProgressFunction = Callable[[Progress], object]


class Stage:
    """A stage of a long call. Call it with the number of units done since the last call."""

    def __init__(
        self,
        name: str,
        total: int | None,
        unit: str,
        message: str = "",
        *,
        context: Sequence[str] = (),
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self._name, self.total, self._unit = name, total, unit
        self._message = self._name_of_object = message
        self._context = tuple(context)
        self._report = report
        self._done = 0
        self._has_step = False
        self._started = self._reported = 0.0

    @property
    def is_reported(self) -> bool:
        """Whether there is a receiver."""
        return self._report is not None

    def __call__(self, n_done: int) -> None:
        """Count units that are done."""
        self._done += n_done
        if self._report is not None and time.perf_counter() >= self._reported + _INTERVAL:
            self._send()

    def describe(self, message: str) -> None:
        """Report what is done now, such as the name of an estimator."""
        if message != self._message:
            self._message = message
            self._send()

    def begin_step(self, message: str) -> None:
        """Count the last of several steps as done, and report the next one by its message."""
        self._done += self._has_step
        self._has_step = True
        self._message = ""  # messages of two steps may be equal
        self.describe(", ".join(filter(None, [self._name_of_object, message])))

    def start(self) -> None:
        """Report the start."""
        self._started = time.perf_counter()
        self._send(self._started)

    def end(self) -> None:
        """Report that all is done."""
        self._done = self.total = self._done if self.total is None else self.total
        self._send(is_end=True)

    def _send(self, now: float | None = None, *, is_end: bool = False) -> None:
        done = self._done if self.total is None else min(self._done, self.total)
        if self._report is None or (done == self.total and not is_end):  # all is done once: when the stage ends
            return
        self._reported = time.perf_counter() if now is None else now
        message = ", ".join(filter(None, [*self._context, self._message]))
        self._report(Progress(self._name, done, self.total, self._unit, self._reported - self._started, message))


class _ReceiverError(BaseException):
    """An error of the user's function, on its way through code that handles errors of its own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class _Channel:
    """Receivers of the progress of one call, and its open stages."""

    def __init__(self, receivers: list[ProgressFunction], shows_messages: bool) -> None:
        self.receivers = receivers
        self.shows_messages = shows_messages
        self.stages: dict[str, Stage] = {}
        self.context: list[str] = []

    def send(self, progress: Progress) -> None:
        """Give a report to each receiver."""
        token = _channel.set(_SILENT)  # a receiver that calls featx must not receive its own calls
        try:
            for receiver in self.receivers:
                receiver(progress)
        except BaseException as error:
            raise _ReceiverError(error) from error
        finally:
            _channel.reset(token)


_SILENT = _Channel([], shows_messages=False)
_channel: contextvars.ContextVar[_Channel | None] = contextvars.ContextVar("featx_progress", default=None)


@contextlib.contextmanager
def reporting(verbose: bool | None = None, progress: ProgressFunction | None = None) -> Iterator[None]:
    """Report the progress of the block.

    Within another such block, the defaults report to where that one does.

    Parameters
    ----------
    verbose : bool or None, default=None
        Whether to show bars and messages on standard error. None: bars, if somebody may be watching and a stage takes
        over a second; messages always.
    progress : callable or None, default=None
        Function of the user that receives each :class:`Progress`.

    Raises
    ------
    OptionError
        `progress` is not callable, or `verbose` is not a bool or None.
    """
    if progress is not None and not callable(progress):
        raise OptionError(
            f"progress must be None or a function that accepts a featx.Progress, got {progress!r}. Pass print to see "
            "what it receives."
        )
    if not (verbose is None or isinstance(verbose, int) or type(verbose).__name__ == "bool_"):
        raise OptionError(f"verbose must be True, False or None, got {verbose!r}.")
    if verbose is None and progress is None and _channel.get() is not None:
        yield
        return
    bars = ProgressBars(_DELAY if verbose is None else 0)
    is_shown = is_interactive() if verbose is None else bool(verbose)
    receivers: list[ProgressFunction] = [bars] if is_shown else []
    receivers += [] if progress is None else [progress]
    token = _channel.set(_Channel(receivers, verbose is None or bool(verbose)))
    failure: BaseException | None = None
    try:
        yield
    except _ReceiverError as wrapped:
        failure = wrapped.error
    finally:
        _channel.reset(token)
        bars.close()
    if failure is not None:
        raise failure


@contextlib.contextmanager
def stage(name: str, total: int | None, unit: str = "images", message: str = "") -> Iterator[Stage]:
    """Open a stage of the call that is reported, if one is.

    Within an open stage of the same name, the block continues that one.

    Parameters
    ----------
    name : str
        Name of the stage, a verb.
    total : int or None
        Number of units. None: unknown.
    unit : str, default="images"
    message : str, default=""
        Details; see :class:`Progress`.

    Yields
    ------
    Stage
        Function to call with the number of units done since its last call.
    """
    channel = _channel.get()
    if channel is None or not channel.receivers:
        yield Stage(name, total, unit)
    elif name in channel.stages:
        yield channel.stages[name]
    else:
        current = channel.stages[name] = Stage(name, total, unit, message, context=channel.context, report=channel.send)
        try:
            current.start()
            yield current
            current.end()
        finally:
            del channel.stages[name]


def counted(items: Iterable[_Item], progress: Callable[[int], object]) -> Iterator[_Item]:
    """Yield items, and count each one as done when it arrives."""
    for item in items:
        progress(1)
        yield item


@contextlib.contextmanager
def describing(message: str) -> Iterator[None]:
    """Begin the messages of all stages of the block with this one, such as the name of a backbone."""
    channel = _channel.get()
    if channel is None or not channel.receivers:
        yield
        return
    channel.context.append(message)
    try:
        yield
    finally:
        channel.context.pop()


def announce(message: str) -> None:
    """Show why a call takes long this time, in one line on standard error, unless it is silenced."""
    message, channel = redact_secrets(message), _channel.get()
    if is_worker() or (channel is not None and not channel.shows_messages):
        _log.info("%s", message)
    else:
        write_line(message)
