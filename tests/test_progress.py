"""Every long public function reports its progress in the same way."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import featx
from featx import FeatureExtractor, FineTunedClassifier, Predictor, Progress
from tests.progress import check_progress

#: Functions and methods that report progress; those that take no longer than a second do not.
LONG = {
    "augment_features",
    "benchmark_images",
    "check_images",
    "compact_cache",
    "compare_baselines",
    "compare_features",
    "compare_images",
    "explain_images",
    "export_model",
    "extract_images",
    "find_duplicates",
    "find_similar",
    "learning_curve",
    "merge_job",
    "plan_job",
    "predict_images",
    "rank_features",
    "rank_images",
    "run_job",
    "select_duplicates",
    "similar_images",
    "train_images",
    "verify_cache",
}
QUICK = {"backbone": "color_histogram", "cache": None}


def make_matrix() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    y = np.arange(60) % 3
    return random.normal(size=(60, 8)) + y[:, None], y


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Thirty images of three classes."""
    random = np.random.default_rng(0)
    names = []
    for number in range(30):
        folder = tmp_path / "photos" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 80, (16, 16, 3)) + np.eye(3, dtype=int)[number % 3] * 150
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        names.append(str(folder / f"{number}.png"))
    return sorted(names)


@pytest.fixture
def model(paths: list[str], tmp_path: Path) -> str:
    trained = featx.train_images(
        paths,
        [Path(path).parent.name for path in paths],
        backbone="color_histogram",
        cv=2,
        cache=None,
        duplicate_groups=False,
    )
    trained.save(tmp_path / "model.skops")
    return str(tmp_path / "model.skops")


def _images(paths: list[str], **options: Any) -> dict[str, Callable[[], object]]:
    y = [Path(path).parent.name for path in paths]
    folder = Path(paths[0]).parents[1]
    features, job = folder.parent / "features.npy", folder.parent / "job"
    histogram = FeatureExtractor("color_histogram", image_size=8, cache=None)
    shared: dict[str, Any] = {"cache": None, "duplicate_groups": False, **options}

    def job_calls() -> None:
        featx.plan_job(folder, job, backbone="color_histogram", shard_size=10, sample=0, cache=None)

    def run() -> object:
        job_calls()
        return featx.run_job(job, cache=None, **options)

    def merge() -> object:
        job_calls()
        featx.run_job(job, cache=None)
        return featx.merge_job(job, features, **options)

    def similar() -> object:
        featx.extract_images(folder, features, **QUICK)
        return featx.similar_images(features, paths[:5], **QUICK, **options)

    def compare_stored() -> object:
        featx.extract_images(folder, features, **QUICK)
        return featx.compare_features(features, estimators=["knn"], cv=2, duplicate_groups=False, **options)

    return {
        "augment_features": lambda: featx.augment_features(paths, y, extractor=histogram, n_copies=1, **options),
        "check_images": lambda: featx.check_images(folder, **options),
        "compare_features": compare_stored,
        "compare_images": lambda: featx.compare_images(paths, y, backbones=["color_histogram"], cv=2, **shared),
        "extract_images": lambda: featx.extract_images(folder, features, **QUICK, **options),
        "merge_job": merge,
        "plan_job": lambda: featx.plan_job(folder, job, backbone="color_histogram", sample=0, cache=None, **options),
        "rank_images": lambda: featx.rank_images(paths, y, backbones=["color_histogram"], **shared),
        "run_job": run,
        "select_duplicates": lambda: featx.select_duplicates(
            featx.find_duplicates(np.ones((len(paths), 4)) + np.arange(len(paths))[:, None] // 2), paths, **options
        ),
        "similar_images": similar,
        "train_images": lambda: featx.train_images(paths, y, backbone=histogram, estimator="knn", cv=2, **shared),
        "transform": lambda: histogram.transform(paths, **options),
    }


def _matrices(**options: Any) -> dict[str, Callable[[], object]]:
    X, y = make_matrix()
    split = featx.compare_baselines(X, y, estimators=["dummy"], cv=3).split
    random = np.random.default_rng(0).normal(size=(20_001, 4)).astype(np.float32)
    return {
        "compare_baselines": lambda: featx.compare_baselines(X, y, estimators=["knn", "ridge"], **options),
        "compare_baselines in processes": lambda: featx.compare_baselines(
            X, y, estimators=["knn"], time_limit=5, n_jobs=2, **options
        ),
        "find_duplicates": lambda: featx.find_duplicates(random, duplicate_threshold=1, **options),
        "find_similar": lambda: featx.find_similar(X, X[:3], **options),
        "learning_curve": lambda: featx.learning_curve(X, y, split, estimators=["knn"], **options),
        "rank_features": lambda: featx.rank_features({"all": X, "half": X[:, :4]}, y, **options),
    }


def _models(model: str, paths: list[str], **options: Any) -> dict[str, Callable[[], object]]:
    predictor = Predictor(model, cache=None)
    many = paths * 3
    return {
        "predict_images": lambda: featx.predict_images(model, paths, cache=None, **options),
        "Predictor.predict": lambda: predictor.predict(many, **options),
        "Predictor.predict_each": lambda: predictor.predict_each(paths, **options),
        "explain_images": lambda: featx.explain_images(model, paths[:3], cache=None, **options),
    }


def check_call(call: Callable[[], object], seen: list[Progress], threads: set[int]) -> None:
    call()
    check_progress(seen)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("name", sorted(LONG))
def test_long_functions_have_the_same_parameters(name: str) -> None:
    parameters = inspect.signature(getattr(featx, name)).parameters
    documentation = inspect.getdoc(getattr(featx, name)) or ""
    for parameter in ("verbose", "progress"):
        assert parameters[parameter].default is None
        assert parameters[parameter].kind is inspect.Parameter.KEYWORD_ONLY
        assert f"\n{parameter} : " in documentation


def test_no_other_function_has_them() -> None:
    """Any function with ``progress`` is in the list above, and tested below."""
    functions = {name for name in featx.__all__ if inspect.isfunction(getattr(featx, name))}
    assert {name for name in functions if "progress" in inspect.signature(getattr(featx, name)).parameters} == LONG


@pytest.mark.parametrize("estimator", [FeatureExtractor, FineTunedClassifier])
def test_estimators_have_verbose(estimator: type) -> None:
    assert inspect.signature(estimator).parameters["verbose"].default is None


@pytest.mark.parametrize("name", list(_images(["a/b/1.png"])))
def test_progress_of_images(name: str, paths: list[str]) -> None:
    seen: list[Progress] = []
    threads: set[int] = set()

    def receive(report: Progress) -> None:
        seen.append(report)
        threads.add(threading.get_ident())

    check_call(_images(paths, progress=receive)[name], seen, threads)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "processes" in name else []) for name in _matrices()]
)
def test_progress_of_matrices(name: str) -> None:
    seen: list[Progress] = []
    threads: set[int] = set()

    def receive(report: Progress) -> None:
        seen.append(report)
        threads.add(threading.get_ident())

    check_call(_matrices(progress=receive)[name], seen, threads)


def test_progress_of_models(model: str, paths: list[str]) -> None:
    seen: list[Progress] = []
    threads: set[int] = set()

    def receive(report: Progress) -> None:
        seen.append(report)
        threads.add(threading.get_ident())

    for call in _models(model, paths, progress=receive).values():
        seen.clear()
        check_call(call, seen, threads)


def test_progress_of_a_cache(paths: list[str], tmp_path: Path) -> None:
    FeatureExtractor("color_histogram", cache=tmp_path / "cache").transform(paths)
    for function in (featx.verify_cache, featx.compact_cache):
        seen: list[Progress] = []
        function(tmp_path / "cache", progress=seen.append)
        check_progress(seen)


class StopError(Exception):
    """Raised by the function of the user."""


def fail(report: Progress) -> None:
    """Raise at the first unit that is done."""
    if report.done:
        raise StopError


@pytest.mark.parametrize("name", list(_images(["a/b/1.png"])))
def test_an_error_of_the_function_ends_the_call(name: str, paths: list[str]) -> None:
    with pytest.raises(StopError):
        _images(paths, progress=fail)[name]()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "processes" in name else []) for name in _matrices()]
)
def test_an_error_of_the_function_is_not_one_of_an_estimator(name: str) -> None:
    with pytest.raises(StopError):
        _matrices(progress=fail)[name]()


def test_an_error_of_the_function_ends_predictions(model: str, paths: list[str]) -> None:
    for call in _models(model, paths, progress=fail).values():
        with pytest.raises(StopError):
            call()


def test_the_stages_of_a_comparison(paths: list[str]) -> None:
    y = [Path(path).parent.name for path in paths]
    seen: list[Progress] = []
    backbones = [FeatureExtractor("color_histogram", image_size=size) for size in (8, 16)]
    featx.compare_images(
        paths,
        y,
        backbones=backbones,
        estimators=["dummy", "knn"],
        cv=3,
        cache=None,
        duplicate_groups=False,
        progress=seen.append,
    )
    ends = [(report.stage, report.total, report.unit) for report in seen if report.done == report.total]
    assert ends[:2] == 2 * [("extract", 30, "images")]
    assert ends.count(("compare", 6, "folds")) >= 2
    messages = {report.message for report in seen if report.stage == "compare"}
    assert {"color_histogram 8×8, knn", "color_histogram 16×16, dummy"} <= messages


def test_verbose_shows_bars_and_false_hides_them(paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    histogram = FeatureExtractor("color_histogram", cache=None)
    for verbose, is_shown in ((None, False), (False, False), (True, True)):
        histogram.set_params(verbose=verbose).transform(paths)
        out, err = capsys.readouterr()
        assert (out, err.startswith("extract color_histogram: 100%")) == ("", is_shown)


def test_quiet_commands_show_nothing(paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from featx.cli.main import main

    folder = str(Path(paths[0]).parents[1])
    for quiet in (True, False):
        assert main(["check", folder, *(["--quiet"] if quiet else [])]) == 0
        assert capsys.readouterr().err.startswith("" if quiet else "check: 100%")
