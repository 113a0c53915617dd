from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from sklearn.svm import SVC

from featx import FeatureExtractor, compare_images
from featx.baselines.estimators import make_baseline
from featx.images.decode import decode_image
from featx.images.image import read_image
from featx.models.explain.activation_maps import ActivationMaps
from featx.models.explain.overlay import overlay
from featx.models.head.from_sklearn import as_head
from featx.workflows.report.attribution import _compute_map, _select_class, attribution_maps, attribution_problem
from featx.workflows.report.comparison_page import write_report
from featx.workflows.result import ImageComparison


@pytest.fixture(scope="module")
def result(
    photos: list[PIL.Image.Image], compiled_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> ImageComparison:
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for at, photo in enumerate(photos[:18]):
        paths.append(folder / f"{at}.png")
        photo.save(paths[-1])
    y = [f"class {index % 3}" for index in range(18)]  # random labels: most predictions are mistakes
    network = FeatureExtractor(precision="float32")
    return compare_images(
        paths,
        y,
        backbones=[network],
        estimators=["logreg"],
        duplicate_groups=False,
        cv=3,
        diagnostics=False,
        cache=compiled_cache,
    )


def test_map_is_by_the_model_of_the_fold(result: ImageComparison, compiled_cache: Path) -> None:
    comparison, resolved = result.backbones[0].comparison, result.backbones[0].resolved
    wrong = np.flatnonzero(comparison.predictions["logreg"].to_numpy() != comparison.y).tolist()
    pictures = attribution_maps(result, wrong, 64, compiled_cache)
    assert sorted(pictures) == wrong
    position = wrong[0]
    train, _ = next((train, test) for train, test in comparison.split.folds if position in test)
    fitted = make_baseline("logreg").fit(result.backbones[0].rows[train], result.y[train])
    predicted = comparison.predictions["logreg"].iloc[position]
    assert fitted.predict(result.backbones[0].rows[[position]])[0] == predicted
    affine = as_head(fitted).affine
    assert affine is not None
    seen = _compute_map(result.paths[position], resolved, ActivationMaps(resolved, compiled_cache / "compiled"), affine)
    assert seen is not None
    np.testing.assert_array_equal(seen.pixels, decode_image(read_image(result.paths[position])[0], (224, 224)))
    scores = fitted.decision_function(result.backbones[0].rows[[position]])[0]
    np.testing.assert_allclose(seen.map.mean(axis=(0, 1)), scores, atol=1e-4)
    expected = overlay(_select_class(seen, fitted.classes_.tolist().index(predicted)), (64, 64))
    found = PIL.Image.open(io.BytesIO(base64.b64decode(pictures[position].partition(",")[2])))
    assert np.abs(np.asarray(found.convert("RGB"), dtype=float) - np.asarray(expected)).mean() < 6  # WebP


def test_report_shows_the_maps(result: ImageComparison, compiled_cache: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "with.html", result, cache=compiled_cache)
    text = (tmp_path / "with.html").read_text()
    assert text.count('class="attribution"') > 3
    assert "by a model that was not trained on the" in text
    write_report(tmp_path / "without.html", result)
    assert 'class="attribution"' not in (tmp_path / "without.html").read_text()


def test_maps_require_a_linear_estimator_on_averages(
    photos: list[PIL.Image.Image], compiled_cache: Path, result: ImageComparison
) -> None:
    histogram = FeatureExtractor("color_histogram")
    of_histogram = compare_images(
        result.paths,
        result.y.tolist(),
        backbones=[histogram],
        estimators=["logreg"],
        cv=3,
        diagnostics=False,
        cache=None,
    )
    assert attribution_maps(of_histogram, [0, 1], 64, compiled_cache) == {}
    tuned = compare_images(
        result.paths,
        result.y.tolist(),
        backbones=[FeatureExtractor(precision="float32")],
        estimators=["knn"],
        duplicate_groups=False,
        cv=3,
        diagnostics=False,
        cache=compiled_cache,
    )
    assert attribution_maps(tuned, [0, 1], 64, compiled_cache) == {}


def test_maps_require_a_built_in_estimator(result: ImageComparison) -> None:
    assert attribution_problem(result) == ""
    other = compare_images(
        result.paths,
        result.y.tolist(),
        backbones=[FeatureExtractor("color_histogram", image_size=8)],
        estimators={"logreg": SVC()},
        duplicate_groups=False,
        cv=3,
        diagnostics=False,
        cache=None,
    )
    assert attribution_problem(other) == "logreg is not a built-in estimator"
