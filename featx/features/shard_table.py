"""The table of a job's shard: path, label and digest of each row, read when they are needed."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import FeaturesError
from featx.features.job_files import CommittedShard, JobManifest, read_committed, table_name
from featx.features.job_tables import column_texts
from featx.features.npy_part import FeatureFolder
from featx.system.array_types import IntArray
from featx.system.files.parquet import import_pyarrow
from featx.system.formatting import first_line

#: Values of some columns, by name.
TableColumns = dict[str, list[Any]]


class RowTable(Protocol):
    """A table with one line for each row of features."""

    @property
    def n_failed(self) -> int:
        """Number of images without a row."""

    @property
    def exists(self) -> bool:
        """Whether there is a table."""

    @property
    def part_columns(self) -> tuple[str, ...]:
        """Return which of the columns ``split`` and ``group`` the table has."""

    def take(self, numbers: IntArray, names: Sequence[str]) -> TableColumns:
        """Return some columns of some lines, whose numbers are distinct and sorted."""

    def failures(self) -> Iterator[Failure]:
        """Return the images without a row."""


@dataclasses.dataclass(frozen=True)
class ShardTable:
    """The Parquet table of a shard. Only its footer is read until lines are needed.

    Attributes
    ----------
    folder : FeatureFolder
        Folder of the job.
    name : str
        Name of the table.
    first : int
        Position of the shard's first image in the job.
    footer : CommittedShard
        Footer of the table.
    part_columns : tuple of str
        Which of the columns ``split`` and ``group`` the table has.
    """

    folder: FeatureFolder
    name: str
    first: int
    footer: CommittedShard
    part_columns: tuple[str, ...]

    @classmethod
    def open(cls, folder: FeatureFolder, shard: int, manifest: JobManifest) -> ShardTable:
        """Read the footer of a shard's table.

        Raises
        ------
        FeaturesError
            The table is corrupt, or belongs to another job.
        """
        name = table_name(shard)
        try:
            footer = read_committed(folder, shard, manifest.id, manifest.fingerprint)
        except FeaturesError:
            raise
        except ValueError as error:
            raise _corrupt(folder, name, first_line(error)) from error
        return cls(folder, name, shard * manifest.shard_size, footer, manifest.part_columns)

    @property
    def exists(self) -> bool:
        """Whether there is a table: its footer was read."""
        return True

    @property
    def n_rows(self) -> int:
        """Number of images with a row."""
        return self.footer.rows

    @property
    def n_failed(self) -> int:
        """Number of images without a row."""
        return self.footer.failed

    def take(self, numbers: IntArray, names: Sequence[str]) -> TableColumns:
        """Return some columns of the lines of images with a row, by row number."""
        columns = _rows_table(self.folder, self.name, self.n_rows, tuple(names)).take(numbers).to_pydict()
        taken = {name: column_texts(name, columns) if name in columns else [None] * len(numbers) for name in names}
        if "digest" in taken:
            taken["digest"] = [digest or "" for digest in taken["digest"]]
        return taken

    def failures(self) -> Iterator[Failure]:
        """Return the images of the shard that cannot be read."""
        if not self.n_failed:
            return
        columns = _read(self.folder, self.name, ("path", "path_bytes", "status", "reason", "error")).to_pydict()
        lines = zip(columns["status"], column_texts("path", columns), columns["reason"], columns["error"], strict=True)
        for index, (status, path, reason, error) in enumerate(lines):
            if status != "done":
                yield Failure(self.first + index, str(path), str(reason), str(error))


@functools.lru_cache(maxsize=4)
def _rows_table(folder: FeatureFolder, name: str, n_rows: int, names: tuple[str, ...]) -> Any:
    """Return columns of the images with a row as an Arrow table, which takes a tenth of the memory of lists."""
    table = _read(folder, name, (*names, *(f"{column}_bytes" for column in names), "status"))
    is_done = np.array(table.column("status").to_pylist(), dtype=object) == "done"
    if int(is_done.sum()) != n_rows:
        raise _corrupt(folder, name, f"{is_done.sum():,} images have a row, expected {n_rows:,} as in its footer")
    return table.drop_columns("status") if is_done.all() else table.drop_columns("status").filter(is_done)


def _read(folder: FeatureFolder, name: str, columns: Sequence[str]) -> Any:
    """Return the given columns, without those that do not exist."""
    pa = import_pyarrow()
    with folder.open(name) as file:
        try:
            return pa.parquet.ParquetFile(file, page_checksum_verification=True).read(columns)
        except (OSError, ValueError, NotImplementedError) as error:  # a corrupt byte may name an unknown encoding
            raise _corrupt(folder, name, f"its table is corrupt ({first_line(error)})") from error


def _corrupt(folder: FeatureFolder, name: str, reason: str) -> FeaturesError:
    return FeaturesError(f"Cannot use {folder.path(name)!r} as the table of a shard: {reason}. {remedy(folder)}")


def remedy(folder: FeatureFolder) -> str:
    """Return what to do about a corrupt shard."""
    return f"Compute corrupt shards again: featx job run {shlex.quote(folder.location)} --verify"
