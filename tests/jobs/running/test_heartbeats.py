from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from featx import plan_job
from featx.jobs.job import Job, open_job
from featx.jobs.running.heartbeats import DoneImages, count_done_images
from featx.system.files.local_folder import LocalFolder
from tests.jobs.fatal import write_images


@pytest.fixture
def job(tmp_path: Path) -> Job:
    write_images(tmp_path / "images", 4)
    plan_job(tmp_path / "images", tmp_path / "job", backbone="color_histogram", shard_size=2, sample=0, cache=None)
    return open_job(tmp_path / "job")


def test_progress_is_read_rarely_if_reading_is_slow(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    names = LocalFolder.names

    def slow(folder: LocalFolder, name: str) -> set[str]:
        if name == "shards":
            looks.append(time.monotonic())
            time.sleep(0.05)
        return names(folder, name)

    monkeypatch.setattr(LocalFolder, "names", slow)
    monkeypatch.setattr(LocalFolder, "poll_seconds", 0.01)
    watch = DoneImages(job, lambda n_done: None)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        watch()
    assert len(looks) == 3  # the first before the run
    assert looks[2] - looks[1] >= 0.5


def test_counting_images_needs_no_look_at_each_shard(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("00000000.parquet", "00000000.npy", "notes.txt"):
        Path(job.folder.path(f"shards/{name}")).touch()
    monkeypatch.setattr(os, "stat", None)
    monkeypatch.setattr(LocalFolder, "sizes", None)
    assert count_done_images(job) == 2
