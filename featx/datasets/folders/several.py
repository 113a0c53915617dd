"""Several sources that are read together: classes, folds, or parts of a split, by their names."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from featx.datasets.folders import questions
from featx.datasets.folders.layout import Layout
from featx.datasets.folders.names import is_image_name, normalize_label
from featx.datasets.folders.tree import DirectoryTree
from featx.datasets.folders.words import FolderName
from featx.images.containers.archives import ARCHIVE_SUFFIXES, is_archive
from featx.system.formatting import format_list

#: More sources are a list of images.
_MAX_SOURCES = 20_000
_TABLE = "Pass a table of paths and labels instead, such as labels.csv, or"


@dataclasses.dataclass(frozen=True)
class SeveralSources:
    """Meaning of the names of several sources. Without any: a single source, or images.

    Attributes
    ----------
    labels : mapping of str to (str or None)
        Label of all images of a source. Other sources have class folders.
    trees : mapping of str to DirectoryTree
        The folders of sources that are directories.
    have_groups : bool
        Whether each source is a group: a fold.
    notes : tuple of str
        Remarks on how they are read.
    no_labels_reason : str
        Reason why images have no label, with a remedy. Empty: they have one.
    """

    labels: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    trees: Mapping[str, DirectoryTree] = dataclasses.field(default_factory=dict)
    have_groups: bool = False
    notes: tuple[str, ...] = ()
    no_labels_reason: str = ""

    def adapt(self, layout: Layout, source: str, *, has_labels: bool) -> Layout:
        """Return the layout of one of the sources as the others imply it.

        Parameters
        ----------
        layout : Layout
        source : str
        has_labels : bool
            Whether there are labels next to its images.
        """
        is_archive_with_labels = source not in self.trees and (has_labels or layout.defines_labels)
        if source not in self.labels or is_archive_with_labels:
            return layout
        notes = () if source in self.trees else ("Archives without folders are classes by their names.",)
        return dataclasses.replace(layout, label=self.labels[source], class_index=None, parts={}, notes=notes)

    def group(self, source: str) -> str | None:
        """Return the group of all images of a source."""
        return _base_name(source) if self.have_groups else None


def read_together(sources: Sequence[str]) -> SeveralSources:
    """Return what the names of several sources mean.

    Parameters
    ----------
    sources : sequence of str
        Folders, archives and others, whose class folders have no given depth.
    """
    if not 1 < len(sources) <= _MAX_SOURCES:
        return SeveralSources()
    containers = [source for source in sources if not is_image_name(source)]
    trees = {source: DirectoryTree(source) for source in containers if os.path.isdir(source)}
    archives = [source for source in containers if source not in trees and is_archive(source)]
    if len(trees) + len(archives) < len(sources):
        return SeveralSources(_labels_of_flat(trees), trees)
    names = [FolderName.parse(_base_name(source)) for source in sources]
    kinds = {name.kind for name in names}
    if None not in kinds and len({name.rest for name in names}) == 1:
        return _parts(sources, trees, names)
    if archives:
        return _with_archives(trees, archives)
    return _folders(trees)


def _parts(sources: Sequence[str], trees: Mapping[str, DirectoryTree], names: Sequence[FolderName]) -> SeveralSources:
    """Return the reading of sources that are parts of one data set by their names."""
    kinds = {name.kind for name in names}
    first, last = sources[0], sources[-1]
    listed = f"{first!r} and {last!r} are {'folds' if kinds == {'fold'} else 'parts of a data set'} by their names"
    notes = []
    if kinds == {"fold"}:
        notes.append(f"{listed}: images of one fold are never split.")
    elif len(kinds) > 1:
        listed = f"{first!r} and {last!r} are parts of a split by their names"
        notes.append(
            f"{listed}, and are read as one data set. To keep test images apart, pass test=find_images({last!r}) "
            f"(--test {last})."
        )
    return SeveralSources(
        dict.fromkeys(_labels_of_flat(trees)),
        trees,
        kinds == {"fold"},
        tuple(notes),
        f"{listed}, not classes, and have no class folders. {_TABLE} the folder around them with class_level=1 "
        "(--class-level 1) if they are classes.",
    )


def _with_archives(trees: Mapping[str, DirectoryTree], archives: Sequence[str]) -> SeveralSources:
    """Return the reading of archives, which are classes if their names have different words."""
    names = [FolderName.parse(_base_name(archive)) for archive in archives]
    are_classes = len({name.rest for name in names}) == len(names) and not any(name.kind for name in names)
    if not are_classes or any(not name.rest for name in names):
        reason = (
            f"The archives {format_list([os.path.basename(archive) for archive in archives])} have no class folders, "
            f"and their names are no classes. {_TABLE} an archive with class folders."
        )
        return SeveralSources(_labels_of_flat(trees), trees, no_labels_reason=reason)
    return SeveralSources(_labels_of_flat(trees) | {archive: _label(archive) for archive in archives}, trees)


def _folders(trees: Mapping[str, DirectoryTree]) -> SeveralSources:
    """Return the reading of folders: those without subfolders are classes, and so are all of one mixed folder."""
    flat = _labels_of_flat(trees)
    nested = [source for source in trees if source not in flat]
    parents = {os.path.dirname(os.path.abspath(source)) for source in trees}
    if not nested:
        parts = questions.classes_named_as_parts([FolderName.parse(_base_name(source)) for source in flat])
        return SeveralSources(flat, trees, notes=(parts,) if parts else ())
    shown = format_list([_base_name(source) for source in nested])
    if flat and len(parents) == 1:
        note = f"Each source is a class by its name. The subfolders of {shown} are not, as other sources have none."
        return SeveralSources({source: _label(source) for source in trees}, trees, notes=(note,))
    if flat:
        names = format_list([_base_name(source) for source in flat])
        note = f"Sources without subfolders are classes: {names}. The classes of the others are their subfolders."
        return SeveralSources(flat, trees, notes=(note,))
    note = f"The classes are the subfolders of the sources ({shown})."
    if len(parents) == 1:
        note += (
            f" If these are the classes, pass the folder around them, {parents.pop()!r}, with class_level=1 "
            "(--class-level 1)."
        )
    return SeveralSources({}, trees, notes=(note,))


def _labels_of_flat(trees: Mapping[str, DirectoryTree]) -> dict[str, str | None]:
    return {source: _label(source) for source, tree in trees.items() if not tree.folders()}


def _label(source: str) -> str:
    return normalize_label(_base_name(source))


def _base_name(source: str) -> str:
    """Return the name of a folder, or that of an archive without its suffix."""
    name = os.path.basename(os.path.normpath(os.path.abspath(source)))
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] if suffix and is_archive(source) else name
