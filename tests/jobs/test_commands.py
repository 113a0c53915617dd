"""Jobs from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from featx.cli import main as cli
from tests.jobs.helpers import check_equal

pytestmark = pytest.mark.usefixtures("order", "quiet_logger")


@pytest.mark.usefixtures("in_this_process")
def test_extract_to_folder_resumes_job(
    images: Path, in_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["extract", str(images), "-o", "out/", "--backbone", "fatal", "--quiet"]
    assert cli.main(args) == cli.main(args) == 0
    assert "1 of 1 shard done" in capsys.readouterr().out
    check_equal("out", images, tmp_path)
    assert cli.main([*args, "--resize", "crop"]) == 1
    assert "differs from the requested one in: resize" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process", "in_folder")
def test_extract_refuses_changed_source(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["extract", str(images), "-o", "out/", "--backbone", "fatal", "--quiet"]
    assert cli.main(args) == 0
    shutil.copy(images / "a" / "0000.png", images / "a" / "new.png")
    assert cli.main(args) == 1
    assert "has 1 image more than were planned (20). Plan it again in another output folder" in capsys.readouterr().err
    (images / "b" / "0001.png").unlink()
    assert cli.main(args) == 1
    assert "has other images or labels than were planned (20)" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process", "in_folder")
def test_extract_refuses_other_columns(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.csv").write_text(f"path,label,kind\n{images / 'a' / '0000.png'},one,two\n")
    args = ["extract", "list.csv", "-o", "out/", "--backbone", "fatal", "--quiet"]
    assert cli.main(args) == cli.main(args) == 0
    assert cli.main([*args, "--label-column", "kind"]) == 1
    assert "differs from the requested one in: --label-column" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process", "in_folder")
def test_json_output(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
