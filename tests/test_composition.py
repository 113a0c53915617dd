"""What composes with FeatureExtractor, each on real images, and each image through the network once."""

from __future__ import annotations

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

import featx.backbones
from featx import FeatureExtractor
from featx.caches import describe_cache
from featx.errors import UnknownBackboneError
from tests.conftest import CountingBackbone


class OtherBackbone(CountingBackbone):
    """A second one, of other features."""

    name = "other"

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return 255 - super().extract(pixels)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> OtherBackbone:
    backbone = OtherBackbone()
    monkeypatch.setitem(featx.backbones._registered, "other", backbone)
    return backbone


@pytest.fixture
def pipe() -> Pipeline:
    return make_pipeline(FeatureExtractor("counting"), StandardScaler(), LogisticRegression())


@pytest.fixture
def y(labels: list[str]) -> np.ndarray[Any, Any]:
    return np.array(labels)


@pytest.fixture(autouse=True)
def once(counting: CountingBackbone) -> Iterator[None]:
    """In each of these tests every one of 24 images goes through each of two recipes once at most."""
    yield
    assert counting.n_shown <= 48


def test_pipeline_with_memory(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], tmp_path: Path, counting: CountingBackbone
) -> None:
    remembered = clone(pipe).set_params(memory=str(tmp_path / "memory"))
    for one in (pipe, remembered, clone(remembered)):
        assert one.fit(paths, y).score(paths, y) > 0.8
    assert counting.n_shown == 24


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
    assert counting.n_shown == 24


def test_feature_union_of_two_backbones(
    paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone, other: OtherBackbone
) -> None:
    union = FeatureUnion([("one", FeatureExtractor("counting")), ("two", FeatureExtractor("other"))])
    rows = union.fit_transform(paths)
    np.testing.assert_allclose(rows[:, :12], 255 - rows[:, 12:], atol=1e-3)
    assert list(union.get_feature_names_out()[[0, 12]]) == ["one__counting_0", "two__other_0"]
    assert cross_val_score(make_pipeline(union, KNeighborsClassifier()), paths, y, cv=3).mean() > 0.5
    assert (counting.n_shown, other.n_shown) == (24, 24)


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
def test_a_backbone_of_ones_own_needs_threads(paths: list[str], y: np.ndarray[Any, Any], pipe: Pipeline) -> None:
    with joblib.parallel_config("threading", n_jobs=2):
        assert cross_val_score(pipe, paths, y, cv=3).mean() > 0.6
    with pytest.raises(UnknownBackboneError, match="known only to the process that registered it: use threads"):
        FeatureUnion([("one", pipe[0]), ("two", pipe[0])], n_jobs=2).fit_transform(paths)


@pytest.mark.parametrize("kind", [GridSearchCV, HalvingGridSearchCV])
def test_searches_over_the_backbone_and_the_head(
    kind: Any,
    pipe: Pipeline,
    paths: list[str],
    y: np.ndarray[Any, Any],
    counting: CountingBackbone,
    other: OtherBackbone,
) -> None:
    grid = {
        "featureextractor__backbone": ["counting", "other"],
        "featureextractor__image_size": [32, 16],
        "logisticregression__C": [0.1, 1.0],
    }
    options = {"random_state": 0, "min_resources": 12} if kind is HalvingGridSearchCV else {}
    search = kind(pipe, grid, cv=3, **options).fit(paths, y)
    assert search.predict(paths[:3]).shape == (3,)
    assert counting.n_shown <= 48
    assert other.n_shown <= 48


def test_searches_over_the_pooling_of_a_real_network(
    paths: list[str], y: np.ndarray[Any, Any], compiled_cache: Path
) -> None:
    pipe = make_pipeline(FeatureExtractor(cache=compiled_cache), LogisticRegression())
    grid = {"featureextractor__pooling": ["avg", "max"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(paths, y)
    names = search.best_estimator_[:-1].get_feature_names_out()
    assert names[0] == (
        "mobilenet_0" if search.best_params_["featureextractor__pooling"] == "avg" else "mobilenet_max_0"
    )


def test_cross_validate_returns_estimators_that_predict(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone
) -> None:
    found = cross_validate(pipe, paths, y, cv=3, return_estimator=True, return_indices=True)
    for fitted, test in zip(found["estimator"], found["indices"]["test"], strict=True):
        assert fitted.predict([paths[at] for at in test]).shape == test.shape
    assert counting.n_shown == 24


def test_stacking_calibration_and_freezing(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone
) -> None:
    images = np.array(paths)
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
    assert counting.n_shown == 24


def test_permutation_importance_of_the_head(pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any]) -> None:
    pipe.fit(paths, y)
    rows = pipe[:-1].transform(paths)
    importance = permutation_importance(pipe[-1], rows, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (12,)


def test_a_learning_curve_is_drawn(
    pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any], counting: CountingBackbone
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    display = LearningCurveDisplay.from_estimator(pipe, np.array(paths), y, cv=3, train_sizes=[0.5, 1.0], shuffle=True)
    assert display.train_scores.shape == (2, 3)
    assert counting.n_shown == 24


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_output_as_a_table(library: str, paths: list[str]) -> None:
    frames = pytest.importorskip(library)
    extractor = FeatureExtractor("counting").set_output(transform=library)
    table = extractor.fit_transform(frames.DataFrame({"photo": paths}))
    assert isinstance(table, frames.DataFrame)
    assert list(table.columns) == [f"counting_{i}" for i in range(12)]


def test_metadata_routing(pipe: Pipeline, paths: list[str], y: np.ndarray[Any, Any]) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        pipe[-2].set_fit_request(sample_weight=False)
        pipe[-1].set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipe.fit(paths, y, sample_weight=np.ones(24))
        scores = cross_validate(pipe, paths, y, cv=3)
    assert len(scores["test_score"]) == 3


def test_the_diagram_of_a_notebook(pipe: Pipeline) -> None:
    html = pipe._repr_html_()
    assert "FeatureExtractor" in html
    assert "StandardScaler" in html


# Processes -------------------------------------------------------------------------------------------

SEARCH = """
import sys
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
"""


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@pytest.mark.parametrize("warm", [True, False])
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
    assert done.stdout.strip() == str(cross_val_score(pipe, paths, y, cv=3).tolist())


def _transform(task: tuple[FeatureExtractor, list[str]]) -> tuple[float, str]:
    extractor, images = task
    heavy = {"tensorflow", "keras", "openvino"} & set(sys.modules)
    return float(extractor.transform(images).sum()), ", ".join(heavy - _HEAVY_BEFORE)


_HEAVY_BEFORE = {"tensorflow", "keras", "openvino"} & set(sys.modules)


def test_spawned_workers_need_no_network_for_rows_that_are_there(paths: list[str], compiled_cache: Path) -> None:
    extractor = FeatureExtractor(cache=compiled_cache)
    expected = float(extractor.fit_transform(paths).sum())
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_transform, [(extractor, paths)] * 2, chunksize=1) == [(expected, "")] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_forked_after_the_network_ran_reads_rows_and_refuses_to_compute(
    paths: list[str], compiled_cache: Path
) -> None:
    code = """
import os, sys
import numpy as np
from featx import FeatureExtractor
from featx.errors import EngineError
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


# Copies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pickle", "joblib", "cloudpickle", "skops"])
def test_a_fitted_pipeline_travels_small_and_whole(
    library: str, paths: list[str], y: np.ndarray[Any, Any], compiled_cache: Path, tmp_path: Path
) -> None:
    extractor = FeatureExtractor(cache=compiled_cache).fit(paths)
    expected = extractor.transform(paths[:3])
    file = tmp_path / "extractor"
    if library == "skops":
        skops = pytest.importorskip("skops.io")
        skops.dump(extractor, file)
        loaded = skops.load(file, trusted=skops.get_untrusted_types(file=file))
    elif library == "joblib":
        joblib.dump(extractor, file)
        loaded = joblib.load(file)
    else:
        module = pytest.importorskip(library)
        file.write_bytes(module.dumps(extractor))
        loaded = module.loads(file.read_bytes())
    assert file.stat().st_size <= 10_000
    assert loaded.get_params() == extractor.get_params()
    np.testing.assert_array_equal(loaded.transform(paths[:3]), expected)


def test_a_saved_pipeline_predicts_in_another_process_and_folder(
    pipe: Pipeline,
    paths: list[str],
    y: np.ndarray[Any, Any],
    compiled_cache: Path,
    tmp_path: Path,
    in_folder: Path,
    python: Callable[..., Any],
) -> None:
    """A relative cache is one in the folder where the program runs; nothing but the rows depends on it."""
    shutil.copytree(compiled_cache / "compiled", in_folder / "rows" / "compiled")
    pipe.set_params(featureextractor=FeatureExtractor(cache="rows")).fit(paths, y)
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(compiled_cache / "compiled", elsewhere / "rows" / "compiled")
    code = "import joblib, sys; print(joblib.load(sys.argv[1]).predict_proba(sys.argv[2:]).tobytes())"
    done = python(code, str(tmp_path / "pipe.joblib"), *paths, cwd=elsewhere)
    assert done.stdout.strip() == str(pipe.predict_proba(paths).tobytes()), done.stderr
    assert [recipe.rows for recipe in describe_cache(elsewhere / "rows").recipes] == [24]
