from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from featx.cli import main as cli
from featx.datasets.image_folder import find_images
from featx.datasets.inspection import check_images
from tests.system.files.test_remote import photo_bytes, server  # noqa: F401  # fixtures


@pytest.fixture
def messy(photo_folder: Path) -> Path:
    """A folder of photos with one of each thing that may be wrong with an image."""
    china = photo_folder / "china"
    (china / "01.jpg").write_bytes((china / "01.jpg").read_bytes()[:2000])
    (china / "text.jpg").write_text("hello")
    shutil.copy(china / "02.jpg", photo_folder / "flower" / "copy.jpg")
    PIL.Image.new("RGB", (300, 300), (9, 9, 9)).save(china / "even.png")
    noise = np.random.default_rng(0).integers(0, 256, (10, 400), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(china / "strip.png")
    PIL.Image.open(china / "03.jpg").save(china / "other.jpg", "PNG")
    (photo_folder / "notes.txt").write_bytes(b"")
    if hasattr(os, "mkfifo"):
        os.mkfifo(china / "pipe.jpg")
    return photo_folder


def test_everything_that_is_wrong_or_odd_is_told(messy: Path) -> None:
    check = check_images(find_images([messy]))
    found = {(Path(line["path"]).name, line["finding"], line["detail"].split(":")[0]) for line in check.findings()}
    pipe = {("pipe.jpg", "UnreachableImageError", "it is not a regular file")} if hasattr(os, "mkfifo") else set()
    truncated = next(one for one in check.unreadable if one.path.endswith("01.jpg"))
    assert truncated.error == "TruncatedImageError"
    assert found - {("01.jpg", "TruncatedImageError", truncated.reason)} == pipe | {
        ("text.jpg", "UnknownFormatError", "it is no image but text (it begins with 'hello')"),
        ("copy.jpg", "duplicate", f"the same bytes as {messy / 'china' / '02.jpg'}"),
        ("even.png", "odd", "nearly one colour"),
        ("strip.png", "odd", "tiny"),
        ("strip.png", "odd", "extreme shape"),
        ("other.jpg", "odd", "named .jpg, but PNG inside"),
    }
    counted = check.as_dict()
    assert counted["formats"] == {"JPEG": 24, "PNG": 3}
    assert counted["modes"] == {"RGB": 26, "L": 1}
    assert counted["classes"]["flower"] == 13
    assert counted["width"] == {"least": 160, "median": 160.0, "most": 400}
    assert counted["ignored"] == {".txt": 1}


def test_the_command_says_it_as_text_json_and_csv(messy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(messy), "--csv", str(messy / "f.csv"), "--quiet"]) == 1
    text = capsys.readouterr().out
    assert "formats: JPEG 24, PNG 3" in text
    assert "cannot be read: " in text
    with open(messy / "f.csv", newline="") as file:
        assert "TruncatedImageError" in {line["finding"] for line in csv.DictReader(file)}
    assert cli.main(["check", str(messy), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {one["error"] for one in found["unreadable"]} >= {"TruncatedImageError", "UnknownFormatError"}
    assert [len(group) for group in found["duplicates"]] == [2]


def test_a_source_without_a_flaw_ends_well(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(photo_folder), "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("24 images, 24 readable\n")


def test_a_limit_of_pixels_is_that_of_the_check(photo_folder: Path) -> None:
    check = check_images(find_images([photo_folder]), max_pixels=100)
    assert {one.error for one in check.unreadable} == {"ImageTooLargeError"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert cli.main(["check", str(photo_folder), "--csv", str(tmp_path / "pipe")]) == 1
    assert "it is a device or a pipe" in capsys.readouterr().err
    assert not (tmp_path / "pipe").is_file()


def test_what_is_told_of_addresses_holds_no_secret(
    server: str,  # noqa: F811
    in_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "c2VjcmV0LXZhbHVl0123456789"
    lines = [f"{server}/{name}.jpg?sig={secret}" for name in ("a", "b", "404")]
    Path("list.csv").write_text("\n".join(["path", *lines]) + "\n")
    assert cli.main(["check", "list.csv", "--json", "--csv", "found.csv", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert secret not in out + Path("found.csv").read_text()
    assert json.loads(out)["duplicates"] == [[f"{server}/{name}.jpg?sig=…" for name in ("a", "b")]]
