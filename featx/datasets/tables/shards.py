"""Data sets in several files: numbered files such as ``train-{000..099}.tar``, folders of Parquet files or archives."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence

from featx.datasets.folders.layout import normalize_splits
from featx.datasets.folders.names import is_image_name
from featx.datasets.folders.words import split_kind
from featx.datasets.tables.file import is_table_name
from featx.errors import SourceError
from featx.images.containers.archives import is_archive
from featx.images.containers.tables import ARROW_SUFFIXES, PARQUET_SUFFIXES
from featx.images.formats import IMAGE_SUFFIXES

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_FILES = 100_000
#: Number of entries of a folder that are looked at. Folders of images have more, or show an image among them.
_MAX_ENTRIES = 5000


def expand_sources(sources: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return sources with numbered files instead of patterns.

    Raises
    ------
    SourceError
        A pattern has too many files.

    Examples
    --------
    >>> expand_sources(["train-{08..10}.tar", "test.tar"])
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'test.tar']
    """
    return [path for source in sources for path in _expand(os.fspath(source))]


def _expand(source: str) -> list[str]:
    match = _RANGE.search(source)
    if match is None or os.path.lexists(source):
        return [source]
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MAX_FILES:
        raise SourceError(
            f"{source!r} must be a pattern of 1 to {_MAX_FILES:,} files, with the smaller number first, such as "
            "{000..099}."
        )
    numbers = (f"{number:0{len(match[1])}}" for number in range(first, last + 1))
    return [path for number in numbers for path in _expand(source[: match.start()] + number + source[match.end() :])]


def is_data_file(path: str) -> bool:
    """Return whether a path is that of a Parquet or Arrow file, which may be one of several."""
    return path.lower().endswith((*PARQUET_SUFFIXES, *ARROW_SUFFIXES))


def data_files_in(folder: str) -> list[str]:
    """Return the Parquet and Arrow files of a folder without images, as data sets of Hugging Face are stored.

    They are in the folder, in its folder ``data``, or in a folder for each split.
    """
    for place in (folder, os.path.join(folder, "data")):
        names = _names_in(place)
        if any(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in names):
            return []
        files = [os.path.join(place, name) for name in names if is_data_file(name)]
        if files or "data" not in names:
            # Features and other results lie next to folders of images.
            folders = [name for name in names if os.path.isdir(os.path.join(place, name))]
            return _files_of_splits(place, folders) if not files else [] if folders else files
    return []


def archives_in(folder: str) -> list[str]:
    """Return the archives of a folder without images, tables and subfolders, as WebDataset writes its shards."""
    if not os.path.isdir(folder):
        return []
    names = _names_in(folder)
    paths = [os.path.join(folder, name) for name in names]
    archives = list(filter(is_archive, paths))
    has_others = any(is_table_name(name, is_only_source=False) or is_image_name(name) for name in names)
    return [] if has_others or any(map(os.path.isdir, paths)) else archives


def _names_in(folder: str) -> list[str]:
    """Return the sorted names in a folder; none if it cannot be listed, whose reason is reported later."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, _MAX_ENTRIES)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith("."))


def _files_of_splits(place: str, folders: Sequence[str]) -> list[str]:
    """Return the files in folders that are splits by their names; none if there are other folders or images."""
    if len(folders) < 2 or None in map(split_kind, folders):
        return []
    files = []
    for folder in folders:
        names = _names_in(os.path.join(place, folder))
        if not any(map(is_data_file, names)) or any(os.path.splitext(name)[1] in IMAGE_SUFFIXES for name in names):
            return []
        files += [os.path.join(place, folder, name) for name in names if is_data_file(name)]
    return files


def splits_of_files(files: Sequence[str], notes: list[str]) -> list[str | None]:
    """Return the split of each file by its name, or that of its folder; None for all if the names have no splits.

    Parameters
    ----------
    files : sequence of str
    notes : list of str
        Receives a note on the splits.
    """
    kinds = [split_kind(os.path.basename(file)) for file in files]
    if set(kinds) == {None}:
        kinds = [split_kind(os.path.basename(os.path.dirname(file))) for file in files]
    if None in kinds or len(set(kinds)) < 2:
        return [None] * len(files)
    splits = normalize_splits([str(kind) for kind in kinds])
    train, test = files[splits.index("train")], files[splits.index("test")]
    notes.append(f"Files are splits by their names, such as {train!r} (train) and {test!r} (test).")
    return splits
