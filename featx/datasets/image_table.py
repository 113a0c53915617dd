"""A table of image paths, labels, splits and groups."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from featx.errors import InputError, shorten_quoted
from featx.images.image import Image, is_path
from featx.images.image_lists import NamedImage, as_image_list
from featx.system.formatting import format_count, shorten
from featx.system.notebook.cards import card_to_html
from featx.system.notebook.html import table_to_html

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike

#: Paths and labels as public functions accept them.
PathsLike: TypeAlias = (
    "ImageTable | np.ndarray[Any, Any] | pd.Series[Any] | pd.DataFrame | Iterable[str | os.PathLike[str]]"
)
#: Images as public functions accept them: paths, bytes, Pillow images or pixels.
ImagesLike: TypeAlias = "ImageTable | np.ndarray[Any, Any] | pd.Series[Any] | pd.DataFrame | Iterable[Image]"
LabelsLike: TypeAlias = "ArrayLike | pd.Series[Any] | Iterable[Any]"
#: Number of labels and of images that notebooks show.
_MAX_SHOWN = 10


class ImageRow(NamedTuple):
    """One row of an :class:`ImageTable`.

    Attributes
    ----------
    path : str
        Path of the image.
    label : str, int, float, bool or None
        Label of the image. None: no label.
    split : {"train", "test"} or None
        Split of the image. None: no split.

    See Also
    --------
    ImageTable : Table of images.

    Examples
    --------
    >>> path, label, split = ImageRow("a.jpg", "cat", None)
    """

    path: str
    label: Any
    split: str | None

    def _repr_html_(self) -> str:
        """Return the row as HTML, for notebooks."""
        return card_to_html("ImageRow", self._asdict())


@dataclasses.dataclass(frozen=True, repr=False)
class ImageTable:
    """Paths, labels and splits of images, as :func:`featx.find_images` returns them.

    Iteration yields one ``(path, label, split)`` per image. The columns are the attributes `paths`, `labels` and
    `splits`.

    Attributes
    ----------
    paths : list of str
        Path of each image. It begins with the source as the user wrote it.
    labels : list of (str, int, float, bool or None)
        Label of each image: the name of its class folder, or the value of the label column. None: no label.
    ignored : dict of str to int
        Number of ignored files and folders by suffix, or by a reason such as "hidden" or "system files".
    splits : list of ({"train", "test"} or None), or None
        Split of each image. None: the source does not define splits.
    groups : list of (str or None), or None
        Group of each image. Images of one group are never split between training and test set. None: the source does
        not define groups.
    notes : tuple of str
        Remarks on how the source was interpreted.
    no_labels_reason : str
        Reason why no image has a label, with a remedy. Empty if some have one, or if the reason is unknown.

    See Also
    --------
    find_images : Find the images of a folder, archive, table or URL.

    Examples
    --------
    >>> table = ImageTable(["a.jpg", "b.jpg"], ["cat", "dog"], splits=["train", "test"])
    >>> table
    <ImageTable: 2 images; 2 labeled, 2 distinct labels; 1 train, 1 test>
    >>> for path, label, split in table:
    ...     print(path, label, split)
    a.jpg cat train
    b.jpg dog test
    """

    paths: list[str]
    labels: Sequence[Any]
    ignored: dict[str, int] = dataclasses.field(default_factory=dict)
    splits: list[str | None] | None = None
    groups: list[str | None] | None = None
    notes: tuple[str, ...] = ()
    no_labels_reason: str = ""

    def __post_init__(self) -> None:
        if self.notes:  # labels and names in them may be as long as a file
            object.__setattr__(self, "notes", tuple(map(shorten_quoted, self.notes)))

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[ImageRow]:
        splits: Iterable[str | None] = [None] * len(self) if self.splits is None else self.splits
        return map(ImageRow, self.paths, self.labels, splits)

    def __repr__(self) -> str:
        parts = [format_count(len(self), "image")]
        n_labeled = len(self) - sum(label is None for label in self.labels)
        if n_labeled:
            n_classes = len({label for label in self.labels if label is not None})
            parts.append(f"{n_labeled:,} labeled, {format_count(n_classes, 'distinct label')}")
        if self.splits is not None:
            counts = collections.Counter(split for split in self.splits if split is not None)
            parts.append(", ".join(f"{count:,} {split}" for split, count in sorted(counts.items(), reverse=True)))
        return f"<ImageTable: {'; '.join(parts)}>"

    def _repr_html_(self) -> str:
        """Return counts and some images as HTML, for notebooks."""
        from featx.images.thumbnails import thumbnail_url

        labels = collections.Counter(str(label) for label in self.labels if label is not None)
        splits = collections.Counter(split for split in self.splits or () if split is not None)
        n_more = len(labels) - _MAX_SHOWN
        common = ", ".join(f"{label} ({count:,})" for label, count in labels.most_common(_MAX_SHOWN))
        facts = {
            "labels": common + (f" and {n_more:,} more" if n_more > 0 else ""),
            "unlabeled": f"{len(self) - labels.total():,}" if labels.total() < len(self) else "",
            "splits": ", ".join(f"{split} ({count:,})" for split, count in splits.items()),
            "groups": "" if self.groups is None else f"{len(set(self.groups)):,}",
            "ignored files": f"{sum(self.ignored.values()):,}" if self.ignored else "",
        }
        # Spread over the table: a sorted one begins with a single class.
        shown = self.select(range(0, len(self), max(1, -(-len(self) // _MAX_SHOWN))))
        rows = [
            {"path": shorten(path, 120), "label": "" if label is None else str(label), "split": split or ""}
            for path, label, split in shown
        ]
        pictures = [thumbnail_url(path) for path in shown.paths]
        table = table_to_html(rows, images=pictures) if rows else ""
        return card_to_html(format_count(len(self), "image"), facts, table, notes=self.all_notes())

    def all_notes(self) -> list[str]:
        """Return the notes, and the reason why no image has a label, if there is one.

        Returns
        -------
        list of str
            Remarks for results that need no labels.
        """
        return [*self.notes, *filter(None, [self.no_labels_reason])]

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame.

        Returns
        -------
        DataFrame
            Columns ``path`` and ``label``, and ``split`` and ``group`` where the source defines them.
        """
        import pandas as pd

        columns = {"path": self.paths, "label": self.labels, "split": self.splits, "group": self.groups}
        # Text stays dtype object: pandas's string types reject names outside UTF-8.
        texts = {"path", "split", "group"} | (
            {"label"} if any(isinstance(label, str) for label in self.labels) else set()
        )
        return pd.DataFrame(
            {
                name: pd.Series(values, dtype=object if name in texts else None)
                for name, values in columns.items()
                if values is not None
            }
        )

    def labeled(self) -> ImageTable:
        """Return the rows that have a label.

        Returns
        -------
        ImageTable
            Table without the unlabeled rows.
        """
        return self.select([index for index, label in enumerate(self.labels) if label is not None])

    def select(self, indices: Iterable[int]) -> ImageTable:
        """Return the rows at some indices, in their order.

        Parameters
        ----------
        indices : iterable of int
            Indices of the rows.

        Returns
        -------
        ImageTable
            Table with one row per index.
        """
        indices = list(indices)
        return dataclasses.replace(
            self,
            paths=[self.paths[index] for index in indices],
            labels=[self.labels[index] for index in indices],
            splits=None if self.splits is None else [self.splits[index] for index in indices],
            groups=None if self.groups is None else [self.groups[index] for index in indices],
        )


def _type_of(image: Any) -> str:
    return "an image in memory" if isinstance(image, NamedImage) else type(image).__name__


def as_path_list(paths: PathsLike, name: str = "paths") -> list[str]:
    """Return paths as a list of strings.

    Parameters
    ----------
    paths : ImageTable, list, ndarray, Series, one-column DataFrame or iterable
        Paths of images, each a str or Path.
    name : str, default="paths"
        Name of the parameter, for messages.

    Raises
    ------
    InputError
        A single path, or a value that is not a path.

    Examples
    --------
    >>> as_path_list(path for path in ("a.jpg", "b.jpg"))
    ['a.jpg', 'b.jpg']
    """
    images = as_image_list(paths, name)
    for index, image in enumerate(images):
        if not is_path(image):
            raise InputError(
                f"{name} must be str or Path, got {_type_of(image)} at index {index}. Write images in memory to "
                "files, or arrays to one file with numpy.savez, and pass the paths."
            )
    return [os.fspath(image) for image in images]
