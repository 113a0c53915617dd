"""Reads and decodes images in background threads, ahead of the network and in the order of the input."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from featx.errors import ImageTooLargeError, TruncatedImageError, UnreadableImageError
from featx.images.decode import MAX_PIXELS, Content, decode_image, decode_truncated, load_decoders
from featx.images.image import Image, content_digest, describe_image, is_remote_image, padded_digest, read_image
from featx.system.files import remote
from featx.system.processes import n_cores

#: Remote images up to this size are downloaded many at a time. Larger ones are downloaded by the decoding threads, so
#: that only a few of them are in memory.
_MAX_PARALLEL_BYTES = 8 * 2**20
#: Number of images that are looked up in the cache at a time.
LOOKUP_SIZE = 2048


@dataclasses.dataclass(slots=True)
class Source:
    """Where the content of an image came from.

    Attributes
    ----------
    digest : bytes
        Digest of the content. Empty if the image could not be read.
    name : str
        Path of the image, or a description of the object, for messages. Empty if the file was not read.
    path : str
        Path of the file. Empty for images without a file.
    state : os.stat_result or None
        State of the file when it was read. None for images without a file.
    read_at : float
        Time just before the image was read, in seconds since 1970.
    is_padded : bool
        Whether the file ended too early and the missing part was filled.
    """

    digest: bytes = b""
    name: str = ""
    path: str = ""
    state: os.stat_result | None = None
    read_at: float = 0.0
    is_padded: bool = False


@dataclasses.dataclass(slots=True)
class Decoded:
    """The pixels of an image: uint8 of shape (height, width, 3)."""

    index: int
    source: Source
    pixels: np.ndarray[Any, Any]


@dataclasses.dataclass(slots=True)
class Stored:
    """An image whose row is in the cache: it was not decoded."""

    index: int
    source: Source


@dataclasses.dataclass(slots=True)
class SameAs:
    """An image with the same content as another one, whose index is `first`: it was not decoded."""

    index: int
    source: Source
    first: int


@dataclasses.dataclass(slots=True)
class Failed:
    """An image that cannot be read. The error has the name and the index of the image."""

    index: int
    source: Source
    error: UnreadableImageError


Prefetched: TypeAlias = Decoded | Stored | SameAs | Failed


class RowLookup(Protocol):
    """The lookups in the cache that a prefetcher needs."""

    def find_files(self, images: Sequence[Image], indices: Sequence[int]) -> dict[int, Source]:
        """Return the sources of files that have not changed since they were read, and whose row is in the cache."""

    def has_row(self, digest: bytes) -> bool:
        """Return whether the row of an image is in the cache. It is called from several threads."""


class Prefetcher:
    """Read each image, and decode each distinct one that is not in the cache.

    Parameters
    ----------
    images : sequence of images
    size : tuple of (int, int)
        Height and width of the pixels.
    resize : {"squash", "crop", "pad"}
    n_ahead : int
        Number of images that may wait for the caller.
    lookup : RowLookup or None, default=None
        Cache of rows. None: every distinct image is decoded.
    max_pixels : int, default=178_956_970
        Images with more pixels fail.
    pad_truncated : bool, default=False
        Whether to fill the missing part of truncated images. Otherwise they fail.
    n_threads : int or None, default=None
        Number of images that are decoded at a time. None: one per available core.
    max_parallel_bytes : int, default=8_388_608
        Maximum size of remote images that are downloaded many at a time.
    lookup_size : int, default=2048
        Number of files that are looked up in the cache at a time.
    """

    def __init__(
        self,
        images: Sequence[Image],
        size: tuple[int, int],
        resize: str,
        *,
        n_ahead: int,
        lookup: RowLookup | None = None,
        max_pixels: int = MAX_PIXELS,
        pad_truncated: bool = False,
        n_threads: int | None = None,
        max_parallel_bytes: int = _MAX_PARALLEL_BYTES,
        lookup_size: int = LOOKUP_SIZE,
    ) -> None:
        self._images = images
        self._n_ahead = n_ahead
        self._lookup = lookup
        self._max_pixels = max_pixels
        self._decode_options = (size, resize, max_pixels)
        self._pad_truncated = pad_truncated
        self._n_threads = n_cores() if n_threads is None else n_threads
        self._max_parallel_bytes = max_parallel_bytes
        self.lookup_size = lookup_size
        self._decoding = threading.BoundedSemaphore(self._n_threads)

    def prefetch(self, indices: Iterable[int]) -> Iterator[Prefetched]:
        """Yield one item for each index, in order.

        Only the first of several images with the same content is decoded; the others are :class:`SameAs` it.
        """
        first_by_digest: dict[bytes, int] = {}
        pending: collections.deque[Prefetched | concurrent.futures.Future[Prefetched]] = collections.deque()
        n_threads = self._n_threads
        with _thread_pools(n_threads, remote.MAX_REQUESTS) as (decoding, downloading):
            for index, source in self._look_up(indices):
                if source is not None and not pending:
                    yield Stored(index, source)
                elif source is not None:
                    pending.append(Stored(index, source))
                elif is_remote_image(self._images[index]):
                    n_threads = max(n_threads, remote.MAX_REQUESTS)
                    pending.append(downloading.submit(self._load_remote, index, first_by_digest))
                else:
                    load_decoders()  # before threads do, and only if an image is read
                    pending.append(decoding.submit(self._load, index, first_by_digest))
                if len(pending) >= self._n_ahead + n_threads:
                    yield _result(pending.popleft())
            while pending:
                yield _result(pending.popleft())

    def _look_up(self, indices: Iterable[int]) -> Iterator[tuple[int, Source | None]]:
        """Yield each index, with the source of files that need not be read."""
        remaining = iter(indices)
        while chunk := list(itertools.islice(remaining, self.lookup_size)):
            sources = {} if self._lookup is None else self._lookup.find_files(self._images, chunk)
            yield from ((index, sources.get(index)) for index in chunk)

    def _load_remote(self, index: int, first_by_digest: dict[bytes, int]) -> Prefetched:
        """Download a small image while others are decoded; leave a large one to :meth:`_load`."""
        load_decoders()
        content = None
        try:
            with contextlib.suppress(ImageTooLargeError):
                content, _ = read_image(self._images[index], max_bytes=self._max_parallel_bytes)
        except UnreadableImageError as error:
            return self._failed(index, self._source(index), error)
        return self._load(index, first_by_digest, content)

    def _load(self, index: int, first_by_digest: dict[bytes, int], content: Content | None = None) -> Prefetched:
        source = self._source(index)
        with self._decoding:
            try:
                if content is None:
                    content, state = read_image(self._images[index], self._max_pixels)
                    source = dataclasses.replace(source, state=state)
                source = dataclasses.replace(source, digest=content_digest(content))
                first = first_by_digest.setdefault(source.digest, index)
                if first != index:
                    return SameAs(index, source, first)
                if self._has_row(source.digest):
                    return Stored(index, source)
                return self._decode(index, source, content)
            except UnreadableImageError as error:
                return self._failed(index, source, error)

    def _decode(self, index: int, source: Source, content: Content) -> Decoded | Stored:
        try:
            return Decoded(index, source, decode_image(content, *self._decode_options))
        except TruncatedImageError:
            if not self._pad_truncated:
                raise
        # The row of a padded image must never be found as the row of these bytes: it gets a digest of its own, and no
        # file state, so that the file index does not record it.
        source = dataclasses.replace(source, digest=padded_digest(source.digest), state=None, is_padded=True)
        if self._has_row(source.digest):
            return Stored(index, source)
        return Decoded(index, source, decode_truncated(content, *self._decode_options))

    def _source(self, index: int) -> Source:
        image = self._images[index]
        path = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
        return Source(name=describe_image(image), path=path, read_at=time.time())

    def _has_row(self, digest: bytes) -> bool:
        return self._lookup is not None and self._lookup.has_row(digest)

    @staticmethod
    def _failed(index: int, source: Source, error: UnreadableImageError) -> Failed:
        # A new error: the traceback of this one would keep the content of the image in memory.
        return Failed(index, source, type(error)(error.reason, source.name, index))


@contextlib.contextmanager
def _thread_pools(*sizes: int) -> Iterator[list[concurrent.futures.ThreadPoolExecutor]]:
    """Yield thread pools; their threads start when they are used. Work that has not begun is canceled at the end."""
    pools = [concurrent.futures.ThreadPoolExecutor(size, thread_name_prefix="featx-decode") for size in sizes]
    try:
        yield pools
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown(wait=True)


def _result(item: Prefetched | concurrent.futures.Future[Prefetched]) -> Prefetched:
    return item.result() if isinstance(item, concurrent.futures.Future) else item
