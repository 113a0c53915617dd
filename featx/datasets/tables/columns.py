"""The columns of a table of images: which are paths, labels, splits and groups, and what their values mean."""

from __future__ import annotations

import dataclasses
import os
import shlex
from typing import TYPE_CHECKING, Any

from featx.datasets.folders.layout import normalize_splits
from featx.datasets.folders.names import is_image_name, normalize_label
from featx.datasets.image_table import ImageTable
from featx.datasets.label_names import several_labels_note
from featx.datasets.labels import is_missing
from featx.datasets.source_options import LABEL_COLUMNS, SourceOptions
from featx.datasets.tables.cells import (
    cell_texts,
    column_name,
    describe_columns,
    get_column,
    is_list_of_tags,
    no_labels_reason,
    normalize_labels,
    select_column,
    tags_of_columns,
    tags_of_list,
    without_gaps,
)
from featx.datasets.tables.frames import choose_images, images_note, named_images, open_frame
from featx.datasets.tables.groups import normalize_groups, notes_of_groups, notes_of_unused_columns, splits_of_flags
from featx.datasets.tables.paths import PathForm, clean_path, find_path_form, parse_template, template_columns
from featx.datasets.tables.stored import (
    GROUP,
    LABEL_TYPE,
    SPLIT,
    stored_label_type,
    stored_notes,
    unescape_cell,
    with_stored_columns,
)
from featx.datasets.tags import SEPARATOR, Tags, split_tags, untagged_notes
from featx.errors import OptionError, SourceError
from featx.images.arrays import as_batch
from featx.system.files import remote
from featx.system.files.url_secrets import check_not_redacted
from featx.system.formatting import format_list, shorten

if TYPE_CHECKING:
    import pandas as pd

#: Default names of the path column. The first that exists is used.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img", "photo")
_TAGS_IN_MEMORY = (
    "Tags in columns of a table in memory are passed as y: y=frame[columns] for columns of 0 and 1, or "
    "y=frame[column].str.split(separator) for text."
)
#: Number of columns of numbers that may be pixels of flat images.
_MIN_FLAT = 16
#: Number of rows that are looked at to find the column of paths.
_N_PROBED = 100
#: Names of columns that are paths if the files exist.
_ID_COLUMNS = (
    "id",
    "image_id",
    "imageid",
    "id_code",
    "image_name",
    "image_file",
    "img_name",
    "url",
    "image_url",
    "uri",
)


class ImageColumns:
    """The columns of a table that are paths and labels, decided by its first rows.

    Parameters
    ----------
    frame : DataFrame
        First rows of the table.
    source : str
        Path or URL of the table.
    options : SourceOptions
    keeps_paths : bool, default=False
        Whether paths of a default column are used unchanged.

    Attributes
    ----------
    notes : list of str
        Remarks on what was inferred.
    stored_type : str or None
        Type of the labels that a table of featx records. None: it is another table.
    has_floats : bool
        Whether some of the labels of the last rows are floats, not text.

    Raises
    ------
    SourceError
        There is no path column, or a column does not exist.
    OptionError
        The template of paths is invalid.
    """

    def __init__(self, frame: pd.DataFrame, source: str, options: SourceOptions, *, keeps_paths: bool = False) -> None:
        self._source, self._options = source, options
        self._folder = os.path.dirname(source)
        self._keeps_paths = keeps_paths and options.path_template is None and options.root is None
        self._n_rows = 0
        self.has_floats = False
        self.notes: list[str] = []
        self.stored_type = None if options.label_column else stored_label_type(frame, source)
        if self.stored_type is not None:
            self.notes += stored_notes(source, [name for name in (SPLIT, GROUP) if self._is_stored(frame, name)])
        else:
            self.notes += notes_of_unused_columns(frame, options, source)
        self._form = PathForm(self._folder)
        self._columns = self._path_columns(frame)
        self._decide_form(self._written_paths(frame))

    def _path_columns(self, frame: pd.DataFrame) -> list[str]:
        """Return the columns of which paths consist: one, or those of a template."""
        if self._options.path_template is not None:
            if self._options.path_column is not None:
                raise OptionError(
                    "path_template (--path-template) and path_column (--path-column) cannot be combined. Remove one."
                )
            parse_template(self._options.path_template, list(frame.columns), self._source)
            return template_columns(self._options.path_template)
        images = frame.attrs.get("images", [])
        texts = [name for name in frame.columns if name not in images]
        image = choose_images(images, texts, self._options.path_column, repr(self._source), PATH_COLUMNS)
        if image is not None:
            self._keeps_paths, self._form = True, PathForm()
            self._check_is_local(image)
            if len(images) > 1 or {name.lower() for name in texts} & set(PATH_COLUMNS):
                self.notes.append(images_note(self._source, image))
            return [image]
        name = column_name(frame, self._source, "path", self._options.path_column, PATH_COLUMNS)
        if self._options.path_column is None and name is not None:
            others = [other for other in texts if other != name and other.lower() in PATH_COLUMNS]
            if others := [other for other in others if _are_images(frame[other])]:
                self.notes.append(
                    f"Paths of {self._source!r} are in the column {name!r}, not in {format_list(others)}. Pass another "
                    "as path_column (--path-column)."
                )
        return [self._id_column(frame) if name is None else name]

    def _check_is_local(self, column: str) -> None:
        if remote.is_url(self._source) and remote.local_path(self._source) is None:
            raise SourceError(
                f"{shorten(self._source)!r} contains images in the column {column!r}, which are read from local tables "
                "only. Download the table, and pass its path."
            )

    def _id_column(self, frame: pd.DataFrame) -> str:
        """Return the column of ids or URLs for which files exist."""
        lower = {column.lower(): column for column in reversed(frame.columns)}
        for candidate in (lower[name] for name in _ID_COLUMNS if name in lower):
            values = get_column(frame[:_N_PROBED], self._source, "path", candidate, ()) or []
            paths = [value for value in values if value is not None]
            if paths and find_path_form(paths, self._folder, self._options.root, self._source)[1]:
                self.notes.append(f"Paths of {self._source!r} are in the column {candidate!r}.")
                self._keeps_paths = False
                return candidate
        raise missing_path_column_error(frame, self._source)

    def _decide_form(self, written: list[str]) -> None:
        if not written or self._keeps_paths:
            return
        self._form, exists = find_path_form(written, self._folder, self._options.root, self._source)
        is_changed = self._form.suffix or self._form.n_dropped
        if exists and (is_changed or self._form.folder not in ("", self._folder, self._options.root)):
            self.notes.append(
                f"Paths of {self._source!r} are completed: {written[0]!r} is read as {self._form.apply(written[0])!r}."
            )

    def paths(self, frame: pd.DataFrame) -> list[str]:
        """Return the paths of the files in some rows. Successive calls are for successive rows."""
        paths = [self._form.apply(path) for path in self._written_paths(frame)]
        self._n_rows += len(paths)
        return paths

    def labels(self, frame: pd.DataFrame) -> list[Any] | None:
        """Return the labels in some rows as text, or as tags where they are lists. None: there is no label column.

        Tags in several columns are joined by :data:`JOINED`.
        """
        if isinstance(self._options.label_column, tuple):
            return tags_of_columns(frame, self._source, self._options.label_column)
        column = select_column(frame, self._source, "label", self._options.label_column, LABEL_COLUMNS)
        if column is None:
            return None
        self.has_floats = any(isinstance(label, float) and not is_missing(label) for label in column)
        labels = normalize_labels(cell_texts(column))
        return labels if self._is_unescaped(frame) else list(map(unescape_cell, labels))

    def splits(self, frame: pd.DataFrame) -> list[str | None] | None:
        """Return the names of the splits of some rows. None: no column was named, and none is of featx."""
        return _get_splits(frame, self._source, self._stored_name(frame, SPLIT))

    def groups(self, frame: pd.DataFrame) -> list[str | None] | None:
        """Return the groups of some rows. None: no column was named, and none is of featx."""
        groups = get_column(frame, self._source, "group", self._stored_name(frame, GROUP), ())
        if groups is None or self._is_unescaped(frame):
            return None if groups is None else normalize_groups(groups)
        return list(map(unescape_cell, normalize_groups(groups)))

    def _is_unescaped(self, frame: pd.DataFrame) -> bool:
        """Return whether cells are as they were written by another program, or in a Parquet file."""
        return self.stored_type is None or LABEL_TYPE in frame.attrs

    def _stored_name(self, frame: pd.DataFrame, name: str) -> str | None:
        """Return the column that the user named, or that of featx if it exists."""
        given: str | None = getattr(self._options, f"{name}_column")
        return name if self._is_stored(frame, name) else given

    def _is_stored(self, frame: pd.DataFrame, name: str) -> bool:
        """Return whether a column of featx is used, as the user named no other."""
        given = getattr(self._options, f"{name}_column")
        return given is None and name in frame.columns and stored_label_type(frame, self._source) is not None

    def _written_paths(self, frame: pd.DataFrame) -> list[str]:
        columns = [get_column(frame, self._source, "path", name, ()) or [] for name in self._columns]
        rows = list(zip(*columns, strict=True))
        missing = [row for row, values in enumerate(rows) if None in values]
        if missing:
            raise SourceError(
                f"Paths in {self._source!r} are missing in {len(missing):,} of {len(rows):,} rows, first in row "
                f"{self._n_rows + missing[0]}. Fill in the cells, or remove the rows."
            )
        if self._options.path_template is not None:
            template = parse_template(self._options.path_template, self._columns, self._source)
            return [template([clean_path(str(value)) for value in values]) for values in rows]
        paths = [str(value) for (value,) in rows]
        check_not_redacted(paths, self._source)
        return paths


def table_from_frame(
    table: Any,
    options: SourceOptions,
    *,
    name: str | None = None,
    first: int = 0,
    is_part: bool = False,
    has_labels: bool = True,
) -> ImageTable:
    """Return the images that a table in memory lists or contains. Labels keep their type, and paths are unchanged.

    Parameters
    ----------
    table : DataFrame of pandas or polars, pyarrow.Table or Dataset
    options : SourceOptions
    name : str or None, default=None
        Name of the table, for messages. None: that of its type.
    first : int, default=0
        Number of the first row, in a table that is a part of another.
    is_part : bool, default=False
        Whether the table is a part of another, which has the other splits: their names are unchanged.
    has_labels : bool, default=True
        Whether to read labels. False: the user passes others.

    Raises
    ------
    SourceError
        There are no rows, a path is missing, or a column does not exist.
    """
    if options.has_tags:
        raise SourceError(_TAGS_IN_MEMORY)
    source = name or type(table).__name__
    frame, images = opened = open_frame(table)
    column = choose_images(list(images), list(frame.columns), options.path_column, source, PATH_COLUMNS)
    notes: list[str] = []
    if column is not None and options.path_template is None:
        paths = named_images(opened, column, first)
        notes += notes_of_unused_columns(
            frame, dataclasses.replace(options, split_column="") if is_part else options, source
        )
        if len(images) > 1:
            notes.append(images_note(source, column))
    else:
        if options.path_column is None and options.path_template is None and len(frame.columns) == 1:
            options = dataclasses.replace(options, path_column=str(frame.columns[0]))
        columns = ImageColumns(frame, source, options, keeps_paths=True)
        paths, notes = columns.paths(frame), columns.notes
    if not paths:
        raise SourceError(f"{source!r} lists no images: it has {describe_columns(frame)} and no rows.")
    assert not isinstance(options.label_column, tuple)
    column_of_labels = select_column(frame, source, "label", options.label_column, LABEL_COLUMNS if has_labels else ())
    stored_type = None if options.label_column else stored_label_type(frame, source)
    if stored_type is not None:  # such as the table next to a .npy file, which pandas has read
        options = with_stored_columns(options, frame.columns)
    splits = _get_splits(frame, source, options.split_column)
    groups = get_column(frame, source, "group", options.group_column, ())
    if groups is not None:
        groups = normalize_groups(list(map(unescape_cell, groups)) if stored_type is not None else groups)
    labels = [None] * len(paths) if column_of_labels is None else _as_labels(column_of_labels, stored_type)
    n_untagged = sum(isinstance(label, Tags) and not label.names for label in labels)
    repeated = several_labels_note(paths, labels)
    is_final = is_part or (stored_type is not None and options.split_column == SPLIT)
    return ImageTable(
        paths=paths,
        labels=labels,
        no_labels_reason="" if column_of_labels is not None else no_labels_reason(source, frame, in_memory=True),
        splits=splits if splits is None or is_final else normalize_splits(splits),
        groups=groups,
        notes=(*notes, *untagged_notes(n_untagged), *notes_of_groups(groups), *filter(None, [repeated])),
    )


def has_path_column(frame: pd.DataFrame) -> bool:
    """Return whether a table has a column that is one of paths by its name."""
    names = {str(column).strip().lower() for column in frame.columns}
    return not names.isdisjoint((*PATH_COLUMNS, *_ID_COLUMNS))


def missing_path_column_error(frame: pd.DataFrame, source: str) -> SourceError:
    """Return the error for a table without a path column."""
    named = [str(name) for name, cells in frame.items() if _are_images(cells)]
    if len(frame.columns) >= _MIN_FLAT and all(kind.kind in "fuib" for kind in frame.dtypes):
        as_batch(frame.to_numpy(), source)  # flat rows of pixels: an error that names their reshape
    option = f"={named[0]!r} (--path-column {shlex.quote(named[0])})" if named else " (--path-column)"
    return SourceError(f"No path column in {source!r}: it has {describe_columns(frame)}. Pass path_column{option}.")


def _are_images(cells: Any) -> bool:
    """Return whether the first values of a column are names of images."""
    return getattr(cells, "ndim", 1) == 1 and {*map(is_image_name, map(str, cells[:_N_PROBED]))} == {True}


def _get_splits(frame: pd.DataFrame, source: str, name: str | None) -> list[str | None] | None:
    """Return the names of the splits of some rows. None: `name` is None."""
    cells = get_column(frame, source, "split", name, ())
    if cells is None or name is None:
        return None
    return splits_of_flags([cell if cell and cell.strip() else None for cell in cells], name)


def _as_labels(column: pd.Series[Any], stored_type: str | None) -> list[Any]:
    """Return the labels in a column of a DataFrame. `stored_type` is their type in a table of featx."""
    if stored_type in (None, "int"):
        column = without_gaps(column)
    return [_as_label(label, stored_type) for label in column.tolist()]


def _as_label(label: Any, stored_type: str | None = None) -> Any:
    """Return a label of a DataFrame: None if it is missing or empty, and text as a class name.

    A table of featx records the type of its labels: pandas reads the class 101 as a number.
    """
    if is_missing(label):
        return None
    if stored_type == "tags" and isinstance(label, str):
        return split_tags(label, SEPARATOR)
    if stored_type == "str" and not isinstance(label, str):
        return str(label)
    if isinstance(label, str):
        return normalize_label(label if stored_type is None else unescape_cell(label)) or None
    return tags_of_list(label) if is_list_of_tags(label) else label
