"""Helpers of the tests of jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from featx import merge_job, plan_job, run_job
from featx.datasets.find import find_images
from featx.extraction.options import ExtractionOptions
from featx.extraction.writing.table_to_file import extract_to_file


def undisturbed(source: Any, output: Path, **options: Any) -> None:
    """Extract without a job."""
    resolved = ExtractionOptions(backbone="fatal", **options).resolve()
    extract_to_file(find_images([source]), resolved, output, cache=None)


def check_equal(job: Any, source: Any, folder: Path) -> None:
    """Check that the merged files of a job equal those of an extraction without a job, byte for byte."""
    (folder / "undisturbed").mkdir()
    (folder / "merged").mkdir()
    undisturbed(source, folder / "undisturbed" / "f.npy")
    merge_job(job, folder / "merged" / "f.npy")
    assert sorted(os.listdir(folder / "merged")) == sorted(os.listdir(folder / "undisturbed"))
    for name in os.listdir(folder / "merged"):
        assert (folder / "merged" / name).read_bytes() == (folder / "undisturbed" / name).read_bytes(), name


def plan(source: Any, job: Any, **options: Any) -> Any:
    return plan_job(source, job, **{"backbone": "fatal", "shard_size": 6, "sample": 0, **options})


def shard_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.joinpath("shards").iterdir())}


def matrix_path(job: Path, shard: int) -> Path:
    """Return the path of the rows of a shard."""
    (path,) = job.glob(f"shards/{shard:08}-*.npy")
    return path


CLIENT = """
import sys
import featx.backbones.registry
from featx.cli import main as cli
from pathlib import Path
from tests.jobs.fatal import Fatal
featx.backbones.registry.register_backbone(Fatal(Path(sys.argv[1])))
sys.exit(cli.main(sys.argv[2:]))
"""


def client(order: Path, *args: Any) -> subprocess.Popen[str]:
    """Start featx in a process in which the backbone is registered."""
    command = [sys.executable, "-c", CLIENT, str(order), *map(str, args)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def wait_for(condition: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def merged_files(job: Path) -> dict[str, bytes]:
    """Return the files of `featx job merge`, by name."""
    folder = job.parent / f"merged-{time.monotonic_ns()}"
    folder.mkdir()
    merge_job(job, folder / "f.npy")
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def merged_files_of_a_plain_run(job: Path) -> dict[str, bytes]:
    """Return the merged files of the same job after a run without faults."""
    (job.parent / "order").unlink(missing_ok=True)
    shutil.copytree(job, job.parent / "plain", ignore=shutil.ignore_patterns("shards"))
    run_job(job.parent / "plain", cache=None)
    return merged_files(job.parent / "plain")
