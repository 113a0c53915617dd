"""A backbone that kills its process at a red image, as the file ``order`` demands; and helpers for tests of jobs."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from featx import DirectBackbone
from featx.jobs.job import open_job
from featx.jobs.running.coordinator import Coordinator
from featx.jobs.running.executors import TaskExecutor
from featx.jobs.running.rounds import Limits
from featx.jobs.running.worker import Task


class Fatal(DirectBackbone):
    name, version, image_size, min_image_size = "fatal", 1, 16, 2

    def __init__(self, order: Path) -> None:
        self.order = order

    def n_features(self, pooling: str) -> int:
        return 3

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows = pixels.mean(axis=(1, 2), dtype=np.float32)
        order = self.order.read_text().split() if self.order.exists() else []
        if order[:1] == ["slow"]:
            time.sleep(float(os.environ.get("FATAL_SLOW") or order[1]) * len(pixels))
        if (rows[:, 0] == 255).any() and order[-1:] in (["once"], ["always"], ["raise"]):
            if order[-1] == "once":
                self.order.unlink()
            if order[-1] == "raise":
                raise ValueError("red")
            os.kill(os.getpid(), signal.SIGKILL)
        return rows


def write_images(folder: Path, n_images: int, red: int | None = None) -> Path:
    """Write small images of two classes, all different; one of them may be red."""
    import PIL.Image  # not in every worker

    for number in range(n_images):
        path = folder / "ab"[number % 2] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = (255, 0, number % 256) if number == red else (number % 200, number // 200, 50)
        PIL.Image.new("RGB", (20, 20), color).save(path)
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return folder


def make_task(job: Path, client: str = "0" * 32) -> Task:
    """Return the task of the first shard of a job."""
    return Task(
        location=str(job),
        job_id=open_job(job).manifest.id,
        shard=0,
        client=client,
        round=0,
        is_cache_auto=False,
        cache=None,
        raise_on_error=False,
        machine_options={"engine": "auto", "batch_size": 32},
    )


def make_coordinator(job: Path, executor: TaskExecutor | None = None, limits: Limits | None = None) -> Coordinator:
    """Return a coordinator of a job before it runs, in this process or on another executor."""
    used = executor or TaskExecutor()
    return Coordinator(open_job(job), make_task(job), lambda seconds: contextlib.nullcontext(used), limits=limits)
