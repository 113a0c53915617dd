"""Jobs on real Dask clusters, whose scheduler and workers are processes that speak TCP."""

from __future__ import annotations

import concurrent.futures
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

from featx import job_status, run_job
from featx.errors import FeatxWarning, JobError, MissingDependencyError, OptionError
from featx.jobs.job import open_job_folder
from featx.jobs.running.dask import DaskExecutor
from featx.jobs.running.executors import run_tasks
from featx.jobs.running.heartbeats import read_heartbeats
from featx.jobs.status import JobStatus
from tests.jobs.cluster import Cluster, cluster
from tests.jobs.helpers import merged_files, merged_files_of_a_plain_run


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def job(cluster_job: Path) -> Path:
    return cluster_job


def on(address: str, job: Path) -> JobStatus:
    return run_job(job, backend="dask", scheduler=address, cache=None)


@pytest.mark.slow  # starts a cluster
def test_killed_worker_loses_no_row(dask: Cluster, job: Path, order: Path) -> None:
    order.write_text("once")
    run = on(dask.address, job)
    assert not order.exists()
    assert (run.shards_done, run.rows, run.failed) == (10, 39, 1)
    assert merged_files(job) == merged_files_of_a_plain_run(job)


@pytest.mark.thorough  # starts workers three times
def test_shard_that_kills_its_workers_is_quarantined(dask: Cluster, job: Path, order: Path) -> None:
    order.write_text("always")
    run = on(dask.address, job)
    assert run.shards_done == 9
    assert list(run.quarantined) == [1]
    assert "its worker died" in run.quarantined[1]
    assert "shard 1 is quarantined: 4 failures; its worker died" in job_status(job).as_text()
    order.unlink()
    assert run_job(job, backend="dask", scheduler=dask.address, cache=None, retry_quarantined=True).shards_done == 10
    assert merged_files(job) == merged_files_of_a_plain_run(job)


@contextlib.contextmanager
def soon(is_time: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Call `act` as soon as `is_time` returns True while the block runs; check that it was called."""

    def wait() -> None:
        until = time.monotonic() + 60
        while not is_time() and time.monotonic() < until:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.thorough  # starts a cluster twice
@pytest.mark.parametrize("workers_are", ["killed", "left alone"])
def test_restarted_scheduler(
    workers_are: str,
    job: Path,
    order: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    order.write_text("slow 0.2")
    with cluster(tmp_path / "cluster") as dask:

        def restart() -> None:
            scheduler, *workers = dask.processes
            for process in (scheduler, *workers) if workers_are == "killed" else (scheduler,):
                dask.kill(process)
            time.sleep(2)
            dask.start_scheduler()
            if workers_are == "killed":
                dask.start_worker()
            else:  # Dask ends them within half a minute; a supervisor starts them again
                for worker in workers:
                    worker.wait(40)
                    dask.start_worker()

        with soon(lambda: 2 <= job_status(job).shards_done < 8, restart):
            run = on(dask.address, job)
    assert (run.shards_done, run.rows, run.failed) == (10, 39, 1)
    assert next(record.getMessage() for record in caplog.records if record.name == "featx").startswith(
        "The connection to the cluster broke: its scheduler is gone. Waiting up to 60 s"
    )
    assert "Traceback" not in capfd.readouterr().err
    assert merged_files(job) == merged_files_of_a_plain_run(job)


@pytest.mark.thorough  # starts workers seven times
def test_without_allowed_failures_only_the_deadly_shard_is_blamed(job: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.1 always")
    with cluster(tmp_path / "cluster", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as dask:
        run = on(dask.address, job)
    assert (run.shards_done, list(run.quarantined)) == (9, [1])
    assert run.quarantined[1].startswith("3 failures; its worker died around image")
    assert not os.listdir(job / "heartbeats")


@pytest.mark.thorough
def test_workers_in_other_networks(job: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as networks, cluster(tmp_path / "cluster", n_workers=0, host="0.0.0.0") as dask:
        for number in (1, 2):
            name = networks.enter_context(network(number))
            dask.start_worker(f"tcp://10.213.{number}.1:{dask.port}", network=name)
        run = on(dask.address, job)
        assert "10.213.1.2" in dask.logs()
        assert "10.213.2.2" in dask.logs()
    assert run.shards_done == 10
    assert merged_files(job) == merged_files_of_a_plain_run(job)


@pytest.mark.thorough  # starts a cluster
def test_late_worker_gets_work(job: Path, order: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    order.write_text("slow 1")  # four seconds per shard
    with cluster(tmp_path / "cluster", n_workers=1) as dask:
        pids: set[int] = set()
        held: list[int] = []

        def watch() -> None:
            with distributed.Client(dask.address, set_as_default=False) as client:
                held.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
            dask.start_worker()
            while len(pids) < 2 and not job_status(job).is_complete:
                pids.update(note.pid for note in read_heartbeats(open_job_folder(job)))
                time.sleep(0.1)

        with soon(lambda: job_status(job).shards_done >= 1, watch):
            run = on(dask.address, job)
    assert run.shards_done == 10
    assert len(pids) == 2
    assert held[0] > 6  # of ten tasks for a single worker: more workers would have work, too


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """A folder that hides featx from processes with this folder on their path."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "featx.py").write_text("raise ModuleNotFoundError('No module named featx')")
    return tmp_path / "without"


@pytest.mark.slow  # starts a cluster
def test_workers_with_other_version_are_refused(job: Path, without: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", n_workers=1) as dask:
        bare = dask.start_worker(PYTHONPATH=str(without))
        dask.wait_for_workers(2)
        started = time.monotonic()
        with pytest.raises(JobError, match=r"1 of 2 workers .*: tcp://[\d.:]+ \(No module named featx\). Install it"):
            on(dask.address, job)
        assert time.monotonic() - started < 15
        dask.kill(bare)
        (without / "featx.py").write_text("__version__ = '0.0.9'")
        dask.start_worker(PYTHONPATH=str(without))
        dask.start_worker(PYTHONPATH=str(without))
        dask.wait_for_workers(3)
        with pytest.raises(JobError, match=r"2 of 3 workers .*: tcp://[\d.:]+ \(it has 0\.0\.9\), tcp:.* Install it"):
            on(dask.address, job)
    assert job_status(job).shards_done == 0


@pytest.mark.thorough  # starts a cluster
def test_late_worker_without_featx_ends(job: Path, order: Path, without: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.5")
    with cluster(tmp_path / "cluster", n_workers=1) as dask:

        def come() -> None:
            dask.start_worker(PYTHONPATH=str(without)).wait(30)

        with soon(lambda: job_status(job).shards_done >= 1, come):
            run = on(dask.address, job)
        assert "No module named featx" in dask.logs()
    assert (run.shards_done, run.quarantined) == (10, {})
    assert merged_files(job) == merged_files_of_a_plain_run(job)


@pytest.mark.thorough  # starts workers five times
def test_only_workers_without_featx_left(job: Path, order: Path, without: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.5")
    with cluster(tmp_path / "cluster", n_workers=1) as dask:
        is_over = threading.Event()

        def replace() -> None:
            dask.kill(dask.processes[1])
            while not is_over.is_set():  # as Kubernetes does
                worker = dask.start_worker(PYTHONPATH=str(without))
                while worker.poll() is None and not is_over.wait(0.1):
                    pass

        with soon(lambda: job_status(job).shards_done >= 1, replace):
            with pytest.raises(JobError, match=r"1 of 1 worker .*No module named featx.* Install it|has no workers"):
                on(dask.address, job)
            is_over.set()
    order.unlink()
    assert run_job(job, cache=None).quarantined == {}
    assert merged_files(job) == merged_files_of_a_plain_run(job)


@pytest.mark.thorough  # starts a cluster
def test_scheduler_without_featx(job: Path, without: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", n_workers=0, PYTHONPATH=str(without)) as dask:
        dask.start_worker()
        with pytest.raises(JobError, match="cannot read the tasks .*No module named featx.* Install this version"):
            on(dask.address, job)


@pytest.mark.slow  # starts a cluster
@pytest.mark.thorough
def test_slow_worker_does_less(job: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.05")
    seen: dict[int, set[int]] = {}
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            for note in read_heartbeats(open_job_folder(job)):
                seen.setdefault(note.pid, set()).add(note.shard)

    with cluster(tmp_path / "cluster", n_workers=2) as dask:
        dask.start_worker(FATAL_SLOW="0.6")
        dask.wait_for_workers(3)
        watcher = threading.Thread(target=watch)
        watcher.start()
        run = on(dask.address, job)
        is_over.set()
        watcher.join()
    slow, *fast = sorted(seen.values(), key=len)
    assert (run.shards_done, len(seen)) == (10, 3)
    assert len(slow) < min(map(len, fast))  # the slow worker needs over two seconds for one shard
    assert merged_files(job) == merged_files_of_a_plain_run(job)


@pytest.mark.slow  # starts a cluster unless another test has
def test_two_clients(dask: Cluster, job: Path, order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order.write_text("slow 0.1")
    monkeypatch.chdir(tmp_path)  # another folder than that of the workers

    def run() -> JobStatus:
        return run_job(job, backend="dask", scheduler=dask.address, cache="kept")

    with concurrent.futures.ThreadPoolExecutor(1) as other:
        first = other.submit(run)
        while not list((job / "clients").glob("*.json")):
            time.sleep(0.05)
        with pytest.warns(FeatxWarning, match="This job is already being run by process"):
            second = run()
        assert (first.result(60).shards_done, second.shards_done, second.quarantined) == (10, 10, {})
    assert os.listdir(tmp_path / "kept" / "features")
    assert os.getcwd() == str(tmp_path)
    assert merged_files(job) == merged_files_of_a_plain_run(job)


def test_cluster_ends_with_its_test(tmp_path: Path) -> None:
    code = """
import os, pathlib, signal, sys
from tests.jobs.cluster import Cluster
dask = Cluster(pathlib.Path(sys.argv[1]), "127.0.0.1")
dask.start_scheduler()
print(dask.port, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=60, check=False
    )
    until = time.monotonic() + 10
    with pytest.raises(ConnectionRefusedError):
        while time.monotonic() < until:
            socket.create_connection(("127.0.0.1", int(process.stdout)), timeout=1).close()
            time.sleep(0.1)


@contextlib.contextmanager
def network(number: int) -> Iterator[str]:
    """Yield the name of a network namespace that is connected to this one only."""
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


def test_absent_scheduler(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(JobError, match=r"no Dask scheduler at tcp://127.0.0.1:\d+ .* Check scheduler="):
        on(nobody, job)
    with pytest.raises(OptionError, match="Pass scheduler=.tcp://HOST:8786"):
        run_job(job, backend="dask", cache=None)
    with pytest.raises(JobError, match="no Dask scheduler at tcp://nowhere.invalid:8786"):
        on("tcp://nowhere.invalid:8786", job)
    assert time.monotonic() - started < 15
    assert job_status(job).shards_done == 0


@pytest.mark.parametrize("scheme", ["tcp://", pytest.param("", marks=pytest.mark.thorough)])
@pytest.mark.slow
def test_silent_server_is_no_scheduler(scheme: str, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.jobs.running.dask.CONNECT_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(JobError, match="no Dask scheduler at"):
            on(f"{scheme}127.0.0.1:{silent.getsockname()[1]}", job)
        assert time.monotonic() - started < 11


@pytest.mark.parametrize("address", ["nowhere", "tcp://nowhere", "tcp://:8786", "http//nowhere:8786", "tcp://a:b@c:d"])
def test_invalid_scheduler_address(address: str, job: Path) -> None:
    with pytest.raises(
        OptionError, match="must be an address such as tcp://HOST:8786, got .* Pass scheduler="
    ) as instruction:
        on(address, job)
    assert "a:b" not in str(instruction.value)


def test_scheduler_needs_a_cluster(job: Path) -> None:
    with pytest.raises(OptionError, match=r"Set backend .--backend. to 'dask' or 'ray'"):
        run_job(job, scheduler="tcp://127.0.0.1:8786")


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_missing_package_is_named(job: Path, backend: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'featx\[{backend}\]'"):
        run_job(job, backend=backend, scheduler="tcp://127.0.0.1:8786")


@pytest.mark.filterwarnings("ignore")  # Dask warns about ports and open connections
def test_single_worker_runs_the_tasks() -> None:
    """Otherwise this process would run them, and a shard that kills its worker would kill the client."""
    import distributed

    with (
        distributed.LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        executor = DaskExecutor(client, "inproc")
        assert executor.max_pending > 6  # work for workers that start later
        names = {kind for _, kind in run_tasks(executor, process_kind, range(3))}
    assert names == {"worker"}


def process_kind(task: int) -> str:
    """Return whether a worker of Dask runs this."""
    import distributed

    try:
        distributed.get_worker()
    except ValueError:
        return "client"
    return "worker"
