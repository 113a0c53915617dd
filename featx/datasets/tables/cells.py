"""Cells of a table as text, or as tags where they are lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.datasets.folders.names import normalize_label
from featx.datasets.tables.text_format import repair_text
from featx.datasets.tags import Tags
from featx.errors import SourceError
from featx.system.formatting import shorten

if TYPE_CHECKING:
    import pandas as pd


def is_list_of_tags(value: Any) -> bool:
    """Return whether a value of a column is a list: the tags of an image."""
    return isinstance(value, list | tuple | set | frozenset | np.ndarray) and getattr(value, "ndim", 1) == 1


def tags_of_list(values: Iterable[Any]) -> Tags:
    """Return the tags in a list of text or integers. None is no tag.

    Raises
    ------
    SourceError
        A value is neither text nor an integer.

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
    names = (normalize_label(str(value)) for value in known)
    return Tags(name for name in names if name)


def cell_texts(column: pd.Series[Any]) -> list[Any]:
    """Return values as text, lists as tags, and missing values as None."""
    return [
        tags_of_list(value) if is_list_of_tags(value) else repair_text(str(value)) if is_known else None
        for value, is_known in zip(column, column.notna(), strict=True)
    ]


def normalize_labels(labels: Sequence[Any]) -> list[Any]:
    """Return labels as class names, with None for empty ones. Tags are unchanged."""
    return [normalize_label(label) or None if isinstance(label, str) else label for label in labels]
