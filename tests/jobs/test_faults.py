"""Faults of workers, clients, disks and sources, with processes of this machine."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from featx import job_status, merge_job, run_job
from featx.cli import main as cli
from featx.errors import JobError, OutputError, SourceError
from tests.jobs.fatal import write_images
from tests.jobs.helpers import check_equal, client, plan, wait_for

pytestmark = pytest.mark.usefixtures("order", "quiet_logger")


@pytest.mark.parametrize(
    ("fault", "backend"),
    [
        pytest.param("always", "loky", marks=pytest.mark.slow),
        pytest.param("always", "sequential", marks=pytest.mark.thorough),
        pytest.param("raise", "sequential", marks=pytest.mark.thorough),
    ],
)
def test_shard_that_kills_its_workers_is_quarantined(
    fault: str, backend: str, images: Path, order: Path, tmp_path: Path
) -> None:
    order.write_text(fault)
    plan(images, tmp_path / "job")
    run = run_job(tmp_path / "job", backend=backend, n_jobs=2, batch_size=1)
    assert run.shards_done == 3
    (aside,) = run.quarantined
    assert run.quarantined[aside].startswith("3 failures; " + ("its worker died" if fault == "always" else "Backbone"))
    assert fault == "raise" or re.search(r"around image 7 of the plan \('.*0014.png'\)", run.quarantined[aside])
    assert aside in job_status(tmp_path / "job").quarantined
    assert f"shard {aside} is quarantined" in job_status(tmp_path / "job").as_text()
    assert run_job(tmp_path / "job").shards_done == 3  # not tried again without --retry-quarantined
    with pytest.raises(JobError, match="1 of 4 shards .* not done, the first is 1.*Quarantined: 1;"):
        merge_job(tmp_path / "job", tmp_path / "f.npy")
    partial = merge_job(tmp_path / "job", tmp_path / "partial.npy", allow_incomplete=True)
    assert (partial.rows + partial.failed, partial.missing) == (14, 6)
    order.unlink()
    assert run_job(tmp_path / "job", retry_quarantined=True).shards_done == 4
    check_equal(tmp_path / "job", images, tmp_path)
    assert not list((tmp_path / "job" / "heartbeats").iterdir())


@pytest.mark.parametrize("backend", ["sequential", pytest.param("loky", marks=pytest.mark.thorough)])
def test_killed_worker_loses_no_row(backend: str, images: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("once")
    plan(images, tmp_path / "job")
    run = run_job(tmp_path / "job", backend=backend, n_jobs=2)
    assert (run.shards_done, run.quarantined, order.exists()) == (4, {}, False)
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.thorough
def test_terminated_worker_is_replaced(images: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.1")
    plan(images, tmp_path / "job")
    process = client(order, "job", "run", tmp_path / "job", "--batch-size", "1", "--quiet", "--json")
    heartbeats = tmp_path / "job" / "heartbeats"
    wait_for(lambda: any(heartbeats.glob("0*.json")))
    (note,) = heartbeats.glob("0*.json")  # not the temporary file beside it
    os.kill(json.loads(note.read_text())["pid"], signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["shards_done"] == 4
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.thorough
def test_on_error_raise_ends_run(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(images, tmp_path / "job")
    assert cli.main(["job", "run", str(tmp_path / "job"), "--on-error", "raise", "--quiet"]) == 1
    assert "Error: Cannot read image" in capsys.readouterr().err
    assert not list((tmp_path / "job" / "heartbeats").iterdir())
    assert run_job(tmp_path / "job").shards_done == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_run_resumes_after_client_ends(number: int, images: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.15")
    plan(images, tmp_path / "job")
    process = client(order, "job", "run", tmp_path / "job", "--batch-size", "1", "--quiet")
    wait_for(lambda: len(list((tmp_path / "job" / "shards").glob("*.parquet"))) == 1)
    wait_for(lambda: any((tmp_path / "job" / "heartbeats").iterdir()))
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert len(err.splitlines()) == 1
        assert err.startswith("Interrupted. ")
        assert not list((tmp_path / "job" / "heartbeats").iterdir())
        assert not list((tmp_path / "job" / "clients").iterdir())
    else:
        time.sleep(2)  # a worker whose client died commits its rows and exits
    order.unlink()
    run = run_job(tmp_path / "job")
    assert run.shards_done == 4
    assert run.quarantined == {}
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.slow
def test_two_clients(images: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.1")
    plan(images, tmp_path / "job", shard_size=2)
    args = ("job", "run", tmp_path / "job", "--no-cache", "--json")
    first = client(order, *args)
    wait_for(lambda: any((tmp_path / "job" / "clients").iterdir()))
    second = client(order, *args, "--backend", "loky")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert "This job is already being run by" in err
    assert json.loads(out)["shards_done"] == 10
    first.communicate(timeout=60)
    assert first.returncode == 0
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_full_disk_blames_no_shard(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(images, tmp_path / "job")
    real, n_left = os.posix_fallocate, [2]

    def take(*args: int) -> None:
        n_left[0] -= 1
        if n_left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", take)
        with pytest.raises(OutputError, match="Cannot write shard 2 of .*: No space left on device. Free space"):
            run_job(tmp_path / "job")
    status = job_status(tmp_path / "job")
    assert (status.shards_done, status.quarantined, status.in_progress) == (2, {}, {})
    assert not list((tmp_path / "job" / "heartbeats").iterdir())
    assert run_job(tmp_path / "job").shards_done == 4
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_unmounted_source_fails_no_image(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 24)
    plan(images, tmp_path / "job", shard_size=4)
    images.rename(tmp_path / "elsewhere")
    with pytest.raises(
        SourceError, match="None of the 4 images of shard . is reachable.*Mount their disk.*the same command again"
    ):
        run_job(tmp_path / "job", cache=None)
    assert job_status(tmp_path / "job").shards_done == 0
    (tmp_path / "elsewhere").rename(images)
    assert run_job(tmp_path / "job", cache=None).rows == 24
