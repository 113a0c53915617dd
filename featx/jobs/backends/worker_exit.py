"""How a worker process ends: when it has committed what it has, if it is told to, and when its client has gone."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator

from featx.system.progress import show_messages

#: Seconds that workers have to commit what they have computed, when they are to end.
GRACE_SECONDS = 10.0
_LOOK_AFTER_PARENT = 0.5

_is_busy = _is_ending = _is_worker = False


def is_quiet() -> bool | None:
    """Return whether this process shows no messages; None if it shows them in its own way."""
    log = logging.getLogger("featx")
    return log.level > logging.INFO if log.handlers else None


def begin(client: int, quiet: bool | None) -> None:
    """Leave a worker's end to its client, who gives it time; without its client, end."""
    global _is_worker  # noqa: PLW0603  # of this process
    _is_worker = True
    if quiet is not None:
        show_messages(quiet)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to everybody at once
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    threading.Thread(target=_end_without, args=(client,), daemon=True, name="featx-client").start()


def _interrupt(number: int, frame: object) -> None:
    global _is_ending  # noqa: PLW0603  # of this process
    if _is_busy and not _is_ending:
        _is_ending = True
        raise KeyboardInterrupt
    _is_ending = True


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let the block be interrupted by SIGTERM; when it has cleared up, a worker ends, and its client sees that."""
    global _is_busy  # noqa: PLW0603  # of this process
    try:
        if _is_ending:
            raise KeyboardInterrupt
        _is_busy = True
        yield
    except KeyboardInterrupt:
        if _is_worker:
            os._exit(1)
        raise
    finally:
        _is_busy = False


def _end_without(client: int) -> None:
    """End this process when its client has gone."""
    while os.getppid() == client:
        time.sleep(_LOOK_AFTER_PARENT)
    if _is_busy:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
    os._exit(1)
