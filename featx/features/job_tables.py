"""The Parquet tables of a job: the list of images of a plan, and the table that commits the rows of a shard."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.datasets.failures import Failure
from featx.features.job_files import CommittedShard, PlannedShard
from featx.system.array_types import DigestArray
from featx.system.files.parquet import import_pyarrow


def make_plan_table(paths: Sequence[str], labels: Sequence[str | None], states: Sequence[os.stat_result | None]) -> Any:
    """Return the table of the images of one shard, with size and modification time of their files."""
    pa = import_pyarrow()
    return pa.table(
        {
            **text_columns("path", paths),
            **text_columns("label", labels),
            "size": pa.array([state and state.st_size for state in states], pa.int64()),
            "mtime_ns": pa.array([state and state.st_mtime_ns for state in states], pa.int64()),
        }
    )


def make_shard_table(
    planned: PlannedShard, label_type: str, digests: DigestArray, failures: Mapping[int, Failure]
) -> Any:
    """Return the table of a computed shard, with a line for each image.

    Parameters
    ----------
    planned : PlannedShard
    label_type : {"str", "float", "float_comma", "int", "bool"}
    digests : ndarray of uint8 of shape (n_images, 16)
        Digest of each image, zero if it was not read.
    failures : mapping of int to Failure
        Unreadable images by index.
    """
    pa = import_pyarrow()
    positions = range(len(planned.paths))
    has_digest = np.any(digests, axis=1)
    text, size = digests.tobytes().hex(), 2 * digests.shape[1]
    arrow_type = {"float": pa.float64(), "float_comma": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}.get(
        label_type
    )
    labels = {"label": pa.array(planned.labels, arrow_type)} if arrow_type else text_columns("label", planned.labels)
    texts = {
        "digest": [text[i * size : (i + 1) * size] if has_digest[i] else None for i in positions],
        "status": ["failed" if i in failures else "done" for i in positions],
        "reason": [failures[i].reason if i in failures else None for i in positions],
        "error": [failures[i].error if i in failures else None for i in positions],
    }
    columns = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    return pa.table({**text_columns("path", planned.paths), **labels, **columns})


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


def text_columns(name: str, texts: Sequence[str | None]) -> dict[str, Any]:
    """Return the columns of paths or labels: as text, and as bytes where the text is not valid UTF-8."""
    pa = import_pyarrow()
    try:
        return {name: pa.array(texts, pa.string()), f"{name}_bytes": pa.nulls(len(texts), pa.binary())}
    except (UnicodeEncodeError, pa.ArrowInvalid):
        raw = [None if text is None or _is_utf8(text) else os.fsencode(text) for text in texts]
        shown = [None if text is None else text.encode("utf-8", "backslashreplace").decode() for text in texts]
        return {name: pa.array(shown, pa.string()), f"{name}_bytes": pa.array(raw, pa.binary())}


def column_texts(name: str, columns: dict[str, list[Any]]) -> list[Any]:
    """Return the paths or labels in the columns of a table; the inverse of `text_columns`."""
    if f"{name}_bytes" not in columns:
        return columns[name]
    return [
        text if raw is None else os.fsdecode(raw)
        for text, raw in zip(columns[name], columns[f"{name}_bytes"], strict=True)
    ]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
