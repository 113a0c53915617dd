"""Data sets of Hugging Face that are streamed: they are read once, in order, a part at a time or into memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featx.datasets.folders.layout import normalize_splits
from featx.datasets.image_table import ImageTable
from featx.datasets.source_options import SourceOptions
from featx.datasets.tables.columns import table_from_frame
from featx.datasets.tables.groups import splits_by_name_error
from featx.errors import FeatxError, SourceError
from featx.images.image_lists import NamedImage, as_image_list, is_stream, stream_error
from featx.system.formatting import format_bytes

#: Rows that are read at a time; rows and bytes of a part, which is in memory.
_BATCH_ROWS, _PART_ROWS, _PART_BYTES = 16, 1024, 64 * 2**20
#: Bytes of a data set that is kept in memory, where all images are needed.
MAX_BYTES = 2 * 2**30


def read_stream(
    source: Any, options: SourceOptions, *, part_rows: int = _PART_ROWS, part_bytes: int = _PART_BYTES
) -> Iterator[ImageTable]:
    """Yield the images of a streamed data set in parts that fit into memory.

    An image has the path that its row has, else the name ``images[ROW]``. The names in a split column are unchanged,
    as their meaning depends on the others: see :func:`normalize_splits`.

    Parameters
    ----------
    source : IterableDataset or mapping of them
        Splits are read one after another.
    options : SourceOptions
    part_rows : int, default=1024
        Maximum number of images in a part.
    part_bytes : int, default=67_108_864
        Number of bytes after which a part ends.

    Raises
    ------
    SourceError
        The data set cannot be read to its end, or :func:`find_images` would raise it for a part.
    """
    splits = normalize_splits(list(map(str, source))) if isinstance(source, Mapping) and len(source) > 1 else [None]
    datasets = list(source.values()) if isinstance(source, Mapping) else [source]
    if len(datasets) > 1 and options.split_column is not None:
        raise splits_by_name_error(options.split_column)
    for dataset, split in zip(datasets, splits, strict=True):
        part: list[ImageTable] = []
        n_rows = n_bytes = n_read = 0
        for batch in _batches(dataset, min(_BATCH_ROWS, part_rows)):
            name = type(dataset).__name__
            table = _with_paths(table_from_frame(batch, options, name=name, first=n_read, is_part=True))
            part.append(table if split is None else dataclasses.replace(table, splits=[split] * len(table)))
            n_read, n_rows, n_bytes = n_read + len(batch), n_rows + len(batch), n_bytes + batch.nbytes
            if n_rows >= part_rows or n_bytes >= part_bytes:
                yield _joined(part)
                part, n_rows, n_bytes = [], 0, 0
        if part:
            yield _joined(part)


def read_into_memory(
    source: Any, options: SourceOptions, name: str = "source", *, max_bytes: int = MAX_BYTES
) -> ImageTable:
    """Return the images of a streamed data set, which stay in memory, encoded as they are.

    Parameters
    ----------
    source, options
        See :func:`read_stream`.
    name : str, default="source"
        Name of the parameter, for messages.
    max_bytes : int, default=2_147_483_648

    Raises
    ------
    InputError
        The data set is too large.
    SourceError
        See :func:`read_stream`; or there are no images.
    """
    parts: list[ImageTable] = []
    n_bytes = 0
    for part in read_stream(source, options, part_rows=_BATCH_ROWS):
        parts.append(part)
        n_bytes += sum(len(_encoded(path)) for path in part.paths)
        if n_bytes > max_bytes:
            raise stream_error(name, f"take at most {format_bytes(max_bytes)}, as its images are kept in memory")
    if not parts:
        raise SourceError("The data set has no rows. Pass another one, or another split of it.")
    table = _joined(parts)
    return dataclasses.replace(table, splits=normalize_splits(table.splits) if table.splits else None)


def as_images(images: Any, name: str = "images") -> Sequence[Any]:
    """Return the images of any collection as a sequence, those of a streamed data set in memory."""
    return read_into_memory(images, SourceOptions(), name).paths if is_stream(images) else as_image_list(images, name)


def _encoded(path: str) -> bytes:
    image = path.load() if isinstance(path, NamedImage) else None
    encoded = image.get("bytes") if isinstance(image, Mapping) else image
    return encoded if isinstance(encoded, bytes) else b""


def _batches(dataset: Any, n_rows: int) -> Iterator[Any]:
    """Yield tables of pyarrow, whose images are not decoded."""
    batches = iter(dataset.with_format("arrow").iter(batch_size=n_rows))
    n_read = 0
    while True:
        try:
            batch = next(batches, None)
        except (FeatxError, MemoryError):
            raise
        except Exception as error:  # any type: reading runs the user's functions, and libraries of storage
            raise SourceError(
                f"Cannot read the data set after {n_read:,} rows: {error or type(error).__name__}. Fix the cause, and "
                "repeat the call: features in the cache are not computed again."
            ) from error
        if batch is None:
            return
        n_read += len(batch)
        yield batch


def _with_paths(table: ImageTable) -> ImageTable:
    """Return images under the paths that their rows have, if any."""
    paths = list(table.paths)
    for index, name in enumerate(paths):
        image = name.load() if isinstance(name, NamedImage) else None
        if isinstance(name, NamedImage) and isinstance(image, Mapping) and image.get("path"):
            paths[index] = name.renamed(image["path"])
    return dataclasses.replace(table, paths=paths)


def _joined(tables: list[ImageTable]) -> ImageTable:
    splits = [split for table in tables for split in table.splits or [None] * len(table)]
    groups = [group for table in tables for group in table.groups or [None] * len(table)]
    return ImageTable(
        paths=[path for table in tables for path in table.paths],
        labels=[label for table in tables for label in table.labels],
        splits=splits if any(table.splits for table in tables) else None,
        groups=groups if any(table.groups for table in tables) else None,
        notes=tuple(dict.fromkeys(note for table in tables for note in table.notes)),
    )
