"""The plan of a job on disk: begun where nothing else is, and none until its manifest is there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from pathlib import Path
from typing import Any

from featx.errors import JobError
from featx.features.job_columns import import_pyarrow, text_columns
from featx.features.job_format import FOLDERS, MANIFEST, JobManifest, plan_name, shards_per_file
from featx.jobs.planning.image_listing import Part
from featx.jobs.storage import Place
from featx.system.files.listing import TEMPORARY
from featx.system.processes import is_process_running, pid_namespace, process_start_time

_PLANNING = "planning.json"
_ABANDONED_AFTER = 24 * 3600.0
_ROUNDS = 5
#: What folders are not called, as a rule, and other outputs of featx are.
_OF_FILES = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".json", ".html", ".skops", ".zip", ".tar", ".gz", ".tgz")

#: ``s3:bucket/job`` or ``s3:/bucket/job``, as a path.
_BROKEN_ADDRESS = re.compile(r"^(s3|gs|gcs|az|abfs|https?|file|memory):/?(.*)$", re.IGNORECASE)


def refuse_other(place: Place) -> None:
    """Refuse a folder that holds something else, or in which somebody is planning; and what is called like a file."""
    _refuse_name(place)
    if place.is_empty():
        return
    there = place.folders()
    if MANIFEST in there:
        raise _planned_already(place)
    ours = {"plan", _PLANNING, *(folder for folder in FOLDERS if not place.listed(folder))}
    if others := sorted(name for name in there - ours if not name.startswith(TEMPORARY)):
        raise JobError(
            f"{place.address!r} holds something else ({others[0]!r}) and no job. Choose a folder that is empty or not "
            "there yet."
        )
    if reason := _why_in_use(place):
        raise _in_use(place, reason)


def _refuse_name(place: Place) -> None:
    if place.address.lower().endswith(_OF_FILES):
        raise JobError(
            f"{place.address!r} is called like a file, and a job is a folder. Pass a folder, such as -o job/; for one "
            "matrix: featx extract SOURCE -o features.npy, or featx job merge when the job is done."
        )
    if place.is_local and (broken := _BROKEN_ADDRESS.search(os.path.relpath(place.address))):
        raise JobError(
            f"{broken[0]!r} is neither a folder nor an address. Pass -o {broken[1]}://{broken[2]}, with two slashes, "
            "or a folder without a colon."
        )


def _planned_already(place: Place) -> JobError:
    return JobError(
        f"There is a job in {place.address!r} already. featx job run {place.address} goes on with it; for another, "
        "choose another folder."
    )


def _in_use(place: Place, reason: str) -> JobError:
    return JobError(
        f"Somebody is planning a job in {place.address!r} ({reason}). Wait for it, or choose another; "
        f"if it has ended, remove {place.path(_PLANNING)!r}."
    )


def _why_in_use(place: Place) -> str | None:
    """Return who is planning here; nothing if they are gone, and None if there is no note of anybody."""
    try:
        note = json.loads(place.read(_PLANNING))
        where, pid, since = str(note["where"]), int(note["pid"]), float(note["time"])
        started = note["started"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return ""
    if where == pid_namespace():
        return f"process {pid}" if is_process_running(pid, started) else ""
    return f"process {pid} on {where.partition('.')[0]}" if time.time() - since < _ABANDONED_AFTER else ""


def _missing(folders: list[str], place: Place) -> list[str]:
    """Return folders that are not there, and those above them that are not, the deepest first."""
    found: set[str] = set()
    for folder in folders if place.is_local else ():
        above = folder
        while above not in found and not os.path.lexists(above):
            found.add(above)
            above = os.path.dirname(above)
    return sorted(found, key=len, reverse=True)


class PlanWriter:
    """Writes a plan: a row group for each shard, and last of all the manifest, without which it is none."""

    def __init__(self, place: Place, shard_size: int) -> None:
        pa = import_pyarrow()
        self._place, self._shard_size = place, shard_size
        self.shards_per_file = shards_per_file(shard_size)
        self._schema = pa.schema(
            {
                "path": pa.string(),
                "path_bytes": pa.binary(),
                "label": pa.string(),
                "label_bytes": pa.binary(),
                "size": pa.int64(),
                "mtime_ns": pa.int64(),
            }
        )
        note = {
            "where": pid_namespace(),
            "pid": os.getpid(),
            "started": process_start_time(os.getpid()),
            "time": time.time(),
            "token": uuid.uuid4().hex,
        }
        self._note = json.dumps(note).encode()
        self.n_images = self.n_shards = 0
        self._made: list[str] = []
        self._scratch: Any = None
        self._temporary: Path | None = None
        self._file: Any = None

    def __enter__(self) -> PlanWriter:
        place = self._place
        self._made = _missing([place.address, *(place.path(name) for name in ("plan", *FOLDERS))], place)
        try:
            self._begin()
        except JobError:  # what is there is somebody else's
            raise
        except BaseException:
            self._unmake()
            raise
        return self

    def _begin(self) -> None:
        place = self._place
        place.prepare("")
        if not place.keeps_names():
            raise JobError(
                f"No job can be in {place.address!r}: this storage writes over names that are taken, and workers would "
                "write over each other's rows. Pass a folder, or an s3:// address."
            )
        for _ in range(_ROUNDS):
            if place.create(_PLANNING, self._note):
                break
            if reason := _why_in_use(place):
                raise _in_use(place, reason)
            if reason is not None:
                place.remove(_PLANNING)
        else:
            raise _in_use(place, "several at once")
        if place.has(MANIFEST):  # of one who was done between our look and our note
            place.remove(_PLANNING)
            raise _planned_already(place)
        place.clear("plan")  # of one that was broken off
        place.prepare("plan", *FOLDERS)

    def __exit__(self, kind: object, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._scratch.__exit__(None, None, None)
        if not self._is_ours():
            return
        is_none = kind is not None and not self._place.has(MANIFEST)
        if is_none:
            self._place.clear("plan")
            self._unmake()  # all but the folder that our note is in
        self._place.remove(_PLANNING)
        if is_none:
            self._unmake()

    def _unmake(self) -> None:
        """Remove the folders that were made, as far as nothing is in them."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _is_ours(self) -> bool:
        """Return whether nobody has taken our note for a dead one's."""
        try:
            return self._place.read(_PLANNING) == self._note
        except FileNotFoundError:
            return False

    def _check_ours(self) -> None:
        if not self._is_ours():
            raise _in_use(self._place, "they took over")

    def add(self, part: Part, states: list[os.stat_result | None]) -> None:
        """Write one shard."""
        pa = import_pyarrow()
        if self._file is None:
            self._check_ours()
            self._scratch = self._place.scratch("plan")
            self._temporary = self._scratch.__enter__()
            self._file = pa.parquet.ParquetWriter(self._temporary, self._schema, write_statistics=False)
        columns = {
            **text_columns("path", part.paths),
            **text_columns("label", part.labels),
            "size": pa.array([state and state.st_size for state in states], pa.int64()),
            "mtime_ns": pa.array([state and state.st_mtime_ns for state in states], pa.int64()),
        }
        self._file.write_table(pa.table(columns, self._schema), row_group_size=self._shard_size)
        self.n_images += len(part.paths)
        self.n_shards += 1
        if self.n_shards % self.shards_per_file == 0:
            self._publish()

    def _publish(self) -> None:
        if self._file is None:
            return
        assert self._temporary is not None
        self._file.close()
        self._file = None
        is_new = self._place.create_from(plan_name((self.n_shards - 1) // self.shards_per_file), self._temporary)
        self._scratch.__exit__(None, None, None)
        if not is_new:
            raise _in_use(self._place, "they took over")

    def finish(self, manifest: JobManifest) -> None:
        """Write the manifest."""
        self._publish()
        self._check_ours()
        if not self._place.create(MANIFEST, manifest.as_bytes()):
            raise JobError(f"Somebody has planned a job in {self._place.address!r} meanwhile. Choose another folder.")
