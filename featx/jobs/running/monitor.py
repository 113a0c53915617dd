"""Who runs a job, and how far they are, from the notes in its folder."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from featx.errors import FeatxWarning
from featx.features.job_format import FOLDERS, matrix_name
from featx.jobs.job import Job
from featx.jobs.running import heartbeats as attempts
from featx.jobs.running import retries as outcomes
from featx.jobs.storage import Place
from featx.system.processes import is_process_running, pid_namespace

#: Seconds between looks at how far workers are, of a job on this machine and elsewhere.
_LOOK, _FAR_LOOK = 0.5, 10.0
#: At least so many times what the last look took.
_REST = 10.0
#: Seconds for which a client elsewhere is taken for alive without a sign of its workers; and after which its note goes.
_YOUNG, _FORGOTTEN = 120.0, 7 * 86400.0


def running(place: Place) -> Iterator[dict[str, Any]]:
    """Yield the notes of clients that run a job, as far as they live."""
    at_work = {note.client for note in attempts.at_work(place) if note.is_alive}
    for name in sorted(place.names("running")):
        try:
            note = json.loads(place.read(f"running/{name}"))
            note = {**note, "time": float(note["time"]), "before": int(note["before"])}
            note["client"] = name[:-5]
            is_here, age = note["where"] == pid_namespace(), time.time() - note["time"]
            is_running = is_here and is_process_running(int(note["pid"]), note["started"])
            is_alive = is_running if is_here else age < _YOUNG or note["client"] in at_work
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue
        if is_alive:
            yield note
        elif is_here or age > _FORGOTTEN:
            place.remove(f"running/{name}")


def said_of(note: dict[str, Any]) -> str:
    """Return who runs a job, for people."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(note["time"]))
    return f"process {note['pid']} on {note['host']} since {since}"


@contextlib.contextmanager
def noted(place: Place, client: str, n_before: int) -> Iterator[None]:
    """Leave a note in the job's folder that a client runs it, for whoever asks."""
    name = f"running/{client}.json"
    others = list(running(place))
    if others:
        warnings.warn(
            f"This job is being run already: {', '.join(map(said_of, others))}. Both go on; the shards "
            "that the other is at are left to the last.",
            FeatxWarning,
            stacklevel=4,
        )
    where, pid, started = attempts.this_process()
    said = {"where": where, "host": socket.gethostname(), "pid": pid, "started": started}
    place.write(name, json.dumps({**said, "time": time.time(), "before": n_before}).encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            outcomes.forget(place, [client])
            for one in attempts.at_work(place):
                if one.client == client:
                    place.remove(one.name)
            place.remove(name)
            place.tidy(*FOLDERS)  # after workers that were killed


@contextlib.contextmanager
def matrix_here(job: Job, shard: int) -> Iterator[Path]:
    """Yield the rows of a shard as a file of this machine."""
    if job.place.is_local:
        yield Path(job.place.path(matrix_name(shard)))
        return
    with job.place.scratch("shards") as temporary:
        temporary.write_bytes(job.place.read(matrix_name(shard)))
        yield temporary


@contextlib.contextmanager
def watching(job: Job, client: str, n_done: int, progress: Callable[[int], object] | None) -> Iterator[None]:
    """Tell how many images are done, from what workers note, while the block runs."""
    if progress is None:
        yield
        return
    is_over = threading.Event()
    told = n_done
    every = _LOOK if job.place.is_local else _FAR_LOOK

    def look() -> None:
        nonlocal told
        pause = every
        while not is_over.wait(pause):
            began = time.monotonic()
            with contextlib.suppress(OSError):
                now_done = images_done(job, client)
                if now_done > told:
                    progress(now_done - told)
                    told = now_done
            pause = max(every, _REST * (time.monotonic() - began))  # of a large job, a look takes long

    thread = threading.Thread(target=look, daemon=True, name="featx-progress")
    thread.start()
    try:
        yield
        is_over.set()
        thread.join()
        if (now_done := images_done(job, client)) > told:
            progress(now_done - told)
    finally:
        is_over.set()
        thread.join(timeout=every)


def images_done(job: Job, client: str | None = None) -> int:
    """Return how many images are done: those of finished shards, and those that workers (of a client) have noted."""
    names = job.place.names("shards")
    finished = {int(name[:-8]) for name in names if name.endswith(".parquet") and name[:-8].isdigit()}
    notes = {
        note.shard: note.n_done
        for note in attempts.at_work(job.place)
        if note.shard not in finished and (note.client == client or client is None) and note.is_alive
    }
    return sum(job.n_images(shard) for shard in finished if shard < job.manifest.n_shards) + sum(notes.values())
