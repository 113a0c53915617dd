"""Heartbeats of workers at their shards, and notes of the clients that run a job.

No engine covers this: several clients, on several engines and machines, may run one job and share only its folder.
Heartbeats show them which shards are in progress and how far, and at which image a worker died.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import logging
import re
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from featx.errors import FeatxWarning, OutputError
from featx.features.job_files import FOLDERS, shards_with_table
from featx.jobs.job import Job
from featx.system.files.folder import Folder
from featx.system.processes import is_alive, pid_namespace, process_identity

#: A worker or client on another machine that sends no heartbeat for this time counts as dead.
SILENT_SECONDS = 120.0
#: Notes of dead clients on other machines are removed after this time.
_FORGET_SECONDS = 7 * 86400.0
_MAX_READERS = 16
#: Progress is read at most this share of the time.
_READ_SHARE = 0.1
_NAME = re.compile(r"^(?P<shard>\d{8})-[0-9a-f]{32}\.json$")

_log = logging.getLogger("featx")


@dataclasses.dataclass(frozen=True)
class Heartbeat:
    """The last heartbeat of a worker at a shard."""

    name: str  # of the file
    shard: int
    n_done: int  # images of the shard
    client: str  # token of the client that submitted the shard
    round: int  # of that client
    host: str  # with `pid` and `started`: see process_identity
    pid: int
    started: int | None
    time: float  # seconds since 1970

    @property
    def is_alive(self) -> bool:
        """Whether the process is alive, as far as this machine can know."""
        return is_alive(self.host, self.pid, self.started, self.time, SILENT_SECONDS)


class HeartbeatWriter:
    """Writes the heartbeats of a worker, at most one in `seconds`. They exist as long as it is at the shard."""

    def __init__(self, folder: Folder, shard: int, client: str, round: int, seconds: float) -> None:  # noqa: A002
        self._folder = folder
        self._name = f"heartbeats/{shard:08}-{uuid.uuid4().hex}.json"
        self._fields = {"shard": shard, "client": client, "round": round, **process_identity()}
        self._seconds = seconds
        self._last = 0.0
        self._n_done = 0
        self._has_failed = False

    def __enter__(self) -> Callable[[int], None]:
        self._write()
        return self._advance

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is KeyboardInterrupt:
            return  # the worker is terminated: its client reads at which image
        with self._warn():
            self._folder.remove(self._name)

    def _advance(self, n_done: int) -> None:
        self._n_done += n_done
        if time.monotonic() - self._last >= self._seconds:
            with self._warn():
                self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        fields = {**self._fields, "n_done": self._n_done, "time": time.time()}
        self._folder.write(self._name, json.dumps(fields).encode())

    @contextlib.contextmanager
    def _warn(self) -> Iterator[None]:
        """Log the first error: a shard does not need its heartbeats."""
        try:
            yield
        except OutputError as error:
            if not self._has_failed:
                self._has_failed = True
                _log.warning("The progress of shard %d is not shown, but it goes on: %s", self._fields["shard"], error)


def read_heartbeats(folder: Folder, shard: int | None = None) -> list[Heartbeat]:
    """Return the heartbeats of all workers, or of those at one shard; corrupt ones are ignored."""
    names = [
        f"heartbeats/{name}"
        for name in folder.names("heartbeats")
        if (match := _NAME.match(name)) and (shard is None or int(match["shard"]) == shard)
    ]
    if folder.is_local:
        return [beat for name in names if (beat := _read_heartbeat(folder, name))]
    with concurrent.futures.ThreadPoolExecutor(_MAX_READERS, thread_name_prefix="featx-job") as pool:
        return [beat for beat in pool.map(lambda name: _read_heartbeat(folder, name), names) if beat]


def _read_heartbeat(folder: Folder, name: str) -> Heartbeat | None:
    try:
        beat = Heartbeat(name=name, **json.loads(folder.read(name)))
        numbers = (beat.shard, beat.n_done, beat.round, beat.pid)
        is_valid = all(type(number) is int for number in numbers) and isinstance(beat.time, float)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return beat if is_valid else None


# Clients


def running_clients(folder: Folder) -> list[dict[str, Any]]:
    """Return the notes of clients that run a job now; remove those of dead clients."""
    active = {beat.client for beat in read_heartbeats(folder) if beat.is_alive}
    clients = []
    for name in sorted(folder.names("clients")):
        try:
            note = json.loads(folder.read(f"clients/{name}"))
            numbers = {"time": float(note["time"]), "n_before": int(note["n_before"])}
            client = {**note, "hostname": str(note["hostname"]), "token": name[:-5], **numbers}
            is_running = is_alive(note["host"], int(note["pid"]), note["started"], client["time"], SILENT_SECONDS)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue
        is_local = client["host"] == pid_namespace()
        if is_running or (not is_local and client["token"] in active):
            clients.append(client)
        elif is_local or time.time() - client["time"] > _FORGET_SECONDS:
            folder.remove(f"clients/{name}")
    return clients


def describe_client(client: dict[str, Any]) -> str:
    """Return a human-readable description of a client."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(client["time"]))
    return f"process {client['pid']} on {client['hostname']} since {since}"


@contextlib.contextmanager
def registered_client(folder: Folder, token: str, n_before: int) -> Iterator[None]:
    """Show others that a client runs the job while the block runs, and warn of others that do; then clean up."""
    if others := running_clients(folder):
        warnings.warn(
            f"This job is already being run by {', '.join(map(describe_client, others))}. Both clients go on, and each "
            "leaves the shards of the other to the end.",
            FeatxWarning,
            stacklevel=4,
        )
    note = {**process_identity(), "hostname": socket.gethostname(), "time": time.time(), "n_before": n_before}
    folder.write(f"clients/{token}.json", json.dumps(note).encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for beat in read_heartbeats(folder):
                if beat.client == token:
                    folder.remove(beat.name)
            folder.remove(f"clients/{token}.json")
            folder.remove_abandoned(*FOLDERS)  # temporary files of workers that were killed


# Progress


def count_done_images(job: Job, client: str | None = None) -> int:
    """Return the number of images of done shards, and of those that workers (of one client) have done so far."""
    done = set(shards_with_table(job.folder.names("shards")))
    in_progress = {
        beat.shard: beat.n_done
        for beat in read_heartbeats(job.folder)
        if beat.shard not in done and client in (None, beat.client) and beat.is_alive
    }
    return sum(job.n_images(shard) for shard in done if shard < job.manifest.n_shards) + sum(in_progress.values())


class DoneImages:
    """Counts the images of a job that are done, for a progress report; call it often.

    Parameters
    ----------
    job : Job
    client : str
        Only images that workers of this client are at count as done before their shard is.
    n_done : int
        Number of images that were done before.
    progress : callable
        Receives the number of images done since its last call.
    """

    def __init__(self, job: Job, client: str, n_done: int, progress: Callable[[int], object]) -> None:
        self._job, self._client, self._progress = job, client, progress
        self._reported = n_done
        self._next = 0.0

    def __call__(self) -> None:
        """Look at the job, unless the last look was just now."""
        started = time.monotonic()
        if started < self._next:
            return
        count = self._reported
        with contextlib.suppress(OSError):
            count = count_done_images(self._job, self._client)
        seconds = time.monotonic() - started
        self._next = started + max(self._job.folder.poll_seconds, seconds / _READ_SHARE)
        if count > self._reported:
            self._progress(count - self._reported)
            self._reported = count
