from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from featx import merge_job, plan_job, run_job
from featx.cli import main as cli
from featx.errors import FeatxError, JobError, OptionError, OutputError, SourceError
from featx.system.files.local_folder import LocalFolder
from tests.jobs.fatal import write_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 20)


def plan(source: Any, job: Any, **options: Any) -> Any:
    return plan_job(source, job, **{"backbone": "color_histogram", "sample": 0, "cache": None, **options})


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("output", ["images/job", "images", "images/a", ".", "link/job", "images/new/deep"])
def test_job_among_its_images(
    output: str, images: Path, in_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink("images", "link")
    before = everything(tmp_path)
    with pytest.raises(JobError, match="within the (source|output)|is the source .*") as raised:
        plan("images", output)
    assert "Choose another output folder, such as 'images-job'" in str(raised.value)
    assert everything(tmp_path) == before
    plan("images", "images-job")


def test_extract_among_its_images(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["extract", "images", "-o", "images/job/", "--backbone", "color_histogram", "--quiet"]) == 1
    assert "is within the source 'images'" in capsys.readouterr().err
    assert not (images / "job").exists()


def test_folder_of_the_job_is_not_created(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder '.*/absent'. Create it, or choose another folder."):
        plan(images, tmp_path / "absent" / "job")
    assert not (tmp_path / "absent").exists()


def test_job_beside_its_table(images: Path, tmp_path: Path) -> None:
    (images / "list.csv").write_text("path\na/0000.png\n")
    assert plan(images / "list.csv", images / "job").images == 1


@pytest.mark.parametrize("name", ["f.npy", "all.csv", "images.zip", "F.NPY", "out.parquet"])
def test_job_with_the_name_of_a_file(name: str, images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="must be a folder, got the file name.*-o job/.*features.npy"):
        plan(images, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("output", ["s3:bucket/job", "s3:/bucket/job"])
def test_url_without_slashes(output: str, images: Path, in_folder: Path) -> None:
    with pytest.raises(OptionError, match="must be a folder or a URL, got .* Pass s3://bucket/job, with two slashes"):
        plan(images, output)
    assert not everything(in_folder)


def test_unknown_storage(images: Path, tmp_path: Path) -> None:
    message = r"no storage has the scheme s4:// \(expected s3://.*\)\."
    with pytest.raises(JobError, match=f"Cannot open 's4://bucket/job': {message} Check the URL"):
        plan(images, "s4://bucket/job")
    for source in ("s4://bucket/photos", "s4://bucket/list.csv"):
        with pytest.raises(SourceError, match=f"Cannot (open|read|list) '{source}': {message} Check the URL"):
            plan(source, tmp_path / "job")


def test_job_in_another(images: Path, tmp_path: Path) -> None:
    plan(images, tmp_path / "job")
    with pytest.raises(JobError, match="is in another job, .*job'. Choose another output folder, such as .*job-2'"):
        plan(images, tmp_path / "job" / "other")
    assert not (tmp_path / "job" / "other").exists()


@pytest.mark.parametrize("output", ["", " "])
def test_job_without_name(output: str, images: Path) -> None:
    with pytest.raises(JobError, match="must have a name, got .* Pass a folder"):
        plan(images, output)


def test_matrix_in_the_job(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalFolder, "is_shared", False)
    plan(images, tmp_path / "job")
    run_job(tmp_path / "job", cache=None)
    before = everything(tmp_path)
    for name in ("job/f.npy", "job/shards/f.npy"):
        with pytest.raises(OutputError, match="is within the job .*Write it elsewhere"):
            merge_job(tmp_path / "job", tmp_path / name)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("absent", {}),
        ("empty", {}),
        ("nothing.csv", {}),
        ("headless.csv", {}),
        ("secret.csv", {}),
        ("images", {"backbone": "mobilenett"}),
        ("images", {"resize": "stretch"}),
        ("images", {"shard_size": 0}),
        ("images", {"shard_size": -1}),
        ("images", {"shard_size": 10**20}),
        ("images", {"sample": -1}),
        ("images", {"path_column": "path"}),
        ("s4://bucket/x", {}),
    ],
)
@pytest.mark.usefixtures("images")
def test_refused_plan_leaves_nothing(
    source: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("nothing.csv").write_text("path\n")
    Path("headless.csv").write_text("a,b\n1,2\n")
    Path("secret.csv").write_text("path\na.jpg\nhttps://me:secret@host/b.jpg\n")
    Path("there").mkdir()
    before = everything(tmp_path)
    for output in ("deep/within/job", "there"):
        with pytest.raises(FeatxError):
            plan(source, output, **{"shard_size": 1, "cache": "cache", **options})
        assert [path for path in everything(tmp_path) if "cache" not in path.parts] == before
