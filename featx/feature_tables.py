"""The lines that go with rows of features: path, label and digest of each, from Parquet or CSV, a block at a time."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from featx.errors import FeaturesError, FeaturesNotFoundError, MissingDependencyError, SourceError
from featx.failures import Failure
from featx.feature_places import Place
from featx.label_kinds import LabelKind, as_kind
from featx.wording import as_cell

#: Columns by name, an entry for each row.
Lines = dict[str, list[Any]]
_HEADER = ["row", "path", "label", "digest"]
_BLOCK = 4096


class LineSource(Protocol):
    """Lines by their numbers."""

    def lines(self, start: int, stop: int) -> Lines:
        """Return some of the lines."""

    def failures(self) -> Iterator[Failure]:
        """Return images that have no row."""


@dataclasses.dataclass(frozen=True)
class ShardTable:
    """The Parquet file of a shard, of which only the footer is read until lines are asked for.

    Attributes
    ----------
    place : Place
    name : str
    first : int
        Position of its first image among all of the job.
    facts : dict
        What its footer says.
    n_lines, n_rows : int
        Images, and those of them that could be read.
    """

    place: Place
    name: str
    first: int
    facts: dict[str, Any]
    n_lines: int
    n_rows: int

    @classmethod
    def open(cls, place: Place, name: str, shard_size: int) -> ShardTable:
        """Read the footer."""
        with place.open(name) as file:
            metadata = _parquet(place, name, file).metadata
        try:
            facts = json.loads((metadata.metadata or {})[b"featx"])
            n_failed, shard = int(facts.get("failed", 0)), int(facts["shard"])
        except (KeyError, ValueError, TypeError) as error:
            raise _no_table(place, name, "its footer does not say what it holds") from error
        n_lines = int(metadata.num_rows)
        if not 0 <= n_failed <= n_lines:
            raise _no_table(place, name, f"{n_failed} of {n_lines} images failed")
        return cls(place, name, shard * shard_size, facts, n_lines, n_lines - n_failed)

    def lines(self, start: int, stop: int) -> Lines:
        """Return lines of images that have a row, by the numbers of the rows."""
        done = _done(self)
        return {name: values[start:stop] for name, values in done.items()}

    def failures(self) -> Iterator[Failure]:
        """Return the images of the shard that could not be read."""
        if self.n_rows == self.n_lines:
            return
        table = _columns(self.place, self.name, ["path", "path_bytes", "status", "reason"])
        for at, status in enumerate(table["status"]):
            if status != "done":
                yield Failure(self.first + at, _path(table, at), str(table["reason"][at]))


@functools.lru_cache(maxsize=4)
def _kept(place: Place, name: str, n_rows: int) -> Lines:
    # Of these columns, those that are there.
    table = _columns(place, name, ["path", "path_bytes", "label", "label_bytes", "digest", "status"])
    done = [at for at, status in enumerate(table["status"]) if status == "done"]
    if len(done) != n_rows:
        raise _no_table(place, name, f"{len(done)} images have a row, where its footer says {n_rows}")
    return {
        "path": [_path(table, at) for at in done],
        "label": [_whole(table, "label", at) for at in done],
        "digest": [table["digest"][at] or "" for at in done],
    }


def _done(table: ShardTable) -> Lines:
    return _kept(table.place, table.name, table.n_rows)


def _columns(place: Place, name: str, columns: list[str]) -> Lines:
    with place.open(name) as file:
        table = _parquet(place, name, file)
        try:
            found = table.read(columns)
            return {column: found.column(column).to_pylist() for column in found.column_names}
        except (OSError, ValueError, NotImplementedError) as error:  # of what is in it: its footer has been read
            raise _no_table(place, name, f"it is damaged ({str(error).splitlines()[0]})") from error


def _path(table: Lines, at: int) -> str:
    return str(_whole(table, "path", at))


def _whole(table: Lines, column: str, at: int) -> Any:
    """Return a path or label; of a name that is no UTF-8, as Python has it."""
    raw = table[f"{column}_bytes"][at] if f"{column}_bytes" in table else None
    return os.fsdecode(raw) if raw is not None else table[column][at]


def _parquet(place: Place, name: str, file: BinaryIO) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"{place.at(name)!r} is a Parquet file, and pyarrow is not installed. Install it: pip install "
            "'featx[jobs]'."
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(file, page_checksum_verification=True)
    except (OSError, ValueError) as error:
        raise _no_table(place, name, str(error).splitlines()[0]) from error


def _no_table(place: Place, name: str, why: str) -> FeaturesError:
    return FeaturesError(
        f"{place.at(name)!r} is no table of a shard: {why}. Bring it back, or have it made again: featx job "
        "run OUTPUT --verify"
    )


class CsvTable:
    """The table beside a .npy file; lines are found by where every 4,096th begins.

    Parameters
    ----------
    place : Place
    name : str
        ``features.csv``, say.
    n_rows : int
        Of the matrix.
    """

    def __init__(self, place: Place, name: str, n_rows: int) -> None:
        self._place = place
        self._name = name
        self._n_rows = n_rows

    @functools.cached_property
    def _index(self) -> tuple[list[int], str]:
        """Where blocks of lines begin, and what the labels are, as of any table."""
        starts, n_lines, kind = [], 0, LabelKind()
        labels: list[str | None] = []
        with self._open() as file:
            reader, told = _records(file)
            if next(reader, None) != _HEADER:
                raise self._unlike(f"it does not begin with {','.join(_HEADER)!r}")
            starts.append(told())
            for cells in reader:
                if len(cells) != len(_HEADER) or cells[0] != str(n_lines):
                    raise self._unlike(f"line {n_lines + 2} is not that of row {n_lines}")
                n_lines += 1
                if n_lines % _BLOCK == 0:
                    starts.append(told())
                labels.append(_text(cells[2]))
                if len(labels) == _BLOCK:
                    kind.add(labels)
                    labels = []
        if n_lines != self._n_rows:
            raise self._unlike(f"it has {n_lines:,} lines, and the matrix {self._n_rows:,} rows")
        kind.add(labels)
        try:
            return starts, kind.name(self._name)
        except SourceError:  # classes, of which most are called by numbers with fractions
            return starts, "text"

    def lines(self, start: int, stop: int) -> Lines:
        """Return some of the lines."""
        starts, kind = self._index
        found: Lines = {"path": [], "label": [], "digest": []}
        if start >= stop:
            return found
        with self._open() as file:
            file.seek(starts[start // _BLOCK])
            reader, _ = _records(file)
            for number, cells in enumerate(reader, start // _BLOCK * _BLOCK):
                if number >= stop:
                    break
                if number >= start:
                    found["path"].append(cells[1])
                    label = _text(cells[2])
                    found["label"].append(None if label is None else as_kind(label, kind))
                    found["digest"].append(cells[3])
        return found

    def failures(self) -> Iterator[Failure]:
        """Return the images that ``features.failures.csv`` lists."""
        name = f"{os.path.splitext(self._name)[0]}.failures.csv"
        try:
            text = self._place.read(name).decode("utf-8", "surrogateescape")
        except FeaturesNotFoundError:
            return
        for line in csv.DictReader(io.StringIO(text, newline="")):
            yield Failure(int(line["position"]), line["path"], line["reason"], line["error"])

    def _open(self) -> BinaryIO:
        try:
            return self._place.open(self._name)
        except FeaturesNotFoundError as error:
            raise FeaturesNotFoundError(
                f"{self._place.at(self._name)!r}, the table of the rows, is not there: paths, labels and digests are "
                "not known. Put it beside the matrix."
            ) from error

    def _unlike(self, why: str) -> FeaturesError:
        return FeaturesError(
            f"{self._place.at(self._name)!r} is not the table of the matrix beside it: {why}. Extract both again."
        )


def _records(file: BinaryIO) -> tuple[Iterator[list[str]], Any]:
    """Return the records of a CSV file, and what tells where the one after the last read begins."""
    at = [file.tell()]

    def lines() -> Iterator[str]:
        for line in file:
            at[0] += len(line)
            yield line.decode("utf-8", "surrogateescape")

    return csv.reader(lines()), lambda: at[0]


def _text(cell: str) -> str | None:
    """Return a label as it was, before it was made safe for spreadsheets; None if there is none."""
    if not cell:
        return None
    return cell[1:] if cell.startswith("'") and as_cell(cell[1:]) == cell else cell
