"""Lists the images of one source: a folder, an archive, a URL or a single file.

Each lister works in two passes: `layout` finds how folders define labels and splits, `names` yields the images. Memory
stays bounded for millions of images: a folder is walked twice where that is needed, the names of a URL are kept in a
temporary file, and those of an archive are in memory anyway.
"""

from __future__ import annotations

import abc
import collections
import os
from collections.abc import Iterator

from featx.datasets.layout import (
    SPLIT_NAMES,
    FolderLevel,
    Layout,
    ignore_reason,
    is_image_name,
    layout_of_names,
    split_folders,
    suffix_kind,
)
from featx.errors import SourceError
from featx.images.archives import is_archive, list_archive
from featx.system.files import remote
from featx.system.files.name_files import NameFile, sort_names

#: Number of ignored files by kind. Listers add to it.
IgnoredCounter = collections.Counter[str]
#: Ends the names of folders while they are sorted. No name contains it.
_FOLDER_MARK = "\0"


class Lister(abc.ABC):
    """Lists the images of one source.

    Parameters
    ----------
    source : str
    ignored : Counter
        Receives the number of ignored files by kind.

    Attributes
    ----------
    prefix : str
        Beginning of the path of each image; a name follows.
    """

    def __init__(self, source: str, ignored: IgnoredCounter) -> None:
        self.prefix = f"{source.rstrip('/')}/"
        self._source = source
        self._ignored = ignored

    @abc.abstractmethod
    def layout(self, *, is_only_source: bool) -> Layout:
        """Return how folders define labels and splits: the first pass."""

    @abc.abstractmethod
    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the names of the images in order, relative to the source: the second pass."""


def make_lister(source: str, ignored: IgnoredCounter) -> Lister:
    """Return the lister for a source."""
    if remote.is_url(source):
        is_image = is_image_name(source.partition("?")[0])
        return SingleImageLister(source, ignored) if is_image else UrlLister(source, ignored)
    if is_archive(source):
        return ArchiveLister(source, ignored)
    if os.path.isdir(source):
        return FolderLister(source, ignored)
    return SingleImageLister(source, ignored)  # also an image in an archive, or a missing file


class SingleImageLister(Lister):
    """One image of any suffix."""

    def __init__(self, source: str, ignored: IgnoredCounter) -> None:
        super().__init__(source, ignored)
        folder, slash, self._name = source.rpartition("/")
        self.prefix = folder + slash

    def layout(self, *, is_only_source: bool) -> Layout:
        """Return an empty layout."""
        return Layout()

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the name of the image."""
        yield self._name


class FolderLister(Lister):
    """Images below a folder, sorted folder by folder."""

    def __init__(self, source: str, ignored: IgnoredCounter) -> None:
        super().__init__(source, ignored)
        self.prefix = os.path.join(source, "")

    def layout(self, *, is_only_source: bool) -> Layout:
        """Return splits if all folders are named as such. A flat folder among several sources is a class."""
        if is_only_source:
            return Layout(splits=self._splits())
        is_flat = all("/" not in name for name in self._walk("", collections.Counter()))
        return Layout(label=os.path.basename(os.path.normpath(self._source)) if is_flat else None)

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield images below the folder, or below each folder of a split."""
        for folder in layout.splits or [""]:
            yield from self._walk(f"{folder}/" if folder else "", self._ignored)

    def _splits(self) -> dict[str, str]:
        try:
            with os.scandir(self._source) as entries:
                folders = [entry.name for entry in entries if not ignore_reason(entry.name) and _is_folder(entry)]
        except OSError:
            return {}
        named_as_splits = [name for name in folders if name.lower() in SPLIT_NAMES]
        splits = split_folders(named_as_splits)
        others = sorted(set(folders) - set(named_as_splits))
        if splits and others:
            raise SourceError(
                f"Cannot read splits of {self._source!r}: expected folders of splits only, got {others[0]!r} beside "
                "them. Move it elsewhere, or pass the folders of the splits: featx compare train/ --test test/."
            )
        return splits

    def _walk(self, start: str, ignored: IgnoredCounter) -> Iterator[str]:
        """Yield the images below a folder, without recursion: trees may be deeper than Python's stack.

        A linked folder is entered once. A subfolder that cannot be listed is yielded as an image: reading it reports
        the reason.
        """
        seen: set[tuple[int, int]] = set()
        try:
            stack = [(start, self._entries(start, seen))]
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
                        stack.append((f"{folder}{name}/", self._entries(f"{folder}{name}/", seen)))
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

    def _entries(self, folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
        """Return the sorted names in a folder, those of folders with a mark; nothing if it was entered before."""
        path = (self.prefix + folder).rstrip("/") or "/"
        state = os.stat(path)
        if (state.st_dev, state.st_ino) in seen:
            return iter(())
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(path) as entries:
            # Names alone: entries would take three times the memory.
            return sort_names(f"{entry.name}{_FOLDER_MARK}" if _is_folder(entry) else entry.name for entry in entries)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it reports the reason
        return False


class _NameLister(Lister):
    """Images of a source that lists all its names at once."""

    def _images_among(self, names: Iterator[str]) -> Iterator[str]:
        """Yield the names of images, and note their first two folders."""
        self._levels = (FolderLevel(), FolderLevel())
        self._is_deep = False
        for name in names:
            parts = name.split("/")
            reason = next(filter(None, map(ignore_reason, parts)), "")
            if reason or not is_image_name(name):
                self._ignored[reason or suffix_kind(name)] += 1
                continue
            n_folders = len(parts) - 1
            self._levels[0].add(parts[0] if n_folders else "")
            self._levels[1].add(parts[1] if n_folders > 1 else "")
            self._is_deep = self._is_deep or n_folders > 1
            yield name


class ArchiveLister(_NameLister):
    """Images in a zip or tar archive, in the archive's order."""

    def layout(self, *, is_only_source: bool) -> Layout:
        """Return the layout of all names in the archive."""
        names, ignored = list_archive(self._source)
        self._ignored.update(ignored)
        self._names = list(self._images_among(iter(names)))
        return layout_of_names(self._levels, is_deep=self._is_deep)

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the images of the archive."""
        return iter(self._names)


class UrlLister(_NameLister):
    """Images below a URL, in sorted order."""

    def layout(self, *, is_only_source: bool) -> Layout:
        """Return the layout of all names below the URL. They are requested once, and kept in a temporary file."""
        self._names = NameFile(self._images_among(remote.list_names(self._source)))
        is_web = remote.is_http_url(self._source)
        return layout_of_names(self._levels, is_deep=self._is_deep, is_url_encoded=is_web)

    def names(self, layout: Layout) -> Iterator[str]:
        """Yield the images below the URL."""
        with self._names as names:
            yield from names
