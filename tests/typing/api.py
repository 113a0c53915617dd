"""A sample of user code for type checkers.

Run ``mypy --strict tests/typing`` and ``basedpyright --level error tests/typing``. Nothing here is executed. Type
checkers must accept all of it, and ``assert_type`` states the types that users see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import featx
from featx import (
    Comparison,
    Duplicates,
    FeatureExtractor,
    FeatureMatrix,
    FineTunedClassifier,
    ImageComparison,
    ImageRanking,
    ImageTable,
    JobMerge,
    JobPlan,
    JobStatus,
    Model,
    Predictor,
    Progress,
    Ranking,
    Similar,
    TrainedModel,
)
from featx.testing import CountingBackbone, registered

Features = NDArray[np.float32]


class MeanColor(featx.DirectBackbone):
    """A backbone of a user."""

    name = "mean_color"
    version = 1
    image_size = 32

    def n_features(self, pooling: str) -> int:
        return 3

    def extract(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(pixels.mean(axis=(1, 2)), dtype=np.float32)


def extract(paths: list[str], images: NDArray[np.uint8], series: pd.Series[str]) -> None:
    extractor = FeatureExtractor(
        "mobilenet", layer=-2, pooling="max", image_size=(224, 224), cache=None, on_error="nan"
    )
    assert_type(extractor.fit(paths), FeatureExtractor)
    assert_type(extractor.fit_transform(paths), "np.ndarray[Any, np.dtype[np.float32]]")
    assert_type(extractor.transform(images), "np.ndarray[Any, np.dtype[np.float32]]")
    extractor.transform(series)
    mixed: list[Path | bytes] = [Path("a.jpg"), b"bytes"]
    extractor.transform(mixed)
    extractor.transform(path for path in paths)
    extractor.transform(featx.find_images(paths))
    extractor.fit_transform(map(Path, paths))
    assert_type(extractor.recipe_, dict[str, Any])


def find(source: Path) -> None:
    table = featx.find_images(source)
    assert_type(table, ImageTable)
    comparison = featx.compare_images(table.paths, table.labels, backbones=["mobilenet"], task="classification")
    assert_type(comparison, ImageComparison)
    assert_type(comparison.table, pd.DataFrame)
    assert_type(featx.rank_images(table.paths, table.labels), ImageRanking)
    trained = featx.train_images(table.paths, table.labels, calibrate=True)
    assert_type(trained, TrainedModel)
    trained.save("model.skops")


def files(source: Path) -> None:
    summary = featx.extract_images(source, "features.npy", tta="flip", precision="float32")
    assert_type(summary, featx.ExtractionSummary)
    assert_type(featx.check_images(source), featx.ImageCheck)
    assert_type(featx.benchmark_images(source), featx.Benchmark)
    assert_type(featx.cache_info(), featx.CacheSummary)
    assert_type(featx.verify_cache("cache"), featx.CacheVerification)
    assert_type(featx.compact_cache(), featx.CacheCompaction)
    assert_type(featx.clear_cache(backbone="mobilenet", dry_run=True), featx.CacheClearing)


def mistakes(path: Path, predictor: Predictor) -> None:
    featx.find_images(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    featx.extract_images(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    featx.similar_images(path, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    featx.predict_images(path, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    predictor.predict(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    FineTunedClassifier(pooling="mean")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    FeatureExtractor().transform(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def compare(X: Features, y: list[str], frame: pd.DataFrame) -> None:
    comparison = featx.compare_baselines(X, y, estimators=["logreg", "knn"], task="classification", groups="auto")
    assert_type(comparison.as_text(), str)
    assert_type(comparison, Comparison)
    assert_type(comparison.best, str)
    assert_type(comparison.ties, list[str])
    assert_type(comparison.table, pd.DataFrame)
    assert_type(comparison.learning_curve, pd.DataFrame)
    featx.compare_baselines(frame, frame["label"], groups=range(len(y)))
    assert_type(featx.learning_curve(X, y, comparison.split), pd.DataFrame)
    assert_type(featx.find_label_issues(y, comparison.probabilities["logreg"]), pd.DataFrame)
    ranking = featx.rank_features({"all": X}, (label for label in y), groups=None)
    assert_type(ranking, Ranking)
    assert_type(featx.leave_one_out(X, y, method="knn"), float)
    assert_type(featx.log_me(X, y), float)
    assert_type(featx.h_score(X, y), float)


def progress(path: Path, X: Features, images: list[str]) -> None:
    def show(report: Progress) -> None:
        assert_type(report.stage, str)
        assert_type(report.done, int)
        assert_type(report.total, int | None)
        assert_type(report.seconds, float)
        report.done = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    seen: list[Progress] = []
    featx.compare_images(images, images, verbose=False, progress=show)
    featx.train_images(images, images, progress=print)
    featx.predict_images(path, images, progress=seen.append)
    featx.find_duplicates(X, verbose=None, progress=None)
    FeatureExtractor(verbose=None).transform(images, progress=lambda report: report.done)
    featx.extract_images(images, progress=lambda n: n + 1)  # type: ignore[operator]  # pyright: ignore
    featx.rank_images(images, images, progress="bar")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def search(path: Path, X: Features) -> None:
    features = featx.open_features(path)
    assert_type(features, FeatureMatrix)
    assert_type(featx.find_similar(features, X), Similar)
    assert_type(featx.find_duplicates(X), Duplicates)
    assert_type(featx.similar_images(path, ["query.jpg"], top=5, index="faiss", on_error="raise"), featx.SimilarImages)
    featx.similar_images(path, ["query.jpg"], index="annoy")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def jobs(folder: Path) -> None:
    assert_type(featx.plan_job("photos", folder, backbone="mobilenet", shard_size=100), JobPlan)
    featx.plan_job("photos", folder, layer=-2, pooling="max", precision="int8", window=(0.0, 4095.0), sample=0)
    featx.plan_job(featx.open_features("features.npy"), folder)
    featx.plan_job("photos", folder, poolin="max")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    featx.plan_job("photos", folder, pooling="mean")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(featx.run_job(folder, backend="loky", engine="openvino"), JobStatus)
    assert_type(featx.job_status(folder).is_complete, bool)
    assert_type(featx.job_status(folder), JobStatus)
    assert_type(featx.merge_job(folder, "features.npy"), JobMerge)


def models(path: Path, images: list[str]) -> None:
    from sklearn.pipeline import Pipeline

    pipeline: Pipeline = featx.load_pipeline(path)
    pipeline.predict(images)
    assert_type(featx.read_model(path), Model)
    predictor = Predictor(path)
    predictor.predict(images)
    assert_type(featx.predict_images(path, images, top=3), pd.DataFrame)
    assert_type(featx.explain_images(path, images, method="occlusion"), list[featx.Explanation])
    assert_type(featx.export_model(path, "model.onnx"), featx.ExportedModel)
    classifier = FineTunedClassifier("mobilenet", epochs=2)
    assert_type(classifier.fit(images, ["a", "b"]), FineTunedClassifier)


def backbones() -> None:
    featx.register_backbone(MeanColor())
    assert_type(featx.load_backbone("mean_color"), featx.Backbone)
    assert_type(featx.available_backbones(), list[str])
    with registered(CountingBackbone()) as counting:
        assert_type(counting, CountingBackbone)
        assert counting.n_images == 0
