"""Columns of a table, and their cells as text, or as tags where they are lists."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.folders.names import normalize_label
from featx.datasets.folders.words import flag_kind
from featx.datasets.labels import as_integers, is_missing
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.groups import FALSE, TRUE
from featx.datasets.tables.text_format import repair_text
from featx.datasets.tags import Tags
from featx.errors import SourceError, did_you_mean
from featx.system.formatting import shorten

if TYPE_CHECKING:
    import pandas as pd

#: Between tags of several columns; no tag contains it.
JOINED = "\x1f"
#: Cells of labels that are neither true nor false, as in CheXpert.
_UNCERTAIN = ("-1", "-1.0")
#: Number of rows that are looked at for columns of 0 and 1.
_N_PROBED = 1000
#: Attribute of a table with the names of which there are several columns, before pandas renames them.
REPEATED = "repeated"


def is_list_of_tags(value: Any) -> bool:
    """Return whether a value of a column is a list: the tags of an image."""
    return isinstance(value, list | tuple | set | frozenset | np.ndarray) and getattr(value, "ndim", 1) == 1


def tags_of_list(values: Iterable[Any]) -> Tags:
    """Return the tags in a list of text or integers. None is no tag.

    Raises
    ------
    SourceError
        A value is neither text nor an integer, or the list is a row of a matrix of 0 and 1.

    Examples
    --------
    >>> tags_of_list(["sea ", "beach", None]), tags_of_list([3, 1])
    (Tags(names=('beach', 'sea')), Tags(names=('1', '3')))
    """
    known = [value for value in values if value is not None]
    other = next(
        (value for value in known if isinstance(value, bool) or not isinstance(value, str | int | np.integer)), None
    )
    if other is not None:
        raise SourceError(
            f"Labels that are lists must have text or integers, got {shorten(repr(other))}. Convert them, or pass "
            "another column of labels."
        )
    if len(known) > len(set(known)) and set(known) <= {0, 1}:
        raise SourceError(
            f"Labels that are lists must name each tag, got {shorten(repr(list(map(int, known))))}, a row of a matrix "
            "of 0 and 1. Pass this matrix as y in Python: y=numpy.stack(table[column])."
        )
    names = (normalize_label(str(value)) for value in known)
    return Tags(name for name in names if name)


def cell_texts(column: pd.Series[Any]) -> list[Any]:
    """Return values as text, lists as tags, and missing values as None.

    Raises
    ------
    SourceError
        A value is a dict.
    """
    nested = next((value for value in column if isinstance(value, Mapping)), None)
    if nested is not None:
        raise SourceError(
            f"The column {str(column.name)!r} must hold text, numbers or lists, got {shorten(repr(nested))}. Write "
            "what is needed of it to a column of its own."
        )
    return [
        tags_of_list(value) if is_list_of_tags(value) else repair_text(str(value)) if is_known else None
        for value, is_known in zip(column, column.notna(), strict=True)
    ]


def without_gaps(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of floats that are all integers as integers: pandas reads integers with missing values as floats.

    Examples
    --------
    >>> import pandas as pd
    >>> without_gaps(pd.Series([0.0, None, 2.0])).tolist(), without_gaps(pd.Series([0.5, 1.0])).tolist()
    ([0, None, 2], [0.5, 1.0])
    """
    import pandas as pd

    if not pd.api.types.is_float_dtype(column.dtype):
        return column
    integers = as_integers(column.dropna().to_numpy(dtype=np.float64))
    if integers.dtype.kind == "f":
        return column
    known = iter(integers.tolist())
    values = [next(known) if is_known else None for is_known in column.notna()]
    return pd.Series(values, index=column.index, dtype=object, name=column.name)


def normalize_labels(labels: Sequence[Any]) -> list[Any]:
    """Return labels as class names, with None for empty ones. Tags are unchanged."""
    return [normalize_label(label) or None if isinstance(label, str) else label for label in labels]


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
        Purpose of the column, for error messages.
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
    column = select_column(frame, source, purpose, name, default_names)
    if column is None:
        return None
    import pandas as pd

    if purpose == "path":  # may have the bytes of a name that is not UTF-8
        values = [value.get("path") if isinstance(value, Mapping) else _without_fraction(value) for value in column]
        return [None if is_missing(value) else str(value) or None for value in values]
    values = list(map(_without_fraction, column))
    return [None if text is None else str(text) for text in cell_texts(pd.Series(values, dtype=object, name=name))]


def _without_fraction(value: Any) -> Any:
    """Return an integer for a float: integers with missing values are floats in pandas, and 1 and 1.0 are one group."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def column_name(
    frame: pd.DataFrame, source: str, purpose: str, name: str | None, default_names: Sequence[str]
) -> str | None:
    """Return `name`, or the first default that exists, whatever its case, or None."""
    if name is None:
        lower = {column.lower(): column for column in reversed(frame.columns)}
        return next((lower[default] for default in default_names if default in lower), None)
    if name not in frame.columns:
        hint = did_you_mean(name, list(frame.columns))
        raise SourceError(
            f"{source!r} has no column {name!r} for the {purpose}.{hint} It has {describe_columns(frame)}."
        )
    return name


def select_column(
    frame: pd.DataFrame, source: str, purpose: str, name: str | None, default_names: Sequence[str]
) -> pd.Series[Any] | None:
    """Return a column, or None if `name` is None and no default exists. See :func:`get_column`."""
    name = column_name(frame, source, purpose, name, default_names)
    if name is None:
        return None
    column = frame[name]
    if getattr(column, "ndim", 1) != 1 or name in frame.attrs.get(REPEATED, ()):
        raise SourceError(f"{source!r} has several columns {name!r}. Rename all but one.")
    return column


def describe_columns(frame: pd.DataFrame) -> str:
    """Return the names of the first columns of a table, for messages."""
    if not len(frame.columns):
        return "no columns"
    return "the columns " + ", ".join(repr(column[:40]) for column in list(frame.columns)[:8])


def tags_of_columns(frame: pd.DataFrame, source: str, names: Sequence[str]) -> list[str | None]:
    """Return the names of the columns that are true in each row, joined; a missing value is false.

    Raises
    ------
    SourceError
        A column does not exist, or holds something else than 0 and 1, or true and false.
    """
    columns = []
    for name in names:
        texts = _flags(get_column(frame, source, "label", name, ()) or [])
        wrong = next((text for text in texts if text and text not in TRUE and text not in FALSE), None)
        if wrong in _UNCERTAIN:
            raise SourceError(
                f"The column {name!r} of {source!r} must hold 0 or 1 for each image, got {wrong!r}. If it means "
                f"uncertain, replace it with pandas: table[{list(names)}] = table[{list(names)}].replace(-1, 0)."
            )
        if wrong is not None:
            raise SourceError(
                f"The column {name!r} of {source!r} must hold 0 or 1 for each image, got {wrong!r}. For tags in one "
                "column, pass it alone with label_separator (--label-separator)."
            )
        columns.append([text in TRUE for text in texts])
    return [
        JOINED.join(name for name, has in zip(names, row, strict=True) if has) for row in zip(*columns, strict=True)
    ]


def _flags(cells: Iterable[Any]) -> list[str]:
    return ["" if is_missing(cell) else str(cell).strip().lower() for cell in cells]


def single_tag_note(source: str, options: SourceOptions) -> str:
    """Return a note that each image has one tag."""
    if isinstance(options.label_column, tuple):
        remedy = _one_hot_remedy(list(options.label_column))
    elif options.label_separator is not None:
        remedy = "leave out label_separator (--label-separator)"
    else:
        remedy = "write text instead of lists"
    return f"Each image of {source!r} has exactly one tag. If these are classes, {remedy}."


def _one_hot_remedy(names: list[str]) -> str:
    return f"add a column of them with pandas, table['label'] = table[{names}].idxmax(axis=1), and pass this one"


def no_labels_reason(source: str, frame: pd.DataFrame, *, in_memory: bool = False) -> str:
    """Return why the images of a table have no labels, with the columns of 0 and 1, which may be tags or classes."""
    start = f"No label column in {source!r}: it has {describe_columns(frame)}."
    frame = frame[:_N_PROBED]
    flags = [str(name) for name in frame.columns if _has_flags(frame[name], str(name))]
    if len(flags) < 2 or not any(text in TRUE for name in flags for text in _flags(frame[name].tolist())):
        return f"{start} Pass label_column (--label-column)."
    rows = list(zip(*(_flags(frame[name].tolist()) for name in flags), strict=True))
    is_complete = all(text in TRUE or text in FALSE for row in rows for text in row)
    if is_complete and all(sum(text in TRUE for text in row) == 1 for row in rows):
        return f"{start} Each row has a 1 in one of {len(flags):,} columns: for classes, {_one_hot_remedy(flags)}."
    if in_memory:
        return f"{start} For tags, pass y=table[{flags}]."
    options = " ".join(f"--label-column {shlex.quote(name)}" for name in flags)
    return (
        f"{start} For one label, pass label_column (--label-column). For tags, pass label_column={flags} ({options})."
    )


def _has_flags(column: Any, name: str) -> bool:
    """Return whether a column holds 0 and 1, perhaps with -1 for uncertain, and is no part of a split by its name."""
    if getattr(column, "ndim", 1) != 1 or flag_kind(name) is not None:
        return False
    values = set(_flags(column.tolist())) - {""}
    return bool(values) and values <= {*TRUE, *FALSE, *_UNCERTAIN}
