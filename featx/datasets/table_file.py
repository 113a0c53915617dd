"""A CSV, TSV or Parquet file that lists images → a table of image files, labels, splits and groups."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featx.datasets.image_folder import ImageTable, find_images, normalize_label, normalize_splits
from featx.datasets.label_types import infer_types, parse_number
from featx.errors import FeatxError, MissingDependencyError, SourceError, did_you_mean
from featx.system.files import remote
from featx.system.files.atomic import temporary_folder
from featx.system.files.url_secrets import redact_secrets
from featx.system.formatting import format_count

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", ".pq")
#: Columns that are taken if none is named, the first that is there.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "photo")
LABEL_COLUMNS = ("label", "class", "category", "target", "y", "species")
#: Of a Parquet file, so much is read at a time: a column of a row group may be larger than memory.
_BUFFER_BYTES = 2**20


def is_table(sources: Sequence[str | os.PathLike[str]]) -> bool:
    """Return whether the first of the sources is a table, by its name."""
    return _is_called_table(os.fspath(sources[0]))


def _is_called_table(source: str) -> bool:
    return _name_of(source).lower().endswith(TABLE_SUFFIXES)


def _name_of(source: str) -> str:
    """Return a path, or an address without its query."""
    return source.partition("?")[0] if remote.is_url(source) else source


def find_labelled(
    sources: Sequence[str | os.PathLike[str]],
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
) -> ImageTable:
    """Return the images of folders and files, or those that a table lists.

    Parameters
    ----------
    sources : sequence of str or Path
        As for :func:`featx.datasets.image_folder.find_images`; or one CSV, TSV or Parquet file, or the address of one.
    path_column, label_column : str or None, default=None
        Columns of the table. None is the first that is called path, file, filename, image or the like, and label,
        class, category or target. Relative paths start at the table's folder, or, if none of the first hundred is
        there, at the working folder. An empty label is a missing one.
    split_column : str or None, default=None
        Column that says train, val or test.
    group_column : str or None, default=None
        Column of what must not be divided between training and test. An image without one is a group of its own.

    Raises
    ------
    SourceError
        A table that cannot be read, lists nothing, or has no such column; the nearest name is suggested.
    """
    columns = {
        "--path-column": path_column,
        "--label-column": label_column,
        "--split-column": split_column,
        "--group-column": group_column,
    }
    table = find_table(sources, columns)
    if table is not None:
        return _from_table(table, path_column, label_column, split_column, group_column)
    return find_images(sources)


def find_table(sources: Sequence[str | os.PathLike[str]], columns: Mapping[str, str | None]) -> str | None:
    """Return the table that the sources are; None if they are folders and files.

    Raises
    ------
    SourceError
        A table and another source, or columns (by option) of what is no table.
    """
    tables = [os.fspath(source) for source in sources if _is_called_table(os.fspath(source))]
    if tables and (os.path.isfile(tables[0]) or remote.is_url(tables[0])):
        if len(sources) > 1:
            raise SourceError(f"A table is read alone: give {tables[0]!r} and no other source.")
        return tables[0]
    given = [f"{option} {column}" for option, column in columns.items() if column]
    if given and os.path.exists(sources[0]):
        raise SourceError(
            f"{given[0]} names a column, but {os.fspath(sources[0])!r} is no table ({' '.join(TABLE_SUFFIXES)}). Leave "
            "it out, or point at a table."
        )
    return None


def _from_table(
    source: str, path_column: str | None, label_column: str | None, split_column: str | None, group_column: str | None
) -> ImageTable:
    frame = _read(source)
    paths = get_column(frame, source, "path", path_column, PATH_COLUMNS)
    if paths is None:
        raise missing_path_column_error(frame, source)
    missing = [row for row, path in enumerate(paths) if path is None]
    if missing:
        raise SourceError(f"{source!r} has no path in {len(missing)} of {len(paths)} rows, first in row {missing[0]}.")
    if not len(paths):
        raise SourceError(f"{source!r} lists no images: it has {describe_columns(frame)} and no rows.")
    labels = get_column(frame, source, "label", label_column, LABEL_COLUMNS)
    splits = get_column(frame, source, "split", split_column, ())
    groups = get_column(frame, source, "group", group_column, ())
    unlabelled = ""
    if labels is None:
        unlabelled = f"{source!r} has no column of labels: {describe_columns(frame)}. Name it: --label-column COLUMN."
    labels = [None] * len(paths) if labels is None else normalize_labels(labels)
    kinds = infer_types(labels, source)
    notes = []
    if kinds == labels and (mixed := _mixed(labels)):
        notes.append(f"Labels mix numbers and names ({mixed[0]!r}, {mixed[1]!r}): all are taken for names of classes.")
    if groups is not None and (n_alone := groups.count(None)):
        notes.append(f"{format_count(n_alone, 'image')} without a group: each is one of its own.")
    return ImageTable(
        paths=_located(source, [str(path) for path in paths]),
        labels=kinds,
        splits=None if splits is None else normalize_splits(splits),
        groups=groups,
        notes=tuple(notes),
        unlabelled=unlabelled,
    )


def missing_path_column_error(frame: pd.DataFrame, source: str) -> SourceError:
    """Return the error that a table has no column of paths."""
    return SourceError(f"{source!r} has no column of paths: {describe_columns(frame)}. Name it: --path-column COLUMN.")


def _mixed(labels: Sequence[str | None]) -> tuple[str, str] | None:
    """Return a label that is a number and one that is none, if there are both."""
    number = next((label for label in labels if label is not None and parse_number(label) is not None), None)
    name = next((label for label in labels if label is not None and parse_number(label) is None), None)
    return None if number is None or name is None else (number, name)


def normalize_labels(labels: Sequence[str | None]) -> list[str | None]:
    """Return labels as names of classes; None for what is empty."""
    return [None if label is None or not label.strip() else normalize_label(label.strip()) for label in labels]


def _read(source: str) -> pd.DataFrame:
    import pandas as pd

    with _telling_of_table(source), _here(source) as path:
        frame = pd.read_parquet(path) if _is_parquet(path) else pd.read_csv(path, **_text_options(path))
    frame.columns = [str(column).strip() for column in frame.columns]
    return frame


def read_batches(source: str, n_rows: int) -> Iterator[pd.DataFrame]:
    """Yield a table in parts of some rows, as they would be if it was read at once.

    Parameters
    ----------
    source : str
    n_rows : int
        In each part but the last; of Parquet, at most.

    Raises
    ------
    SourceError, MissingDependencyError
        It cannot be read.
    """
    import pandas as pd

    with _telling_of_table(source), contextlib.ExitStack() as opened:
        path = opened.enter_context(_here(source))
        if _is_parquet(path):
            frames = _parquet_batches(path, n_rows)
        else:
            frames = opened.enter_context(pd.read_csv(path, chunksize=n_rows, **_text_options(path)))
        for frame in frames:
            frame.columns = [str(column).strip() for column in frame.columns]
            yield frame


def _parquet_batches(source: str, n_rows: int) -> Iterator[pd.DataFrame]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        # Bytes and nested columns are neither paths nor labels; of images within a table, a part would fill the memory.
        plain = [
            field.name
            for field in file.schema_arrow
            if not (pa.types.is_nested(field.type) or _holds_bytes(field.type, pa))
        ]
        whole = [field.name for field in file.schema_arrow if pa.types.is_integer(field.type)]
        holes = dict.fromkeys(whole, 0)
        for batch in file.iter_batches(columns=whole) if whole else ():
            for name in whole:
                holes[name] += batch.column(name).null_count
        for batch in file.iter_batches(n_rows, columns=plain):
            table = pa.table(batch)
            for name in (name for name in whole if holes[name]):  # numbers with holes are floats in pandas
                table = table.set_column(
                    table.column_names.index(name), name, pc.cast(table[name], pa.float64(), safe=False)
                )
            yield table.to_pandas()


def _holds_bytes(kind: Any, pa: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


@contextlib.contextmanager
def _here(source: str) -> Iterator[str]:
    """Yield the path of a table; of one at an address, that of a copy, which is gone in the end."""
    path = remote.local_path(source) if remote.is_url(source) else source
    if path is not None:
        yield path
        return
    with temporary_folder() as folder:
        copy = str(folder / f"table{os.path.splitext(_name_of(source))[1].lower()}")
        remote.download(source, copy)
        yield copy


def _is_parquet(source: str) -> bool:
    return source.lower().endswith((".parquet", ".pq"))


def _text_options(source: str) -> dict[str, Any]:
    encoding = _encoding(source)
    separator = "\t" if source.lower().endswith((".tsv", ".tab")) else _separator(source, encoding)
    # Everything is text: 007 is no number, and NA is a country. Only what is empty is missing.
    return {"sep": separator, "dtype": str, "keep_default_na": False, "na_values": [""], "encoding": encoding}


@contextlib.contextmanager
def _telling_of_table(source: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            f"Parquet files need another package to be read: {error}. Install it (pip install pyarrow), or convert the "
            "table to CSV."
        ) from error
    except FeatxError:
        raise
    except OSError as error:
        raise SourceError(f"The table {_shown(source)} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # pandas and pyarrow have a zoo of errors for bad tables
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SourceError(
            f"The table {_shown(source)} cannot be read: {reason}. Expected CSV with commas, TSV or Parquet, with "
            "a row of column names."
        ) from error


def _shown(source: str) -> str:
    return repr(redact_secrets(source))


def _encoding(source: str) -> str:
    """Return how a text is encoded, by its first bytes: spreadsheets write UTF-16 as "Unicode text"."""
    with open(source, "rb") as file:
        start = file.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _separator(source: str, encoding: str) -> str:
    """Return what separates the columns: spreadsheets write semicolons where the comma is in numbers, or tabs."""
    with open(source, encoding=encoding, errors="replace") as file:
        header = file.readline()
    return next((one for one in (",", ";", "\t") if one in header), ",")


def get_column(
    frame: pd.DataFrame, source: str, what: str, name: str | None, usual: Sequence[str]
) -> list[str | None] | None:
    """Return a column as text, None for what is missing; None if there is no such column and none was named."""
    if name is None:
        lower = {column.lower(): column for column in reversed(frame.columns)}
        name = next((lower[column] for column in usual if column in lower), None)
        if name is None:
            return None
    if name not in frame.columns:
        hint = did_you_mean(name, list(frame.columns))
        raise SourceError(f"{source!r} has no column {name!r} for the {what}.{hint} It has {describe_columns(frame)}.")
    values = frame[name]
    if getattr(values, "ndim", 1) != 1:
        raise SourceError(f"{source!r} has several columns {name!r}. Rename all but one.")
    return [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]


def describe_columns(frame: pd.DataFrame) -> str:
    """Return which columns a table has, for a message."""
    return "the columns " + ", ".join(repr(column[:40]) for column in list(frame.columns)[:8])


def _located(source: str, paths: list[str]) -> list[str]:
    """Return paths as seen from the working folder; the first hundred tell where they start."""
    folder = base_folder(source, paths[:100])
    return resolve_paths(folder, paths)


def base_folder(source: str, first: Sequence[str]) -> str:
    """Return the folder at which relative paths of a table start: its own, or "" for the working folder."""
    folder = os.path.dirname(source)
    found = any(os.path.exists(os.path.join(folder, path)) for path in first)
    return "" if not found and any(os.path.exists(path) for path in first) else folder


def resolve_paths(folder: str, paths: Sequence[str]) -> list[str]:
    """Return paths of a table as seen from the working folder."""
    return [path if _is_whole(path) else os.path.join(folder, path) for path in paths]


def _is_whole(path: str) -> bool:
    return os.path.isabs(path) or remote.is_url(path)
