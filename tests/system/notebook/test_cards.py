from __future__ import annotations

import dataclasses
import http.server
import io
import re
import threading
from html import escape
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression

import featx
from featx.system.notebook.html import MAX_CHARACTERS, TextResult, table_to_html, text_to_html

HOSTILE = "<script>alert(1)</script>\"'.jpg"


def test_text_and_cells_are_escaped_and_have_no_colors_of_their_own() -> None:
    for html in (text_to_html(HOSTILE), table_to_html([{HOSTILE: HOSTILE}], HOSTILE, [HOSTILE])):
        assert "<script>" not in html
        assert "\"'.jpg" not in html
        assert not re.search(r"#[0-9a-f]{3,6};|white;|black;", html)


def test_long_text_is_cut() -> None:
    assert len(text_to_html("a" * 10 * MAX_CHARACTERS)) < MAX_CHARACTERS + 300


#: Classes that are no results: backbones, options, the labels of an image, and the tool that predicts.
NO_RESULTS = {"Backbone", "DirectBackbone", "ExtractionParameters", "KerasBackbone", "Predictor", "ScaleLimits", "Tags"}


def test_every_public_result_is_shown_in_notebooks() -> None:
    classes = {name: value for name in featx.__all__ if isinstance(value := getattr(featx, name), type)}
    shown = {name for name, value in classes.items() if hasattr(value, "_repr_html_") or hasattr(value, "_repr_png_")}
    assert set(classes) - shown == NO_RESULTS


def hostile_results() -> list[object]:
    """Results whose names and labels are HTML."""
    recipe = featx.Recipe(HOSTILE, "9c4f", (224, 224), HOSTILE, "avg", "squash", "float32")
    failure = featx.Failure(0, HOSTILE, HOSTILE)
    rows = np.random.default_rng(0).normal(size=(40, 8))
    labels = np.array([HOSTILE, "b"])[np.arange(40) % 2]
    card = featx.ModelCard(HOSTILE, "classification", [HOSTILE], {HOSTILE: 3}, 3, 8, {}, recipe.as_dict(), {}, {}, "")
    return [
        recipe,
        failure,
        card,
        featx.ImageTable([HOSTILE, "b"], [HOSTILE, None], notes=(HOSTILE,), ignored={HOSTILE: 2}),
        featx.ImageRow(HOSTILE, HOSTILE, None),
        featx.Prediction(HOSTILE, HOSTILE, [(HOSTILE, 0.9), ("b", 0.1)], 1.4),
        featx.Prediction(HOSTILE, None, [], None, HOSTILE),
        featx.Explanation(HOSTILE, None, HOSTILE),
        featx.ImageMatches(HOSTILE, [featx.Match(1, HOSTILE, 0.5, HOSTILE, False)]),
        featx.Progress(HOSTILE, 1, 2, HOSTILE, 0.5, HOSTILE),
        featx.compare_baselines(rows, labels, estimators={HOSTILE: LogisticRegression()}, cv=2, n_jobs=1),
        featx.rank_features({HOSTILE: rows, "b": rows[:, :3]}, labels),
        featx.find_duplicates(rows),
        featx.find_similar(rows, rows[:2]),
    ]


def test_results_are_escaped_and_run_no_script() -> None:
    for result in hostile_results():
        html = result._repr_html_()  # type: ignore[attr-defined]
        assert html, type(result)
        assert "<script" not in html, type(result)
        assert "alert(1)</" not in html
        assert not re.search(r"(?<!-)color:(?!inherit)", html), type(result)  # the page has the colors
        assert not re.search(r"\son\w+=|javascript:|https?://", html)


def test_a_comparison_shows_the_best_its_interval_and_the_notes(photo_folder: Path) -> None:
    images = featx.find_images(photo_folder)
    shared: dict[str, object] = {"cv": 3, "cache": None, "duplicate_threshold": 1}
    comparison = featx.compare_images(images, backbones=["color_histogram"], estimators=["dummy", "knn"], **shared)
    trained = featx.train_images(images, backbone="color_histogram", estimator="knn", **shared)
    ranking = featx.rank_images(images, backbones=["color_histogram"], cache=None, duplicate_threshold=1)
    for result in (comparison, trained):
        html = result._repr_html_()
        assert "knn on color_histogram" in html
        assert "95 % interval" in html
        assert "font-weight:700" in html
        assert all(escape(note) in html for note in result.notes)
    assert "color_histogram" in ranking._repr_html_()
    assert "24 images, 2 classes" in comparison._repr_html_()
    table = images._repr_html_()
    assert table.count("data:image/webp") == 8  # every third
    assert "china (12), flower (12)" in table


def test_the_status_of_a_job_has_a_bar_for_each_state(photo_folder: Path, tmp_path: Path) -> None:
    job = tmp_path / "<job>"
    featx.plan_job(photo_folder, job, backbone="color_histogram", shard_size=10, sample=0, cache=None)
    html = featx.job_status(job)._repr_html_()
    assert "left: 3" in html
    assert "left: 24" in html
    assert "done:" not in html
    featx.run_job(job, cache=None)
    html = featx.job_status(job)._repr_html_()
    assert "done: 3" in html
    assert "done: 24" in html
    assert "left:" not in html
    assert "<job>" not in html


def test_a_text_result_prints_its_text() -> None:
    verification = featx.CacheVerification("<cache>", [])
    assert isinstance(verification, TextResult)
    assert str(verification) == verification.as_text()
    assert "&lt;cache&gt;: no corrupt files" in verification._repr_html_()


def test_results_with_arrays_are_described_in_one_line() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 8))
    rows[1] = rows[0]
    comparison = featx.compare_baselines(rows, np.arange(60) % 2, estimators=["dummy", "knn"], cv=2, n_jobs=1)
    for result in (
        featx.find_duplicates(rows),
        featx.find_similar(rows, rows[:9], top=3),
        featx.rank_features({"a": rows}, np.arange(60) % 2),
        comparison,
    ):
        assert re.fullmatch(rf"<{type(result).__name__}: [^\n]{{5,100}}>", repr(result))
        assert "<table" in result._repr_html_()


def test_duplicates_of_images_are_shown_with_paths_and_thumbnails(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    noise[7] = noise[3]
    paths = [str(tmp_path / f"<{index}>.png") for index in range(12)]
    for path, pixels in zip(paths, noise, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    options: dict[str, object] = {"estimators": ["dummy"], "cv": 2, "cache": None}
    result = featx.compare_images(paths, [0, 1] * 6, backbones=["color_histogram"], duplicate_threshold=1, **options)
    html = result.duplicates._repr_html_()
    assert html.count("data:image/webp") == 2
    assert re.findall(r"&lt;(\d+)&gt;.png", html) == ["3", "7"]
    assert "1 (2 images)" in html


class Counted(http.server.BaseHTTPRequestHandler):
    """A server that counts its requests and has no images."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # the name is that of the library
        self.requests.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def test_showing_a_result_downloads_nothing() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counted) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/1.jpg"
            for result in (
                featx.ImageMatches("query.jpg", [featx.Match(1, url, 0.5, "cat", False)]),
                featx.Prediction(url, "cat", [("cat", 0.9)], 0.5),
                featx.ImageTable([url], ["cat"]),
            ):
                assert "1.jpg" in result._repr_html_()
        finally:
            server.shutdown()
    assert Counted.requests == []


def test_an_explanation_is_a_picture() -> None:
    attribution = featx.Attribution(
        "cat", 1.0, np.eye(2, dtype=np.float32), np.zeros((8, 8, 3), np.uint8), "activation"
    )
    explanation = featx.Explanation("cat.jpg", attribution)
    data = explanation._repr_png_()
    assert data is not None
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
    assert repr(explanation) == "<Explanation: cat.jpg: label 'cat'>"
    assert dataclasses.replace(explanation, attribution=None, error="empty")._repr_png_() is None


@pytest.mark.parametrize("name", ["a.png", "<b>&.png"])
def test_similar_images_have_thumbnails(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for index in range(40):
        PIL.Image.fromarray(np.roll(noise, index, 0)).save(tmp_path / "images" / f"{index}{name}")
    features = tmp_path / "features.npy"
    featx.extract_images(str(tmp_path / "images"), features, backbone="color_histogram", cache=None)
    similar = featx.similar_images(features, [noise], top=40, backbone="color_histogram", cache=None)
    html = similar._repr_html_()
    assert html.count("data:image/webp") == 30
    assert "<b>" not in html
    assert len(html) < 150_000
    assert sum(map(len, re.findall(r'src="([^"]*)"', html))) <= 100_000
    assert repr(similar) == "<SimilarImages: 1 query>"


def test_tables_have_no_empty_columns_and_break_long_texts_only() -> None:
    table = table_to_html([{"path": "photos/" + "a" * 80, "split": "", "accuracy": "0.980 ± 0.007"}])
    assert "split" not in table
    short, long = (next(cell for cell in table.split("<td ") if text in cell) for text in ("0.980", "photos/"))
    assert "white-space:nowrap" in short
    assert "overflow-wrap:anywhere" in long
