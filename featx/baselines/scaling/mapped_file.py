"""Features in files that processes map, so that no array is sent to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featx.features.selected_rows import SelectedRows, memory_map_of
from featx.system.array_types import AnyArray
from featx.system.files.temporary import temporary_error

#: Modes of memory maps whose rows are those of the file. Changes of a copy-on-write map are in memory only.
_SHARED_MODES = ("r", "r+", "w+")
#: Number of rows that must be those of the file: another file may have replaced it since it was mapped.
_N_CHECKED = 64


class MappedFile(NamedTuple):
    """A file with features."""

    path: str
    offset: int
    dtype: Any
    shape: tuple[int, ...]

    def open(self) -> AnyArray:
        """Return the features, which are read from the file when they are needed."""
        return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape).view(np.ndarray)


def mapped_file(X: Any) -> MappedFile | None:
    """Return the file that an array maps, or None if it is in memory, or not a contiguous part of a file."""
    root = memory_map_of(X)
    if root is None or root.filename is None or root.mode not in _SHARED_MODES or not X.flags.c_contiguous:
        return None
    # Views of a memory map, also those of np.asarray, start at another address; their offset is that of the map.
    offset = int(root.offset) + X.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    file = MappedFile(os.fspath(root.filename), offset, X.dtype, X.shape)
    checked = np.unique(np.linspace(0, len(X) - 1, _N_CHECKED).astype(np.int64))
    try:
        is_same = np.array_equal(file.open()[checked], X[checked], equal_nan=X.dtype.kind == "f")
    except (OSError, ValueError):  # deleted, or shorter than before
        return None
    return file if is_same else None


def without_arrays(X: Any, folder: Path) -> Any:
    """Return features that other processes can open by :func:`open_again`: arrays in memory become files.

    Parameters
    ----------
    X : ndarray, FeatureMatrix or SelectedRows
    folder : Path
        Folder for the file of an array in memory.

    Raises
    ------
    ResourceError
        The file cannot be written.
    """
    if isinstance(X, SelectedRows):
        return SelectedRows(without_arrays(X.source, folder), X.rows)
    if not isinstance(X, np.ndarray):
        return X
    if (mapped := mapped_file(X)) is not None:
        return mapped
    path = folder / "features"
    try:
        with path.open("wb") as file:
            file.write(np.ascontiguousarray(X).data)
    except OSError as error:
        raise temporary_error(folder, error) from error
    return MappedFile(str(path), 0, X.dtype, X.shape)


def open_again(features: Any) -> Any:
    """Return the features that :func:`without_arrays` received."""
    if isinstance(features, SelectedRows):
        return SelectedRows(open_again(features.source), features.rows)
    return features.open() if isinstance(features, MappedFile) else features
