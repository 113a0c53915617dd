"""The first levels of the folders of a source, as far as its layout depends on them."""

from __future__ import annotations

import abc
import os
import urllib.parse
from collections.abc import Callable

from featx.datasets.folders.names import ignore_reason, is_image_name, suffix_kind

#: Depth to which folders of an archive or URL are known.
_MAX_DEPTH = 5
#: Number of subfolders of one folder that are known in any case, and number of folders that are known in all.
_MIN_KNOWN, _MAX_FOLDERS = 30, 5000


class FolderTree(abc.ABC):
    """The folders of a source. A folder is its path relative to the source, with ``/``; the source itself is ``""``."""

    @abc.abstractmethod
    def folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the subfolders that contain images at any depth."""

    @abc.abstractmethod
    def other_folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the subfolders without images."""

    @abc.abstractmethod
    def has_images(self, folder: str = "") -> bool:
        """Return whether an image is directly in the folder."""

    @abc.abstractmethod
    def has_folder(self, folder: str) -> bool:
        """Return whether a folder exists, without listing it."""

    @abc.abstractmethod
    def suffixes(self, folder: str = "") -> set[str]:
        """Return the suffixes of the other files directly in the folder."""

    def decode(self, name: str) -> str:
        """Return a folder name as people read it."""
        return name


class _Node:
    """One folder of a :class:`NameTree`."""

    __slots__ = ("folders", "has_images", "has_images_below", "suffixes")

    def __init__(self) -> None:
        self.folders: dict[str, _Node] = {}
        self.has_images = self.has_images_below = False
        self.suffixes: set[str] = set()


class NameTree(FolderTree):
    """Folders of an archive or URL, from the names of its files, in bounded memory.

    Parameters
    ----------
    is_url_encoded : bool, default=False
        Whether names are percent-encoded.

    Examples
    --------
    >>> tree = NameTree()
    >>> for name in ("cat/1.jpg", "dog/2.jpg", "notes/a.txt"):
    ...     tree.add(name)
    >>> tree.folders(), tree.other_folders(), tree.has_images("cat")
    (['cat', 'dog'], ['notes'], True)
    """

    def __init__(self, *, is_url_encoded: bool = False) -> None:
        self._root = _Node()
        self._n_nodes = 1
        self._is_url_encoded = is_url_encoded

    def add(self, name: str) -> None:
        """Add a file."""
        *folders, file = name.split("/")
        is_image = is_image_name(file)
        node = self._root
        node.has_images_below |= is_image
        for folder in folders[:_MAX_DEPTH]:
            child = node.folders.get(folder)
            if child is None:
                if self._n_nodes >= _MAX_FOLDERS and len(node.folders) >= _MIN_KNOWN:
                    return  # one class more of very many
                child = node.folders[folder] = _Node()
                self._n_nodes += 1
            node = child
            node.has_images_below |= is_image
        if len(folders) > _MAX_DEPTH:
            return
        if is_image:
            node.has_images = True
        elif len(node.suffixes) < _MIN_KNOWN:
            node.suffixes.add(suffix_kind(file))

    def folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the subfolders that contain images at any depth."""
        return self._names(folder, lambda node: node.has_images_below)

    def other_folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the subfolders without images."""
        return self._names(folder, lambda node: not node.has_images_below)

    def has_images(self, folder: str = "") -> bool:
        """Return whether an image is directly in the folder."""
        node = self._node(folder)
        return node is not None and node.has_images

    def has_folder(self, folder: str) -> bool:
        """Return whether a folder exists."""
        return self._node(folder) is not None

    def suffixes(self, folder: str = "") -> set[str]:
        """Return the suffixes of the other files directly in the folder."""
        node = self._node(folder)
        return set() if node is None else node.suffixes

    def decode(self, name: str) -> str:
        """Return a folder name as people read it."""
        return urllib.parse.unquote(name) if self._is_url_encoded else name

    def _names(self, folder: str, condition: Callable[[_Node], bool]) -> list[str]:
        node = self._node(folder)
        return [] if node is None else sorted(name for name, child in node.folders.items() if condition(child))

    def _node(self, folder: str) -> _Node | None:
        node: _Node | None = self._root
        for name in folder.split("/") if folder else []:
            node = None if node is None else node.folders.get(name)
        return node


class DirectoryTree(FolderTree):
    """Folders of a directory. They are read when they are needed.

    Parameters
    ----------
    root : str
        Path of the directory.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, tuple[list[str], list[str], bool, set[str]]] = {}

    def folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the subfolders that contain images at any depth."""
        return self._scan(folder)[0]

    def other_folders(self, folder: str = "") -> list[str]:
        """Return the sorted names of the subfolders without images."""
        return self._scan(folder)[1]

    def has_images(self, folder: str = "") -> bool:
        """Return whether an image is directly in the folder."""
        return self._scan(folder)[2]

    def has_folder(self, folder: str) -> bool:
        """Return whether a folder exists, without listing it."""
        return os.path.isdir(os.path.join(self._root, folder))

    def suffixes(self, folder: str = "") -> set[str]:
        """Return the suffixes of the other files directly in the folder."""
        return self._scan(folder)[3]

    def _scan(self, folder: str) -> tuple[list[str], list[str], bool, set[str]]:
        if folder in self._known:
            return self._known[folder]
        folders: list[str] = []
        has_images, suffixes = False, set()
        try:
            with os.scandir(os.path.join(self._root, folder)) as entries:
                for entry in entries:
                    if ignore_reason(entry.name):
                        continue
                    if is_folder(entry):
                        folders.append(entry.name)
                    elif is_image_name(entry.name):
                        has_images = True
                    else:
                        suffixes.add(suffix_kind(entry.name))
        except OSError:
            has_images = True  # listing it reports the reason
        path = os.path.join(self._root, folder)
        with_images = sorted(name for name in folders if _contains_images(os.path.join(path, name)))
        result = with_images, sorted(set(folders) - set(with_images)), has_images, suffixes
        self._known[folder] = result
        return result


def _contains_images(path: str) -> bool:
    """Return whether a folder contains an image at any depth. Most often the first entries show it."""
    seen: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            state = os.stat(folder)
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if ignore_reason(entry.name):
                        continue
                    if is_folder(entry):
                        waiting.append(entry.path)
                    elif is_image_name(entry.name):
                        return True
        except OSError:
            return True  # listing it reports the reason
    return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it reports the reason
        return False
