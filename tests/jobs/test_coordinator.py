from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from featx import job_status, plan_job, run_job
from featx.cli import main as cli
from featx.errors import FeatxWarning, JobError, OutputError, SourceError
from featx.jobs.backends import errors as clusters
from featx.jobs.job import Job
from featx.jobs.running import heartbeats as attempts
from featx.jobs.running.coordinator import Client
from featx.jobs.running.heartbeats import at_work, tried
from featx.jobs.running.worker import Task, work
from featx.jobs.storage import Place
from featx.system.processes import pid_namespace, process_start_time
from tests.conftest import Register
from tests.fatal import Fatal, client_of, write_images


@pytest.fixture
def job(tmp_path: Path, register: Register, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of ten shards of two images, which this process does."""
    register(Fatal(tmp_path / "order"))
    monkeypatch.setattr(Place, "is_shared", False)
    images = write_images(tmp_path / "images", 20)
    plan_job(images, tmp_path / "job", backbone="fatal", shard_size=2, sample=0, cache=None)
    Place(tmp_path / "job").prepare("attempts", "running")
    return tmp_path / "job"


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave_note(
    job: Path,
    shard: int,
    client: str,
    *,
    where: str = "elsewhere",
    pid: int = 7,
    n_round: int = 1,
    started: int | None = 3,
) -> None:
    """Leave the note of a worker that is at a shard."""
    said = {
        "shard": shard,
        "client": client,
        "round": n_round,
        "where": where,
        "pid": pid,
        "started": started,
        "done": 0,
    }
    path = job / "attempts" / f"{shard:08}-{uuid.uuid4().hex}.json"
    path.write_text(json.dumps({**said, "time": time.time()}))


def leave_client(job: Path, pid: int, started: int | None = None) -> str:
    """Leave the note of a client on this machine; return its token."""
    token = uuid.uuid4().hex
    said = {"where": pid_namespace(), "host": "here", "pid": pid, "started": started, "time": time.time(), "before": 0}
    (job / "running" / f"{token}.json").write_text(json.dumps(said))
    return token


def test_what_a_cluster_gives_out_again_has_ended_its_worker_in_the_same_round_alone(job: Path) -> None:
    place = Place(job)
    client, task = client_of(job)
    for shard, n_round in ((0, 1), (1, 2)):
        leave_note(job, shard, client.token, n_round=n_round)
        work(dataclasses.replace(task, shard=shard, n_round=2))
    # The worker of the former may go on; that of the latter is one that the cluster has lost.
    assert (tried(place), [note.shard for note in at_work(place)]) == ({1: 1}, [0])


@pytest.mark.parametrize(
    ("living", "blamed"),
    [({("elsewhere", 7, 3)}, {1: 1}), (None, {}), (set(), {0: 1, 1: 1}), ({("elsewhere", 7, 4)}, {0: 1, 1: 1})],
)
def test_a_shard_is_blamed_if_its_worker_is_gone(
    living: set[attempts.Process] | None, blamed: dict[int, int], job: Path
) -> None:
    place = Place(job)
    client, _ = client_of(job)
    leave_note(job, 0, client.token, pid=7)
    leave_note(job, 1, client.token, pid=8)
    leave_note(job, 2, "another client", pid=8)
    leave_note(job, 3, client.token, pid=8, n_round=0)  # its scheduler has gone, and it with it
    client._n_round = 1
    client._count_lost(clusters.WorkerLostError("one died", living))
    assert tried(place) == blamed
    assert sorted(note.shard for note in at_work(place)) == sorted({0, 1, 2, 3} - set(blamed))


def test_a_cluster_that_breaks_again_and_again_is_given_up(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[float] = []

    def break_off(function: Callable[[Task], None], tasks: Iterator[Task], **options: object) -> None:
        lost.append(time.monotonic())
        if len(lost) == 5:
            function(next(tasks))
        raise clusters.ClusterLostError("its scheduler is gone")

    with monkeypatch.context() as patch:
        patch.setattr("featx.jobs.running.coordinator.run_tasks", break_off)
        patch.setattr("featx.jobs.running.run.knock", lambda *args: None)
        patch.setattr("featx.jobs.running.coordinator._PAUSE_SECONDS", 0.02)
        patch.setattr(Place, "is_shared", True)
        with pytest.raises(JobError, match=r"\(dask\) has broken 20 times, and no shard was done in between"):
            run_job(job, backend="dask", cache=None)
    assert len(lost) == 24  # the fifth was one after a shard
    assert lost[-1] - lost[0] >= 23 * 0.02
    assert run_job(job, cache=None).done == 10


@pytest.mark.parametrize("lives", [True, False])
def test_the_notes_of_dead_workers_are_left_to_their_client_while_it_lives(lives: bool, job: Path, dead: int) -> None:
    first = leave_client(job, os.getpid() if lives else dead)
    leave_note(job, 0, first, where=pid_namespace(), pid=dead)
    second, _ = client_of(job)
    second.clear_up(verify=False, retry_quarantined=False, retry_failed=False)
    assert [note.client for note in at_work(Place(job))] == [first] * lives
    assert tried(Place(job)) == ({} if lives else {0: 0})  # of what both ended is unknown: that is no try


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(job: Path) -> None:
    """As in a container that is started again."""
    before = (process_start_time(os.getpid()) or 0) - 1
    first = leave_client(job, os.getpid(), before)
    leave_note(job, 0, first, where=pid_namespace(), pid=os.getpid(), started=before)
    assert (job_status(job).running, job_status(job).at_work) == ([], {})
    client, task = client_of(job)
    client.clear_up(verify=False, retry_quarantined=False, retry_failed=False)
    assert tried(Place(job)) == {0: 0}
    leave_note(job, 1, client.token, where=pid_namespace(), pid=os.getpid(), started=before)
    work(dataclasses.replace(task, shard=1, n_round=1))
    assert tried(Place(job)) == {0: 0, 1: 1}


def test_a_shard_whose_client_ended_with_its_worker_comes_last_and_is_not_set_aside(job: Path, dead: int) -> None:
    for _ in range(attempts.TRIES + 1):
        leave_note(job, 3, leave_client(job, dead), where=pid_namespace(), pid=dead)
        client, _ = client_of(job)
        client.clear_up(verify=False, retry_quarantined=False, retry_failed=False)
        assert client._pending() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 3]
    assert run_job(job, cache=None).set_aside == {}
    assert job_status(job).is_done
    assert not os.listdir(job / "attempts")


def test_a_sign_of_life_that_cannot_be_left_ends_nothing(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("featx.jobs.running.heartbeats._SIGN_SECONDS", 0.0)
    write, written = Place.write, list[str]()

    def refuse(place: Place, name: str, data: bytes) -> None:
        if name in written and name.startswith("attempts/"):
            raise OutputError(f"{name!r} cannot be read or written: Slow Down.")
        written.append(name)
        write(place, name, data)

    monkeypatch.setattr(Place, "write", refuse)
    assert run_job(job, cache=None, batch_size=1).done == 10
    said = [record.getMessage() for record in caplog.records if "Slow Down" in record.getMessage()]
    assert len(said) == 10  # once for each shard, which has two batches
    assert said[0].startswith("Nobody sees how far shard 0 is, but it goes on: ")


def test_a_run_that_has_just_begun_says_what_it_is_waiting_for(job: Path) -> None:
    leave_client(job, os.getpid())
    said = job_status(job).as_text()
    assert "none of them in this run so far: workers get the network ready first" in said
    assert f"run by process {os.getpid()} on here" in said
    with pytest.warns(FeatxWarning, match="This job is being run already"):
        run_job(job, cache=None)
    assert "so far" not in job_status(job).as_text()


def committed(job: Path) -> dict[str, bytes]:
    """Return what is committed."""
    return {path.name: path.read_bytes() for path in sorted((job / "shards").iterdir())}


def notes(job: Path) -> list[str]:
    """Return what is left of runs."""
    return [*os.listdir(job / "attempts"), *os.listdir(job / "again"), *os.listdir(job / "running")]


def job_of(tmp_path: Path, n_images: int, shard_size: int) -> Path:
    """Plan another job, which this process does."""
    images = write_images(tmp_path / "photos", n_images)
    plan_job(images, tmp_path / "other", backbone="fatal", shard_size=shard_size, sample=0, cache=None)
    return tmp_path / "other"


@pytest.mark.usefixtures("job")
def test_what_is_done_again_stands_until_it_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job, photos = job_of(tmp_path, 24, 12), tmp_path / "photos"
    whole = (photos / "a" / "0002.png").read_bytes()
    (photos / "a" / "0002.png").write_bytes(b"no image")
    assert run_job(job, cache=None).failed == 1
    before = committed(job)
    with monkeypatch.context() as patch:
        patch.setattr(Place, "is_shared", True)
        with pytest.raises(JobError, match="no scheduler of Dask at"):
            run_job(job, cache=None, retry_failed=True, backend="dask", scheduler="tcp://127.0.0.1:1")
    assert committed(job) == before
    photos.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="Not one of the 12 images of shard 0"):
        run_job(job, cache=None, retry_failed=True)
    assert committed(job) == before
    (tmp_path / "away").rename(photos)
    assert run_job(job, cache=None, retry_failed=True).failed == 1  # as it was
    assert committed(job) == before
    (photos / "a" / "0004.png").rename(tmp_path / "0004.png")
    (photos / "a" / "0002.png").write_bytes(whole)
    assert run_job(job, cache=None, retry_failed=True).failed == 1
    assert committed(job) == before
    assert "Shard 0 is left as it was: 1 of its images that have a row" in caplog.text
    (tmp_path / "0004.png").rename(photos / "a" / "0004.png")
    assert run_job(job, cache=None, retry_failed=True).failed == 0
    assert {name for name, data in committed(job).items() if data != before[name]} == {
        "00000000.npy",
        "00000000.parquet",
    }
    assert run_job(job, cache=None, verify=True).redone == {}
    assert notes(job) == []


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("at", ["remove", "replace_from", "create"])
def test_a_kill_while_rows_are_replaced_leaves_a_shard_that_is_done_again(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, photo = job_of(tmp_path, 4, 4), tmp_path / "photos" / "a" / "0002.png"
    whole = photo.read_bytes()
    photo.write_bytes(b"no image")
    run_job(job, cache=None)
    photo.write_bytes(whole)
    monkeypatch.setattr("featx.jobs.running.shard._PATIENCE_SECONDS", 0.1)
    real = getattr(Place, at)

    def die(place: Place, name: str, *args: object) -> object:
        if name.startswith("shards/"):
            raise KeyboardInterrupt
        return real(place, name, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Place, at, die)
        run_job(job, cache=None, retry_failed=True)
    status = job_status(job)
    assert (status.shards_done, status.rows) == ((1, 3) if at == "remove" else (0, 0))
    assert run_job(job, cache=None, retry_failed=True, verify=True).rows == 4
    assert run_job(job, cache=None, verify=True).redone == {}


def test_what_cannot_be_done_again_is_not_set_aside(
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
    assert (run.done, run.set_aside, notes(job)) == (10, {}, [])
    assert committed(job) == before
    assert "is left as it was done before: 3 tries; " in caplog.text
    assert run_job(job, cache=None, retry_failed=True).rows == 20


def _fail(backbone: Fatal, pixels: object) -> None:
    raise RuntimeError("no such device")


def test_a_network_that_always_fails_sets_nothing_aside(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fail(backbone: Fatal, pixels: object) -> None:
        calls.append(1)
        raise RuntimeError("no such device")

    with monkeypatch.context() as patch:
        patch.setattr(Fatal, "extract", fail)
        with pytest.raises(JobError, match=r"first 5 shards of this run have all failed, .*no such device.*machine"):
            run_job(job, cache=None)
    assert len(calls) == 5
    assert (job_status(job).set_aside, sorted(tried(Place(job)))) == ({}, [0, 1, 2, 3, 4])
    client, _ = client_of(job)
    assert client._pending()[:2] == [5, 6]  # if it is the shards, the next run begins with others
    assert run_job(job, cache=None).done == 10
    assert notes(job) == []


def test_shards_that_fail_where_others_do_not_are_set_aside(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = Fatal.extract

    def fail(backbone: Fatal, pixels: Any) -> Any:
        if 20 > pixels.mean(axis=(1, 2))[0, 0] > 5:  # all but three
            raise RuntimeError("these not")
        return extract(backbone, pixels)

    monkeypatch.setattr(Fatal, "extract", fail)
    run = run_job(job, cache=None)
    assert run.done == 10 - len(run.set_aside)
    assert len(run.set_aside) > 5
    assert all(reason.startswith("3 tries; ") for reason in run.set_aside.values())


@pytest.mark.usefixtures("job")
def test_a_shard_whose_images_are_gone_for_good_does_not_keep_a_job_from_its_end(tmp_path: Path) -> None:
    job, photos = job_of(tmp_path, 60, 10), tmp_path / "photos"
    gone = tmp_path / "gone"
    gone.mkdir()
    paths = Job(Place(job)).planned(0).paths
    for path in paths:
        (tmp_path / path).rename(gone / Path(path).name)
    run = run_job(job, cache=None)
    assert (run.done, run.rows, run.failed) == (6, 50, 10)
    for path in paths:
        (gone / Path(path).name).rename(tmp_path / path)
    photos.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="Not one of the 10 images of shard 0"):
        run_job(job, cache=None, retry_failed=True)
    (tmp_path / "away").rename(photos)
    assert run_job(job, cache=None, retry_failed=True).rows == 60
    assert notes(job) == []


@pytest.mark.usefixtures("job")
def test_a_disk_that_is_away_ends_a_run_soon_or_when_the_rest_is_done(tmp_path: Path) -> None:
    job, photos = job_of(tmp_path, 60, 10), tmp_path / "photos"
    photos.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="Not one of the 10 images of shard 2"):
        run_job(job, cache=None)
    (tmp_path / "away").rename(photos)
    for shard in (3, 4):
        for path in Job(Place(job)).planned(shard).paths:
            (tmp_path / path).rename(tmp_path / Path(path).name)
    with pytest.raises(SourceError, match=r"Not one of the 10 images of shard 3 .* So it is with 2 shards\."):
        run_job(job, cache=None)
    assert job_status(job).shards_done == 4  # not three times as many
    photos.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="Not one of the 10 images of shard"):
        run_job(job, cache=None)
    (tmp_path / "away").rename(photos)
    for shard in (3, 4):
        for path in Job(Place(job)).planned(shard).paths:
            (tmp_path / Path(path).name).rename(tmp_path / path)
    assert run_job(job, cache=None).rows == 60


def test_rounds_that_change_nothing_come_to_an_end(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.jobs.running.coordinator._PAUSE_SECONDS", 0.01)
    names = Place.names
    stale: set[str] = set()
    monkeypatch.setattr(Place, "names", lambda self, folder: stale if folder == "shards" else names(self, folder))
    with pytest.raises(
        JobError, match=r"10 shards, the first 0, came 5 times to be neither .* list what has just been"
    ):
        run_job(job, cache=None)
    monkeypatch.setattr(Place, "names", names)
    assert run_job(job, cache=None).done == 10


@pytest.mark.parametrize(("backend", "said"), [("dask", "no scheduler of Dask"), ("ray", "no cluster of Ray")])
def test_a_cluster_that_is_not_there_is_told_before_anything_is_read(
    backend: str, said: str, job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    run_job(job, cache=None)
    (job / "shards" / "00000003.npy").write_bytes(b"damaged")
    before = committed(job)
    monkeypatch.setattr(Place, "is_shared", True)
    monkeypatch.setattr(Job, "committed", None)
    command = ["job", "run", str(job), "--verify", "--backend", backend, "--scheduler", "127.0.0.1:1", "--quiet"]
    assert cli.main(command) == 1
    assert said in capsys.readouterr().err
    assert committed(job) == before


def test_a_shard_that_is_done_is_not_told_to_be_set_aside(job: Path) -> None:
    Place(job).prepare("set_aside")
    run_job(job, cache=None)
    attempts.set_aside(Place(job), 3, "3 tries; its worker died")
    assert job_status(job).set_aside == {}
    assert run_job(job, cache=None).set_aside == {}
    assert os.listdir(job / "set_aside") == []


def test_a_run_tells_which_shards_are_damaged(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Client.run

    def damage(client: Client) -> None:
        run(client)
        (job / "shards" / "00000003.npy").write_bytes(b"damaged")

    monkeypatch.setattr(Client, "run", damage)
    done = run_job(job, cache=None)
    assert (done.done, list(done.damaged)) == (9, [3])
    assert "shard 3 is damaged: its matrix has 7 bytes" in done.as_text()
    assert f"To do these again: featx job run {job}" in done.as_text()
