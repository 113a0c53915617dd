"""Read, name and decode images ahead of the network, in threads, handing them on in order."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from featx.errors import ImageTooLargeError, TruncatedImageError, UnreadableImageError
from featx.images.decode import MAX_PIXELS, Content, decode_image, decode_truncated, load_decoders
from featx.images.image import Image, content_digest, is_remote_image, padded_digest, read_image
from featx.system.files import remote
from featx.system.processes import n_cores

#: Images at addresses that have more bytes are fetched anew, only so many at once as are decoded: they are in memory.
_SMALL_BYTES = 8 * 2**20


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What became of one image.

    Attributes
    ----------
    position : int
    digest : bytes
        b"" if it could not be read at all.
    state : os.stat_result or None
        A file's state when it was read.
    read_at : float
        The clock just before that, in seconds since 1970.
    pixels : ndarray of uint8, shape (height, width, 3), or None
        None if it need not be decoded (it is stored, or equal to another image), or cannot be.
    stored : bool
        Its row is in the store.
    error : UnreadableImageError or None
        Why it cannot be read.
    is_padded : bool
        It ended too early, and was made complete.
    """

    position: int
    digest: bytes = b""
    state: os.stat_result | None = None
    pixels: np.ndarray[Any, Any] | None = None
    stored: bool = False
    error: UnreadableImageError | None = None
    read_at: float = 0.0
    is_padded: bool = False


class DecodeAhead:
    """Decode each distinct image once, a bounded number of images ahead.

    Parameters
    ----------
    images : sequence of images
    size : tuple of (int, int)
        Height and width of the pixels.
    resize : {"squash", "crop", "pad"}
    is_stored : callable
        Says of a digest whether its row is in the store; called from several threads.
    ahead : int
        Images that may wait for the network.
    max_pixels : int
        Images of more pixels are refused.
    pad_truncated : bool
        Make images that end too early complete, rather than refuse them.
    """

    def __init__(
        self,
        images: Sequence[Image],
        size: tuple[int, int],
        resize: str,
        is_stored: Callable[[bytes], bool],
        ahead: int,
        *,
        max_pixels: int = MAX_PIXELS,
        pad_truncated: bool = False,
    ) -> None:
        self._images = images
        self._size = size
        self._resize = resize
        self._is_stored = is_stored
        self._ahead = ahead
        self._max_pixels = max_pixels
        self._pads_truncated = pad_truncated
        self._cores = threading.BoundedSemaphore(n_cores())
        self._claimants: dict[bytes, int] = {}
        #: Of padded images, the digest of what there is of them.
        self._claimed_as: dict[bytes, bytes] = {}

    def claimant(self, digest: bytes) -> int:
        """Return the position whose row serves every image with this digest."""
        return self._claimants[digest]

    def release(self, digest: bytes) -> None:
        """Let the next image with this digest be decoded anew."""
        del self._claimants[self._claimed_as.pop(digest, digest)]

    def prepare(self, positions: Iterator[int]) -> Iterator[Prepared]:
        """Yield what becomes of each image, in the order of positions."""
        n_threads = n_cores()
        waiting: collections.deque[concurrent.futures.Future[Prepared]] = collections.deque()
        load_decoders()
        threads = concurrent.futures.ThreadPoolExecutor(n_threads, thread_name_prefix="featx-decode")
        # Those that fetch what lies at addresses; none is started where nothing does.
        fetching = concurrent.futures.ThreadPoolExecutor(remote.MAX_REQUESTS, thread_name_prefix="featx-decode-fetched")
        try:
            for position in positions:
                if is_remote_image(self._images[position]):
                    n_threads = max(n_threads, remote.MAX_REQUESTS)
                    waiting.append(fetching.submit(self._prepare_one, position, is_remote=True))
                else:
                    waiting.append(threads.submit(self._prepare_one, position))
                if len(waiting) >= self._ahead + n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for pool in (fetching, threads):
                pool.shutdown(wait=False, cancel_futures=True)
            for pool in (fetching, threads):
                pool.shutdown(wait=True)

    def _prepare_one(self, position: int, *, is_remote: bool = False) -> Prepared:
        image = self._images[position]
        read_at = time.time()
        content = None
        try:
            with contextlib.suppress(ImageTooLargeError):
                content = read_image(image, most_bytes=_SMALL_BYTES)[0] if is_remote else None
        except UnreadableImageError as error:
            return Prepared(position, error=type(error)(error.reason), read_at=read_at)
        with self._cores:
            return self._prepare_content(position, content, read_at)

    def _prepare_content(self, position: int, content: Content | None, read_at: float) -> Prepared:
        """Return what becomes of an image; one whose content is None is read."""
        digest = b""
        state = None
        try:
            if content is None:
                content, state = read_image(self._images[position], self._max_pixels)
            digest = content_digest(content)
            if self._claimants.setdefault(digest, position) != position:
                return Prepared(position, digest, state, read_at=read_at)
            if self._is_stored(digest):
                return Prepared(position, digest, state, stored=True, read_at=read_at)
            return self._decode(Prepared(position, digest, state, read_at=read_at), content)
        except UnreadableImageError as error:
            # Anew: the error itself holds on to every frame it came through, and so to the image.
            return Prepared(position, digest, state, error=type(error)(error.reason), read_at=read_at)

    def _decode(self, prepared: Prepared, content: Content) -> Prepared:
        wanted = (self._size, self._resize, self._max_pixels)
        try:
            return dataclasses.replace(prepared, pixels=decode_image(content, *wanted))
        except TruncatedImageError:
            if not self._pads_truncated:
                raise
        # Its row is not that of these bytes: whoever wants whole images must not find it. And no index may know the
        # file by that name, or it would be found by it.
        digest = padded_digest(prepared.digest)
        self._claimed_as[digest] = prepared.digest
        prepared = dataclasses.replace(prepared, digest=digest, state=None, is_padded=True)
        if self._is_stored(digest):
            return dataclasses.replace(prepared, stored=True)
        return dataclasses.replace(prepared, pixels=decode_truncated(content, *wanted))
