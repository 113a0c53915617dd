"""Invalid arguments of public functions: the error names the parameter, what it must be, and what to pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import featx
from featx import FeatureExtractor, find_images
from featx.errors import ComparisonError, FeatxError, InputError, JobError, OptionError

pytestmark = pytest.mark.usefixtures("counting")

Call = Callable[[str, Any], object]

#: A function of the path of a folder and of its images, and the error.
CALLS: dict[str, tuple[Call, str]] = {
    "compare a folder": (lambda folder, t: featx.compare_images(folder), "images must be .*find_images('FOLDER')"),
    "train a folder": (lambda folder, t: featx.train_images(folder), "images must be .*find_images('FOLDER')"),
    "rank a folder": (lambda folder, t: featx.rank_images(folder), "images must be .*find_images('FOLDER')"),
    "extract a folder": (lambda folder, t: _extractor().transform(folder), "images must be .*find_images('FOLDER')"),
    "find a number": (lambda folder, t: find_images(5), "source must be a list"),  # type: ignore[arg-type]
    "find nothing": (lambda folder, t: find_images(None), "source must be a list"),  # type: ignore[arg-type]
    "extract a number": (lambda folder, t: featx.extract_images(5), "source must be a list"),  # type: ignore[arg-type]
    "output 5": (lambda folder, t: featx.extract_images(folder, 5), "output must be a path, got 5"),  # type: ignore[arg-type]
    "plan a number": (lambda folder, t: featx.plan_job(5, "job"), "source must be a list"),  # type: ignore[arg-type]
    "job 5": (lambda folder, t: featx.job_status(5), "job must be a path, got 5"),  # type: ignore[arg-type]
    "model 5": (lambda folder, t: featx.Predictor(5), "model must be a path, got 5"),  # type: ignore[arg-type]
    "features 5": (lambda folder, t: featx.open_features(5), "path must be a path, got 5"),  # type: ignore[arg-type]
    "open a file": (
        lambda folder, t: featx.open_features(t.paths[0]),
        "neither a .npy or .parquet file nor the folder of a job",
    ),
    "plan over a file": (
        lambda folder, t: featx.plan_job(folder, __file__),
        "output (-o) must be a folder, got the file",
    ),
    "rank an array": (
        lambda folder, t: featx.rank_features(np.eye(4), "aabb"),  # type: ignore[arg-type]
        "features must be a mapping of names to matrices, got ndarray. Pass {'features': X}",
    ),
    "one backbone to compare": (
        lambda folder, t: featx.compare_images(t, backbones="counting"),
        "backbones must be a list of at least one item, got 'counting'. Pass backbones=['counting']",
    ),
    "one backbone to rank": (
        lambda folder, t: featx.rank_images(t, backbones="counting"),
        "Pass backbones=['counting']",
    ),
    "one extractor": (lambda folder, t: featx.rank_images(t, backbones=_extractor()), "backbones must be a list of at"),
    "one backbone to measure": (lambda folder, t: featx.benchmark_images(backbones="mobilenet"), "['mobilenet']"),
    "no backbone": (lambda folder, t: featx.benchmark_images(backbones=[]), "backbones must be a list of at least one"),
    "one estimator to select": (
        lambda folder, t: featx.train_images(t, select_from="logreg,svm"),  # type: ignore[arg-type]
        "select_from must be a list of at least one item, got 'logreg,svm'",
    ),
    "two estimators": (
        lambda folder, t: featx.train_images(t, estimator=["knn"]),
        "estimator (--estimator) must be one estimator or name, got ['knn']. To select the best of several",
    ),
    "a test folder": (
        lambda folder, t: featx.compare_images(t, test=folder),  # type: ignore[arg-type]
        "test must be an ImageTable or None, got .*. Pass the result of featx.find_images('FOLDER')",
    ),
    "the training images as test": (lambda folder, t: featx.compare_images(t, test=t), "are also test images"),
    "test images only": (
        lambda folder, t: featx.compare_images(t, test_mask=[True] * len(t)),
        "There are no training images: all 24 images are test images",
    ),
    "test images without labels": (
        lambda folder, t: featx.compare_images(t, test=find_images(f"{folder}/china")),
        "The test images have no labels",
    ),
}


def _extractor() -> FeatureExtractor:
    return FeatureExtractor("counting", cache=None)


@pytest.mark.parametrize("name", CALLS)
def test_error_names_the_parameter(name: str, photo_folder: Path, in_folder: Path) -> None:
    call, message = CALLS[name]
    pattern = ".*".join(map(re.escape, message.replace("FOLDER", str(photo_folder)).split(".*")))
    with pytest.raises(FeatxError, match=pattern) as caught:
        call(str(photo_folder), find_images(photo_folder))
    assert isinstance(caught.value, OptionError | InputError | ComparisonError | JobError | featx.errors.FeaturesError)
    assert list(in_folder.iterdir()) == []


def test_generators_are_read_once(photo_folder: Path, in_folder: Path) -> None:
    table = find_images(photo_folder)
    expected = _extractor().fit_transform(table)
    extractor = _extractor()
    np.testing.assert_array_equal(extractor.fit_transform(iter(table.paths)), expected)
    np.testing.assert_array_equal(extractor.transform(path for path in table.paths), expected)
    pipeline = make_pipeline(_extractor(), LogisticRegression(max_iter=1000)).fit(iter(table.paths), table.labels)
    labels = pipeline.predict(table.paths).tolist()
    assert pipeline.predict(iter(table.paths)).tolist() == labels
    featx.save_pipeline(pipeline, "model.skops")
    predictor = featx.Predictor("model.skops", cache=None)
    assert [prediction.label for prediction in predictor.predict_each(iter(table.paths))] == labels
    assert predictor.predict(table)["label"].tolist() == labels
    featx.extract_images(table, "f.npy", backbone="counting")
    similar = featx.similar_images("f.npy", (path for path in table.paths[:2]), backbone="counting")
    assert [matches.path for matches in similar] == table.paths[:2]
