"""Finds the images of any source: the public :func:`featx.find_images`."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from featx.datasets.image_table import ImageTable, PathsLike, as_path_list
from featx.datasets.listers import IgnoredCounter, make_lister
from featx.datasets.table_columns import ColumnNames, table_from_file, table_from_frame
from featx.datasets.table_file import TABLE_SUFFIXES, is_table_name
from featx.errors import SourceError, SourceNotFoundError
from featx.images.archives import split_archive_path
from featx.images.formats import IMAGE_SUFFIXES
from featx.system.files import remote
from featx.system.formatting import shorten

if TYPE_CHECKING:
    import pandas as pd


def find_images(
    source: PathsLike | str | os.PathLike[str],
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    keep_missing: bool = False,
) -> ImageTable:
    """Find the images of folders, archives, URLs and tables, with their labels and splits.

    In a folder, the first folder level is the class: ``photos/cat/1.jpg`` and ``photos/cat/2019/2.jpg`` have the label
    ``cat``. Where several flat folders are passed, each is a class (``photos/*``). If all folders are named as splits
    (train, training, val, valid, validation, dev, test, testing), they define splits, and the classes are one level
    deeper: ``photos/train/cat/1.jpg``. Validation images are training images; if there are no test images, they are
    the test images. Images are sorted by name. Hidden files and system files (``__MACOSX``, ``Thumbs.db``) are ignored.

    Zip and tar archives are read like folders, without unpacking: ``photos.zip/cat/1.jpg`` is the path of an image in
    an archive. A single folder that contains everything is not a class.

    Parameters
    ----------
    source : str, Path, DataFrame, or sequence or iterable of str or Path
        Folders, archives, images and URLs; or one CSV, TSV or Parquet file; or a pandas table. An image that is named
        explicitly may have any suffix. A table must be the only source. An ImageTable is returned unchanged.
    path_column : str or None, default=None
        Column with the paths of a table. None: the first of path, file, filename, image and similar names. Relative
        paths start at the folder of the table, or at the working directory if none of the first 100 exists there.
    label_column : str or None, default=None
        Column with the labels of a table. None: the first of label, class, category, target, y and species, if any.
        An empty cell is a missing label.
    split_column : str or None, default=None
        Column with the splits of a table: train, val or test. None: no splits.
    group_column : str or None, default=None
        Column with the groups of a table. Images of one group are never split between training and test set. An image
        without a group is a group of its own. None: no groups.
    keep_missing : bool, default=False
        Whether to keep missing sources as images, which are reported as unreadable later, instead of raising
        SourceNotFoundError. The error is raised if no source exists.

    Returns
    -------
    ImageTable
        Paths, labels and splits. Its length is the number of images.

    Raises
    ------
    SourceNotFoundError
        A source does not exist.
    SourceError
        No source contains an image, a folder or table cannot be read, or a column does not exist.

    See Also
    --------
    check_images : Check the images of a source without a network.
    extract_images : Extract the features of a source into a file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat/1.jpg", "dog/2.png", "dog/notes.txt"):
    ...         path = Path(folder, name)
    ...         path.parent.mkdir(exist_ok=True)
    ...         _ = path.write_bytes(b"")
    ...     images = find_images(folder)
    >>> images
    <ImageTable: 2 images; 2 labeled, 2 distinct labels>
    >>> images.labels, images.ignored
    (['cat', 'dog'], {'.txt': 1})
    """
    if isinstance(source, ImageTable):
        return source
    columns = ColumnNames(path_column, label_column, split_column, group_column)
    if hasattr(source, "columns"):
        return table_from_frame(cast("pd.DataFrame", source), columns)
    sources = as_sources(source)
    table = find_table(sources, columns.options())
    if table is not None:
        return table_from_file(table, columns)
    ignored: IgnoredCounter = collections.Counter()
    rows = list(iter_images(sources, ignored, keep_missing=keep_missing))
    splits = [split for _, _, split in rows]
    return ImageTable(
        paths=[path for path, _, _ in rows],
        labels=[label for _, label, _ in rows],
        ignored=dict(ignored.most_common()),
        splits=splits if any(splits) else None,
    )


def as_sources(source: PathsLike | str | os.PathLike[str]) -> list[str]:
    """Return one or several sources as a list of paths.

    Raises
    ------
    SourceError
        There is no source.
    """
    sources = [os.fspath(source)] if isinstance(source, str | os.PathLike) else as_path_list(source)
    if not sources:
        raise SourceError("source must contain at least one folder or file, got none.")
    return sources


def iter_images(
    sources: Sequence[str | os.PathLike[str]], ignored: IgnoredCounter, *, keep_missing: bool = False
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield path, label and split of each image of folders, archives and files, in bounded memory.

    Parameters
    ----------
    sources : sequence of str or Path
    ignored : Counter
        Receives the number of ignored files by kind.
    keep_missing : bool, default=False
        See :func:`find_images`.

    Raises
    ------
    SourceNotFoundError, SourceError
        See :func:`find_images`. That no image exists is known only at the end.
    """
    missing = missing_sources(sources)
    if missing and (not keep_missing or len(missing) == len(sources)):
        raise SourceNotFoundError(source_not_found_message(missing[0]))
    is_only_source = len(sources) == 1
    is_empty = True
    for source in sources:
        lister = make_lister(os.fspath(source), ignored)
        layout = lister.layout(is_only_source=is_only_source)
        for name in lister.names(layout):
            label, split = layout.label_and_split(name)
            is_empty = False
            yield lister.prefix + name, label, split if is_only_source else None
    if is_empty:
        raise SourceError(_no_images_message(sources, ignored))


def is_table(sources: Sequence[str | os.PathLike[str]]) -> bool:
    """Return whether the first source is a table by its name."""
    return is_table_name(os.fspath(sources[0]))


def find_table(sources: Sequence[str | os.PathLike[str]], columns: Mapping[str, str | None]) -> str | None:
    """Return the path of the table among sources. None: they are folders and files.

    Parameters
    ----------
    sources : sequence of str or Path
    columns : mapping of str to (str or None)
        Column names by option, as error messages show it.

    Raises
    ------
    SourceError
        A table is not the only source, or a column is named but no source is a table.
    """
    tables = [os.fspath(source) for source in sources if is_table_name(os.fspath(source))]
    if tables and (os.path.isfile(tables[0]) or remote.is_url(tables[0])):
        if len(sources) > 1:
            raise SourceError(f"A table must be the only source, got {len(sources)} sources. Pass only {tables[0]!r}.")
        return tables[0]
    named = [f"{option} names the column {column!r}" for option, column in columns.items() if column]
    if named and os.path.exists(sources[0]):
        raise SourceError(
            f"{named[0]}, but {os.fspath(sources[0])!r} is not a table ({' '.join(TABLE_SUFFIXES)}). Remove the "
            "option, or pass a table."
        )
    return None


def missing_sources(sources: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the sources that do not exist. URLs and images in archives are not checked."""
    paths = [os.fspath(source) for source in sources]
    return [
        path
        for path in paths
        if not remote.is_url(path) and not os.path.exists(path) and split_archive_path(path) is None
    ]


def source_not_found_message(source: str) -> str:
    """Return the error message for a source that does not exist, with the most similar name."""
    import difflib

    if os.path.islink(source):
        return f"{source!r} is a link to {os.readlink(source)!r}, which does not exist. Fix or remove the link."
    parent = Path(source).parent
    try:
        names = os.listdir(parent)
    except OSError:
        names = []  # only for a hint
    similar = difflib.get_close_matches(Path(source).name, names, n=1)
    hint = f" Did you mean {str(parent / similar[0])!r}?" if similar else ""
    return f"No such folder or file: {source!r}.{hint} Check the spelling. The working directory is {os.getcwd()!r}."


def format_ignored(ignored: Mapping[str, int]) -> str:
    """Return the number of ignored files by kind as text."""
    return ", ".join(f"{count:,} {shorten(kind, 40)}" for kind, count in ignored.items())


def _no_images_message(sources: Sequence[str | os.PathLike[str]], ignored: IgnoredCounter) -> str:
    listed = ", ".join(repr(os.fspath(source)) for source in sources)
    other_files = format_ignored(dict(ignored.most_common(3))) or "none"
    suffixes = " ".join(sorted(IMAGE_SUFFIXES))
    return f"No images in {listed} (other files: {other_files}). Expected files with one of these suffixes: {suffixes}."
