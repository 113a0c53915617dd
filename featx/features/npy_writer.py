"""Write a float32 ``.npy`` file without holding the matrix in memory: rows in any order, or one after another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from featx.system.arrays import npy_header

#: Length of the header. numpy pads it so that the number of rows can change later.
HEADER_BYTES = 128
_BLOCK_ROWS = 4096
_REMAP_BYTES = 32 * 2**20


class NpyWriter:
    """A ``.npy`` file whose rows are written in any order.

    Parameters
    ----------
    path : Path
        Path of a file that does not exist yet.
    n_rows, n_features : int
    block_rows : int, default=4096
        Number of rows that :meth:`keep` moves at once.
    remap_bytes : int, default=33554432
        Number of bytes after which the memory map is renewed, so that written pages do not count as memory of this
        process.

    Raises
    ------
    OSError
        The file cannot be created, or the disk is full.
    """

    def __init__(
        self,
        path: Path,
        n_rows: int,
        n_features: int,
        *,
        block_rows: int = _BLOCK_ROWS,
        remap_bytes: int = _REMAP_BYTES,
    ) -> None:
        self._path = path
        self._shape = (n_rows, n_features)
        self._block_rows = block_rows
        self._remap_bytes = remap_bytes
        self._written_bytes = 0
        size = HEADER_BYTES + n_rows * n_features * 4
        with open(path, "xb") as file:
            file.write(npy_header(self._shape))
            # A disk that fills up under a memory map kills the process (SIGBUS).
            if not allocate_space(file, size):
                _write_zeros(file, size - HEADER_BYTES)
        self._rows = self._map()

    def _map(self) -> Any:
        return np.memmap(self._path, dtype=np.float32, mode="r+", offset=HEADER_BYTES, shape=self._shape)

    def __setitem__(self, positions: Any, rows: Any) -> None:
        self._rows[positions] = rows
        self._written_bytes += np.size(rows) * 4
        if self._written_bytes > self._remap_bytes:
            self._rows = self._map()
            self._written_bytes = 0

    def __getitem__(self, position: Any) -> Any:
        return self._rows[position]

    def keep(self, kept: np.ndarray[Any, Any]) -> None:
        """Remove all rows but some, in place.

        Parameters
        ----------
        kept : ndarray of int of shape (n_kept,)
            Sorted indices of the rows to keep: a row only moves towards the start.
        """
        if len(kept) < self._shape[0]:
            for start in range(0, len(kept), self._block_rows):
                block = kept[start : start + self._block_rows]
                self[start : start + len(block)] = np.array(self._rows[block])
            self._shape = (len(kept), self._shape[1])
            del self._rows  # Windows does not truncate a mapped file
            with open(self._path, "rb+") as file:
                file.write(npy_header(self._shape))
                file.truncate(HEADER_BYTES + self._shape[0] * self._shape[1] * 4)


class NpyAppender:
    """A ``.npy`` file to which rows are appended. Leaving it as a context writes their number and closes the file.

    Parameters
    ----------
    path : Path
        Path of a file that does not exist yet.
    n_features : int
    """

    def __init__(self, path: Path, n_features: int) -> None:
        self._file = open(path, "xb")  # noqa: SIM115  closed by __exit__
        self._shape = (0, n_features)
        self._file.write(npy_header(self._shape))

    def append(self, rows: np.ndarray[Any, Any]) -> None:
        """Write rows at the end."""
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").data)
        self._shape = (self._shape[0] + len(rows), self._shape[1])

    def __enter__(self) -> NpyAppender:
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._file.seek(0)
            self._file.write(npy_header(self._shape))


def allocate_space(file: IO[bytes], size: int) -> bool:
    """Reserve disk space for a file where the system supports it; return whether it does."""
    if not hasattr(os, "posix_fallocate"):
        return False
    os.posix_fallocate(file.fileno(), 0, size)
    return True


def _write_zeros(file: Any, size: int) -> None:
    block = bytes(2**20)
    while size > 0:
        size -= file.write(block[: min(size, len(block))])
