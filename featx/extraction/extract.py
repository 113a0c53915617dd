"""Extract the rows of images: read and decode, run, cache. One pass, in the order of the input."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from featx.errors import StoreError
from featx.extraction.compute import RowComputer
from featx.extraction.ledger import CACHED, COMPUTED, Ledger, RowArray
from featx.extraction.options import Resolved
from featx.extraction.row_cache import open_row_cache
from featx.images.image import Image
from featx.images.prefetch import Decoded, Failed, Prefetcher, SameAs, Stored
from featx.system.array_types import DigestArray, FloatArray

_LOOKUP_SIZE = 2048


def extract_rows(
    images: Sequence[Image],
    resolved: Resolved,
    *,
    cache: Path | None,
    progress: Callable[[int], object] | None = None,
) -> tuple[FloatArray, DigestArray, dict[int, str]]:
    """Return the rows of images, their digests, and the reason for each image that cannot be read.

    Parameters
    ----------
    images : sequence of images
    resolved : Resolved
    cache : Path or None
        Cache folder. None: no caching.
    progress : callable, default=None
        Function that is called with the number of images finished since the last call.

    Returns
    -------
    rows : ndarray of float32 of shape (n_images, n_features)
        NaN for images that cannot be read.
    digests : ndarray of uint8 of shape (n_images, 16)
    errors : dict of int to str
        Reasons by index.
    """
    rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
    ledger = extract_into(rows, images, resolved, cache=cache, raise_on_error=False, progress=progress)
    return rows, ledger.digests, {failure.position: failure.reason for failure in ledger.failures}


def extract_into(
    rows: RowArray,
    images: Sequence[Image],
    resolved: Resolved,
    *,
    cache: Path | None,
    raise_on_error: bool = True,
    progress: Callable[[int], object] | None = None,
    lookup_size: int = _LOOKUP_SIZE,
) -> Ledger:
    """Fill an array with the rows of images, from the cache or by running the backbone.

    What is computed is committed to the cache even if an error ends the call.

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
    raise_on_error : bool, default=True
        Whether to raise the error of the first image that cannot be read.
    progress : callable, default=None
        Function that is called with the number of images finished since the last call.
    lookup_size : int, default=2048
        Number of images that are looked up in the cache at a time.

    Returns
    -------
    Ledger
        Digests, file states, failures and counts.

    Raises
    ------
    UnreadableImageError
        An image cannot be read, with ``raise_on_error=True``.
    EngineError
        The backbone cannot be run, or returns invalid rows.
    StoreError
        The cache cannot be read or written.
    AuditError
        An image has no row.
    """
    ledger = Ledger(images, rows, progress)
    extraction = _Extraction(images, resolved, ledger, cache, raise_on_error=raise_on_error, lookup_size=lookup_size)
    try:
        extraction.run()
    except BaseException:
        with contextlib.suppress(StoreError):  # the first error matters more
            extraction.close()
        raise
    extraction.close()
    ledger.audit()
    return ledger


class _Extraction:
    """The passes over the images of one call of :func:`extract_into`."""

    def __init__(
        self,
        images: Sequence[Image],
        resolved: Resolved,
        ledger: Ledger,
        cache: Path | None,
        *,
        raise_on_error: bool,
        lookup_size: int,
    ) -> None:
        self._images = images
        self._ledger = ledger
        self._raise_on_error = raise_on_error
        self._lookup_size = lookup_size
        self._same: list[SameAs] = []
        self._cache = open_row_cache(cache, resolved.recipe, resolved.n_features)
        self._computer = RowComputer(resolved, self._cache, cache)
        self._batch_size = self._computer.batch_size
        self._prefetcher = Prefetcher(
            images,
            self._computer.image_size,
            resolved.recipe.resize,
            n_ahead=2 * self._batch_size,
            is_stored=self._cache.has_row,
            max_pixels=resolved.max_pixels,
            pad_truncated=resolved.pad_truncated,
        )

    def run(self) -> None:
        """Give every image a row or an error."""
        indices: Sequence[int] = range(len(self._images))
        while indices:  # again for rows that prove corrupt, and files that change meanwhile
            indices = self._pass_over(indices) or self._fill_same()

    def close(self) -> None:
        """Commit what was computed, and let other processes compute."""
        try:
            self._cache.close()
        finally:
            self._computer.release()

    def _pass_over(self, indices: Sequence[int]) -> list[int]:
        """Read, decode and compute; return the images whose cached row proved corrupt."""
        batch: list[Decoded] = []
        stored: list[int] = []
        corrupt: list[int] = []
        for item in self._prefetcher.prefetch(self._unknown(indices)):
            self._ledger.record(item.index, item.source)
            self._cache.add_file(self._images[item.index], item.source)
            self._cache.commit(only_if_due=True)
            match item:
                case Decoded():
                    batch.append(item)
                case Stored():
                    stored.append(item.index)
                case SameAs():
                    self._same.append(item)
                case Failed():
                    self._fail(item)
            if len(batch) == self._batch_size:
                self._compute(batch)
                batch = []
            if len(stored) == self._lookup_size:
                corrupt += self._fill_cached(stored)
                stored = []
        self._compute(batch)
        return corrupt + self._fill_cached(stored)

    def _unknown(self, indices: Iterable[int]) -> Iterator[int]:
        """Fill the rows of files that are known and whose row is cached; yield the other indices."""
        remaining = iter(indices)
        while chunk := list(itertools.islice(remaining, self._lookup_size)):
            known = self._cache.identify_files(self._images, chunk)
            for index, source in known:
                self._ledger.record(index, source)
            filled = {index for index, _ in known}.difference(self._fill_cached([index for index, _ in known]))
            yield from (index for index in chunk if index not in filled)

    def _fill_cached(self, indices: list[int]) -> list[int]:
        """Fill rows from the cache; return the indices that have none there."""
        if not indices:
            return []
        positions = np.array(indices)
        is_cached, rows = self._cache.read_rows(self._ledger.digests[positions])
        self._ledger.fill(positions[is_cached], rows, CACHED)
        missing: list[int] = positions[~is_cached].tolist()
        return missing

    def _compute(self, batch: list[Decoded]) -> None:
        if not batch:
            return
        indices = np.array([item.index for item in batch])
        pixels = np.stack([item.pixels for item in batch])
        rows, is_computed = self._computer.compute_rows(pixels, self._ledger.digests[indices])
        self._ledger.fill(indices, rows, np.where(is_computed, COMPUTED, CACHED))

    def _fail(self, failed: Failed) -> None:
        if self._raise_on_error:
            # Of equal images the first one is named, whichever thread was faster.
            first = min([failed.index, *(same.index for same in self._same if same.first == failed.index)])
            raise failed.named_error(self._images[first], first)
        self._ledger.fail(failed.index, failed.error)

    def _fill_same(self) -> list[int]:
        """Give equal images the same row or error; return the indices whose counterpart has changed meanwhile."""
        same, self._same = self._same, []
        return [item.index for item in same if not self._ledger.fill_from(item.index, item.first)]
