"""Reader and writer of the tables next to a matrix: ``features.csv`` (one line per row), ``features.failures.csv``.

Columns ``split``, ``group`` and ``label_type`` follow the others if there is something to keep.

The reader parses only the blocks of lines that it needs.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.datasets.label_types import LabelTypeInferrer, cast_label
from featx.datasets.tables.stored import GROUP, LABEL_TYPE, all_headers, label_cell, unescape_cell
from featx.errors import FeaturesError, FeaturesNotFoundError
from featx.features.npy_part import FeatureFolder
from featx.features.shard_table import TableColumns
from featx.features.table_rows import PART_COLUMNS, ROW_COLUMNS, TableRow, stored_columns
from featx.system.array_types import IntArray
from featx.system.files.atomic import atomic_write
from featx.system.formatting import escape_cell, escape_path_cell

#: First columns of ``features.csv``, all headers that it may have, and the columns of ``features.failures.csv``.
TABLE_HEADER = ("row", *ROW_COLUMNS)
TABLE_HEADERS = tuple(all_headers(TABLE_HEADER))
FAILURES_HEADER = ("position", "path", "error", "reason")
#: Suffix of a feature file that holds its table itself.
PARQUET_SUFFIX = ".parquet"
#: Number of blocks that are read at once.
_MAX_BLOCKS = 16
#: The first line of a table is shorter.
_MAX_HEADER_BYTES = 256
_LINE_END, _QUOTE = ord("\n"), ord('"')


def table_path(matrix: Path) -> Path:
    """Return the path of the table of rows: ``features.csv`` for ``features.npy``."""
    return matrix.with_suffix(".csv")


def failures_path(matrix: Path) -> Path:
    """Return the path of the table of failures: ``features.failures.csv`` for ``features.npy``.

    That of a Parquet file keeps its suffix, ``features.parquet.failures.csv``: both files may be in one folder.
    """
    return matrix.with_suffix(f"{matrix.suffix if matrix.suffix == PARQUET_SUFFIX else ''}.failures.csv")


def write_table(path: Path, rows: Callable[[], Iterable[TableRow]]) -> int:
    """Write the table of a matrix and return its number of lines.

    Parameters
    ----------
    path : Path
    rows : callable
        Function that returns the rows of the matrix, in order. It is called twice: the first pass finds what to keep.

    Raises
    ------
    OutputError
        A tag contains the sign between tags.
    """
    stored = stored_columns(rows())
    index = -1
    with _csv_writer(path) as writer:
        writer.writerow([*TABLE_HEADER, *stored.names])
        for index, row in enumerate(rows()):
            cells = stored.cells(row.split, row.group)
            writer.writerow([index, escape_path_cell(row.path), label_cell(row.label), row.digest, *cells])
    return index + 1


def write_failures(matrix: Path, failures: Iterable[Failure]) -> None:
    """Write the table of failures of a matrix that is about to be replaced, and empty the table of the old matrix.

    The empty table belongs to no matrix, and shows after a kill that featx may replace the matrix next to it. A Parquet
    file has no table next to it.
    """
    if matrix.suffix != PARQUET_SUFFIX:
        with atomic_write(table_path(matrix)) as temporary:
            write_table(temporary, list)
    path = failures_path(matrix)
    remaining = iter(failures)
    first = next(remaining, None)
    if first is None:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as temporary, _csv_writer(temporary) as writer:
        writer.writerow(FAILURES_HEADER)
        for failure in itertools.chain([first], remaining):
            writer.writerow(
                [failure.position, escape_path_cell(failure.image), failure.error, escape_cell(failure.reason)]
            )


@contextlib.contextmanager
def _csv_writer(path: Path) -> Iterator[Any]:
    # surrogateescape: a file name that is not valid UTF-8 is written as its original bytes.
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield csv.writer(file)


class CsvTable:
    """Reader of the table of a ``.npy`` file. The position of every 1,024th line is indexed.

    Parameters
    ----------
    folder : FeatureFolder
    name : str
        File name, for example ``features.csv``.
    n_rows : int
        Number of rows of the matrix.

    Attributes
    ----------
    block_lines : int, default=1024
        Number of lines of a block.
    read_bytes : int, default=4194304
        Number of bytes that are read at once to find the lines.
    """

    block_lines = 1024
    read_bytes = 4 * 2**20

    def __init__(self, folder: FeatureFolder, name: str, n_rows: int) -> None:
        self._folder = folder
        self._name = name
        self._n_rows = n_rows

    def take(self, indices: IntArray, names: Sequence[str]) -> TableColumns:
        """Return columns of the rows at some indices, which must be sorted and distinct."""
        label_type = self._label_type if "label" in names else ""
        columns: TableColumns = {name: [] for name in names}
        for start, stop in _runs(np.unique(indices // self.block_lines)):
            lines = self._lines(start, stop)
            selected = slice(*np.searchsorted(indices, [start * self.block_lines, stop * self.block_lines]))
            for line in (indices[selected] - start * self.block_lines).tolist():
                for name in names:
                    columns[name].append(self._value(name, lines[line], label_type))
        return columns

    def _lines(self, start: int, stop: int) -> list[list[str]]:
        """Return the cells of the lines of a range of blocks.

        Raises
        ------
        FeaturesError
            A line does not have the index of its row.
        """
        starts = self._starts
        stop = min(stop, len(starts) - 1)
        lines = _parse(self._folder.read(self._name, int(starts[start]), int(starts[stop])))
        for row, cells in enumerate(lines, start * self.block_lines):
            if len(cells) != len(self._header) or cells[0] != str(row):
                raise self._mismatch(f"line {row + 2} does not belong to row {row}")
        return lines

    @functools.cached_property
    def _starts(self) -> IntArray:
        """Position of the first byte of each block, and the size of the file."""
        n_bytes, n_records, last_end = self._n_bytes, 0, 0
        starts = []
        for ends in self._record_ends(n_bytes):
            if len(ends) and not n_records and not self._header:
                break
            # The end of the header is the start of the first block.
            starts.append(ends[-n_records % self.block_lines :: self.block_lines])
            n_records += len(ends)
            last_end = int(ends[-1]) if len(ends) else last_end
        if not n_records:
            raise self._mismatch(f"expected the header {','.join(TABLE_HEADER)!r}")
        n_lines = n_records - 1 + (last_end < n_bytes)  # the last line may have no line break
        if n_lines != self._n_rows:
            raise self._mismatch(f"expected {self._n_rows:,} lines, one for each row, got {n_lines:,}")
        return np.append(np.concatenate(starts)[: -(-self._n_rows // self.block_lines)], n_bytes)

    @functools.cached_property
    def _header(self) -> tuple[str, ...]:
        """Columns of the table; none if it is another table."""
        first, _, _ = self._folder.read(self._name, 0, min(self._n_bytes, _MAX_HEADER_BYTES)).partition(b"\n")
        header = tuple(next(iter(_parse(first.removesuffix(b"\r"))), ()))
        return header if header in TABLE_HEADERS else ()

    @property
    def part_columns(self) -> tuple[str, ...]:
        """Which of the columns ``split`` and ``group`` the table has; none if there is no table."""
        return tuple(name for name in PART_COLUMNS if self.exists and name in self._header)

    def _value(self, name: str, cells: list[str], label_type: str) -> Any:
        if name not in self._header:
            return None
        cell = cells[self._header.index(name)]
        if name in ROW_COLUMNS and name != "label":
            return cell
        text = unescape_cell(cell) if name in ("label", GROUP) else cell or None
        return text if text is None or name != "label" else cast_label(text, label_type)

    def _record_ends(self, n_bytes: int) -> Iterator[IntArray]:
        """Yield the positions after line breaks outside of quotes, for one part of the file after another."""
        n_quotes = 0
        for start in range(0, n_bytes, self.read_bytes):
            data = np.frombuffer(self._folder.read(self._name, start, start + self.read_bytes), dtype=np.uint8)
            ends, quotes = np.flatnonzero(data == _LINE_END), np.flatnonzero(data == _QUOTE)
            yield ends[(np.searchsorted(quotes, ends) + n_quotes) % 2 == 0] + start + 1
            n_quotes += len(quotes)

    @property
    def exists(self) -> bool:
        """Whether there is a table."""
        try:
            return self._n_bytes >= 0
        except FeaturesNotFoundError:
            return False

    @functools.cached_property
    def _n_bytes(self) -> int:
        try:
            return self._folder.size(self._name)
        except FeaturesNotFoundError as error:
            raise FeaturesNotFoundError(
                f"The table of rows {self._folder.path(self._name)!r} does not exist, so paths, labels and digests are "
                "unknown. Put it next to the matrix."
            ) from error

    @functools.cached_property
    def _label_type(self) -> str:
        """Type of all labels: what is recorded, else as for any table."""
        if LABEL_TYPE in self._header and self._n_rows:
            label_type: str = self._lines(0, 1)[0][self._header.index(LABEL_TYPE)]
            return label_type
        inferrer = LabelTypeInferrer()
        for start in range(0, len(self._starts) - 1, _MAX_BLOCKS):
            inferrer.add([unescape_cell(cells[2]) for cells in self._lines(start, start + _MAX_BLOCKS)])
        return inferrer.stored_type()

    @functools.cached_property
    def n_failed(self) -> int:
        """Number of images in the table of failures."""
        return sum(1 for _ in self.failures())

    def failures(self) -> Iterator[Failure]:
        """Yield the images in the table of failures."""
        return read_failures(self._folder, f"{os.path.splitext(self._name)[0]}.failures.csv")

    def _mismatch(self, problem: str) -> FeaturesError:
        path = self._folder.path(self._name)
        return FeaturesError(f"{path!r} does not match the matrix next to it: {problem}. Extract the features again.")


def read_failures(folder: FeatureFolder, name: str) -> Iterator[Failure]:
    """Yield the images in a table of failures, which may be absent."""
    try:
        file = folder.open(name)
    except FeaturesNotFoundError:
        return
    with io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as text:
        for line in csv.DictReader(text):
            yield Failure(int(line["position"]), line["path"], line["reason"], line["error"])


def _runs(blocks: IntArray) -> Iterator[tuple[int, int]]:
    """Yield start and stop of runs of consecutive blocks, each at most as long as is read at once."""
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1):
        for start in range(0, len(run), _MAX_BLOCKS):
            yield int(run[start]), int(run[min(start + _MAX_BLOCKS, len(run)) - 1]) + 1


def _parse(data: bytes) -> list[list[str]]:
    """Return the cells of complete CSV lines; bytes that are not UTF-8 become surrogates."""
    return list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))
