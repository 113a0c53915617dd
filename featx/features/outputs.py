"""The files of an extraction while they are written: a ``.npy`` file with a table next to it, or one Parquet file."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from featx.errors import AuditError, OptionError
from featx.features.csv_table import (
    FAILURES_HEADER,
    PARQUET_SUFFIX,
    TABLE_HEADERS,
    failures_path,
    table_path,
    write_table,
)
from featx.features.npy_part import FeatureFolder
from featx.features.parquet.reader import ParquetFeatures, is_feature_table
from featx.features.parquet.writer import write_parquet
from featx.features.table_rows import TableRow
from featx.system.array_types import FloatArray
from featx.system.files.atomic import atomic_write, remove_abandoned, sync_file, sync_folder, temporary_path
from featx.system.files.output_paths import (
    as_output_error,
    check_output_file,
    check_parent,
    header_pattern,
    output_error,
    parent_problem,
    starts_with,
)
from featx.system.files.parquet import import_pyarrow

_OTHER_OUTPUT = "choose another file."


class OutputFiles(Protocol):
    """The files of an extraction under temporary names.

    Attributes
    ----------
    matrix : Path
        Path of the ``.npy`` file to which rows are written first, in any order.
    """

    matrix: Path

    def write_table(
        self, table: Callable[[], Iterable[TableRow]], shape: tuple[int, int], record: Mapping[str, Any]
    ) -> None:
        """Write the table of the matrix, once it is complete.

        Parameters
        ----------
        table : callable
            Function that returns the rows, each time it is called.
        shape : (int, int)
            Number of rows and of features.
        record : mapping
            Recipe and options, in JSON types.
        """

    def read_back(self, block_rows: int) -> Iterator[tuple[FloatArray, list[str]]]:
        """Yield rows and their digests in blocks, from the files as they were written."""

    def sync(self) -> None:
        """Make the files durable, which takes seconds for gigabytes, before those of an earlier output change."""


def check_output(output: Path, *, alternative: str = "") -> None:
    """Check that the matrix and its tables can be written, before any work is done.

    Parameters
    ----------
    output : Path
    alternative : str, default=""
        Sentence on what else the output may be, for the error of a wrong name.

    Raises
    ------
    OptionError
        The name does not end in ``.npy`` or ``.parquet``.
    OutputError
        The folder does not exist or cannot be written, or a file
        would be replaced that featx did not write. A matrix is taken for one of featx if its table is next to it.
    MissingDependencyError
        pyarrow is not installed, for a Parquet file.
    """
    if output.suffix not in (".npy", PARQUET_SUFFIX) or os.path.isdir(output):
        raise OptionError(
            f"output (-o) must be the name of a .npy or .parquet file, got {str(output)!r}. Pass for example "
            f"output='features.npy' (-o features.npy).{alternative and f' {alternative}'}"
        )
    check_parent(output)
    if problem := parent_problem(output):
        raise output_error(output, problem, f"Make it writable, or {_OTHER_OUTPUT}")
    remedy = f"Move the file, or {_OTHER_OUTPUT}"
    if output.suffix == PARQUET_SUFFIX:
        import_pyarrow()
        check_output_file(output, _is_feature_file, remedy=remedy)
    else:
        table = table_path(output)
        has_header = starts_with(*map(header_pattern, TABLE_HEADERS))
        check_output_file(
            output,
            lambda _: table.is_file() and has_header(table),
            remedy=f"{remedy} A matrix is replaced if its table {table.name!r} is next to it.",
        )
        check_output_file(table, has_header, remedy=remedy)
    check_output_file(failures_path(output), starts_with(header_pattern(FAILURES_HEADER)), remedy=remedy)


def describe_output(output: Path) -> str:
    """Return where rows, paths and labels are, as a phrase."""
    if output.suffix == PARQUET_SUFFIX:
        return f"{output}, with paths and labels"
    return f"{output}; paths and labels in {table_path(output)}"


def _is_feature_file(path: Path) -> bool:
    return is_feature_table(FeatureFolder(str(path.parent)), path.name, is_own=True)


@contextlib.contextmanager
def replacing_outputs(output: Path) -> Iterator[OutputFiles]:
    """Yield the files under temporary names; they are renamed at the end of a block without an error.

    The matrix is renamed first: where there is a table, it belongs to the matrix next to it.
    """
    remedy = f"Free some disk space, or {_OTHER_OUTPUT} Then repeat the command; rows in the cache are not recomputed."
    with as_output_error(output, remedy):
        remove_abandoned(output.parent)
        if output.suffix == PARQUET_SUFFIX:
            with atomic_write(output) as path, _removed(temporary_path(output.parent)) as matrix:
                yield _ParquetOutput(matrix, path)
        else:
            with atomic_write(table_path(output)) as listing, atomic_write(output) as matrix:
                yield _NpyOutput(matrix, listing)
        sync_folder(output.parent)


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[Path]:
    """Yield a path whose file is removed at the end of the block."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


class _NpyOutput:
    """A ``.npy`` file and the table of its rows."""

    def __init__(self, matrix: Path, listing: Path) -> None:
        self.matrix = matrix
        self._listing = listing

    def write_table(
        self, table: Callable[[], Iterable[TableRow]], shape: tuple[int, int], record: Mapping[str, Any]
    ) -> None:
        n_lines = write_table(self._listing, table)
        n_rows = len(np.load(self.matrix, mmap_mode="r", allow_pickle=False))
        if not n_lines == n_rows == shape[0]:
            raise audit_error(f"{n_rows:,} rows, {n_lines:,} lines")

    def read_back(self, block_rows: int) -> Iterator[tuple[FloatArray, list[str]]]:
        start = 0
        with open(self._listing, encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = csv.DictReader(file)
            while block := list(itertools.islice(lines, block_rows)):
                # A new map for each block, so that the pages read do not add up.
                rows = np.array(np.load(self.matrix, mmap_mode="r", allow_pickle=False)[start : start + len(block)])
                if [int(line["row"]) for line in block] != list(range(start, start + len(rows))):
                    raise audit_error(f"row numbers from {start} on do not match")
                start += len(rows)
                yield rows, [line["digest"] for line in block]

    def sync(self) -> None:
        sync_file(self.matrix)
        sync_file(self._listing)


class _ParquetOutput:
    """A Parquet file, written from a matrix that is removed."""

    def __init__(self, matrix: Path, path: Path) -> None:
        self.matrix = matrix
        self._path = path

    def write_table(
        self, table: Callable[[], Iterable[TableRow]], shape: tuple[int, int], record: Mapping[str, Any]
    ) -> None:
        def read(start: int, stop: int) -> FloatArray:
            return np.array(np.load(self.matrix, mmap_mode="r", allow_pickle=False)[start:stop])

        write_parquet(self._path, read, shape, table, record)

    def read_back(self, block_rows: int) -> Iterator[tuple[FloatArray, list[str]]]:
        features = ParquetFeatures(FeatureFolder(str(self._path.parent)), self._path.name)
        for start in range(0, features.shape[0], block_rows):
            stop = min(start + block_rows, features.shape[0])
            yield features.rows(start, stop), features.columns(np.arange(start, stop), ["digest"])["digest"]

    def sync(self) -> None:
        sync_file(self._path)


def audit_error(problem: str) -> AuditError:
    """Return the error of files that do not match each other."""
    return AuditError(
        f"The matrix and the table of its rows do not match: {problem}. Neither was kept. Repeat the command, and "
        "please report this."
    )
