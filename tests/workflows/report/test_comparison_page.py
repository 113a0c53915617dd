from __future__ import annotations

import functools
import http.server
import io
import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from featx.cli import main as cli
from featx.datasets.find import find_images
from featx.datasets.image_table import ImageTable
from featx.errors import OutputError
from featx.images.thumbnails import make_atlas
from featx.system.formatting import shorten
from featx.testing import CountingBackbone
from featx.workflows.report.charts import class_style, scores_chart
from tests.workflows.report.helpers import HOSTILE, report, write_colored_images


@pytest.mark.usefixtures("counting")
def test_page_is_self_contained(photo_folder: Path, tmp_path: Path) -> None:
    text = report(find_images([photo_folder]), tmp_path / "r.html")
    without_libraries = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", without_libraries)
    assert "default-src 'none'" in text
    for words in (
        " on 24 images of 2 classes",
        "95 % interval",
        "featx compare photos",
        "Learning curve",
        "logreg",
    ):
        assert words in without_libraries, words
    assert json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["classes"] == ["china", "flower"]  # type: ignore[index]


@pytest.mark.usefixtures("counting")
def test_page_shows_no_credentials(photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "c2VjcmV0LXZhbHVl0123456789"
    handler = functools.partial(QuietHandler, directory=str(photo_folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            paths = sorted(path.relative_to(photo_folder) for path in photo_folder.glob("*/*.jpg"))
            addresses = [f"http://127.0.0.1:{server.server_port}/{path}?sig={secret}" for path in paths]
            lines = [f"{address},{path.parent}" for address, path in zip(addresses, paths, strict=True)]
            (photo_folder / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
            table_url = addresses[0].replace(str(paths[0]), "list.csv")
            options = ["--backbone", "counting", "--estimator", "knn", "--cv", "3", "--no-cache", "--quiet"]
            assert cli.main(["compare", table_url, "--report", "r.html", "--json", *options]) == 0
        finally:
            server.shutdown()
    text = Path("r.html").read_text()
    out = capsys.readouterr().out
    assert secret not in text + out
    assert json.loads(out)["rows"] == 24
    assert "list.csv?sig=…" in text  # the command
    assert "00.jpg?sig=…" in text


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.mark.usefixtures("counting")
def test_hostile_names_are_text(tmp_path: Path) -> None:
    labels = [HOSTILE[number % 4] for number in range(40)]
    text = report(write_colored_images(tmp_path / "photos", labels), tmp_path / "r.html")
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "x" * 61 not in text
    assert text.count("</script>") == len(re.findall(r"<script[ >]", text))


def test_112_class_styles_differ() -> None:
    styles = [class_style(index) for index in range(112)]
    assert len({(style.color, style.fill, style.marker) for style in styles}) == 112
    assert len({(style.color, style.character) for style in styles}) == 112


def test_long_names_keep_their_end() -> None:
    assert shorten("a/" * 100 + "photo.jpg", 20) == "…a/a/a/a/a/photo.jpg"
    assert shorten("a\nb\u202ec") == "a\ufffdb\ufffdc"


@pytest.mark.usefixtures("counting")
def test_report_cannot_be_written(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Choose another file"):
        report(find_images([photo_folder]), tmp_path)


def test_atlas_is_gray_where_images_are_missing(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.png") for number in range(5)]
    for number, path in enumerate(paths[:4]):
        PIL.Image.new("RGB", (30, 20), (60 * number, 0, 0)).save(path)
    atlas = make_atlas(paths)
    sheet = np.asarray(PIL.Image.open(io.BytesIO(atlas.data)))
    for number in range(5):
        row, column = divmod(number, atlas.n_columns)
        middle = sheet[row * atlas.side + atlas.side // 2, column * atlas.side + atlas.side // 2]
        expected = [60 * number, 0, 0] if number < 4 else [128] * 3
        assert np.abs(middle.astype(int) - expected).max() < 12, number


@pytest.mark.thorough
def test_report_of_5001_photos_is_smaller_than_8_mb(
    ucmerced: list[str], counting: CountingBackbone, tmp_path: Path
) -> None:
    paths, labels = [], []
    for angle in range(0, 90, 15):
        for number, path in enumerate(ucmerced):
            paths.append(str(tmp_path / f"{'🦜' * 50} {angle} {number}.jpg"))
            PIL.Image.open(path).rotate(angle).save(paths[-1])
            labels.append(Path(path).parent.name)
    text = report(ImageTable(paths[:5001], labels[:5001]), tmp_path / "r.html", estimators=["knn"])
    assert "5,000 of 5,001 images are shown" in text
    assert os.path.getsize(tmp_path / "r.html") <= 8_000_000


@pytest.mark.parametrize(("dummy", "start"), [(0.05, 0.9), (0.8, 0.8)])
def test_dummy_far_below_does_not_hide_differences(dummy: float, start: float) -> None:
    scores = {"low": [dummy, 0.9, 0.95], "accuracy_mean": [dummy, 0.92, 0.97], "high": [dummy, 0.94, 0.99]}
    table = pd.DataFrame({"estimator": ["dummy", "knn", "svm"], "verdict": ["worse", "tie", "best"], **scores})
    figure = scores_chart(["dummy", "knn", "svm"], table, "accuracy", "accuracy")
    assert start - 0.02 < figure.x_range.start < start
    assert 0.99 < figure.x_range.end < 1.01
    texts = [label.text for label in figure.center if hasattr(label, "text")]
    assert texts == ["dummy: 0.050, outside of the plot" if dummy < 0.1 else "dummy", "knn", "svm"]
