"""Groups of images, which splits keep together, and columns of splits: how they are written, and notes on them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from featx.datasets.folders.names import normalize_label
from featx.datasets.folders.words import flag_kind, split_kind
from featx.datasets.label_names import similar_names
from featx.datasets.labels import is_missing
from featx.datasets.source_options import LABEL_COLUMNS, SourceOptions
from featx.errors import OptionError
from featx.system.formatting import format_count, format_list

_INTEGER = re.compile(r"^(-?[0-9]+)\.0+$")
#: Attribute of a table: by column, the numbers that are no class, and the number of classes.
UNKNOWN_CLASSES = "unknown_classes"
#: Groups that are missing, as programs write them.
_MISSING = ("", "nan", "NaN", "<NA>", "NaT", "None", "null")

#: Cells of a column of flags.
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")

#: Usual names of columns of splits and of groups.
_SPLITS = ("split", "subset", "partition", "set", "phase", "usage")
#: Those of groups without "_id", blanks and the like.
_GROUPS = (
    *("patient", "subject", "participant", "individual", "animal", "person", "lesion", "case", "study", "studyuid"),
    *("studyinstanceuid", "series", "seriesuid", "seriesinstanceuid", "exam", "slide", "specimen", "session", "visit"),
    *("video", "sequence", "scene", "group", "fold", "kfold", "folds"),
)
_OTHER_SIGNS = re.compile(r"[^a-z]")
#: A column with more distinct values does not name splits.
_MAX_SPLITS = 8


def normalize_groups(groups: Sequence[Any]) -> list[Any]:
    """Return groups without blanks around them, with None for empty ones and for a missing value, also as text.

    Programs write integers next to missing values as floats: 7.0 is 7.

    Examples
    --------
    >>> normalize_groups(["P1", "P1 ", "nan", "7.0"])
    ['P1', 'P1', None, '7']
    """
    names = [_INTEGER.sub(r"\1", normalize_label(group)) if isinstance(group, str) else group for group in groups]
    return [None if is_missing(name) or (isinstance(name, str) and name in _MISSING) else name for name in names]


def splits_of_flags(cells: Sequence[str | None], column: str) -> list[str | None]:
    """Return names of splits where cells are flags, as in a column ``is_test`` of 0 and 1. Other cells are unchanged.

    Parameters
    ----------
    cells : sequence of (str or None)
    column : str
        Name of the column, which is the split that a flag means.

    Examples
    --------
    >>> splits_of_flags(["0", "1", None], "is_valid"), splits_of_flags(["train", "test"], "split")
    (['train', 'val', None], ['train', 'test'])
    """
    kind = flag_kind(column)
    if kind is None:
        return list(cells)
    names = {**dict.fromkeys(TRUE, str(kind)), **dict.fromkeys(FALSE, "test" if kind == "train" else "train")}
    return [None if cell is None else names.get(cell.strip().lower(), cell) for cell in cells]


def notes_of_groups(groups: Sequence[Any] | None) -> tuple[str, ...]:
    """Return notes on images without a group, and on groups that may be the same one."""
    if groups is None:
        return ()
    notes = []
    if similar := similar_names(groups):
        notes.append(
            f"Groups with similar names are different groups: {similar}. Rename them if they are the same, so that no "
            "split divides them."
        )
    if n_ungrouped := groups.count(None):
        notes.append(f"{format_count(n_ungrouped, 'image')} without a group: each is a group of its own.")
    return tuple(notes)


def notes_of_unused_columns(frame: Any, options: SourceOptions, source: str) -> list[str]:
    """Return notes on columns of labels, splits and groups by their names and values, where none was passed.

    Parameters
    ----------
    frame : DataFrame
        First rows of a table.
    options : SourceOptions
    source : str
        Name of the table.
    """
    notes = _notes_of_unknown_classes(frame, options, source)
    columns = {str(column).strip().lower(): column for column in reversed(list(frame.columns))}
    labels = [column for name in LABEL_COLUMNS for column in frame.columns if str(column).strip().lower() == name]
    if options.label_column is None and len(labels) > 1:
        notes.append(
            f"Labels of {source!r} are in the column {labels[0]!r}, not in {format_list(labels[1:])}. Pass another as "
            "label_column (--label-column)."
        )
    if options.split_column is None:
        others = [column for column in frame.columns if str(column).strip().lower() not in (*LABEL_COLUMNS, "path")]
        notes += [_unused_split(str(column), source) for column in others if _has_splits(frame[column], column)][:1]
    column = None if options.group_column is not None else _group_column(columns, options)
    if column is not None and len(frame) > frame[column].nunique() > 1:
        notes.append(
            f"The column {column!r} of {source!r} is not used. If images of one {column} must not be split, pass "
            f"group_column={column!r} (--group-column {shlex.quote(str(column))})."
        )
    return notes


def _notes_of_unknown_classes(frame: Any, options: SourceOptions, source: str) -> list[str]:
    """Return a note on each column of labels with numbers that are no class of the schema."""
    return [
        f"The labels {format_list([f'{number:g}' for number in numbers])} in {column!r} of {source!r} are none of its "
        f"{n_classes:,} classes, which have the numbers 0 to {n_classes - 1:,}: these images have no label."
        for column, (numbers, n_classes) in frame.attrs.get(UNKNOWN_CLASSES, {}).items()
        if options.label_column in (None, column)
    ]


def _group_column(columns: Mapping[str, Any], options: SourceOptions) -> Any:
    """Return the column of groups by its name in lower case, or None; never one that has labels or splits."""
    used = options.label_column if isinstance(options.label_column, tuple) else (options.label_column,)
    by_word: dict[str, Any] = {}
    for name, column in columns.items():
        if column not in used and column != options.split_column and name not in LABEL_COLUMNS:
            word = _OTHER_SIGNS.sub("", name)
            by_word |= {word: column, word.removesuffix("id"): column}
    return next((by_word[word] for word in _GROUPS if word in by_word), None)


def _has_splits(cells: Any, column: object) -> bool:
    """Return whether a column separates training from other images: by ``train`` and ``test``, or by 0 and 1."""
    if getattr(cells, "ndim", 1) != 1:
        return False
    try:
        distinct = cells.dropna().unique()
    except TypeError:  # lists
        return False
    if len(distinct) > _MAX_SPLITS:
        return False
    values = {str(cell).strip().lower() for cell in distinct.tolist()}
    values -= {""}
    kinds = {split_kind(value) for value in values}
    are_splits = None not in kinds and (len(kinds) > 1 or str(column).strip().lower() in _SPLITS)
    return bool(values) and (are_splits or (flag_kind(str(column)) is not None and values <= {*TRUE, *FALSE}))


def _unused_split(column: str, source: str) -> str:
    return (
        f"The column {column!r} of {source!r} is not used. For this split, pass split_column={column!r} "
        f"(--split-column {shlex.quote(column)})."
    )


def splits_by_name_error(split_column: str) -> OptionError:
    """Return the error of a column of splits for several tables."""
    return OptionError(
        f"split_column (--split-column) cannot be used with several tables, because each table is one split, got "
        f"{split_column!r}. Remove it, or pass one table."
    )
