from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from featx import FeatureExtractor, compare_baselines, load_backbone
from featx.backbones.color_histogram import ColorHistogram


def test_rows_are_roots_of_numpy_histogram(photos: list[PIL.Image.Image]) -> None:
    pixels = np.stack([np.asarray(photo.resize((64, 64))) for photo in photos[:5]])
    edges = [np.arange(0, 257, 32)] * 3
    for image, row in zip(pixels, ColorHistogram().extract(pixels), strict=True):
        counts, _ = np.histogramdd(image.reshape(-1, 3), bins=edges)
        np.testing.assert_allclose(row, np.sqrt(counts.ravel() / 64**2), rtol=1e-6)
        assert row.dtype == np.float32
        assert (row**2).sum() == pytest.approx(1, rel=1e-5)


def test_extract_and_compare(photos: list[PIL.Image.Image]) -> None:
    extractor = FeatureExtractor("color_histogram", cache=None)
    rows = extractor.fit_transform(photos)
    assert rows.shape == (24, load_backbone("color_histogram").n_features("avg"))
    comparison = compare_baselines(rows, ["china"] * 12 + ["flower"] * 12, estimators=["knn"], cv=3)
    assert comparison.table["accuracy_mean"].iloc[0] > 0.9
