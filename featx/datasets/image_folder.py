"""What a user points at → a table of image files and their labels."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import tempfile
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from featx.datasets.external_sort import in_order
from featx.errors import SourceError, SourceNotFoundError
from featx.images.archives import is_archive, list_archive, split_archive_path
from featx.images.formats import IMAGE_SUFFIXES
from featx.system.files import remote
from featx.system.formatting import shorten

#: At the end of the names of folders; no name has it.
_FOLDER = "\0"
#: What macOS and Windows leave beside images.
_OF_THE_SYSTEM = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})

#: What folders and columns call the parts that images are split into.
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """Image files and their labels, row by row.

    Attributes
    ----------
    paths : list of str
        As the user would write them: each begins with the source it was found in.
    labels : list of (str, int, bool, float or None)
        Name of the class folder; None for images outside of any. Of a table, what its column says: whole numbers and
        truths if all of it is written so, numbers if they are quantities, else text.
    ignored : dict of str to int
        How many files and folders were passed over, by their suffix, or as ``"hidden"`` or ``"of the system"``.
    splits : list of {"train", "test", None}, or None
        What to do with each image, where the source says so.
    groups : list of (str or None), or None
        What must not be divided between training and test, where the source says so.
    notes : tuple of str
        What was done with the source that was not asked for.
    unlabelled : str
        Why no image has a label, and what to do; "" if that is not known, or some have one.
    """

    paths: list[str]
    labels: Sequence[Any]
    ignored: dict[str, int] = dataclasses.field(default_factory=dict)
    splits: list[str | None] | None = None
    groups: list[str | None] | None = None
    notes: tuple[str, ...] = ()
    unlabelled: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def labelled(self) -> ImageTable:
        """Return the rows that have a label."""
        return self.rows([at for at, label in enumerate(self.labels) if label is not None])

    def rows(self, positions: Iterable[int]) -> ImageTable:
        """Return some of the rows."""
        kept = list(positions)
        return dataclasses.replace(
            self,
            paths=[self.paths[at] for at in kept],
            labels=[self.labels[at] for at in kept],
            splits=None if self.splits is None else [self.splits[at] for at in kept],
            groups=None if self.groups is None else [self.groups[at] for at in kept],
        )


def find_images(sources: Sequence[str | os.PathLike[str]], *, keep_missing: bool = False) -> ImageTable:
    """Return the images of folders, archives and files, sorted within each source; those of an archive as it has them.

    In a folder, the first folder below it names the class: ``photos/cat/1.jpg`` is a ``cat``, and so is
    ``photos/cat/2019/2.jpg``. Where several flat folders are given, each is a class (``photos/*``). Hidden files and
    folders, and what systems leave (``__MACOSX``, ``Thumbs.db``), are passed over; a file given by name is taken
    whatever its suffix.

    Where all folders of the only source are called train, val and test (training, valid, validation, dev, testing),
    they say what each image is for, and the class folders are one deeper: ``photos/train/cat/1.jpg``. Validation
    images count as training images; if there are no test images, they are these.

    A zip or tar archive is like a folder, and is not unpacked: ``photos.zip/cat/1.jpg`` is the path of an image in it.

    Parameters
    ----------
    sources : sequence of str or Path
    keep_missing : bool, default=False
        Take a source that is not there for an image, which cannot be read, so that it costs no other; if any is there.

    Raises
    ------
    SourceNotFoundError
        No such folder or file.
    SourceError
        No image in any of them, or a folder that cannot be listed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat/1.jpg", "dog/2.png", "dog/notes.txt"):
    ...         path = Path(folder, name)
    ...         path.parent.mkdir(exist_ok=True)
    ...         _ = path.write_bytes(b"")
    ...     find_images([folder]).labels
    ['cat', 'dog']
    """
    ignored: collections.Counter[str] = collections.Counter()
    found = list(iter_images(sources, ignored, keep_missing=keep_missing))
    splits = [split for _, _, split in found]
    return ImageTable(
        [path for path, _, _ in found],
        [label for _, label, _ in found],
        dict(ignored.most_common()),
        splits if any(splits) else None,
    )


def iter_images(
    sources: Sequence[str | os.PathLike[str]], ignored: collections.Counter[str], *, keep_missing: bool = False
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield path, label and split of each image that :func:`find_images` finds, one after the other.

    Parameters
    ----------
    sources : sequence of str or Path
    ignored : Counter
        Is told what was passed over, by kind.
    keep_missing : bool, default=False
        As of :func:`find_images`.

    Raises
    ------
    SourceNotFoundError, SourceError
        As of :func:`find_images`; that there is no image at all is known only at the end.
    """
    missing = missing_sources(sources)
    if missing and (not keep_missing or len(missing) == len(sources)):
        raise SourceNotFoundError(source_not_found_message(missing[0]))
    n_found = 0
    for source in sources:
        for image in _images_of(os.fspath(source), ignored, alone=len(sources) == 1):
            n_found += 1
            yield image
    if not n_found:
        raise SourceError(_no_images(sources, ignored))


def _images_of(
    source: str, ignored: collections.Counter[str], *, alone: bool
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield path, label and split of each image of one source."""
    if alone and (parts := _parts(source)):
        for folder, split in parts:
            yield from ((path, _class_of(path, folder), split) for path in _walk(folder, ignored))
    elif remote.is_url(source) and is_image_name(source.partition("?")[0]):
        yield source, None, None
    elif remote.is_url(source) or is_archive(source):
        yield from ((path, label, part if alone else None) for path, label, part in _listed(source, ignored))
    elif os.path.isdir(source):
        name = None if alone or not _is_flat(source) else os.path.basename(os.path.normpath(source))
        yield from ((path, name or _class_of(path, source), None) for path in _walk(source, ignored))
    else:  # an image; in an archive, perhaps, or missing
        yield source, None, None


def _is_flat(folder: str) -> bool:
    """Return whether no image of a folder is in a folder within it."""
    return all(_class_of(path, folder) is None for path in _walk(folder, collections.Counter()))


def missing_sources(sources: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return those of some sources that are not there; addresses, and what is in archives, are not looked at."""
    paths = [os.fspath(source) for source in sources]
    return [
        path
        for path in paths
        if not remote.is_url(path) and not os.path.exists(path) and split_archive_path(path) is None
    ]


def normalize_splits(names: Sequence[str | None]) -> list[str | None]:
    """Return "train", "test" or None for each name as people write them.

    Raises
    ------
    SourceError
        A name that is none of the usual, or no image to train or none to test on.

    Examples
    --------
    >>> normalize_splits(["train", "Validation", "test"]), normalize_splits(["training", "val"])
    (['train', 'train', 'test'], ['train', 'test'])
    """
    unknown = [name for name in names if name is not None and name.lower() not in _SPLITS]
    if unknown:
        raise SourceError(f"{unknown[0]!r} is no part that images are split into. Expected {', '.join(_SPLITS)}.")
    known = [None if name is None else _SPLITS[name.lower()] for name in names]
    val = "train" if "test" in known else "test"
    found = [val if name == "val" else name for name in known]
    if {"train", "test"} - set(found):
        raise SourceError("Expected images to train and images to test on, got one of the two only.")
    return found


def _parts(source: str) -> list[tuple[str, str]]:
    """Return the folders of a source that is split into train and test, and which each is; else nothing."""
    try:
        names = sorted(entry.name for entry in os.scandir(source) if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []
    known = {_SPLITS[name.lower()] for name in names if name.lower() in _SPLITS}
    if "train" not in known or len(known) < 2:
        return []
    stray = [name for name in names if name.lower() not in _SPLITS]
    if stray:
        raise SourceError(
            f"{source!r} has folders to train and to test on, and {stray[0]!r} beside them. Move it elsewhere, or "
            "point at the folders that are meant: featx compare train/ --test test/."
        )
    try:
        splits = normalize_splits(names)
    except SourceError:
        return []
    return [(os.path.join(source, name), split) for name, split in zip(names, splits, strict=True) if split]


def _listed(source: str, ignored: collections.Counter[str]) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield path, label and split of each image in an archive or at an address, as its folders say.

    A folder that holds everything, as most archives have, is none of the classes. Whether there is one is known when
    all names were seen: they wait in a file, as there may be millions.
    """
    if remote.is_url(source):
        names: Iterable[str] = remote.list_names(source)
    else:
        names, left_out = list_archive(source)
        ignored.update(left_out)
    firsts: set[str] = set()
    seconds: set[str] = set()
    is_deeper = False
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        for name in names:
            why = next(filter(None, map(why_ignored, name.split("/"))), "")
            if why or not is_image_name(name):
                ignored[why or os.path.splitext(name)[1].lower() or "without suffix"] += 1
                continue
            waiting.write(json.dumps(name) + "\n")
            within = name.split("/")[:-1]
            _note(firsts, within[0] if within else "")
            _note(seconds, within[1] if len(within) > 1 else "")
            is_deeper = is_deeper or len(within) > 1
        n_above = 1 if len(firsts) == 1 and is_deeper else 0
        splits = _splits_of(seconds if n_above else firsts)
        decoded = urllib.parse.unquote if remote.is_http_url(source) else str
        waiting.seek(0)
        for line in waiting:
            name = json.loads(line)
            within = name.split("/")[n_above:-1]
            split = splits.get(within[0]) if splits else None
            within = within[1:] if splits else within
            yield f"{source.rstrip('/')}/{name}", normalize_label(decoded(within[0])) if within else None, split


def _note(folders: set[str], name: str) -> None:
    """Add a folder's name, where it can still tell whether there are several, and whether all are parts of a split."""
    if len(folders) < 2 or name.lower() in _SPLITS or all(known.lower() in _SPLITS for known in folders):
        folders.add(name)


def _splits_of(folders: Set[str]) -> dict[str, str | None]:
    """Return which part of a split each folder is, if they are such; else nothing."""
    known = {_SPLITS.get(folder.lower()) for folder in folders}
    if len({folder.lower() for folder in folders}) < 2 or None in known or "train" not in known:
        return {}
    names = sorted(folders)
    return dict(zip(names, normalize_splits(names), strict=True))


def _class_of(path: str, source: str) -> str | None:
    parts = os.path.relpath(path, source).split(os.sep)
    return normalize_label(parts[0]) if len(parts) > 1 else None


def normalize_label(name: str) -> str:
    """Return the name of a class with each letter written one way: systems write é as one character or as two."""
    return unicodedata.normalize("NFC", name)


def _walk(folder: str, ignored: collections.Counter[str]) -> Iterator[str]:
    """Yield image files below a folder in sorted order, following each linked folder once."""
    seen: set[tuple[int, int]] = set()
    try:
        within = [_entries(folder, seen)]
    except OSError as error:
        raise SourceError(
            f"Cannot list the folder {error.filename!r}: {error.strerror}. Check its permissions, or point at "
            "another folder."
        ) from error
    while within:  # no recursion: trees are deeper than Python's stack
        path, is_folder = next(within[-1], ("", False))
        name = os.path.basename(path)
        if not path:
            within.pop()
        elif why := why_ignored(name):
            ignored[why] += 1
        elif is_folder:
            try:
                within.append(_entries(path, seen))
            except OSError:
                yield path  # as an image, which cannot be read: whatever is in there is not to be lost unsaid
        elif is_image_name(name):
            yield path
        else:
            ignored[os.path.splitext(name)[1].lower() or "without suffix"] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: reading it will say so
        return False


def _entries(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Return the paths in a folder, sorted by name, and whether each is a folder; nothing if it was entered before."""
    state = os.stat(folder)
    if (state.st_dev, state.st_ino) in seen:
        return iter(())
    seen.add((state.st_dev, state.st_ino))
    with os.scandir(folder) as entries:
        # Names alone, marked by what sorts first: entries would take three times the memory.
        names = in_order(f"{entry.name}{_FOLDER}" if _is_folder(entry) else entry.name for entry in entries)
    return ((os.path.join(folder, name.rstrip(_FOLDER)), name.endswith(_FOLDER)) for name in names)


def why_ignored(name: str) -> str:
    """Return why a file or folder of this name is passed over whatever it holds, or ""."""
    if name.startswith("."):
        return "hidden"
    return "of the system" if name.lower() in _OF_THE_SYSTEM else ""


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def source_not_found_message(source: str) -> str:
    """Return what to say of a source that is not there."""
    from difflib import get_close_matches

    parent = Path(source).parent
    try:
        names = os.listdir(parent)
    except OSError:
        names = []  # only for a hint
    if os.path.islink(source):
        return f"{source!r} is a link to {os.readlink(source)!r}, which is not there. Mend or remove the link."
    near = get_close_matches(Path(source).name, names, n=1)
    hint = f" Did you mean {str(parent / near[0])!r}?" if near else ""
    return f"No such folder or file: {source!r}.{hint} Check the spelling; relative paths start at {os.getcwd()!r}."


def format_ignored(ignored: Mapping[str, int]) -> str:
    """Return how many files were passed over of which kind, for people."""
    return ", ".join(f"{count:,} {shorten(kind, 40)}" for kind, count in ignored.items())


def _no_images(sources: Sequence[str | os.PathLike[str]], ignored: collections.Counter[str]) -> str:
    listed = ", ".join(repr(os.fspath(source)) for source in sources)
    found = format_ignored(dict(ignored.most_common(3)))
    known = " ".join(sorted(IMAGE_SUFFIXES))
    return f"No images in {listed} (other files: {found or 'none'}). Expected files ending in {known}."
