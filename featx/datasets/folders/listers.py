"""List the images of one source: a folder, an archive, a URL or a single file.

Each lister works in two passes: `layout` finds how folders define labels and splits, `names` yields the images. Memory
stays bounded for millions of images: a folder is walked twice where that is needed, the names of a URL are kept in a
temporary file, and those of an archive are in memory anyway.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from featx.datasets.folders.class_level import layout_of_labeled
from featx.datasets.folders.infer import infer_layout
from featx.datasets.folders.layout import Layout
from featx.datasets.folders.masks import AnnotationFilter, remembering_stems, stem_of
from featx.datasets.folders.names import ignore_reason, is_image_name, normalize_label, suffix_kind
from featx.datasets.folders.sidecars import further_images, read_sidecars, unused_reason
from featx.datasets.folders.tree import DirectoryTree, NameTree, is_folder
from featx.errors import SourceError
from featx.images.containers.archives import has_member, is_archive, list_archive, read_member, split_archive_path
from featx.system.files import remote
from featx.system.files.name_files import NameFile, sort_names

#: Number of ignored files by kind. Listers add to it.
IgnoredCounter = collections.Counter[str]
#: Ends the names of folders while they are sorted. No name contains it.
_FOLDER_MARK = "\0"
#: Suffixes of images that have masks next to them.
_COMMON_SUFFIXES = (".jpg", ".png", ".jpeg", ".tif", ".bmp", ".tiff", ".JPG", ".PNG", ".JPEG", ".webp")
_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")
#: Maximum size of a file with the label of an image.
_MAX_LABEL_BYTES = 2**20


class Lister(abc.ABC):
    """Lister of the images of one source.

    Parameters
    ----------
    source : str
    ignored : Counter
        Receives the number of ignored files by kind.

    Attributes
    ----------
    prefix : str
        Beginning of the path of each image; a name follows.
    labels : mapping of str to (str or None), or None
        Labels from files next to the images, by the names of the images. None: folders are the labels.
    are_typed : bool
        Whether labels that are numbers were written as numbers, not as text.
    """

    labels: Mapping[str, str | None] | None = None
    are_typed = False

    def __init__(self, source: str, ignored: IgnoredCounter) -> None:
        self.prefix = f"{source.rstrip('/')}/"
        self._source = source
        self._ignored = ignored
        self._filter: AnnotationFilter | None = None

    @abc.abstractmethod
    def layout(self, class_level: int | None = None, *, is_only_source: bool = True) -> Layout:
        """Return how folders define labels and splits: the first pass.

        Parameters
        ----------
        class_level : int or None, default=None
            Depth of the class folders. None: inferred.
        is_only_source : bool, default=True
            Whether there are no other sources. A flat folder among several is a class.
        """

    @abc.abstractmethod
    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the names of the images in order, relative to the source: the second pass."""

    def notes(self) -> list[str]:
        """Return remarks of the second pass, when all names were read."""
        return [] if self._filter is None else list(filter(None, [self._filter.note()]))

    def _images(self, names: Iterator[str], layout: Layout, has_image: Callable[[str], bool]) -> Iterator[str]:
        """Yield names without those of annotations."""
        self._filter = AnnotationFilter(layout, self._ignored, has_image)
        return self._filter.images(names)


def make_lister(
    source: str,
    ignored: IgnoredCounter,
    zip_encoding: str | None = None,
    label_field: str | None = None,
    tree: DirectoryTree | None = None,
) -> Lister:
    """Return the lister for a source.

    Parameters
    ----------
    source : str
    ignored : Counter
        Receives the number of ignored files by kind.
    zip_encoding : str or None, default=None
        Encoding of names in a zip archive. None: inferred.
    label_field : str or None, default=None
        Field of JSON next to the images of an archive that is their label. None: inferred.
    tree : DirectoryTree or None, default=None
        Folders of the source. None: not known yet.
    """
    if remote.is_url(source):
        is_image = is_image_name(source.partition("?")[0])
        return SingleImageLister(source, ignored) if is_image else UrlLister(source, ignored)
    if is_archive(source):
        return ArchiveLister(source, ignored, zip_encoding, label_field)
    member = None if is_image_name(source) else split_archive_path(source.rstrip("/"))
    if member is not None and not has_member(*member):
        return ArchiveLister(member[0], ignored, zip_encoding, label_field, folder=member[1])
    if os.path.isdir(source):
        return FolderLister(source, ignored, tree)
    return SingleImageLister(source, ignored)  # also an image in an archive, or a missing file


class SingleImageLister(Lister):
    """One image of any suffix."""

    def __init__(self, source: str, ignored: IgnoredCounter) -> None:
        super().__init__(source, ignored)
        folder, slash, self._name = source.rpartition("/")
        self.prefix = folder + slash

    def layout(self, class_level: int | None = None, *, is_only_source: bool = True) -> Layout:
        """Return an empty layout."""
        return Layout()

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the name of the image."""
        yield self._name


class FolderLister(Lister):
    """Images below a folder, sorted folder by folder."""

    def __init__(self, source: str, ignored: IgnoredCounter, tree: DirectoryTree | None = None) -> None:
        super().__init__(source, ignored)
        self._tree = DirectoryTree(source) if tree is None else tree
        self.prefix = os.path.join(source, "")

    def layout(self, class_level: int | None = None, *, is_only_source: bool = True) -> Layout:
        """Return the layout of the folders. A flat folder among several sources is a class."""
        tree = self._tree
        if not is_only_source and class_level is None and not tree.folders():
            name = os.path.basename(os.path.normpath(os.path.abspath(self._source)))
            return Layout(label=normalize_label(name))
        return infer_layout(tree, self._source, class_level)

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield images below the folder."""
        return self._images(self._walk("", self._ignored), layout, self._has_image)

    def _has_image(self, stem: str) -> bool:
        return any(os.path.isfile(f"{self.prefix}{stem}{suffix}") for suffix in _COMMON_SUFFIXES)

    def _walk(self, start: str, ignored: IgnoredCounter) -> Iterator[str]:
        """Yield the images below a folder, without recursion: trees may be deeper than Python's stack.

        A linked folder is entered once. A subfolder that cannot be listed is yielded as an image: reading it reports
        the reason.
        """
        seen: set[tuple[int, int]] = set()
        try:
            stack = [(start, self._entries(start, seen, ignored))]
        except OSError as error:
            raise SourceError(
                f"Cannot list folder {error.filename!r}: {error.strerror}. Check its permissions, or choose another "
                "folder."
            ) from error
        while stack:
            folder, entries = stack[-1]
            for entry in entries:
                name = entry.rstrip(_FOLDER_MARK)
                if reason := ignore_reason(name):
                    ignored[reason] += 1
                elif entry.endswith(_FOLDER_MARK):
                    try:
                        stack.append((f"{folder}{name}/", self._entries(f"{folder}{name}/", seen, ignored)))
                    except OSError:
                        yield folder + name
                        continue
                    break
                elif is_image_name(name):
                    yield folder + name
                else:
                    ignored[suffix_kind(name)] += 1
            else:
                stack.pop()

    def _entries(self, folder: str, seen: set[tuple[int, int]], ignored: IgnoredCounter) -> Iterator[str]:
        """Return the sorted names in a folder, those of folders with a mark; nothing if it was entered before."""
        path = (self.prefix + folder).rstrip("/") or "/"
        state = os.stat(path)
        if (state.st_dev, state.st_ino) in seen:
            ignored["already listed"] += 1
            return iter(())
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(path) as entries:
            # Names alone: entries would take three times the memory.
            return sort_names(f"{entry.name}{_FOLDER_MARK}" if is_folder(entry) else entry.name for entry in entries)


class _NameLister(Lister):
    """Images of a source that lists all its names at once."""

    def _images_among(self, names: Iterator[str], tree: NameTree) -> Iterator[str]:
        """Yield the names of images, and note the folders of all files."""
        for name in names:
            reason = next(filter(None, map(ignore_reason, name.split("/"))), "")
            if not reason:
                tree.add(name)
            if reason or not is_image_name(name):
                self._ignored[reason or suffix_kind(name)] += 1
            else:
                yield name


class ArchiveLister(_NameLister):
    """Images in a zip or tar archive or in a folder of it, in the archive's order."""

    def __init__(
        self,
        source: str,
        ignored: IgnoredCounter,
        zip_encoding: str | None = None,
        label_field: str | None = None,
        *,
        folder: str = "",
    ) -> None:
        super().__init__(f"{source}/{folder}".rstrip("/"), ignored)
        self._archive, self._folder = source, f"{folder}/" if folder else ""
        self._zip_encoding, self._label_field = zip_encoding, label_field

    def layout(self, class_level: int | None = None, *, is_only_source: bool = True) -> Layout:
        """Return the layout of all names in the archive. A flat folder of it among several sources is a class."""
        names, ignored, notes = list_archive(self._archive, self._zip_encoding)
        if self._folder:
            names = [name.removeprefix(self._folder) for name in names if name.startswith(self._folder)]
        self._ignored.update(ignored)
        tree = NameTree()
        self._names = list(self._images_among(iter(names), tree))
        is_class = bool(self._folder) and not is_only_source and class_level is None and not tree.folders()
        label = normalize_label(os.path.basename(self._source)) if is_class else None
        layout = infer_layout(tree, self._source, class_level) if label is None else Layout(label=label)
        if class_level is None:
            notes += self._read_labels(names, layout)
        if self.labels is not None:
            layout = layout_of_labeled(tree, layout)
        layout = dataclasses.replace(layout, notes=(*notes, *layout.notes))
        if self.labels is not None or layout.defines_labels:
            return layout
        reason = unused_reason(self._names, names, self._read, self._label_field) or self._table_reason(names)
        return dataclasses.replace(layout, no_labels_reason=reason)

    def _table_reason(self, names: Sequence[str]) -> str:
        """Return how to use a table in the archive that may list the labels, or "" without such a table."""
        table = next((name for name in names if suffix_kind(name) in _TABLE_SUFFIXES), None)
        if table is None:
            return ""
        start = os.path.dirname(f"{self._source}/{table}")
        return (
            f"The images of {self._source!r} are in no class folders. If {table!r} in it lists their labels, extract "
            f"this table, and pass it with root={start!r} (--root {shlex.quote(start)})."
        )

    def _read(self, name: str) -> bytes:
        return read_member(self._archive, self._folder + name, _MAX_LABEL_BYTES)[0]

    def _read_labels(self, names: Sequence[str], layout: Layout) -> list[str]:
        """Read labels from files next to the images, and return a note on them."""
        has_folders = any(layout.label_and_split(name)[0] is not None for name in self._names[:1])
        sidecars = read_sidecars(
            self._names,
            names,
            self._read,
            field=self._label_field,
            only_cls=has_folders and self._label_field is None,
        )
        if sidecars is None:
            return []
        self.labels, self.are_typed = sidecars.labels, sidecars.suffix == ".json"
        del self._ignored[sidecars.suffix]
        return [f"Labels are read from the {sidecars.suffix} files next to the images."]

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the images of the archive."""
        stems: set[str] = set()

        def has_image(stem: str) -> bool:
            if not stems:
                stems.update(map(stem_of, self._names))
            return stem in stems

        names = iter(self._names)
        if self.labels is not None:
            further = further_images(self._names)
            self._ignored.update({"further images of a sample": len(further)} if further else {})
            names = (name for name in names if name not in further)
        return self._images(names, layout, has_image)


class UrlLister(_NameLister):
    """Images below a URL, in sorted order."""

    def layout(self, class_level: int | None = None, *, is_only_source: bool = True) -> Layout:
        """Return the layout of all names below the URL. They are requested once, and kept in a temporary file."""
        is_url_encoded = remote.is_http_url(self._source)
        tree = NameTree(is_url_encoded=is_url_encoded)
        self._names = NameFile(self._images_among(remote.list_names(self._source), tree))
        layout = infer_layout(tree, self._source, class_level)
        return dataclasses.replace(layout, is_url_encoded=is_url_encoded)

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the images below the URL."""
        with self._names as names:
            stems: list[str] = []
            yield from self._images(remembering_stems(iter(names), stems), layout, lambda stem: stem in stems)
