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

from featx import FeatureExtractor, extract_images, find_duplicates, open_features
from featx.cli import main as cli
from featx.cli.commands import duplicate_lists
from featx.errors import FeaturesError, IncompleteJobWarning, OptionError
from featx.extraction.engines.engine import resolve_precision
from featx.features.npy_part import FeatureFolder
from featx.images.image import content_digest, read_image
from featx.testing import CountingBackbone
from featx.workflows.report.similar_page import max_queries, write_similar
from featx.workflows.search.similar import similar_images
from tests.jobs.job_samples import make_job

pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.fixture(autouse=True)
def _messages_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "show_messages", lambda *_: None)


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


def test_table_of_matches(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = ["photos/china/03.jpg", "photos/flower/20.jpg"]
    assert run("features.npy", *images, "--top", "3", "--include-self") == 0
    out, err = capsys.readouterr()
    assert re.search(r"^photos/china/03.jpg +1  photos/china/03.jpg +1.0000  china +identical file$", out, re.MULTILINE)
    assert out.count("photos/flower/20.jpg ") >= 3
    assert "recipe: that of these rows in the cache" in err
    assert "24 rows of features.npy, exact" in err
    assert "2 in the index" in err


@pytest.mark.parametrize("path", ["photos/china/03.jpg", "./photos/../photos/china/03.jpg", "whole"])
def test_query_is_excluded_but_its_copies_are_not(
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
    assert [len(found["matches"]) for found in (one, copy, new)] == [3, 3, 3]
    assert (one["matches"][0]["path"], one["matches"][0]["identical"]) == ("photos/flower/copy.jpg", True)
    assert (copy["matches"][0]["path"], copy["matches"][0]["identical"]) == ("photos/china/03.jpg", True)
    assert [found["path"] for found in new["matches"][:2]] == ["photos/china/03.jpg", "photos/flower/copy.jpg"]
    assert "3 in the index; 2 not listed as their own matches" in err
    assert run("features.npy", path, "--top", "25", "--json", "--include-self", "--quiet") == 0
    everything = json.loads(capsys.readouterr().out)
    assert len(everything["matches"]) == 25
    assert not everything["self_excluded"]


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_query_that_is_indexed_several_times(index: str, extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
        assert len(one["matches"]) == n_found
        assert paths[0] not in [found["path"] for found in one["matches"]]
        assert [found["rank"] for found in one["matches"]] == list(range(1, n_found + 1))
        assert len(two["matches"]) == min(top, len(listed) - 2)
        assert len(three["matches"]) == min(top, len(listed) - 1)
        assert one["self_excluded"]


SECRET = "c2VjcmV0LXZhbHVl0123456789"


def test_credentials_in_query_urls_are_not_shown(
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
    assert written.count("a.jpg?size=2&amp;sig=…") >= 2  # the tile, and the command
    assert "sig=…" in Path("o.csv").read_text()


def test_credentials_in_indexed_urls_are_not_shown(
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
        digests=[item.hex() for item in digests],
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
    assert '"self_excluded": true' in out  # whatever the signature of the URL


def _fetched(address: str) -> bytes:
    content, _ = read_image(address)
    assert isinstance(content, bytes)
    return content


def test_number_of_images_on_a_page_is_limited(extracted: Path) -> None:
    assert [max_queries(top) for top in (1, 10, 24, 49, 4999, 10**9)] == [200, 200, 200, 100, 1, 1]
    assert max_queries(4, max_images=10) == 2
    paths = sorted(map(str, Path("photos").glob("*/*.jpg")))
    similar = similar_images("features.npy", paths[:2], top=4, cache="c")
    features = similar.search.features
    write_similar(Path("p.html"), similar.results, features, "exact", n_omitted=22, max_images=10)
    text = Path("p.html").read_text()
    assert text.count('class="tile"') == 10
    assert "22 more query images not shown" in text
    similar = similar_images("features.npy", paths[:1], top=12, cache="c")
    write_similar(Path("p.html"), similar.results, features, "exact", max_images=10)
    text = Path("p.html").read_text()
    assert text.count('class="tile"') == 11
    assert "Only the first 10 matches of each query are shown" in text


def test_similar_images_from_python(extracted: Path, counting: CountingBackbone) -> None:
    paths = sorted(map(str, Path("photos").glob("*/*.jpg")))
    similar = similar_images("features.npy", paths[:2], top=3, cache="c")
    assert [result.path for result in similar] == paths[:2]
    assert all(len(result.matches) == 3 and result.self_excluded for result in similar)
    opened = similar_images(open_features("features.npy"), paths[:1], top=3, cache="c")
    assert [match.row for match in opened[0].matches] == [match.row for match in similar[0].matches]
    similar.to_csv("o.csv")
    similar.to_html("o.html")
    assert Path("o.csv").read_text().startswith("path,rank,match,cosine,label,note\n")
    assert Path("o.html").read_text().count('class="tile"') == 8
    assert str(similar).count(paths[0]) >= 3
    itself = similar_images("features.npy", paths[:1], top=1, include_self=True, backbone="counting", cache=None)
    assert [match.path for match in itself[0].matches] == paths[:1]
    other = FeatureExtractor("color_histogram")
    with pytest.raises(FeaturesError, match="has 12 features per row, but 'color_histogram' produces"):
        similar_images("features.npy", paths[:1], backbone=other, cache=None)
    with pytest.raises(OptionError, match=r"on_error \(--on-error\) must be"):
        similar_images("features.npy", paths[:1], on_error="nan")


def test_csv_has_a_line_for_each_match(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("photos/china/03.jpg", "=1+1.jpg")
    Path("bad.jpg").write_bytes(b"")
    assert run("features.npy", "=1+1.jpg", "bad.jpg", "-o", "found.csv", "--top", "2", "--quiet") == 0
    with open("found.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == ["./=1+1.jpg", "./=1+1.jpg", "bad.jpg"]
    assert lines[0]["match"] == "photos/china/03.jpg"
    assert (lines[0]["rank"], lines[0]["cosine"], lines[0]["note"]) == ("1", "1.0000", "identical file")
    assert (lines[2]["match"], lines[2]["note"]) == ("", "the file is empty (0 bytes)")
    assert capsys.readouterr().out == ""


def test_json_has_an_object_for_each_query(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.jpg").write_bytes(b"")
    options = ["--json", "--quiet", "--top", "2", "--include-self"]
    assert run("job", "photos/china/05.jpg", "photos/china/04.jpg", "bad.jpg", *options) == 0
    first, second, bad = map(json.loads, capsys.readouterr().out.splitlines())
    assert not any(item["identical"] for item in first["matches"])  # it failed when the job ran
    assert second["matches"][0] == {
        **{"rank": 1, "path": "photos/china/04.jpg", "cosine": 1.0, "label": "china", "identical": True}
    }
    assert (bad["matches"], bad["error"]) == ([], "the file is empty (0 bytes)")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["csv", "json"])
def test_output_is_replaced_unless_it_is_of_others(options: list[str], extracted: Path) -> None:
    for _ in range(2):
        assert run("features.npy", "photos/china/05.jpg", "-o", "found", "--quiet", *options) == 0
    Path("found").write_text('{"path": "a.png", "label": "cat"}\n')  # a file of the user
    assert run("features.npy", "photos/china/05.jpg", "-o", "found", "--quiet", *options) == 1


def test_recipe_of_a_job(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("job", "photos/china/04.jpg") == 0
    assert "recipe: that of the job." in capsys.readouterr().err
    assert run("job", "photos/china/04.jpg", "--resize", "pad") == 1
    assert "expected resize 'crop', got 'pad'. Remove the extraction options" in capsys.readouterr().err
    assert run("job", "photos/china/04.jpg", "--batch-size", "3") == 0


def test_features_of_another_version(job: Path, photo_folder: Path) -> None:
    """No option was given, so the error does not ask to remove one."""
    path = job / "job.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "recipe": {**manifest["recipe"], "pixels": 3}}))
    query = photo_folder / "china" / "00.jpg"
    with pytest.raises(FeaturesError, match="expected pixels '3', got .*in another way.* Extract the features again.$"):
        similar_images(job, [query])


def test_options_are_verified_on_an_image(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("c")
    assert run("features.npy", "photos/china/04.jpg") == 1
    assert "has 12 features per row, but 'mobilenet' produces 1,024" in capsys.readouterr().err
    assert run("features.npy", "photos/china/04.jpg", "--backbone", "counting") == 0
    assert "counting, output, avg; verified on 'photos/china/00.jpg'" in capsys.readouterr().err
    matrix = np.load("features.npy")
    np.save("features.npy", matrix * np.float32([1, 0] * 6))
    shutil.rmtree("c")
    assert run("features.npy", "photos/china/04.jpg", "--backbone", "counting") == 1
    assert "was not extracted with these options" in capsys.readouterr().err
    shutil.move("photos", "elsewhere")
    assert run("features.npy", "elsewhere/china/04.jpg", "--backbone", "counting") == 0
    assert "not verified" in capsys.readouterr().err


def test_recipe_is_found_by_rows_with_a_digest(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each digest is compared with the row of its own image, even if digests of other images are missing."""
    lines = Path("features.csv").read_text().splitlines(keepends=True)
    lines[1:4] = [
        f"{line.rsplit(',', 1)[0]},{digest}\n" for line, digest in zip(lines[1:4], ("", "x" * 32, "ab"), strict=True)
    ]
    Path("features.csv").write_text("".join(lines))
    assert run("features.npy", "photos/china/04.jpg") == 0
    assert "recipe: that of these rows in the cache" in capsys.readouterr().err


def test_rows_of_other_recipes_stay_in_the_cache(extracted: Path, photo_folder: Path) -> None:
    """Rows with another number of features are not opened as if they had this one, which would quarantine them."""
    paths = sorted(map(str, photo_folder.glob("*/*.jpg")))
    FeatureExtractor("color_histogram", cache="c").fit_transform(paths)
    before = sorted(Path("c").rglob("*.npy"))
    assert len(before) == 2
    assert run("features.npy", "photos/china/04.jpg") == 0
    assert sorted(Path("c").rglob("*.npy")) == before
    assert not list(Path("c").rglob("*.corrupt"))


def test_page_of_a_job_from_another_folder(
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
    assert "1 not listed as its own match" in capsys.readouterr().err
    page = Path("pages/p.html").read_text()
    assert "no longer exist" not in page
    assert f"Relative paths of matches start at {planned_in}." in page
    assert f"Relative paths of query images start at {tmp_path / 'elsewhere'}." in page
    corners = re.findall(r'aria-label="photos/china/04.jpg" style="([^"]*)"', page)
    assert len(corners) == 2
    assert corners[0] != corners[1]  # the query is not shown as its match
    described = json.loads(Path(f"{planned_in}/job/job.json").read_text())
    Path(f"{planned_in}/job/job.json").write_text(json.dumps({**described, "folder": "/not/there/any/more"}))
    monkeypatch.chdir(planned_in)  # as if all files had been moved
    assert run("job", "photos/china/04.jpg", "--html", "p.html", "--quiet") == 0
    assert "no longer exist" not in Path("p.html").read_text()


def test_paths_from_standard_input(
    extracted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.write(write, b"photos/china/03.jpg\nphotos/china/04.jpg\n")
    os.close(write)
    with open(read) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert run("features.npy", "-", "--json", "--quiet") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_page_is_self_contained_and_escapes_names(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("photos/china/03.jpg", '<script>alert(1)&"x".jpg')
    Path("bad<i>.jpg").write_bytes(b"")
    os.unlink("photos/flower/20.jpg")
    images = ['<script>alert(1)&"x".jpg', "bad<i>.jpg"]
    assert run("features.npy", *images, "--html", "p.html", "--top", "24") == 0
    page = Path("p.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&amp;&#34;x&#34;.jpg" in page
    assert "bad&lt;i&gt;.jpg" in page
    assert "1 of 25 images no longer exist at their paths" in page
    assert page.count('class="tile"') == 25
    assert "identical file" in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert run("features.npy", *images, "--html", "p.html", "--quiet") == 0  # its own page is replaced
    Path("other.html").write_text("mine")
    assert run("features.npy", *images, "--html", "other.html") == 1
    assert Path("other.html").read_text() == "mine"


def test_incomplete_job_is_searched_with_a_warning(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (job / "shards" / "00000001.parquet").unlink()
    with pytest.warns(IncompleteJobWarning, match="2 of 3 shards"):
        assert run("job", "photos/china/04.jpg", "--html", "p.html", "--quiet") == 0
    assert "The job is incomplete: only the rows of shards that are done were searched." in Path("p.html").read_text()


def test_on_error_raise(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.jpg").write_bytes(b"")
    assert run("features.npy", "bad.jpg", "--on-error", "raise") == 1
    assert "Cannot read image 'bad.jpg'" in capsys.readouterr().err


def test_duplicates_command_lists_paths(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("photos/china/03.jpg", "photos/flower/=copy.jpg")
    assert cli.main(["extract", "photos", "--backbone", "counting", "--quiet", "--cache", "c"]) == 0
    capsys.readouterr()
    assert cli.main(["duplicates", "features.npy", "--duplicate-threshold", "1", "--csv", "d.csv"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("25 rows: 2 are near-duplicates in 1 group; keeping one of each would remove 1.\n")
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
    assert cli.main(["duplicates", "features.npy", "--duplicate-threshold", "2"]) == 2


def test_tables_are_read_once_for_many_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a group may be in any shard: the table of each shard is read once, not once for each group."""
    rows = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    features = open_features(make_job(tmp_path / "pairs", np.concatenate([rows, rows]), labels=["a"] * 200))
    found = find_duplicates(features, duplicate_threshold=1)
    read: list[str] = []
    open_file = FeatureFolder.open

    def count_tables(folder: FeatureFolder, name: str) -> Any:
        read.append(name)
        return open_file(folder, name)

    monkeypatch.setattr(FeatureFolder, "open", count_tables)
    expected = [[f"photos/{index:05}.jpg", f"photos/{index + 100:05}.jpg"] for index in range(100)]
    assert duplicate_lists.as_dict(found, features)["clusters"] == expected
    assert len(read) == 20
    lines = list(csv.DictReader("".join(duplicate_lists.as_csv(found, features)).splitlines()))
    assert [(line["group"], line["path"]) for line in lines] == [
        (str(number), path) for number, paths in enumerate(expected, 1) for path in paths
    ]
    assert len(read) == 40
    assert "photos/00009.jpg, photos/00109.jpg" in duplicate_lists.as_text(found, features)
    assert len(read) == 42


def test_features_without_rows_are_an_error(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (job / "shards").iterdir():
        path.unlink()
    with pytest.warns(IncompleteJobWarning, match="Complete it: featx job run"):
        assert run("job", "photos/china/04.jpg", "--quiet") == 1
    assert "it has no rows. If it is a job, run it first: featx job run" in capsys.readouterr().err


def test_query_has_the_precision_of_the_rows(photo_folder: Path, in_folder: Path) -> None:
    paths = sorted(map(str, photo_folder.glob("*/*.jpg")))[:4]
    for precision in ("int8", "float32"):
        extract_images(paths, f"{precision}.npy", precision=precision, cache=None)
        found = similar_images(f"{precision}.npy", paths[:1], include_self=True, cache=None)
        assert found[0].matches[0].cosine > 0.9999  # no other precision gives the same row
        if precision != resolve_precision("auto", "openvino"):
            assert f"in the precision of its row, {precision}" in found.search.description
    forced = similar_images("int8.npy", paths[:1], include_self=True, precision="float32", cache=None)
    assert "whose row has another precision than float32 (cosine similarity 0.9" in forced.search.description
