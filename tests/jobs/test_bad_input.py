"""Invalid options, folders and files of jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featx import job_status, merge_job, run_job
from featx.cli import main as cli
from featx.datasets.image_listing import ImageListing
from featx.datasets.source_options import SourceOptions
from featx.errors import JobError, OptionError, OutputError, SourceError, SourceNotFoundError
from featx.jobs.plan_writer import ShardListing
from tests.jobs.fatal import write_images
from tests.jobs.helpers import plan

pytestmark = pytest.mark.usefixtures("order", "quiet_logger")


@pytest.mark.usefixtures("in_this_process")
def test_other_recipe_version_or_format(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    path = tmp_path / "job" / "job.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "featx": "0.0.9"}))
    assert run_job(tmp_path / "job").shards_done == 4  # the recipe decides, not the version
    path.write_text(json.dumps({**whole, "recipe": {**whole["recipe"], "pixels": 2}}))
    with pytest.raises(
        JobError,
        match="another recipe than this machine has: expected pixels '2', got .*This version of featx decodes or "
        "resizes images in another way.* plan the job again under a new name.$",
    ):
        run_job(tmp_path / "job")
    path.write_text(json.dumps({**whole, "format": 99}))
    with pytest.raises(JobError, match="has format 99 .*Upgrade featx, or plan it again under a new name"):
        job_status(tmp_path / "job")
    path.write_text(json.dumps({**whole, "format": 1}))
    with pytest.raises(JobError, match="has format 1 .*reads format 4. Plan it again under a new name"):
        job_status(tmp_path / "job")
    with pytest.raises(JobError, match="There is already a job in .*has format 1.* Choose another folder"):
        plan(images, tmp_path / "job")
    path.write_text("{}")
    with pytest.raises(JobError, match="Cannot read .*job.json.: the field .format. is missing"):
        job_status(tmp_path / "job")


def test_folder_with_other_files_is_refused(images: Path, tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", 2)
    before = sorted(other.rglob("*"))
    with pytest.raises(JobError, match="is not empty \\('a'\\) and has no job. Choose a folder that is empty"):
        plan(images, other)
    assert sorted(other.rglob("*")) == before
    plan(images, tmp_path / "job")
    with pytest.raises(JobError, match="There is already a job in .* Resume it .featx job run"):
        plan(images, tmp_path / "job")
    with pytest.raises(JobError, match="There is no job in .* Plan one: featx job plan"):
        run_job(tmp_path)
    with pytest.raises(JobError, match="is a file, expected the folder of a job"):
        run_job(images / "a" / "0000.png")


def test_invalid_options(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="shard_size .--shard-size. must be an integer from 1 to 1,000,000, got 0"):
        plan(images, tmp_path / "job", shard_size=0)
    plan(images, tmp_path / "job")
    with pytest.raises(OptionError, match="backend .--backend. must be one of .*, got 'lokey'.* Did you mean 'loky'"):
        run_job(tmp_path / "job", backend="lokey")
    with pytest.raises(OptionError, match="on_error .--on-error. must be 'skip' or 'raise', got 'rais'"):
        run_job(tmp_path / "job", on_error="rais")
    with pytest.raises(SourceNotFoundError):
        plan(tmp_path / "absent", tmp_path / "job2")
    assert not (tmp_path / "job2").exists()
    for device in ("gpu", "cuda"):  # the backbone of this job is plain Python
        with pytest.raises(OptionError, match=r"device \(--device\) must be"):
            run_job(tmp_path / "job", device=device)


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
def test_credentials_reach_no_file_or_message(address: str, images: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text(f"path\n{address}\n")
    for source, output in ((images, address), (address, tmp_path / "job"), (table, tmp_path / "job")):
        with pytest.raises((JobError, SourceError), match="Set credentials in the environment") as raised:
            plan(source, output)
        assert "secret" not in str(raised.value)
    with pytest.raises(SourceError, match="Set credentials in the environment"):
        plan(images, tmp_path / "job", weights=address)
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "job").rglob("*") if path.is_file())


def test_query_without_credentials(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path\nhttps://example.org/a.jpg?size=2&signed=no&page=3&x=me@example.org\n")
    assert plan(table, tmp_path / "job").images == 1


@pytest.mark.usefixtures("in_this_process")
def test_invalid_outputs(images: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(OutputError, match="Cannot read or write '/proc/job"):
        plan(images, "/proc/job")
    assert cli.main(["job", "plan", str(images), "-o", "memory://job"]) == 2
    assert "which is in the memory of this process" in capsys.readouterr().err
    plan(images, tmp_path / "job")
    with pytest.raises(OptionError, match="output .-o. must be a local file, got"):
        merge_job(tmp_path / "job", "s3://bucket/f.npy")
    with pytest.raises(JobError, match="No shard of the job in .* is done.*featx job run"):
        merge_job(tmp_path / "job", tmp_path / "f.npy", allow_incomplete=True)


@pytest.mark.parametrize("changed", [{"shard_size": 9}, {"n_shards": 20}, {"shard_size": 0}])
def test_edited_manifest(changed: dict[str, int], images: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    plan(images, job)
    run_job(job, cache=None)
    manifest = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(json.dumps(manifest | changed))
    with pytest.raises(JobError, match="Cannot read .*job.json.: 20 images in shards of . need .* shards, got"):
        run_job(job, cache=None)
    (job / "job.json").write_text(json.dumps(manifest))
    assert run_job(job, cache=None).recomputed == {}


@pytest.mark.usefixtures("in_this_process")
def test_changed_rows_are_not_merged(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job")
    matrix = next((tmp_path / "job" / "shards").glob("*.npy"))
    content = matrix.read_bytes()
    matrix.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(JobError, match="differ from what was committed. Nothing was written.*--verify"):
        merge_job(tmp_path / "job", tmp_path / "f.npy")
    assert not (tmp_path / "f.npy").exists()
    assert list(run_job(tmp_path / "job", verify=True).recomputed) == [int(matrix.name[:8])]
    assert merge_job(tmp_path / "job", tmp_path / "f.npy").missing == 0


def test_changed_label_is_another_list(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 2)
    digests = []
    for label in "xy":
        table = tmp_path / f"{label}.csv"
        table.write_text(f"path,label\n{tmp_path}/images/a/0000.png,{label}\n")
        listing = ShardListing(ImageListing([str(table)], SourceOptions()))
        assert [len(shard) for shard in listing.shards(10)] == [1]
        digests.append(listing.digest)
    assert digests[0] != digests[1]
