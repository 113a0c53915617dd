from __future__ import annotations

import threading
import time
from typing import Any

import PIL.Image
import pytest

from featx.cores import n_cores
from featx.decoding import DecodeAhead


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
    from featx import images

    stored = images.digest(images.read(photos[1])[0])
    threads = set()
    decode = __import__("featx").pixels.decode

    def counted(*args: Any) -> Any:
        threads.add(threading.current_thread().name)
        return decode(*args)

    monkeypatch.setattr("featx.decoding.pixels.decode", counted)
    decoder = DecodeAhead([*photos[:2], photos[0]], (32, 32), "squash", lambda digest: digest == stored, ahead=3)
    prepared = list(decoder.prepare(iter(range(3))))
    assert [item.pixels is not None for item in prepared].count(True) == 1
    assert [item.stored for item in prepared] == [False, True, False]
    assert all(name.startswith("featx-decode") for name in threads)
