"""How the folders of a source define labels, splits and groups: the result of looking at them."""

from __future__ import annotations

import dataclasses
import functools
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence

from featx.datasets.folders.names import normalize_label
from featx.datasets.folders.words import split_kind
from featx.errors import SourceError


@dataclasses.dataclass(frozen=True)
class Part:
    """A folder whose images are a part of the data set.

    Attributes
    ----------
    split : {"train", "test"} or None
        Split of its images.
    class_index : int or None
        Index of the class folder among the folders of an image. None: its images have no label.
    group : str or None
        Group of its images, which are never split.
    """

    split: str | None = None
    class_index: int | None = None
    group: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Meaning of the folders in the names of images.

    Attributes
    ----------
    class_index : int or None
        Index of the class folder among the folders of an image that is in no part. None: it has no label.
    parts : mapping of str to Part
        Parts of the data set by folder, such as ``seg_train/seg_train``.
    excluded : frozenset of str
        Folders of masks and other annotations: their images are ignored.
    label : str or None
        Label of all images. None: the class folder.
    is_url_encoded : bool
        Whether names are percent-encoded, as in URLs.
    notes : tuple of str
        Remarks on how the folders were interpreted.
    no_labels_reason : str
        Reason why no image has a label, with a remedy. Empty: the folders define labels.

    Examples
    --------
    >>> layout = Layout(parts={"val": Part("test", class_index=1)})
    >>> layout.label_and_split("val/cat/1.jpg"), layout.label_and_split("dog/1.jpg")
    (('cat', 'test'), ('dog', None))
    """

    class_index: int | None = 0
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    label: str | None = None
    is_url_encoded: bool = False
    notes: tuple[str, ...] = ()
    no_labels_reason: str = ""

    def label_and_split(self, name: str) -> tuple[str | None, str | None]:
        """Return label and split of an image by its name, relative to the source and with ``/`` between folders."""
        folders = name.split("/")[:-1]
        part = self._part(folders) if self.parts else None
        class_index = self.class_index if part is None else part.class_index
        split = None if part is None else part.split
        if self.label is not None:
            return self.label, split
        if class_index is None or len(folders) <= class_index:
            return None, split
        label = folders[class_index]
        return normalize_label(urllib.parse.unquote(label) if self.is_url_encoded else label) or None, split

    def group(self, name: str) -> str | None:
        """Return the group of an image by its name."""
        part = self._part(name.split("/")[:-1])
        return None if part is None else part.group

    @property
    def defines_labels(self) -> bool:
        """Whether folders define labels, or would with an option."""
        return bool(self.class_index is not None or self.parts or self.no_labels_reason)

    @property
    def has_groups(self) -> bool:
        """Whether folders define groups."""
        return any(part.group is not None for part in self.parts.values())

    def is_excluded(self, name: str) -> bool:
        """Return whether an image is in a folder of annotations."""
        folders = name.split("/")[:-1]
        return any("/".join(folders[:depth]) in self.excluded for depth in self._excluded_depths)

    @functools.cached_property
    def _depths(self) -> list[int]:
        return sorted({folder.count("/") + 1 for folder in self.parts})

    @functools.cached_property
    def _excluded_depths(self) -> list[int]:
        return sorted({folder.count("/") + 1 for folder in self.excluded})

    def _part(self, folders: Sequence[str]) -> Part | None:
        found = (self.parts.get("/".join(folders[:depth])) for depth in self._depths)
        return next((part for part in found if part is not None), None)


def normalize_splits(names: Sequence[str | None]) -> list[str | None]:
    """Return "train", "test" or None for each name of a split.

    Validation images are training images; if there are no test images, they are the test images.

    Raises
    ------
    SourceError
        A name is unknown, or there are no training or no test images.

    Examples
    --------
    >>> normalize_splits(["train", "Validation", "test"]), normalize_splits(["training", "val"])
    (['train', 'train', 'test'], ['train', 'test'])
    """
    kinds = {name: split_kind(name) for name in set(names) if name is not None}
    unknown = sorted(name for name, kind in kinds.items() if kind is None)
    if unknown:
        raise SourceError(f"Splits must be train, val or test, got {unknown[0]!r}. Rename the split.")
    known = [None if name is None else kinds[name] for name in names]
    val = "train" if "test" in known else "test"
    splits = [val if name == "val" else name for name in known]
    missing = [name for name in ("train", "test") if name not in splits]
    if missing:
        raise SourceError(f"Splits must contain train and test images, got no {missing[0]} images. Check the splits.")
    return splits


def splits_by_name(names: Iterable[str | None], *, is_column: bool) -> dict[str, str]:
    """Return "train" or "test" by the name that a split has in a source.

    Parameters
    ----------
    names : iterable of (str or None)
        Distinct names.
    is_column : bool
        Whether they are from a column, as they are. Those of folders are "train" and "test" already.

    Raises
    ------
    SourceError
        A name of a column is unknown, or there are no training or no test images.
    """
    known = [name for name in names if name is not None]
    if not is_column:
        return {name: name for name in known}
    known = known or [""]  # a column without splits is an error
    return {name: str(split) for name, split in zip(known, normalize_splits(known), strict=True)}
