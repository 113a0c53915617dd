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
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import ClassVar, TypeVar

from featx.errors import FeatxWarning, OutputError
from featx.features.job_files import FOLDERS, shards_with_table
from featx.jobs.job import MAX_READERS, Job
from featx.system.files.folder import Folder
from featx.system.processes import is_alive, process_identity

#: A worker or client on another machine that sends no heartbeat for this time counts as dead.
SILENT_SECONDS = 120.0
#: Progress is read at most this share of the time.
_READ_SHARE = 0.1

_log = logging.getLogger("featx")


@dataclasses.dataclass(frozen=True)
class Heartbeat:
    """The last heartbeat of a worker at a shard."""

    folder: ClassVar[str] = "heartbeats"
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


_Note = TypeVar("_Note", Heartbeat, "Client")


class HeartbeatWriter:
    """Writer of the heartbeats of a worker, at most one in `seconds`. They exist while it processes the shard."""

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
    """Return the heartbeats of all workers, or of those at one shard."""
    return _read(folder, Heartbeat, "" if shard is None else f"{shard:08}-")


def _read(folder: Folder, kind: type[_Note], prefix: str = "") -> list[_Note]:
    """Return the notes of a kind; those of another format, or removed meanwhile, are ignored."""

    def read(name: str) -> _Note | None:
        try:
            return kind(name=name, **json.loads(folder.read(name)))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    names = sorted(f"{kind.folder}/{name}" for name in folder.names(kind.folder) if name.startswith(prefix))
    if folder.is_local:
        return [note for name in names if (note := read(name))]
    with concurrent.futures.ThreadPoolExecutor(MAX_READERS, thread_name_prefix="featx-job") as pool:
        return [note for note in pool.map(read, names) if note]


# Clients


@dataclasses.dataclass(frozen=True)
class Client:
    """The note of a client that runs the job."""

    folder: ClassVar[str] = "clients"
    name: str  # of the file
    host: str
    pid: int
    started: int | None
    hostname: str
    time: float  # of the start of the run
    n_before: int  # images that were done then

    @property
    def token(self) -> str:
        """Mark of the heartbeats of its workers."""
        return self.name.partition("/")[2].removesuffix(".json")

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time))
        return f"process {self.pid} on {self.hostname} since {since}"


def running_clients(folder: Folder) -> list[Client]:
    """Return the clients that run a job now; remove the notes of others."""
    active = {beat.client for beat in read_heartbeats(folder) if beat.is_alive}
    clients = []
    for client in _read(folder, Client):
        is_running = is_alive(client.host, client.pid, client.started, client.time, SILENT_SECONDS)
        if is_running or client.token in active:
            clients.append(client)
        else:
            folder.remove(client.name)
    return clients


@contextlib.contextmanager
def registered_client(folder: Folder, token: str, n_before: int) -> Iterator[None]:
    """Show others that a client runs the job while the block runs, and warn of others that do; then clean up."""
    if others := running_clients(folder):
        warnings.warn(
            f"This job is already being run by {', '.join(map(str, others))}. Both clients continue; each "
            "processes the shards of the other last.",
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


def count_done_images(job: Job) -> int:
    """Return the number of images of done shards, and of those that workers have done so far."""
    done = set(shards_with_table(job.folder.names("shards")))
    in_progress = {
        beat.shard: beat.n_done for beat in read_heartbeats(job.folder) if beat.shard not in done and beat.is_alive
    }
    return sum(job.n_images(shard) for shard in done if shard < job.manifest.n_shards) + sum(in_progress.values())


class DoneImages:
    """Reports to `progress` the number of images of a job that are done since its last call; call it often."""

    def __init__(self, job: Job, progress: Callable[[int], object]) -> None:
        self._job, self._progress = job, progress
        self._reported = count_done_images(job)
        self._next = 0.0

    def __call__(self) -> None:
        """Look at the job, unless the last look was just now."""
        started = time.monotonic()
        if started < self._next:
            return
        with contextlib.suppress(OSError):
            n_new = count_done_images(self._job) - self._reported
            if n_new > 0:
                self._progress(n_new)
                self._reported += n_new
        seconds = time.monotonic() - started
        self._next = started + max(self._job.folder.poll_seconds, seconds / _READ_SHARE)
