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

import pytest

import featx.backbones
from featx import files, job_status, plan_job, run_job
from featx.errors import FeatxWarning, JobError, OutputError
from featx.jobs import attempts, clusters
from featx.jobs.attempts import at_work, tried
from featx.jobs.place import Place
from featx.jobs.working import Task, work
from tests.fatal import Fatal, client_of, write_images


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of ten shards of two images, which this process does."""
    monkeypatch.setitem(featx.backbones._registered, "fatal", Fatal(tmp_path / "order"))
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
    said = {"where": files.where(), "host": "here", "pid": pid, "started": started, "time": time.time(), "before": 0}
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
        patch.setattr("featx.jobs.client.run_tasks", break_off)
        patch.setattr("featx.jobs.client._PAUSE_SECONDS", 0.02)
        patch.setattr(Place, "is_shared", True)
        with pytest.raises(JobError, match=r"\(dask\) has broken 20 times, and no shard was done in between"):
            run_job(job, backend="dask", cache=None)
    assert len(lost) == 24  # the fifth was one after a shard
    assert lost[-1] - lost[0] >= 23 * 0.02
    assert run_job(job, cache=None).done == 10


@pytest.mark.parametrize("lives", [True, False])
def test_the_notes_of_dead_workers_are_left_to_their_client_while_it_lives(lives: bool, job: Path, dead: int) -> None:
    first = leave_client(job, os.getpid() if lives else dead)
    leave_note(job, 0, first, where=files.where(), pid=dead)
    second, _ = client_of(job)
    second.clear_up(verify=False, retry_set_aside=False, retry_failed=False)
    assert [note.client for note in at_work(Place(job))] == [first] * lives
    assert tried(Place(job)) == ({} if lives else {0: 0})  # of what both ended is unknown: that is no try


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(job: Path) -> None:
    """As in a container that is started again."""
    before = (files.started_at(os.getpid()) or 0) - 1
    first = leave_client(job, os.getpid(), before)
    leave_note(job, 0, first, where=files.where(), pid=os.getpid(), started=before)
    assert (job_status(job).running, job_status(job).at_work) == ([], {})
    client, task = client_of(job)
    client.clear_up(verify=False, retry_set_aside=False, retry_failed=False)
    assert tried(Place(job)) == {0: 0}
    leave_note(job, 1, client.token, where=files.where(), pid=os.getpid(), started=before)
    work(dataclasses.replace(task, shard=1, n_round=1))
    assert tried(Place(job)) == {0: 0, 1: 1}


def test_a_shard_whose_client_ended_with_its_worker_comes_last_and_is_not_set_aside(job: Path, dead: int) -> None:
    for _ in range(attempts.TRIES + 1):
        leave_note(job, 3, leave_client(job, dead), where=files.where(), pid=dead)
        client, _ = client_of(job)
        client.clear_up(verify=False, retry_set_aside=False, retry_failed=False)
        assert client._pending() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 3]
    assert run_job(job, cache=None).set_aside == {}
    assert job_status(job).is_done
    assert not os.listdir(job / "attempts")


def test_a_sign_of_life_that_cannot_be_left_ends_nothing(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("featx.jobs.attempts._SIGN_SECONDS", 0.0)
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
