"""The ledger of one extraction: status, digest and file state of each image, failures, and the final audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from featx.datasets.failures import Failure
from featx.errors import AuditError, UnreadableImageError
from featx.extraction.prefetch import SameAs
from featx.images.image import DIGEST_SIZE, Source, padded_digest
from featx.system.array_types import DigestArray, IntArray

#: File state of an image that is not a file.
UNKNOWN_STATE = (-1, -1)
CACHED, COMPUTED, FAILED = 1, 2, 3


class RowArray(Protocol):
    """Array that receives rows: float32 of shape (n_samples, n_features), in memory or on disk."""

    def __setitem__(self, indices: Any, rows: Any) -> None: ...

    def __getitem__(self, index: Any) -> Any: ...


class Ledger:
    """Record what happens to each image of one extraction.

    Every image gets its row exactly once; :meth:`audit` checks it.

    Parameters
    ----------
    n_images : int
    rows : array of float32 of shape (n_samples, n_features)
        Array that receives the rows.
    progress : callable, default=None
        Function that is called with the number of images done since the last call.

    Attributes
    ----------
    digests : ndarray of uint8 of shape (n_samples, 16)
        Digests of the images; zeros for those that could not be read.
    file_states : ndarray of int64 of shape (n_samples, 2)
        Size and modification time (ns) of each file when it was read; `UNKNOWN_STATE` for images without a file.
    """

    def __init__(self, n_images: int, rows: RowArray, progress: Callable[[int], object] | None = None) -> None:
        self._rows = rows
        self._progress = progress or (lambda n_images: None)
        self._status = np.zeros(n_images, dtype=np.uint8)
        self._padded: dict[int, str] = {}
        self._errors: dict[int, UnreadableImageError] = {}
        self.digests: DigestArray = np.zeros((n_images, DIGEST_SIZE), dtype=np.uint8)
        self.file_states = np.full((n_images, 2), UNKNOWN_STATE, dtype=np.int64)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self._status)

    @property
    def n_computed(self) -> int:
        """Number of distinct images of which at least one view was run through the network."""
        return int((self._status == COMPUTED).sum())

    @property
    def n_cached(self) -> int:
        """Number of images whose row was in the cache, or was computed for an equal image."""
        return int((self._status == CACHED).sum())

    @property
    def padded(self) -> list[int]:
        """Indices of truncated images whose missing part was filled, in input order."""
        return sorted(self._padded)

    @property
    def failures(self) -> list[Failure]:
        """Images that cannot be read, in input order."""
        return [
            Failure(index, error.image, error.reason, type(error).__name__)
            for index, error in sorted(self._errors.items())
        ]

    def padded_name(self, index: int) -> str:
        """Return the name of a padded image."""
        return self._padded[index]

    def record(self, index: int, source: Source) -> None:
        """Record how an image was read."""
        self._padded.pop(index, None)
        if source.is_padded:
            self._padded[index] = source.name
        if source.state is not None:
            self.file_states[index] = source.state.st_size, source.state.st_mtime_ns
        if source.digest:
            self.digests[index] = np.frombuffer(source.digest, dtype=np.uint8)

    def fill(self, indices: IntArray, rows: Any, status: int | IntArray) -> None:
        """Set the rows of images; `status` is `CACHED` or `COMPUTED`, one or one for each image."""
        self._rows[indices] = rows
        self._settle(indices, status)

    def fail(self, index: int, error: UnreadableImageError) -> None:
        """Give an image that cannot be read a row of NaN."""
        self._errors[index] = error
        self._rows[index] = np.nan
        self._settle(np.array([index]), FAILED)

    def fill_same(self, item: SameAs) -> bool:
        """Give an image what the image with the same content has: its row or its error.

        Returns
        -------
        bool
            False, and nothing is done, if that one has no row, or was read again with other content.
        """
        index, first = item.index, item.first
        digest = padded_digest(item.source.digest) if first in self._padded else item.source.digest
        if not self._status[first] or self.digests[first].tobytes() != digest:
            return False
        if error := self._errors.get(first):
            self.fail(index, type(error)(error.reason, item.source.name, index))
            return True
        if first in self._padded:
            self._padded[index] = item.source.name
        self.digests[index] = self.digests[first]
        self.fill(np.array([index]), self._rows[first], CACHED)
        return True

    def audit(self) -> None:
        """Check that every image has a row or an error.

        Raises
        ------
        AuditError
        """
        missing = np.flatnonzero(self._status == 0)
        if len(missing):
            raise AuditError(
                f"{len(missing):,} images have no row, the first at index {missing[0]}. Please report this."
            )
        n_failed = int((self._status == FAILED).sum())
        if n_failed != len(self._errors):
            raise AuditError(f"{n_failed:,} images failed, with {len(self._errors):,} errors. Please report this.")

    def _settle(self, indices: IntArray, status: int | IntArray) -> None:
        if self._status[indices].any():
            raise AuditError(f"Images {indices[:3].tolist()} … were given a row twice. Please report this.")
        self._status[indices] = status
        self._progress(len(indices))
