"""Inference of the class folders among the folders of a source.

A guess that is nearly always right becomes a note. Where two readings are plausible, no image has a label, and the
reason names an option for each reading.
"""

from __future__ import annotations

import dataclasses

from featx.datasets.folders import questions
from featx.datasets.folders.class_level import are_splits, layout_of_level
from featx.datasets.folders.layout import Layout, Part, normalize_splits
from featx.datasets.folders.questions import depth, join_folders
from featx.datasets.folders.tree import FolderTree
from featx.datasets.folders.words import FolderName, parts_next_to_classes
from featx.system.formatting import format_list

#: Maximum number of single folders around everything that are not classes.
_MAX_WRAPPERS = 4
#: Number of folders that are searched for in each of the folders next to them.
_MAX_COPIES = 3


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
        return layout_of_level(tree, source, class_level)
    return _Inference(tree, source).layout()


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


def _is_wrapper(folder: str, name: FolderName) -> bool:
    """Return whether a single folder is no class by its name, though it has no subfolders."""
    parent = folder.rpartition("/")[2]
    return bool(name.is_images or name.kind or (parent and name.name.strip() == parent.strip()))


def _has_letters(name: str) -> bool:
    return any(character.isalpha() for character in name)


def _have_subfolders(tree: FolderTree, base: str, names: list[FolderName]) -> bool:
    """Return whether each folder has several subfolders, and no other images."""
    paths = [join_folders(base, name.name) for name in names]
    return all(len(tree.folders(path)) > 1 and not tree.has_images(path) for path in paths)


def _with_raw(tree: FolderTree, names: list[FolderName], folder: str) -> list[tuple[FolderName, str]]:
    return list(zip(names, tree.folders(folder), strict=True))


def _below_images(tree: FolderTree, path: str) -> str:
    """Return the only subfolder of a folder if its name means images and nothing else."""
    subfolders = tree.folders(path)
    is_wrapper = len(subfolders) == 1 and FolderName.parse(tree.decode(subfolders[0])).is_images
    return join_folders(path, subfolders[0]) if is_wrapper and not tree.has_images(path) else path


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
            reason = questions.flat_parts(self._source, self._tree, base, []) if base else ""
            return self._question(reason) if reason else self._layout(None)
        if len(names) == 1:
            return self._single(base, names[0])
        if all(name.kind for name in names):
            return self._parts(base, names)
        return (
            self._next_to_copy(base, names)
            or self._next_to_unlabeled(base, names)
            or self._next_to_parts(base, names)
            or self._next_to_flat(base, names)
            or self._same_subfolders(base, names)
            or self._below_numbers(base, names)
            or self._classes(base)
        )

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
        self._note_images_next_to([base])
        if note := questions.classes_named_as_parts(self._names(base)):
            self._notes.append(note)
        if empty := self._tree.other_folders(base):
            self._notes.append(f"Folders without images are no classes: {format_list(empty)}.")
        return self._layout(depth(base))

    def _note_images_next_to(self, folders: list[str]) -> None:
        """Note images that are directly in a folder of class folders."""
        if mixed := [folder or self._source for folder in folders if self._tree.has_images(folder)]:
            place = format_list(mixed)
            self._notes.append(f"Images directly in {place} have no label: they are next to class folders.")

    def _note_subfolders(self, base: str) -> None:
        """Note subfolders of classes if all images are in them, as they may be the classes."""
        names = self._tree.folders(base)
        paths = [join_folders(base, name) for name in names]
        if len(paths) < 2 or not all(self._tree.folders(path) and not self._tree.has_images(path) for path in paths):
            return
        subfolders = [name for path in paths for name in self._tree.folders(path)]
        below = list(dict.fromkeys(subfolders))
        level = depth(base) + 2
        are_shared = len(subfolders) > len(below) and any(map(_has_letters, below))
        are_images = all(FolderName.parse(self._tree.decode(name)).is_images for name in below)
        if len(below) > len(paths) or (are_shared and not are_images):
            self._notes.append(
                f"The classes are {format_list(names)}; their subfolders ({format_list(below)}) are not. If they are, "
                f"pass class_level={level} (--class-level {level})."
            )

    def _question(self, reason: str) -> Layout:
        return self._layout(None, reason=f"The folders of {self._source!r} define no labels: {reason}")

    # Folders without their wrappers and annotations

    def _names(self, folder: str) -> list[FolderName]:
        """Return the subfolders of images. Masks and other annotations next to images are excluded."""
        names = [FolderName.parse(self._tree.decode(name)) for name in self._tree.folders(folder)]
        annotations = [name for name in names if name.is_annotations]
        images = [name for name in names if not name.is_annotations]
        is_data_set = images and all(name.is_images or name.kind for name in images)
        if not annotations or not is_data_set:
            return [dataclasses.replace(name, name=raw) for name, raw in _with_raw(self._tree, names, folder)]
        raw_names = _with_raw(self._tree, names, folder)
        excluded = [raw for name, raw in raw_names if name.is_annotations]
        self._exclude([join_folders(folder, raw) for raw in excluded])
        return [dataclasses.replace(name, name=raw) for name, raw in raw_names if not name.is_annotations]

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
            below = join_folders(folder, names[0].name)
            if not self._tree.folders(below) and not _is_wrapper(folder, names[0]):
                break
            folder = below
        return folder

    # Readings

    def _single(self, base: str, name: FolderName) -> Layout:
        """Return the layout of a single folder next to other images, or of a single class."""
        return self._layout(None) if _is_wrapper(base, name) else self._classes(base)

    def _parts(self, base: str, names: list[FolderName]) -> Layout:
        """Return the layout of folders that are all parts of a data set by their names."""
        folders = [self._part(base, name) for name in names]
        labeled = [folder for folder in folders if folder.classes]
        kinds = {name.kind for name in names}
        if not labeled:
            if len(kinds) == 1 and len({name.rest for name in names}) == len(names):  # test_positive, test_negative
                return self._classes(base)
            return self._question(questions.flat_parts(self._source, self._tree, base, names))
        if all(FolderName.parse(name).kind for folder in labeled for name in folder.classes):
            return self._question(questions.parts_in_each(self._source, names, labeled[0].path))
        is_pooled = kinds <= {"fold", "part"} or len(kinds) == 1
        if not _have_common_classes(names, labeled) or not (is_pooled or are_splits(names)):
            return self._question(questions.levels(base, names))
        self._note_images_next_to([base])
        return self._pooled(folders, is_folds="fold" in kinds) if is_pooled else self._splits(folders)

    def _part(self, base: str, name: FolderName) -> _Folder:
        path = join_folders(base, name.name)
        for _ in range(_MAX_WRAPPERS):
            names = self._names(path)
            if len(names) != 1 or self._tree.has_images(path):
                break
            below = join_folders(path, names[0].name)
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
        self._note_images_next_to([folder.path for folder in labeled])
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
        is_one = len(folders) == 1
        start = f"Folder {listed} is a part of the data set" if is_one else f"Folders {listed} are {meaning}"
        self._notes.append(f"{start}. The classes are {'its' if is_one else 'their'} subfolders.")
        self._note_images_next_to([folder.path for folder in folders if folder.classes])
        return self._layout(None, parts)

    def _next_to_copy(self, base: str, names: list[FolderName]) -> Layout | None:
        """Return a question if a folder contains a copy of the folders next to it. None: none does."""
        for name in names:
            path = join_folders(base, name.name)
            others = [other.name for other in names if other is not name]
            if not any(self._tree.has_folder(join_folders(path, other)) for other in others[:_MAX_COPIES]):
                continue
            below = set(self._tree.folders(path)) - {name.name}
            if (shared := sorted(below.intersection(others))) and (len(shared) > 1 or len(shared) == len(below)):
                return self._question(questions.copy_of_classes(self._source, base, path, shared))
        return None

    def _next_to_unlabeled(self, base: str, names: list[FolderName]) -> Layout | None:
        """Return the layout of classes or parts of a data set next to images without labels. None: another one."""
        unlabeled = [name for name in names if name.is_unlabeled]
        others = [name for name in names if name not in unlabeled]
        if unlabeled and others and all(name.kind for name in others):
            layout = self._parts(base, others)
        else:
            unlabeled = [name for name in unlabeled if name.is_only_unlabeled]
            others = [name for name in names if name not in unlabeled]
            if not unlabeled or not others:
                return None
            if all(name.is_labeled or name.is_images for name in others):  # labeled, unlabeled
                folders = [self._part(base, name) for name in others]
                is_flat = not any(folder.classes for folder in folders)
                reason = questions.flat_parts(self._source, self._tree, base, names)
                layout = self._question(reason) if is_flat else self._pooled(folders, is_folds=False)
            else:
                layout = self._next_to_flat(base, others) or self._same_subfolders(base, others) or self._classes(base)
        paths = [join_folders(base, name.name) for name in unlabeled]
        note = f"Images in {format_list(paths)} have no label, by the name of the folder."
        parts = {**layout.parts, **dict.fromkeys(paths, Part())}
        return dataclasses.replace(layout, parts=parts, notes=(*layout.notes, note))

    def _next_to_parts(self, base: str, names: list[FolderName]) -> Layout | None:
        """Return a question if some folders are parts of a data set by their names and others are not. None: no."""
        by_rest: dict[tuple[str, ...], list[FolderName]] = {}
        for name in names:
            if name.kind:
                by_rest.setdefault(name.rest, []).append(name)
        parts = [name for name in names if name.kind]
        for splits in (*by_rest.values(), parts):
            is_split = {"train"} < {name.kind for name in splits}
            if is_split and (splits is not parts or _have_subfolders(self._tree, base, splits)):
                others = [name for name in names if name not in splits]
                return self._question(questions.next_to_splits(self._source, base, splits, others))
        for name in names:
            is_part = not name.rest and (name.kind in ("train", "val", "test") or name.is_images)
            if is_part and _have_subfolders(self._tree, base, [name]):
                others = [other for other in names if other is not name]
                if not _have_subfolders(self._tree, base, others):
                    return self._question(questions.next_to_part(self._source, base, name, others))
        return None

    def _next_to_flat(self, base: str, names: list[FolderName]) -> Layout | None:
        """Return a question if a folder among classes has test images, all images or masks by its name. None: no."""
        flat = [name for name in names if len(self._tree.folders(join_folders(base, name.name))) <= 1]
        parts = parts_next_to_classes(flat)
        others = [name for name in names if name not in parts]
        if not parts or len(others) < 2:
            return None
        return self._question(questions.next_to_flat(self._source, base, parts, others))

    def _below_numbers(self, base: str, names: list[FolderName]) -> Layout | None:
        """Return a question if folders are years, dates or numbers, and their subfolders have names. None: no."""
        if any(_has_letters(self._tree.decode(name.name)) for name in names):
            return None
        below = [sub for name in names for sub in self._tree.folders(join_folders(base, name.name))]
        are_classes = _have_subfolders(self._tree, base, names[:1]) and all(map(_has_letters, below))
        return self._question(questions.levels(base, names)) if are_classes else None

    def _same_subfolders(self, base: str, names: list[FolderName]) -> Layout | None:
        """Return the layout of folders that all have the same subfolders. None: they do not."""
        first: list[str] | None = None
        folders: list[str] = []
        for name in names:  # most often the first one has images, so no other one is listed
            path = _below_images(self._tree, join_folders(base, name.name))
            folders.append(path)
            if self._tree.has_images(path):
                return None
            subfolders = sorted(self._tree.decode(sub).strip() for sub in self._tree.folders(path))
            if len(subfolders) < 2 or (first is not None and subfolders != first):
                return None
            first = subfolders
        subnames = [FolderName.parse(name) for name in first or []]
        paths = [join_folders(base, name.name) for name in names]
        if folders != paths:
            below = max(map(depth, folders)) - depth(base)
            return self._question(questions.levels(base, names, subnames, below))
        if are_splits(subnames):
            is_flat = not any(
                self._tree.folders(join_folders(path, sub)) for path in paths for sub in self._tree.folders(path)
            )
            return (
                self._splits_of_classes(base, paths)
                if is_flat
                else self._question(questions.levels(base, names, subnames, 2))
            )
        if any(name.is_annotations for name in subnames) and all(
            name.is_annotations or name.is_images for name in subnames
        ):
            for path in paths:
                self._names(path)  # excludes the annotations
            return self._classes(base)
        return self._question(questions.levels(base, names, subnames))

    def _splits_of_classes(self, base: str, paths: list[str]) -> Layout:
        parts = {}
        for path in paths:
            subfolders = self._tree.folders(path)
            splits = normalize_splits([self._tree.decode(name) for name in subfolders])
            for name, split in zip(subfolders, splits, strict=True):
                parts[join_folders(path, name)] = Part(split, depth(base))
        self._notes.append("Each class folder has subfolders of the parts of a split.")
        return self._layout(depth(base), parts)


#: Names that the documentation defines as parts of a split.
_EXACT = frozenset(("train", "training", "val", "valid", "validation", "dev", "test", "testing"))
