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
from featx.datasets.image_check.check import check_images
from featx.errors import OptionError


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


def test_findings(messy: Path) -> None:
    check = check_images(messy)
    found = {(Path(line["path"]).name, line["finding"], line["detail"].split(":")[0]) for line in check.findings()}
    pipe = {("pipe.jpg", "UnreachableImageError", "the path is not a regular file")} if hasattr(os, "mkfifo") else set()
    truncated = next(image for image in check.unreadable if image.path.endswith("01.jpg"))
    assert truncated.error == "TruncatedImageError"
    assert found - {("01.jpg", "TruncatedImageError", truncated.reason)} == pipe | {
        ("text.jpg", "UnknownFormatError", "the file is not an image but text"),
        ("copy.jpg", "duplicate", f"same bytes as {messy / 'china' / '02.jpg'}"),
        ("even.png", "unusual", "nearly one color"),
        ("strip.png", "unusual", "tiny"),
        ("strip.png", "unusual", "extreme aspect ratio"),
        ("other.jpg", "unusual", "suffix is .jpg, but the format is PNG"),
    }
    summary = check.as_dict()
    assert summary["formats"] == {"JPEG": 24, "PNG": 3}
    assert summary["modes"] == {"RGB": 26, "L": 1}
    assert summary["classes"]["flower"] == 13
    assert summary["width"] == {"min": 160, "median": 160.0, "max": 400}
    assert summary["ignored"] == {".txt": 1}


def test_pages_and_tags_in_one_text_are_found(tmp_path: Path) -> None:
    pages = [PIL.Image.new("RGB", (64, 64), color) for color in ("red", "blue", "green")]
    pages[0].save(tmp_path / "1.tif", save_all=True, append_images=pages[1:])
    pages[1].save(tmp_path / "2.tif")
    (tmp_path / "t.csv").write_text("path,label\n1.tif,a;b\n2.tif,a\n2.tif,b\n")
    check = check_images(tmp_path / "t.csv")
    assert check.images[0].unusual[0] == "several pages: the first of 3 is read"
    assert not any("pages" in detail for detail in check.images[1].unusual)
    assert any("label_separator=';'" in note for note in check.notes)


def test_identical_images_with_different_labels_are_noted(photo_folder: Path) -> None:
    shutil.copy(photo_folder / "china" / "00.jpg", photo_folder / "flower" / "x.jpg")
    (note,) = check_images(photo_folder).notes
    assert note.startswith("1 group of identical images with different labels, such as ")
    assert "00.jpg (china)" in note
    assert note.endswith("x.jpg (flower).")


def test_images_without_a_label_are_counted(photo_folder: Path) -> None:
    (photo_folder / "1.jpg").symlink_to(next(photo_folder.glob("china/*.jpg")))
    text = check_images(photo_folder).as_text()
    assert "china 12, flower 12; 1 without a label" in text
    assert "have no label: they are next to class folders" in text.replace("\n  ", " ")


def test_command_prints_text_json_and_csv(messy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(messy), "--csv", str(messy / "f.csv"), "--quiet"]) == 1
    text = capsys.readouterr().out
    assert "formats: JPEG 24, PNG 3" in text
    assert "unreadable: " in text
    with open(messy / "f.csv", newline="") as file:
        assert "TruncatedImageError" in {line["finding"] for line in csv.DictReader(file)}
    assert cli.main(["check", str(messy), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert {image["error"] for image in report["unreadable"]} >= {"TruncatedImageError", "UnknownFormatError"}
    assert [len(group) for group in report["duplicates"]] == [2]


def test_command_without_findings(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(photo_folder), "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("24 images, 24 readable\n")


def test_max_pixels(photo_folder: Path) -> None:
    check = check_images([photo_folder], max_pixels=100)
    assert {image.error for image in check.unreadable} == {"ImageTooLargeError"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_device_or_pipe_is_not_overwritten(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert cli.main(["check", str(photo_folder), "--csv", str(tmp_path / "pipe")]) == 1
    assert "it is a device or a pipe" in capsys.readouterr().err
    assert not (tmp_path / "pipe").is_file()


def test_secrets_in_urls_are_not_shown(
    server: str,
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


def test_results_of_check(messy: Path) -> None:
    check = check_images(messy)
    assert repr(check).startswith(f"<ImageCheck: {len(check.images)} images; unreadable ")
    assert check.to_frame().to_dict("records") == list(check.findings())
    with pytest.raises(OptionError, match=r"max_pixels \(--max-pixels\) must be an integer of at least 1, got 0"):
        check_images(messy, max_pixels=0)


def test_numeric_classes_are_separated_from_their_counts(tmp_path: Path) -> None:
    for name in ("1", "3"):
        (tmp_path / name).mkdir()
        PIL.Image.new("RGB", (16, 16), "teal").save(tmp_path / name / "a.png")
    assert "classes: 1: 1, 3: 1" in check_images(tmp_path).as_text()
