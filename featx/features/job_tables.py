"""The Parquet tables of a job: the list of images of a plan, and the table that commits the rows of a shard."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.datasets.label_types import cast_label
from featx.datasets.tags import Tags
from featx.features.job_files import CommittedShard, JobManifest, PlannedShard
from featx.features.table_rows import PART_COLUMNS, TableRow
from featx.system.array_types import DigestArray
from featx.system.files.parquet import import_pyarrow

#: Between tags in a plan; no tag contains it.
_TAG_SEPARATOR = "\x1f"
_ARROW_TYPES = {"float": "double", "float_comma": "double", "int": "int64", "bool": "bool", "null": "null"}
#: Path, label, split and group of an image.
_PlannedImage = tuple[str, Any, str | None, str | None]


def make_plan_table(images: Sequence[_PlannedImage], states: Sequence[os.stat_result | None]) -> Any:
    """Return the table of the images of one shard, with size and modification time of their files.

    Labels are text or tags. All plans have the same columns: whether an image has a split is known at the end.
    """
    pa = import_pyarrow()
    paths, labels, splits, groups = map(list, zip(*images, strict=True))
    texts = [_TAG_SEPARATOR.join(label) if isinstance(label, Tags) else label for label in labels]
    return pa.table(
        {
            **text_columns("path", paths),
            **text_columns("label", texts),
            "split": pa.array(splits, pa.string()),
            **text_columns("group", groups),
            "size": pa.array([state and state.st_size for state in states], pa.int64()),
            "mtime_ns": pa.array([state and state.st_mtime_ns for state in states], pa.int64()),
        }
    )


def planned_shard(columns: dict[str, list[Any]], manifest: JobManifest) -> PlannedShard:
    """Return the images of a shard from the columns of :func:`make_plan_table`."""
    splits = [name and manifest.splits.get(name) for name in columns["split"]] if manifest.splits else None
    groups = column_texts("group", columns) if manifest.has_groups else None
    states = [
        None if size is None else (size, mtime)
        for size, mtime in zip(columns["size"], columns["mtime_ns"], strict=True)
    ]
    labels = [_planned_label(label, manifest.labels) for label in column_texts("label", columns)]
    return PlannedShard(column_texts("path", columns), labels, states, splits, groups)


def _planned_label(text: str | None, label_type: str) -> Any:
    if text is not None and label_type == "tags":
        return Tags(text.split(_TAG_SEPARATOR) if text else [])
    return cast_label(text, label_type) if text else None  # empty: no image of the job has tags


def committed_rows(columns: dict[str, list[Any]]) -> Iterator[TableRow]:
    """Yield the images that have a row, from the columns of :func:`make_shard_table`."""
    none = [None] * len(columns["status"])
    parts = [column_texts(name, columns) if name in columns else none for name in PART_COLUMNS]
    paths, labels = column_texts("path", columns), column_texts("label", columns)
    lines = zip(columns["status"], paths, labels, columns["digest"], *parts, strict=True)
    yield from (TableRow(*row) for status, *row in lines if status == "done")


def failed_images(columns: dict[str, list[Any]], first: int) -> Iterator[Failure]:
    """Yield the images that could not be read, from the same columns; `first` is the number of the first image."""
    lines = zip(column_texts("path", columns), columns["status"], columns["reason"], columns["error"], strict=True)
    for number, (path, status, reason, error) in enumerate(lines, first):
        if status == "failed":
            yield Failure(number, path, reason, error)


def make_shard_table(
    planned: PlannedShard, label_type: str, digests: DigestArray, failures: Mapping[int, Failure]
) -> Any:
    """Return the table of a computed shard, with a line for each image.

    Parameters
    ----------
    planned : PlannedShard
    label_type : {"str", "float", "float_comma", "int", "bool", "tags"}
    digests : ndarray of uint8 of shape (n_images, 16)
        Digest of each image, zero if it was not read.
    failures : mapping of int to Failure
        Unreadable images by index.
    """
    pa = import_pyarrow()
    positions = range(len(planned.paths))
    has_digest = np.any(digests, axis=1)
    text, size = digests.tobytes().hex(), 2 * digests.shape[1]
    parts: dict[str, Any] = {}
    if planned.splits is not None:
        parts["split"] = pa.array(planned.splits, pa.string())
    if planned.groups is not None:
        parts |= text_columns("group", planned.groups)
    texts = {
        "digest": [text[i * size : (i + 1) * size] if has_digest[i] else None for i in positions],
        "status": ["failed" if i in failures else "done" for i in positions],
        "reason": [failures[i].reason if i in failures else None for i in positions],
        "error": [failures[i].error if i in failures else None for i in positions],
    }
    columns = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    labels = label_columns(planned.labels, label_type)
    return pa.table({**text_columns("path", planned.paths), **labels, **columns, **parts})


def shard_table_bytes(done: CommittedShard, table: Any) -> bytes:
    """Return the table of a shard as a Parquet file whose footer commits the rows."""
    buffer = io.BytesIO()
    import_pyarrow().parquet.write_table(
        table.replace_schema_metadata(done.as_metadata()),
        buffer,
        compression="zstd",
        use_dictionary=["label", "status", "reason", "error"],
        write_statistics=False,
        write_page_checksum=True,
    )
    return buffer.getvalue()


def arrow_label_type(label_type: str) -> Any:
    """Return the Arrow type of labels; that of text also for other types."""
    pa = import_pyarrow()
    if label_type == "tags":
        return pa.list_(pa.string())
    return pa.type_for_alias(_ARROW_TYPES.get(label_type, "string"))


def label_columns(labels: Sequence[Any], label_type: str) -> dict[str, Any]:
    """Return the columns of labels."""
    pa = import_pyarrow()
    if label_type == "tags":
        names = [None if label is None else list(map(_shown, label)) for label in labels]
        return {"label": pa.array(names, arrow_label_type(label_type))}
    if label_type in _ARROW_TYPES:
        return {"label": pa.array(labels, arrow_label_type(label_type))}
    return text_columns("label", [None if label is None else str(label) for label in labels])


def text_columns(name: str, texts: Sequence[str | None]) -> dict[str, Any]:
    """Return the columns of paths or labels: as text, and as bytes where the text is not valid UTF-8."""
    pa = import_pyarrow()
    try:
        return {name: pa.array(texts, pa.string()), f"{name}_bytes": pa.nulls(len(texts), pa.binary())}
    except (UnicodeEncodeError, pa.ArrowInvalid):
        raw = [None if text is None or _is_utf8(text) else os.fsencode(text) for text in texts]
        shown = [None if text is None else _shown(text) for text in texts]
        return {name: pa.array(shown, pa.string()), f"{name}_bytes": pa.array(raw, pa.binary())}


def column_texts(name: str, columns: dict[str, list[Any]]) -> list[Any]:
    """Return paths, labels or groups in the columns of a table; the inverse of `text_columns` and `label_columns`."""
    if f"{name}_bytes" not in columns:
        return [Tags(value) if isinstance(value, list) else value for value in columns[name]]
    return [
        text if raw is None else os.fsdecode(raw)
        for text, raw in zip(columns[name], columns[f"{name}_bytes"], strict=True)
    ]


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
