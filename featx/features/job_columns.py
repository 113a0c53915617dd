"""The columns of a job's tables: texts of any kind in Parquet, which pyarrow writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from featx.errors import MissingDependencyError


def import_pyarrow() -> Any:
    """Return pyarrow, with its Parquet.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"Jobs keep their tables as Parquet, which pyarrow writes: it is not installed ({error}). Install it: "
            "pip install 'featx[jobs]'."
        ) from error
    assert pyarrow.parquet
    return pa


def text_columns(name: str, texts: Sequence[str | None]) -> dict[str, Any]:
    """Return the columns of paths or labels: as text, and as bytes where they are not UTF-8."""
    pa = import_pyarrow()
    try:
        return {name: pa.array(texts, pa.string()), f"{name}_bytes": pa.nulls(len(texts), pa.binary())}
    except (UnicodeEncodeError, pa.ArrowInvalid):
        as_bytes = [None if text is None or _is_text(text) else os.fsencode(text) for text in texts]
        shown = [None if text is None else text.encode("utf-8", "backslashreplace").decode() for text in texts]
        return {name: pa.array(shown, pa.string()), f"{name}_bytes": pa.array(as_bytes, pa.binary())}


def texts_of(name: str, columns: dict[str, list[Any]]) -> list[Any]:
    """Return paths or labels from their columns."""
    if f"{name}_bytes" not in columns:
        return columns[name]
    return [
        text if as_bytes is None else os.fsdecode(as_bytes)
        for text, as_bytes in zip(columns[name], columns[f"{name}_bytes"], strict=True)
    ]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
