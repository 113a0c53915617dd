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

from featx import FeatureExtractor, find_duplicates, open_features
from featx.cli import main as cli
from featx.cli.commands import duplicate_lists
from featx.errors import UnfinishedWarning
from featx.features import shard_table as feature_tables
from featx.images.image import content_digest, read_image
from featx.testing import CountingBackbone
from featx.workflows.report import similar_page as page
from tests.jobs.job_samples import make_job

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
        digests=[content_digest(Path(path).read_bytes()).hex() for path in paths],
        failed=[5],
        recipe=extractor.recipe_,
        options={"backbone": "counting", "resize": "crop"},
    )


def run(*args: str) -> int:
    return cli.main(["similar", *args, "--cache", "c"])


def test_a_table_names_what_is_similar(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = ["photos/china/03.jpg", "photos/flower/20.jpg"]
    assert run("features.npy", *images, "--top", "3", "--include-self") == 0
    out, err = capsys.readouterr()
    assert re.search(r"^photos/china/03.jpg +1  photos/china/03.jpg +1.0000  china +the same image$", out, re.MULTILINE)
    assert out.count("photos/flower/20.jpg ") >= 3
    assert "the recipe that the cache has of these rows" in err
    assert "24 rows of features.npy, exact" in err
    assert "2 of them among the features themselves" in err


@pytest.mark.parametrize("path", ["photos/china/03.jpg", "./photos/../photos/china/03.jpg", "whole"])
def test_an_image_takes_no_place_among_those_similar_to_it_but_its_copies_do(
    path: str, extracted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = os.path.abspath("photos/china/03.jpg") if path == "whole" else path
    shutil.copy("photos/china/03.jpg", "photos/flower/copy.jpg")
    assert cli.main(["extract", "photos", "--backbone", "counting", "--quiet", "--cache", "c"]) == 0
    capsys.readouterr()
    assert run("features.npy", path, "photos/flower/copy.jpg", "new.jpg", "--top", "3", "--json") == 1
    shutil.copy("photos/china/03.jpg", "new.jpg")
    capsys.readouterr()
    assert run("features.npy", path, "photos/flower/copy.jpg", "new.jpg", "--top", "3", "--json") == 0
    out, err = capsys.readouterr()
    one, copy, new = map(json.loads, out.splitlines())
    assert (one["self_excluded"], copy["self_excluded"], new["self_excluded"]) == (True, True, False)
    assert [len(found["found"]) for found in (one, copy, new)] == [3, 3, 3]
    assert (one["found"][0]["path"], one["found"][0]["same"]) == ("photos/flower/copy.jpg", True)
    assert (copy["found"][0]["path"], copy["found"][0]["same"]) == ("photos/china/03.jpg", True)
    assert [found["path"] for found in new["found"][:2]] == ["photos/china/03.jpg", "photos/flower/copy.jpg"]
    assert "3 of them among the features themselves; 2 not listed for itself (--include-self)" in err
    assert run("features.npy", path, "--top", "25", "--json", "--include-self", "--quiet") == 0
    everything = json.loads(capsys.readouterr().out)
    assert len(everything["found"]) == 25
    assert not everything["self_excluded"]


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_an_image_that_is_listed_several_times_leaves_as_many_as_are_wanted(
    index: str, extracted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if index == "faiss":
        pytest.importorskip("faiss")
    paths = sorted(map(str, Path("photos").glob("*/*.jpg")))
    listed = [*[paths[0]] * 7, *paths, paths[1]]
    Path("list.csv").write_text("\n".join(["path", *listed]) + "\n")
    assert cli.main(["extract", "list.csv", "--backbone", "counting", "--quiet", "--cache", "c"]) == 0
    for top, n_found in ((3, 3), (20, 20), (60, len(listed) - 8)):
        capsys.readouterr()
        options = ["--top", str(top), "--json", "--quiet", "--index", index]
        assert run("features.npy", paths[0], paths[1], paths[2], *options) == 0
        one, two, three = map(json.loads, capsys.readouterr().out.splitlines())
        assert len(one["found"]) == n_found
        assert paths[0] not in [found["path"] for found in one["found"]]
        assert [found["rank"] for found in one["found"]] == list(range(1, n_found + 1))
        assert len(two["found"]) == min(top, len(listed) - 2)
        assert len(three["found"]) == min(top, len(listed) - 1)
        assert one["self_excluded"]


SECRET = "c2VjcmV0LXZhbHVl0123456789"


def test_no_address_with_a_secret_is_written_or_printed(
    server: str,
    extracted: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"{server}/a.jpg?size=2&sig={SECRET}"
    capsys.readouterr()
    for output in (["-o", "o.csv", "--html", "p.html"], ["--json"], []):
        assert run("features.npy", address, "--top", "2", *output) == 0
    out, err = capsys.readouterr()
    written = out + err + Path("o.csv").read_text() + Path("p.html").read_text()
    assert SECRET not in written
    assert written.count("a.jpg?size=2&amp;sig=…") >= 2  # the tile, and what was run
    assert "sig=…" in Path("o.csv").read_text()


def test_addresses_among_the_features_are_shown_without_their_secrets(
    server: str,
    tmp_path: Path,
    counting: CountingBackbone,
    capsys: pytest.CaptureFixture[str],
) -> None:
    addresses = [f"{server}/{name}.jpg?sig={SECRET}" for name in "aab"]
    extractor = FeatureExtractor("counting", cache=None).fit(addresses)
    digests = [content_digest(image) for image in map(_fetched, addresses)]
    make_job(
        Path("job"),
        extractor.transform(addresses),
        paths=addresses,
        digests=[one.hex() for one in digests],
        recipe=extractor.recipe_,
        options={"backbone": "counting"},
    )
    for output in (["-o", "o.csv", "--html", "p.html"], ["--json"], []):
        assert run("job", addresses[2].replace(SECRET, SECRET[::-1]), *output) == 0
    for output in (["--csv", "d.csv", "--json"], []):
        assert cli.main(["duplicates", "job", *output]) == 0
    out, err = capsys.readouterr()
    written = out + err + "".join(Path(name).read_text() for name in ("o.csv", "p.html", "d.csv"))
    assert SECRET not in written
    assert SECRET[::-1] not in written
    assert '"self_excluded": true' in out  # whoever signed the address


def _fetched(address: str) -> bytes:
    content, _ = read_image(address)
    assert isinstance(content, bytes)
    return content


def test_a_page_has_room_for_some_thousand_images(
    extracted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [page.most_answers(top) for top in (1, 10, 24, 49, 4999, 10**9)] == [200, 200, 200, 100, 1, 1]
    monkeypatch.setattr(page, "_MOST_SHOWN", 10)
    assert run("features.npy", "photos", "--top", "4", "--html", "p.html", "-o", "o.csv") == 0
    text = Path("p.html").read_text()
    assert text.count('class="tile"') == 10
    assert "22 images more were looked for" in text
    assert run("features.npy", "photos/china/03.jpg", "--top", "12", "--html", "p.html", "-o", "o.csv") == 0
    text = Path("p.html").read_text()
    assert text.count('class="tile"') == 11
    assert "Of what was found for each image, the first 10 are shown" in text
    assert len(Path("o.csv").read_text().splitlines()) == 13


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
    assert (lines[2]["found"], lines[2]["note"]) == ("", "the file is empty (0 bytes)")
    assert capsys.readouterr().out == ""


def test_json_has_an_object_for_each(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.jpg").write_bytes(b"")
    options = ["--json", "--quiet", "--top", "2", "--include-self"]
    assert run("job", "photos/china/05.jpg", "photos/china/04.jpg", "bad.jpg", *options) == 0
    first, second, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert not any(one["same"] for one in first["found"])  # it failed when the job ran
    assert second["found"][0] == {
        **{"rank": 1, "path": "photos/china/04.jpg", "cosine": 1.0, "label": "china", "same": True}
    }
    assert (bad["found"], bad["error"]) == ([], "the file is empty (0 bytes)")


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


def test_the_recipe_is_found_by_rows_whose_digest_is_known(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each digest is compared with the row of its own image, whatever is not known of others."""
    lines = Path("features.csv").read_text().splitlines(keepends=True)
    lines[1:4] = [
        f"{line.rsplit(',', 1)[0]},{digest}\n" for line, digest in zip(lines[1:4], ("", "x" * 32, "ab"), strict=True)
    ]
    Path("features.csv").write_text("".join(lines))
    assert run("features.npy", "photos/china/04.jpg") == 0
    assert "the recipe that the cache has of these rows" in capsys.readouterr().err


def test_the_page_of_a_job_shows_its_images_from_any_folder(
    job: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned_in = os.getcwd()
    described = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(json.dumps({**described, "folder": planned_in}))
    (tmp_path / "elsewhere" / "photos" / "china").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.copy(f"{planned_in}/photos/flower/20.jpg", "photos/china/04.jpg")  # another image of the same relative path
    images = [f"{planned_in}/photos/china/04.jpg", "photos/china/04.jpg"]
    assert run(f"{planned_in}/job", *images, "--html", "pages/p.html", "--top", "3", "--quiet") == 1
    os.mkdir("pages")
    assert run(f"{planned_in}/job", *images, "--html", "pages/p.html", "--top", "30") == 0
    assert "1 not listed for itself" in capsys.readouterr().err
    page = Path("pages/p.html").read_text()
    assert "no longer where" not in page
    assert f"Relative paths of images that were found start at {planned_in}." in page
    assert f"Relative paths of images that were looked for start at {tmp_path / 'elsewhere'}." in page
    corners = re.findall(r'aria-label="photos/china/04.jpg" style="([^"]*)"', page)
    assert len(corners) == 2
    assert corners[0] != corners[1]  # what was looked for is not shown as what was found
    described = json.loads(Path(f"{planned_in}/job/job.json").read_text())
    Path(f"{planned_in}/job/job.json").write_text(json.dumps({**described, "folder": "/not/there/any/more"}))
    monkeypatch.chdir(planned_in)  # all of it was moved, say
    assert run("job", "photos/china/04.jpg", "--html", "p.html", "--quiet") == 0
    assert "no longer where" not in Path("p.html").read_text()


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
    assert cli.main(["duplicates", "features.npy", "--duplicate-threshold", "1", "--csv", "d.csv"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("25 rows: 2 are near-duplicates in 1 group; with one of each kept, 1 would go.\n")
    assert "photos/china/03.jpg, photos/flower/=copy.jpg" in out
    lines = list(csv.DictReader(io.StringIO(Path("d.csv").read_text())))
    assert [(line["group"], line["path"], line["label"], line["cosine"]) for line in lines] == [
        ("1", "photos/china/03.jpg", "china", "1.000000"),
        ("1", "photos/flower/=copy.jpg", "flower", "1.000000"),
    ]
    assert lines[0]["digest"] == lines[1]["digest"] == open_features("features.npy").digests[3]
    assert cli.main(["duplicates", "features.npy", "--duplicate-threshold", "1", "--json", "--quiet"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["groups"], found["in_groups"], found["complete"]) == (25, 1, 2, True)
    assert found["clusters"] == [["photos/china/03.jpg", "photos/flower/=copy.jpg"]]
    assert cli.main(["duplicates", "features.npy", "--duplicate-threshold", "2"]) == 1


def test_many_groups_are_looked_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a group lie anywhere: the table of each shard is read once, not once for each group."""
    rows = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    features = open_features(make_job(tmp_path / "pairs", np.concatenate([rows, rows]), labels=["a"] * 200))
    found = find_duplicates(features, duplicate_threshold=1)
    read: list[str] = []
    columns = feature_tables._columns
    monkeypatch.setattr(
        feature_tables, "_columns", lambda place, name, *args: read.append(name) or columns(place, name, *args)
    )
    expected = [[f"photos/{at:05}.jpg", f"photos/{at + 100:05}.jpg"] for at in range(100)]
    assert duplicate_lists.as_dict(found, features)["clusters"] == expected
    assert len(read) == 20
    lines = list(csv.DictReader("".join(duplicate_lists.as_csv(found, features)).splitlines()))
    assert [(line["group"], line["path"]) for line in lines] == [
        (str(number), path) for number, paths in enumerate(expected, 1) for path in paths
    ]
    assert len(read) == 40
    assert "photos/00009.jpg, photos/00109.jpg" in duplicate_lists.as_text(found, features)
    assert len(read) == 42


def test_features_without_rows_are_not_searched(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (job / "shards").iterdir():
        path.unlink()
    with pytest.warns(UnfinishedWarning, match="Finish it: featx job run"):
        assert run("job", "photos/china/04.jpg", "--quiet") == 1
    assert "has no rows to search. If it is a job: featx job run" in capsys.readouterr().err
