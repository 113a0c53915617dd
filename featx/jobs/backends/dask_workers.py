"""The workers of a Dask cluster: whether they can do what is asked, which live, and whether there are any."""

from __future__ import annotations

import contextlib
import logging
import pkgutil
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from featx.errors import JobError
from featx.jobs.running import heartbeats as attempts
from featx.system.formatting import format_count
from featx.system.version import __version__

#: Seconds that workers have to say which featx they have.
_ANSWER_SECONDS = 5.0
#: Workers that a message names.
_NAMED = 3
#: Seconds between looks at whether a cluster has workers, and looks without any before that is told.
_LOOK_SECONDS, _LOOKS = 5.0, 3

_log = logging.getLogger("featx")


def check_workers(client: Any) -> None:
    """Raise JobError if there are workers that have another featx, or none: they end when they are given a task."""
    found = _versions(client)
    if unlike := _unlike(found):
        raise JobError(
            f"{len(unlike)} of {format_count(len(found), 'worker')} on the cluster cannot do what is asked, as "
            f"it takes "
            f"featx {__version__}: {_named(unlike)}. Install it there, with its extra 'dask', and start them again; "
            "what is done is kept."
        )


def _versions(client: Any, workers: Sequence[str] | None = None) -> dict[str, Any]:
    """Return which featx workers have, or why none; nothing if some do not answer."""
    return _asked(client, pkgutil.resolve_name, "featx:__version__", workers=workers) or {}  # a worker may have that


def _unlike(found: dict[str, Any]) -> dict[str, str]:
    """Return the workers that have another featx or none; one that cannot be reached is about to go."""
    return {
        worker: f"it has {said}" if isinstance(said, str) else cause_of(said)
        for worker, said in found.items()
        if said != __version__ and not isinstance(said, OSError)
    }


def _named(unlike: dict[str, str]) -> str:
    """Return workers and what they said, of many the first."""
    named = [f"{worker} ({said})" for worker, said in sorted(unlike.items())[:_NAMED]]
    return ", ".join([*named, *(["…"] if len(unlike) > _NAMED else [])])


def cause_of(error: BaseException) -> str:
    """Return why an error came about, in a few words."""
    return " ".join(str(error.__cause__ or error).split())[:200]


def living_workers(client: Any) -> set[attempts.Process] | None:
    """Return the processes of the workers that there are now; None if some do not say."""
    found = _asked(client, attempts.this_process)
    if found is None:
        return None
    return {(str(one[0]), int(one[1]), one[2]) for one in found.values() if isinstance(one, tuple | list)}


def _asked(client: Any, function: Callable[..., Any], *args: Any, workers: Sequence[str] | None = None) -> Any:
    """Return by worker what a function gives there, or its error; None if some do not answer."""
    how = {"workers": workers, "on_error": "return", "callback_timeout": _ANSWER_SECONDS}
    try:
        return client.sync(client._run, function, *args, **how)  # as Client.run does, which waits without end
    except OSError:
        return None


@contextlib.contextmanager
def watching_workers(client: Any, address: str) -> Iterator[None]:
    """Say so if all workers go away while the block runs, and shards wait for others, or if some come without featx."""
    is_over = threading.Event()

    def look() -> None:
        n_looks, known = 0, set(client.ncores())
        while not is_over.wait(_LOOK_SECONDS):
            with contextlib.suppress(Exception):  # the scheduler has gone: whoever waits for tasks is told
                workers = set(client.ncores())
                n_looks = 0 if workers else n_looks + 1
                if n_looks == _LOOKS:
                    _log.warning(
                        "The scheduler at %s has no workers any more. Waiting for some to come: those without this "
                        "featx end as they are given something to do.",
                        address,
                    )
                if unlike := _unlike(_versions(client, sorted(workers - known))):
                    _log.warning(
                        "Workers that cannot do what is asked, as it takes featx %s: %s.", __version__, _named(unlike)
                    )
                known |= workers

    thread = threading.Thread(target=look, daemon=True, name="featx-cluster")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(_LOOK_SECONDS)
