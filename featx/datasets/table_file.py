"""Reads CSV, TSV and Parquet files that list images, whole or in batches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from featx.errors import FeatxError, SourceError, missing_dependency
from featx.system.files import atomic, remote
from featx.system.files.parquet import import_pyarrow
from featx.system.files.url_secrets import redact_secrets

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", ".pq")
#: Bytes of a Parquet file that are read at a time: a column of a row group may be larger than memory.
_BUFFER_SIZE = 2**20


def is_table_name(source: str) -> bool:
    """Return whether a path or URL is a table by its suffix."""
    return _without_query(source).lower().endswith(TABLE_SUFFIXES)


def read_table(source: str) -> pd.DataFrame:
    """Return a table. All values of CSV and TSV files are text.

    Parameters
    ----------
    source : str
        Path or URL.

    Raises
    ------
    SourceError, MissingDependencyError
        The table cannot be read.
    """
    import pandas as pd

    with _as_source_error(source), _local_copy(source) as path:
        frame = pd.read_parquet(path) if _is_parquet(path) else pd.read_csv(path, **_csv_options(path))
    return _with_clean_names(frame)


def read_batches(source: str, n_rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table in batches, with the values of :func:`read_table`.

    Parameters
    ----------
    source : str
        Path or URL.
    n_rows : int
        Number of rows of each batch but the last; the maximum number for Parquet files.

    Raises
    ------
    SourceError, MissingDependencyError
        The table cannot be read.
    """
    import pandas as pd

    with _as_source_error(source), contextlib.ExitStack() as opened:
        path = opened.enter_context(_local_copy(source))
        if _is_parquet(path):
            frames = _parquet_batches(path, n_rows)
        else:
            frames = opened.enter_context(pd.read_csv(path, chunksize=n_rows, **_csv_options(path)))
        for frame in frames:
            yield _with_clean_names(frame)


def _with_clean_names(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = [str(column).strip() for column in frame.columns]
    return frame


def _parquet_batches(path: str, n_rows: int) -> Iterator[pd.DataFrame]:
    pa = import_pyarrow()
    with pa.parquet.ParquetFile(path, buffer_size=_BUFFER_SIZE, pre_buffer=False) as file:
        # Binary and nested columns are neither paths nor labels, and embedded images would fill the memory.
        names = [field.name for field in file.schema_arrow if not _is_binary_or_nested(field.type, pa)]
        integers = [field.name for field in file.schema_arrow if pa.types.is_integer(field.type)]
        null_counts = dict.fromkeys(integers, 0)
        for batch in file.iter_batches(columns=integers) if integers else ():
            for name in integers:
                null_counts[name] += batch.column(name).null_count
        # pandas reads integers with nulls as floats: a batch without a null must have the same type.
        as_floats = [name for name in integers if null_counts[name]]
        for batch in file.iter_batches(n_rows, columns=names):
            table = pa.table(batch)
            for name in as_floats:
                floats = pa.compute.cast(table[name], pa.float64(), safe=False)
                table = table.set_column(table.column_names.index(name), name, floats)
            yield table.to_pandas()


def _is_binary_or_nested(column_type: Any, pa: Any) -> bool:
    types = pa.types
    return bool(
        types.is_nested(column_type)
        or types.is_binary(column_type)
        or types.is_large_binary(column_type)
        or types.is_fixed_size_binary(column_type)
    )


@contextlib.contextmanager
def _local_copy(source: str) -> Iterator[str]:
    """Yield the path of a table; for a URL, that of a temporary copy."""
    path = remote.local_path(source) if remote.is_url(source) else source
    if path is not None:
        yield path
        return
    with atomic.temporary_folder() as folder:
        copy = str(folder / f"table{os.path.splitext(_without_query(source))[1].lower()}")
        remote.download(source, copy)
        yield copy


def _without_query(source: str) -> str:
    return source.partition("?")[0] if remote.is_url(source) else source


def _is_parquet(path: str) -> bool:
    return path.lower().endswith((".parquet", ".pq"))


def _csv_options(path: str) -> dict[str, Any]:
    encoding = _encoding(path)
    separator = "\t" if path.lower().endswith((".tsv", ".tab")) else _separator(path, encoding)
    # All values are text: 007 is not a number, and NA is a country. Only an empty cell is missing.
    return {"sep": separator, "dtype": str, "keep_default_na": False, "na_values": [""], "encoding": encoding}


def _encoding(path: str) -> str:
    """Return the encoding of a text file by its first bytes. Spreadsheets write UTF-16 as "Unicode text"."""
    with open(path, "rb") as file:
        start = file.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _separator(path: str, encoding: str) -> str:
    """Return the column separator by the header. Spreadsheets write semicolons where numbers have a decimal comma."""
    with open(path, encoding=encoding, errors="replace") as file:
        header = file.readline()
    return next((separator for separator in (",", ";", "\t") if separator in header), ",")


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
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SourceError(
            f"Cannot read table {redact_secrets(source)!r}: {reason}. Expected a CSV, TSV or Parquet file with a row "
            "of column names."
        ) from error
