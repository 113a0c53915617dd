"""Rows of small calls, which are kept in memory and written together."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import clear_cache
from featx.errors import StoreWarning
from featx.extraction.compute import RowComputer
from featx.extraction.options import ExtractionOptions, Resolved
from featx.extraction.row_cache import RowCache, open_row_cache
from featx.images.tta import ViewSet
from featx.store import view_store
from featx.store.view_store import RowBuffer, ViewStore, write_buffers
from featx.testing import CountingBackbone

DIGESTS = np.arange(48, dtype=np.uint8).reshape(3, 16)


@pytest.fixture(params=["", "flip"])
def resolved(request: pytest.FixtureRequest, counting: CountingBackbone) -> Resolved:
    return ExtractionOptions(backbone="counting", tta=request.param or None).resolve()


@pytest.fixture(autouse=True)
def no_other_rows() -> Iterator[None]:
    yield
    view_store._buffers.clear()


def opened(folder: Path, resolved: Resolved) -> RowCache:
    return open_row_cache(folder, resolved.recipe, resolved.n_features, is_buffered=True)


def add(folder: Path, resolved: Resolved, digests: Any = DIGESTS) -> np.ndarray[Any, Any]:
    """Add rows as a small call does, and return them."""
    cache = opened(folder, resolved)
    missing, rows = cache.read_views(digests)
    rows[missing] = np.arange(missing.sum())[:, None]
    cache.add_rows(digests, rows, missing)
    cache.close()
    return rows


def n_stored(folder: Path, resolved: Resolved) -> int:
    """Return the number of images on disk, each with all views."""
    return sum(len(np.load(path)) for path in folder.rglob("*.npy")) // len(ViewSet.of(resolved.recipe))


def test_image_of_two_calls_is_stored_once(resolved: Resolved, tmp_path: Path) -> None:
    first, second = opened(tmp_path, resolved), opened(tmp_path, resolved)
    missing, rows = first.read_views(DIGESTS)
    rows[:] = 1
    for cache in (first, second):  # both have looked it up before one of them adds it
        cache.add_rows(DIGESTS, rows, missing)
    assert not second.read_views(DIGESTS)[0].any()
    write_buffers()
    assert n_stored(tmp_path, resolved) == 3


def test_rows_are_the_same_before_and_after_they_are_written(resolved: Resolved, tmp_path: Path) -> None:
    rows = add(tmp_path, resolved)
    before = opened(tmp_path, resolved)
    averaged = before.read_rows(DIGESTS)[1]
    write_buffers()
    after = opened(tmp_path, resolved)
    for cache in (before, after):
        np.testing.assert_array_equal(cache.read_views(DIGESTS)[1], rows)
    np.testing.assert_array_equal(after.read_rows(DIGESTS)[1], averaged)


def test_end_of_the_process_waits_for_the_thread_that_writes(
    resolved: Resolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, begins, may_end = ViewStore.commit, threading.Event(), threading.Event()

    def slow_commit(store: ViewStore) -> None:
        begins.set()
        assert may_end.wait(10)
        commit(store)

    cache = opened(tmp_path, resolved)
    monkeypatch.setattr(ViewStore, "commit", slow_commit)
    missing, rows = cache.read_views(DIGESTS)
    rows[:] = 1
    cache.add_rows(DIGESTS, rows, missing)
    timer, end = (threading.Thread(target=write_buffers, daemon=True) for _ in range(2))
    timer.start()
    assert begins.wait(10)
    end.start()
    end.join(0.05)
    assert end.is_alive()
    may_end.set()
    end.join(10)
    assert n_stored(tmp_path, resolved) == 3


def test_disk_error_is_a_warning_and_rows_are_written_later(
    resolved: Resolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, resolved)
    cache = opened(tmp_path, resolved)
    (tmp_path / "features").write_text("no folder")
    monkeypatch.setattr(RowBuffer, "max_seconds", 0.0)
    with pytest.warns(StoreWarning, match="Rows were not added"):
        cache.close()
    (tmp_path / "features").unlink()
    write_buffers()
    assert n_stored(tmp_path, resolved) == 3


def cannot_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_rows_are_written_without_a_timer(resolved: Resolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as no_threads:
        no_threads.setattr(threading.Thread, "start", cannot_start)
        add(tmp_path, resolved)
    assert not list(tmp_path.rglob("*.npy"))
    monkeypatch.setattr(RowBuffer, "max_seconds", 0.0)
    opened(tmp_path, resolved).close()
    assert n_stored(tmp_path, resolved) == 3


def test_many_rows_are_written_at_once(resolved: Resolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RowBuffer, "max_bytes", 3 * resolved.n_features * 4)
    add(tmp_path, resolved, DIGESTS[:1])
    assert not list(tmp_path.rglob("*.npy"))
    add(tmp_path, resolved)
    assert n_stored(tmp_path, resolved) == 3


def test_cleared_rows_do_not_come_back(resolved: Resolved, tmp_path: Path) -> None:
    add(tmp_path, resolved)
    assert clear_cache(tmp_path).rows == 3 * len(ViewSet.of(resolved.recipe))
    assert opened(tmp_path, resolved).read_views(DIGESTS)[0].all()
    write_buffers()
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")
def test_forked_process_does_not_write_the_rows_of_its_parent(resolved: Resolved, tmp_path: Path) -> None:
    add(tmp_path, resolved)
    child = os.fork()
    if child == 0:
        write_buffers()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not list(tmp_path.rglob("*.npy"))
    write_buffers()
    assert n_stored(tmp_path, resolved) == 3


@pytest.mark.parametrize("is_buffered", [True, False])
def test_small_calls_do_not_wait_for_other_processes(resolved: Resolved, tmp_path: Path, is_buffered: bool) -> None:
    folder = tmp_path / "cache"
    cache = open_row_cache(folder, resolved.recipe, resolved.n_features, is_buffered=is_buffered)
    computer = RowComputer(resolved, cache, folder)
    computer.compute_rows(np.zeros((3, *computer.image_size, 3), dtype=np.uint8), DIGESTS)
    assert (computer._lock.locked, folder.exists()) == (not is_buffered, not is_buffered)
    computer.release()
    cache.close()
