"""Read images in the rows of Parquet and Arrow files, and find the columns that have them."""

from __future__ import annotations

import abc
import bisect
import json
import os
from collections.abc import Iterator
from typing import Any

from featx.errors import UnreachableImageError
from featx.images.containers.sequential import Item, SequentialReader, check_n_bytes
from featx.system.files.parquet import import_pyarrow

PARQUET_SUFFIXES, ARROW_SUFFIXES = (".parquet", ".pq"), (".feather", ".arrow")
#: Rows of a Parquet file that are decoded at a time, and bytes that are read at a time: row groups may be large.
_BATCH_ROWS, _BUFFER_SIZE = 16, 2**20


def image_columns(schema: Any) -> list[str]:
    """Return the names of the columns with encoded images: binary ones, and structs of ``bytes`` and ``path``.

    Parameters
    ----------
    schema : pyarrow.Schema
    """
    return [field.name for field in schema if _has_images(field.type)]


def _has_images(column_type: Any) -> bool:
    types = import_pyarrow().types
    if types.is_struct(column_type):
        fields = {field.name: field.type for field in column_type}
        if "path" in fields and types.is_null(fields.get("bytes")):  # all images are files
            return True
        return "bytes" in fields and _has_images(fields["bytes"])
    return bool(types.is_binary(column_type) or types.is_large_binary(column_type))


def class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of the classes of each column that has them, as Hugging Face datasets store them in the schema.

    Columns of numbers of classes, and of lists of them, have names.

    Parameters
    ----------
    schema : pyarrow.Schema
    """
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {name: _value_kind(kind) for name, kind in features.items()}
        return {
            name: list(map(str, kind["names"])) for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):  # no metadata, or those of another library
        return {}


def _value_kind(kind: Any) -> Any:
    """Return the kind of the values of a column, or of those in its lists, which have had several notations."""
    if isinstance(kind, list):
        return kind[0]
    return kind["feature"] if kind.get("_type") in ("Sequence", "List", "LargeList") else kind


class ImageRows(abc.ABC):
    """The images in the rows of a file, for any number of threads.

    Parameters
    ----------
    path : str
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._columns: list[str] = []

    def has(self, name: str) -> bool:
        """Return whether a file has a row: ``3`` or ``COLUMN/3``."""
        column, row = self._parse(name)
        return column in self._columns and row < self.n_rows

    def read(self, name: str, max_bytes: int) -> Any:
        """Return the image in a row. Raise KeyError if it does not exist."""
        if not self.has(name):
            raise KeyError(name)
        image = self._image(*self._parse(name), max_bytes)
        if isinstance(image, dict):
            if image.get("bytes") is None and image.get("path"):
                return os.path.join(os.path.dirname(self._path), image["path"])
            image = image.get("bytes")
        if image is None:
            raise UnreachableImageError("the row has no image")
        check_n_bytes(len(image), max_bytes)
        return image

    def _parse(self, name: str) -> tuple[str, int]:
        column, _, row = name.rpartition("/")
        return column or next(iter(self._columns), ""), int(row)

    @property
    @abc.abstractmethod
    def n_rows(self) -> int:
        """Number of rows."""

    @abc.abstractmethod
    def _image(self, column: str, row: int, max_bytes: int) -> Any:
        """Return a cell: bytes, a dict of ``bytes`` and ``path``, or None."""


class ParquetRows(ImageRows):
    """A Parquet file, which is read one part of a row group at a time."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._file = import_pyarrow().parquet.ParquetFile(path, buffer_size=_BUFFER_SIZE, pre_buffer=False)
        self._columns = image_columns(self._file.schema_arrow)
        metadata = self._file.metadata
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._readers = {column: self._reader(column) for column in self._columns}

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._starts[-1]

    def _reader(self, column: str) -> SequentialReader:
        def walk(start: int) -> Iterator[Item]:
            groups = list(range(bisect.bisect_left(self._starts, start), len(self._starts) - 1))
            row = start
            for batch in self._file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=[column], use_threads=False):
                for cell in batch.column(0):
                    image = cell.as_py()
                    encoded = image.get("bytes") if isinstance(image, dict) else image
                    yield Item(row, len(encoded or b""), lambda image=image: image)  # type: ignore[misc]
                    row += 1

        return SequentialReader(walk, lambda row: self._starts[bisect.bisect_right(self._starts, row) - 1])

    def _image(self, column: str, row: int, max_bytes: int) -> Any:
        return self._readers[column].read(row, max_bytes)


class ArrowRows(ImageRows):
    """An Arrow file (Feather, or the stream of a Hugging Face data set), which is mapped into memory."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._table = read_arrow(path)
        self._columns = image_columns(self._table.schema)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self._table.num_rows)

    def _image(self, column: str, row: int, max_bytes: int) -> Any:
        return self._table[column][row].as_py()


def read_arrow(path: str) -> Any:
    """Return an Arrow file as a table. Uncompressed columns are mapped into memory."""
    pa = import_pyarrow()
    try:
        return pa.feather.read_table(path, memory_map=True)
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(path)).read_all()
