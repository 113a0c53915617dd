"""Runs without faults: they give what `featx extract` gives."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import Progress, job_status, open_features, run_job
from featx.datasets.find import find_images
from featx.datasets.labels import is_missing
from featx.jobs.job import open_job
from featx.jobs.running.worker import work
from tests.jobs.fatal import make_task
from tests.jobs.helpers import check_equal, plan
from tests.progress import check_progress

pytestmark = pytest.mark.usefixtures("order", "quiet_logger")


def test_run_equals_extract(images: Path, tmp_path: Path) -> None:
    planned = plan(images, tmp_path / "job")
    assert (planned.images, planned.shards, planned.features, planned.bytes) == (20, 4, 3, 240)
    seen: list[Progress] = []
    run = run_job(tmp_path / "job", progress=seen.append)
    assert (run.shards_done, run.rows, run.failed, run.computed, run.cached) == (4, 19, 1, 19, 0)
    check_progress(seen)
    assert {(report.stage, report.total) for report in seen} == {("extract", 20)}
    check_equal(tmp_path / "job", images, tmp_path)
    again = run_job(tmp_path / "job")
    assert (again.shards_done, again.computed) == (4, 19)


@pytest.mark.usefixtures("in_this_process")
def test_shards_open_without_featx(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    shards = sorted((tmp_path / "job" / "shards").glob("*.parquet"))
    table = pd.concat([pd.read_parquet(path) for path in shards])
    rows = np.concatenate([np.load(next(path.parent.glob(f"{path.stem}-*.npy"))) for path in shards])
    done = table[table.status == "done"]
    assert len(done) == len(rows) == 19
    for path, row in zip(done.path, rows, strict=True):
        number = int(Path(path).stem)
        assert row[0] == (255 if number == 14 else number)
    (failed,) = table[table.status == "failed"].to_dict("records")
    assert (Path(failed["path"]).name, failed["reason"][:16]) == ("0009.png", "the file is not ")


@pytest.mark.usefixtures("in_this_process")
def test_unusual_file_names(images: Path, tmp_path: Path) -> None:
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
def test_relative_paths_from_another_folder(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        (["1.5", "2.25", None], 1.5),
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
def test_tables_equal_extract(labels: list[Any], first: Any, images: Path, tmp_path: Path) -> None:
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
def test_archive(images: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "images"), "zip", images)
    plan(archive, tmp_path / "job")
    assert run_job(tmp_path / "job").rows == 19
    check_equal(tmp_path / "job", archive, tmp_path)


@pytest.mark.usefixtures("in_this_process")
def test_changed_source_is_counted(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    shutil.copy(images / "a" / "0000.png", images / "a" / "0002.png")
    (images / "a" / "0004.png").unlink()
    run = run_job(tmp_path / "job")
    assert (run.changed, run.failed, run.rows) == (1, 2, 18)  # the file that is gone failed
    assert "1 file changed since planning" in run.as_text()


@pytest.mark.usefixtures("in_this_process")
def test_status_counts_what_is_left(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    status = job_status(tmp_path / "job")
    assert (status.shards_done, status.images_done, status.images_left) == (0, 0, 20)
    assert "Not running. Run it: featx job run" in status.as_text()
    run_job(tmp_path / "job")
    status = job_status(tmp_path / "job")
    assert (status.shards_done, status.images_left, status.failed, status.is_complete) == (4, 0, 1, True)


@pytest.mark.usefixtures("in_this_process")
def test_counts_without_cache(images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "a" / "0000.png", images / "a" / "copy.png")
    plan(images, tmp_path / "job", shard_size=30)
    run = run_job(tmp_path / "job", cache=None)
    assert (run.computed, run.cached) == (19, 1)
    for text in (run.as_text(), job_status(tmp_path / "job").as_text()):
        assert "19 computed, 1 cached or equal to another image" in text


@pytest.mark.usefixtures("in_this_process")
def test_retry_failed(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    bad = (images / "b" / "0009.png").read_bytes()
    assert run_job(tmp_path / "job", cache=None).failed == 1
    shutil.copyfile(images / "b" / "0011.png", images / "b" / "0009.png")
    assert run_job(tmp_path / "job", cache=None).failed == 1
    again = run_job(tmp_path / "job", cache=None, retry_failed=True)
    assert (again.failed, again.rows, again.changed) == (0, 20, 1)
    (images / "b" / "0009.png").write_bytes(bad)


@pytest.mark.parametrize(
    ("own", "named", "used"), [("mine", False, "mine"), ("mine", True, "theirs"), ("", False, "theirs")]
)
def test_cache_of_worker(
    own: str, named: bool, used: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(images, tmp_path / "job")
    task = make_task(tmp_path / "job")
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / own) if own else "")
    work(dataclasses.replace(task, cache=str(tmp_path / "theirs"), is_cache_auto=not named))
    assert [name for name in ("mine", "theirs") if (tmp_path / name).exists()] == [used]
