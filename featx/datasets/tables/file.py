"""Read CSV, TSV, JSON Lines, Parquet, Feather and Excel files that list images, whole or in batches."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from featx.datasets.source_options import LABEL_COLUMNS
from featx.datasets.tables.cells import REPEATED
from featx.datasets.tables.columns import has_path_column
from featx.datasets.tables.frames import name_classes
from featx.datasets.tables.stored import LABEL_TYPE, parquet_label_type
from featx.datasets.tables.text_format import (
    TextFormat,
    checked_encoding,
    is_valid,
    open_text,
    repair_text,
    split_lines,
)
from featx.errors import FeatxError, SourceError, missing_dependency
from featx.images.containers.tables import ARROW_SUFFIXES, PARQUET_SUFFIXES, class_names, image_columns, read_arrow
from featx.system.files import remote
from featx.system.files.parquet import import_pyarrow
from featx.system.files.temporary import temporary_folder
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import first_line, format_list

if TYPE_CHECKING:
    import pandas as pd

#: Suffixes of tables. Those of text may be followed by ``.gz``.
TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq", ".feather", ".arrow", ".xlsx")
#: Functions of pandas that read tables which featx does not read.
_READERS = {".json": "read_json", ".xls": "read_excel", ".ods": "read_excel"}
_JSON = (".jsonl", ".ndjson")
#: Lists of images, which have no names of columns. Another file with this suffix is not a table among other sources.
_LIST_SUFFIX = ".txt"
#: Bytes of a Parquet file that are read at a time: a column of a row group may be larger than memory.
_BUFFER_SIZE = 2**20


def is_table_name(source: str, *, is_only_source: bool = True) -> bool:
    """Return whether a path or URL is a table by its suffix."""
    name = _without_query(source).lower().removesuffix(".gz")
    return name.endswith(TABLE_SUFFIXES) or (is_only_source and name.endswith(_LIST_SUFFIX))


def check_is_read(paths: Sequence[str]) -> None:
    """Raise an error for a single table of a kind that is not read, with its conversion.

    Raises
    ------
    SourceError
    """
    stem, suffix = os.path.splitext(paths[0])
    if len(paths) == 1 and (reader := _READERS.get(suffix.lower())) and os.path.isfile(paths[0]):
        raise SourceError(
            f"Tables must be one of {' '.join(TABLE_SUFFIXES)}, got {paths[0]!r}. Convert a list of records to CSV: "
            f"pandas.{reader}({paths[0]!r}).to_csv({stem + '.csv'!r}, index=False)."
        )


def read_batches(
    source: str,
    n_rows: int | None,
    notes: list[str] | None = None,
    encoding: str | None = None,
    label_column: str | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table in batches, at least one.

    Parameters
    ----------
    source : str
        Path or URL.
    n_rows : int or None
        Number of rows of each batch but the last; the maximum number for Parquet files. None: all rows.
    notes : list of str or None, default=None
        Receives notes on how the table is read.
    encoding : str or None, default=None
        Encoding of a text file. None: inferred.
    label_column : str or None, default=None
        Column of labels, which may be lists of integers. None: a column with a usual name.

    Raises
    ------
    SourceError, MissingDependencyError
        The table cannot be read.
    """
    notes = [] if notes is None else notes
    with _as_source_error(source), _local_copy(source) as path:
        for frame in _batches(path, source, n_rows, notes, encoding, label_column=label_column):
            frame.columns = [repair_text(str(column)).strip() for column in frame.columns]
            yield frame


def _batches(
    path: str, source: str, n_rows: int | None, notes: list[str], encoding: str | None, *, label_column: str | None
) -> Iterator[pd.DataFrame]:
    name = path.lower().removesuffix(".gz")
    if name.endswith(PARQUET_SUFFIXES):
        yield from _parquet_batches(path, source, n_rows, label_column)
    elif name.endswith(ARROW_SUFFIXES):
        yield from _arrow_batches(path, source, n_rows, label_column)
    elif name.endswith(".xlsx"):
        yield from _sliced(_read_excel(path, source, notes), n_rows)
    elif name.endswith(_JSON):
        yield from _json_batches(path, source, n_rows, encoding)
    else:
        yield from _text_batches(path, source, n_rows, notes, encoding)


def _text_batches(
    path: str, source: str, n_rows: int | None, notes: list[str], encoding: str | None
) -> Iterator[pd.DataFrame]:
    import pandas as pd

    text = TextFormat.of(path, encoding)
    _check_encoding(text.is_utf8, source, encoding)
    if text.names is not None:
        notes.append(f"{source!r} has no header row; its columns are named {format_list(text.names)}, in this order.")
    if not text.is_utf8:
        notes.append(
            f"{source!r} is not UTF-8 in some cells: these are read as Latin-1 (Windows-1252), names of existing "
            "files unchanged."
        )
    if text.separator == " ":
        with open_text(path, text.encoding) as file:
            rows = split_lines(file, " ")
            names = next(rows, []) if text.names is None else text.names
            for batch in _chunks(rows, n_rows):
                yield pd.DataFrame(batch, columns=names, dtype=object)
        return
    # All values are text: 007 is not a number, and NA is a country. Only an empty cell is missing. Dtype object, since
    # pandas's string types reject names outside UTF-8.
    options: dict[str, Any] = {"sep": text.separator, "dtype": object, "keep_default_na": False, "na_values": [""]}
    options |= {"encoding": text.encoding, "encoding_errors": "surrogateescape"}
    # Otherwise rows with one cell more than there are names make pandas take the first column for the index.
    options["index_col"] = False
    options["skiprows"] = text.n_skipped
    if text.names is not None:
        options |= {"header": None, "names": text.names}
    if n_rows is None:
        with _surplus_cells_as_error():
            frame = pd.read_csv(path, **options)
        frame.attrs[REPEATED] = text.repeated
        yield frame
        return
    with pd.read_csv(path, chunksize=n_rows, **options) as frames:
        while True:
            with _surplus_cells_as_error():
                part = next(frames, None)
            if part is None:
                return
            part.attrs[REPEATED] = text.repeated
            yield part


@contextlib.contextmanager
def _surplus_cells_as_error() -> Iterator[None]:
    """Raise an error where rows have more cells than there are columns. A separator at their end adds no cell."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            yield
        except pd.errors.ParserWarning as error:
            raise ValueError(
                "its rows have more cells than there are names of columns. Put text that contains the separator into "
                "double quotes, or name all columns"
            ) from error


def _json_batches(path: str, source: str, n_rows: int | None, encoding: str | None) -> Iterator[pd.DataFrame]:
    import pandas as pd

    if encoding is not None:
        encoding = checked_encoding(encoding)
        _check_encoding(is_valid(path, encoding), source, encoding)
    with open_text(path, encoding or "utf-8-sig") as file:
        records = (_record(line, number) for number, line in enumerate(file, 1) if line.strip())
        for batch in _chunks(records, n_rows):
            yield pd.DataFrame(batch, dtype=object)


def _check_encoding(is_valid: bool, source: str, encoding: str | None) -> None:
    if encoding is not None and not is_valid:
        raise SourceError(f"{source!r} is not in encoding (--encoding) {encoding!r}. Pass another, or leave it out.")


def _record(line: str, number: int) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"line {number} is not a JSON object")
    return record


def _chunks(rows: Iterator[Any], n_rows: int | None) -> Iterator[list[Any]]:
    """Yield rows in lists, at least one."""
    batch = list(itertools.islice(rows, n_rows))
    yield batch
    while n_rows is not None and (batch := list(itertools.islice(rows, n_rows))):
        yield batch


def _sliced(frame: pd.DataFrame, n_rows: int | None) -> Iterator[pd.DataFrame]:
    size = max(1, len(frame)) if n_rows is None else n_rows
    for start in range(0, max(1, len(frame)), size):
        yield frame[start : start + size]


def _read_excel(path: str, source: str, notes: list[str]) -> pd.DataFrame:
    """Return the first sheet with a column of paths, else the first one."""
    import pandas as pd

    try:
        import openpyxl  # noqa: F401  # pandas uses it
    except ImportError as error:
        raise missing_dependency("Reading an Excel file", "openpyxl", instead="save the table as CSV") from error
    options: dict[str, Any] = {"dtype": object, "keep_default_na": False, "na_values": [""]}
    sheets = {str(name): sheet for name, sheet in pd.read_excel(path, sheet_name=None, **options).items()}
    name = next((name for name, sheet in sheets.items() if has_path_column(sheet)), next(iter(sheets)))
    if others := [other for other in sheets if other != name]:
        notes.append(
            f"{source!r}: the sheet {name!r} is read, and {format_list(others)} not. Save another sheet as CSV to read "
            "it."
        )
    return sheets[name]


def _parquet_batches(path: str, source: str, n_rows: int | None, label_column: str | None) -> Iterator[pd.DataFrame]:
    pa = import_pyarrow()
    with pa.parquet.ParquetFile(path, buffer_size=_BUFFER_SIZE, pre_buffer=False) as file:
        schema = file.schema_arrow
        names = _text_columns(schema, pa, label_column)
        integers = [field.name for field in schema if pa.types.is_integer(field.type)]
        null_counts = dict.fromkeys(integers, 0)
        for batch in file.iter_batches(columns=integers) if integers else ():
            for name in integers:
                null_counts[name] += batch.column(name).null_count
        # pandas reads integers with nulls as floats: a batch without a null must have the same type.
        as_floats = [name for name in integers if null_counts[name]]
        row = 0
        for batch in file.iter_batches(n_rows or max(1, file.metadata.num_rows), columns=names):
            table = pa.table(batch)
            for name in as_floats:
                floats = pa.compute.cast(table[name], pa.float64(), safe=False)
                table = table.set_column(table.column_names.index(name), name, floats)
            yield _with_images(table.to_pandas(), schema, source, row, batch.num_rows)
            row += batch.num_rows
        if not file.metadata.num_rows:
            yield _with_images(schema.empty_table().select(names).to_pandas(), schema, source, 0, 0)


def _arrow_batches(path: str, source: str, n_rows: int | None, label_column: str | None) -> Iterator[pd.DataFrame]:
    table = read_arrow(path)
    names = _text_columns(table.schema, import_pyarrow(), label_column)
    frame = _with_images(table.select(names).to_pandas(), table.schema, source, 0, table.num_rows)
    yield from _sliced(frame, n_rows)


def _text_columns(schema: Any, pa: Any, label_column: str | None) -> list[str]:
    """Return the columns that may be paths or labels. Embedded images would fill the memory."""
    binary = pa.types.is_fixed_size_binary
    images = image_columns(schema)
    given = [*filter(None, [label_column]), *(name for name in schema.names if name.strip().lower() in LABEL_COLUMNS)]
    labels = {*given, *class_names(schema)}
    return [
        field.name
        for field in schema
        if field.name not in images
        and (not pa.types.is_nested(field.type) or _is_list_of_tags(field, pa, labels))
        and not binary(field.type)
    ]


def _is_list_of_tags(field: Any, pa: Any, labels: Collection[str]) -> bool:
    """Return whether values are lists of text, or of integers in a column of labels.

    Other lists of numbers, such as boxes, may fill the memory.
    """
    types = pa.types
    if not (types.is_list(field.type) or types.is_large_list(field.type) or types.is_fixed_size_list(field.type)):
        return False
    value = field.type.value_type
    is_text = types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)
    return bool(is_text or (types.is_integer(value) and field.name.strip() in labels))


def _with_images(frame: pd.DataFrame, schema: Any, source: str, first_row: int, n_rows: int) -> pd.DataFrame:
    """Return rows with the paths of their images in the table, and the names of their classes."""
    import pandas as pd

    frame = frame if len(frame.columns) else pd.DataFrame(index=range(n_rows))
    images = image_columns(schema)
    for name in images:
        prefix = f"{source}#" if len(images) == 1 else f"{source}#{name}/"
        frame[name] = [f"{prefix}{row}" for row in range(first_row, first_row + n_rows)]
    for name, classes in class_names(schema).items():
        if name in frame.columns:
            name_classes(frame, name, classes)
    frame.attrs["images"] = images
    if (label_type := parquet_label_type(schema)) is not None:
        frame.attrs[LABEL_TYPE] = label_type
    return frame


@contextlib.contextmanager
def _local_copy(source: str) -> Iterator[str]:
    """Yield the path of a table; for a URL, that of a temporary copy."""
    path = remote.local_path(source) if remote.is_url(source) else source
    if path is not None:
        yield path
        return
    with temporary_folder() as folder:
        name = os.path.basename(_without_query(source)).lower()
        copy = str(folder / f"table{name[name.find('.') :]}")
        remote.download(source, copy)
        yield copy


def _without_query(source: str) -> str:
    return source.partition("?")[0] if remote.is_url(source) else source


@contextlib.contextmanager
def _as_source_error(source: str) -> Iterator[None]:
    """Raise a SourceError for any error of pandas, pyarrow or the file system."""
    try:
        yield
    except ImportError as error:
        raise missing_dependency("Reading a Parquet file", "pyarrow", instead="convert the table to CSV") from error
    except FeatxError:
        raise
    except OSError as error:
        raise SourceError(f"Cannot read table {redact_secrets(source)!r}: {error.strerror or error}.") from error
    except Exception as error:  # pandas and pyarrow raise many types for invalid tables
        reason = first_line(error).removeprefix("Error tokenizing data. C error: ")
        if "Excel file format cannot be determined" in reason or "zip file" in reason:
            reason = "it is not an Excel file"
        raise SourceError(
            f"Cannot read table {redact_secrets(source)!r}: {reason}. Fix the file, or write the table as CSV, TSV, "
            "JSON Lines or Parquet, with names of columns."
        ) from error
