"""Plans: what they report, and planners that are interrupted or compete."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import os
import threading
from pathlib import Path

import pandas as pd
import pytest

from featx import ImageTable, Tags, find_images, open_features, plan_job, run_job
from featx.errors import JobError, OptionError
from featx.jobs.job import open_job
from tests.jobs.helpers import plan

pytestmark = pytest.mark.usefixtures("order", "quiet_logger")


def _broken_off() -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("in_this_process")
def test_plan_estimates_cost(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "featx.store.file_index.FileIndex.racy_seconds", -1
    )  # otherwise the index does not record files that were just written
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
def test_tables_in_memory_keep_labels_splits_and_groups(images: Path, tmp_path: Path) -> None:
    paths = find_images(images).paths[:4]
    frame = pd.DataFrame({"path": paths, "label": [2, 2, 3, None], "site": ["x", "x", "y", "y"]})
    table = ImageTable(paths, [2, 2, 3, None], splits=["train", "train", "test", "test"], groups=["x", "x", "y", "y"])
    tags = ImageTable(paths, [Tags(["a"]), Tags([]), Tags(["a", "b"]), Tags(["b"])])
    for name, source, options in (("frame", frame, {"group_column": "site"}), ("table", table, {}), ("tags", tags, {})):
        plan_job(source, tmp_path / name, backbone="color_histogram", sample=0, **options)
        run_job(tmp_path / name, cache=None)
        features = open_features(tmp_path / name)
        labels = features.metadata(slice(None), ["label"])["label"]
        assert labels == list(tags.labels if source is tags else [2, 2, 3, None])
        assert (features.groups is None) == (source is tags)
        listed = find_images(features)
        assert (list(listed.labels), listed.splits) == (
            labels,
            table.splits if source is table else None,
        )
    with pytest.raises(OptionError, match="label_column must be None for ImageTable, got 'kind'"):
        plan_job(table, tmp_path / "job", backbone="color_histogram", label_column="kind")


def test_interrupted_plan_is_planned_again(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.features.job_files.SHARDS_PER_FILE", 1)
    with monkeypatch.context() as patch:
        patch.setattr("featx.jobs.plan.commit_plan", lambda *args: _broken_off())
        with pytest.raises(KeyboardInterrupt):
            plan(images, tmp_path / "job")
    assert not (tmp_path / "job").exists()
    (tmp_path / "job" / "plan").mkdir(parents=True)
    (tmp_path / "job" / "plan" / "000000-dead.parquet").write_bytes(b"of one that was killed")
    assert plan(images, tmp_path / "job").shards == 4
    assert len(list((tmp_path / "job" / "plan").iterdir())) == 4  # the plan that was killed is gone


@pytest.mark.usefixtures("in_this_process")
def test_fault_after_the_manifest_has_its_name(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        if (folder / "job.json").exists():
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("featx.system.files.local_folder.sync_folder", fail)
        with pytest.raises(OSError, match="Input/output error"):
            plan(images, tmp_path / "job")
    assert run_job(tmp_path / "job", cache=None).is_complete


@pytest.mark.usefixtures("in_this_process")
def test_folder_whose_name_is_not_utf_8(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system requires UTF-8")
    plan(images, folder / "job", cache=folder / "cache")
    assert run_job(folder / "job", cache=folder / "cache").is_complete


def test_concurrent_planners(images: Path, tmp_path: Path) -> None:
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
            start = threading.Barrier(3)
            messages = list(pool.map(attempt, [job] * 3, [start] * 3))
            assert messages.count("") == 1
            assert all(message == "" or "There is already a job in" in message for message in messages)
            planned = open_job(job)
            assert sum(len(planned.planned(shard).paths) for shard in range(4)) == 20
            assert len(list((job / "plan").iterdir())) == 1


def test_misspelled_option_names_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"plan_job\(\) got .* keyword argument 'poling'. Did you mean 'pooling'"):
        plan_job(tmp_path, tmp_path / "job", poling="max")
