"""Real processes that are killed, that share a store, or whose disk fills up or is locked while they run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.store.maintenance import compact_cache
from featx.store.verify import verify_cache
from featx.system.files import checksummed_json
from featx.testing import CountingBackbone
from tests.conftest import Register
from tests.extraction.helpers import extract

#: Extract images and say for each batch, before it is kept, which digests were computed.
RUN = """
import json, os, sys, tempfile, time
from pathlib import Path
import numpy as np
import featx, featx.store.store, featx.system.locks
from featx.errors import StoreError
from featx.testing import CountingBackbone
from tests.extraction.helpers import extract

task = json.load(sys.stdin)

class Slow(CountingBackbone):
    def extract(self, pixels):
        time.sleep(task["seconds"] * len(pixels))
        with open(task["log"], "a") as log:
            log.write("".join(f"{row.tobytes().hex()}\\n" for row in super().extract(pixels)))
        return super().extract(pixels)

featx.register_backbone(Slow())
featx.store.store.SEGMENT_SECONDS = task["segment_seconds"]
featx.system.locks.FairLock.hold_seconds = task["hold_seconds"]
if not task["uses_locks"]:  # as processes on several machines do
    featx.system.locks.fcntl = None
if task["as_nobody"] and os.geteuid() == 0:  # permissions do not bind the superuser
    with tempfile.TemporaryDirectory() as folder:  # load everything while it can be read
        extract(task["paths"][:1], Path(folder))
    os.unlink(task["log"])
    os.setgid(65534)
    os.setuid(65534)
try:
    rows, done = extract(task["paths"], Path(task["cache"]), batch_size=2)
except StoreError as error:
    sys.exit(f"Error: {error}")
np.save(task["log"] + ".npy", rows)
"""


def start(log: Path, cache: Path, paths: Sequence[str], **task: Any) -> subprocess.Popen[str]:
    given = {"log": str(log), "cache": str(cache), "paths": list(paths)}
    defaults = {"seconds": 0.01, "segment_seconds": 0.05, "hold_seconds": 2.0, "uses_locks": True, "as_nobody": False}
    command = [sys.executable, "-W", "error", "-c", RUN]
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=pipe, stderr=pipe, text=True)
    assert run.stdin is not None
    run.stdin.write(json.dumps({**given, **defaults, **task}))
    run.stdin.close()
    run.stdin = None
    return run


def finish(run: subprocess.Popen[str]) -> str:
    """Wait for a run that must end well; return what it said."""
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    return said


def committed(cache: Path) -> set[str]:
    """Digests that manifests vouch for."""
    manifests = cache.glob("features/*/*.json")
    digests = "".join(checksummed_json.load(path)["digests"] for path in manifests if path.name != "recipe.json")
    return {digests[at : at + 32] for at in range(0, len(digests), 32)}


def computed(log: Path) -> list[str]:
    """Rows that went through the network, each with the others of its batch or not at all."""
    return [line for line in log.read_text().splitlines() if len(line) == 96] if log.exists() else []


def assert_clean(cache: Path) -> None:
    assert verify_cache(cache) == []
    assert not [path for path in cache.rglob("*") if re.search(r"\.tmp|-journal", path.name)]


def kill_again_and_again(counting: CountingBackbone, paths: Sequence[str], tmp_path: Path, kills: int) -> None:
    reference, _ = extract(paths, None)
    rows_and_digests = zip(*_rows_and_digests(paths), strict=True)
    digest_of = {row.tobytes().hex(): digest.tobytes().hex() for row, digest in rows_and_digests}
    assert len(digest_of) == len(paths)  # so a computed row tells its image
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
        again = {digest_of[row] for row in computed(log)}
        assert before <= after, "a committed row was lost"
        assert not again & before, "a committed row was computed again"
        # 0.03 s at 0.005 s an image, the batch that reached it, and the one that was being computed
        assert len(again - after) <= 6 + 2 + 2, "more than one segment was lost"
        before = after
    assert unfinished >= 0.5 * kills
    finish(start(tmp_path / "last", cache, paths))
    np.testing.assert_array_equal(np.load(tmp_path / "last.npy"), reference)
    assert_clean(cache)


def _rows_and_digests(paths: Sequence[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows, done = extract(paths, None)
    return rows, done.digests


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    """600 small images."""
    random = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    paths = []
    for number in range(600):
        paths.append(str(tmp_path / "many" / f"{number}.png"))
        PIL.Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def test_a_killed_run_goes_on_where_it_was(counting: CountingBackbone, many: list[str], tmp_path: Path) -> None:
    kill_again_and_again(counting, many[:60], tmp_path, kills=4)


@pytest.mark.thorough
def test_fifty_kills_lose_no_committed_row_and_change_no_bit(
    counting: CountingBackbone, many: list[str], tmp_path: Path
) -> None:
    kill_again_and_again(counting, many, tmp_path, kills=50)


@pytest.mark.parametrize(
    "compacting", [pytest.param(False, marks=pytest.mark.thorough), pytest.param(True, marks=pytest.mark.slow)]
)
def test_four_processes_fill_one_store_at_once(
    compacting: bool, counting: CountingBackbone, many: list[str], tmp_path: Path
) -> None:
    paths, cache = many[:160], tmp_path / "cache"
    reference, _ = extract(paths, None)
    orders = [np.random.default_rng(seed).permutation(160)[:120] for seed in range(4)]
    runs = [
        start(tmp_path / str(n), cache, [paths[at] for at in order], uses_locks=False) for n, order in enumerate(orders)
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


def test_readers_find_every_row_while_segments_are_merged(
    counting: CountingBackbone, many: list[str], tmp_path: Path
) -> None:
    paths, cache = many[:100], tmp_path / "cache"
    reference, _ = extract(paths, None)
    stop = threading.Event()
    trouble: list[BaseException] = []

    def merge() -> None:
        try:
            while not stop.is_set():
                compact_cache(cache)
        except BaseException as error:
            trouble.append(error)

    extract(paths[:1], cache)
    merging = threading.Thread(target=merge)
    merging.start()
    try:
        for number in range(100):  # one segment more each time
            rows, done = extract(paths[: number + 1], cache)
            assert done.n_computed == (number > 0)
            np.testing.assert_array_equal(rows, reference[: number + 1])
    finally:
        stop.set()
        merging.join()
    assert not trouble
    assert_clean(cache)


# Disks -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 400 kB in memory, where this user may."""
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


def test_a_disk_that_is_full_costs_nothing_that_was_committed(
    many: list[str], tmp_path: Path, register: Register
) -> None:
    from featx.errors import StoreError

    wide = register(Wide())
    reference, _ = extract(many[:40], None)
    disk = tmp_path / "disk"
    with small_disk(disk):
        extract(many[:10], disk / "cache")
        with pytest.raises(StoreError) as raised:
            extract(many[:40], disk / "cache")
        said = f".*{disk}.*No space left on device.*Free or unlock it, or choose another.*"
        assert re.fullmatch(said, str(raised.value))
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


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_folder_that_is_locked_while_a_run_goes_on_costs_nothing_that_was_committed(
    counting: CountingBackbone, many: list[str]
) -> None:
    folder = Path(tempfile.mkdtemp())  # others may look into it, unlike pytest's
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
        _, said = run.communicate(timeout=60)
        assert run.returncode == 1
        assert re.fullmatch(f"Error: .*{cache}.*Permission denied.*Free or unlock it, or choose another.*\n", said)
        assert kept <= committed(cache)
        # What can only be read is read.
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
