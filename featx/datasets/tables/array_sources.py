"""Files of arrays as sources: which arrays are images, which are their labels, and which splits they are."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from featx.datasets.labels import is_missing
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.text_format import repair_text
from featx.datasets.tags import SEPARATOR, is_binary, is_one_hot
from featx.errors import FeatxError, OptionError, SourceError
from featx.images.arrays import as_batch
from featx.images.containers.archives import has_member, is_archive, list_archive, read_member, split_archive_path
from featx.images.containers.array_files import ArrayFile, cifar_names
from featx.images.containers.members import open_rows
from featx.system.formatting import first_line, format_list

#: Words in the names of arrays in an npz file.
_IMAGE_WORDS, _LABEL_WORDS = (
    {"x", "image", "images", "imgs", "data", "pixels"},
    {"y", "label", "labels", "target", "targets"},
)
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
#: Files of MNIST and others in its format, and the batches of CIFAR.
_IDX = re.compile(r"(?:.*-)?(train|t10k|test)-images[-.]idx3-ubyte(?:\.gz)?")
_CIFAR_10 = re.compile(r"(data|test)_batch(?:_\d+)?(?:\.bin)?")
_CIFAR_100 = re.compile(r"(train|test)(?:\.bin)?")
_CIFAR_NAMES = ("batches.meta", "batches.meta.txt", "meta", "fine_label_names.txt")
#: Files that belong to files of images, which a pattern such as ``raw/*`` also names.
_COMPANION = re.compile(
    r"(?i).*labels[-.]idx1-ubyte(?:\.gz)?|(?:batches\.)?meta(?:\.txt)?|.*_label_names\.txt|readme.*"
)
_MAX_NAMES_BYTES = 2**20
#: Number of sources, and of files in a folder, that may be files of arrays. More are images.
MAX_SOURCES, _MAX_FILES = 20, 40
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class ArrayPart:
    """Images of one array.

    Attributes
    ----------
    prefix : str
        Path of each image without its number.
    n_images : int
    labels : sequence of (str or None)
    split : {"train", "val", "test"} or None
    has_tags : bool, default=False
        Whether images have several labels, which are joined in a text.
    """

    prefix: str
    n_images: int
    labels: Sequence[str | None]
    split: str | None
    has_tags: bool = False


def find_array_parts(sources: Sequence[str], options: SourceOptions, notes: list[str]) -> list[ArrayPart]:
    """Return the arrays of images in files, folders or archives. Empty: there are none.

    Parameters
    ----------
    sources : sequence of str
    options : SourceOptions
        `path_column` and `label_column` name arrays of an npz file.
    notes : list of str
        Receives remarks on arrays that are not used.

    Raises
    ------
    SourceError
        A file cannot be read, which of its arrays are images is unclear, or only some sources have arrays.
    """
    if len(sources) > MAX_SOURCES:
        return []
    parts_of = {source: _parts_of(os.fspath(source), options, notes) for source in sources}
    used = [source for source, parts in parts_of.items() if parts]
    if not used:
        return []
    others = [name for name in sources if name not in used and not _COMPANION.fullmatch(os.path.basename(name))]
    if others:
        raise SourceError(
            f"All sources must have arrays of images if one has, got {used[0]!r} with them and {others[0]!r} without. "
            "Pass them one at a time."
        )
    _check_options(used[0], options)
    return [part for parts in parts_of.values() for part in parts]


def _check_options(source: str, options: SourceOptions) -> None:
    """Raise OptionError for options that have no effect on arrays."""
    if isinstance(options.label_column, tuple):
        raise OptionError(f"label_column (--label-column) of {source!r} must be the name of one array. Pass one.")
    has_names = source.lower().endswith(".npz")
    for option, value in options.given_table_options().items():
        if not (has_names and option.startswith(("path_column", "label_column"))):
            raise OptionError(f"{option} is {value!r}, but {source!r} is not a table. Remove the option.")


def _parts_of(source: str, options: SourceOptions, notes: list[str]) -> list[ArrayPart]:
    if source.lower().endswith(".npz") and os.path.isfile(source):
        return _npz_parts(source, options, notes)
    folder, name = os.path.split(source)
    names = [name] if os.path.isfile(source) and not is_archive(source) else None
    if names is None:
        folder, names = source, _names_in(source)
    return _with_reason(source, lambda: list(_known_files(folder, names)))


def _with_reason(source: str, work: Callable[[], _Result]) -> _Result:
    try:
        return work()
    except MemoryError:
        raise
    except Exception as error:  # NumPy and zipfile raise many types for corrupt files
        raise SourceError(f"Cannot read {source!r}: {first_line(error)}. Download the file again.") from error


def _names_in(source: str) -> list[str]:
    """Return the names of files of arrays in a folder or archive, also in its only subfolder."""
    try:
        if is_archive(source):
            names = list_archive(source)[0]
            return names if any(_is_known(name) for name in names[:20]) else []
        names, folders = _listed(source)
        below = [name for name in folders if "batches" in name or "cifar" in name.lower() or name in ("raw", "MNIST")]
        return names + [f"{name}/{file}" for name in below for file in _listed(os.path.join(source, name))[0]]
    except (OSError, FeatxError):
        return []  # listing its images reports the reason


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """Return the files and the folders of a small folder."""
    if not os.path.isdir(folder):
        return [], []
    with os.scandir(folder) as entries:
        listed = list(itertools.islice(entries, _MAX_FILES + 1))
    if len(listed) > _MAX_FILES:
        return [], []
    return [entry.name for entry in listed if entry.is_file()], [entry.name for entry in listed if entry.is_dir()]


def _is_known(name: str) -> bool:
    base = name.rpartition("/")[2]
    return bool(_IDX.fullmatch(base) or _CIFAR_10.fullmatch(base) or _CIFAR_100.fullmatch(base))


def _known_files(folder: str, names: Sequence[str]) -> Iterator[ArrayPart]:
    """Yield the parts of MNIST's and CIFAR's files, the training images first."""
    present = set(names)
    for name in sorted(names, key=lambda name: ("test" in name or "t10k" in name, name)):
        base = name.rpartition("/")[2]
        start = name[: len(name) - len(base)]
        match = _IDX.fullmatch(base) or _CIFAR_10.fullmatch(base)
        if match is None and not present.isdisjoint(start + other for other in ("meta", "fine_label_names.txt")):
            match = _CIFAR_100.fullmatch(base)
        if match is None:
            continue
        path = os.path.join(folder, name)
        split = "train" if match[1] in ("train", "data") else "test"
        yield _cifar_part(path, split) if "idx3" not in base else _idx_part(path, split)


def _idx_part(path: str, split: str) -> ArrayPart:
    folder, name = os.path.split(path)
    images = _open(path)
    labels_path = os.path.join(folder, name.replace("images", "labels").replace("idx3", "idx1"))
    labels = _as_text(_open(labels_path).load(""), None) if _exists(labels_path) else []
    return _part(f"{path}#", images.shapes[""][0], labels, split)


def _exists(path: str) -> bool:
    member = None if os.path.isfile(path) else split_archive_path(path)
    return os.path.isfile(path) if member is None else has_member(*member)


def _cifar_part(path: str, split: str) -> ArrayPart:
    file = _open(path)
    return _part(f"{path}#", file.shapes[""][0], _as_text(file.load("labels"), _class_names(path)), split)


def _class_names(path: str) -> list[str] | None:
    """Return the names of CIFAR's classes, from a file next to a batch."""
    folder = os.path.dirname(path)
    for name in _CIFAR_NAMES:
        try:
            data = _read(os.path.join(folder, name))
        except (OSError, FeatxError):
            continue
        return data.decode("utf-8", "replace").split() if name.endswith(".txt") else cifar_names(data) or None
    return None


def _read(path: str) -> bytes:
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read(_MAX_NAMES_BYTES)
    member = split_archive_path(path)
    if member is None:
        raise FileNotFoundError(path)
    data: bytes = read_member(*member, _MAX_NAMES_BYTES)[0]
    return data


def _open(path: str) -> ArrayFile:
    file = open_rows(path)
    assert isinstance(file, ArrayFile)  # by its name
    return file


def _part(prefix: str, n_images: int, labels: Sequence[str | None], split: str | None) -> ArrayPart:
    if labels and len(labels) != n_images:
        raise SourceError(
            f"{prefix[:-1]!r} must have a label for each of its {n_images:,} images, got {len(labels):,} labels. Pass "
            "another array as label_column (--label-column), or download the file again."
        )
    return ArrayPart(prefix, n_images, labels or [None] * n_images, split)


def _as_text(labels: np.ndarray[Any, Any], names: Sequence[str] | None) -> list[str | None]:
    values = labels.ravel().tolist()
    if names is None:
        return [_label_text(value) for value in values]
    unknown = [value for value in values if not -1 <= value < len(names)]
    if unknown:
        raise SourceError(
            f"Labels must be from 0 to {len(names) - 1:,}, as there are names of {len(names):,} classes, got "
            f"{unknown[0]}. Download the files again, or remove the file of names."
        )
    return [None if value == -1 else names[value] for value in values]


def _label_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return repair_text(value.decode("utf-8", "surrogateescape"))
    return None if is_missing(value) else str(value)


def _npz_parts(source: str, options: SourceOptions, notes: list[str]) -> list[ArrayPart]:
    file = _with_reason(source, lambda: _open(source))
    shapes: dict[str, tuple[int, ...]] = file.shapes
    images = [options.path_column] if options.path_column else _image_keys(shapes)
    known = [f"{key} {shape}" for key, shape in shapes.items()] + [f"{key} of Python objects" for key in file.objects]
    listed = ", ".join(known[:8]) or "no arrays"
    if file.objects:
        notes.append(
            f"{source!r}: {', '.join(map(repr, file.objects[:8]))} not read, as Python objects may run any code. Save "
            "labels as text: y.astype(str)."
        )
    if not images or images[0] not in shapes:
        raise SourceError(
            f"Cannot find the images in {source!r}: it has {listed}. Pass the name of the array of images: path_column "
            "(--path-column)."
        )
    parts = []
    unused = dict.fromkeys(key for key in shapes if key not in images)
    for key in images:
        shape = shapes[key]
        if len(shape) < 3:
            pixels = np.broadcast_to(np.uint8(0), shape)  # of this shape, without its memory
            as_batch(pixels, f"{source}#{key}")  # raises the error that names the reshape
        given = options.label_column
        label_key = given if isinstance(given, str) else _label_key(key, shapes)
        labels: list[str | None] = []
        unused.pop(str(label_key), None)
        if label_key is not None and label_key not in shapes:
            raise SourceError(f"{source!r} has no array {label_key!r} for the labels. It has {listed}.")
        has_tags = False
        if label_key is not None:
            array = _with_reason(source, functools.partial(file.load, label_key))
            labels, has_tags, note = _matrix_labels(array) if _is_matrix(array) else (_as_text(array, None), False, "")
            notes += [f"{source!r}: {label_key!r} has {note}"] if note else []
        part = _part(f"{source}#{key}/", shape[0], labels, _split_of(key))
        parts.append(dataclasses.replace(part, has_tags=has_tags))
    if unused and options.path_column is None and options.label_column is None:
        notes.append(
            f"{source!r}: the arrays {format_list(list(unused))} are not read. Pass another array of images as "
            "path_column (--path-column), or of labels as label_column (--label-column)."
        )
    return parts


def _is_matrix(labels: np.ndarray[Any, Any]) -> bool:
    return labels.ndim == 2 and labels.shape[1] > 1


def _matrix_labels(labels: np.ndarray[Any, Any]) -> tuple[list[str | None], bool, str]:
    """Return the labels in a matrix with a column for each class, whether they are tags, and a note."""
    if not is_binary(labels):
        return [], False, f"{labels.shape[1]} values for each image, which are no labels."
    tags = [SEPARATOR.join(map(str, np.flatnonzero(row))) for row in labels]
    if is_one_hot(labels):
        return list(tags), False, "one-hot labels: classes are numbered by their column."
    return list(tags), True, "several labels for each image: tags are numbered by their column."


def _words(key: str) -> set[str]:
    return set(re.split(r"[_\-. ]", key.lower()))


def _split_of(key: str) -> str | None:
    return next((split for word, split in _SPLITS.items() if word in _words(key)), None)


def _image_keys(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Return the names of the arrays of images, by their names, or the only one with enough axes."""
    named = [key for key in shapes if _words(key) & _IMAGE_WORDS and len(shapes[key]) >= 2]
    deep = [key for key, shape in shapes.items() if len(shape) >= 3]
    return named or (deep if len(deep) == 1 else [])


def _label_key(key: str, shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Return the name of the labels of an array of images, or None."""
    n_images = shapes[key][0]
    others = [
        other
        for other, shape in shapes.items()
        if other != key and len(shape) in (1, 2) and (shape[0] == n_images or _words(other) & _LABEL_WORDS)
    ]
    rest = _words(key) - _IMAGE_WORDS
    named = [other for other in others if _words(other) & _LABEL_WORDS and _words(other) - _LABEL_WORDS == rest]
    return next(iter(named), others[0] if len(others) == 1 and len(shapes) == 2 else None)
