"""A ``.npy`` file that is hashed and written to disk while its other rows are computed."""

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


class HashedNpyWriter(NpyWriter):
    """A ``.npy`` file whose checksum is computed while it is written; a context manager.

    Parameters
    ----------
    path, n_rows, n_features
        See :class:`featx.features.npy_writer.NpyWriter`.
    """

    def __init__(self, path: Path, n_rows: int, n_features: int) -> None:
        super().__init__(path, n_rows, n_features)
        self._is_written = np.zeros(n_rows, dtype=bool)
        self._n_rows_hashed, self._block_rows = 0, max(1, _BLOCK_BYTES // (4 * n_features))
        self._is_unchanged = True  # so far, no hashed row was written again
        self._hash = _new_hash()
        self._hash.update(npy_header((n_rows, n_features)))
        self._file = open(path, "rb+", buffering=0)  # noqa: SIM115  # closed in __exit__
        self._file.seek(HEADER_BYTES)
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="featx-hash")
        self._blocks: list[concurrent.futures.Future[None]] = []

    def __enter__(self) -> HashedNpyWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._file.close()

    def __setitem__(self, positions: Any, rows: Any) -> None:
        super().__setitem__(positions, rows)
        self._is_unchanged = self._is_unchanged and not np.any(self._is_written[positions])
        self._is_written[positions] = True
        while (stop := self._n_rows_hashed + self._block_rows) <= len(self._is_written):
            if not self._is_written[self._n_rows_hashed : stop].all():
                break
            self._hash_until(stop)

    def _hash_until(self, stop: int) -> None:
        n_bytes = (stop - self._n_rows_hashed) * 4 * self._shape[1]
        self._n_rows_hashed = stop
        self._blocks.append(self._pool.submit(self._hash_bytes, n_bytes))

    def _hash_bytes(self, n_bytes: int) -> None:
        while n_bytes and (block := self._file.read(n_bytes)):
            self._hash.update(block)
            n_bytes -= len(block)
        os.fsync(self._file.fileno())

    def keep(self, kept: np.ndarray[Any, Any]) -> None:
        """Remove all other rows, as NpyWriter does; rows that move are hashed again."""
        self._is_unchanged = self._is_unchanged and len(kept) == len(self._is_written)
        for block in self._blocks:
            if not self._is_unchanged:
                block.cancel()
        super().keep(kept)

    def finish(self) -> concurrent.futures.Future[str]:
        """Return a future of the checksum, which is done when all rows are on disk."""
        self._rows = None
        if self._is_unchanged:
            self._hash_until(len(self._is_written))
        return self._pool.submit(self._finish)

    def _finish(self) -> str:
        if self._is_unchanged:
            for block in self._blocks:
                block.result()
            return str(self._hash.hexdigest())
        return _sync_and_hash(self._path)


def _sync_and_hash(path: Path) -> str:
    """Write a file to disk, and return its checksum."""
    with open(path, "rb+") as file, concurrent.futures.ThreadPoolExecutor(1) as pool:
        synced = pool.submit(os.fsync, file.fileno())
        checksum = checksum_of(path)
        synced.result()
    return checksum


def checksum_of(path: Path) -> str:
    """Return the BLAKE2b of a file: 16 bytes in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _new_hash).hexdigest()


def _new_hash() -> Any:
    return hashlib.blake2b(digest_size=DIGEST_SIZE)
