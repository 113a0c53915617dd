"""List the images of a source one after another, with their labels, splits and groups."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from featx.datasets.folders.absent import no_images_message, source_not_found_message
from featx.datasets.folders.layout import Layout, normalize_splits
from featx.datasets.folders.listers import IgnoredCounter, make_lister
from featx.datasets.folders.several import SeveralSources, read_together
from featx.datasets.label_types import LabelTypeInferrer, TagCounts, cast_label
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.array_sources import MAX_SOURCES, ArrayPart, find_array_parts
from featx.datasets.tables.cells import JOINED, describe_columns, no_labels_reason, single_tag_note
from featx.datasets.tables.columns import ImageColumns
from featx.datasets.tables.file import TABLE_SUFFIXES, check_is_read, is_table_name, read_batches
from featx.datasets.tables.metadata import find_metadata, find_metadata_of_splits, metadata_note
from featx.datasets.tables.shards import archives_in, data_files_in, expand_sources, is_data_file, splits_of_files
from featx.datasets.tags import SEPARATOR, Tags, split_tags, untagged_notes
from featx.errors import OptionError, SourceError, SourceNotFoundError, shorten_quoted
from featx.images.containers.archives import is_archive
from featx.images.containers.members import split_member_path
from featx.system.files import remote
from featx.system.formatting import format_list


@dataclasses.dataclass
class Remarks:
    """Notes and counts collected while the images of a source are listed.

    Attributes
    ----------
    ignored : Counter
        Number of ignored files by kind.
    notes : list of str
        Remarks on how the source was interpreted.
    no_labels_reason : str
        Reason why images have no label, with a remedy. Empty: they have one, or the source is flat.
    label_types : LabelTypeInferrer or None
        Type of labels that are written as text. None: they are names of folders.
    """

    ignored: IgnoredCounter = dataclasses.field(default_factory=collections.Counter)
    notes: list[str] = dataclasses.field(default_factory=list)
    no_labels_reason: str = ""
    label_types: LabelTypeInferrer | None = None


class ListedImage(NamedTuple):
    """One image of a source. Its label is text or Tags."""

    path: str
    label: Any = None
    split: str | None = None
    group: str | None = None


class ImageListing:
    """Lister of the images of a source once, in order.

    Parameters
    ----------
    sources : sequence of str
        Sources; see :func:`featx.find_images`.
    options : SourceOptions or None, default=None
        Columns of a table and the like. None: defaults.
    keep_missing : bool, default=False
        See :func:`featx.find_images`.

    Attributes
    ----------
    sources : list of str
        Sources, with numbered files instead of patterns.
    remarks : Remarks
        Ignored files, and notes on how the source was interpreted.
    """

    def __init__(
        self, sources: Sequence[str], options: SourceOptions | None = None, *, keep_missing: bool = False
    ) -> None:
        sources = expand_sources(sources)
        self._archives = archives_in(sources[0]) if len(sources) == 1 else []
        sources = self._archives or sources
        self.sources, self._options, self._keep_missing = sources, options or SourceOptions(), keep_missing
        self.remarks = Remarks()
        if self._archives:
            self.remarks.notes.append(f"Images are read from archives, such as {self._archives[0]!r}.")
        twice = [source for source, n in collections.Counter(map(os.path.normpath, sources)).items() if n > 1]
        if twice and os.path.isdir(twice[0]):  # paths of files may repeat on purpose, as those of a resampled list
            self.remarks.notes.append(f"{twice[0]!r} is given several times: its images have a row each time.")
        self._tags = TagCounts()
        self._stored_types: set[str | None] = set()
        self._arrays = self._find_arrays()
        if any(part.has_tags for part in self._arrays):
            self._options = dataclasses.replace(self._options, label_separator=SEPARATOR)
        self._tables = [] if self._arrays else find_tables(sources, self._options)
        if self._has_typed_labels:
            self.remarks.label_types = LabelTypeInferrer()
        if len(self._tables) == 1 and self._tables[0] not in sources and not is_data_file(self._tables[0]):
            self.remarks.notes.append(metadata_note(self._tables[0]))

    def _find_arrays(self) -> list[ArrayPart]:
        if len(self.sources) > MAX_SOURCES:
            return []
        missing = missing_sources(self.sources)
        existing = [source for source in self.sources if source not in missing]
        parts = find_array_parts(existing, self._options, self.remarks.notes)
        if parts and missing:
            raise SourceNotFoundError(source_not_found_message(missing[0]))
        return parts

    @property
    def _has_typed_labels(self) -> bool:
        return bool(self._tables or self._arrays) and not self._options.has_tags

    def images(self, batch_size: int | None = None) -> Iterator[ListedImage]:
        """Yield all images. Labels of a table are text, whatever their type.

        Parameters
        ----------
        batch_size : int or None, default=None
            Number of rows of a table that are in memory at a time. None: all rows.

        Raises
        ------
        SourceError, MissingDependencyError
            See :func:`featx.find_images`.
        """
        if self._arrays:
            yield from self._images_of_arrays()
            return
        if not self._tables:
            splits = splits_of_files(self._archives, self.remarks.notes)
            by_source = {source: split for source, split in zip(self._archives, splits, strict=True) if split}
            yield from iter_images(
                self.sources, self.remarks, self._options, keep_missing=self._keep_missing, splits=by_source
            )
            return
        has_column = self._options.split_column is not None
        splits = [None] * len(self._tables) if has_column else splits_of_files(self._tables, self.remarks.notes)
        for table, split in zip(self._tables, splits, strict=True):
            for image in self._images_of_table(table, batch_size):
                yield image if split is None else image._replace(split=split)

    def _images_of_table(self, table: str, batch_size: int | None) -> Iterator[ListedImage]:
        columns: ImageColumns | None = None
        is_empty = True
        label_column = self._options.label_column if isinstance(self._options.label_column, str) else None
        for frame in read_batches(table, batch_size, self.remarks.notes, self._options.encoding, label_column):
            if columns is None:
                columns = ImageColumns(frame, table, self._options)
                self.remarks.notes += columns.notes
            for image in self._images_of_frame(frame, columns, table):
                is_empty = False
                yield image
        if is_empty:
            raise SourceError(f"{table!r} lists no images: it has {describe_columns(frame)} and no rows.")

    def _images_of_arrays(self) -> Iterator[ListedImage]:
        names = [part.split for part in self._arrays]
        kinds = set(names)
        are_splits = "train" in kinds and len(kinds - {None}) > 1
        if len(kinds) > 1 and (not are_splits or None in kinds):
            self.remarks.notes.append(
                f"{self._name!r}: {'some arrays are' if are_splits else 'the arrays are'} in no split by their names, "
                "which need train and test."
            )
        splits = normalize_splits(names) if are_splits else [None] * len(names)
        for part, split in zip(self._arrays, splits, strict=True):
            for row, label in enumerate(self._noted(part.labels, are_typed=True)):
                yield ListedImage(f"{part.prefix}{row}", label, split)

    def _images_of_frame(self, frame: Any, columns: ImageColumns, table: str) -> Iterator[ListedImage]:
        paths, labels = columns.paths(frame), columns.labels(frame)
        none = [None] * len(paths)
        if labels is None:
            self.remarks.no_labels_reason = no_labels_reason(table, frame)
        self._stored_types.add(columns.stored_type)
        if columns.stored_type == "tags" and labels:
            labels = [split_tags(label, SEPARATOR) if isinstance(label, str) else label for label in labels]
        splits, groups = columns.splits(frame) or none, columns.groups(frame) or none
        noted = self._noted(labels, are_typed=columns.has_floats) if labels else none
        return map(ListedImage, paths, noted, splits, groups)

    def _noted(self, labels: Sequence[Any], *, are_typed: bool) -> Sequence[Any]:
        """Return labels as text or tags, and note what decides their type."""
        if self._options.has_tags:
            separator = self._options.label_separator or JOINED
            labels = [label if isinstance(label, Tags) else split_tags(label or "", separator) for label in labels]
        self._tags.add(labels)
        if self._label_types is not None:
            self._label_types.add((label for label in labels if isinstance(label, str)), are_typed=are_typed)
        return labels

    @property
    def _label_types(self) -> LabelTypeInferrer | None:
        return self.remarks.label_types

    @property
    def _name(self) -> str:
        return (self._tables or list(map(os.fspath, self.sources)))[0]

    @property
    def label_type(self) -> str:
        """Type of the labels, as :meth:`LabelTypeInferrer.label_type` returns it. Known when all images were listed.

        Raises
        ------
        SourceError
            The labels mix numbers with fractions and text, or tags and single labels.
        """
        if self._tags.label_type(self._name) is not None:
            return str(self._tags.label_type(self._name))
        stored = next(iter(self._stored_types), None) if len(self._stored_types) == 1 else None
        return stored or ("str" if self._label_types is None else self._label_types.label_type(self._name))

    def convert_labels(self, labels: Sequence[Any]) -> list[Any]:
        """Return the labels of all images converted to their type."""
        label_type = self.label_type
        if label_type == "tags":
            return list(labels)
        return [cast_label(label, label_type) if isinstance(label, str) else None for label in labels]

    def notes(self) -> list[str]:
        """Return remarks on how the source was interpreted. Complete when all images were listed."""
        if self.label_type == "tags":
            is_new = self._tags.are_single and not self._arrays and not any(self._stored_types)
            single = [single_tag_note(self._name, self._options)] if is_new else []
            return [*self.remarks.notes, *untagged_notes(self._tags.n_untagged), *single]
        is_inferred = self._label_types is not None and not any(self._stored_types)
        notes = [*self.remarks.notes, *(self._label_types.notes() if is_inferred and self._label_types else ())]
        return list(map(shorten_quoted, notes))


def iter_images(
    sources: Sequence[str | os.PathLike[str]],
    remarks: Remarks,
    options: SourceOptions | None = None,
    *,
    keep_missing: bool = False,
    splits: Mapping[str, str] | None = None,
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
    splits : mapping of str to str, or None, default=None
        Split of all images of a source. None: several sources are one data set.

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
    names = [os.fspath(source) for source in sources]
    together = SeveralSources() if options.class_level is not None else read_together(names)
    remarks.notes += () if splits else together.notes
    remarks.no_labels_reason = together.no_labels_reason
    is_empty = True
    folder_labels: dict[str | None, None] = {}
    for source in names:
        field = options.label_column if isinstance(options.label_column, str) else None
        lister = make_lister(source, remarks.ignored, options.zip_encoding, field, together.trees.get(source))
        layout = lister.layout(options.class_level, is_only_source=is_only_source)
        layout = together.adapt(layout, source, has_labels=lister.labels is not None)
        _add_remarks(layout, remarks)
        if not is_only_source and not splits and any(part.split for part in layout.parts.values()):
            remarks.notes.append(f"Several sources are one data set: the split of {source!r} is not used.")
        prefix, labels, folder = lister.prefix, lister.labels, None
        if labels is not None:
            remarks.label_types = remarks.label_types or LabelTypeInferrer()
            remarks.label_types.add(labels.values(), are_typed=lister.are_typed)
        for name in lister.names(layout):
            if (start := name[: name.rfind("/") + 1]) != folder:  # images of a folder share everything else
                folder = start
                label, split = layout.label_and_split(name)
                if labels is None and not is_only_source:
                    folder_labels[label] = None
                group = layout.group(name) if layout.has_groups else together.group(source)
                split = split if is_only_source else (splits or {}).get(source)
            is_empty = False
            yield ListedImage(prefix + name, label if labels is None else labels[name], split, group)
        remarks.notes += [note for note in lister.notes() if note not in remarks.notes]
    if is_empty:
        raise SourceError(no_images_message(sources, dict(remarks.ignored.most_common())))
    if remarks.label_types is not None:  # names of folders and labels of archives have one type
        remarks.label_types.add(folder_labels)


def _add_remarks(layout: Layout, remarks: Remarks) -> None:
    remarks.notes += [note for note in layout.notes if note not in remarks.notes]
    remarks.no_labels_reason = remarks.no_labels_reason or layout.no_labels_reason


def is_table(sources: Sequence[str | os.PathLike[str]]) -> bool:
    """Return whether the first source is a table by its name."""
    return is_table_name(os.fspath(sources[0]))


def find_tables(sources: Sequence[str | os.PathLike[str]], options: SourceOptions) -> list[str]:
    """Return the paths of the tables among sources. Empty: they are folders and files.

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
    check_is_read(paths)
    tables = [path for path in paths if is_table_name(path, is_only_source=len(paths) == 1)]
    if tables and (os.path.isfile(tables[0]) or remote.is_url(tables[0])):
        if len(sources) > 1 and not all(is_data_file(path) and os.path.isfile(path) for path in paths):
            raise SourceError(
                f"A table must be the only source, got {len(sources):,} sources. Pass only {tables[0]!r}; several "
                "tables must be Parquet or Arrow files."
            )
        return tables
    if len(paths) == 1 and os.path.isdir(paths[0]):
        if table := find_metadata(paths[0], options):
            return [table]
        if tables := find_metadata_of_splits(paths[0], options):
            return tables
        if options.class_level is None and (files := data_files_in(paths[0])):
            return files
    for option, value in options.given_table_options().items():
        if os.path.exists(paths[0]) and not (option.startswith("label_column") and is_archive(paths[0])):
            values = list(value) if isinstance(value, tuple) else [value]
            verb = "is" if "column" not in option else f"names the column{'s' if len(values) > 1 else ''}"
            raise OptionError(
                f"{option} {verb} {format_list(values)}, but {paths[0]!r} is not a table "
                f"({' '.join(TABLE_SUFFIXES)}). Remove the option, or pass a table."
            )
    return []


def missing_sources(sources: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the sources that do not exist. URLs and images in archives are not checked."""
    return [
        path
        for path in expand_sources(sources)
        if not remote.is_url(path) and not os.path.exists(path) and split_member_path(path) is None
    ]
