"""The lines that go with rows of features: path, label and digest of each, from the Parquet files of a job's shards."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import FeaturesError, MissingDependencyError
from featx.features.npy_part import FeaturePlace
from featx.system.array_types import IntArray

#: What is known of a row.
ROW_COLUMNS = ("path", "label", "digest")
#: Columns by name, an entry for each row.
TableColumns = dict[str, list[Any]]
#: More than the footer of such a table takes.
_FOOTER_BYTES = 2**16


class RowTable(Protocol):
    """TableColumns by their numbers."""

    @property
    def n_failed(self) -> int:
        """Images that have no row."""

    def take(self, numbers: IntArray, names: Sequence[str]) -> TableColumns:
        """Return some columns of some of the lines: by different numbers, in order."""

    def failures(self) -> Iterator[Failure]:
        """Return the images that have no row."""


@dataclasses.dataclass(frozen=True)
class ShardTable:
    """The Parquet file of a shard, of which only the footer is read until lines are asked for.

    Attributes
    ----------
    place : FeaturePlace
    name : str
    first : int
        Position of its first image among all of the job.
    facts : dict
        What its footer says.
    n_lines, n_rows : int
        Images, and those of them that could be read.
    """

    place: FeaturePlace
    name: str
    first: int
    facts: dict[str, Any]
    n_lines: int
    n_rows: int

    @classmethod
    def open(cls, place: FeaturePlace, name: str, shard_size: int, n_bytes: int) -> ShardTable:
        """Read the footer of a file of so many bytes."""
        metadata = _metadata(place, name, n_bytes)
        try:
            facts = json.loads((metadata.metadata or {})[b"featx"])
            n_failed, shard = int(facts.get("failed", 0)), int(facts["shard"])
        except (KeyError, ValueError, TypeError) as error:
            raise _no_table(place, name, "its footer does not say what it holds") from error
        n_lines = int(metadata.num_rows)
        if not 0 <= n_failed <= n_lines:
            raise _no_table(place, name, f"{n_failed} of {n_lines} images failed")
        return cls(place, name, shard * shard_size, facts, n_lines, n_lines - n_failed)

    @property
    def n_failed(self) -> int:
        """Images that could not be read."""
        return self.n_lines - self.n_rows

    def take(self, numbers: IntArray, names: Sequence[str]) -> TableColumns:
        """Return some columns of lines of images that have a row, by the numbers of the rows."""
        columns = _kept(self.place, self.name, self.n_rows, tuple(names)).take(numbers).to_pydict()
        found = {name: _whole(columns, name) for name in names}
        if "digest" in found:
            found["digest"] = [digest or "" for digest in found["digest"]]
        return found

    def failures(self) -> Iterator[Failure]:
        """Return the images of the shard that could not be read."""
        if not self.n_failed:
            return
        columns = _columns(self.place, self.name, ("path", "path_bytes", "status", "reason", "error")).to_pydict()
        errors = columns.get("error") or [None] * self.n_lines
        lines = zip(columns["status"], _whole(columns, "path"), columns["reason"], errors, strict=True)
        for at, (status, path, reason, error) in enumerate(lines):
            if status != "done":
                yield Failure(self.first + at, str(path), str(reason), *([error] if error else []))


@functools.lru_cache(maxsize=4)
def _kept(place: FeaturePlace, name: str, n_rows: int, names: tuple[str, ...]) -> Any:
    """Return columns of the images that have a row, as Arrow has them: a tenth of what Python's objects take."""
    table = _columns(place, name, (*names, *(f"{one}_bytes" for one in names), "status"))
    is_done = np.array(table.column("status").to_pylist(), dtype=object) == "done"
    if int(is_done.sum()) != n_rows:
        raise _no_table(place, name, f"{is_done.sum()} images have a row, where its footer says {n_rows}")
    return table.drop_columns("status") if is_done.all() else table.drop_columns("status").filter(is_done)


def _columns(place: FeaturePlace, name: str, columns: Sequence[str]) -> Any:
    """Return those of some columns that are there."""
    pq = _parquet(place, name)
    with place.open(name) as file:
        try:
            return pq.ParquetFile(file, page_checksum_verification=True).read(columns)
        except (OSError, ValueError, NotImplementedError) as error:  # the last of an encoding that a changed byte names
            raise _no_table(place, name, f"it is damaged ({_said(error)})") from error


def _whole(columns: TableColumns, name: str) -> list[Any]:
    """Return paths or labels; of names that are no UTF-8, as Python has them."""
    if f"{name}_bytes" not in columns:
        return columns[name]
    both = zip(columns[name], columns[f"{name}_bytes"], strict=True)
    return [text if as_bytes is None else os.fsdecode(as_bytes) for text, as_bytes in both]


def _metadata(place: FeaturePlace, name: str, n_bytes: int) -> Any:
    """Return what the footer says, of whose bytes no more than the last are read."""
    pq = _parquet(place, name)
    for most in (_FOOTER_BYTES, n_bytes):
        try:
            return pq.read_metadata(io.BytesIO(place.read(name, max(0, n_bytes - most), n_bytes) if n_bytes else b""))
        except (OSError, ValueError) as error:
            if isinstance(error, FeaturesError):
                raise
            if most >= n_bytes:
                raise _no_table(place, name, _said(error)) from error
    raise AssertionError


def _parquet(place: FeaturePlace, name: str) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError(
            f"{place.at(name)!r} is a Parquet file, and pyarrow is not installed. Install it: pip install "
            "'featx[jobs]'."
        ) from error
    return pq


def _said(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(" .")


def _no_table(place: FeaturePlace, name: str, why: str) -> FeaturesError:
    return FeaturesError(f"{place.at(name)!r} is no table of a shard: {why}. {remedy(place)}")


def remedy(place: FeaturePlace) -> str:
    """Return what to do about a shard of a job that is damaged."""
    return f"Have it made again: featx job run {shlex.quote(place.address)} --verify"
