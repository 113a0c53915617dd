"""Reasons why the folders of a source define no labels: the two readings, with an option for each of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from featx.datasets.folders.tree import FolderTree
from featx.datasets.folders.words import FolderName
from featx.system.formatting import format_list

_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_TABLE = "pass a table of paths and labels instead, such as labels.csv"


def levels(base: str, names: Sequence[FolderName], subnames: Sequence[FolderName] | None = None, below: int = 1) -> str:
    """Return why folders or their subfolders may be the classes.

    Parameters
    ----------
    base : str
        Folder around them.
    names : sequence of FolderName
    subnames : sequence of FolderName or None, default=None
        Subfolders that all of them have. None: they have different ones.
    below : int, default=1
        Number of levels between the two readings.
    """
    level = depth(base) + 1
    subfolders = "subfolders" if subnames is None else f"the same subfolders ({quoted(subnames)})"
    others = "the subfolders" if below == 1 else "their subfolders"
    return (
        f"the folders {quoted(names)} have {subfolders}, and either may be the classes. Pass class_level={level} "
        f"(--class-level {level}) if the classes are {names[0].name!r} and so on, or class_level={level + below} "
        f"(--class-level {level + below}) if they are {others}."
    )


def next_to_splits(source: str, base: str, splits: Sequence[FolderName], others: Sequence[FolderName]) -> str:
    """Return why parts of a split next to other folders may be classes."""
    train, test = (next(name.name for name in splits if (name.kind == "train") == is_train) for is_train in (1, 0))
    test = join_folders(source, base, test)
    return (
        f"there are parts of a split ({quoted(splits)}) and other folders ({quoted(others)}). For the split, "
        f"move the others elsewhere, or pass {join_folders(source, base, train)!r}, and "
        f"the images of {test!r} as test (--test {test!r}). {as_classes(base)}"
    )


def next_to_part(source: str, base: str, part: FolderName, others: Sequence[FolderName]) -> str:
    """Return why one part of a data set next to other folders may be a class."""
    return (
        f"{part.name!r} is a part of a data set by its name, with subfolders, next to other folders "
        f"({quoted(others)}). "
        f"If its subfolders are the classes, pass {join_folders(source, base, part.name)!r}. "
        f"{as_classes(base)}"
    )


def next_to_flat(source: str, base: str, parts: Sequence[FolderName], others: Sequence[FolderName]) -> str:
    """Return why folders next to classes are probably none."""
    first, second = (join_folders(source, base, name.name) for name in others[:2])
    rest = " and so on" if len(others) > 2 else ""
    are = "is no class by its name" if len(parts) == 1 else "are no classes by their names"
    return (
        f"{quoted(parts)} {are}, next to other folders ({quoted(others)}). If the others are the classes, pass them, "
        f"{first!r} {second!r}{rest}, or move {quoted(parts)} elsewhere. {as_classes(base)}"
    )


def classes_named_as_parts(names: Sequence[FolderName]) -> str:
    """Return a note if classes have the names of parts of a data set. Empty: none has."""
    kinds = [name for name in names if name.kind in ("train", "test") and not name.rest]
    if not kinds or len(names) == len(kinds):
        return ""
    verb = "is read as a class" if len(kinds) == 1 else "are read as classes"
    return f"{quoted(kinds)} {verb}. If these are training or test images, move them elsewhere."


def copy_of_classes(source: str, base: str, copy: str, shared: Iterable[str]) -> str:
    """Return why a folder, with its path in the source, may contain a copy of the folders next to it."""
    return (
        f"{copy!r} has subfolders with the names of folders next to it ({format_list(list(shared))}): it may be a copy "
        f"of them. If so, pass {join_folders(source, copy)!r}, or move it elsewhere. "
        f"{as_classes(base)}"
    )


def parts_in_each(source: str, names: Sequence[FolderName], example: str) -> str:
    """Return why folders that each contain training and test images have no labels."""
    return (
        f"the folders {quoted(names)} each contain parts of a split. Pass one of them as source, for example "
        f"{join_folders(source, example)!r}."
    )


def labels_in_files(source: str) -> str:
    """Return that files next to images are read in archives only."""
    archive = f"{source.rstrip('/')}.tar"
    return (
        "the .cls files next to the images are read as labels in archives only. Pack and pass one: "
        f"tar -cf {shlex.quote(archive)} -C {shlex.quote(source)} ."
    )


def text_next_to_images(source: str) -> str:
    """Return that text next to images is no label."""
    return (
        f"the .txt files next to the images of {source!r} are not read, as most are boxes (YOLO) or captions. featx "
        f"needs one class for each image: {_TABLE}."
    )


def flat_parts(source: str, tree: FolderTree, base: str, names: Sequence[FolderName]) -> str:
    """Return why parts of a data set without class folders have no labels."""
    if _is_yolo(tree, base, names):
        return (
            "it is a data set for object detection (YOLO), whose labels are boxes in text files. featx needs one "
            f"class for each image: {_TABLE}."
        )
    folders = [join_folders(base, name.name) for name in names] or [base]
    if any(".cls" in tree.suffixes(folder) for folder in folders):
        return labels_in_files(source)
    if all(".txt" in tree.suffixes(folder) for folder in folders):
        return text_next_to_images(source)
    if not names:
        return f"all images are in {base!r}, which is no class by its name; {_TABLE}. {as_classes(base, 0)}"
    with_tables = [folder for folder in folders if not tree.suffixes(folder).isdisjoint(_TABLE_SUFFIXES)]
    tables = f" (there are tables in {format_list(with_tables)})" if with_tables else ""
    return (
        f"the folders {quoted(names)} are parts of a data set by their names, without class folders; {_TABLE}{tables}. "
        f"{as_classes(base)}"
    )


def as_classes(base: str, below: int = 1) -> str:
    """Return the option that makes the folders in `base` classes."""
    level = depth(base) + below
    return f"If these folders are classes, pass class_level={level} (--class-level {level})."


def _is_yolo(tree: FolderTree, base: str, names: Sequence[FolderName]) -> bool:
    """Return whether there is a folder of text files named labels next to the images."""
    around = {"", base, base.rpartition("/")[0], *(join_folders(base, name.name) for name in names)}
    labels = [join_folders(folder, "labels") for folder in around if "labels" in tree.other_folders(folder)]
    below = [join_folders(folder, name) for folder in labels for name in tree.other_folders(folder)]
    return any(".txt" in tree.suffixes(folder) for folder in [*labels, *below])


def depth(folder: str) -> int:
    """Return the number of folders above the images directly in the subfolders of a folder."""
    return len(folder.split("/")) if folder else 0


def join_folders(folder: str, *names: str) -> str:
    """Return the path of a subfolder. Empty names are omitted."""
    path = folder
    for name in filter(None, names):
        path = f"{path.rstrip('/')}/{name}" if path else name
    return path


def quoted(names: Sequence[FolderName]) -> str:
    """Return the names of folders as text."""
    return format_list([name.name for name in names])
