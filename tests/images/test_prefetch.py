from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import PIL.Image
import pytest

from featx.images.decode import decode_image
from featx.images.prefetch import DecodeAhead
from featx.system.files import remote
from featx.system.processes import n_cores


def test_images_are_decoded_in_threads_in_order_and_not_too_far_ahead(photos: list[PIL.Image.Image]) -> None:
    asked: list[bytes] = []

    def is_stored(digest: bytes) -> bool:
        asked.append(digest)
        return False

    decoder = DecodeAhead(photos, (32, 32), "squash", is_stored, ahead=3)
    positions = []
    for prepared in decoder.prepare(iter(range(24))):
        time.sleep(0.01)
        positions.append(prepared.position)
        assert prepared.pixels is not None
        assert len(asked) <= len(positions) + 3 + n_cores()
    assert positions == list(range(24))


def test_what_is_stored_or_repeated_is_not_decoded(
    photos: list[PIL.Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.images.image import content_digest, read_image

    stored = content_digest(read_image(photos[1])[0])
    threads = set()
    decode = decode_image

    def counted(*args: Any) -> Any:
        threads.add(threading.current_thread().name)
        return decode(*args)

    monkeypatch.setattr("featx.images.prefetch.decode_image", counted)
    decoder = DecodeAhead([*photos[:2], photos[0]], (32, 32), "squash", lambda digest: digest == stored, ahead=3)
    prepared = list(decoder.prepare(iter(range(3))))
    assert [item.pixels is not None for item in prepared].count(True) == 1
    assert [item.stored for item in prepared] == [False, True, False]
    assert all(name.startswith("featx-decode") for name in threads)


@pytest.fixture
def far(photos: list[PIL.Image.Image], encoded: Callable[..., bytes]) -> Any:
    """Storage far away: 12 photos, each of which comes when six are asked for at once."""
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


def test_more_images_are_fetched_at_once_than_are_decoded(far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.images.prefetch.n_cores", lambda: 2)
    n_at_once, most = 0, 0
    lock = threading.Lock()
    decode = decode_image

    def watched(*args: Any) -> Any:
        nonlocal n_at_once, most
        with lock:
            n_at_once += 1
            most = max(most, n_at_once)
        try:
            time.sleep(0.01)
            return decode(*args)
        finally:
            with lock:
                n_at_once -= 1

    monkeypatch.setattr("featx.images.prefetch.decode_image", watched)
    paths = [f"far://{number}.jpg" for number in range(12)]
    prepared = list(DecodeAhead(paths, (32, 32), "squash", lambda digest: False, ahead=0).prepare(iter(range(12))))
    assert [item.error for item in prepared] == [None] * 12  # none has waited for five others that never came
    assert [item.position for item in prepared] == list(range(12))
    assert most == 2


def test_large_images_far_away_are_whole_in_memory_a_few_at_a_time(far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    far.meeting = threading.Barrier(1)
    monkeypatch.setattr("featx.images.prefetch.n_cores", lambda: 2)
    monkeypatch.setattr("featx.images.prefetch._SMALL_BYTES", 1000)
    whole, most = [0], [0]
    read = remote.read_url

    def watched(address: str, most_bytes: int) -> bytes:
        if most_bytes == 1000:
            return read(address, most_bytes)
        whole[0] += 1
        most[0] = max(most[0], whole[0])
        time.sleep(0.01)
        try:
            return read(address, most_bytes)
        finally:
            whole[0] -= 1

    monkeypatch.setattr(remote, "read", watched)
    paths = [f"far://{number}.jpg" for number in range(12)]
    decoder = DecodeAhead(paths, (32, 32), "squash", lambda digest: False, ahead=0)
    assert all(item.pixels is not None for item in decoder.prepare(iter(range(12))))
    assert 1 <= most[0] <= 2
