"""Processes that are killed, that share a store, or whose disk becomes full or read-only."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.errors import StoreWarning
from featx.store.maintenance import compact_cache
from featx.testing import CountingBackbone
from featx.testing.faults import failing
from tests.conftest import Register
from tests.extraction.helpers import extract
from tests.store.processes import assert_clean, committed, computed, finish, start


def kill_repeatedly(counting: CountingBackbone, paths: Sequence[str], tmp_path: Path, kills: int) -> None:
    reference, _ = extract(paths, None)
    rows_and_digests = zip(*_rows_and_digests(paths), strict=True)
    digest_of = {row.tobytes().hex(): digest.tobytes().hex() for row, digest in rows_and_digests}
    assert len(digest_of) == len(paths)  # each row identifies its image
    cache = tmp_path / "cache"
    random = np.random.default_rng(0)
    before: set[str] = set()
    unfinished = 0
    for number in range(kills):
        log = tmp_path / f"log{number}"
        with start(log, cache, paths, seconds=0.005, segment_seconds=0.03) as run:
            deadline = time.monotonic() + 60
            while not log.exists() and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(random.uniform(0, 2.2 * 0.005 * len(paths) / kills))
            run.kill()
            run.communicate()
            unfinished += run.returncode != 0
        after = committed(cache)
        recomputed = {digest_of[row] for row in computed(log)}
        assert before <= after, "a committed row was lost"
        assert not recomputed & before, "a committed row was computed again"
        # 0.03 s at 0.005 s an image, the batch that reached it, and the one that was being computed
        assert len(recomputed - after) <= 6 + 2 + 2, "more than one segment was lost"
        before = after
    assert unfinished >= 0.5 * kills
    finish(start(tmp_path / "last", cache, paths))
    np.testing.assert_array_equal(np.load(tmp_path / "last.npy"), reference)
    assert_clean(cache)


def _rows_and_digests(paths: Sequence[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows, done = extract(paths, None)
    return rows, done.digests


def test_killed_run_resumes(counting: CountingBackbone, many: list[str], tmp_path: Path) -> None:
    kill_repeatedly(counting, many[:60], tmp_path, kills=4)


@pytest.mark.thorough
def test_fifty_kills(counting: CountingBackbone, many: list[str], tmp_path: Path) -> None:
    kill_repeatedly(counting, many, tmp_path, kills=50)


@pytest.mark.parametrize(
    "compacting", [pytest.param(False, marks=pytest.mark.thorough), pytest.param(True, marks=pytest.mark.slow)]
)
def test_four_processes_share_a_store(
    compacting: bool, counting: CountingBackbone, many: list[str], tmp_path: Path
) -> None:
    paths, cache = many[:160], tmp_path / "cache"
    reference, _ = extract(paths, None)
    orders = [np.random.default_rng(seed).permutation(160)[:120] for seed in range(4)]
    runs = [
        start(tmp_path / str(n), cache, [paths[index] for index in order], uses_locks=False)
        for n, order in enumerate(orders)
    ]
    merged = 0
    while compacting and any(run.poll() is None for run in runs):
        if (cache / "features").exists():
            merged += sum(done.before - done.after for done in compact_cache(cache).values())
    for number, (run, order) in enumerate(zip(runs, orders, strict=True)):
        assert finish(run) == ""
        np.testing.assert_array_equal(np.load(tmp_path / f"{number}.npy"), reference[order])
    assert (merged > 10) is compacting
    assert_clean(cache)
    counting.n_images = 0
    rows, _ = extract(paths, cache)
    np.testing.assert_array_equal(rows, reference)
    assert counting.n_images == 160 - len(set(np.concatenate(orders)))


def test_readers_during_compaction(counting: CountingBackbone, many: list[str], tmp_path: Path) -> None:
    paths, cache = many[:100], tmp_path / "cache"
    reference, _ = extract(paths, None)
    stop = threading.Event()
    errors: list[BaseException] = []

    def merge() -> None:
        try:
            while not stop.is_set():
                compact_cache(cache)
        except BaseException as error:
            errors.append(error)

    extract(paths[:1], cache)
    merging = threading.Thread(target=merge)
    merging.start()
    try:
        for number in range(100):  # one more segment each time
            rows, done = extract(paths[: number + 1], cache)
            assert done.n_computed == (number > 0)
            np.testing.assert_array_equal(rows, reference[: number + 1])
    finally:
        stop.set()
        merging.join()
    assert not errors
    assert_clean(cache)


# Disks -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 400 kB in memory, if this user may."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Wide(CountingBackbone):
    """Rows of 16 kB."""

    def n_features(self, pooling: str) -> int:
        return 4096

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.repeat(super().extract(pixels)[:, :8], 512, axis=1)


def test_full_disk(many: list[str], tmp_path: Path, register: Register) -> None:
    wide = register(Wide())
    reference, _ = extract(many[:40], None)
    disk = tmp_path / "disk"
    with small_disk(disk):
        extract(many[:10], disk / "cache")
        with pytest.warns(StoreWarning, match=f"{disk}.*No space left on device.*not kept. Free space, set another"):
            rows, _ = extract(many[:40], disk / "cache")
        np.testing.assert_array_equal(rows, reference)
        assert_clean(disk / "cache")
        wide.n_images = 0
        rows, _ = extract(many[:10], disk / "cache")
        np.testing.assert_array_equal(rows, reference[:10])
        assert wide.n_images == 0
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        rows, _ = extract(many[:40], disk / "cache")
        np.testing.assert_array_equal(rows, reference)
        assert wide.n_images == 30
        assert_clean(disk / "cache")


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_rows_of_a_cache_that_cannot_be_written_are_returned(code: int, many: list[str], tmp_path: Path) -> None:
    with failing(code, "fsync"), pytest.warns(StoreWarning, match=os.strerror(code)):
        rows, ledger = extract(many[:5], tmp_path)
    np.testing.assert_array_equal(rows, extract(many[:5], None)[0])
    assert ledger.n_computed == 5


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_folder_becomes_read_only(counting: CountingBackbone, many: list[str]) -> None:
    folder = Path(tempfile.mkdtemp())  # unlike pytest's folders, other users may enter it
    try:
        os.chmod(folder, 0o777)
        paths = [shutil.copy(path, folder) for path in many[:60]]
        cache, log = folder / "cache", folder / "log"
        run = start(log, cache, paths, seconds=0.02, as_nobody=True)
        deadline = time.monotonic() + 60
        while not committed(cache) and time.monotonic() < deadline:
            time.sleep(0.01)
        (rows,) = (cache / "features").iterdir()
        rows.chmod(0o555)
        kept = committed(cache)
        _, stderr = run.communicate(timeout=60)
        assert run.returncode == 1  # warnings are errors there
        assert f"Cannot write to the feature cache '{cache}': Permission denied. Rows" in stderr
        assert kept <= committed(cache)
        # Rows of a read-only folder can be read.
        known = [path for path in paths if _digest(path) in committed(cache)]
        assert 0 < len(known) < 60
        log.unlink()
        finish(start(log, cache, known, as_nobody=True))
        assert computed(log) == []
        rows.chmod(0o755)
        finish(start(log, cache, paths, seconds=0, as_nobody=True))
        assert len(computed(log)) == 60 - len(known)
        np.testing.assert_array_equal(np.load(f"{log}.npy"), extract(paths, None)[0])
        assert_clean(cache)
    finally:
        shutil.rmtree(folder)


def _digest(path: str) -> str:
    from featx.images.image import content_digest, read_image

    return content_digest(read_image(path)[0]).hex()
