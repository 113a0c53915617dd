"""The columns of a table of images: which are paths, labels, splits and groups, and what their values mean."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featx.datasets.image_table import ImageTable
from featx.datasets.label_types import infer_types, parse_number
from featx.datasets.labels import is_missing
from featx.datasets.layout import normalize_label, normalize_splits
from featx.datasets.table_file import read_table
from featx.errors import SourceError, did_you_mean
from featx.system.files import remote
from featx.system.formatting import format_count

if TYPE_CHECKING:
    import pandas as pd

#: Default names of the path column and of the label column. The first that exists is used.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "photo")
LABEL_COLUMNS = ("label", "class", "category", "target", "y", "species")
#: Number of paths that decide where relative paths start.
_N_PROBED_PATHS = 100


@dataclasses.dataclass(frozen=True)
class ColumnNames:
    """Names of columns as the user passed them. None: the default.

    Attributes
    ----------
    path, label, split, group : str or None
    """

    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None

    def options(self) -> dict[str, str | None]:
        """Return the names by option, as error messages show it."""
        names = dataclasses.asdict(self)
        return {f"{kind}_column (--{kind}-column)": name for kind, name in names.items()}


def table_from_file(source: str, columns: ColumnNames) -> ImageTable:
    """Return the images that a CSV, TSV or Parquet file lists.

    Parameters
    ----------
    source : str
        Path or URL.
    columns : ColumnNames

    Raises
    ------
    SourceError
        The table cannot be read, lists no images, or a column does not exist.
    """
    frame = read_table(source)
    paths = path_column(frame, source, columns.path)
    labels = get_column(frame, source, "label", columns.label, LABEL_COLUMNS)
    no_labels_reason, notes = "", []
    if labels is None:
        no_labels_reason = (
            f"No label column in {source!r}: it has {describe_columns(frame)}. Pass label_column (--label-column)."
        )
        typed_labels: list[Any] = [None] * len(paths)
    else:
        names = normalize_labels(labels)
        typed_labels = infer_types(names, source)
        notes += _notes_of_labels(names, typed_labels)
    splits = get_column(frame, source, "split", columns.split, ())
    groups = get_column(frame, source, "group", columns.group, ())
    return ImageTable(
        paths=resolve_paths(base_folder(source, paths), paths),
        labels=typed_labels,
        splits=None if splits is None else normalize_splits(splits),
        groups=groups,
        notes=(*notes, *_notes_of_groups(groups)),
        no_labels_reason=no_labels_reason,
    )


def table_from_frame(frame: pd.DataFrame, columns: ColumnNames) -> ImageTable:
    """Return the images that a DataFrame lists. Labels keep their type, and paths are used unchanged.

    Raises
    ------
    SourceError
        There are no rows, a path is missing, or a column does not exist.
    """
    source = "DataFrame"
    frame = frame.rename(columns=str)
    name = str(frame.columns[0]) if columns.path is None and len(frame.columns) == 1 else columns.path
    paths = path_column(frame, source, name)
    labels = _select_column(frame, source, "label", columns.label, LABEL_COLUMNS)
    splits = get_column(frame, source, "split", columns.split, ())
    groups = get_column(frame, source, "group", columns.group, ())
    return ImageTable(
        paths=paths,
        labels=[None] * len(paths) if labels is None else [_as_label(label) for label in labels.tolist()],
        splits=None if splits is None else normalize_splits(splits),
        groups=groups,
        notes=_notes_of_groups(groups),
    )


def path_column(frame: pd.DataFrame, source: str, name: str | None) -> list[str]:
    """Return the paths of a table.

    Raises
    ------
    SourceError
        There is no path column, it has missing values, or there are no rows.
    """
    paths = get_column(frame, source, "path", name, PATH_COLUMNS)
    if paths is None:
        raise missing_path_column_error(frame, source)
    if not paths:
        raise SourceError(f"{source!r} lists no images: it has {describe_columns(frame)} and no rows.")
    missing = [row for row, path in enumerate(paths) if path is None]
    if missing:
        raise SourceError(
            f"Paths in {source!r} are missing in {len(missing)} of {len(paths)} rows, first in row {missing[0]}. "
            "Fill in the cells, or remove the rows."
        )
    return [path for path in paths if path is not None]


def missing_path_column_error(frame: pd.DataFrame, source: str) -> SourceError:
    """Return the error for a table without a path column."""
    return SourceError(
        f"No path column in {source!r}: it has {describe_columns(frame)}. Pass path_column (--path-column)."
    )


def get_column(
    frame: pd.DataFrame, source: str, purpose: str, name: str | None, default_names: Sequence[str]
) -> list[str | None] | None:
    """Return a column as text, with None for missing values.

    Parameters
    ----------
    frame : DataFrame
    source : str
        Name of the table, for error messages.
    purpose : str
        What the column is for, for error messages.
    name : str or None
        None: the first of `default_names` that exists, in any case.
    default_names : sequence of str

    Returns
    -------
    list of (str or None), or None
        None: `name` is None and no default exists.

    Raises
    ------
    SourceError
        There is no column `name`, or there are several.
    """
    column = _select_column(frame, source, purpose, name, default_names)
    if column is None:
        return None
    return [None if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)]


def _select_column(
    frame: pd.DataFrame, source: str, purpose: str, name: str | None, default_names: Sequence[str]
) -> pd.Series[Any] | None:
    if name is None:
        lower = {column.lower(): column for column in reversed(frame.columns)}
        name = next((lower[default] for default in default_names if default in lower), None)
        if name is None:
            return None
    if name not in frame.columns:
        hint = did_you_mean(name, list(frame.columns))
        raise SourceError(
            f"{source!r} has no column {name!r} for the {purpose}.{hint} It has {describe_columns(frame)}."
        )
    column = frame[name]
    if getattr(column, "ndim", 1) != 1:
        raise SourceError(f"{source!r} has several columns {name!r}. Rename all but one.")
    return column


def normalize_labels(labels: Sequence[str | None]) -> list[str | None]:
    """Return labels as class names, with None for empty ones."""
    return [None if label is None or not label.strip() else normalize_label(label.strip()) for label in labels]


def describe_columns(frame: pd.DataFrame) -> str:
    """Return the names of the first columns of a table, for messages."""
    return "the columns " + ", ".join(repr(column[:40]) for column in list(frame.columns)[:8])


def base_folder(source: str, paths: Sequence[str]) -> str:
    """Return where relative paths of a table start: at its folder, or at the working directory ("").

    The working directory is used if some of the first paths exist there and none exists in the folder of the table.
    """
    folder = os.path.dirname(source)
    probed = paths[:_N_PROBED_PATHS]
    if any(os.path.exists(os.path.join(folder, path)) for path in probed):
        return folder
    return "" if any(os.path.exists(path) for path in probed) else folder


def resolve_paths(folder: str, paths: Sequence[str]) -> list[str]:
    """Return paths relative to the working directory, from ones relative to `folder`."""
    return [path if os.path.isabs(path) or remote.is_url(path) else os.path.join(folder, path) for path in paths]


def _as_label(label: Any) -> Any:
    """Return a label of a DataFrame: None if it is missing or empty, and text as a class name."""
    if is_missing(label):
        return None
    if isinstance(label, str):
        return normalize_label(label.strip()) or None
    return label


def _notes_of_labels(names: Sequence[str | None], labels: Sequence[Any]) -> list[str]:
    """Return a note if numbers are class names because other labels are text."""
    if labels != names:
        return []
    number = next((name for name in names if name is not None and parse_number(name) is not None), None)
    text = next((name for name in names if name is not None and parse_number(name) is None), None)
    if number is None or text is None:
        return []
    return [f"Labels mix numbers and text ({number!r}, {text!r}): all of them are class names."]


def _notes_of_groups(groups: Sequence[str | None] | None) -> tuple[str, ...]:
    n_ungrouped = 0 if groups is None else groups.count(None)
    if not n_ungrouped:
        return ()
    return (f"{format_count(n_ungrouped, 'image')} without a group: each is a group of its own.",)
