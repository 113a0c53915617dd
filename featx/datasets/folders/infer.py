"""Decides from the folders of a source which of them are classes.

A guess that is nearly always right becomes a note. Where two readings are plausible, no image has a label, and the
reason names an option for each reading.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from featx.datasets.folders.layout import Layout, Part, normalize_splits
from featx.datasets.folders.tree import FolderTree
from featx.datasets.folders.words import FolderName, words_of
from featx.system.formatting import format_list
from featx.system.option_checks import check_integer

#: Maximum number of single folders around everything that are not classes.
_MAX_WRAPPERS = 4
#: Words of folders whose images have no label, as beside the splits of STL-10.
_UNLABELED = frozenset(("unlabeled", "unlabelled", "unsupervised", "unsup", "nolabel", "unknownlabel"))
_TABLE = "pass a table of paths and labels instead, such as labels.csv"


def infer_layout(tree: FolderTree, source: str, class_level: int | None = None) -> Layout:
    """Return the layout of a source by its folders.

    Parameters
    ----------
    tree : FolderTree
    source : str
        Name of the source, for messages.
    class_level : int or None, default=None
        Depth of the class folders, counted from 1. None: inferred from the names of the folders.

    Raises
    ------
    OptionError
        `class_level` is not a positive integer.
    """
    if class_level is not None:
        check_integer("class_level", class_level)
        return _given_level(tree, class_level)
    return _Inference(tree, source).layout()


def _given_level(tree: FolderTree, class_level: int) -> Layout:
    names = [FolderName.parse(tree.decode(name)) for name in tree.folders()]
    parts: dict[str, Part] = {}
    if class_level > 1 and _are_splits(names):
        splits = normalize_splits([name.name for name in names])
        parts = {folder: Part(split, class_level - 1) for folder, split in zip(tree.folders(), splits, strict=True)}
    return Layout(class_level - 1, parts)


def _are_splits(names: Sequence[FolderName]) -> bool:
    """Return whether folders are training images and others, by all of their names."""
    kinds = {name.kind for name in names}
    return "train" in kinds and bool(kinds & {"val", "test"}) and kinds <= {"train", "val", "test"}


@dataclasses.dataclass(frozen=True)
class _Folder:
    """A part of a data set: its folder, and the folder in which its class folders are."""

    name: FolderName
    path: str
    classes: frozenset[str]

    @property
    def class_index(self) -> int:
        return self.path.count("/") + 1


def _have_common_classes(names: list[FolderName], folders: list[_Folder]) -> bool:
    """Return whether folders differ only in the words of a split, or have mostly the same class folders."""
    first = folders[0].classes
    return len({name.rest for name in names}) == 1 or all(
        2 * len(folder.classes & first) >= min(len(folder.classes), len(first)) for folder in folders
    )


class _Inference:
    def __init__(self, tree: FolderTree, source: str) -> None:
        self._tree = tree
        self._source = source
        self._excluded: set[str] = set()
        self._notes: list[str] = []

    def layout(self) -> Layout:
        base = self._without_wrappers("")
        names = self._names(base)
        if not names:
            return self._layout(None) if not base else self._question(self._flat_reason(base, []))
        if len(names) == 1:
            return self._single(base, names[0])
        if all(name.kind for name in names):
            return self._parts(base, names)
        unlabeled = [name for name in names if not name.kind and not _UNLABELED.isdisjoint(words_of(name.name))]
        if unlabeled and all(name.kind for name in names if name not in unlabeled):
            return self._beside_unlabeled(base, [name for name in names if name.kind], unlabeled)
        exact = {name.kind for name in names if name.kind and not name.rest}
        if "train" in exact and exact & {"val", "test"}:
            return self._beside_splits(base, names)
        return self._same_subfolders(base, names) or self._classes(base)

    def _layout(self, class_index: int | None, parts: dict[str, Part] | None = None, reason: str = "") -> Layout:
        return Layout(
            class_index,
            parts or {},
            frozenset(self._excluded),
            notes=tuple(self._notes),
            no_labels_reason=reason,
        )

    def _classes(self, base: str) -> Layout:
        if base:
            self._notes.append(f"Folder {base!r} contains all images and is not a class: its subfolders are.")
        self._note_subfolders(base)
        if empty := self._tree.other_folders(base):
            self._notes.append(f"Folders without images are no classes: {format_list(empty)}.")
        return self._layout(_depth(base))

    def _note_subfolders(self, base: str) -> None:
        """Note subfolders of classes if all images are in them, as they may be the classes."""
        names = self._tree.folders(base)
        paths = [_join(base, name) for name in names]
        if len(paths) < 2 or not all(self._tree.folders(path) and not self._tree.has_images(path) for path in paths):
            return
        below = list(dict.fromkeys(name for path in paths for name in self._tree.folders(path)))
        level = _depth(base) + 2
        if len(below) > len(paths):
            self._notes.append(
                f"The classes are {format_list(names)}; their subfolders ({format_list(below)}) are not. If they are, "
                f"pass class_level={level} (--class-level {level})."
            )

    def _question(self, reason: str) -> Layout:
        return self._layout(None, reason=f"The folders of {self._source!r} define no labels: {reason}")

    # Folders without their wrappers and annotations

    def _names(self, folder: str) -> list[FolderName]:
        """Return the subfolders of images. Masks and other annotations beside images are excluded."""
        names = [FolderName.parse(self._tree.decode(name)) for name in self._tree.folders(folder)]
        annotations = [name for name in names if name.is_annotations]
        images = [name for name in names if not name.is_annotations]
        is_data_set = images and all(name.is_images or name.kind for name in images)
        if not annotations or not is_data_set:
            return [dataclasses.replace(name, name=raw) for name, raw in self._with_raw(names, folder)]
        raw_names = self._with_raw(names, folder)
        excluded = [raw for name, raw in raw_names if name.is_annotations]
        self._exclude([_join(folder, raw) for raw in excluded])
        return [dataclasses.replace(name, name=raw) for name, raw in raw_names if not name.is_annotations]

    def _with_raw(self, names: list[FolderName], folder: str) -> list[tuple[FolderName, str]]:
        return list(zip(names, self._tree.folders(folder), strict=True))

    def _exclude(self, folders: list[str]) -> None:
        new = [folder for folder in folders if folder not in self._excluded]
        self._excluded.update(new)
        if new:
            self._notes.append(
                f"Images in {format_list(new)} are ignored: they are masks or annotations by their name."
            )

    def _without_wrappers(self, folder: str) -> str:
        """Return the folder below single folders that contain everything."""
        for _ in range(_MAX_WRAPPERS):
            names = self._names(folder)
            if len(names) != 1 or self._tree.has_images(folder):
                break
            below = _join(folder, names[0].name)
            if not self._tree.folders(below) and not self._is_wrapper(folder, names[0]):
                break
            folder = below
        return folder

    def _is_wrapper(self, folder: str, name: FolderName) -> bool:
        """Return whether a single folder is no class by its name, though it has no subfolders."""
        parent = folder.rpartition("/")[2]
        return bool(name.is_images or name.kind or (parent and name.name.strip() == parent.strip()))

    # Readings

    def _single(self, base: str, name: FolderName) -> Layout:
        """Return the layout of a single folder beside other images, or of a single class."""
        return self._layout(None) if self._is_wrapper(base, name) else self._classes(base)

    def _parts(self, base: str, names: list[FolderName]) -> Layout:
        """Return the layout of folders that are all parts of a data set by their names."""
        folders = [self._part(base, name) for name in names]
        labeled = [folder for folder in folders if folder.classes]
        kinds = {name.kind for name in names}
        if not labeled:
            if len(kinds) == 1 and len({name.rest for name in names}) == len(names):  # test_positive, test_negative
                return self._classes(base)
            return self._question(self._flat_reason(base, names))
        if all(FolderName.parse(name).kind for folder in labeled for name in folder.classes):
            return self._question(
                f"the folders {_quoted(names)} each contain parts of a split. Pass one of them as source, for example "
                f"{_join(self._source, labeled[0].path)!r}.",
            )
        is_pooled = kinds <= {"fold", "part"} or len(kinds) == 1
        if not _have_common_classes(names, labeled) or not (is_pooled or _are_splits(names)):
            return self._levels(base, names)
        return self._pooled(folders, is_folds="fold" in kinds) if is_pooled else self._splits(folders)

    def _part(self, base: str, name: FolderName) -> _Folder:
        path = _join(base, name.name)
        for _ in range(_MAX_WRAPPERS):
            names = self._names(path)
            if len(names) != 1 or self._tree.has_images(path):
                break
            below = _join(path, names[0].name)
            is_same = names[0].name.strip() == path.rpartition("/")[2].strip()
            if not (names[0].is_images or names[0].kind or is_same):
                break
            path = below
        names = self._names(path)
        if names and all(name.is_images for name in names):
            names = []
        return _Folder(name, path, frozenset(self._tree.decode(name.name).strip() for name in names))

    def _splits(self, folders: list[_Folder]) -> Layout:
        labeled = [folder for folder in folders if folder.classes]
        unlabeled = [folder for folder in folders if not folder.classes]
        kinds = [str(folder.name.kind) for folder in labeled]
        has_test = "train" in kinds and len(set(kinds)) > 1
        splits = normalize_splits(kinds) if has_test else [None] * len(labeled)
        parts = {folder.path: Part(split, folder.class_index) for folder, split in zip(labeled, splits, strict=True)}
        parts |= {folder.path: Part() for folder in unlabeled}
        if any(folder.name.rest or folder.name.name.lower() not in _EXACT for folder in folders):
            self._notes.append(
                "Folders are parts of a split by their names: "
                f"{', '.join(f'{folder.path!r} ({folder.name.kind})' for folder in folders)}."
            )
        if unlabeled:
            self._notes.append(
                f"Images in {format_list([folder.path for folder in unlabeled])} have no label: there are no class "
                "folders."
            )
        return self._layout(None, parts)

    def _pooled(self, folders: list[_Folder], *, is_folds: bool) -> Layout:
        """Return the layout of folds, whose images stay together, or of parts that are no split."""
        parts = {
            folder.path: Part(None, folder.class_index if folder.classes else None, folder.path if is_folds else None)
            for folder in folders
        }
        listed = format_list([folder.path for folder in folders])
        meaning = "folds: images of one fold are never split" if is_folds else "parts of one data set"
        self._notes.append(f"Folders {listed} are {meaning}. The classes are their subfolders.")
        return self._layout(None, parts)

    def _beside_unlabeled(self, base: str, names: list[FolderName], unlabeled: list[FolderName]) -> Layout:
        """Return the layout of parts of a data set beside images without labels."""
        layout = self._parts(base, names)
        folders = [_join(base, name.name) for name in unlabeled]
        note = f"Images in {format_list(folders)} have no label, by the name of the folder."
        parts = {**layout.parts, **dict.fromkeys(folders, Part())}
        return dataclasses.replace(layout, parts=parts, notes=(*layout.notes, note))

    def _beside_splits(self, base: str, names: list[FolderName]) -> Layout:
        splits = [name for name in names if name.kind and not name.rest]
        others = [name for name in names if name not in splits]
        train, test = (next(name.name for name in splits if (name.kind == "train") == is_train) for is_train in (1, 0))
        return self._question(
            f"there are parts of a split ({_quoted(splits)}) and other folders ({_quoted(others)}). For the split, "
            f"move the others elsewhere, or pass {_join(self._source, _join(base, train))!r} with test images "
            f"(--test {_join(self._source, _join(base, test))!r}). {self._as_classes(base)}",
        )

    def _same_subfolders(self, base: str, names: list[FolderName]) -> Layout | None:
        """Return the layout of folders that all have the same subfolders. None: they do not."""
        first: list[str] | None = None
        for name in names:
            path = _join(base, name.name)
            if self._tree.has_images(path):
                return None
            subfolders = sorted(self._tree.decode(sub).strip() for sub in self._tree.folders(path))
            if len(subfolders) < 2 or (first is not None and subfolders != first):
                return None
            first = subfolders
        subnames = [FolderName.parse(name) for name in first or []]
        paths = [_join(base, name.name) for name in names]
        if _are_splits(subnames):
            is_flat = not any(
                self._tree.folders(_join(path, sub)) for path in paths for sub in self._tree.folders(path)
            )
            return self._splits_of_classes(base, paths) if is_flat else self._levels(base, names, subnames, n_below=2)
        if any(name.is_annotations for name in subnames) and all(
            name.is_annotations or name.is_images for name in subnames
        ):
            for path in paths:
                self._names(path)  # excludes the annotations
            return self._classes(base)
        return self._levels(base, names, subnames)

    def _splits_of_classes(self, base: str, paths: list[str]) -> Layout:
        parts = {}
        for path in paths:
            subfolders = self._tree.folders(path)
            splits = normalize_splits([self._tree.decode(name) for name in subfolders])
            for name, split in zip(subfolders, splits, strict=True):
                parts[_join(path, name)] = Part(split, _depth(base))
        self._notes.append("Each class folder has subfolders of the parts of a split.")
        return self._layout(_depth(base), parts)

    # Questions

    def _levels(
        self, base: str, names: list[FolderName], subnames: list[FolderName] | None = None, n_below: int = 1
    ) -> Layout:
        level = _depth(base) + 1
        subfolders = "subfolders" if subnames is None else f"the same subfolders ({_quoted(subnames)})"
        others = "the subfolders" if n_below == 1 else "their subfolders"
        return self._question(
            f"the folders {_quoted(names)} have {subfolders}, and either may be the classes. Pass class_level={level} "
            f"(--class-level {level}) if the classes are {names[0].name!r} and so on, or class_level={level + n_below} "
            f"(--class-level {level + n_below}) if they are {others}.",
        )

    def _flat_reason(self, base: str, names: list[FolderName]) -> str:
        if self._is_yolo(base, names):
            return (
                "it is a data set for object detection (YOLO), whose labels are boxes in text files. featx needs one "
                f"class for each image: {_TABLE}."
            )
        if not names:
            return f"all images are in {base!r}, which is no class by its name; {_TABLE}. {self._as_classes(base, 0)}"
        return (
            f"the folders {_quoted(names)} are parts of a data set by their names, without class folders; {_TABLE}. "
            f"{self._as_classes(base)}"
        )

    def _as_classes(self, base: str, n_below: int = 1) -> str:
        level = _depth(base) + n_below
        return f"If these folders are classes, pass class_level={level} (--class-level {level})."

    def _is_yolo(self, base: str, names: list[FolderName]) -> bool:
        """Return whether there is a folder of text files named labels beside the images."""
        around = {"", base, base.rpartition("/")[0], *(_join(base, name.name) for name in names)}
        labels = [_join(folder, "labels") for folder in around if "labels" in self._tree.other_folders(folder)]
        below = [_join(folder, name) for folder in labels for name in self._tree.other_folders(folder)]
        return any(".txt" in self._tree.suffixes(folder) for folder in [*labels, *below])


#: Names that the documentation defines as parts of a split.
_EXACT = frozenset(("train", "training", "val", "valid", "validation", "dev", "test", "testing"))


def _depth(folder: str) -> int:
    """Return the number of folders above the images directly in the subfolders of a folder."""
    return len(folder.split("/")) if folder else 0


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name


def _quoted(names: Sequence[FolderName]) -> str:
    return format_list([name.name for name in names])
