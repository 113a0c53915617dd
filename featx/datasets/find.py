"""Find the images of any source: the public :func:`featx.find_images`, half of whose lines are its parameters."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from featx.datasets.folders.layout import normalize_splits
from featx.datasets.folders.names import is_image_name
from featx.datasets.folders.questions import labels_in_files, text_next_to_images
from featx.datasets.image_listing import ImageListing, ListedImage, Remarks
from featx.datasets.image_table import ImagesLike, ImageTable, PathsLike, as_path_list
from featx.datasets.label_names import several_labels_note
from featx.datasets.label_types import type_of_labels
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.columns import table_from_frame
from featx.datasets.tables.file import is_table_name
from featx.datasets.tables.frames import ListedFeatures, images_of_features, is_dataset_dict, is_frame, read_lazy_table
from featx.datasets.tables.groups import notes_of_groups, splits_by_name_error
from featx.datasets.tables.streams import read_into_memory
from featx.datasets.tags import Tags
from featx.errors import OptionError, SourceError
from featx.images.image import is_in_memory
from featx.images.image_lists import as_image_list, is_lazy_table, is_stream, name_images
from featx.system.files.url_secrets import check_no_secrets
from featx.system.formatting import format_count


def find_images(
    source: ImagesLike | str | os.PathLike[str],
    *,
    path_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    path_template: str | None = None,
    root: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
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
    or annotations next to images are ignored. Where folders have two plausible meanings, no image has a label, and
    ``no_labels_reason`` names an option for each of them. A ``metadata.csv`` or ``metadata.jsonl`` in a folder is read
    instead if it has paths and labels. Images are sorted by name. Hidden files and system files
    (``__MACOSX``, ``Thumbs.db``) are ignored.

    Zip and tar archives are read like folders, without unpacking: ``photos.zip/cat/1.jpg`` is the path of an image in
    an archive.

    Parameters
    ----------
    source : str, Path, DataFrame, or sequence or iterable of images
        Folders, archives, images and URLs; or one CSV, TSV, JSON Lines, Parquet, Feather or Excel file, or a text file
        with a path and a label on each line; or a pandas table. An image that is named explicitly may have any suffix.
        A table must be the only source. Images in memory, as :class:`FeatureExtractor` takes them, have names such as
        ``images[0]`` and no labels. The images of a data set of Hugging Face that is streamed are kept in memory, up to
        2 GB. An ImageTable is returned unchanged, and a FeatureMatrix has the images that it lists.
    path_column : str or None, default=None
        Column with the paths of a table. None: the first of path, file, filename, image and similar names, or a column
        of ids or URLs such as image_id if the files exist. A suffix that all paths lack is completed.
    label_column : str, sequence of str or None, default=None
        Column with the labels of a table. None: the first of label, class, category, target, y and species, if any.
        An empty cell is a missing label. Several columns of 0 and 1: tags, and an image may have several or none.
    label_separator : str or None, default=None
        Separator of tags in the label column, such as ";". An image may have several or none. None: one label.
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
    encoding : str or None, default=None
        Encoding of a CSV, TSV, JSON Lines or text file, such as "cp1251". None: UTF-8 or UTF-16, else Latin-1.
    class_level : int or None, default=None
        Depth of the class folders below the source: 1 for ``photos/cat/1.jpg``, 2 for ``photos/2019/cat/1.jpg``. None:
        inferred from the names of the folders.
    zip_encoding : str or None, default=None
        Encoding of the names in a zip archive that are neither UTF-8 nor declared, such as "cp932" for Japanese. None:
        inferred.
    keep_missing : bool, default=False
        Whether to keep missing sources as images, which are reported as unreadable later, instead of raising
        SourceNotFoundError. The error is raised if no source exists, or the others are files of arrays.

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
    options = SourceOptions.of(
        path_column=path_column,
        label_column=label_column,
        label_separator=label_separator,
        split_column=split_column,
        group_column=group_column,
        path_template=path_template,
        root=root,
        encoding=encoding,
        class_level=class_level,
        zip_encoding=zip_encoding,
    )
    if isinstance(source, ImageTable | ListedFeatures):
        _check_no_options(options, type(source).__name__)
        return source if isinstance(source, ImageTable) else images_of_features(source, are_read=True)
    if is_lazy_table(source):
        source = read_lazy_table(source)
    if is_stream(source):
        return read_into_memory(source, options)
    if is_frame(source):
        return table_from_frame(source, options)
    if is_dataset_dict(source):
        return _table_of_splits(cast("Mapping[str, Any]", source), options)
    if not isinstance(source, str | os.PathLike):
        images = as_image_list(source, "source")
        if any(is_in_memory(image) for image in images):
            return _table_in_memory(images, options)
        source = images
    listing = ImageListing(as_sources(source), options, keep_missing=keep_missing)
    rows = list(listing.images())
    texts, splits, groups = [row.label for row in rows], [row.split for row in rows], [row.group for row in rows]
    labels, paths = listing.convert_labels(texts), [row.path for row in rows]
    found = [*listing.notes(), *filter(None, [several_labels_note(paths, labels)])]
    return ImageTable(
        paths=paths,
        labels=labels,
        ignored=dict(listing.remarks.ignored.most_common()),
        splits=normalize_splits(splits) if split_column else splits if any(splits) else None,
        groups=groups if group_column or any(groups) else None,
        notes=(*found, *(notes_of_groups(groups) if group_column or any(groups) else ())),
        no_labels_reason="" if any(texts) else listing.remarks.no_labels_reason or _table_hint(listing.sources),
    )


def _table_hint(sources: Sequence[str]) -> str:
    """Return why images of a flat folder have no label if tables or labels are next to them, else an empty text."""
    if len(sources) != 1 or not os.path.isdir(sources[0]):
        return ""
    names = os.listdir(sources[0])
    if any(name.lower().endswith(".cls") for name in names):
        return f"The images of {sources[0]!r} are in no class folders: {labels_in_files(sources[0])}"
    texts = {name[:-4] for name in names if name.lower().endswith(".txt")}
    if any(name.rpartition(".")[0] in texts and is_image_name(name) for name in names):
        return f"The images of {sources[0]!r} are in no class folders: {text_next_to_images(sources[0])}"
    tables = sorted(name for name in names if is_table_name(name, is_only_source=False))
    if not tables:
        return ""
    path = os.path.join(sources[0], tables[0])
    return f"The images of {sources[0]!r} are in no class folders. If {path!r} lists their labels, pass this table."


def _table_of_splits(tables: Mapping[str, Any], options: SourceOptions) -> ImageTable:
    """Return the images of several tables, which are splits by their names."""
    if len(tables) > 1 and options.split_column is not None:
        raise splits_by_name_error(options.split_column)
    parts = {name: table_from_frame(table, options) for name, table in tables.items()}
    if len(parts) == 1:
        return next(iter(parts.values()))
    kinds = normalize_splits(list(map(str, parts)))
    groups = [group for part in parts.values() for group in part.groups or [None] * len(part.paths)]
    return ImageTable(
        paths=[path for part in parts.values() for path in part.paths],
        labels=[label for part in parts.values() for label in part.labels],
        splits=[split for split, part in zip(kinds, parts.values(), strict=True) for _ in part.paths],
        groups=groups if options.group_column else None,
        notes=tuple(dict.fromkeys(note for part in parts.values() for note in part.notes)),
    )


def _table_in_memory(images: Sequence[Any], options: SourceOptions) -> ImageTable:
    """Return images without labels."""
    _check_no_options(options, "images in memory")
    return ImageTable(name_images(images, "images"), [None] * len(images))


def _check_no_options(options: SourceOptions, source: str) -> None:
    for option, value in options.as_dict().items():
        raise OptionError(f"{option} must be None for {source}, got {value!r}. Remove it, or pass labels as y.")


def as_sources(source: PathsLike | str | os.PathLike[str]) -> list[str]:
    """Return one or several sources as a list of paths.

    Raises
    ------
    SourceError
        There is no source.
    InputError
        A source is in memory.
    """
    sources = [os.fspath(source)] if isinstance(source, str | os.PathLike) else as_path_list(source, "source")
    if not sources:
        raise SourceError("source must contain at least one folder or file, got none.")
    return sources


def list_source(source: Any, options: SourceOptions) -> tuple[list[str], ImageListing]:
    """Return the names of sources, and the lister of their images: those of files, or of a table in memory.

    Raises
    ------
    SourceError
        There is no source, or its address has credentials.
    InputError
        A source is in memory, and no table.
    """
    is_table = is_lazy_table(source) or (is_frame(source) and not is_stream(source))
    if is_table or isinstance(source, ImageTable | ListedFeatures):
        table = find_images(source, **options.as_dict())
        return [f"{type(source).__name__} of {format_count(len(table), 'image')}"], _TableListing(table)
    sources = as_sources(source)
    for path in sources:
        check_no_secrets(path)
    return sources, ImageListing(sources, options)


class _TableListing(ImageListing):
    """Lister of the images of a table in memory, whose labels keep their type."""

    def __init__(self, table: ImageTable) -> None:
        self.remarks = Remarks()  # all else of the base class is about files
        self.remarks.ignored.update(table.ignored)
        self._table, self._paths = table, as_path_list(table, "source")

    def images(self, batch_size: int | None = None) -> Iterator[ListedImage]:
        """Yield all images."""
        none: list[str | None] = [None] * len(self._paths)
        for path, label, split, group in zip(
            self._paths, self._table.labels, self._table.splits or none, self._table.groups or none, strict=True
        ):
            text = label if label is None or isinstance(label, Tags) else str(label)
            yield ListedImage(path, text, split, group)

    @property
    def label_type(self) -> str:
        """Type of the labels."""
        return type_of_labels(map(type, self._table.labels))

    def notes(self) -> list[str]:
        """Return the notes of the table."""
        return self._table.all_notes()
