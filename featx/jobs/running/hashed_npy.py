"""The rows of a shard, hashed and brought to the disk while others are computed."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from featx.features.npy_writer import HEADER_BYTES, NpyWriter, npy_header
from featx.images.image import DIGEST_SIZE

_BLOCK_BYTES = 4 * 2**20


class HashedMatrixFile(NpyWriter):
    """A ``.npy`` file whose checksum is nearly known when its last row comes; a context manager.

    Parameters
    ----------
    path, n_rows, n_features
        As of :class:`featx.features.npy_writer.NpyWriter`.
    """

    def __init__(self, path: Path, n_rows: int, n_features: int) -> None:
        super().__init__(path, n_rows, n_features)
        self._there = np.zeros(n_rows, dtype=bool)
        self._n_rows_hashed, self._n_at_once = 0, max(1, _BLOCK_BYTES // (4 * n_features))
        self._is_whole = True
        self._hash = new_hash()
        self._hash.update(npy_header((n_rows, n_features)))
        self._file = open(path, "rb+", buffering=0)  # noqa: SIM115  # closed with the rest
        self._file.seek(HEADER_BYTES)
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="featx-hash")
        self._hashed: list[concurrent.futures.Future[None]] = []

    def __enter__(self) -> HashedMatrixFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._file.close()

    def __setitem__(self, positions: Any, rows: Any) -> None:
        super().__setitem__(positions, rows)
        self._is_whole = self._is_whole and not np.any(self._there[positions])  # what was hashed is to stay
        self._there[positions] = True
        while (stop := self._n_rows_hashed + self._n_at_once) <= len(self._there):
            if not self._there[self._n_rows_hashed : stop].all():
                break
            self._hash_until(stop)

    def _hash_until(self, stop: int) -> None:
        n_bytes = (stop - self._n_rows_hashed) * 4 * self._shape[1]
        self._n_rows_hashed = stop
        self._hashed.append(self._pool.submit(self._hash_bytes, n_bytes))

    def _hash_bytes(self, n_bytes: int) -> None:
        while n_bytes and (block := self._file.read(n_bytes)):
            self._hash.update(block)
            n_bytes -= len(block)
        os.fsync(self._file.fileno())

    def keep(self, kept: np.ndarray[Any, Any]) -> None:
        """As of NpyWriter; rows that move have to be hashed anew."""
        self._is_whole = self._is_whole and len(kept) == len(self._there)
        for part in self._hashed:
            if not self._is_whole:
                part.cancel()
        super().keep(kept)

    def finish(self) -> concurrent.futures.Future[str]:
        """Begin with what is left to do, in a thread; what it gives is the checksum, when all is on disk."""
        self._rows = None
        if self._is_whole:
            self._hash_until(len(self._there))
        return self._pool.submit(self._finish)

    def _finish(self) -> str:
        if self._is_whole:
            for part in self._hashed:
                part.result()
            return str(self._hash.hexdigest())
        return checksum_while_syncing(self._path)


def checksum_while_syncing(path: Path) -> str:
    """Bring a file to the disk, and return its checksum."""
    with open(path, "rb+") as file, concurrent.futures.ThreadPoolExecutor(1) as pool:
        synced = pool.submit(os.fsync, file.fileno())
        checksum = checksum_of(path)
        synced.result()
    return checksum


def checksum_of(path: Path) -> str:
    """Return the BLAKE2b of a file, 16 bytes in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, new_hash).hexdigest()


def new_hash() -> Any:
    """Return a hash of nothing yet."""
    return hashlib.blake2b(digest_size=DIGEST_SIZE)
