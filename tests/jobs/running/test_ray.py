"""Jobs on Ray."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from featx import run_job
from tests.jobs.helpers import merged_files, merged_files_of_a_plain_run


@pytest.fixture
def job(cluster_job: Path) -> Path:
    return cluster_job


@pytest.fixture(autouse=True)
def short_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A temporary folder of Ray whose sockets have short paths: Linux allows 107 bytes."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow  # Ray takes half a minute to start
@pytest.mark.filterwarnings("ignore")  # Ray leaves files and processes open
@pytest.mark.parametrize("instruction", ["once", pytest.param("slow 0.01", marks=pytest.mark.thorough)])
def test_ray(job: Path, order: Path, instruction: str) -> None:
    pytest.importorskip("ray", reason="Ray is an extra that other tests do not need")
    order.write_text(instruction)
    run = run_job(job, backend="ray", n_jobs=2, cache=None)
    assert (run.shards_done, run.rows, run.failed) == (10, 39, 1)
    assert merged_files(job) == merged_files_of_a_plain_run(job)
