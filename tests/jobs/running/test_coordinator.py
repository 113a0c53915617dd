"""Runs in this process: recorded failures, and traces of other clients and dead workers."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from featx import job_status, plan_job, run_job
from featx.cli import main as cli
from featx.errors import FeatxWarning, JobError, OutputError, SourceError
from featx.features.job_files import CommittedShard
from featx.jobs.job import Job, open_job, open_job_folder
from featx.jobs.running.coordinator import Coordinator, recover
from featx.jobs.running.executors import ClusterLostError, TaskExecutor, WorkerLostError, run_tasks
from featx.jobs.running.heartbeats import read_heartbeats
from featx.jobs.running.rounds import MAX_FAILURES, Limits
from featx.jobs.running.worker import Outcome, Task
from featx.system.files.local_folder import LocalFolder
from featx.system.processes import pid_namespace, process_start_time
from tests.jobs.fatal import Fatal, make_coordinator, make_task, write_images
from tests.jobs.helpers import matrix_path


@pytest.fixture
def job(order: Path, in_this_process: None, tmp_path: Path) -> Path:
    """A job of ten shards of two images, which runs in this process."""
    images = write_images(tmp_path / "images", 20)
    plan_job(images, tmp_path / "job", backbone="fatal", shard_size=2, sample=0, cache=None)
    return tmp_path / "job"


@pytest.fixture
def dead_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave_heartbeat(
    job: Path,
    shard: int,
    client: str,
    *,
    host: str = "elsewhere",
    pid: int = 7,
    round: int = 0,
    started: int | None = 3,
) -> None:
    """Leave the heartbeat of a worker at a shard."""
    fields = {"shard": shard, "client": client, "round": round, "host": host, "pid": pid, "started": started}
    path = job / "heartbeats" / f"{shard:08}-{uuid.uuid4().hex}.json"
    path.write_text(json.dumps({**fields, "n_done": 0, "time": time.time()}))


def leave_client(job: Path, pid: int, started: int | None = None) -> str:
    """Leave the note of a client on this machine; return its token."""
    token = uuid.uuid4().hex
    note = {"host": pid_namespace(), "hostname": "here", "pid": pid, "started": started}
    (job / "clients" / f"{token}.json").write_text(json.dumps({**note, "time": time.time(), "n_before": 0}))
    return token


def shards_at_work(job: Path) -> list[int]:
    return sorted(beat.shard for beat in read_heartbeats(open_job_folder(job)))


def pending(job: Path) -> tuple[int, ...]:
    return tuple(make_coordinator(job).pending())


class LosesWorkers(TaskExecutor):
    """An executor whose workers die at some shards and leave the given number of heartbeats."""

    def __init__(self, job: Path, deaths: dict[int, int]) -> None:
        self._job, self._deaths = job, deaths

    def submit(self, function: object, task: Task) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        if task.shard in self._deaths:
            for _ in range(self._deaths[task.shard]):
                leave_heartbeat(self._job, task.shard, task.client, round=task.round)
            future.set_exception(WorkerLostError("SIGKILL(-9)"))
        else:
            future.set_result(Outcome("done"))
        return future


def test_deaths_are_counted_by_heartbeats(job: Path) -> None:
    """An engine may blame a shard that had not begun; heartbeats of other clients and rounds do not count."""
    leave_heartbeat(job, 0, "another client")
    leave_heartbeat(job, 2, make_task(job).client, round=5)
    coordinator = make_coordinator(job)
    executor = LosesWorkers(job, {0: 0, 1: 1, 2: 2})
    tasks = [dataclasses.replace(make_task(job), shard=shard) for shard in range(4)]
    for task, outcome in run_tasks(executor, repr, tasks):
        coordinator.record(task, outcome)
    assert coordinator.state.problem.startswith("a worker died before it began a shard (SIGKILL(-9)). Free memory")
    failures = coordinator.state.failures
    assert {shard: failure.count for shard, failure in failures.items()} == {1: 1, 2: 2}
    assert failures[1].reason.startswith("its worker died around image 2 of the plan ('")
    assert shards_at_work(job) == [0, 2]


def test_connection_that_breaks_repeatedly(job: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(TaskExecutor):
        """Loses the connection in each round; in the fifth, a shard is done before."""

        n_rounds = 0

        def submit(self, function: Any, task: Task) -> Future[Outcome]:
            Breaks.n_rounds += 1
            future: Future[Outcome] = Future()
            if Breaks.n_rounds == 5:
                function(task)
            future.set_exception(ClusterLostError("its scheduler is gone"))
            return future

    limits = Limits(max_vain=20, pause_seconds=0.001)
    started = time.monotonic()
    with pytest.raises(
        JobError, match=r"in 20 attempts in a row: .* cluster broke \(its scheduler is gone\)\. Read the"
    ):
        make_coordinator(job, Breaks(), limits).run()
    assert Breaks.n_rounds == 25
    assert time.monotonic() - started >= 0.1
    assert run_job(job, cache=None).shards_done == 10


def test_faults_of_the_cluster_that_alternate_stop_the_run(job: Path) -> None:
    class Alternates(TaskExecutor):
        """Loses the connection and workers that have not begun in turn."""

        n_rounds = 0

        def submit(self, function: object, task: Task) -> Future[Outcome]:
            Alternates.n_rounds += 1
            future: Future[Outcome] = Future()
            lost = ClusterLostError("its scheduler is gone") if task.round % 2 else WorkerLostError("SIGKILL(-9)")
            future.set_exception(lost)
            return future

    with pytest.raises(JobError, match="in 5 attempts in a row: a worker died before it began a shard"):
        make_coordinator(job, Alternates(), Limits(pause_seconds=0.001)).run()
    assert Alternates.n_rounds == 3 * 10 + 2  # a round whose connection breaks ends at once


@pytest.mark.parametrize("is_alive", [True, False])
def test_heartbeats_of_a_living_client_are_kept(is_alive: bool, job: Path, dead_pid: int) -> None:
    first = leave_client(job, os.getpid() if is_alive else dead_pid)
    leave_heartbeat(job, 0, first, host=pid_namespace(), pid=dead_pid)
    recover(open_job(job), verify=False, retry_quarantined=False)
    assert shards_at_work(job) == [0] * is_alive
    assert open_job(job).marked("suspects") == ([] if is_alive else [0])  # the cause is unknown: no failure


def test_shard_that_another_client_computed_again_is_kept(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clients find a corrupt shard. The slower one does not remove what the faster one has committed since."""
    cache, find_corruption = tmp_path / "cache", Job.find_corruption
    run_job(job, cache=cache)
    matrix = matrix_path(job, 0)
    matrix.write_bytes(bytes(matrix.stat().st_size))

    def slow(opened: Job, shard: CommittedShard) -> str:
        monkeypatch.setattr(Job, "find_corruption", find_corruption)
        reason = find_corruption(opened, shard)
        assert list(run_job(job, cache=cache, verify=True).recomputed) == [shard.shard] == [0]
        return reason

    monkeypatch.setattr(Job, "find_corruption", slow)
    done, corrupt = recover(open_job(job), verify=True, retry_quarantined=False)
    assert (len(done), corrupt) == (10, {})
    assert run_job(job, cache=cache, verify=True).recomputed == {}


def test_reused_process_number(job: Path) -> None:
    """As in a container that is restarted."""
    before = (process_start_time(os.getpid()) or 0) - 1
    client = leave_client(job, os.getpid(), before)
    leave_heartbeat(job, 0, client, host=pid_namespace(), pid=os.getpid(), started=before)
    assert (job_status(job).running, job_status(job).in_progress) == ([], {})
    recover(open_job(job), verify=False, retry_quarantined=False)
    assert set(open_job(job).marked("suspects")) == {0}


def test_shard_whose_worker_and_client_died_runs_last(job: Path, dead_pid: int) -> None:
    for _ in range(MAX_FAILURES + 1):
        leave_heartbeat(job, 3, leave_client(job, dead_pid), host=pid_namespace(), pid=dead_pid)
        recover(open_job(job), verify=False, retry_quarantined=False)
        assert pending(job) == (0, 1, 2, 4, 5, 6, 7, 8, 9, 3)
    assert run_job(job, cache=None).quarantined == {}
    assert job_status(job).is_complete
    assert notes(job) == []


def test_heartbeat_that_cannot_be_written(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LocalFolder, "poll_seconds", 0.0)
    write, written = LocalFolder.write, list[str]()

    def refuse(folder: LocalFolder, name: str, data: bytes) -> None:
        if name in written and name.startswith("heartbeats/"):
            raise OutputError(f"Cannot read or write {name!r}: Slow Down.")
        written.append(name)
        write(folder, name, data)

    monkeypatch.setattr(LocalFolder, "write", refuse)
    assert run_job(job, cache=None, batch_size=1).shards_done == 10
    messages = [record.getMessage() for record in caplog.records if "Slow Down" in record.getMessage()]
    assert len(messages) == 10  # once for each shard, which has two batches
    assert messages[0].startswith("The progress of shard 0 is not shown, but it goes on: ")


def test_status_of_a_run_that_has_just_begun(job: Path) -> None:
    leave_client(job, os.getpid())
    text = job_status(job).as_text()
    assert "no image done in this run so far: workers load the network first" in text
    assert f"run by process {os.getpid()} on here" in text
    with pytest.warns(FeatxWarning, match="This job is already being run by process"):
        run_job(job, cache=None)
    assert "so far" not in job_status(job).as_text()


def committed(job: Path) -> dict[str, bytes]:
    """Return the committed files."""
    return {path.name: path.read_bytes() for path in sorted((job / "shards").iterdir())}


def notes(job: Path) -> list[str]:
    """Return the notes that runs left."""
    return [name for folder in ("heartbeats", "suspects", "clients") for name in os.listdir(job / folder)]


def job_of(tmp_path: Path, n_images: int, shard_size: int) -> Path:
    """Plan another job."""
    images = write_images(tmp_path / "photos", n_images)
    plan_job(images, tmp_path / "other", backbone="fatal", shard_size=shard_size, sample=0, cache=None)
    return tmp_path / "other"


@pytest.mark.usefixtures("job")
def test_retry_failed_replaces_only_better_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job, photos = job_of(tmp_path, 24, 12), tmp_path / "photos"
    whole = (photos / "a" / "0002.png").read_bytes()
    (photos / "a" / "0002.png").write_bytes(b"no image")
    assert run_job(job, cache=None).failed == 1
    before = committed(job)
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "is_shared", True)
        with pytest.raises(JobError, match="no Dask scheduler at"):
            run_job(job, cache=None, retry_failed=True, backend="dask", scheduler="tcp://127.0.0.1:1")
    assert committed(job) == before
    photos.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="None of the 12 images of shard 0 is reachable"):
        run_job(job, cache=None, retry_failed=True)
    assert committed(job) == before
    (tmp_path / "away").rename(photos)
    assert run_job(job, cache=None, retry_failed=True).failed == 1  # unchanged
    assert committed(job) == before
    (photos / "a" / "0004.png").rename(tmp_path / "0004.png")
    (photos / "a" / "0002.png").write_bytes(whole)
    assert run_job(job, cache=None, retry_failed=True).failed == 1
    assert committed(job) == before
    assert "Shard 0 is kept as it was: 1 of its images that have a row" in caplog.text
    (tmp_path / "0004.png").rename(photos / "a" / "0004.png")
    assert run_job(job, cache=None, retry_failed=True).failed == 0
    changed = [name[:8] for name, data in committed(job).items() if data != before.get(name)]
    assert changed == ["00000000", "00000000"]
    assert len(committed(job)) == len(before)
    assert run_job(job, cache=None, verify=True).recomputed == {}
    assert notes(job) == []


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("at", ["00000000-", "00000000.parquet"])
def test_kill_while_rows_are_replaced(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, photo = job_of(tmp_path, 4, 4), tmp_path / "photos" / "a" / "0002.png"
    whole = photo.read_bytes()
    photo.write_bytes(b"no image")
    run_job(job, cache=None)
    photo.write_bytes(whole)
    real = LocalFolder.replace

    def die(place: LocalFolder, name: str, temporary: Path) -> None:
        if name.startswith(f"shards/{at}"):
            raise KeyboardInterrupt
        real(place, name, temporary)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalFolder, "replace", die)
        run_job(job, cache=None, retry_failed=True)
    assert (job_status(job).shards_done, job_status(job).rows) == (1, 3)
    assert run_job(job, cache=None, retry_failed=True, verify=True).rows == 4
    assert run_job(job, cache=None, verify=True).recomputed == {}


def test_failed_retry_is_not_quarantined(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photo = job.parent / "images" / "a" / "0002.png"
    whole = photo.read_bytes()
    photo.write_bytes(b"no image")
    run_job(job, cache=None)
    photo.write_bytes(whole)
    before = committed(job)
    with monkeypatch.context() as patch:
        patch.setattr(Fatal, "extract", _fail)
        run = run_job(job, cache=None, retry_failed=True)
    assert (run.shards_done, run.quarantined, notes(job)) == (10, {}, [])
    assert committed(job) == before
    assert "is kept as it was: 3 failures; " in caplog.text
    assert run_job(job, cache=None, retry_failed=True).rows == 20


def _fail(backbone: Fatal, pixels: object) -> None:
    raise RuntimeError("no such device")


def test_backbone_that_always_fails_quarantines_nothing(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fail(backbone: Fatal, pixels: object) -> None:
        calls.append(1)
        raise RuntimeError("no such device")

    with monkeypatch.context() as patch:
        patch.setattr(Fatal, "extract", fail)
        with pytest.raises(JobError, match=r"All of the first 5 shards of this run failed, .*no such device.*machine"):
            run_job(job, cache=None)
    assert len(calls) == 5
    assert (job_status(job).quarantined, set(open_job(job).marked("suspects"))) == ({}, {0, 1, 2, 3, 4})
    assert pending(job)[:2] == (5, 6)  # the shards may be the cause: the next run begins with others
    assert run_job(job, cache=None).shards_done == 10
    assert notes(job) == []


def test_failing_shards_are_quarantined(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = Fatal.extract

    def fail(backbone: Fatal, pixels: Any) -> Any:
        if 20 > pixels.mean(axis=(1, 2))[0, 0] > 5:  # all but three
            raise RuntimeError("these not")
        return extract(backbone, pixels)

    monkeypatch.setattr(Fatal, "extract", fail)
    run = run_job(job, cache=None)
    assert run.shards_done == 10 - len(run.quarantined)
    assert len(run.quarantined) > 5
    assert all(reason.startswith("3 failures; ") for reason in run.quarantined.values())


@pytest.mark.usefixtures("job")
def test_shard_whose_images_are_deleted(tmp_path: Path) -> None:
    """Nobody knows whether its disk is away: the other shards are done, and no image is listed as failed."""
    job = job_of(tmp_path, 60, 10)
    gone = tmp_path / "gone"
    gone.mkdir()
    paths = open_job(job).planned(0).paths
    for path in paths:
        (tmp_path / path).rename(gone / Path(path).name)
    with pytest.raises(
        SourceError, match=r"None of the 10 images of shard 0 .* under a new name.* holds for 1 shard\."
    ):
        run_job(job, cache=None)
    assert (job_status(job).shards_done, job_status(job).failed) == (5, 0)
    for path in paths:
        (gone / Path(path).name).rename(tmp_path / path)
    assert run_job(job, cache=None).rows == 60
    assert notes(job) == []


@pytest.mark.usefixtures("job")
def test_unmounted_disk_stops_the_run(tmp_path: Path) -> None:
    job, photos = job_of(tmp_path, 60, 10), tmp_path / "photos"
    photos.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="None of the 10 images of shard 2"):
        run_job(job, cache=None)
    (tmp_path / "away").rename(photos)
    for shard in (3, 4):
        for path in open_job(job).planned(shard).paths:
            (tmp_path / path).rename(tmp_path / Path(path).name)
    with pytest.raises(SourceError, match=r"None of the 10 images of shard 3 .* The same holds for 2 shards\."):
        run_job(job, cache=None)
    assert job_status(job).shards_done == 4
    photos.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="None of the 10 images of shard"):
        run_job(job, cache=None)
    (tmp_path / "away").rename(photos)
    for shard in (3, 4):
        for path in open_job(job).planned(shard).paths:
            (tmp_path / Path(path).name).rename(tmp_path / path)
    assert run_job(job, cache=None).rows == 60


def test_rounds_without_progress_stop(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = LocalFolder.names
    stale: set[str] = set()
    monkeypatch.setattr(LocalFolder, "names", lambda self, folder: stale if folder == "shards" else names(self, folder))
    with pytest.raises(JobError, match=r"in 5 attempts in a row: 10 shards left, the first is 0. Check that"):
        make_coordinator(job, limits=Limits(pause_seconds=0.01)).run()
    monkeypatch.setattr(LocalFolder, "names", names)
    assert run_job(job, cache=None).shards_done == 10


@pytest.mark.parametrize(("backend", "message"), [("dask", "no Dask scheduler"), ("ray", "no Ray cluster")])
def test_absent_cluster_is_reported_first(
    backend: str, message: str, job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    run_job(job, cache=None)
    matrix_path(job, 3).write_bytes(b"damaged")
    before = committed(job)
    monkeypatch.setattr(LocalFolder, "is_shared", True)
    monkeypatch.setattr(Job, "committed", None)
    command = ["job", "run", str(job), "--verify", "--backend", backend, "--scheduler", "127.0.0.1:1", "--quiet"]
    assert cli.main(command) == 1
    assert message in capsys.readouterr().err
    assert committed(job) == before


def test_done_shard_is_not_quarantined(job: Path) -> None:
    run_job(job, cache=None)
    open_job(job).mark("quarantine", 3, "3 failures; its worker died")
    assert job_status(job).quarantined == {}
    assert run_job(job, cache=None).quarantined == {}
    assert os.listdir(job / "quarantine") == []


def test_run_reports_corrupt_shards(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Coordinator.run

    def damage(coordinator: Coordinator) -> None:
        run(coordinator)
        matrix_path(job, 3).write_bytes(b"damaged")

    monkeypatch.setattr(Coordinator, "run", damage)
    done = run_job(job, cache=None)
    assert (done.shards_done, list(done.corrupt)) == (9, [3])
    assert "shard 3 is corrupt: its matrix has 7 bytes" in done.as_text()
    assert f"Compute these again: featx job run {job}" in done.as_text()
