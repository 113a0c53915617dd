from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import job_status, merge_job, open_features, plan_job, run_job
from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.datasets.labels import is_missing
from featx.errors import (
    FeaturesError,
    FeatxWarning,
    JobError,
    OptionError,
    OutputError,
    SourceError,
    SourceNotFoundError,
)
from featx.extraction.options import ExtractionOptions
from featx.extraction.to_file import extract_to_file
from featx.jobs.job import Job, open_job
from featx.jobs.running.recovery import find_corruption
from featx.jobs.running.shard import run_shard
from featx.jobs.running.worker import work
from featx.system.files.local_folder import LocalFolder
from tests.jobs.fatal import make_task, write_images


@pytest.fixture(autouse=True)
def _quiet(order: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the backbone for all tests; the command line does not change the logger."""
    monkeypatch.setattr(cli, "show_messages", lambda quiet: None)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """20 images in two class folders, the 8th of class a is red, and one file that is none."""
    folder = write_images(tmp_path / "images", 20, red=14)
    (folder / "b" / "0009.png").write_bytes(b"no image")
    return folder


def undisturbed(source: Any, output: Path, **options: Any) -> None:
    """Extract without a job."""
    resolved = ExtractionOptions(backbone="fatal", **options).resolve()
    extract_to_file(find_images([source]), resolved, output, cache=None)


def check_equal(job: Any, source: Any, folder: Path) -> None:
    """Merge a job and compare with what the undisturbed run leaves, byte for byte."""
    (folder / "undisturbed").mkdir()
    (folder / "merged").mkdir()
    undisturbed(source, folder / "undisturbed" / "f.npy")
    merge_job(job, folder / "merged" / "f.npy")
    assert sorted(os.listdir(folder / "merged")) == sorted(os.listdir(folder / "undisturbed"))
    for name in os.listdir(folder / "merged"):
        assert (folder / "merged" / name).read_bytes() == (folder / "undisturbed" / name).read_bytes(), name


def plan(source: Any, job: Any, **options: Any) -> Any:
    return plan_job(source, job, **{"backbone": "fatal", "shard_size": 6, "sample": 0, **options})


def test_a_job_gives_what_one_run_gives(images: Path, tmp_path: Path) -> None:
    planned = plan(images, tmp_path / "job")
    assert (planned.images, planned.shards, planned.features, planned.bytes) == (20, 4, 3, 240)
    seen: list[int] = []
    run = run_job(tmp_path / "job", progress=seen.append)
    assert (run.done, run.rows, run.failed, run.computed, run.cached) == (4, 19, 1, 19, 0)
    assert sum(seen) == 20
    check_equal(tmp_path / "job", images, tmp_path)
    again = run_job(tmp_path / "job")
    assert (again.done, again.computed) == (4, 19)


@pytest.mark.usefixtures("in_this_process")
def test_shards_are_read_with_numpy_and_pandas_alone(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    shards = sorted((tmp_path / "job" / "shards").glob("*.parquet"))
    table = pd.concat([pd.read_parquet(path) for path in shards])
    rows = np.concatenate([np.load(path.with_suffix(".npy")) for path in shards])
    done = table[table.status == "done"]
    assert len(done) == len(rows) == 19
    for path, row in zip(done.path, rows, strict=True):
        number = int(Path(path).stem)
        assert row[0] == (255 if number == 14 else number)
    (failed,) = table[table.status == "failed"].to_dict("records")
    assert (Path(failed["path"]).name, failed["reason"][:16]) == ("0009.png", "the file is not ")


@pytest.mark.usefixtures("in_this_process")
def test_names_of_any_kind_survive(images: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe.png")
    (images / os.fsdecode(b"class \xe9")).mkdir()
    shutil.copy(images / "a" / "0000.png", images / os.fsdecode(b"class \xe9") / "é.png")
    for number, name in enumerate(["new\nline.png", "emoji 🦆.png", "=1+1.png", odd]):
        shutil.copy(images / "a" / f"{2 * number:04}.png", images / "a" / name)
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    check_equal(tmp_path / "job", images, tmp_path)
    for opened in (tmp_path / "job", tmp_path / "merged" / "f.npy"):
        assert os.fsdecode(b"class \xe9") in list(open_features(opened).labels)


@pytest.mark.usefixtures("in_this_process")
def test_relative_paths_mean_the_same_from_any_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan("images", "job")
    monkeypatch.chdir(images)
    assert run_job(tmp_path / "job").rows == 19
    monkeypatch.chdir(tmp_path)
    check_equal("job", "images", tmp_path)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("labels", "first"),
    [
        (["x", "y", None], "x"),
        (["1.5", "2,25", None], 1.5),
        (["1", "2", None], 1),
        (["-3", "0", "7"], -3),
        (["007", "8", "9"], "007"),
        (["true", "false", None], True),
        (["TRUE", "FALSE", "FALSE"], True),
        (["true", "FALSE", "x"], "true"),
        (["=1+1", "x", None], "=1+1"),
        ([" 5 ", "6", "5"], 5),
    ],
)
def test_tables_are_listed_as_extract_lists_them(labels: list[Any], first: Any, images: Path, tmp_path: Path) -> None:
    table = images / "list.csv"
    lines = [{"image": f"a/{2 * number:04}.png", "label": labels[number % 3]} for number in range(10)]
    pd.DataFrame(lines).to_csv(table, index=False)
    plan(table, tmp_path / "job", shard_size=3)
    run_job(tmp_path / "job")
    check_equal(tmp_path / "job", table, tmp_path)
    of_table = find_images([table]).labels
    for opened in (tmp_path / "job", tmp_path / "merged" / "f.npy"):
        found = [None if is_missing(label) else label for label in open_features(opened).labels]
        assert found == list(of_table)
        assert (found[0], type(found[0])) == (first, float if type(first) is int and None in found else type(first))
    pd.DataFrame(lines).to_parquet(images / "list.parquet", row_group_size=4)
    plan(images / "list.parquet", tmp_path / "job2", shard_size=3)
    read = [open_job(tmp_path / name).planned(1) for name in ("job", "job2")]
    assert read[0] == read[1]


@pytest.mark.usefixtures("in_this_process")
def test_an_archive_is_listed_too(images: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "images"), "zip", images)
    plan(archive, tmp_path / "job")
    assert run_job(tmp_path / "job").rows == 19
    check_equal(tmp_path / "job", archive, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_the_plan_tells_what_it_will_cost(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "featx.store.file_index.FileIndex.racy_seconds", -1
    )  # else the index knows no files that are so young
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job", cache=tmp_path / "cache")
    planned = plan(images, tmp_path / "job2", cache=tmp_path / "cache", sample=5)
    assert planned.sampled == 5
    assert planned.images_per_second > 0
    assert planned.cached == 19
    assert "images/s of one process on this machine (a sample of 5" in planned.as_text()
    some = dataclasses.replace(planned, cached=5, images_per_second=10.0, hours=15 / 36000, unreadable=1).as_text()
    assert "At least 5 rows are cached (moved and copied files are recognized later)" in some
    assert "2 s for the other 15 images, at 10 images/s of one process" in some
    assert "(a sample of 5, 1 of them unreadable)" in some


@pytest.mark.usefixtures("in_this_process")
def test_a_source_that_changed_is_counted(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    shutil.copy(images / "a" / "0000.png", images / "a" / "0002.png")
    (images / "a" / "0004.png").unlink()
    run = run_job(tmp_path / "job")
    assert (run.changed, run.failed, run.rows) == (2, 2, 18)
    assert "2 files changed since planning" in run.as_text()


@pytest.mark.usefixtures("in_this_process")
def test_the_status_tells_what_is_left(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    status = job_status(tmp_path / "job")
    assert (status.shards_done, status.images_done, status.images_left) == (0, 0, 20)
    assert "No client runs it. Run it: featx job run" in status.as_text()
    run_job(tmp_path / "job")
    status = job_status(tmp_path / "job")
    assert (status.shards_done, status.images_left, status.failed, status.is_done) == (4, 0, 1, True)


# Faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "backend"),
    [
        pytest.param("always", "loky", marks=pytest.mark.slow),
        pytest.param("always", "sequential", marks=pytest.mark.thorough),
        pytest.param("raise", "sequential", marks=pytest.mark.thorough),
    ],
)
def test_a_shard_that_ends_every_worker_is_quarantine(
    fault: str, backend: str, images: Path, order: Path, tmp_path: Path
) -> None:
    order.write_text(fault)
    plan(images, tmp_path / "job")
    run = run_job(tmp_path / "job", backend=backend, n_jobs=2, batch_size=1)
    assert run.done == 3
    (aside,) = run.quarantined
    assert run.quarantined[aside].startswith(
        "3 failures; " + ("its worker died" if fault == "always" else "The backbone")
    )
    assert fault == "raise" or re.search(r"around image 7 of the plan \('.*0014.png'\)", run.quarantined[aside])
    assert aside in job_status(tmp_path / "job").quarantined
    assert f"shard {aside} is quarantined" in job_status(tmp_path / "job").as_text()
    assert run_job(tmp_path / "job").done == 3  # it is not tried again unasked
    with pytest.raises(JobError, match="1 of 4 shards .* not done, the first is 1.*Quarantined: 1;"):
        merge_job(tmp_path / "job", tmp_path / "f.npy")
    partial = merge_job(tmp_path / "job", tmp_path / "partial.npy", allow_incomplete=True)
    assert (partial.rows + partial.failed, partial.missing) == (14, 6)
    order.unlink()
    assert run_job(tmp_path / "job", retry_quarantined=True).done == 4
    check_equal(tmp_path / "job", images, tmp_path)
    assert not list((tmp_path / "job" / "heartbeats").iterdir())


@pytest.mark.parametrize("backend", ["sequential", pytest.param("loky", marks=pytest.mark.thorough)])
def test_a_worker_that_is_killed_costs_no_row(backend: str, images: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("once")
    plan(images, tmp_path / "job")
    run = run_job(tmp_path / "job", backend=backend, n_jobs=2)
    assert (run.done, run.quarantined, order.exists()) == (4, {}, False)
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.thorough
def test_a_worker_that_is_told_to_end_is_replaced(images: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.1")
    plan(images, tmp_path / "job")
    process = client(order, "job", "run", tmp_path / "job", "--batch-size", "1", "--quiet", "--json")
    attempts = tmp_path / "job" / "heartbeats"
    wait_for(lambda: any(attempts.iterdir()))
    (note,) = attempts.iterdir()
    os.kill(json.loads(note.read_text())["pid"], signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["done"] == 4
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.thorough
def test_an_unreadable_image_may_end_the_run(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(images, tmp_path / "job")
    assert cli.main(["job", "run", str(tmp_path / "job"), "--on-error", "raise", "--quiet"]) == 1
    assert "Error: Cannot read image" in capsys.readouterr().err
    assert not list((tmp_path / "job" / "heartbeats").iterdir())
    assert run_job(tmp_path / "job").done == 4


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
    """Start featx in a process that knows the backbone."""
    command = [sys.executable, "-c", CLIENT, str(order), *map(str, args)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def wait_for(condition: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_a_client_that_is_ended_goes_on_when_it_is_started_again(
    number: int, images: Path, order: Path, tmp_path: Path
) -> None:
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
    time.sleep(2)  # a worker without its client ends, with what it has computed in the store
    order.unlink()
    run = run_job(tmp_path / "job")
    assert run.done == 4
    assert run.quarantined == {}
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.slow
def test_two_clients_of_one_job_damage_nothing(images: Path, order: Path, tmp_path: Path) -> None:
    order.write_text("slow 0.1")
    plan(images, tmp_path / "job", shard_size=2)
    args = ("job", "run", tmp_path / "job", "--no-cache", "--json")
    first = client(order, *args)
    wait_for(lambda: any((tmp_path / "job" / "clients").iterdir()))
    second = client(order, *args, "--backend", "loky")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert "This job is already being run by" in err
    assert json.loads(out)["done"] == 10
    first.communicate(timeout=60)
    assert first.returncode == 0
    check_equal(tmp_path / "job", images, tmp_path)


# Commits -------------------------------------------------------------------------------------------------


def shard_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.joinpath("shards").iterdir())}


@pytest.mark.usefixtures("in_this_process")
def test_rows_of_a_writer_that_died_before_its_table_are_replaced(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(images, tmp_path / "job")
    (tmp_path / "job" / "shards" / "00000000.npy").write_bytes(b"half")
    assert run_job(tmp_path / "job").done == 4
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_the_first_table_stands(images: Path, tmp_path: Path) -> None:
    """Another client commits the same shard between our look and our commit."""
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    before = shard_files(tmp_path / "job")
    job = open_job(tmp_path / "job")
    done = run_shard(job, 2, ExtractionOptions(backbone="fatal").resolve(), cache=None)
    assert done == job.read_committed(2)
    assert shard_files(tmp_path / "job") == before


@pytest.mark.usefixtures("in_this_process")
def test_a_table_that_vouches_for_rows_that_were_replaced_goes(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer was held up between its rows and its table so long that it was taken for dead."""
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    table = tmp_path / "job" / "shards" / "00000000.parquet"
    late = table.read_bytes()
    table.unlink()
    shutil.copy(images / "a" / "0018.png", images / "a" / "0000.png")  # so that our rows are others
    create = LocalFolder.create

    def create_late(place: LocalFolder, name: str, data: bytes) -> bool:
        if name.endswith("00000000.parquet") and not table.exists():
            monkeypatch.setattr(LocalFolder, "create", create)
            table.write_bytes(late)
        return create(place, name, data)

    monkeypatch.setattr(LocalFolder, "create", create_late)
    assert run_job(tmp_path / "job").done == 4
    assert run_job(tmp_path / "job", verify=True).recomputed == {}
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_a_table_that_a_third_writer_removes_is_written_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when we wanted to write ours, and is not when we look what it says."""
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
    assert run_job(tmp_path / "job").done == 4
    assert run_job(tmp_path / "job", verify=True).recomputed == {}
    check_equal(tmp_path / "job", images, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_where_rows_come_from_is_true_without_a_store_too(images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a" / "0000.png", images / "a" / "copy.png")
    plan(images, tmp_path / "job", shard_size=30)
    run = run_job(tmp_path / "job", cache=None)
    assert (run.computed, run.cached) == (19, 1)
    for said in (run.as_text(), job_status(tmp_path / "job").as_text()):
        assert "19 computed, 1 cached or equal to another image" in said


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
def test_damaged_shards_are_named_and_done_again(
    name: str, content: bytes | None, verify: bool, reason: str, images: Path, tmp_path: Path
) -> None:
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    path = tmp_path / "job" / "shards" / name
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
def test_a_full_disk_is_no_fault_of_a_shard(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert run_job(tmp_path / "job").done == 4
    check_equal(tmp_path / "job", images, tmp_path)


# Bad input -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_this_process")
def test_a_plan_of_another_recipe_or_version_is_told(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    path = tmp_path / "job" / "job.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "featx": "0.0.9"}))
    with pytest.warns(FeatxWarning, match="planned by featx 0.0.9, and this is"):
        assert run_job(tmp_path / "job").done == 4
    path.write_text(json.dumps({**whole, "recipe": {**whole["recipe"], "pixels": 2}}))
    with pytest.raises(
        JobError,
        match="another recipe than this machine has: pixels was '2', but is .* plan the job again under a new name",
    ):
        run_job(tmp_path / "job")
    path.write_text(json.dumps({**whole, "format": 1}))
    with pytest.raises(JobError, match="has format 1 .*reads format 2. Plan it again under a new name"):
        job_status(tmp_path / "job")
    path.write_text("{}")
    with pytest.raises(JobError, match="Cannot read .*job.json.: the field .format. is missing"):
        job_status(tmp_path / "job")


@pytest.mark.usefixtures("in_this_process")
def test_shards_of_a_job_that_was_planned_here_before_are_not_taken(images: Path, tmp_path: Path) -> None:
    plan(images / "a", tmp_path / "job")
    old = open_job(tmp_path / "job")
    planned, resolved = old.planned(0), ExtractionOptions(backbone="fatal").resolve()
    task = make_task(tmp_path / "job")
    shutil.rmtree(tmp_path / "job")
    plan(images, tmp_path / "job")
    with pytest.raises(JobError, match="Another job has been planned in .* since this run began"):
        work(task)
    old.planned = lambda shard: planned  # type: ignore[method-assign]  # of a worker that was computing all the while
    run_shard(old, 0, resolved, cache=None)
    assert job_status(tmp_path / "job").corrupt == {0: "its table belongs to another job or shard"}
    with pytest.raises(FeaturesError, match="its table belongs to another job or shard"):
        open_features(tmp_path / "job")
    assert list(run_job(tmp_path / "job", cache=None).recomputed) == [0]
    for path in (tmp_path / "job" / "shards").glob("00000000.*"):
        path.unlink()
    run_shard(old, 0, resolved, cache=None)
    run_shard(open_job(tmp_path / "job"), 0, resolved, cache=None)
    assert run_job(tmp_path / "job", cache=None).recomputed == {}
    check_equal(tmp_path / "job", images, tmp_path)


def test_a_folder_that_holds_something_else_is_refused(images: Path, tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", 2)
    before = sorted(other.rglob("*"))
    with pytest.raises(JobError, match="is not empty \\('a'\\) and has no job. Choose a folder that is empty"):
        plan(images, other)
    assert sorted(other.rglob("*")) == before
    plan(images, tmp_path / "job")
    with pytest.raises(JobError, match="There is already a job in .* Go on with it .featx job run"):
        plan(images, tmp_path / "job")
    with pytest.raises(JobError, match="There is no job in .* Plan one: featx job plan"):
        run_job(tmp_path)
    with pytest.raises(JobError, match="is a file, expected the folder of a job"):
        run_job(images / "a" / "0000.png")


@pytest.mark.usefixtures("in_this_process")
def test_a_shard_that_is_committed_while_it_is_listed_is_done(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder that others write to, a listing may have the later of two files alone."""
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    before = shard_files(tmp_path / "job")
    sizes = LocalFolder.sizes

    def late(place: LocalFolder, folder: str) -> dict[str, int]:
        return {name: size for name, size in sizes(place, folder).items() if name != "00000001.npy"}

    monkeypatch.setattr(LocalFolder, "sizes", late)
    assert (job_status(tmp_path / "job").shards_done, job_status(tmp_path / "job").corrupt) == (4, {})
    assert run_job(tmp_path / "job").recomputed == {}
    assert shard_files(tmp_path / "job") == before
    read = Job.read_committed

    def gone(job: Job, shard: int) -> Any:
        if shard == 2:  # its table is removed between the listing and the look
            raise FileNotFoundError
        return read(job, shard)

    monkeypatch.setattr(Job, "read_committed", gone)
    assert (job_status(tmp_path / "job").shards_done, job_status(tmp_path / "job").corrupt) == (3, {})


def _broken_off() -> None:
    raise KeyboardInterrupt


def test_a_plan_that_was_broken_off_is_made_anew(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.features.job_files.SHARDS_PER_FILE", 1)
    with monkeypatch.context() as patch:
        patch.setattr("featx.jobs.plan_writer.PlanWriter.finish", lambda *args: _broken_off())
        with pytest.raises(KeyboardInterrupt):
            plan(images, tmp_path / "job")
    assert not (tmp_path / "job").exists()
    (tmp_path / "job" / "plan").mkdir(parents=True)
    (tmp_path / "job" / "plan" / "000000.parquet").write_bytes(b"of one that was killed")
    note = {"host": "elsewhere", "pid": 1, "started": None, "time": time.time()}
    (tmp_path / "job" / "planning.json").write_text(json.dumps(note))
    with pytest.raises(
        JobError, match=r"Another client is planning a job in .* \(process 1 on elsewhere\).* remove '.*planning.json'"
    ):
        plan(images, tmp_path / "job")
    (tmp_path / "job" / "planning.json").write_text(json.dumps({**note, "time": 0}))
    assert plan(images, tmp_path / "job").shards == 4


@pytest.mark.parametrize("is_abandoned", [False, True])
def test_of_planners_at_once_one_has_the_folder(is_abandoned: bool, images: Path, tmp_path: Path) -> None:
    def attempt(job: Path, start: threading.Barrier) -> str:
        start.wait()
        try:
            plan(images, job)
        except JobError as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for number in range(30):
            job = tmp_path / f"job{number}"
            if is_abandoned:
                job.mkdir()
                (job / "planning.json").write_text(
                    json.dumps({"host": "elsewhere", "pid": 1, "started": None, "time": 0})
                )
            start = threading.Barrier(3)
            said = list(pool.map(attempt, [job] * 3, [start] * 3))
            if said.count("") == 0:  # of an abandoned note, two may undo each other, and say so
                assert is_abandoned
                plan(images, job)
            assert said.count("") <= 1
            planned = open_job(job)
            assert sum(len(planned.planned(shard).paths) for shard in range(4)) == 20
            assert not (job / "planning.json").exists()


def test_options_that_cannot_be_used_are_told(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="shard_size must be an int from 1 to 1,000,000, got 0"):
        plan(images, tmp_path / "job", shard_size=0)
    plan(images, tmp_path / "job")
    with pytest.raises(OptionError, match="backend must be one of .*, got 'lokey'.* Did you mean 'loky'"):
        run_job(tmp_path / "job", backend="lokey")
    with pytest.raises(OptionError, match="on_error must be 'skip' or 'raise', got 'rais'"):
        run_job(tmp_path / "job", on_error="rais")
    with pytest.raises(SourceNotFoundError):
        plan(tmp_path / "absent", tmp_path / "job2")
    assert not (tmp_path / "job2").exists()


@pytest.mark.parametrize(
    "address",
    [
        "https://me:secret@example.org/a.jpg",
        "s3://me:secret@bucket/job",
        "https://bucket.s3.amazonaws.com/a.jpg?X-Amz-Date=1&X-Amz-Signature=secret",
        "https://example.org/a.jpg?X-Goog-Signature=secret",
        "https://blob.example.org/a.jpg?sv=2024&sig=secret%3D",
        "https://cdn.example.org/a.jpg?Signature=secret&Key-Pair-Id=K1",
        "https://example.org/a.jpg?access%5Ftoken=secret",
    ],
)
def test_passwords_reach_no_file_and_no_message(address: str, images: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text(f"path\n{address}\n")
    for source, output in ((images, address), (address, tmp_path / "job"), (table, tmp_path / "job")):
        with pytest.raises((JobError, SourceError), match="Give credentials in the environment") as raised:
            plan(source, output)
        assert "secret" not in str(raised.value)
    with pytest.raises(SourceError, match="Give credentials in the environment"):
        plan(images, tmp_path / "job", weights=address)
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "job").rglob("*") if path.is_file())


def test_queries_that_hold_no_secret_are_taken(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path\nhttps://example.org/a.jpg?size=2&signed=no&page=3&x=me@example.org\n")
    assert plan(table, tmp_path / "job").images == 1


@pytest.mark.usefixtures("in_this_process")
def test_extract_into_a_folder_is_a_job_that_goes_on(
    images: Path, in_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["extract", str(images), "-o", "out/", "--backbone", "fatal", "--quiet"]
    assert cli.main(args) == cli.main(args) == 0
    assert "1 of 1 shard done" in capsys.readouterr().out
    check_equal("out", images, tmp_path)
    assert cli.main([*args, "--resize", "crop"]) == 1
    assert "differs from the requested one in: resize" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process", "in_folder")
def test_extract_leaves_no_image_out_that_has_come_since(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["extract", str(images), "-o", "out/", "--backbone", "fatal", "--quiet"]
    assert cli.main(args) == 0
    shutil.copy(images / "a" / "0000.png", images / "a" / "new.png")
    assert cli.main(args) == 1
    assert "has 1 image more than were planned (20). Plan again with another -o" in capsys.readouterr().err
    (images / "b" / "0001.png").unlink()
    assert cli.main(args) == 1
    assert "has other images or labels than were planned (20)" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process", "in_folder")
def test_extract_goes_on_with_the_columns_that_were_planned(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.csv").write_text(f"path,label,kind\n{images / 'a' / '0000.png'},one,two\n")
    args = ["extract", "list.csv", "-o", "out/", "--backbone", "fatal", "--quiet"]
    assert cli.main(args) == cli.main(args) == 0
    assert cli.main([*args, "--label-column", "kind"]) == 1
    assert "differs from the requested one in: --label-column" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process", "in_folder")
def test_the_commands_speak_json(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["job", "plan", str(images), "-o", "job", "--backbone", "fatal", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 20
    assert cli.main(["job", "run", "job", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 19
    assert cli.main(["job", "status", "job", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images_left"] == 0
    assert cli.main(["job", "merge", "job", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 19
    assert cli.main(["job"]) == 0
    assert "merge" in capsys.readouterr().out


@pytest.mark.usefixtures("in_this_process")
def test_a_source_that_is_away_fails_nothing_for_good(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 24)
    plan(images, tmp_path / "job", shard_size=12)
    images.rename(tmp_path / "elsewhere")
    with pytest.raises(
        SourceError, match="None of the 12 images of shard 0 is reachable.*Mount their disk.*the same command again"
    ):
        run_job(tmp_path / "job", cache=None)
    assert job_status(tmp_path / "job").shards_done == 0
    (tmp_path / "elsewhere").rename(images)
    assert run_job(tmp_path / "job", cache=None).rows == 24


@pytest.mark.usefixtures("in_this_process")
def test_images_that_failed_are_tried_again_when_asked_for(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    bad = (images / "b" / "0009.png").read_bytes()
    assert run_job(tmp_path / "job", cache=None).failed == 1
    shutil.copyfile(images / "b" / "0011.png", images / "b" / "0009.png")
    assert run_job(tmp_path / "job", cache=None).failed == 1
    again = run_job(tmp_path / "job", cache=None, retry_failed=True)
    assert (again.failed, again.rows, again.changed) == (0, 20, 1)
    (images / "b" / "0009.png").write_bytes(bad)


@pytest.mark.usefixtures("in_this_process")
def test_where_a_job_or_its_matrix_cannot_be_is_told(images: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(OutputError, match="Cannot read or write '/proc/job"):
        plan(images, "/proc/job")
    assert cli.main(["job", "plan", str(images), "-o", "memory://job"]) == 1
    assert "does not outlive this command" in capsys.readouterr().err
    plan(images, tmp_path / "job")
    with pytest.raises(OutputError, match="output must be a local file, got"):
        merge_job(tmp_path / "job", "s3://bucket/f.npy")
    with pytest.raises(JobError, match="No shard of the job in .* is done.*featx job run"):
        merge_job(tmp_path / "job", tmp_path / "f.npy", allow_incomplete=True)


def test_a_byte_anywhere_in_the_table_of_a_shard_locks_nobody_out(images: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    plan(images, job)
    run_job(job, cache=None)
    table = job / "shards" / "00000000.parquet"
    good = table.read_bytes()
    for at in np.linspace(0, len(good) - 1, 150).astype(int):
        table.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        whole = open_job(job)
        done, damaged = whole.committed()  # which raises nothing
        try:
            open_features(job).paths[:]
        except FeaturesError:  # whose remedy is --verify
            assert damaged or find_corruption(whole, done[0]), at


@pytest.mark.parametrize(
    ("own", "named", "used"), [("mine", False, "mine"), ("mine", True, "theirs"), ("", False, "theirs")]
)
def test_a_worker_takes_its_own_cache_unless_one_is_named(
    own: str, named: bool, used: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(images, tmp_path / "job")
    task = make_task(tmp_path / "job")
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / own) if own else "")
    work(dataclasses.replace(task, cache=str(tmp_path / "theirs"), is_cache_auto=not named))
    assert [name for name in ("mine", "theirs") if (tmp_path / name).exists()] == [used]


@pytest.mark.parametrize("changed", [{"shard_size": 9}, {"n_shards": 20}, {"shard_size": 0}])
def test_a_description_that_was_edited_is_told(changed: dict[str, int], images: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    plan(images, job)
    run_job(job, cache=None)
    said = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(json.dumps(said | changed))
    with pytest.raises(JobError, match="Cannot read .*job.json.: 20 images in shards of . need .* shards, got"):
        run_job(job, cache=None)
    (job / "job.json").write_text(json.dumps(said))
    assert run_job(job, cache=None).recomputed == {}
