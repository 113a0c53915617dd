from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pandas as pd
import pytest

from featx import job_status, merge_job, open_features, plan_job, run_job
from featx.errors import (
    FeaturesError,
    FeaturesNotFoundError,
    ImageTooLargeError,
    JobError,
    OutputError,
    SourceError,
    UnreachableImageError,
)
from featx.jobs.job import open_job_folder
from featx.system.files import remote
from tests.jobs.job_samples import make_job
from tests.s3_server import Fault, Proxy, png

pytestmark = pytest.mark.usefixtures("in_this_process")


def plan(source: Any, job: str, **options: Any) -> Any:
    return plan_job(source, job, backbone="color_histogram", shard_size=4, sample=0, cache=None, **options)


def test_job_from_bucket_to_bucket(s3: Proxy, tmp_path: Path) -> None:
    plan("s3://bucket/images", "s3://bucket/jobs/one")
    assert run_job("s3://bucket/jobs/one", cache=None).rows == 9
    assert job_status("s3://bucket/jobs/one").is_complete
    merge_job("s3://bucket/jobs/one", tmp_path / "f.npy")
    plan("s3://bucket/images", str(tmp_path / "job"))
    run_job(tmp_path / "job", cache=None)
    merge_job(tmp_path / "job", tmp_path / "g.npy")
    for suffix in (".npy", ".csv"):
        assert (tmp_path / f"f{suffix}").read_bytes() == (tmp_path / f"g{suffix}").read_bytes()
    system = fsspec.filesystem("s3")
    files = {name: system.cat_file(name) for name in system.find("bucket/jobs/one")}
    assert not [name for name in files if "/attempts/" in name or "/running/" in name]
    assert not any(b"very-secret" in data for data in files.values())


@pytest.mark.slow  # two processes are started, and two more by them
def test_two_clients_on_a_bucket(s3: Proxy, tmp_path: Path) -> None:
    job = "s3://bucket/jobs/both"
    plan_job("s3://bucket/images", job, backbone="color_histogram", shard_size=1, sample=0, cache=None)
    command = [sys.executable, "-m", "featx", "job", "run", job, "--no-cache", "--json"]
    clients = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)
        for root in [Path(__file__).parents[2]] * 2
    ]
    for client in clients:
        out, err = client.communicate(timeout=120)
        assert client.returncode == 0, err
        assert (json.loads(out)["shards_done"], json.loads(out)["rows"]) == (9, 9)
    assert run_job(job, cache=None, verify=True).recomputed == {}
    merge_job(job, tmp_path / "f.npy")
    plan("s3://bucket/images", str(tmp_path / "job"))
    run_job(tmp_path / "job", cache=None)
    merge_job(tmp_path / "job", tmp_path / "g.npy")
    assert (tmp_path / "f.npy").read_bytes() == (tmp_path / "g.npy").read_bytes()


def test_failing_server_loses_no_row(s3: Proxy, fault: Callable[[Fault], None], tmp_path: Path) -> None:
    fault(lambda method, path, number: (200, 200, 503, 200, 0)[number % 5])
    plan("s3://bucket/images", "s3://bucket/jobs/two")
    run = run_job("s3://bucket/jobs/two", cache=None)
    assert (run.rows, run.failed, run.shards_done) == (9, 0, 3)
    assert merge_job("s3://bucket/jobs/two", tmp_path / "f.npy").rows == 9


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "orbidden|ermission|denied"), (503, "503|unavailable|reduce|slow")]
)
def test_refused_requests(status: int, reason: str, s3: Proxy, fault: Callable[[Fault], None]) -> None:
    seen = []

    def refuse(method: str, path: str, number: int) -> int:
        if "jobs/three" in path or "jobs%2Fthree" in path:
            seen.append(path)
            return status
        return 200

    fault(refuse)
    with pytest.raises(OutputError, match=f"Cannot read or write .*: .*(?i:{reason}).*credentials") as raised:
        plan("s3://bucket/images", "s3://bucket/jobs/three")
    assert "very-secret" not in str(raised.value)
    if status == 403:
        assert len(seen) == 1


def test_absent_bucket(s3: Proxy, tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match="Cannot read or write 's3://absent/job/.*': there is no such bucket. Correct the name"
    ):
        plan("s3://bucket/images", "s3://absent/job")
    with pytest.raises(
        SourceError,
        match="Cannot list 's3://absent/images': there is no such bucket. Correct the name of the bucket, or create it",
    ):
        plan("s3://absent/images", str(tmp_path / "job"))
    with pytest.raises(JobError, match="There is no job in 's3://absent/job'"):
        run_job("s3://absent/job")


def test_image_needs_one_request(s3: Proxy, fault: Callable[[Fault], None], monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[str] = []
    fault(lambda method, path, number: (200, requests.append(method))[0])  # type: ignore[func-returns-value]
    assert remote.read_url("s3://bucket/images/a/0.png", 10**6) == png(0)
    assert requests == ["GET"]
    sent: list[bytes] = []
    monkeypatch.setattr("featx.system.files.remote.is_transient", lambda error: False)
    with pytest.MonkeyPatch.context() as patch:
        read = http.client.HTTPResponse.read
        patch.setattr(http.client.HTTPResponse, "read", lambda self, *n: sent.append(read(self, *n)) or sent[-1])
        with pytest.raises(ImageTooLargeError, match="more than the limit of 20 bytes"):
            remote.read_url("s3://bucket/images/a/0.png", 20)
    assert (requests, list(map(len, sent))) == (["GET", "GET"], [21])
    assert remote.read_url("s3://bucket/images/a/0.png", len(png(0))) == png(0)
    fsspec.filesystem("s3").pipe_file("bucket/empty.png", b"")
    assert remote.read_url("s3://bucket/empty.png", 20) == b""
    with pytest.raises(UnreachableImageError, match="no file at this URL"):
        remote.read_url("s3://bucket/absent.png", 20)


def test_listing_by_page(s3: Proxy, fault: Callable[[Fault], None], monkeypatch: pytest.MonkeyPatch) -> None:
    system = remote.open_filesystem("s3://bucket")[0]
    call = system.call_s3
    monkeypatch.setattr(system, "call_s3", lambda method, **options: call(method, MaxKeys=3, **options))
    for number in range(7):
        system.pipe_file(f"bucket/flat/{number}.png", b"")
    requests: list[str] = []
    fault(lambda method, path, number: (200, requests.append(path))[0])  # type: ignore[func-returns-value]
    names = remote.list_names("s3://bucket/flat")
    assert (next(names), len(requests)) == ("0.png", 1)
    assert (list(names)[-1], len(requests)) == ("6.png", 3)
    assert len(system.dircache) == 0
    with pytest.raises(SourceError, match="Cannot list .*: there is no file at this URL"):
        list(remote.list_names("s3://bucket/flat/absent"))


def test_job_in_memory(s3: Proxy, tmp_path: Path) -> None:
    plan("s3://bucket/images", "memory://job")
    assert run_job("memory://job", cache=None).rows == 9
    assert merge_job("memory://job", tmp_path / "f.npy").rows == 9


@pytest.mark.parametrize("raises", [False, True])
def test_storage_that_overwrites_is_refused(raises: bool, s3: Proxy) -> None:
    class Lax(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]  # a class made by a function
        protocol = "lax"
        store: ClassVar[dict[str, Any]] = {}

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.partition("://")[2].strip("/") if "://" in path else path

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
            if raises and mode == "create":
                raise NotImplementedError("Exclusive write")  # as file systems without exclusive creation do
            super().pipe_file(path, value)

    fsspec.register_implementation("lax", Lax, clobber=True)
    with pytest.raises(JobError, match="'lax://bucket/job': this storage overwrites existing files"):
        plan("s3://bucket/images", "lax://bucket/job")
    assert Lax.store == {}


def test_plan_files_are_bounded_and_uploaded_from_disk(
    s3: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("featx.features.job_files.IMAGES_PER_FILE", 5)  # a shard has four
        read = Path.read_bytes

        def refused(path: Path) -> bytes:
            return read(path) if path.is_relative_to("/proc") else pytest.fail(f"{path} is in memory")

        patch.setattr(Path, "read_bytes", refused)
        plan("s3://bucket/images", "s3://bucket/jobs/bounded")
    place = open_job_folder("s3://bucket/jobs/bounded")
    assert {name[:7] for name in place.names("plan")} == {"000000-", "000001-", "000002-"}
    assert json.loads(place.read("job.json"))["shards_per_file"] == 1
    assert run_job("s3://bucket/jobs/bounded", cache=None).rows == 9
    merge_job("s3://bucket/jobs/bounded", tmp_path / "f.npy")
    assert len(set((tmp_path / "f.csv").read_text().splitlines())) == 10


def test_web_is_read_only() -> None:
    with pytest.raises(JobError, match="the web is read-only"):
        open_job_folder("https://example.org/job")


@pytest.mark.parametrize(
    ("statuses", "n_requests"), [((503, 0, 429, 200), 4), ((403,), 1), ((404,), 1), ((500,) * 9, 6), ((0,) * 20, 6)]
)
def test_retries_of_web_images(
    statuses: tuple[int, ...], n_requests: int, s3: Proxy, fault: Callable[[Fault], None]
) -> None:
    requests: list[int] = []

    def answer(method: str, path: str, number: int) -> int:
        requests.append(statuses[len(requests)])
        return requests[-1]

    fault(answer)
    address = f"http://127.0.0.1:{s3.server_port}/bucket/images/a/0.png"
    if statuses[-1] == 200:
        assert remote.read_url(address, 10**6) == png(0)
    else:
        with pytest.raises(UnreachableImageError):
            remote.read_url(address, 10**6)
    assert len(requests) == n_requests or (len(requests) > n_requests and not any(statuses))  # aiohttp retries, too


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_tables_at_urls(name: str, s3: Proxy, fault: Callable[[Fault], None], tmp_path: Path) -> None:
    system = fsspec.filesystem("s3")
    lines = pd.DataFrame({"path": [f"images/{'ab'[index % 2]}/{index}.png" for index in range(9)], "label": range(9)})
    data = lines.to_csv(index=False).encode() if name.endswith("csv") else lines.to_parquet()
    system.pipe_file(f"bucket/{name}", data, ACL="public-read")
    requests: list[str] = []

    def fail_first(method: str, path: str, number: int) -> int:
        requests.append(path)
        return 503 if "list." in path and requests.count(path) == 1 else 200

    fault(fail_first)
    web = f"http://127.0.0.1:{s3.server_port}/bucket/{name}"
    for at, source in enumerate((f"s3://bucket/{name}", web, f"{web}?list=1")):
        plan(source, str(tmp_path / f"job{at}"))
        assert run_job(tmp_path / f"job{at}", cache=None).rows == 9
        assert open_features(tmp_path / f"job{at}").labels[:].tolist() == list(range(9))
    fault(lambda method, path, number: 404 if "absent" in path else 403)
    for source in (web.replace("list", "absent"), web, f"s3://bucket/{name}", f"s3://bucket/absent/{name}"):
        with pytest.raises(SourceError, match="Cannot read .*: .*Check .*credentials"):
            plan(source, str(tmp_path / "other"))
    assert not (tmp_path / "other" / "job.json").exists()


@pytest.fixture
def features_there(s3: Proxy, tmp_path: Path) -> Iterator[str]:
    """A job in the bucket, its merged file and table beside it, and the same files on this machine."""
    rows = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    make_job(tmp_path / "features", rows, labels=[index % 3 for index in range(30)])
    np.save(tmp_path / "f.npy", rows)
    lines = [f"{index},photos/{index:05}.jpg,{index % 3},\n" for index in range(30)]
    (tmp_path / "f.csv").write_text("row,path,label,digest\n" + "".join(lines))
    system = fsspec.filesystem("s3")
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")]
    for name in names:
        system.pipe_file(f"bucket/there/{name}", (tmp_path / name).read_bytes(), ACL="public-read")
    yield "s3://bucket/there/features"
    s3.fault = lambda method, path, number: 200
    system.rm("bucket/there", recursive=True)


def test_features_from_failing_server(
    features_there: str, s3: Proxy, fault: Callable[[Fault], None], tmp_path: Path
) -> None:
    here = open_features(tmp_path / "f.npy")
    web = f"http://127.0.0.1:{s3.server_port}/bucket/there/f.npy"
    fault(lambda method, path, number: (200, 503, 200, 0, 500)[number % 5])
    for address in (features_there, "s3://bucket/there/f.npy", web):
        there = open_features(address)
        np.testing.assert_array_equal(there[:], here[:])
        np.testing.assert_array_equal(there[[28, 0, 3]], here[[28, 0, 3]])
        assert there.metadata(slice(None)) == here.metadata(slice(None))
        assert len(there.failures) == 0


@pytest.mark.parametrize("status", [403, 404])
def test_refused_features(
    status: int, features_there: str, s3: Proxy, fault: Callable[[Fault], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, message = (
        (FeaturesError, "Cannot read or write .*credentials")
        if status == 403
        else (FeaturesNotFoundError, "does not exist|has no job.json")
    )
    features = open_features(features_there)
    seen: list[str] = []

    def refuse(method: str, path: str, number: int) -> int:
        seen.append(path)
        return status

    fault(refuse)
    calls: list[Callable[[], object]] = [
        *(lambda: features[3], lambda: features.paths[3], lambda: open_features(features_there)),
        lambda: open_features("s3://bucket/there/f.npy"),
    ]
    for work in calls:
        seen.clear()
        with pytest.raises(kind, match=message) as raised:
            work()
        assert "s3://bucket/there/f" in str(raised.value)
        assert "very-secret" not in str(raised.value)
        assert len(seen) <= 2  # the first request reads the size of a file
