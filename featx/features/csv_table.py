"""Tables beside a feature matrix: ``features.csv`` (one line per row) and ``features.failures.csv``; writer and reader.

The reader parses only the blocks of lines that it needs.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.datasets.label_types import LabelTypeInferrer, cast_label
from featx.errors import FeaturesError, FeaturesNotFoundError, SourceError
from featx.features.npy_part import FeatureFolder
from featx.features.shard_table import ROW_COLUMNS, TableColumns
from featx.system.array_types import IntArray
from featx.system.files.atomic import atomic_write
from featx.system.formatting import escape_cell, escape_path_cell

#: Columns of ``features.csv`` and of ``features.failures.csv``.
TABLE_HEADER = ("row", *ROW_COLUMNS)
FAILURES_HEADER = ("position", "path", "error", "reason")
#: TableColumns of a block, and blocks that are read at once.
_BLOCK, _BLOCKS_AT_ONCE = 1024, 16
_BYTES_AT_ONCE = 4 * 2**20
_LINE_END, _QUOTE = ord("\n"), ord('"')


def table_path(matrix: Path) -> Path:
    """Return the path of the table of rows: ``features.csv`` for ``features.npy``."""
    return matrix.with_suffix(".csv")


def failures_path(matrix: Path) -> Path:
    """Return the path of the table of failures: ``features.failures.csv`` for ``features.npy``."""
    return matrix.with_suffix(".failures.csv")


def write_table(path: Path, rows: Iterable[tuple[str, Any, str]]) -> int:
    """Write the table of a matrix and return its number of lines.

    Parameters
    ----------
    path : Path
    rows : iterable of (str, object, str)
        Path, label (None: no label) and digest of each row of the matrix, in order.
    """
    row = -1
    with _csv_writer(path) as writer:
        writer.writerow(TABLE_HEADER)
        for row, (image, label, digest) in enumerate(rows):
            writer.writerow([row, escape_path_cell(image), "" if label is None else escape_cell(str(label)), digest])
    return row + 1


def write_failures(matrix: Path, failures: Iterable[Failure]) -> None:
    """Write the table of failures of a matrix that is about to be replaced, and remove the tables of the old matrix."""
    table_path(matrix).unlink(missing_ok=True)
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
    """The table beside a .npy file; lines are found by where every 1,024th begins.

    Parameters
    ----------
    folder : FeatureFolder
    name : str
        ``features.csv``, say.
    n_rows : int
        Of the matrix.
    """

    def __init__(self, folder: FeatureFolder, name: str, n_rows: int) -> None:
        self._folder = folder
        self._name = name
        self._n_rows = n_rows

    def take(self, numbers: IntArray, names: Sequence[str]) -> TableColumns:
        """Return some columns of some lines, by different numbers, in order."""
        kind = self._kind if "label" in names else ""
        found: TableColumns = {name: [] for name in names}
        for start, stop in _runs(np.unique(numbers // _BLOCK)):
            lines = self._lines(start, stop)
            here = slice(*np.searchsorted(numbers, [start * _BLOCK, stop * _BLOCK]))
            for number in (numbers[here] - start * _BLOCK).tolist():
                for name in names:
                    found[name].append(_value(name, lines[number], kind))
        return found

    def _lines(self, start: int, stop: int) -> list[list[str]]:
        """Return the cells of the lines of some blocks.

        Raises
        ------
        FeaturesError
            They are not those of the rows.
        """
        starts = self._starts
        stop = min(stop, len(starts) - 1)
        lines = _cells(self._folder.read(self._name, int(starts[start]), int(starts[stop])))
        for number, cells in enumerate(lines, start * _BLOCK):
            if len(cells) != len(TABLE_HEADER) or cells[0] != str(number):
                raise self._unlike(f"line {number + 2} is not that of row {number}")
        return lines

    @functools.cached_property
    def _starts(self) -> IntArray:
        """Where the blocks begin, and where the last ends."""
        n_bytes, n_records, last = self._n_bytes, 0, 0
        starts = []
        for ends in self._ends_of_records(n_bytes):
            if len(ends) and not n_records and not self._has_header(int(ends[0])):
                break
            starts.append(ends[-n_records % _BLOCK :: _BLOCK])  # the header is one before the first
            n_records += len(ends)
            last = int(ends[-1]) if len(ends) else last
        if not n_records:
            raise self._unlike(f"it does not begin with {','.join(TABLE_HEADER)!r}")
        n_lines = n_records - 1 + (last < n_bytes)  # the last line need not end
        if n_lines != self._n_rows:
            raise self._unlike(f"it has {n_lines:,} lines, and the matrix {self._n_rows:,} rows")
        return np.append(np.concatenate(starts)[: -(-self._n_rows // _BLOCK)], n_bytes)

    def _has_header(self, n_bytes: int) -> bool:
        return _cells(self._folder.read(self._name, 0, n_bytes)) == [list(TABLE_HEADER)]

    def _ends_of_records(self, n_bytes: int) -> Iterator[IntArray]:
        """Yield where lines end, part by part of the file, but for the ends of lines that are in quotes."""
        n_quotes = 0
        for at in range(0, n_bytes, _BYTES_AT_ONCE):
            data = np.frombuffer(self._folder.read(self._name, at, at + _BYTES_AT_ONCE), dtype=np.uint8)
            ends, quotes = np.flatnonzero(data == _LINE_END), np.flatnonzero(data == _QUOTE)
            yield ends[(np.searchsorted(quotes, ends) + n_quotes) % 2 == 0] + at + 1
            n_quotes += len(quotes)

    @functools.cached_property
    def _n_bytes(self) -> int:
        try:
            return self._folder.size(self._name)
        except FeaturesNotFoundError as error:
            raise FeaturesNotFoundError(
                f"The table of rows {self._folder.path(self._name)!r} does not exist, so paths, labels and digests are "
                "unknown. Put it beside the matrix."
            ) from error

    @functools.cached_property
    def _kind(self) -> str:
        """What the labels are, as of any table: all of them say it."""
        kind = LabelTypeInferrer()
        for start in range(0, len(self._starts) - 1, _BLOCKS_AT_ONCE):
            kind.add([_text(cells[2]) for cells in self._lines(start, start + _BLOCKS_AT_ONCE)])
        try:
            return kind.label_type(self._name)
        except SourceError:  # classes, of which most are called by numbers with fractions
            return "str"

    @functools.cached_property
    def n_failed(self) -> int:
        """How many images ``features.failures.csv`` lists."""
        return sum(1 for _ in self.failures())

    def failures(self) -> Iterator[Failure]:
        """Return the images that ``features.failures.csv`` lists."""
        name = f"{os.path.splitext(self._name)[0]}.failures.csv"
        try:
            file = self._folder.open(name)
        except FeaturesNotFoundError:
            return
        with io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as text:
            for line in csv.DictReader(text):
                yield Failure(int(line["position"]), line["path"], line["reason"], line["error"])

    def _unlike(self, why: str) -> FeaturesError:
        return FeaturesError(
            f"{self._folder.path(self._name)!r} is not the table of the matrix beside it: {why}. Extract both again."
        )


def _runs(blocks: IntArray) -> Iterator[tuple[int, int]]:
    """Yield where some blocks that follow each other begin and end, no more than are read at once."""
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1):
        for at in range(0, len(run), _BLOCKS_AT_ONCE):
            yield int(run[at]), int(run[min(at + _BLOCKS_AT_ONCE, len(run)) - 1]) + 1


def _cells(data: bytes) -> list[list[str]]:
    """Return the cells of whole lines of CSV; names that are no UTF-8 as Python has them."""
    return list(csv.reader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


def _value(name: str, cells: list[str], kind: str) -> object:
    text = cells[TABLE_HEADER.index(name)]
    if name != "label":
        return text
    label = _text(text)
    return None if label is None else cast_label(label, kind)


def _text(cell: str) -> str | None:
    """Return a label as it was, before it was made safe for spreadsheets; None if there is none."""
    if not cell:
        return None
    return cell[1:] if cell.startswith("'") and escape_cell(cell[1:]) == cell else cell
