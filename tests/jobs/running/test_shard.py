"""Commits of shards, and corrupt shards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import job_status, merge_job, open_features, run_job
from featx.errors import FeaturesError, JobError
from featx.extraction.options import ExtractionOptions
from featx.features.job_files import CommittedShard
from featx.jobs.job import Job, open_job
from featx.jobs.running.shard import run_shard
from featx.jobs.running.worker import work
from featx.system.files.local_folder import LocalFolder
from tests.jobs.fatal import make_task
from tests.jobs.helpers import check_equal, matrix_path, plan, shard_files

pytestmark = pytest.mark.usefixtures("order", "quiet_logger")


@pytest.mark.usefixtures("in_this_process")
def test_rows_without_table_are_computed_again(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    before = shard_files(tmp_path / "job")
    (tmp_path / "job" / "shards" / "00000000.parquet").unlink()  # as if the worker had been killed before
    assert run_job(tmp_path / "job").shards_done == 4
    assert sorted(shard_files(tmp_path / "job")) == sorted(before)
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_first_table_wins(images: Path, tmp_path: Path) -> None:
    """Another client commits the same shard first."""
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    before = shard_files(tmp_path / "job")
    job = open_job(tmp_path / "job")
    done = run_shard(job, 2, ExtractionOptions(backbone="fatal").resolve(), cache=None)
    assert done == job.read_committed(2)
    assert shard_files(tmp_path / "job") == before


@pytest.mark.usefixtures("in_this_process")
def test_writers_of_different_rows_do_not_disturb_each_other(images: Path, tmp_path: Path) -> None:
    """Another client reads an image after it has changed, and commits before this one."""
    plan(images, tmp_path / "job")
    job, resolved = open_job(tmp_path / "job"), ExtractionOptions(backbone="fatal").resolve()
    create = LocalFolder.create
    other: list[CommittedShard] = []

    def create_late(folder: LocalFolder, name: str, data: bytes) -> bool:
        if name.endswith("00000000.parquet") and not other:
            other.append(run_other())
        return create(folder, name, data)

    def run_other() -> CommittedShard:
        shutil.copy(images / "a" / "0018.png", images / "a" / "0000.png")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalFolder, "create", create)
            return run_shard(open_job(tmp_path / "job"), 0, resolved, cache=None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFolder, "create", create_late)
        assert run_shard(job, 0, resolved, cache=None) == other[0] == job.read_committed(0)
    assert len(list((tmp_path / "job" / "shards").glob("00000000-*.npy"))) == 1
    assert run_job(tmp_path / "job", verify=True).recomputed == {}
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_table_removed_by_third_writer_is_written_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of another process exists before the write and is gone afterwards."""
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    table = tmp_path / "job" / "shards" / "00000000.parquet"
    table.rename(tmp_path / "late")
    create = LocalFolder.create

    def create_too_late(place: LocalFolder, name: str, data: bytes) -> bool:
        if name.endswith("00000000.parquet"):
            monkeypatch.setattr(LocalFolder, "create", create)
            return False
        return create(place, name, data)

    monkeypatch.setattr(LocalFolder, "create", create_too_late)
    assert run_job(tmp_path / "job").shards_done == 4
    assert run_job(tmp_path / "job", verify=True).recomputed == {}
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("name", "content", "verify", "reason"),
    [
        ("00000001.npy", None, False, "its matrix is missing"),
        ("00000001.npy", b"short", False, "its matrix has 5 bytes, expected"),
        ("00000001.npy", b"altered", True, "its matrix has other bytes than were committed"),
        ("00000001.parquet", b"no table", False, "its table is corrupt"),
        ("00000001.parquet", b"altered", True, "The table "),
    ],
)
def test_corrupt_shards_are_recomputed(
    name: str, content: bytes | None, verify: bool, reason: str, images: Path, tmp_path: Path
) -> None:
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    path = matrix_path(tmp_path / "job", 1) if name.endswith("npy") else tmp_path / "job" / "shards" / name
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        at = 100 if name.endswith("parquet") else len(whole) - 4
        path.write_bytes(content if content != b"altered" else whole[:at] + b"\0\0\0\0" + whole[at + 4 :])
    if (name, content) == ("00000001.parquet", b"altered"):
        with pytest.raises(FeaturesError, match="its table is corrupt .* featx job run .*job --verify"):
            open_features(tmp_path / "job").paths[:].tolist()
    with pytest.raises(JobError, match="featx job run"):
        merge_job(tmp_path / "job", tmp_path / "f.npy")
    assert not (tmp_path / "f.npy").exists()
    (redone,) = run_job(tmp_path / "job", verify=verify).recomputed.items()
    assert redone[0] == 1
    assert redone[1].startswith(reason)
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_shards_of_an_earlier_job_are_not_used(images: Path, tmp_path: Path) -> None:
    plan(images / "a", tmp_path / "job")
    old = open_job(tmp_path / "job")
    planned, resolved = old.planned(0), ExtractionOptions(backbone="fatal").resolve()
    task = make_task(tmp_path / "job")
    shutil.rmtree(tmp_path / "job")
    plan(images, tmp_path / "job")
    with pytest.raises(JobError, match="Another job has been planned in .* since this run began"):
        work(task)
    old.planned = lambda shard: planned  # type: ignore[method-assign]  # as in a worker that has computed since
    run_shard(old, 0, resolved, cache=None)
    assert job_status(tmp_path / "job").corrupt == {0: "its table belongs to another job or shard"}
    with pytest.raises(FeaturesError, match="its table belongs to another job or shard"):
        open_features(tmp_path / "job")
    assert list(run_job(tmp_path / "job", cache=None).recomputed) == [0]
    for path in (tmp_path / "job" / "shards").glob("00000000*"):
        path.unlink()
    run_shard(old, 0, resolved, cache=None)
    run_shard(open_job(tmp_path / "job"), 0, resolved, cache=None)
    assert run_job(tmp_path / "job", cache=None).recomputed == {}
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_shard_committed_while_listing(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing of a folder that others write to may contain only the later of two files."""
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    before = shard_files(tmp_path / "job")
    sizes = LocalFolder.sizes

    def late(place: LocalFolder, folder: str) -> dict[str, int]:
        return {name: size for name, size in sizes(place, folder).items() if name[:9] != "00000001-"}

    monkeypatch.setattr(LocalFolder, "sizes", late)
    assert (job_status(tmp_path / "job").shards_done, job_status(tmp_path / "job").corrupt) == (4, {})
    assert run_job(tmp_path / "job").recomputed == {}
    assert shard_files(tmp_path / "job") == before
    read = Job.read_committed

    def gone(job: Job, shard: int) -> Any:
        if shard == 2:  # its table is removed after the listing
            raise FileNotFoundError
        return read(job, shard)

    monkeypatch.setattr(Job, "read_committed", gone)
    assert (job_status(tmp_path / "job").shards_done, job_status(tmp_path / "job").corrupt) == (3, {})


def test_any_corrupt_byte_of_a_table_is_found(images: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    plan(images, job)
    run_job(job, cache=None)
    table = job / "shards" / "00000000.parquet"
    good = table.read_bytes()
    for at in np.linspace(0, len(good) - 1, 150).astype(int):
        table.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        whole = open_job(job)
        done, damaged = whole.committed()  # raises nothing
        try:
            open_features(job).paths[:]
        except FeaturesError:  # its remedy is --verify
            assert damaged or whole.find_corruption(done[0]), at
