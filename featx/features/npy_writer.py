"""A float32 ``.npy`` file that is filled through a memory map, and never held whole."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np

#: Bytes before the rows.
HEADER_BYTES = 128
_BLOCK_ROWS = 4096
#: The map is renewed after this many bytes were written through it.
_RENEWED_AFTER = 32 * 2**20


class MatrixFile:
    """A ``.npy`` file of rows that come in any order.

    Parameters
    ----------
    path : Path
        Made; must not exist.
    n_rows, n_features : int

    Raises
    ------
    OSError
        There is no room for it.
    """

    def __init__(self, path: Path, n_rows: int, n_features: int) -> None:
        self._path = path
        self._shape = (n_rows, n_features)
        self._touched = 0
        size = HEADER_BYTES + n_rows * n_features * 4
        with open(path, "xb") as file:
            file.write(npy_header(self._shape))
            # Space is taken now: a disk that fills up under a memory map kills the process (SIGBUS).
            if not take_space(file, size):
                _write_zeros(file, size - HEADER_BYTES)
        self._rows = self._map()

    def _map(self) -> Any:
        return np.memmap(self._path, dtype=np.float32, mode="r+", offset=HEADER_BYTES, shape=self._shape)

    def __setitem__(self, positions: Any, rows: Any) -> None:
        self._rows[positions] = rows
        self._touched += np.size(rows) * 4
        if self._touched > _RENEWED_AFTER:
            # A new map leaves the written pages to the system, so that they do not count as ours.
            self._rows = self._map()
            self._touched = 0

    def __getitem__(self, position: Any) -> Any:
        return self._rows[position]

    def keep(self, kept: np.ndarray[Any, Any]) -> None:
        """Close the gaps of all other rows, in place: a row only ever moves towards the start."""
        if len(kept) < self._shape[0]:
            for start in range(0, len(kept), _BLOCK_ROWS):
                block = kept[start : start + _BLOCK_ROWS]
                self[start : start + len(block)] = np.array(self._rows[block])
            self._shape = (len(kept), self._shape[1])
            del self._rows  # Windows truncates no file that is mapped
            with open(self._path, "rb+") as file:
                file.write(npy_header(self._shape))
                file.truncate(HEADER_BYTES + self._shape[0] * self._shape[1] * 4)


def take_space(file: IO[bytes], size: int) -> bool:
    """Take room for a whole file where the system can do that; return whether it could."""
    if not hasattr(os, "posix_fallocate"):
        return False
    os.posix_fallocate(file.fileno(), 0, size)
    return True


def npy_header(shape: tuple[int, int]) -> bytes:
    """Return a version 1.0 header of constant length, so that the number of rows can change later.

    Layout: numpy's documentation, "numpy.lib.format".
    """
    fields = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    prefix = b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER_BYTES - 10)
    return prefix + fields.encode().ljust(HEADER_BYTES - 11) + b"\n"


def _write_zeros(file: Any, size: int) -> None:
    block = bytes(2**20)
    while size > 0:
        size -= file.write(block[: min(size, len(block))])
