"""The map of features: t-SNE if it is fast enough, else PCA, and the page names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx.datasets.find import find_images
from featx.workflows.report.feature_map import project
from featx.workflows.report.inputs import ReportedComparison
from tests.workflows.helpers import compare


def rows(n_samples: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(n_samples, 4)).astype(np.float32)


def test_few_images_are_drawn_by_tsne() -> None:
    projection = project(rows(30), max_seconds=0)  # the estimate itself would take longer
    assert projection.has_tsne
    assert projection.points["x"] is projection.points["tsne_x"]
    assert "drawn by t-SNE" in projection.note


def test_many_images_are_drawn_by_pca_if_tsne_takes_too_long() -> None:
    projection = project(rows(2100), max_seconds=0)
    assert not projection.has_tsne
    assert "tsne_x" not in projection.points
    assert projection.points["x"].shape == (2100,)
    assert "(PCA), because t-SNE of 2,100 images is expected to take " in projection.note
    assert "--tsne" in projection.note


@pytest.mark.slow
@pytest.mark.thorough
def test_many_images_are_drawn_by_tsne_if_it_is_fast_or_required() -> None:
    for options in ({"max_seconds": 1e9}, {"max_seconds": 0, "tsne": True}):
        assert project(rows(2100), **options).has_tsne  # type: ignore[arg-type]


def test_too_few_images_for_tsne() -> None:
    for tsne in (None, True):
        projection = project(rows(4), tsne=tsne)
        assert not projection.has_tsne
        assert "at least five images" in projection.note


@pytest.mark.usefixtures("counting")
def test_page_names_its_projection(photo_folder: Path, tmp_path: Path) -> None:
    result: ReportedComparison = compare(
        find_images([photo_folder]), cv=3, duplicate_threshold=1, diagnostics=False, estimators=["dummy"]
    )
    pages = []
    for tsne in (None, False):
        result.to_html(tmp_path / "r.html", tsne=tsne)  # type: ignore[attr-defined]
        pages.append((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "drawn by t-SNE" in pages[0]
    assert 'name="projection" value="tsne"' in pages[0]
    assert "first two principal components (PCA)." in pages[1]
    assert 'name="projection"' not in pages[1]
