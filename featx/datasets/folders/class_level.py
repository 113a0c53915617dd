"""The layout of a source whose class folders have a given depth: splits and groups by the names of other levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from featx.datasets.folders import questions
from featx.datasets.folders.layout import Layout, Part, normalize_splits
from featx.datasets.folders.questions import join_folders
from featx.datasets.folders.tree import FolderTree
from featx.datasets.folders.words import FolderName
from featx.system.formatting import format_list
from featx.system.option_checks import check_integer

#: Maximum number of folders of a level that are looked at.
_MAX_FOLDERS = 5000


def layout_of_level(tree: FolderTree, source: str, class_level: int) -> Layout:
    """Return the layout of a source whose class folders have a given depth.

    Training and test images are found by the names of the folders above or directly below the classes, groups by those
    of numbered folds above.

    Parameters
    ----------
    tree : FolderTree
    source : str
        Name of the source, for messages.
    class_level : int
        Depth of the class folders, counted from 1.

    Raises
    ------
    OptionError
        `class_level` is not a positive integer.
    """
    check_integer("class_level", class_level)
    levels = _levels(tree, class_level)
    split_level = next((level for level in levels if are_splits(_distinct(tree, level))), None)
    fold_level = next((level for level in levels[: class_level - 1] if _are_folds(_distinct(tree, level))), None)
    if split_level and fold_level:
        names = [_name(tree, folder) for folder in fold_level]
        return Layout(None, no_labels_reason=_reason(source, questions.parts_in_each(source, names, fold_level[0])))
    notes = []
    if split_level:
        names = [_name(tree, folder) for folder in split_level]
        splits = normalize_splits([name.kind for name in names])
        parts = {folder: Part(split, class_level - 1) for folder, split in zip(split_level, splits, strict=True)}
        notes.append(_splits_note(_distinct(tree, split_level)))
    elif fold_level:
        parts = {folder: Part(None, class_level - 1, folder) for folder in fold_level}
        notes.append(_folds_note(fold_level))
    else:
        parts = {}
        notes += _pooled_notes(tree, levels[: class_level - 1])
    around = ["", *(folder for level in levels[: class_level - 1] for folder in level)]
    if mixed := [folder or source for folder in around if tree.has_images(folder)]:
        notes.append(f"Images directly in {format_list(mixed)} have no label: they are above the class folders.")
    return Layout(class_level - 1, parts, notes=tuple(notes))


def layout_of_labeled(tree: FolderTree, layout: Layout) -> Layout:
    """Return the layout of a source whose labels are in files next to the images: folders are splits, or mean nothing.

    Parameters
    ----------
    tree : FolderTree
    layout : Layout
        Layout by the folders. It is returned if it has parts.
    """
    if layout.parts:
        return layout
    folder = ""
    while len(names := tree.folders(folder)) == 1 and not tree.has_images(folder):
        folder = join_folders(folder, names[0])
    folders = [join_folders(folder, name) for name in names]
    names_of_parts = [_name(tree, path) for path in folders]
    notes = list(layout.notes) if layout.excluded else []
    parts = {}
    if are_splits(names_of_parts):
        splits = normalize_splits([name.kind for name in names_of_parts])
        parts = {path: Part(split) for path, split in zip(folders, splits, strict=True)}
        notes.append(_splits_note(names_of_parts))
    elif _are_folds(names_of_parts):
        parts = {path: Part(group=path) for path in folders}
        notes.append(_folds_note(folders))
    else:
        notes += _pooled_notes(tree, [folders])
    return dataclasses.replace(layout, class_index=None, parts=parts, notes=tuple(notes), no_labels_reason="")


def _splits_note(names: Sequence[FolderName]) -> str:
    return (
        f"Folders are parts of a split by their names: {', '.join(f'{name.name!r} ({name.kind})' for name in names)}."
    )


def _folds_note(folders: Sequence[str]) -> str:
    return f"Folders {format_list(list(folders))} are folds: images of one fold are never split."


def are_splits(names: Sequence[FolderName]) -> bool:
    """Return whether folders are training images and others, by all of their names."""
    kinds = {name.kind for name in names}
    return {"train"} < kinds <= {"train", "val", "test"}


def _are_folds(names: Sequence[FolderName]) -> bool:
    return len(names) > 1 and all(name.kind == "fold" for name in names)


def _levels(tree: FolderTree, class_level: int) -> list[list[str]]:
    """Return the folders of each level above the classes, and of those around and directly below them."""
    levels: list[list[str]] = []
    folders = [""]
    for _ in range(class_level):
        folders = [join_folders(folder, name) for folder in folders for name in tree.folders(folder)][:_MAX_FOLDERS]
        levels.append(folders)
    below: list[str] = []
    for folder in folders:
        names = tree.folders(folder)
        if not names or tree.has_images(folder) or not all(FolderName.parse(tree.decode(name)).kind for name in names):
            return levels  # most often the first class has images, so no other one is listed
        below += [join_folders(folder, name) for name in names]
    return [*levels, below]


def _name(tree: FolderTree, folder: str) -> FolderName:
    return FolderName.parse(tree.decode(folder.rpartition("/")[2]))


def _distinct(tree: FolderTree, folders: Sequence[str]) -> list[FolderName]:
    return list({name.name: name for name in (_name(tree, folder) for folder in folders)}.values())


def _pooled_notes(tree: FolderTree, levels: Sequence[Sequence[str]]) -> list[str]:
    """Return a note if folders above the classes are training and test images next to others."""
    notes = []
    for level in levels:
        names = _distinct(tree, level)
        splits, others = [name for name in names if name.kind], [name for name in names if not name.kind]
        if {"train"} < {name.kind for name in splits}:
            notes.append(
                f"Images of {questions.quoted(splits)} are one data set, not a split: the folders next to them "
                f"({questions.quoted(others)}) are no part of a split by their names. Move these elsewhere for a split."
            )
    return notes


def _reason(source: str, question: str) -> str:
    return f"The folders of {source!r} define no labels: {question}"
