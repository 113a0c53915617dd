"""Notes of a job: who is at which shard, which shards have ended their worker, and which are set aside."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Container
from typing import Any

from featx.errors import OutputError
from featx.jobs.storage import Place
from featx.system.processes import is_process_running, pid_namespace, process_start_time

#: A shard is set aside after it has ended its worker so many times.
TRIES = 3
#: Seconds between signs of life, of a worker whose notes are on this machine and elsewhere.
_SIGN_SECONDS, _FAR_SIGN_SECONDS = 0.5, 10.0
#: A worker of another machine that has given no sign for so long is taken for dead.
_SILENT_AFTER = 120.0
#: Notes of an object store that are asked for at once.
_READ_AT_ONCE = 16
#: How the reason of a try begins, of a shard that has ended its worker.
DIED = "its worker died"
_AT_WORK = re.compile(r"^(?P<shard>\d{8})-(?P<token>[0-9a-f]{32})\.json$")
_TRIED = re.compile(r"^(?P<shard>\d{8})-(?P<number>\d+)\.json$")

#: What its number is unique in, its number, and when it started.
Process = tuple[str, int, int | None]

_log = logging.getLogger("featx")


@dataclasses.dataclass(frozen=True)
class AtWork:
    """A shard that somebody is at, or was when it died.

    Attributes
    ----------
    name : str
        Of the note.
    shard, pid, n_done : int
    started : int or None
        When its process started, as :func:`featx.system.processes.process_start_time`.
    client : str
        Token of the client that gave it out.
    n_round : int
        In which of that client's rounds: within one, a shard that is given out again is one whose worker is gone.
    where : str
        What process numbers are unique in.
    time : float
        Of the last sign of life, in seconds since 1970.
    """

    name: str
    shard: int
    pid: int
    started: int | None
    n_done: int
    client: str
    n_round: int
    where: str
    time: float

    @property
    def is_here(self) -> bool:
        """Whether its process is, or was, on this machine."""
        return self.where == pid_namespace()

    @property
    def is_alive(self) -> bool:
        """Whether its process lives, as far as can be known here."""
        if self.is_here:
            return is_process_running(self.pid, self.started)
        return time.time() - self.time < _SILENT_AFTER

    @property
    def process(self) -> Process:
        """As :func:`this_process` says of its process."""
        return self.where, self.pid, self.started


def this_process() -> Process:
    """Return what the number of this process is unique in, the number, and when it started."""
    return pid_namespace(), os.getpid(), process_start_time(os.getpid())


class Note:
    """The note of a worker at a shard, there as long as the worker is at it.

    Parameters
    ----------
    place : Place
    shard, n_round : int
    client : str
    always : bool, default=False
        Sign after every batch, not now and then: of a shard that has ended a worker, to know at which image.
    """

    def __init__(self, place: Place, shard: int, client: str, n_round: int = 0, *, always: bool = False) -> None:
        self._place = place
        self._name = f"attempts/{shard:08}-{uuid.uuid4().hex}.json"
        where, pid, started = this_process()
        self._said = {
            **{"shard": shard, "client": client, "round": n_round},
            **{"where": where, "pid": pid, "started": started},
        }
        self._every = 0.0 if always else _SIGN_SECONDS if place.is_local else _FAR_SIGN_SECONDS
        self._signed = 0.0
        self._n_done = 0
        self._has_failed = False

    def __enter__(self) -> Callable[[int], None]:
        self._sign()
        return self._advance

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is KeyboardInterrupt:
            return  # it was ended from without: its client is to know at what
        try:
            self._place.remove(self._name)
        except OutputError as failed:
            self._tell(failed)

    def _advance(self, n_done: int) -> None:
        self._n_done += n_done
        if time.monotonic() - self._signed >= self._every:
            try:
                self._sign()
            except OutputError as error:
                self._tell(error)

    def _tell(self, error: OutputError) -> None:
        """Say once that the note is no longer true: the shard goes on, and it is its commit that matters."""
        if not self._has_failed:
            self._has_failed = True
            _log.warning("Nobody sees how far shard %d is, but it goes on: %s", self._said["shard"], error)

    def _sign(self) -> None:
        self._signed = time.monotonic()
        said = {**self._said, "done": self._n_done, "time": time.time()}
        self._place.write(self._name, json.dumps(said).encode())


def at_work(place: Place, shard: int | None = None) -> list[AtWork]:
    """Return who is at which shard, or at one."""
    names = [
        f"attempts/{name}"
        for name in place.names("attempts")
        if (match := _AT_WORK.match(name)) and (shard is None or int(match["shard"]) == shard)
    ]
    if place.is_local:
        return [note for name in names if (note := _note(place, name))]
    with concurrent.futures.ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="featx-job") as pool:
        return [note for note in pool.map(lambda name: _note(place, name), names) if note]


def _note(place: Place, name: str) -> AtWork | None:
    """Return what a note says; None if it has gone, or is damaged and counts for nothing."""
    said = _read(place, name) or {}
    try:
        return AtWork(
            name=name,
            shard=int(said["shard"]),
            pid=int(said["pid"]),
            started=None if said["started"] is None else int(said["started"]),
            n_done=int(said["done"]),
            client=str(said["client"]),
            n_round=int(said["round"]),
            where=str(said["where"]),
            time=float(said["time"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def tried(place: Place) -> dict[int, int]:
    """Return how many times each shard has ended its worker; 0 if it is unknown whether it did."""
    found: dict[int, int] = {}
    for name in place.names("attempts"):
        if match := _TRIED.match(name):
            shard = int(match["shard"])
            found[shard] = max(found.get(shard, 0), int(match["number"]))
    return found


def reasons(place: Place) -> dict[int, tuple[int, str]]:
    """Return how many times each shard has ended its worker, where it has, and how the last time."""
    return {
        shard: (number, str((_read(place, f"attempts/{shard:08}-{number}.json") or {}).get("reason", "unknown")))
        for shard, number in tried(place).items()
        if number
    }


def count_try(place: Place, shard: int, reason: str) -> int:
    """Note that a shard has ended its worker; return how many times that was."""
    number = tried(place).get(shard, 0) + 1
    while not place.create(f"attempts/{shard:08}-{number}.json", _said_of(shard, reason)):
        number += 1
    return number


def suspect(place: Place, shard: int, reason: str) -> None:
    """Note that a shard's worker has ended, and its client too, so that nobody knows of what: it is to come last."""
    place.create(f"attempts/{shard:08}-0.json", _said_of(shard, reason))


def forget_tries(place: Place, shards: set[int]) -> None:
    """Remove the tries of shards."""
    for name in place.names("attempts"):
        if (match := _TRIED.match(name)) and int(match["shard"]) in shards:
            place.remove(f"attempts/{name}")


def set_aside(place: Place, shard: int, reason: str) -> None:
    """Set a shard aside, so that the rest goes on without it."""
    place.write(f"set_aside/{shard:08}.json", _said_of(shard, reason))


def which_aside(place: Place, done: Container[int] = ()) -> dict[int, str]:
    """Return the shards that are set aside, and why; not those that somebody has done since."""
    found = {}
    for name in sorted(place.names("set_aside")):
        if name.endswith(".json") and name[:-5].isdigit() and int(name[:-5]) not in done:
            said = _read(place, f"set_aside/{name}") or {}
            found[int(name[:-5])] = str(said.get("reason", "unknown"))
    return found


def take_back(place: Place, shards: set[int]) -> None:
    """Let shards that were set aside be tried again."""
    for shard in shards:
        place.remove(f"set_aside/{shard:08}.json")
    forget_tries(place, shards)


def _said_of(shard: int, reason: str) -> bytes:
    return json.dumps({"shard": shard, "reason": reason, "time": time.time()}).encode()


def _read(place: Place, name: str) -> dict[str, Any] | None:
    try:
        said = json.loads(place.read(name))
    except (FileNotFoundError, ValueError):
        return None
    return said if isinstance(said, dict) else None
