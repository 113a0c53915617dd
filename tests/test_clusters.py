"""Jobs on real clusters: a scheduler and workers that are processes of their own and speak TCP."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import featx.backbones
from featx import job_status, merge_job, plan_job, run_job
from featx.errors import JobError, MissingDependencyError, OptionError
from featx.jobs import clusters
from featx.jobs.attempts import at_work
from featx.jobs.place import Place
from featx.jobs.running import Run
from tests.cluster import Cluster, cluster
from tests.fatal import Fatal, write_images


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the backbone is told to do at the red image, which is in the second shard."""
    backbone = Fatal(tmp_path / "order")
    monkeypatch.setitem(featx.backbones._registered, "fatal", backbone)
    return backbone.order


@pytest.fixture
def job(tmp_path: Path, order: Path) -> Path:
    """A job of ten shards of four images."""
    images = write_images(tmp_path / "images", 40, red=14)
    (images / "b" / "0009.png").write_bytes(b"no image")
    plan_job(images, tmp_path / "job", backbone="fatal", shard_size=4, sample=0)
    return tmp_path / "job"


def rows(job: Path) -> dict[str, bytes]:
    """Return what `featx job merge` leaves, by name."""
    folder = job.parent / f"merged-{time.monotonic_ns()}"
    folder.mkdir()
    merge_job(job, folder / "f.npy")
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def undisturbed(job: Path) -> dict[str, bytes]:
    """Return what the same job leaves when it is run here, and nothing is told to the backbone."""
    (job.parent / "order").unlink(missing_ok=True)
    shutil.copytree(job, job.parent / "again", ignore=shutil.ignore_patterns("shards"))
    run_job(job.parent / "again", cache=None)
    return rows(job.parent / "again")


def on(address: str, job: Path) -> Run:
    return run_job(job, backend="dask", scheduler=address, cache=None)


@pytest.mark.slow  # a cluster is started
def test_a_worker_of_dask_that_is_killed_in_mid_shard_costs_nothing(dask: Cluster, job: Path, order: Path) -> None:
    order.write_text("once")
    run = on(dask.address, job)
    assert not order.exists()
    assert (run.done, run.rows, run.failed) == (10, 39, 1)
    assert rows(job) == undisturbed(job)


@pytest.mark.thorough  # workers are started three times
def test_what_kills_every_worker_of_dask_is_set_aside(dask: Cluster, job: Path, order: Path) -> None:
    order.write_text("always")
    run = on(dask.address, job)
    assert run.done == 9
    assert list(run.set_aside) == [1]
    assert "its worker died" in run.set_aside[1]
    assert "shard 1 is set aside: 3 tries" in job_status(job).as_text()
    order.unlink()
    assert run_job(job, backend="dask", scheduler=dask.address, cache=None, retry_set_aside=True).done == 10
    assert rows(job) == undisturbed(job)


@contextlib.contextmanager
def soon(is_time: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Do something to a job as soon as it is time, while the block runs; it must have come to that."""

    def wait() -> None:
        until = time.monotonic() + 60
        while not is_time() and time.monotonic() < until:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    assert not thread.is_alive()


@pytest.mark.thorough  # a cluster is started twice
def test_a_scheduler_that_goes_away_and_comes_back_is_waited_for(
    job: Path, order: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    order.write_text("slow 0.2")
    with cluster(tmp_path / "cluster") as dask:

        def restart() -> None:
            scheduler, *workers = dask.processes
            for process in (scheduler, *workers):
                dask.kill(process)
            time.sleep(2)
            dask.start_scheduler()
            dask.start_worker()

        with soon(lambda: 2 <= job_status(job).shards_done < 8, restart):
            run = on(dask.address, job)
    assert (run.done, run.rows, run.failed) == (10, 39, 1)
    assert next(record.getMessage() for record in caplog.records if record.name == "featx").startswith(
        "The connection to the cluster (dask) has broken: its scheduler is gone. Waiting up to 60 s"
    )
    assert "Traceback" not in capfd.readouterr().err
    assert rows(job) == undisturbed(job)


@pytest.mark.thorough
def test_workers_in_networks_of_their_own_do_the_same(job: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as networks, cluster(tmp_path / "cluster", n_workers=0, host="0.0.0.0") as dask:
        for number in (1, 2):
            name = networks.enter_context(network(number))
            dask.start_worker(f"tcp://10.213.{number}.1:{dask.port}", network=name)
        run = on(dask.address, job)
        assert "10.213.1.2" in dask.said()
        assert "10.213.2.2" in dask.said()
    assert run.done == 10
    assert rows(job) == undisturbed(job)


@pytest.mark.thorough  # a cluster is started
def test_a_worker_that_comes_late_gets_work(job: Path, order: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    order.write_text("slow 1")  # four seconds a shard
    with cluster(tmp_path / "cluster", n_workers=1) as dask:
        pids: set[int] = set()
        held: list[int] = []

        def watch() -> None:
            with distributed.Client(dask.address, set_as_default=False) as client:
                held.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
            dask.start_worker()
            while len(pids) < 2 and not job_status(job).is_done:
                pids.update(note.pid for note in at_work(Place(job)))
                time.sleep(0.1)

        with soon(lambda: job_status(job).shards_done >= 1, watch):
            run = on(dask.address, job)
    assert run.done == 10
    assert len(pids) == 2
    assert held[0] > 6  # of ten, for a single worker: any number of others would have work


@pytest.mark.thorough  # a cluster is started
def test_a_cluster_without_featx_is_told(job: Path, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "featx.py").write_text("raise ModuleNotFoundError('No module named featx')")
    with contextlib.ExitStack() as end:
        dask = Cluster(tmp_path, "127.0.0.1")
        end.callback(dask.end)
        dask.root = tmp_path / "without"
        dask.start_scheduler()
        dask.start_worker()
        with pytest.raises(JobError, match="cannot read what it is to do .*No module named featx.* Install this featx"):
            on(dask.address, job)


@contextlib.contextmanager
def network(number: int) -> Iterator[str]:
    """Yield the name of a network namespace, which reaches this one and no other."""
    if sys.platform != "linux" or shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces are Linux's, and root's")
    name, ours, theirs = f"featx-{os.getpid()}-{number}", f"fx{os.getpid()}{number}a", f"fx{os.getpid()}{number}b"
    inside = f"ip netns exec {name} ip"
    try:
        for command in (
            f"ip netns add {name}",
            f"ip link add {ours} type veth peer name {theirs} netns {name}",
            f"ip addr add 10.213.{number}.1/24 dev {ours}",
            f"ip link set {ours} up",
            f"{inside} addr add 10.213.{number}.2/24 dev {theirs}",
            f"{inside} link set {theirs} up",
            f"{inside} link set lo up",
        ):
            subprocess.run(command.split(), check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", ours], check=False)
        subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.mark.thorough  # Ray takes half a minute to start
@pytest.mark.filterwarnings("ignore")  # Ray's own, of files and processes it leaves to be closed
@pytest.mark.parametrize("told", ["slow 0.01", "once"])
def test_ray_gives_the_same(job: Path, order: Path, told: str) -> None:
    pytest.importorskip("ray", reason="Ray is an extra that other tests do not need")
    order.write_text(told)
    run = run_job(job, backend="ray", n_jobs=2, cache=None)
    assert (run.done, run.rows, run.failed) == (10, 39, 1)
    assert rows(job) == undisturbed(job)


def test_a_scheduler_that_is_not_there_is_told_soon(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(JobError, match=r"no scheduler of Dask at tcp://127.0.0.1:\d+ .* Check the address"):
        on(nobody, job)
    with pytest.raises(JobError, match="Pass --scheduler tcp://HOST:8786"):
        run_job(job, backend="dask", cache=None)
    with pytest.raises(JobError, match="no scheduler of Dask at tcp://nowhere.invalid:8786"):
        on("tcp://nowhere.invalid:8786", job)
    assert time.monotonic() - started < 15
    assert job_status(job).shards_done == 0


@pytest.mark.parametrize("scheme", ["tcp://", ""])
def test_a_scheduler_that_says_nothing_is_given_up(scheme: str, job: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(JobError, match="no scheduler of Dask at"):
            on(f"{scheme}127.0.0.1:{silent.getsockname()[1]}", job)
        assert time.monotonic() - started < 15


@pytest.mark.parametrize("address", ["nowhere", "tcp://nowhere", "tcp://:8786", "http//nowhere:8786", "tcp://a:b@c:d"])
def test_what_is_no_address_of_a_scheduler_is_told(address: str, job: Path) -> None:
    with pytest.raises(
        JobError, match="is no address of a scheduler of Dask. Pass --scheduler tcp://HOST:8786"
    ) as told:
        on(address, job)
    assert "a:b" not in str(told.value)


def test_a_scheduler_belongs_to_a_cluster(job: Path) -> None:
    with pytest.raises(OptionError, match="Say backend='dask' or 'ray'"):
        run_job(job, scheduler="tcp://127.0.0.1:8786")


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_what_a_cluster_needs_is_named(job: Path, backend: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'featx\[{backend}\]'"):
        run_job(job, backend=backend, scheduler="tcp://127.0.0.1:8786")


@pytest.mark.filterwarnings("ignore")  # Dask's own, about ports and what it leaves to be closed
def test_the_only_worker_of_a_cluster_does_the_tasks_and_not_this_process() -> None:
    """Of one, joblib would do them here, where what kills a worker would kill the client."""
    import distributed

    with (
        distributed.LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        backend = clusters._dask_backend()(client=client)
        assert sum(client.ncores().values()) == 1
        assert backend.effective_n_jobs(-1) == 2
