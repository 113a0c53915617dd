"""A CSV, TSV or Parquet file that lists images → a table of image files, labels, splits and groups."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx import remote
from featx.errors import MissingDependencyError, SourceError, did_you_mean
from featx.labels import task_of
from featx.sources import ImageTable, as_label, as_splits, find_images
from featx.wording import counted

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".parquet", ".pq")
#: Columns that are taken if none is named, the first that is there.
_PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "photo")
#: A whole number as programs write it.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
#: As Python, JSON and spreadsheets write them.
_TRUTHS = (("True", "False"), ("true", "false"), ("TRUE", "FALSE"))
_LABEL_COLUMNS = ("label", "class", "category", "target", "y", "species")


def is_table(sources: Sequence[str | os.PathLike[str]]) -> bool:
    """Return whether the first of the sources is a table, by its name."""
    return os.fspath(sources[0]).lower().endswith(TABLE_SUFFIXES)


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
        As for :func:`featx.sources.find_images`; or one CSV, TSV or Parquet file.
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
    tables = [os.fspath(source) for source in sources if os.fspath(source).lower().endswith(TABLE_SUFFIXES)]
    if tables and os.path.isfile(tables[0]):
        if len(sources) > 1:
            raise SourceError(f"A table is read alone: give {tables[0]!r} and no other source.")
        return _from_table(tables[0], path_column, label_column, split_column, group_column)
    columns = {
        "--path-column": path_column,
        "--label-column": label_column,
        "--split-column": split_column,
        "--groups": group_column,
    }
    given = [f"{option} {column}" for option, column in columns.items() if column]
    if given and os.path.exists(sources[0]):
        raise SourceError(
            f"{given[0]} names a column, but {os.fspath(sources[0])!r} is no table ({' '.join(TABLE_SUFFIXES)}). Leave "
            "it out, or point at a table."
        )
    return find_images(sources)


def _from_table(
    source: str, path_column: str | None, label_column: str | None, split_column: str | None, group_column: str | None
) -> ImageTable:
    frame = _read(source)
    paths = _column(frame, source, "path", path_column, _PATH_COLUMNS)
    if paths is None:
        raise SourceError(f"{source!r} has no column of paths: {_columns(frame)}. Name it: --path-column COLUMN.")
    missing = [row for row, path in enumerate(paths) if path is None]
    if missing:
        raise SourceError(f"{source!r} has no path in {len(missing)} of {len(paths)} rows, first in row {missing[0]}.")
    if not len(paths):
        raise SourceError(f"{source!r} lists no images: it has {_columns(frame)} and no rows.")
    labels = _column(frame, source, "label", label_column, _LABEL_COLUMNS)
    splits = _column(frame, source, "split", split_column, ())
    groups = _column(frame, source, "group", group_column, ())
    labels = [None] * len(paths) if labels is None else _normal(labels)
    quantities = _quantities(source, labels)
    notes = []
    if quantities is labels and (mixed := _mixed(labels)):
        notes.append(f"Labels mix numbers and names ({mixed[0]!r}, {mixed[1]!r}): all are taken for names of classes.")
    if groups is not None and (n_alone := groups.count(None)):
        notes.append(f"{counted(n_alone, 'image')} without a group: each is one of its own.")
    return ImageTable(
        paths=_located(source, [str(path) for path in paths]),
        labels=quantities,
        splits=None if splits is None else as_splits(splits),
        groups=groups,
        notes=tuple(notes),
    )


def _mixed(labels: Sequence[str | None]) -> tuple[str, str] | None:
    """Return a label that is a number and one that is none, if there are both."""
    number = next((label for label in labels if label is not None and _number(label) is not None), None)
    name = next((label for label in labels if label is not None and _number(label) is None), None)
    return None if number is None or name is None else (number, name)


def _normal(labels: Sequence[str | None]) -> list[str | None]:
    return [None if label is None or not label.strip() else as_label(label.strip()) for label in labels]


def _read(source: str) -> pd.DataFrame:
    import pandas as pd

    try:
        if source.lower().endswith((".parquet", ".pq")):
            frame = pd.read_parquet(source)
        else:
            encoding = _encoding(source)
            separator = "\t" if source.lower().endswith((".tsv", ".tab")) else _separator(source, encoding)
            # Everything is text: 007 is no number, and NA is a country. Only what is empty is missing.
            frame = pd.read_csv(
                source, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding=encoding
            )
    except ImportError as error:
        raise MissingDependencyError(
            f"Parquet files need another package to be read: {error}. Install it (pip install pyarrow), or convert the "
            "table to CSV."
        ) from error
    except OSError as error:
        raise SourceError(f"The table {source!r} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # pandas and pyarrow have a zoo of errors for bad tables
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SourceError(
            f"The table {source!r} cannot be read: {reason}. Expected CSV with commas, TSV or Parquet, with a row of "
            "column names."
        ) from error
    frame.columns = [str(column).strip() for column in frame.columns]
    return frame


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


def _column(
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
        raise SourceError(f"{source!r} has no column {name!r} for the {what}.{hint} It has {_columns(frame)}.")
    values = frame[name]
    if getattr(values, "ndim", 1) != 1:
        raise SourceError(f"{source!r} has several columns {name!r}. Rename all but one.")
    return [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]


def _columns(frame: pd.DataFrame) -> str:
    return "the columns " + ", ".join(repr(column[:40]) for column in list(frame.columns)[:8])


def _located(source: str, paths: list[str]) -> list[str]:
    """Return paths as seen from the working folder; the first hundred tell where they start."""
    first = next((path for path in paths if not _is_whole(path)), None)
    if first is None:
        return paths
    folder = os.path.dirname(source)
    found = any(os.path.exists(os.path.join(folder, path)) for path in paths[:100])
    if not found and any(os.path.exists(path) for path in paths[:100]):
        return paths
    return [path if _is_whole(path) else os.path.join(folder, path) for path in paths]


def _is_whole(path: str) -> bool:
    return os.path.isabs(path) or remote.is_address(path)


def _quantities(source: str, labels: list[str | None]) -> list[Any]:
    """Return labels as numbers if they are quantities, else as they are.

    Raises
    ------
    SourceError
        Most are numbers with fractions, and some are no numbers.
    """
    numbers = [None if label is None else _number(label) for label in labels]
    infinite = next((label for label in labels if label is not None and _is_infinite(label)), None)
    there = np.array([number for number in numbers if number is not None])
    others = [label for label, number in zip(labels, numbers, strict=True) if label is not None and number is None]
    if not len(there):
        return _typed(labels)
    if others and not (len(there) > len(others) and (there != np.round(there)).any()):
        return labels
    if infinite is not None:
        raise SourceError(f"Labels of {source!r} are quantities, and {infinite!r} is infinite. Leave the cell empty.")
    if others:
        raise SourceError(
            f"Labels of {source!r} mix numbers and text: {there[0]:g} and {others[0]!r}, for example. Leave the cell "
            "empty if the label is missing, or make all of them text."
        )
    return numbers if task_of(there) == "regression" else _typed(labels)


def _typed(labels: list[str | None]) -> list[Any]:
    """Return labels as whole numbers, or as truths, if all of them are written so, else as they are; 007 is a name."""
    there = {label for label in labels if label is not None}
    if there and all(map(_WHOLE.fullmatch, there)):
        return [None if label is None else int(label) for label in labels]
    if there and any(there <= set(words) for words in _TRUTHS):
        return [None if label is None else label.lower() == "true" for label in labels]
    return labels


def _is_infinite(label: str) -> bool:
    return label.strip().lower().lstrip("+-") in ("inf", "infinity")


def _number(label: str) -> float | None:
    """Return the number that a text is, also with a decimal comma; None if it is none."""
    for text in (label, label.replace(",", ".")):
        try:
            number = float(text)
        except ValueError:
            continue
        return number if np.isfinite(number) else None
    return None
