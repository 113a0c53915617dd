"""Finds the images of any source: the public :func:`featx.find_images`."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from featx.datasets.folders.layout import Layout
from featx.datasets.folders.listers import IgnoredCounter, make_lister
from featx.datasets.folders.words import FolderName
from featx.datasets.image_table import ImageTable, PathsLike, as_path_list
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.columns import table_from_file, table_from_frame
from featx.datasets.tables.file import TABLE_SUFFIXES, is_table_name
from featx.datasets.tables.metadata import find_metadata, metadata_note
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
    path_template: str | None = None,
    root: str | os.PathLike[str] | None = None,
    class_level: int | None = None,
    zip_encoding: str | None = None,
    keep_missing: bool = False,
) -> ImageTable:
    """Find the images of folders, archives, URLs and tables, with their labels and splits.

    The columns of the result are its attributes: ``table.paths``, ``table.labels``, ``table.splits``. Iteration yields
    one row per image, so the table does not unpack to ``paths, labels, splits``.

    In a folder, the first folder level is the class: ``photos/cat/1.jpg`` and ``photos/cat/2019/2.jpg`` have the label
    ``cat``. Where several flat folders are passed, each is a class (``photos/*``). If all folders are named as splits
    (with a word such as train, val, test, eval or holdout), they define splits, and the classes are one level deeper:
    ``photos/train/cat/1.jpg``. Validation images are training images; if there are no test images, they are the test
    images. Numbered folds (``fold1``) define groups. A single folder that contains everything is not a class, and masks
    or annotations beside images are ignored. Where folders have two plausible meanings, no image has a label, and
    ``no_labels_reason`` names an option for each of them. A ``metadata.csv`` or ``metadata.jsonl`` in a folder is read
    instead if it has paths and labels. Images are sorted by name. Hidden files and system files
    (``__MACOSX``, ``Thumbs.db``) are ignored.

    Zip and tar archives are read like folders, without unpacking: ``photos.zip/cat/1.jpg`` is the path of an image in
    an archive.

    Parameters
    ----------
    source : str, Path, DataFrame, or sequence or iterable of str or Path
        Folders, archives, images and URLs; or one CSV, TSV, JSON Lines, Parquet, Feather or Excel file, or a text file
        with a path and a label on each line; or a pandas table. An image that is named explicitly may have any suffix.
        A table must be the only source. An ImageTable is returned unchanged.
    path_column : str or None, default=None
        Column with the paths of a table. None: the first of path, file, filename, image and similar names, or a column
        of ids or URLs such as image_id if the files exist. A suffix that all paths lack is completed.
    label_column : str or None, default=None
        Column with the labels of a table. None: the first of label, class, category, target, y and species, if any.
        An empty cell is a missing label.
    split_column : str or None, default=None
        Column with the splits of a table: train, val or test. None: no splits.
    group_column : str or None, default=None
        Column with the groups of a table. Images of one group are never split between training and test set. An image
        without a group is a group of its own. None: no groups.
    path_template : str or None, default=None
        Paths made of columns, such as ``"train/{id}.jpg"``. None: the path column.
    root : str, Path or None, default=None
        Folder, archive or URL where relative paths of a table start. None: the folder of the table, the working
        directory if none of the first 100 exists there, or the only subfolder that has them.
    class_level : int or None, default=None
        Depth of the class folders below the source: 1 for ``photos/cat/1.jpg``, 2 for ``photos/2019/cat/1.jpg``. None:
        inferred from the names of the folders.
    zip_encoding : str or None, default=None
        Encoding of the names in a zip archive that are neither UTF-8 nor declared, such as "cp932" for Japanese. None:
        inferred.
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
    options = SourceOptions(
        path_column=path_column,
        label_column=label_column,
        split_column=split_column,
        group_column=group_column,
        path_template=path_template,
        root=None if root is None else os.fspath(root),
        class_level=class_level,
        zip_encoding=zip_encoding,
    )
    if hasattr(source, "columns"):
        return table_from_frame(cast("pd.DataFrame", source), options)
    sources = as_sources(source)
    table = find_table(sources, options)
    if table is not None:
        images = table_from_file(table, options)
        notes = () if table in sources else (metadata_note(table),)
        return dataclasses.replace(images, notes=(*notes, *images.notes))
    return _table_of_images(sources, options, keep_missing=keep_missing)


def _table_of_images(sources: list[str], options: SourceOptions, *, keep_missing: bool) -> ImageTable:
    remarks = Remarks()
    rows = list(iter_images(sources, remarks, options, keep_missing=keep_missing))
    splits = [row.split for row in rows]
    groups = [row.group for row in rows]
    return ImageTable(
        paths=[row.path for row in rows],
        labels=[row.label for row in rows],
        ignored=dict(remarks.ignored.most_common()),
        splits=splits if any(splits) else None,
        groups=groups if any(groups) else None,
        notes=tuple(remarks.notes),
        no_labels_reason=remarks.no_labels_reason if not any(row.label for row in rows) else "",
    )


def as_sources(source: PathsLike | str | os.PathLike[str]) -> list[str]:
    """Return one or several sources as a list of paths.

    Raises
    ------
    SourceError
        There is no source.
    """
    sources = [os.fspath(source)] if isinstance(source, str | os.PathLike) else as_path_list(source, "source")
    if not sources:
        raise SourceError("source must contain at least one folder or file, got none.")
    return sources


@dataclasses.dataclass
class Remarks:
    """What was noticed while the images of a source were listed.

    Attributes
    ----------
    ignored : Counter
        Number of ignored files by kind.
    notes : list of str
        Remarks on how the source was interpreted.
    no_labels_reason : str
        Reason why images have no label, with a remedy. Empty: they have one, or the source is flat.
    """

    ignored: IgnoredCounter = dataclasses.field(default_factory=collections.Counter)
    notes: list[str] = dataclasses.field(default_factory=list)
    no_labels_reason: str = ""


class ListedImage(NamedTuple):
    """One image of a source."""

    path: str
    label: str | None = None
    split: str | None = None
    group: str | None = None


def iter_images(
    sources: Sequence[str | os.PathLike[str]],
    remarks: Remarks,
    options: SourceOptions | None = None,
    *,
    keep_missing: bool = False,
) -> Iterator[ListedImage]:
    """Yield each image of folders, archives and files, in bounded memory.

    Parameters
    ----------
    sources : sequence of str or Path
    remarks : Remarks
        Receives the ignored files and notes.
    options : SourceOptions or None, default=None
    keep_missing : bool, default=False
        See :func:`find_images`.

    Raises
    ------
    SourceNotFoundError, SourceError
        See :func:`find_images`. That no image exists is known only at the end.
    """
    options = options or SourceOptions()
    missing = missing_sources(sources)
    if missing and (not keep_missing or len(missing) == len(sources)):
        raise SourceNotFoundError(source_not_found_message(missing[0]))
    is_only_source = len(sources) == 1
    are_parts = not is_only_source and _are_parts(sources, remarks)
    is_empty = True
    for source in sources:
        lister = make_lister(os.fspath(source), remarks.ignored, options.zip_encoding)
        layout = lister.layout(options.class_level, is_only_source=is_only_source)
        if are_parts and layout.label is not None:
            layout = dataclasses.replace(layout, label=None, class_index=None)
        _add_remarks(layout, remarks)
        has_groups = layout.has_groups
        for name in lister.names(layout):
            label, split = layout.label_and_split(name)
            group = layout.group(name) if has_groups else None
            is_empty = False
            yield ListedImage(lister.prefix + name, label, split if is_only_source else None, group)
    if is_empty:
        raise SourceError(_no_images_message(sources, remarks.ignored))


def _add_remarks(layout: Layout, remarks: Remarks) -> None:
    remarks.notes += [note for note in layout.notes if note not in remarks.notes]
    remarks.no_labels_reason = remarks.no_labels_reason or layout.no_labels_reason


def _are_parts(sources: Sequence[str | os.PathLike[str]], remarks: Remarks) -> bool:
    """Return whether several sources are parts of a split by their names, and note it."""
    names = [FolderName.parse(os.path.basename(os.path.normpath(os.fspath(source)))) for source in sources]
    kinds = {name.kind for name in names}
    if None in kinds or len(kinds) < 2 or len({name.rest for name in names}) > 1:
        return False
    train, test = os.fspath(sources[0]), os.fspath(sources[-1])
    remarks.notes.append(
        f"{train!r} and {test!r} are parts of a split by their names, and are read as one data set. To keep test "
        f"images apart, pass them with --test {test} (test=find_images({test!r}))."
    )
    remarks.no_labels_reason = (
        f"{train!r} and {test!r} are parts of a split by their names, not classes, and have no class folders. Pass a "
        "table of paths and labels instead, such as labels.csv, or the folder around them with class_level=1 "
        "(--class-level 1) if they are classes."
    )
    return True


def is_table(sources: Sequence[str | os.PathLike[str]]) -> bool:
    """Return whether the first source is a table by its name."""
    return is_table_name(os.fspath(sources[0]))


def find_table(sources: Sequence[str | os.PathLike[str]], options: SourceOptions) -> str | None:
    """Return the path of the table among sources. None: they are folders and files.

    Parameters
    ----------
    sources : sequence of str or Path
    options : SourceOptions

    Raises
    ------
    SourceError
        A table is not the only source, or an option of tables is given but no source is a table.
    """
    paths = [os.fspath(source) for source in sources]
    tables = [path for path in paths if is_table_name(path, is_only_source=len(paths) == 1)]
    if tables and (os.path.isfile(tables[0]) or remote.is_url(tables[0])):
        if len(sources) > 1:
            raise SourceError(f"A table must be the only source, got {len(sources)} sources. Pass only {tables[0]!r}.")
        return tables[0]
    if len(paths) == 1 and os.path.isdir(paths[0]) and (table := find_metadata(paths[0], options)):
        return table
    for option, value in options.given_table_options().items():
        if os.path.exists(paths[0]):
            verb = "names the column" if "column" in option else "is"
            raise SourceError(
                f"{option} {verb} {value!r}, but {paths[0]!r} is not a table ({' '.join(TABLE_SUFFIXES)}). Remove the "
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
