"""List the images of a source in parts of the size of a shard, with one part in memory at a time."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

from featx.datasets.find import Remarks, find_table, iter_images
from featx.datasets.label_types import LabelTypeInferrer
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.columns import ImageColumns, describe_columns
from featx.datasets.tables.file import read_batches
from featx.datasets.tables.metadata import metadata_note
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
    options : SourceOptions or None, default=None
        Columns of a table and the like. None: defaults.

    Attributes
    ----------
    remarks : Remarks
        Ignored files, and notes on how the source was interpreted.
    n_images : int
        Number of images so far.
    """

    def __init__(self, sources: Sequence[str], options: SourceOptions | None = None) -> None:
        self._sources = [os.fspath(source) for source in sources]
        self._options = options or SourceOptions()
        self._table = find_table(self._sources, self._options)
        self._label_types = LabelTypeInferrer() if self._table else None
        self.remarks = Remarks()
        if self._table is not None and self._table not in self._sources:
            self.remarks.notes.append(metadata_note(self._table))
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

    def notes(self) -> list[str]:
        """Return remarks on how the source was interpreted. Complete when all parts were listed."""
        notes = [*self.remarks.notes, *filter(None, [self.remarks.no_labels_reason])]
        return [*notes, *([] if self._label_types is None else self._label_types.notes())]

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
        images = iter_images(self._sources, self.remarks, self._options)
        while batch := list(itertools.islice(images, n_images)):
            yield Part([image.path for image in batch], [image.label for image in batch])

    def _parts_of_table(self, n_images: int) -> Iterator[Part]:
        assert self._table is not None
        columns: ImageColumns | None = None
        waiting = Part([], [])
        for frame in read_batches(self._table, max(100, n_images), self.remarks.notes):
            if columns is None:
                columns = ImageColumns(frame, self._table, self._options)
                self.remarks.notes += columns.notes
            part = self._part_of_frame(frame, columns)
            waiting = Part([*waiting.paths, *part.paths], [*waiting.labels, *part.labels])
            while len(waiting.paths) >= n_images:
                yield Part(waiting.paths[:n_images], waiting.labels[:n_images])
                waiting = Part(waiting.paths[n_images:], waiting.labels[n_images:])
        if waiting.paths:
            yield waiting
        if not self.n_images and not waiting.paths:
            raise SourceError(f"{self._table!r} lists no images: it has {describe_columns(frame)} and no rows.")

    def _part_of_frame(self, frame: Any, columns: ImageColumns) -> Part:
        assert self._label_types is not None
        paths = columns.paths(frame)
        labels = columns.labels(frame)
        texts = [None] * len(paths) if labels is None else labels
        self._label_types.add(texts)
        for path in paths:
            if "://" in path and ("@" in path or "=" in path or "%" in path):  # others cannot contain a secret
                check_no_secrets(path)
        return Part(paths, texts)
