"""List the images of a source in parts of the size of a shard, with one part in memory at a time."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

from featx.datasets.find import find_table, iter_images
from featx.datasets.label_types import LabelTypeInferrer
from featx.datasets.table_columns import (
    LABEL_COLUMNS,
    PATH_COLUMNS,
    base_folder,
    describe_columns,
    get_column,
    missing_path_column_error,
    normalize_labels,
    resolve_paths,
)
from featx.datasets.table_file import read_batches
from featx.errors import SourceError
from featx.system.files.url_secrets import check_no_secrets


@dataclasses.dataclass(frozen=True)
class Part:
    """Successive images, and the text of their labels.

    Attributes
    ----------
    paths : list of str
        Path or URL of each image.
    labels : sequence of (str or None)
        Label of each image.
    """

    paths: list[str]
    labels: Sequence[str | None]


class ImageListing:
    """Lists the images of a source once, in order.

    Parameters
    ----------
    sources : sequence of str
        Sources; see :func:`featx.find_images`.
    path_column, label_column : str or None, default=None
        Columns of a table.

    Attributes
    ----------
    ignored : Counter
        Number of ignored files, by kind.
    n_images : int
        Number of images so far.
    """

    def __init__(self, sources: Sequence[str], path_column: str | None = None, label_column: str | None = None) -> None:
        self._sources = [os.fspath(source) for source in sources]
        self._columns = (path_column, label_column)
        self._table = find_table(self._sources, {"--path-column": path_column, "--label-column": label_column})
        self._label_types = LabelTypeInferrer() if self._table else None
        self.ignored: collections.Counter[str] = collections.Counter()
        self.n_images = 0
        self._hash = hashlib.blake2b(digest_size=16)
        for source in self._sources:
            check_no_secrets(source)

    @property
    def label_type(self) -> str:
        """Type of the labels: "str", "int", "float" or "bool". Known when all parts were listed.

        Raises
        ------
        SourceError
            The labels mix numbers with fractions and text.
        """
        return "str" if self._label_types is None else self._label_types.label_type(str(self._table))

    @property
    def digest(self) -> str:
        """Digest of all paths and labels, in order. Known when all parts were listed."""
        return self._hash.hexdigest()

    def parts(self, n_images: int) -> Iterator[Part]:
        """Yield all images in parts of `n_images`.

        Raises
        ------
        SourceError, MissingDependencyError
            See :func:`featx.find_images`.
        """
        for part in self._parts_of_folder(n_images) if self._table is None else self._parts_of_table(n_images):
            self.n_images += len(part.paths)
            lines = zip(part.paths, part.labels, strict=True)
            text = "".join(f"{path}\0" if label is None else f"{path}\0={label}\0" for path, label in lines)
            self._hash.update(text.encode("utf-8", "surrogatepass"))
            yield part

    def _parts_of_folder(self, n_images: int) -> Iterator[Part]:
        images = iter_images(self._sources, self.ignored)
        while batch := list(itertools.islice(images, n_images)):
            yield Part([path for path, _, _ in batch], [label for _, label, _ in batch])

    def _parts_of_table(self, n_images: int) -> Iterator[Part]:
        assert self._table is not None
        n_lines = 0
        folder: str | None = None
        frame = None
        waiting = Part([], [])
        for frame in read_batches(self._table, max(100, n_images)):
            part = self._part_of_frame(frame, n_lines)
            n_lines += len(part.paths)
            folder = base_folder(self._table, part.paths[:100]) if folder is None else folder
            waiting = Part([*waiting.paths, *resolve_paths(folder, part.paths)], [*waiting.labels, *part.labels])
            while len(waiting.paths) >= n_images:
                yield Part(waiting.paths[:n_images], waiting.labels[:n_images])
                waiting = Part(waiting.paths[n_images:], waiting.labels[n_images:])
        if waiting.paths:
            yield waiting
        if not n_lines:
            columns = "no rows" if frame is None else f"{describe_columns(frame)} and no rows"
            raise SourceError(f"{self._table!r} lists no images: it has {columns}.")

    def _part_of_frame(self, frame: Any, n_before: int) -> Part:
        assert self._table is not None
        assert self._label_types is not None
        paths = get_column(frame, self._table, "path", self._columns[0], PATH_COLUMNS)
        if paths is None:
            raise missing_path_column_error(frame, self._table)
        if None in paths:
            raise SourceError(f"{self._table!r} has no path in row {n_before + paths.index(None)}.")
        labels = get_column(frame, self._table, "label", self._columns[1], LABEL_COLUMNS)
        texts = [None] * len(paths) if labels is None else normalize_labels(labels)
        self._label_types.add(texts)
        names = [str(path) for path in paths]
        for path in names:
            if "://" in path and ("@" in path or "=" in path or "%" in path):  # others cannot contain a secret
                check_no_secrets(path)
        return Part(names, texts)
