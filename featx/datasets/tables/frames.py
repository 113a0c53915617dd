"""Tables in memory that contain images: of pandas, polars, pyarrow and Hugging Face datasets; and features."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from featx.datasets.image_table import ImageTable
from featx.datasets.tables.cells import is_list_of_tags
from featx.datasets.tables.groups import UNKNOWN_CLASSES, notes_of_groups
from featx.datasets.tags import Tags, untagged_notes
from featx.errors import SourceError, did_you_mean
from featx.images.containers.tables import class_names, image_columns
from featx.images.image import is_in_memory
from featx.images.image_lists import LAZY_METHODS, name_rows
from featx.system.files.url_secrets import check_not_redacted

if TYPE_CHECKING:
    import pandas as pd


class Frame(NamedTuple):
    """A table in memory.

    Attributes
    ----------
    texts : DataFrame
        Columns without images.
    images : mapping of str to sequence
        Columns with images. They are read when an image is taken from them.
    """

    texts: pd.DataFrame
    images: Mapping[str, Sequence[Any]]


def is_frame(source: Any) -> bool:
    """Return whether an object is a table in memory."""
    return not isinstance(source, Mapping) and (hasattr(source, "columns") or hasattr(source, "column_names"))


def columns_of(table: Any) -> list[Any]:
    """Return the names of the columns of a table in memory."""
    return list(table.column_names if hasattr(table, "column_names") else table.columns)


def read_lazy_table(table: Any) -> Any:
    """Return a table that is not in memory yet as one that is. See :func:`featx.images.image_lists.is_lazy_table`."""
    read = next(getattr(table, name) for name in LAZY_METHODS if hasattr(table, name))
    return read()


def is_dataset_dict(source: Any) -> bool:
    """Return whether an object maps the names of splits to tables."""
    return isinstance(source, Mapping) and bool(source) and all(map(is_frame, source.values()))


def open_frame(table: Any) -> Frame:
    """Return a table of any library."""
    if hasattr(table, "with_format"):
        return _open_dataset(table)
    if hasattr(table, "column_names"):
        return _open_arrow(table)
    if getattr(table.columns, "nlevels", 1) > 1:
        raise SourceError(
            "The table has several levels of names of columns. Join them: table.columns = table.columns.map('_'.join)."
        )
    names = list(table.columns)
    columns = {str(name): table[name] for name in names}
    images = {name: _Column(column) for name, column in columns.items() if _has_images(column)}
    if hasattr(table, "iloc"):
        return Frame(table.rename(columns=str).drop(columns=list(images)), images)
    import pandas as pd

    texts = {name: column.to_list() for name, column in columns.items() if name not in images}
    return Frame(pd.DataFrame(texts, index=range(len(table))), images)


class _Column(Sequence[Any]):
    """A column of pandas or polars by the position of its values."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        return self._column.iloc[row] if hasattr(self._column, "iloc") else self._column[row]


def _has_images(column: Any) -> bool:
    if getattr(column, "ndim", 1) != 1:  # several columns of pandas have this name
        return False
    values = column.dropna() if hasattr(column, "dropna") else column.drop_nulls()
    return len(values) > 0 and is_in_memory(_Column(values)[0]) and not _is_list(_Column(values)[0])


def _is_list(value: Any) -> bool:
    """Return whether a value is a list, which pandas has as an array and polars as a Series: it is no image."""
    dtype = str(getattr(value, "dtype", "")).lower()  # bytes may be an array of uint8
    return len(getattr(value, "shape", ())) == 1 and not dtype.startswith(("uint8", "float"))


def _open_arrow(table: Any) -> Frame:
    images = image_columns(table.schema)
    texts = table.drop_columns(images).to_pandas()
    return Frame(_with_class_names(texts, table.schema), {name: _ArrowColumn(table[name]) for name in images})


class _ArrowColumn(Sequence[Any]):
    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        return self._column[row].as_py()


def _open_dataset(dataset: Any) -> Frame:
    """Return a data set of Hugging Face. Its images are decoded by featx, whatever its format."""
    schema = dataset.features.arrow_schema
    images = image_columns(schema)
    texts = dataset.remove_columns(images).with_format("arrow")[:].to_pandas()
    if not len(texts.columns):
        import pandas as pd

        texts = pd.DataFrame(index=range(len(dataset)))
    rows = {name: _DatasetColumn(dataset.select_columns([name]).with_format("arrow"), name) for name in images}
    return Frame(_with_class_names(texts, schema), rows)


class _DatasetColumn(Sequence[Any]):
    def __init__(self, dataset: Any, name: str) -> None:
        self._dataset, self._name = dataset, name

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, row: Any) -> Any:
        return self._dataset[row][self._name][0].as_py()


def _with_class_names(texts: pd.DataFrame, schema: Any) -> pd.DataFrame:
    for column, names in class_names(schema).items():
        if column in texts.columns:
            name_classes(texts, column, names)
    return texts


def name_classes(frame: pd.DataFrame, column: str, names: Sequence[str]) -> None:
    """Replace the numbers of classes in a column by their names, also in lists.

    Other numbers are missing labels: -1 by intent, while others are added to the attributes of the table. Other values,
    such as text, are unchanged.
    """
    import pandas as pd

    unknown: set[float] = set()

    def name_of(code: Any) -> Any:
        if is_list_of_tags(code):
            return [name for name in map(name_of, code) if name is not None]
        if not isinstance(code, numbers.Real):
            return code
        number = float(code)
        if 0 <= number < len(names):
            return names[int(number)]
        if number != -1 and math.isfinite(number):
            unknown.add(number)
        return None

    values = list(map(name_of, frame[column]))
    frame[column] = pd.Series(values, index=frame.index, dtype=object)
    if unknown:
        frame.attrs[UNKNOWN_CLASSES] = {**frame.attrs.get(UNKNOWN_CLASSES, {}), column: (sorted(unknown), len(names))}


def choose_images(
    images: Sequence[str], columns: Sequence[str], path_column: str | None, source: str, defaults: Sequence[str]
) -> str | None:
    """Return the column of images to read, or None for a column of paths.

    Parameters
    ----------
    images : sequence of str
        Columns with images.
    columns : sequence of str
        Other columns.
    path_column : str or None
        Column that the user passed. None: the first of `defaults`, else the first one if there are
        no paths.
    source : str
        Name of the table, for messages.
    defaults : sequence of str

    Raises
    ------
    SourceError
        There is no column `path_column`.
    """
    if path_column is None:
        lower = {name.lower(): name for name in reversed(images)}
        has_paths = not {name.lower() for name in columns}.isdisjoint(defaults)
        other = None if has_paths else next(iter(images), None)  # such as the digests of files
        return next((lower[name] for name in defaults if name in lower), other)
    if path_column in images:
        return path_column
    if images and path_column not in columns:
        known = [*images, *columns]
        listed = ", ".join(map(repr, known[:8]))
        raise SourceError(
            f"{source} has no column {path_column!r} for the images.{did_you_mean(path_column, known)} It has the "
            f"columns {listed}."
        )
    return None


def images_note(source: str, column: str) -> str:
    """Return the note that a table contains images in several columns."""
    return f"Images of {source!r} are those of the column {column!r}. Pass another as path_column (--path-column)."


def named_images(frame: Frame, column: str, first: int = 0) -> list[str]:
    """Return a name for each image of a column, which is read from the table. Numbers begin at `first`."""
    return name_rows(frame.images[column], "images", first)


@runtime_checkable
class ListedFeatures(Protocol):
    """Interface of a FeatureMatrix as a list of images."""

    address: str

    @property
    def part_columns(self) -> tuple[str, ...]:
        """Which of the columns split and group some rows have."""

    def metadata(self, rows: Any, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return columns of some rows."""

    def resolve_path(self, path: str) -> str:
        """Return the path of a row relative to the working directory."""


def images_of_features(features: ListedFeatures, *, are_read: bool = False) -> ImageTable:
    """Return the images of features with label, split and group.

    Parameters
    ----------
    features : FeatureMatrix
    are_read : bool, default=False
        Whether the images are read again: paths start in the working directory then, and a note reports it.

    Raises
    ------
    FeaturesNotFoundError
        The features have no table.
    """
    columns = features.metadata(slice(None), ("path", "label", *features.part_columns))
    paths, splits, groups = columns["path"], columns.get("split"), columns.get("group")
    n_untagged = sum(isinstance(label, Tags) and not label.names for label in columns["label"])
    parts = " and ".join(f"{name}s" for name in features.part_columns)
    notes = [f"The {parts} of images are those with which the features were extracted."] if parts else []
    if are_read:
        check_not_redacted(paths, features.address)
        paths = list(map(features.resolve_path, paths))
        notes.append(f"Images are those that {features.address!r} lists; their features are extracted or cached.")
    return ImageTable(
        paths,
        columns["label"],
        splits=splits if splits and any(splits) else None,
        groups=groups if groups and any(groups) else None,
        notes=(*notes, *untagged_notes(n_untagged), *notes_of_groups(groups)),
    )
