"""Read a job: its plan, and the shards that are committed."""

from __future__ import annotations

import concurrent.futures
import functools
import io
import os
import shlex
from collections.abc import Sequence
from typing import Any

from featx.datasets.label_types import cast_label
from featx.errors import FeatxError, JobError
from featx.features.hashed_npy import checksum_of
from featx.features.job_files import (
    MANIFEST,
    CommittedShard,
    PlannedShard,
    first_line,
    matrix_name,
    parse_manifest,
    plan_name,
    read_committed,
    shards_with_table,
    table_name,
)
from featx.features.job_tables import column_texts
from featx.features.npy_writer import HEADER_BYTES
from featx.system.files import remote
from featx.system.files.folder import Folder
from featx.system.files.parquet import import_pyarrow

_MAX_READERS = 16
_COLUMNS = ("path", "label", "digest", "status", "reason", "error")


class JobReader:
    """A planned job.

    Parameters
    ----------
    folder : Folder
        Folder of the job.

    Raises
    ------
    JobError
        The folder has no job, or one with another file format.
    """

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
        """Return the images of a shard.

        Raises
        ------
        JobError
            The plan is corrupt.
        """
        number, group = divmod(shard, self.manifest.shards_per_file)
        name = plan_name(number, self.manifest.id)
        try:
            footer = _plan_footer(self.folder, name)
            table = self.folder.read_with(
                name, lambda file: import_pyarrow().parquet.ParquetFile(file, metadata=footer).read_row_group(group)
            )
            columns = table.to_pydict()
        except (ValueError, OSError, IndexError) as error:
            if isinstance(error, FeatxError):
                raise
            raise JobError(
                f"Cannot read the plan {self.folder.path(name)!r}: {first_line(error)}. Plan the job again under a new "
                "name: cached rows are not computed again."
            ) from error
        labels = column_texts("label", columns)
        if (kind := self.manifest.labels) != "str":
            labels = [None if label is None else cast_label(label, kind) for label in labels]
        states = [
            None if size is None else (size, mtime)
            for size, mtime in zip(columns["size"], columns["mtime_ns"], strict=True)
        ]
        return PlannedShard(column_texts("path", columns), labels, states)

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
        with concurrent.futures.ThreadPoolExecutor(_MAX_READERS, thread_name_prefix="featx-job") as pool:
            for shard, state in zip(shards, pool.map(self._read_footer, shards), strict=True):
                is_valid = isinstance(state, CommittedShard) and not self._problem(
                    state, sizes.get(os.path.basename(matrix_name(shard, state.checksum)))
                )
                # Others may commit while a folder is listed, so look again before a shard counts as corrupt.
                current = state if is_valid else self._committed_now(shard)
                if isinstance(current, CommittedShard):
                    done[shard] = current
                elif current:
                    corrupt[shard] = current
        return done, corrupt

    def _committed_now(self, shard: int) -> CommittedShard | str:
        """Return the footer of a shard, or why it is corrupt; "" if it has no table."""
        footer = self._read_footer(shard)
        if isinstance(footer, str):
            return footer
        reason = self._problem(footer, self.folder.size(matrix_name(shard, footer.checksum)))
        if not reason:
            return footer
        return reason if self.folder.exists(table_name(shard)) else ""

    def _read_footer(self, shard: int) -> CommittedShard | str:
        try:
            return self.read_committed(shard)
        except FileNotFoundError:
            return ""
        except JobError as error:
            return str(error)

    def read_committed(self, shard: int) -> CommittedShard:
        """Return the footer of a shard's table.

        Raises
        ------
        FileNotFoundError
            The shard is not committed.
        JobError
            Its table is corrupt.
        """
        try:
            return read_committed(self.folder, shard, self.manifest.id, self.manifest.fingerprint)
        except FeatxError:
            raise
        except ValueError as error:
            raise JobError(str(error)) from error

    def table(self, shard: CommittedShard) -> dict[str, list[Any]]:
        """Return the columns of a shard's table.

        Raises
        ------
        JobError
            The table is corrupt.
        """
        pa = import_pyarrow()
        name = table_name(shard.shard)
        try:
            file = io.BytesIO(self.folder.read(name))
            columns: dict[str, list[Any]] = pa.parquet.read_table(file, page_checksum_verification=True).to_pydict()
            n_done, n_images = columns["status"].count("done"), len(columns["status"])
            if missing := [column for column in _COLUMNS if column not in columns]:
                raise ValueError(f"the column {missing[0]!r} is missing")
        except FileNotFoundError as error:
            raise self._corrupt_table(name, "the file is missing") from error
        except FeatxError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise self._corrupt_table(name, first_line(error)) from error
        if (n_done, n_images) != (shard.rows, shard.n_images):
            counts = f"{n_done} of {n_images} images have a row, expected {shard.rows} of {shard.n_images}"
            raise self._corrupt_table(name, counts)
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

    def _corrupt_table(self, name: str, reason: str) -> JobError:
        return JobError(
            f"The table {self.folder.path(name)!r} is corrupt ({reason}). Compute corrupt shards again: featx job run "
            f"{shlex.quote(self.folder.location)} --verify"
        )

    def _problem(self, shard: CommittedShard, size: int | None) -> str:
        """Return why a committed shard does not fit the plan or its matrix; "" if it does."""
        expected = HEADER_BYTES + shard.rows * self.manifest.n_features * 4
        if shard.shard >= self.manifest.n_shards or shard.n_images != self.n_images(shard.shard):
            return "its table does not fit the plan"
        if size is None:
            return "its matrix is missing"
        return "" if size == expected else f"its matrix has {size:,} bytes, expected {expected:,}"


@functools.lru_cache(maxsize=2)
def _plan_footer(folder: Folder, name: str) -> Any:
    """Return the footer of a file of the plan, cached: it takes longer to read than a row group."""
    return folder.read_with(name, import_pyarrow().parquet.read_metadata)
