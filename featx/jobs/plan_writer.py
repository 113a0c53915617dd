"""Write a plan into an empty folder. The plan exists once its manifest does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import time
import uuid
from pathlib import Path
from typing import Any

from featx.datasets.image_listing import Part
from featx.errors import JobError
from featx.features.job_files import FOLDERS, MANIFEST, JobManifest, plan_name, shards_per_file
from featx.features.job_tables import make_plan_table
from featx.system.files import atomic
from featx.system.files.folder import Folder
from featx.system.files.parquet import import_pyarrow
from featx.system.processes import is_alive, pid_namespace, process_identity

_NOTE = "planning.json"
#: The note of a planner on another machine is ignored after this time.
_ABANDONED_SECONDS = 24 * 3600.0
_MAX_ATTEMPTS = 5
#: Names of other outputs of featx, and of files in general.
_FILE_ENDINGS = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".json", ".html", ".skops", ".zip", ".tar", ".gz", ".tgz")
#: ``s3:bucket/job`` or ``s3:/bucket/job``, given as a path.
_BROKEN_URL = re.compile(r"^(s3|gs|gcs|az|abfs|https?|file|memory):/?(.*)$", re.IGNORECASE)


def check_free(folder: Folder) -> None:
    """Raise JobError if a folder has the name of a file, is not empty, or is being planned in."""
    _check_name(folder)
    entries = folder.entries()
    if MANIFEST in entries:
        raise _has_job(folder)
    expected = {"plan", _NOTE, *(name for name in FOLDERS if not folder.sizes(name))}
    others = sorted(name for name in entries - expected if not name.startswith(atomic.TEMPORARY_PREFIX))
    if others:
        raise JobError(
            f"{folder.location!r} is not empty ({others[0]!r}) and has no job. Choose a folder that is empty or does "
            "not exist."
        )
    if entries and (planner := _other_planner(folder)):
        raise _is_planned_in(folder, planner)


def _check_name(folder: Folder) -> None:
    if folder.location.lower().endswith(_FILE_ENDINGS):
        raise JobError(
            f"output must be a folder, got the file name {folder.location!r}. Pass a folder, such as -o job/; for one "
            "matrix, run featx extract SOURCE -o features.npy, or featx job merge when the job is done."
        )
    if folder.is_local and (match := _BROKEN_URL.search(os.path.relpath(folder.location))):
        raise JobError(
            f"output must be a folder or a URL, got {match[0]!r}. Pass -o {match[1]}://{match[2]}, with two slashes, "
            "or a folder without a colon."
        )


def _has_job(folder: Folder) -> JobError:
    return JobError(
        f"There is already a job in {folder.location!r}. Go on with it "
        f"(featx job run {shlex.quote(folder.location)}), or choose another folder."
    )


def _is_planned_in(folder: Folder, planner: str) -> JobError:
    return JobError(
        f"Another client is planning a job in {folder.location!r} ({planner}). Wait for it, or choose another folder. "
        f"If it has ended, remove {folder.path(_NOTE)!r}."
    )


def _other_planner(folder: Folder) -> str | None:
    """Return who is planning here; "" if they have ended, and None if there is no note."""
    try:
        note = json.loads(folder.read(_NOTE))
        host, pid, since = str(note["host"]), int(note["pid"]), float(note["time"])
        started = note["started"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return ""
    if not is_alive(host, pid, started, since, _ABANDONED_SECONDS):
        return ""
    return f"process {pid}" if host == pid_namespace() else f"process {pid} on {host.partition('.')[0]}"


def _missing_folders(folder: Folder) -> list[str]:
    """Return the folders that do not exist yet, the deepest first."""
    missing: set[str] = set()
    for path in [folder.path(name) for name in ("", "plan", *FOLDERS)] if folder.is_local else ():
        while path not in missing and not os.path.lexists(path):
            missing.add(path)
            path = os.path.dirname(path)  # noqa: PLW2901  # up to the first that exists
    return sorted(missing, key=len, reverse=True)


class PlanWriter:
    """Writes a plan: a row group for each shard, and last the manifest; a context manager.

    A note in the folder keeps others from planning there. If the plan is not finished, all that was made is removed.
    """

    def __init__(self, folder: Folder, shard_size: int) -> None:
        self._folder, self.shard_size = folder, shard_size
        self.shards_per_file = shards_per_file(shard_size)
        self._note = json.dumps({**process_identity(), "time": time.time(), "token": uuid.uuid4().hex}).encode()
        self.n_images = self.n_shards = 0
        self._new_folders: list[str] = []
        self._scratch: Any = None
        self._temporary: Path | None = None
        self._file: Any = None

    def __enter__(self) -> PlanWriter:
        self._new_folders = _missing_folders(self._folder)
        try:
            self._begin()
        except JobError:  # the folder belongs to another client
            raise
        except BaseException:
            self._remove_new_folders()
            raise
        return self

    def _begin(self) -> None:
        folder = self._folder
        folder.make_folders("")
        if not folder.refuses_overwrite():
            raise JobError(
                f"Cannot plan a job in {folder.location!r}: this storage overwrites existing files, so workers would "
                "overwrite the rows of others. Pass a folder or a URL of s3://."
            )
        for _ in range(_MAX_ATTEMPTS):
            if folder.create(_NOTE, self._note):
                break
            if planner := _other_planner(folder):
                raise _is_planned_in(folder, planner)
            if planner is not None:
                folder.remove(_NOTE)
        else:
            raise _is_planned_in(folder, "several at once")
        if folder.exists(MANIFEST):  # planned between the check and our note
            folder.remove(_NOTE)
            raise _has_job(folder)
        folder.clear("plan")  # of an interrupted planner
        folder.make_folders("plan", *FOLDERS)

    def __exit__(self, kind: object, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._scratch.__exit__(None, None, None)
        if not self._has_note():
            return
        is_unfinished = kind is not None and not self._folder.exists(MANIFEST)
        if is_unfinished:
            self._folder.clear("plan")
            self._remove_new_folders()  # but the one that has our note
        self._folder.remove(_NOTE)
        if is_unfinished:
            self._remove_new_folders()

    def _remove_new_folders(self) -> None:
        """Remove the folders that were made and are empty."""
        for path in self._new_folders:
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def _has_note(self) -> bool:
        """Return whether no other client has taken over the folder."""
        try:
            return self._folder.read(_NOTE) == self._note
        except FileNotFoundError:
            return False

    def _check_note(self) -> None:
        if not self._has_note():
            raise _is_planned_in(self._folder, "it took over")

    def add(self, part: Part, states: list[os.stat_result | None]) -> None:
        """Write the images of one shard, and the states of their files."""
        table = make_plan_table(part.paths, part.labels, states)
        if self._file is None:
            self._check_note()
            self._scratch = self._folder.scratch("plan")
            self._temporary = self._scratch.__enter__()
            self._file = import_pyarrow().parquet.ParquetWriter(self._temporary, table.schema, write_statistics=False)
        self._file.write_table(table, row_group_size=self.shard_size)
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
        is_new = self._folder.publish(plan_name((self.n_shards - 1) // self.shards_per_file), self._temporary)
        self._scratch.__exit__(None, None, None)
        if not is_new:
            raise _is_planned_in(self._folder, "it took over")

    def finish(self, manifest: JobManifest) -> None:
        """Write the manifest."""
        self._publish()
        self._check_note()
        if not self._folder.create(MANIFEST, manifest.as_bytes()):
            raise JobError(f"Another client has planned a job in {self._folder.location!r}. Choose another folder.")
