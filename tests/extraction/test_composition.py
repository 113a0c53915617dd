"""What composes with FeatureExtractor, each on real images, and each image through the network once."""

from __future__ import annotations

import copy
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  # makes the next but one importable
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    LearningCurveDisplay,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from featx import FeatureExtractor
from featx.errors import UnknownBackboneError
from featx.store.info import describe_cache
from featx.testing import CountingBackbone
from tests.conftest import Register

sklearn_version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])


class OtherBackbone(CountingBackbone):
    """A second counting backbone with other features."""

    name = "other"

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return 255 - super().extract(pixels)


@pytest.fixture
def other(register: Register) -> OtherBackbone:
    return register(OtherBackbone())


@pytest.fixture
def pipe() -> Pipeline:
    return make_pipeline(FeatureExtractor("counting"), StandardScaler(), LogisticRegression())


@pytest.fixture
def y(labels: list[str]) -> np.ndarray[Any, Any]:
    return np.array(labels)


@pytest.fixture(autouse=True)
def once(counting: CountingBackbone, request: pytest.FixtureRequest) -> Iterator[None]:
    """In each of these tests, the counting backbone extracts each of 24 images once for each recipe.

    That is one recipe, unless the test is marked with another number; none for a test of the real network.
    """
    yield
    marker = request.node.get_closest_marker("recipes")
    assert counting.n_images == 24 * (marker.args[0] if marker else 1)


def test_pipeline_with_memory(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], tmp_path: Path, counting: CountingBackbone
) -> None:
    remembered = clone(pipe).set_params(memory=str(tmp_path / "memory"))
    for one in (pipe, remembered, clone(remembered)):
        assert one.fit(paths, y).score(paths, y) > 0.8


def test_column_transformer_on_a_table_of_images_numbers_and_categories(
    paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone
) -> None:
    table = pd.DataFrame(
        {"photo": paths, "altitude": np.arange(24.0), "season": ["spring", "autumn"] * 12}, index=range(50, 74)
    )
    columns = ColumnTransformer(
        [
            ("image", FeatureExtractor("counting"), ["photo"]),
            ("number", StandardScaler(), ["altitude"]),
            ("category", OneHotEncoder(sparse_output=False), ["season"]),
        ]
    ).set_output(transform="pandas")
    rows = columns.fit_transform(table)
    assert list(rows.index) == list(table.index)
    assert list(rows.columns[[0, 11, 12, 13]]) == [
        "image__counting_0",
        "image__counting_11",
        "number__altitude",
        "category__season_autumn",
    ]
    assert columns.named_transformers_["image"].feature_names_in_.tolist() == ["photo"]
    by_name = ColumnTransformer([("image", FeatureExtractor("counting"), "photo")])  # a Series instead of a table
    np.testing.assert_array_equal(by_name.fit_transform(table), rows.iloc[:, :12])
    assert cross_val_score(make_pipeline(columns, StandardScaler(), LogisticRegression()), table, y, cv=3).mean() > 0.6
    with pytest.raises(ValueError, match="feature names"):
        FeatureExtractor("counting").fit(table[["photo"]]).transform(table[["photo"]].rename(columns={"photo": "x"}))


def test_feature_union_of_two_backbones(
    paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone, other: OtherBackbone
) -> None:
    union = FeatureUnion([("one", FeatureExtractor("counting")), ("two", FeatureExtractor("other"))])
    rows = union.fit_transform(paths)
    np.testing.assert_allclose(rows[:, :12], 255 - rows[:, 12:], atol=1e-3)
    assert list(union.get_feature_names_out()[[0, 12]]) == ["one__counting_0", "two__other_0"]
    assert cross_val_score(make_pipeline(union, KNeighborsClassifier()), paths, y, cv=3).mean() > 0.5
    assert (counting.n_images, other.n_images) == (24, 24)


@pytest.mark.recipes(0)
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_feature_union_with_two_jobs(backend: str, paths: list[str], compiled_cache: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(compiled_cache / "compiled", cache / "compiled")
    poolings = [("avg", FeatureExtractor(cache=cache)), ("max", FeatureExtractor(pooling="max", cache=cache))]
    with joblib.parallel_config(backend):
        rows = FeatureUnion(poolings, n_jobs=2).fit_transform(paths)
    np.testing.assert_array_equal(rows, np.hstack([extractor.transform(paths) for _, extractor in poolings]))
    assert [recipe.rows for recipe in describe_cache(cache).recipes] == [24, 24]


@pytest.mark.usefixtures("counting")
def test_registered_backbone_needs_threads(paths: list[str], y: np.ndarray[Any, Any], pipe: Pipeline) -> None:
    with joblib.parallel_config("threading", n_jobs=2):
        assert cross_val_score(pipe, paths, y, cv=3).mean() > 0.6
    with pytest.raises(UnknownBackboneError, match="known only to the process that registered it"):
        FeatureUnion([("one", pipe[0]), ("two", pipe[0])], n_jobs=2).fit_transform(paths)


@pytest.mark.recipes(2)
@pytest.mark.parametrize("kind", [GridSearchCV, HalvingGridSearchCV])
def test_searches_over_the_backbone_and_the_head(
    kind: Any, pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], other: OtherBackbone
) -> None:
    grid = {
        "featureextractor__backbone": ["counting", "other"],
        "featureextractor__image_size": [32, 16],
        "logisticregression__C": [0.1, 1.0],
    }
    options = {"random_state": 0, "min_resources": 12} if kind is HalvingGridSearchCV else {}
    search = kind(pipe, grid, cv=3, **options).fit(paths, y)
    assert search.predict(paths[:3]).shape == (3,)
    if kind is GridSearchCV:
        assert other.n_images == 48
    for size in (32, 16):  # a halving search may have skipped some images; the others are cached
        FeatureExtractor("counting", image_size=size).transform(paths)


@pytest.mark.recipes(0)
def test_searches_over_the_pooling_of_a_real_network(
    paths: list[str], y: np.ndarray[Any, Any], compiled_cache: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(compiled_cache / "compiled", cache / "compiled")
    pipe = make_pipeline(FeatureExtractor(cache=cache), LogisticRegression())
    grid = {"featureextractor__pooling": ["avg", "max"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(paths, y)
    kept = [recipe.rows for recipe in describe_cache(cache).recipes]
    assert kept == [24, 24]
    names = search.best_estimator_[:-1].get_feature_names_out()
    assert names[0] == (
        "mobilenet_0" if search.best_params_["featureextractor__pooling"] == "avg" else "mobilenet_max_0"
    )


def test_cross_validate_returns_estimators_that_predict(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone
) -> None:
    result = cross_validate(pipe, paths, y, cv=3, return_estimator=True, return_indices=True)
    for fitted, test in zip(result["estimator"], result["indices"]["test"], strict=True):
        assert fitted.predict([paths[index] for index in test]).shape == test.shape


def test_stacking_calibration_and_freezing(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone
) -> None:
    images = paths  # arrays work as well
    knn = make_pipeline(FeatureExtractor("counting"), KNeighborsClassifier())
    stack = StackingClassifier([("logreg", pipe), ("knn", knn)], cv=3).fit(images, y)
    assert stack.predict_proba(images).shape == (24, 2)
    calibrated = CalibratedClassifierCV(pipe, cv=3).fit(images, y)
    assert calibrated.predict_proba(images).shape == (24, 2)
    frozen = CalibratedClassifierCV(FrozenEstimator(pipe.fit(images, y))).fit(images, y)
    assert frozen.predict(images).shape == (24,)
    np.testing.assert_array_equal(
        FrozenEstimator(FeatureExtractor("counting")).transform(paths), FeatureExtractor("counting").transform(paths)
    )


def test_permutation_importance_of_the_head(pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any]) -> None:
    pipe.fit(paths, y)
    rows = pipe[:-1].transform(paths)
    importance = permutation_importance(pipe[-1], rows, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (12,)


def test_plot_of_learning_curve(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    display = LearningCurveDisplay.from_estimator(pipe, paths, y, cv=3, train_sizes=[0.5, 1.0], shuffle=True)
    assert display.train_scores.shape == (2, 3)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_output_as_a_table(library: str, paths: list[str]) -> None:
    frames = pytest.importorskip(library)
    extractor = FeatureExtractor("counting").set_output(transform=library)
    table = extractor.fit_transform(frames.DataFrame({"photo": paths}))
    assert isinstance(table, frames.DataFrame)
    assert list(table.columns) == [f"counting_{i}" for i in range(12)]


def test_metadata_routing(pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any]) -> None:
    weights = np.random.default_rng(0).integers(0, 5, 24).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        pipe[-2].set_fit_request(sample_weight=False)
        pipe[-1].set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipe.fit(paths, y, sample_weight=weights)
        head = clone(pipe[-1]).fit(pipe[:-1].transform(paths), y, sample_weight=weights)
        np.testing.assert_allclose(pipe[-1].coef_, head.coef_)
        if sklearn_version >= (1, 7):  # older versions of cross_validate ignore the requests of the steps
            scores = cross_validate(pipe, paths, y, cv=3, params={"sample_weight": weights})
            assert len(scores["test_score"]) == 3
    unweighted = make_pipeline(FeatureExtractor("counting"), StandardScaler(), LogisticRegression()).fit(paths, y)
    assert np.abs(unweighted[-1].coef_ - head.coef_).max() > 0.01


@pytest.mark.recipes(0)
def test_diagram_in_a_notebook(pipe: Pipeline) -> None:
    html = pipe._repr_html_()
    assert "FeatureExtractor" in html
    assert "StandardScaler" in html


# Processes -------------------------------------------------------------------------------------------

SEARCH = """
import sys
import time
import joblib
from pathlib import Path
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from featx import FeatureExtractor

if __name__ == "__main__":
    backend, cache, paths = sys.argv[1], sys.argv[2], sys.argv[3:]
    pipe = make_pipeline(FeatureExtractor(cache=cache), LogisticRegression())
    labels = [Path(path).parent.name for path in paths]
    with joblib.parallel_config(backend):
        print(cross_val_score(pipe, paths, labels, cv=3, n_jobs=2).tolist())
        if backend == "loky":  # its workers keep running
            def heavy():
                time.sleep(0.2)  # so that each worker gets some of the tasks
                return sorted({"tensorflow", "keras", "openvino"} & set(sys.modules))

            print({name for names in joblib.Parallel(2)(joblib.delayed(heavy)() for _ in range(8)) for name in names})
"""


@pytest.mark.recipes(0)
@pytest.mark.parametrize("backend", ["loky", "threading", pytest.param("multiprocessing", marks=pytest.mark.slow)])
@pytest.mark.parametrize("warm", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_two_jobs_extract_each_image_once(
    backend: str, warm: bool, paths: list[str], y: np.ndarray[Any, Any], compiled_cache: Path, tmp_path: Path
) -> None:
    script, cache = tmp_path / "search.py", tmp_path / "cache"
    script.write_text(SEARCH)
    shutil.copytree(compiled_cache / "compiled", cache / "compiled")
    pipe = make_pipeline(FeatureExtractor(cache=cache), LogisticRegression())
    if warm:
        pipe[0].fit_transform(paths)
    command = [sys.executable, str(script), backend, str(cache), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [recipe.rows for recipe in describe_cache(cache).recipes] == [24]
    scores, *heavy = done.stdout.splitlines()
    assert scores == str(cross_val_score(pipe, paths, y, cv=3).tolist())
    assert heavy == ([] if backend != "loky" else ["set()"] if warm else ["{'openvino'}"])


def _transform(task: tuple[FeatureExtractor, list[str]]) -> tuple[float, list[str]]:
    extractor, images = task
    total = float(extractor.transform(images).sum())
    return total, sorted({"tensorflow", "keras", "openvino"} & set(sys.modules))


@pytest.mark.recipes(0)
@pytest.mark.parametrize("warm", [True, False])
def test_spawned_workers_load_a_network_only_for_rows_that_are_not_there(
    warm: bool, paths: list[str], compiled_cache: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(compiled_cache / "compiled", cache / "compiled")
    expected = float(FeatureExtractor(cache=compiled_cache).fit_transform(paths).sum())
    extractor = FeatureExtractor(cache=cache)
    if warm:
        extractor.fit_transform(paths)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map_async(_transform, [(extractor, paths)] * 2, chunksize=1).get(timeout=100)
    assert [total for total, _ in results] == [expected] * 2
    assert [recipe.rows for recipe in describe_cache(cache).recipes] == [24]
    heavy = {name for _, names in results for name in names}
    assert heavy == (set() if warm else {"openvino"})


@pytest.mark.recipes(0)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_process_forked_after_the_network_ran_reads_rows_and_refuses_to_compute(
    paths: list[str], compiled_cache: Path
) -> None:
    code = """
import os, sys
import numpy as np
from featx import FeatureExtractor
from featx.errors import EngineError
from featx.extraction.engines.engine import has_begun_to_start
extractor = FeatureExtractor(cache=sys.argv[1])
new = lambda: [np.random.default_rng().integers(0, 256, (9, 9, 3), dtype=np.uint8)]
extractor.transform(new())  # the network runs
known = new()
expected = extractor.transform(known)
child = os.fork()
if child == 0:
    assert (extractor.transform(known) == expected).all()
    try:
        extractor.transform(new())
    except EngineError as error:
        assert 'joblib\\'s "loky"' in str(error), error
        sys.exit(7)
    sys.exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
extractor.transform(new())
"""
    command = [sys.executable, "-c", code, str(compiled_cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


@pytest.mark.recipes(0)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_process_forked_while_the_network_starts_is_refused(
    paths: list[str], compiled_cache: Path, tmp_path: Path, python: Callable[..., Any]
) -> None:
    shutil.copytree(compiled_cache / "compiled", tmp_path / "cache" / "compiled")
    code = """
import os, sys, threading, time
from featx import FeatureExtractor
from featx.errors import EngineError
from featx.extraction.engines.engine import has_begun_to_start
extractor = FeatureExtractor(cache=sys.argv[1])
thread = threading.Thread(target=lambda: extractor.transform(sys.argv[2:14]))
thread.start()
children = []
for number in range(6):
    while not has_begun_to_start():
        time.sleep(0.001)
    time.sleep(0.03)
    child = os.fork()
    if child == 0:
        try:
            extractor.transform([sys.argv[14 + number]])
        except EngineError:
            os._exit(7)
        os._exit(1)
    children.append(child)
print({os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children})
thread.join()
"""
    done = python(code, str(tmp_path / "cache"), *paths)
    assert done.stdout == "{7}\n", done.stderr


# Copies ----------------------------------------------------------------------------------------------


LOADING = """
import os, pickle, sys
import joblib, skops.io
libraries, folder, *paths = sys.argv[1:]
for library in libraries.split():
    os.chdir(f"{folder}/{library}")
    if library == "skops":
        pipe = skops.io.load("../saved-skops", trusted=skops.io.get_untrusted_types(file="../saved-skops"))
    else:
        pipe = (joblib if library == "joblib" else pickle).load(open(f"../saved-{library}", "rb"))
    print(pipe[0].recipe_["weights"], pipe.predict_proba(paths).tobytes())
"""


@pytest.mark.recipes(0)
def test_pickled_pipeline_is_small_and_complete(
    paths: list[str],
    y: np.ndarray[Any, Any],
    compiled_cache: Path,
    tmp_path: Path,
    in_folder: Path,
    python: Callable[..., Any],
) -> None:
    """In another process and folder; a relative cache is in the working directory of that process."""
    libraries = ("pickle", "joblib", "cloudpickle", "skops")
    for folder in (in_folder, *(tmp_path / library for library in libraries)):
        shutil.copytree(compiled_cache / "compiled", folder / "rows" / "compiled")
    pipe = make_pipeline(FeatureExtractor(cache="rows"), StandardScaler(), LogisticRegression()).fit(paths, y)
    for library in libraries:
        for number, saved in enumerate((pipe, pipe[0])):
            file = tmp_path / f"{'saved' if number == 0 else 'small'}-{library}"
            if library == "skops":
                pytest.importorskip("skops.io").dump(saved, file)
            elif library == "joblib":
                joblib.dump(saved, file)
            else:
                file.write_bytes(pytest.importorskip(library).dumps(saved))
        assert file.stat().st_size <= 20_000  # skops writes a record for each item of recipe_ and fitted_params_
    done = python(LOADING, " ".join(libraries), str(tmp_path), *paths)
    expected = f"{pipe[0].recipe_['weights']} {pipe.predict_proba(paths).tobytes()}"
    assert done.stdout.splitlines() == [expected] * 4, done.stderr
    for library in libraries:  # each has extracted the images into its own cache
        assert [recipe.rows for recipe in describe_cache(tmp_path / library / "rows").recipes] == [24]


@pytest.mark.recipes(0)
def test_clones_and_copies_are_whole(paths: list[str], compiled_cache: Path) -> None:
    extractor = FeatureExtractor(pooling="max", cache=compiled_cache).fit(paths)
    for other in (clone(extractor), copy.deepcopy(extractor)):
        assert other.get_params() == extractor.get_params()
        np.testing.assert_array_equal(other.transform(paths[:2]), extractor.transform(paths[:2]))
    assert copy.deepcopy(extractor).recipe_ == extractor.recipe_
