from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import DirectBackbone, FeatureExtractor, plan_job, run_job
from featx.errors import FeatxWarning
from featx.extraction.prefetch import prefetch
from featx.jobs.cost_estimate import CostEstimate, SampleLimits
from featx.system.files.local_folder import LocalFolder
from tests.conftest import Register
from tests.jobs.fatal import write_images


class Paced(DirectBackbone):
    """Takes a fixed time per image, and records the batch sizes."""

    name, version, image_size = "paced", 1, 8

    def __init__(self) -> None:
        self.seconds = 0.0
        self.shown: list[int] = []

    def n_features(self, pooling: str) -> int:
        return 1

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.shown.append(len(pixels))
        time.sleep(self.seconds * len(pixels))
        return np.ones((len(pixels), 1), dtype=np.float32)


@pytest.fixture
def paced(register: Register) -> Paced:
    return register(Paced())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 20)


def plan(source: Any, job: Any, **options: Any) -> Any:
    return plan_job(source, job, **{"backbone": "color_histogram", "sample": 0, "cache": None, **options})


def test_speed_is_that_of_a_long_block(tmp_path: Path, paced: Paced, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / "images", 120)
    paced.seconds = 0.004

    def slow_start(*args: Any) -> Any:
        time.sleep(0 if len(paced.shown) > 1 else 1.0)  # threads and first batches start slowly
        yield from prefetch(*args)

    monkeypatch.setattr("featx.extraction.extract.prefetch", slow_start)
    planned = plan(images, tmp_path / "job", backbone="paced", sample=200)
    assert planned.sampled == 120  # 8, 64 and the rest
    assert sum(paced.shown) == 121  # one more to warm up
    assert 120 < planned.images_per_second < 251  # a single block would give 80
    assert planned.hours == pytest.approx(120 / planned.images_per_second / 3600, abs=1e-4)


def test_sample_ends_after_a_long_block(
    images: Path, tmp_path: Path, paced: Paced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CostEstimate, "limits", SampleLimits(block_seconds=0.1))
    paced.seconds = 0.02
    planned = plan(images, tmp_path / "job", backbone="paced", sample=20)
    assert planned.sampled == 16  # the first 8, and 8 that are measured
    assert 25 < planned.images_per_second < 51


def test_slow_sample_is_not_waited_for(
    images: Path, tmp_path: Path, paced: Paced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CostEstimate, "limits", SampleLimits(max_seconds=0.7, first_block=4))
    paced.seconds = 0.05
    planned = plan(images, tmp_path / "job", backbone="paced", sample=20)
    assert planned.sampled == 4  # the next 16 took too long
    assert 7 < planned.images_per_second < 21
    paced.seconds = 0.3
    started = time.perf_counter()
    with pytest.warns(FeatxWarning, match="unknown: 4 images of the sample took more than 1 s.*--sample 0"):
        planned = plan(images, tmp_path / "job2", backbone="paced", sample=20)
    assert time.perf_counter() - started < 3  # the whole sample takes 6
    assert (planned.images, planned.images_per_second, planned.hours, planned.sampled) == (20, None, None, 0)
    assert "images/s" not in planned.as_text()


def test_hours_without_cached_rows(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalFolder, "is_shared", False)
    monkeypatch.setattr("featx.store.file_index.FileIndex.racy_seconds", 0.0)  # these files were just written
    os.rename(images / "b", tmp_path / "b")
    cache = tmp_path / "cache"
    plan(images, tmp_path / "first", cache=cache)
    run_job(tmp_path / "first", cache=cache)
    os.rename(tmp_path / "b", images / "b")
    planned = plan(images, tmp_path / "job", cache=cache, sample=5)
    assert (planned.images, planned.cached) == (20, 10)
    assert "At least 10 rows are cached (moved and copied files" in planned.as_text()
    assert "for the other 10 images, at" in planned.as_text()


def test_no_sample_of_cached_images(
    images: Path, tmp_path: Path, paced: Paced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.store.file_index.FileIndex.racy_seconds", -1)  # these files were just written
    paths = sorted(map(str, images.glob("a/*")))[:4]
    FeatureExtractor("paced", cache=tmp_path / "cache").fit_transform(paths)
    paced.shown.clear()
    planned = plan(paths, tmp_path / "job", backbone="paced", cache=tmp_path / "cache", sample=5)
    assert (planned.cached, planned.sampled, planned.images_per_second) == (4, 0, None)
    assert paced.shown == []
    assert "images/s" not in planned.as_text()


def test_unreadable_sample(tmp_path: Path) -> None:
    (tmp_path / "gone.csv").write_text("path\n" + "".join(f"/nowhere/{number}.jpg\n" for number in range(30)))
    with pytest.warns(
        FeatxWarning, match="None of the 30 images of the sample can be read, the first is '/nowhere/"
    ) as caught:
        planned = plan(tmp_path / "gone.csv", tmp_path / "job", sample=100)
    assert planned.images_per_second is None
    assert planned.hours is None
    assert (planned.sampled, planned.unreadable) == (30, 30)
    assert caught[0].filename == plan.__code__.co_filename  # the caller of plan_job
