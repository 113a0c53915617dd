"""Read and decode images in background threads, ahead of the network and in the order of the input."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from featx.errors import ImageTooLargeError, TruncatedImageError, UnreadableImageError
from featx.extraction.row_cache import RowCache
from featx.images.decode import MAX_PIXELS, Content, decode_image, decode_truncated, load_decoders
from featx.images.image import Image, Source, content_digest, is_remote_image, padded_digest, read_image
from featx.recipe import Window
from featx.system.files import remote
from featx.system.processes import n_cores

#: Remote images up to this size are downloaded many at a time. Larger ones are downloaded by the decoding threads, so
#: that only a few of them are in memory.
_MAX_PARALLEL_BYTES = 8 * 2**20
#: Number of images that are looked up in the cache at a time.
LOOKUP_SIZE = 2048


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


@dataclasses.dataclass(frozen=True, slots=True)
class ReadImage:
    """An image that was read before; an extraction takes it as it is."""

    item: Decoded | Failed


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How images are read and decoded.

    Parameters
    ----------
    size : tuple of (int, int)
        Height and width of the pixels.
    resize : {"squash", "crop", "pad"}
    max_pixels : int, default=178_956_970
        Images with more pixels fail.
    pad_truncated : bool, default=False
        Whether to fill the missing part of truncated images. Otherwise they fail.
    n_ahead : int, default=64
        Number of images that may wait for the caller.
    n_threads : int or None, default=None
        Number of images that are decoded at a time. None: one per available core.
    window : Window or None, default=None
        See :func:`featx.images.decode.decode_image`.
    max_parallel_bytes : int, default=8_388_608
        Maximum size of remote images that are downloaded many at a time.
    lookup_size : int, default=2048
        Number of files that are looked up in the cache at a time.
    """

    size: tuple[int, int]
    resize: str
    max_pixels: int = MAX_PIXELS
    pad_truncated: bool = False
    n_ahead: int = 64
    n_threads: int | None = None
    window: Window | None = None
    max_parallel_bytes: int = _MAX_PARALLEL_BYTES
    lookup_size: int = LOOKUP_SIZE


def prefetch(
    images: Sequence[Image | ReadImage],
    indices: Sequence[int],
    options: ReadOptions,
    cache: RowCache | None = None,
) -> Iterator[Prefetched]:
    """Read the images at some indices, and decode each distinct one whose row is not in the cache.

    Parameters
    ----------
    images : sequence of images
        Those that are a :class:`ReadImage` were read before.
    indices : sequence of int
    options : ReadOptions
    cache : RowCache or None, default=None
        None: every distinct image is decoded.

    Yields
    ------
    Decoded, Stored, SameAs or Failed
        One item for each index, in order. Only the first of several images with the same content is decoded; the
        others are :class:`SameAs` it.
    """
    n_threads = n_cores() if options.n_threads is None else options.n_threads
    reader = _Reader(options, cache, {}, threading.BoundedSemaphore(n_threads))
    pending: collections.deque[Prefetched | concurrent.futures.Future[Prefetched]] = collections.deque()
    n_ahead = options.n_ahead + n_threads
    try:
        for index, source in _find_files(images, indices, options.lookup_size, cache):
            if source is not None and not pending:
                yield Stored(index, source)
            elif source is not None:
                pending.append(Stored(index, source))
            elif isinstance(image := images[index], ReadImage):
                pending.append(reader.take(image, index))
            elif is_remote_image(image):
                n_ahead = max(n_ahead, options.n_ahead + remote.MAX_REQUESTS)
                downloading = _thread_pool("featx-download", remote.MAX_REQUESTS)
                pending.append(downloading.submit(reader.download, image, index))
            else:
                load_decoders()  # before threads do, and only if an image is read
                decoding = _thread_pool("featx-decode", n_threads)
                pending.append(decoding.submit(reader.read, image, index))
            if len(pending) >= n_ahead:
                yield _result(pending[0])
                pending.popleft()
        while pending:
            yield _result(pending[0])
            pending.popleft()
    finally:
        futures = [item for item in pending if isinstance(item, concurrent.futures.Future)]
        for future in futures:
            future.cancel()
        concurrent.futures.wait(futures)  # nothing of this call runs after it


def read_images(
    images: Sequence[Image], options: ReadOptions, cache: RowCache | None = None
) -> list[Decoded | Stored | Failed]:
    """Read images before anything is computed for them; a single image is read in the calling thread.

    Parameters
    ----------
    images : sequence of images
    options : ReadOptions
    cache : RowCache or None, default=None
        Images whose row is in it are not decoded.
    """
    items: list[Prefetched]
    if len(images) > 1:
        items = list(prefetch(images, range(len(images)), options, cache))
    elif sources := {} if cache is None else cache.find_files(images, range(len(images))):
        items = [Stored(0, sources[0])]
    else:
        load_decoders()
        reader = _Reader(options, cache, {}, threading.BoundedSemaphore())
        items = [reader.read(image, 0) for image in images]
    return [_as_own(item, items) if isinstance(item, SameAs) else item for item in items]


def _as_own(item: SameAs, items: Sequence[Prefetched]) -> Decoded | Stored | Failed:
    """Return what was read of an image with the same content as this one."""
    first = items[item.first]
    assert not isinstance(first, SameAs)
    if isinstance(first, Failed):
        return _failed(item.index, item.source, first.error)
    source = item.source
    if first.source.is_padded:
        source = dataclasses.replace(source, digest=first.source.digest, state=None, is_padded=True)
    return dataclasses.replace(first, index=item.index, source=source)


def _find_files(
    images: Sequence[Any], indices: Sequence[int], lookup_size: int, cache: RowCache | None
) -> Iterator[tuple[int, Source | None]]:
    """Yield the index of each image, and its source if the file need not be read, else None."""
    for start in range(0, len(indices), lookup_size):
        chunk = indices[start : start + lookup_size]
        sources = {} if cache is None else cache.find_files(images, chunk)
        yield from ((index, sources.get(index)) for index in chunk)


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Read images in several threads, which share what they have read.

    Attributes
    ----------
    first_by_digest : dict
        Index of the first image with each content.
    decoding : BoundedSemaphore
        Limits the number of images that are decoded at a time, by all threads together.
    """

    options: ReadOptions
    cache: RowCache | None
    first_by_digest: dict[bytes, int]
    decoding: threading.BoundedSemaphore

    def read(self, image: Image, index: int, content: Content | None = None) -> Prefetched:
        """Read an image, unless its content is given; decode it, unless its row is known."""
        source = Source.of(image)
        with self.decoding:
            try:
                if content is None:
                    content, source.state = read_image(image, self.options.max_pixels, window=self.options.window)
                if not isinstance(content, bytes):
                    source.path = ""  # an array is scaled by the window: its digest is not one of the file alone
                source.digest = content_digest(content)
                first = self.first_by_digest.setdefault(source.digest, index)
                if first != index:
                    return SameAs(index, source, first)
                if self._has_row(source):
                    return Stored(index, source)
                return self._decode(content, index, source)
            except UnreadableImageError as error:
                return _failed(index, source, error)

    def take(self, image: ReadImage, index: int) -> Prefetched:
        """Return an image that was read before."""
        item = image.item
        if isinstance(item, Decoded) and not item.source.is_padded:
            first = self.first_by_digest.setdefault(item.source.digest, index)
            if first != index:
                return SameAs(index, item.source, first)
        return dataclasses.replace(item, index=index)

    def download(self, image: Image, index: int) -> Prefetched:
        """Download a small image while others are decoded, then decode it; leave a large one to :meth:`read`."""
        load_decoders()
        content = None
        try:
            with contextlib.suppress(ImageTooLargeError):
                content, _ = read_image(image, max_bytes=self.options.max_parallel_bytes)
        except UnreadableImageError as error:
            return _failed(index, Source.of(image), error)
        return self.read(image, index, content)

    def _decode(self, content: Content, index: int, source: Source) -> Decoded | Stored:
        options = self.options
        try:
            return Decoded(
                index, source, decode_image(content, options.size, options.resize, options.max_pixels, options.window)
            )
        except TruncatedImageError:
            if not options.pad_truncated:
                raise
        # The row of a padded image must never be found as the row of these bytes: it gets a digest of its own, and no
        # file state, so that the file index does not record it.
        source = dataclasses.replace(source, digest=padded_digest(source.digest), state=None, is_padded=True)
        if self._has_row(source):
            return Stored(index, source)
        return Decoded(
            index, source, decode_truncated(content, options.size, options.resize, options.max_pixels, options.window)
        )

    def _has_row(self, source: Source) -> bool:
        return self.cache is not None and self.cache.has_row(source.digest)


def _failed(index: int, source: Source, error: UnreadableImageError) -> Failed:
    # A new error: the traceback of this one would keep the content of the image in memory.
    return Failed(index, source, type(error)(error.reason, source.name, index))


@functools.cache
def _thread_pool(name: str, n_threads: int) -> concurrent.futures.ThreadPoolExecutor:
    """Return the thread pool of this name and size: its threads stay, since starting them takes as long as an image."""
    return concurrent.futures.ThreadPoolExecutor(n_threads, thread_name_prefix=name)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thread_pool.cache_clear)  # threads do not survive a fork


def _result(item: Prefetched | concurrent.futures.Future[Prefetched]) -> Prefetched:
    return item.result() if isinstance(item, concurrent.futures.Future) else item
