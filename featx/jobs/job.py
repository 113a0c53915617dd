"""A job in its folder: its plan, its committed shards, and those that are quarantined or suspect."""

from __future__ import annotations

import concurrent.futures
import functools
import io
import json
import os
import shlex
import time
from collections.abc import Container, Iterable, Sequence
from typing import Any

from featx.errors import FeatxError, JobError, SourceError
from featx.features.job_files import (
    MANIFEST,
    CommittedShard,
    Mark,
    PlannedShard,
    checksum_of,
    mark_name,
    matrix_name,
    parse_manifest,
    plan_name,
    read_committed,
    shards_with_table,
    table_name,
)
from featx.features.job_tables import planned_shard
from featx.features.npy_writer import HEADER_BYTES
from featx.system.files import remote
from featx.system.files.folder import Folder, open_folder
from featx.system.files.parquet import import_pyarrow
from featx.system.files.url_secrets import check_no_secrets
from featx.system.formatting import first_line
from featx.system.option_checks import as_path

MAX_READERS = 16
_COLUMNS = ("path", "label", "digest", "status", "reason", "error")


def open_job_folder(location: str | os.PathLike[str]) -> Folder:
    """Return the folder of a job, which need not exist. JobError: no job can be at this path or URL."""
    text = as_path("job", location)
    if not text.strip():
        raise JobError(f"The folder of a job must have a name, got {text!r}. Pass a folder or a URL (s3://bucket/job).")
    try:
        check_no_secrets(text)
        if remote.is_http_url(text):
            raise JobError(f"Cannot write a job to {text!r}: the web is read-only. Pass a folder or a URL of s3://.")
        return open_folder(text if remote.is_url(text) else os.path.abspath(text))
    except SourceError as error:
        raise JobError(str(error)) from error


def open_job(location: str | os.PathLike[str]) -> Job:
    """Return the job at a path or URL; see `Job` for what it raises."""
    return Job(open_job_folder(location))


def job_exists_error(folder: Folder) -> JobError:
    """Return the error of a client that plans a job where another has planned one."""
    return JobError(
        f"There is already a job in {folder.location!r}. Resume it (featx job run {shlex.quote(folder.location)}), or "
        "choose another folder."
    )


class Job:
    """A planned job. JobError: the folder has no job, or one with another file format."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        if folder.is_local and os.path.isfile(folder.location):
            raise JobError(f"{folder.location!r} is a file, expected the folder of a job. Pass that folder.")
        try:
            self.manifest = parse_manifest(folder.read(MANIFEST), folder.location)
        except FileNotFoundError as error:
            raise JobError(
                f"There is no job in {folder.location!r}. Plan one: featx job plan SOURCE -o "
                f"{shlex.quote(folder.location)}"
            ) from error
        except FeatxError:
            raise
        except ValueError as error:
            raise JobError(
                f"Cannot read {folder.path(MANIFEST)!r}: {error}. Plan the job again under a new name."
            ) from error

    # The plan

    def n_images(self, shard: int) -> int:
        """Return the number of images of a shard."""
        return min(self.manifest.shard_size, self.manifest.n_images - shard * self.manifest.shard_size)

    def planned(self, shard: int) -> PlannedShard:
        """Return the images of a shard. JobError: the plan is corrupt."""
        number, group = divmod(shard, self.manifest.shards_per_file)
        name = plan_name(number, self.manifest.id)
        try:
            footer = _plan_footer(self.folder, name)
            table = self.folder.read_with(
                name, lambda file: import_pyarrow().parquet.ParquetFile(file, metadata=footer).read_row_group(group)
            )
            return planned_shard(table.to_pydict(), self.manifest)
        except FeatxError:
            raise
        except (ValueError, OSError, IndexError) as error:
            raise JobError(
                f"Cannot read the plan {self.folder.path(name)!r}: {first_line(error)}. Plan the job again under a new "
                "name: cached rows are not computed again."
            ) from error

    def resolve_paths(self, paths: Sequence[str]) -> list[str]:
        """Return paths of the plan as seen from the current working folder."""
        folder = self.manifest.folder
        if folder == os.getcwd():
            return list(paths)
        return [path if remote.is_url(path) else os.path.join(folder, path) for path in paths]

    # Committed shards

    def committed(self) -> tuple[dict[int, CommittedShard], dict[int, str]]:
        """Return the shards that are done; and those that are corrupt, with the reason."""
        sizes = self.folder.sizes("shards")
        shards = shards_with_table(sizes)
        done: dict[int, CommittedShard] = {}
        corrupt: dict[int, str] = {}
        with concurrent.futures.ThreadPoolExecutor(MAX_READERS, thread_name_prefix="featx-job") as pool:
            states = pool.map(functools.partial(self._state, sizes=sizes), shards)
            for shard, (state, reason) in zip(shards, states, strict=True):
                if reason:
                    corrupt[shard] = reason
                elif state:
                    done[shard] = state
        return done, corrupt

    def _state(self, shard: int, sizes: dict[str, int]) -> tuple[CommittedShard | None, str]:
        """Return the footer of a shard, None if it has none, and why it is corrupt."""
        try:
            state = self.read_committed(shard)
        except FileNotFoundError:
            return None, ""
        except JobError as error:
            return None, str(error)
        name = matrix_name(shard, state.checksum)
        size = sizes.get(os.path.basename(name))
        # Others may commit while a folder is listed, so look again before a shard counts as corrupt.
        if self._problem(state, size) and (reason := self._problem(state, self.folder.size(name))):
            return state, reason if self.folder.exists(table_name(shard)) else ""
        return state, ""

    def _problem(self, shard: CommittedShard, size: int | None) -> str:
        """Return why a committed shard does not fit the plan or its matrix; "" if it does."""
        expected = HEADER_BYTES + shard.rows * self.manifest.n_features * 4
        if shard.shard >= self.manifest.n_shards or shard.n_images != self.n_images(shard.shard):
            return "its table does not fit the plan"
        if size is None:
            return "its matrix is missing"
        return "" if size == expected else f"its matrix has {size:,} bytes, expected {expected:,}"

    def read_committed(self, shard: int) -> CommittedShard:
        """Return the footer of a shard's table. FileNotFoundError: it has none. JobError: the table is corrupt."""
        try:
            return read_committed(self.folder, shard, self.manifest.id, self.manifest.fingerprint)
        except FeatxError:
            raise
        except ValueError as error:
            raise JobError(str(error)) from error

    def table(self, shard: CommittedShard) -> dict[str, list[Any]]:
        """Return the columns of a shard's table. JobError: the table is corrupt."""
        pa = import_pyarrow()
        name = table_name(shard.shard)
        try:
            file = io.BytesIO(self.folder.read(name))
            columns: dict[str, list[Any]] = pa.parquet.read_table(file, page_checksum_verification=True).to_pydict()
            if missing := [name for name in (*_COLUMNS, *self.manifest.part_columns) if name not in columns]:
                raise ValueError(f"the column {missing[0]!r} is missing")
            n_done, n_images = columns["status"].count("done"), len(columns["status"])
            if (n_done, n_images) != (shard.rows, shard.n_images):
                expected = f"{shard.rows:,} of {shard.n_images:,}"
                raise ValueError(f"{n_done:,} of {n_images:,} images have a row, expected {expected}")
        except FeatxError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = "the file is missing" if isinstance(error, FileNotFoundError) else first_line(error)
            raise JobError(
                f"The table {self.folder.path(name)!r} is corrupt ({reason}). Compute corrupt shards again: featx job "
                f"run {shlex.quote(self.folder.location)} --verify"
            ) from error
        return columns

    def find_corruption(self, shard: CommittedShard) -> str:
        """Return why the files of a committed shard are corrupt; "" if they are not."""
        try:
            self.table(shard)
            with self.folder.local_copy(matrix_name(shard.shard, shard.checksum)) as path:
                return "" if checksum_of(path) == shard.checksum else "its matrix has other bytes than were committed"
        except FileNotFoundError:
            return "its matrix is missing"
        except JobError as error:
            return str(error).partition(". ")[0]

    def remove_corrupt(self, shard: int, *, verify: bool) -> str:
        """Remove what is committed of a shard if it is corrupt, and return why; "" if another client was faster."""
        state, reason = self._state(shard, {})
        if state and verify:
            reason = reason or self.find_corruption(state)
        if not reason or self._state(shard, {})[0] != state:
            return ""
        self.folder.remove(table_name(shard))
        if state:  # other rows may be those of a client that commits them now
            self.folder.remove(matrix_name(shard, state.checksum))
        return reason

    # Marks

    def mark(self, kind: Mark, shard: int, reason: str) -> None:
        """Mark a shard."""
        self.folder.write(mark_name(kind, shard), json.dumps({"reason": reason, "time": time.time()}).encode())

    def marked(self, kind: Mark) -> list[int]:
        """Return the marked shards."""
        return sorted(int(name[:-5]) for name in self.folder.names(kind) if name[:-5].isdigit())

    def unmark(self, kind: Mark, shards: Iterable[int]) -> None:
        """Remove the marks of shards."""
        for shard in shards:
            self.folder.remove(mark_name(kind, shard))

    def quarantined(self, done: Container[int] = ()) -> dict[int, str]:
        """Return the quarantined shards and the reasons; not those that are done."""
        return {shard: self._reason(shard) for shard in self.marked("quarantine") if shard not in done}

    def _reason(self, shard: int) -> str:
        try:
            return str(json.loads(self.folder.read(mark_name("quarantine", shard)))["reason"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return "unknown reason"


@functools.lru_cache(maxsize=2)
def _plan_footer(folder: Folder, name: str) -> Any:
    """Return the footer of a file of the plan, cached: it takes longer to read than a row group."""
    return folder.read_with(name, import_pyarrow().parquet.read_metadata)
