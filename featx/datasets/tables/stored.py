"""Columns that featx adds to its own tables where there is something to keep: split, group and type of the labels.

A table that lists classes named 101 and 102, or tags, or a test split, has them; so what is read is what was written.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

from featx.datasets.label_types import LabelType, LabelTypeInferrer, type_of_labels
from featx.datasets.source_options import SourceOptions
from featx.datasets.tags import SEPARATOR, Tags
from featx.errors import OutputError, SourceError
from featx.system.formatting import escape_cell

if TYPE_CHECKING:
    import pandas as pd

SPLIT, GROUP, LABEL_TYPE = "split", "group", "label_type"
#: All such columns, in order. Those that exist follow the other columns.
STORED_COLUMNS = (SPLIT, GROUP, LABEL_TYPE)
#: Key in the metadata of a Parquet file of features.
FEATURES_METADATA = b"featx.features"
_ARROW_TYPES: dict[str, LabelType] = {"bool": "bool", "int64": "int", "double": "float"}
#: Number of labels whose type is inferred at once.
_BLOCK_ROWS = 8192


@dataclasses.dataclass(frozen=True)
class StoredColumns:
    """Columns of some images that are stored besides path and label.

    Attributes
    ----------
    names : tuple of str
        Columns to write.
    label_type : {"bool", "int", "float", "str", "tags"}
        Type of the labels.
    """

    names: tuple[str, ...]
    label_type: LabelType

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, str | None, str | None]]) -> StoredColumns:
        """Return the columns for rows of label, split and group.

        The type of labels is written with splits and groups, where text alone would be read as another type, and
        where a label is escaped: it shows that featx wrote the table.
        """
        types: set[type] = set()
        has = {SPLIT: False, GROUP: False}
        inferrer, is_escaped = LabelTypeInferrer(), False
        remaining = iter(rows)
        while block := list(itertools.islice(remaining, _BLOCK_ROWS)):
            labels, splits, groups = zip(*block, strict=True)
            texts = [None if label is None else str(label) for label in labels]
            types.update(map(type, labels))
            has[SPLIT] |= any(splits)
            has[GROUP] |= any(groups)
            inferrer.add(texts)
            is_escaped |= any(text is not None and escape_cell(text) != text for text in texts)
        label_type = type_of_labels(types)
        is_other_type = types - {type(None)} != set() and inferrer.stored_type() != label_type
        has[LABEL_TYPE] = any(has.values()) or is_other_type or is_escaped
        return cls(tuple(name for name in STORED_COLUMNS if has[name]), label_type)

    def cells(self, split: str | None, group: str | None) -> list[str]:
        """Return the cells of a row."""
        values = {SPLIT: split or "", GROUP: escape_cell(group or ""), LABEL_TYPE: self.label_type}
        return [values[name] for name in self.names]


def label_cell(label: Any) -> str:
    """Return the cell of a label in a table that is text; empty: there is no label.

    Raises
    ------
    OutputError
        A tag contains the sign between tags.

    Examples
    --------
    >>> label_cell("cat"), label_cell(None), label_cell(Tags(["sea", "beach"])), label_cell(Tags([]))
    ('cat', '', 'beach;sea', ';')
    """
    if label is None:
        return ""
    if not isinstance(label, Tags):
        return escape_cell(str(label))
    check_tags_of_text([label])
    return escape_cell(str(label)) if len(label) else SEPARATOR  # an empty cell is a missing label


def check_tags_of_text(labels: Iterable[Any]) -> None:
    """Raise an error if a tag contains the sign between tags.

    Raises
    ------
    OutputError
    """
    for label in labels:
        name = next((name for name in label if SEPARATOR in name), None) if isinstance(label, Tags) else None
        if name is not None:
            raise OutputError(
                f"Cannot write the tag {name!r} to a table that is text: {SEPARATOR!r} separates tags. Rename the tag, "
                "or write a Parquet file: -o features.parquet."
            )


def unescape_cell(cell: Any) -> Any:
    """Return a label or group without the escape of :func:`escape_cell`. None: the cell is empty."""
    if not isinstance(cell, str) or not cell:
        return cell or None
    return cell[1:] if cell.startswith("'") and escape_cell(cell[1:]) == cell else cell


def stored_label_type(frame: pd.DataFrame, source: str) -> LabelType | None:
    """Return the type of the labels that a table of featx records. None: it records none.

    Raises
    ------
    SourceError
        The table has labels of several types, as when two tables were joined.
    """
    if LABEL_TYPE in frame.attrs:
        return frame.attrs[LABEL_TYPE]  # type: ignore[no-any-return]
    types = frame[LABEL_TYPE].dropna().unique().tolist() if LABEL_TYPE in frame.columns else []
    if not types or not set(types) <= {*get_args(LabelType)}:
        return None
    if len(types) > 1:
        raise SourceError(
            f"{source!r} has several types in the column {LABEL_TYPE!r}: {types[0]!r} and {types[1]!r}. Write one type "
            "in all rows, or remove the column."
        )
    return types[0]  # type: ignore[no-any-return]


def with_stored_columns(options: SourceOptions, columns: Iterable[str]) -> SourceOptions:
    """Return options with the columns of featx that a table has, where the user named no others."""
    stored = {name: name for name in (SPLIT, GROUP) if name in columns}
    return dataclasses.replace(
        options,
        split_column=options.split_column or stored.get(SPLIT),
        group_column=options.group_column or stored.get(GROUP),
    )


def stored_notes(source: str, names: Sequence[str]) -> list[str]:
    """Return a note on the columns of a table of featx that decide how images are split."""
    columns = " and ".join(map(repr, names))
    verb = "s decide" if len(names) > 1 else " decides"
    return [f"{source!r} was written by featx: its column{verb} how images are split ({columns})."] if names else []


def parquet_label_type(schema: Any) -> LabelType | None:
    """Return the type of the labels in a Parquet file of features, by its schema. None: it is another table."""
    names = schema.names
    if FEATURES_METADATA not in (schema.metadata or {}) or "label" not in names:
        return None
    arrow_type = str(schema.field("label").type)
    if arrow_type.startswith("list"):
        return "tags"
    return _ARROW_TYPES.get(arrow_type, "str")


def all_headers(columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return all headers of a table that begins with some columns."""
    subsets = itertools.product(*((False, True) for _ in STORED_COLUMNS))
    return [(*columns, *(name for name, has in zip(STORED_COLUMNS, subset, strict=True) if has)) for subset in subsets]
