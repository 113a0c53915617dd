"""How the folders of a source define labels and splits."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
import urllib.parse
from collections.abc import Collection, Mapping, Sequence

from featx.errors import SourceError
from featx.images.formats import IMAGE_SUFFIXES

#: Names of folders and column values that mean a split.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
#: Files and folders that macOS, Windows and NAS systems create, in lower case.
_SYSTEM_FILES = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})


@dataclasses.dataclass(frozen=True)
class Layout:
    """Positions of the split folder and the label folder in the names of images.

    Attributes
    ----------
    n_parents : int
        Number of leading folders that contain everything.
    splits : mapping of str to str
        Split of each folder below the parents. Empty: these folders are the classes.
    label : str or None
        Label of all images. None: the class folder.
    is_url_encoded : bool
        Whether names are percent-encoded, as in URLs.

    Examples
    --------
    >>> Layout(splits={"train": "train", "val": "test"}).label_and_split("val/cat/1.jpg")
    ('cat', 'test')
    """

    n_parents: int = 0
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    label: str | None = None
    is_url_encoded: bool = False

    def label_and_split(self, name: str) -> tuple[str | None, str | None]:
        """Return label and split of an image by its name, relative to the source and with ``/`` between folders."""
        folders = name.split("/")[self.n_parents : -1]
        split = self.splits.get(folders[0]) if self.splits else None
        if self.label is not None:
            return self.label, split
        index = 1 if self.splits else 0
        if len(folders) <= index:
            return None, split
        label = folders[index]
        return normalize_label(urllib.parse.unquote(label) if self.is_url_encoded else label), split


class FolderLevel:
    """Distinct names of the folders at one depth, as far as the layout depends on them.

    Memory stays bounded: at most two names that are not splits are kept.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._only_splits = True

    def add(self, name: str) -> None:
        """Add the folder of an image. "" is an image without a folder at this depth."""
        is_split = name.lower() in SPLIT_NAMES
        self._only_splits = self._only_splits and is_split
        if is_split or len(self._names) < 2:
            self._names.add(name)

    @property
    def is_single(self) -> bool:
        """Whether all images are in one folder."""
        return len(self._names) == 1

    def splits(self) -> dict[str, str]:
        """Return the split of each folder. Empty: the folders are not splits."""
        return split_folders(self._names) if self._only_splits else {}


def layout_of_names(levels: tuple[FolderLevel, FolderLevel], *, is_deep: bool, is_url_encoded: bool = False) -> Layout:
    """Return the layout of an archive or URL from the first two folders of its images.

    Most archives hold one folder that contains everything. It is not a class.

    Parameters
    ----------
    levels : tuple of (FolderLevel, FolderLevel)
    is_deep : bool
        Whether an image has more than one folder.
    is_url_encoded : bool, default=False
    """
    n_parents = 1 if levels[0].is_single and is_deep else 0
    return Layout(n_parents, levels[n_parents].splits(), is_url_encoded=is_url_encoded)


def split_folders(names: Collection[str]) -> dict[str, str]:
    """Return the split of each folder. Empty unless all are named as splits, and training and another are there.

    Examples
    --------
    >>> split_folders(["Training", "val"]), split_folders(["train", "car"])
    ({'Training': 'train', 'val': 'test'}, {})
    """
    known = {SPLIT_NAMES.get(name.lower()) for name in names}
    if None in known or "train" not in known or len(known) < 2:
        return {}
    ordered = sorted(names)
    return {name: split for name, split in zip(ordered, normalize_splits(ordered), strict=True) if split is not None}


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
    unknown = [name for name in names if name is not None and name.lower() not in SPLIT_NAMES]
    if unknown:
        raise SourceError(f"Splits must be one of {', '.join(SPLIT_NAMES)}, got {unknown[0]!r}. Rename the split.")
    known = [None if name is None else SPLIT_NAMES[name.lower()] for name in names]
    val = "train" if "test" in known else "test"
    splits = [val if name == "val" else name for name in known]
    missing = [name for name in ("train", "test") if name not in splits]
    if missing:
        raise SourceError(f"Splits must contain train and test images, got no {missing[0]} images. Check the splits.")
    return splits


def normalize_label(name: str) -> str:
    """Return the name of a class in Unicode NFC: some systems write é as one character, others as two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def ignore_reason(name: str) -> str:
    """Return why a file or folder of this name is ignored regardless of its content. Empty: it is not ignored."""
    if name.startswith("."):
        return "hidden"
    return "system files" if name.lower() in _SYSTEM_FILES else ""


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is an image by its suffix."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def suffix_kind(name: str) -> str:
    """Return the suffix under which an ignored file is counted."""
    return os.path.splitext(name)[1].lower() or "without suffix"
