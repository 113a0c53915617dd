"""A table of labels in the folder of the images, as in image folders of Hugging Face."""

from __future__ import annotations

import os

from featx.datasets.folders.names import ignore_reason
from featx.datasets.folders.words import split_kind
from featx.datasets.source_options import LABEL_COLUMNS, SourceOptions
from featx.datasets.tables.columns import PATH_COLUMNS
from featx.datasets.tables.file import read_batches
from featx.errors import FeatxError

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def find_metadata(folder: str, options: SourceOptions) -> str | None:
    """Return the path of the table in a folder that has paths and labels of its images, or None.

    Parameters
    ----------
    folder : str
    options : SourceOptions
        `class_level` means that folders define the labels.
    """
    if options.class_level is not None:
        return None
    for name in _NAMES:
        table = os.path.join(folder, name)
        if os.path.isfile(table) and _has_labels(table, options):
            return table
    return None


def find_metadata_of_splits(folder: str, options: SourceOptions) -> list[str]:
    """Return the paths of the tables in folders that are splits by their names. Empty: one has none, or no labels."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not ignore_reason(entry.name))
    except OSError:
        return []  # listing it reports the reason
    if len(names) < 2 or None in map(split_kind, names):
        return []
    tables = [find_metadata(os.path.join(folder, name), options) for name in names]
    return [] if None in tables else [str(table) for table in tables]


def metadata_note(table: str) -> str:
    """Return the note that labels are read from a table in the folder."""
    return f"Labels are read from {table!r}. If folders are the classes, pass class_level=1 (--class-level 1)."


def _has_labels(table: str, options: SourceOptions) -> bool:
    try:
        columns = next(iter(read_batches(table, 100))).columns
    except FeatxError:
        return False  # it may be any file of this name
    lower = {str(column).lower() for column in columns}
    names = (options.label_column,) if isinstance(options.label_column, str) else options.label_column or ()
    has_labels = set(names) <= set(columns) if names else not lower.isdisjoint(LABEL_COLUMNS)
    return has_labels and not lower.isdisjoint(PATH_COLUMNS)
