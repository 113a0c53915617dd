from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import PIL.Image
import pytest

from featx.extraction.prefetch import Decoded, Failed, ReadOptions, SameAs, Stored, prefetch
from featx.extraction.row_cache import RowCache
from featx.images.decode import decode_image
from featx.images.image import Source, content_digest, read_image
from featx.system.files import remote
from featx.system.processes import n_cores

OPTIONS = ReadOptions((32, 32), "squash", n_ahead=3)


class Lookup(RowCache):
    """A cache that has the rows of some digests."""

    def __init__(self, *digests: bytes) -> None:
        super().__init__(1, 1)
        self.digests = digests
        self.looked_up: list[bytes] = []

    def has_row(self, digest: bytes) -> bool:
        self.looked_up.append(digest)
        return digest in self.digests


def test_images_are_decoded_in_order_and_a_bounded_number_ahead(photos: list[PIL.Image.Image]) -> None:
    lookup = Lookup()
    indices = []
    for item in prefetch(photos, range(24), OPTIONS, lookup):
        time.sleep(0.01)
        indices.append(item.index)
        assert isinstance(item, Decoded)
        assert len(lookup.looked_up) <= len(indices) + 3 + n_cores()
    assert indices == list(range(24))


def test_stored_and_equal_images_are_not_decoded(
    photos: list[PIL.Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = content_digest(read_image(photos[1])[0])
    threads = []

    def counted(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return decode_image(*args)

    monkeypatch.setattr("featx.extraction.prefetch.decode_image", counted)
    first, second, third = prefetch([*photos[:2], photos[0]], range(3), OPTIONS, Lookup(stored))
    assert isinstance(second, Stored)
    same, decoded = (first, third) if isinstance(first, SameAs) else (third, first)  # whichever thread was faster
    assert isinstance(same, SameAs)
    assert isinstance(decoded, Decoded)
    assert (same.first, same.source.digest) == (decoded.index, decoded.source.digest)
    assert len(threads) == 1
    assert threads[0].startswith("featx-decode")


def test_nothing_is_read_after_a_caller_stops(photos: list[PIL.Image.Image]) -> None:
    class Slow(Lookup):
        def has_row(self, digest: bytes) -> bool:
            time.sleep(0.02)
            return super().has_row(digest)

    lookup = Slow()
    items = prefetch(photos, range(24), dataclasses.replace(OPTIONS, n_ahead=20, n_threads=2), lookup)
    next(items)
    items.close()
    n_read = len(lookup.looked_up)
    time.sleep(0.05)
    assert n_read == len(lookup.looked_up) < 12  # the images that waited are not read


def test_threads_stay_for_the_next_call(photos: list[PIL.Image.Image]) -> None:
    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("featx-decode")}

    list(prefetch(photos, range(6), OPTIONS))
    started = names()
    list(prefetch(photos, range(6), OPTIONS))
    assert started
    assert names() == started


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_process_decodes(photos: list[PIL.Image.Image]) -> None:
    list(prefetch(photos, range(6), OPTIONS))
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends the child if it waits for threads that do not exist in it
        os._exit(len(list(prefetch(photos, range(6), OPTIONS))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6


def test_failed_image_has_name_and_index(photos: list[PIL.Image.Image]) -> None:
    _, failed = prefetch([photos[0], "absent.jpg"], range(2), OPTIONS)
    assert isinstance(failed, Failed)
    assert (failed.error.image, failed.error.position) == ("absent.jpg", 1)


def test_known_files_are_not_read(photos: list[PIL.Image.Image]) -> None:
    """They are looked up a few at a time, and keep their place."""

    class KnowsFiles(Lookup):
        def find_files(self, images: Sequence[Any], indices: Sequence[int]) -> dict[int, Source]:
            assert len(indices) <= 2
            return {index: Source(digest=b"known") for index in indices if isinstance(images[index], str)}

    images = ["absent.jpg", photos[0], "absent.jpg", "absent.jpg", photos[1]]
    options = dataclasses.replace(OPTIONS, n_ahead=1, lookup_size=2)
    items = list(prefetch(images, range(5), options, KnowsFiles()))
    assert [(item.index, type(item)) for item in items] == [
        (0, Stored),
        (1, Decoded),
        (2, Stored),
        (3, Stored),
        (4, Decoded),
    ]


@pytest.fixture
def far(photos: list[PIL.Image.Image], encoded: Callable[..., bytes]) -> Any:
    """Remote storage with 12 photos that answers only when six requests wait."""
    fsspec = pytest.importorskip("fsspec")

    class Far(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]  # a class made by a function
        protocol = "far"
        store: ClassVar[dict[str, Any]] = {}
        meeting = threading.Barrier(6)

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.partition("://")[2].strip("/") if "://" in path else path

        def _open(self, *args: Any, **options: Any) -> Any:
            self.meeting.wait(timeout=20)
            return super()._open(*args, **options)

    fsspec.register_implementation("far", Far, clobber=True)
    for number, photo in enumerate(photos[:12]):
        far = fsspec.filesystem("far")
        Far.store[f"/{number}.jpg"] = fsspec.implementations.memory.MemoryFile(far, f"/{number}.jpg", encoded(photo))
    return Far


@pytest.mark.usefixtures("far")
def test_more_images_are_downloaded_than_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    n_running, most = 0, 0
    lock = threading.Lock()

    def watched(*args: Any) -> Any:
        nonlocal n_running, most
        with lock:
            n_running += 1
            most = max(most, n_running)
        try:
            time.sleep(0.01)
            return decode_image(*args)
        finally:
            with lock:
                n_running -= 1

    monkeypatch.setattr("featx.extraction.prefetch.decode_image", watched)
    urls = [f"far://{number}.jpg" for number in range(12)]
    items = list(prefetch(urls, range(12), dataclasses.replace(OPTIONS, n_ahead=0, n_threads=2)))
    assert all(isinstance(item, Decoded) for item in items)  # no request waited for five others that never came
    assert [item.index for item in items] == list(range(12))
    assert most == 2


def test_few_large_remote_images_are_in_memory(far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    far.meeting = threading.Barrier(1)
    n_reading, most = 0, 0
    read_url = remote.read_url

    def watched(url: str, max_bytes: int) -> bytes:
        nonlocal n_reading, most
        if max_bytes == 1000:
            return read_url(url, max_bytes)
        n_reading += 1
        most = max(most, n_reading)
        time.sleep(0.01)
        try:
            return read_url(url, max_bytes)
        finally:
            n_reading -= 1

    monkeypatch.setattr(remote, "read_url", watched)
    urls = [f"far://{number}.jpg" for number in range(12)]
    options = dataclasses.replace(OPTIONS, n_ahead=0, n_threads=2, max_parallel_bytes=1000)
    assert all(isinstance(item, Decoded) for item in prefetch(urls, range(12), options))
    assert 1 <= most <= 2
