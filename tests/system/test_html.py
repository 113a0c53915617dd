from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

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


def test_every_result_with_text_is_shown_in_notebooks() -> None:
    for name in featx.__all__:
        value = getattr(featx, name)
        if isinstance(value, type) and hasattr(value, "as_text") and name != "Prediction":
            assert hasattr(value, "_repr_html_"), name


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
