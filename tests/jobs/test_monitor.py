from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from featx import plan_job
from featx.jobs.job import Job
from featx.jobs.running import monitor as watching
from featx.jobs.storage import Place
from tests.fatal import write_images


@pytest.fixture
def job(tmp_path: Path) -> Job:
    write_images(tmp_path / "images", 4)
    plan_job(tmp_path / "images", tmp_path / "job", backbone="color_histogram", shard_size=2, sample=0, cache=None)
    return Job(Place(tmp_path / "job"))


def test_where_looks_take_long_they_are_few(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look(*args: object) -> int:
        looks.append(time.monotonic())
        time.sleep(0.05)
        return 0

    monkeypatch.setattr(watching, "images_done", look)
    monkeypatch.setattr(watching, "_LOOK", 0.01)
    with watching.watching(job, "nobody", 0, lambda n_done: None):
        time.sleep(1.0)
    assert 2 <= len(looks) <= 3  # the last when all is over
    assert looks[1] - looks[0] >= 0.5


def test_a_look_does_not_ask_for_each_shard(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.place.prepare("shards")
    for name in ("00000000.parquet", "00000000.npy", "notes.txt"):
        (Path(job.place.path("shards")) / name).touch()
    monkeypatch.setattr(os, "stat", None)
    monkeypatch.setattr(Place, "listed", None)
    assert watching.images_done(job) == 2
