from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, cli, open_features
from featx.errors import UnfinishedWarning
from featx.images import digest
from tests.conftest import CountingBackbone
from tests.jobs import make_job

pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.fixture(autouse=True)
def _messages_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "show_messages", lambda quiet: None)


@pytest.fixture
def extracted(photo_folder: Path, counting: CountingBackbone) -> Path:
    """Photos, and a features.npy of them beside which the cache has the rows."""
    shutil.copytree(photo_folder, "photos")
    assert cli.main(["extract", "photos", "--backbone", "counting", "--quiet", "--cache", "c"]) == 0
    return Path("features.npy")


@pytest.fixture
def job(photo_folder: Path, counting: CountingBackbone) -> Path:
    """A job of the same photos, of which one could not be read."""
    shutil.copytree(photo_folder, "photos")
    paths = sorted(map(str, Path("photos").glob("*/*.jpg")))
    extractor = FeatureExtractor("counting", resize="crop", cache=None).fit(paths)
    return make_job(
        Path("job"),
        extractor.transform(paths),
        paths=paths,
        labels=[path.split("/")[1] for path in paths],
        digests=[digest(Path(path).read_bytes()).hex() for path in paths],
        failed=[5],
        recipe=extractor.recipe_,
        options={"backbone": "counting", "resize": "crop"},
    )


def run(*args: str) -> int:
    return cli.main(["similar", *args, "--cache", "c"])


def test_a_table_names_what_is_similar(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("features.npy", "photos/china/03.jpg", "photos/flower/20.jpg", "--top", "3") == 0
    out, err = capsys.readouterr()
    assert re.search(r"^photos/china/03.jpg +1  photos/china/03.jpg +1.0000  china +the same image$", out, re.MULTILINE)
    assert out.count("photos/flower/20.jpg ") >= 3
    assert "the recipe that the cache has of these rows" in err
    assert "24 rows of features.npy, exact" in err
    assert "2 of them among the features themselves" in err


def test_csv_has_a_line_for_each_and_hostile_names_are_harmless(
    extracted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy("photos/china/03.jpg", "=1+1.jpg")
    Path("bad.jpg").write_bytes(b"")
    assert run("features.npy", "=1+1.jpg", "bad.jpg", "-o", "found.csv", "--top", "2", "--quiet") == 0
    with open("found.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == ["./=1+1.jpg", "./=1+1.jpg", "bad.jpg"]
    assert lines[0]["found"] == "photos/china/03.jpg"
    assert (lines[0]["rank"], lines[0]["cosine"], lines[0]["note"]) == ("1", "1.0000", "the same image")
    assert (lines[2]["found"], lines[2]["note"]) == ("", "it is empty (0 bytes)")
    assert capsys.readouterr().out == ""


def test_json_has_an_object_for_each(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.jpg").write_bytes(b"")
    assert run("job", "photos/china/05.jpg", "photos/china/04.jpg", "bad.jpg", "--json", "--quiet", "--top", "2") == 0
    first, second, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert not any(one["same"] for one in first["found"])  # it failed when the job ran
    assert second["found"][0] == {
        **{"rank": 1, "path": "photos/china/04.jpg", "cosine": 1.0, "label": "china", "same": True}
    }
    assert (bad["found"], bad["error"]) == ([], "it is empty (0 bytes)")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["csv", "json"])
def test_what_was_found_is_written_again(options: list[str], extracted: Path) -> None:
    for _ in range(2):
        assert run("features.npy", "photos/china/05.jpg", "-o", "found", "--quiet", *options) == 0
    Path("found").write_text('{"path": "a.png", "label": "cat"}\n')  # somebody's own
    assert run("features.npy", "photos/china/05.jpg", "-o", "found", "--quiet", *options) == 1


def test_the_recipe_is_that_of_the_job(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("job", "photos/china/04.jpg") == 0
    assert "recipe: the job's recipe." in capsys.readouterr().err
    assert run("job", "photos/china/04.jpg", "--resize", "pad") == 1
    assert "resize 'crop', not 'pad'. Leave options of extraction out" in capsys.readouterr().err
    assert run("job", "photos/china/04.jpg", "--batch-size", "3") == 0


def test_options_of_a_matrix_are_checked_on_one_of_its_images(
    extracted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("c")
    assert run("features.npy", "photos/china/04.jpg") == 1
    assert "has 12 features, and 'mobilenet' gives 1,024" in capsys.readouterr().err
    assert run("features.npy", "photos/china/04.jpg", "--backbone", "counting") == 0
    assert "counting, output, avg; checked on 'photos/china/00.jpg'" in capsys.readouterr().err
    matrix = np.load("features.npy")
    np.save("features.npy", matrix * np.float32([1, 0] * 6))
    shutil.rmtree("c")
    assert run("features.npy", "photos/china/04.jpg", "--backbone", "counting") == 1
    assert "was not extracted as these options say" in capsys.readouterr().err
    shutil.move("photos", "elsewhere")
    assert run("features.npy", "elsewhere/china/04.jpg", "--backbone", "counting") == 0
    assert "not checked" in capsys.readouterr().err


def test_paths_come_on_standard_input(
    extracted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.write(write, b"photos/china/03.jpg\nphotos/china/04.jpg\n")
    os.close(write)
    with open(read) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run("features.npy", "-", "--json", "--quiet") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_page_needs_nothing_else_and_escapes_names(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("photos/china/03.jpg", '<script>alert(1)&"x".jpg')
    Path("bad<i>.jpg").write_bytes(b"")
    os.unlink("photos/flower/20.jpg")
    images = ['<script>alert(1)&"x".jpg', "bad<i>.jpg"]
    assert run("features.npy", *images, "--html", "p.html", "--top", "24") == 0
    page = Path("p.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&amp;&#34;x&#34;.jpg" in page
    assert "bad&lt;i&gt;.jpg" in page
    assert "1 of 25 images are no longer where they were extracted from" in page
    assert page.count('class="tile"') == 25
    assert "the same image" in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert run("features.npy", *images, "--html", "p.html", "--quiet") == 0  # its own page is replaced
    Path("other.html").write_text("mine")
    assert run("features.npy", *images, "--html", "other.html") == 1
    assert Path("other.html").read_text() == "mine"


def test_an_unfinished_job_is_searched_with_a_warning(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "shards" / "00000001.parquet").unlink()
    with pytest.warns(UnfinishedWarning, match="2 of 3 shards"):
        assert run("job", "photos/china/04.jpg", "--html", "p.html", "--quiet") == 0
    assert "The job is not finished" in Path("p.html").read_text()


def test_on_error_raise_stops_at_an_unreadable_image(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.jpg").write_bytes(b"")
    assert run("features.npy", "bad.jpg", "--on-error", "raise") == 1
    assert "Cannot read image 'bad.jpg'" in capsys.readouterr().err


def test_duplicates_are_listed_with_their_paths(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("photos/china/03.jpg", "photos/flower/=copy.jpg")
    assert cli.main(["extract", "photos", "--backbone", "counting", "--quiet", "--cache", "c"]) == 0
    capsys.readouterr()
    assert cli.main(["duplicates", "features.npy", "--near", "1", "--csv", "d.csv"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("25 rows: 2 are near-duplicates in 1 group; with one of each kept, 1 would go.\n")
    assert "photos/china/03.jpg, photos/flower/=copy.jpg" in out
    lines = list(csv.DictReader(io.StringIO(Path("d.csv").read_text())))
    assert [(line["group"], line["path"], line["label"], line["cosine"]) for line in lines] == [
        ("1", "photos/china/03.jpg", "china", "1.000000"),
        ("1", "photos/flower/=copy.jpg", "flower", "1.000000"),
    ]
    assert lines[0]["digest"] == lines[1]["digest"] == open_features("features.npy").digests[3]
    assert cli.main(["duplicates", "features.npy", "--near", "1", "--json", "--quiet"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["groups"], found["in_groups"], found["complete"]) == (25, 1, 2, True)
    assert found["clusters"] == [["photos/china/03.jpg", "photos/flower/=copy.jpg"]]
    assert cli.main(["duplicates", "features.npy", "--near", "2"]) == 1


def test_features_without_rows_are_not_searched(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (job / "shards").iterdir():
        path.unlink()
    with pytest.warns(UnfinishedWarning, match="Finish it: featx job run"):
        assert run("job", "photos/china/04.jpg", "--quiet") == 1
    assert "has no rows to search. If it is a job: featx job run" in capsys.readouterr().err
