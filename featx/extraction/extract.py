"""Extract the rows of images: read and decode, run, cache. One pass, in the order of the input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from featx.errors import StoreError, UnreadableImageError
from featx.extraction.compute import RowComputer
from featx.extraction.ledger import CACHED, COMPUTED, Ledger, RowArray
from featx.extraction.options import Resolved
from featx.extraction.prefetch import (
    LOOKUP_SIZE,
    Decoded,
    Failed,
    ReadImage,
    ReadOptions,
    SameAs,
    Stored,
    prefetch,
    read_images,
)
from featx.extraction.row_cache import RowCache, open_row_cache
from featx.images.arrays import check_values
from featx.images.image import DIGEST_SIZE, Image
from featx.images.tta import ViewSet
from featx.system.array_types import DigestArray, FloatArray

#: Calls with fewer images are small: those of a service.
SMALL_CALL = 64


def extract_rows(
    images: Sequence[Image],
    resolved: Resolved,
    *,
    cache: Path | None,
    read_only: bool = False,
    raise_on_error: bool = False,
    progress: Callable[[int], object] | None = None,
) -> tuple[FloatArray, DigestArray, dict[int, str]]:
    """Return the rows of images, their digests, and the reason for each image that cannot be read.

    Parameters
    ----------
    images : sequence of images
    resolved : Resolved
    cache : Path or None
        Cache folder. None: no caching.
    read_only : bool, default=False
        Whether to add no rows to the cache. Threads and processes do not wait for each other then.
    raise_on_error : bool, default=False
        Whether to raise the error of the first image that cannot be read.
    progress : callable, default=None
        Function that is called with the number of images done since the last call.

    Returns
    -------
    rows : ndarray of float32 of shape (n_images, n_features)
        NaN for images that cannot be read.
    digests : ndarray of uint8 of shape (n_images, 16)
    errors : dict of int to str
        Reasons by index.
    """
    rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
    ledger = extract_into(
        rows, images, resolved, cache=cache, read_only=read_only, raise_on_error=raise_on_error, progress=progress
    )
    return rows, ledger.digests, {failure.position: failure.reason for failure in ledger.failures}


def extract_into(
    rows: RowArray,
    images: Sequence[Image],
    resolved: Resolved,
    *,
    cache: Path | None,
    read_only: bool = False,
    is_buffered: bool = False,
    raise_on_error: bool = True,
    progress: Callable[[int], object] | None = None,
    lookup_size: int = LOOKUP_SIZE,
) -> Ledger:
    """Fill an array with the rows of images, from the cache or by running the backbone.

    Computed rows are committed to the cache even if an error ends the call.

    Parameters
    ----------
    rows : array of float32 of shape (n_images, n_features)
        Output array; of shape (n_images, n_views, n_features) if the views are not averaged. Images that cannot be
        read get NaN.
    images : sequence of images
        See :func:`featx.images.image.as_image_list`.
    resolved : Resolved
    cache : Path or None
        Cache folder. None: no caching.
    read_only : bool, default=False
        Whether to add no rows to the cache.
    is_buffered : bool, default=False
        Whether to add rows together with those of other small calls; see :class:`featx.store.view_store.RowBuffer`.
    raise_on_error : bool, default=True
        Whether to raise the error of the first image that cannot be read.
    progress : callable, default=None
        Function that is called with the number of images done since the last call.
    lookup_size : int, default=2048
        Number of images that are looked up in the cache at a time.

    Returns
    -------
    Ledger
        Digests, file states, failures and counts.

    Raises
    ------
    UnreadableImageError, InputError
        An image cannot be read, or arrays have values outside of their range, with ``raise_on_error=True``.
    EngineError
        The backbone cannot be run, or returns invalid rows.
    StoreError
        The cache cannot be read or written.
    AuditError
        An image has no row.
    """
    if raise_on_error:  # otherwise, each image with other values has its own error
        check_values(images, resolved.recipe.pixel_range)
    recipe, n_features = resolved.recipe, resolved.n_features
    row_cache = open_row_cache(cache, recipe, n_features, read_only=read_only, is_buffered=is_buffered)
    computer = RowComputer(resolved, row_cache, cache)
    options = _read_options(resolved, 2 * computer.batch_size, lookup_size)
    ledger = Ledger(len(images), rows, progress)
    return _extract(images, _Extraction(options, row_cache, computer, ledger, raise_on_error))


def read_first(images: Sequence[Image], resolved: Resolved, *, cache: Path | None) -> list[FloatArray | ReadImage]:
    """Return the row of each image that is in the cache, and read the others, for :func:`compute_read_images`.

    Any number of threads may call it. They wait for each other only for large images, and calls of several images share
    the threads that decode.

    Parameters
    ----------
    images : sequence of images
    resolved : Resolved
    cache : Path or None
        Cache folder, which is only read. None: no caching.
    """
    options = _read_options(resolved, 1)
    row_cache = open_row_cache(cache, resolved.recipe, resolved.n_features, read_only=True)
    try:
        items = read_images(images, options, row_cache)
        digests = [item.source.digest for item in items if isinstance(item, Stored)]
        is_cached, rows = row_cache.read_rows(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_SIZE))
    finally:
        row_cache.close()
    stored, cached_rows = iter(is_cached), iter(rows)
    results: list[FloatArray | ReadImage] = []
    for item, image in zip(items, images, strict=True):
        if isinstance(item, Stored) and next(stored):
            results.append(next(cached_rows))
        else:  # a row that proved corrupt is computed again
            read = read_images([image], options)[0] if isinstance(item, Stored) else item
            assert not isinstance(read, Stored)
            results.append(ReadImage(read))
    return results


def compute_read_images(
    images: Sequence[ReadImage], resolved: Resolved, *, cache: Path | None, read_only: bool
) -> tuple[FloatArray, Ledger]:
    """Return the rows of images that were read, without looking them up in the cache, and the ledger.

    Parameters
    ----------
    images : sequence of ReadImage
    resolved : Resolved
    cache : Path or None
        Cache folder. None: no caching.
    read_only : bool
        Whether to add no rows to the cache. Otherwise they are added together with those of other calls.
    """
    recipe, n_features = resolved.recipe, resolved.n_features
    row_cache = open_row_cache(None if read_only else cache, recipe, n_features, is_buffered=True)
    computer = RowComputer(resolved, row_cache, cache)
    rows = np.empty((len(images), n_features), dtype=np.float32)
    ledger = Ledger(len(images), rows)
    options = _read_options(resolved, 2 * computer.batch_size)
    return rows, _extract(images, _Extraction(options, row_cache, computer, ledger, raise_on_error=False))


def _read_options(resolved: Resolved, n_ahead: int, lookup_size: int = LOOKUP_SIZE) -> ReadOptions:
    return ReadOptions(
        ViewSet.of(resolved.recipe).decoded_size,
        resolved.recipe.resize,
        resolved.max_pixels,
        resolved.pad_truncated,
        window=resolved.recipe.pixel_range,
        n_ahead=n_ahead,
        lookup_size=lookup_size,
    )


def _extract(images: Sequence[Image | ReadImage], extraction: _Extraction) -> Ledger:
    try:
        extraction.run(images)
    except BaseException:
        with contextlib.suppress(StoreError):  # the first error matters more
            extraction.close()
        raise
    extraction.close()
    extraction.ledger.audit()
    return extraction.ledger


class _Extraction:
    """The passes over the images of one call of :func:`extract_into`."""

    def __init__(
        self, options: ReadOptions, cache: RowCache, computer: RowComputer, ledger: Ledger, raise_on_error: bool
    ) -> None:
        self._options = options
        self._cache = cache
        self._computer = computer
        self._batch_size = computer.batch_size
        self.ledger = ledger
        self._raise_on_error = raise_on_error
        self._batch: list[Decoded] = []
        self._stored: list[int] = []
        self._same: list[SameAs] = []

    def run(self, images: Sequence[Image | ReadImage]) -> None:
        """Give every image a row or an error."""
        indices: Sequence[int] = range(len(images))
        while indices:  # again for rows that prove corrupt, and files that change meanwhile
            indices = self._pass_over(images, indices) or self._fill_same()

    def close(self) -> None:
        """Commit what was computed, and let other processes compute."""
        try:
            self._cache.close()
        finally:
            self._computer.release()

    def _pass_over(self, images: Sequence[Image | ReadImage], indices: Sequence[int]) -> list[int]:
        """Read, decode and compute; return the images whose cached row proved corrupt."""
        corrupt: list[int] = []
        for item in prefetch(images, indices, self._options, self._cache):
            self.ledger.record(item.index, item.source)
            if item.source.path:
                self._cache.add_file(item.source)
            match item:
                case Decoded():
                    self._batch.append(item)
                case Stored():
                    self._stored.append(item.index)
                case SameAs():
                    self._same.append(item)
                case Failed() if self._raise_on_error:
                    raise self._first_error(item)
                case Failed():
                    self.ledger.fail(item.index, item.error)
            if len(self._batch) == self._batch_size:
                self._compute_batch()
            if len(self._stored) == self._options.lookup_size:
                corrupt += self._fill_stored()
        self._compute_batch()
        return corrupt + self._fill_stored()

    def _compute_batch(self) -> None:
        """Fill the rows of decoded images."""
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        indices = np.array([item.index for item in batch])
        pixels = np.stack([item.pixels for item in batch])
        rows, is_computed = self._computer.compute_rows(pixels, self.ledger.digests[indices])
        self.ledger.fill(indices, rows, np.where(is_computed, COMPUTED, CACHED))
        self._cache.commit(only_if_due=True)

    def _fill_stored(self) -> list[int]:
        """Fill the rows of stored images; return those whose row proved corrupt."""
        if not self._stored:
            return []
        indices, self._stored = np.array(self._stored), []
        is_cached, rows = self._cache.read_rows(self.ledger.digests[indices])
        self.ledger.fill(indices[is_cached], rows, CACHED)
        self._cache.commit(only_if_due=True)
        corrupt: list[int] = indices[~is_cached].tolist()
        return corrupt

    def _fill_same(self) -> list[int]:
        """Give equal images the same row or error; return the indices whose counterpart has changed since."""
        same, self._same = self._same, []
        return [item.index for item in same if not self.ledger.fill_same(item)]

    def _first_error(self, failed: Failed) -> UnreadableImageError:
        """Return the error for the first of the images with the same content, whichever thread was faster."""
        equal = [item for item in self._same if item.first == failed.index and item.index < failed.index]
        if not equal:
            return failed.error
        first = min(equal, key=lambda item: item.index)
        return type(failed.error)(failed.error.reason, first.source.name, first.index)
