from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, FineTunedClassifier, compare_baselines, train_images
from featx.baselines.builtin_baselines import Baseline
from featx.baselines.estimators import as_baselines
from featx.baselines.fitting import Dataset, fit_on_all
from featx.baselines.scaling.limits import ScaleLimits
from featx.errors import ComparisonError, OptionError, UnreadableImageError
from featx.models.model_file import read_model
from featx.testing import CountingBackbone
from featx.workflows.training import train as training
from featx.workflows.training.train import expected_fit_seconds

Array = np.ndarray[Any, Any]


def train(paths: list[str], y: list[Any], **options: Any) -> Any:
    return train_images(paths, y, backbone=FeatureExtractor("counting"), cache=None, **options)


@pytest.fixture
def three(paths: list[str], counting: CountingBackbone) -> list[str]:
    """Labels of 24 images: two large classes, and one of a single image."""
    return ["a"] * 12 + ["b"] * 11 + ["single"]


def test_unscored_class_is_not_fitted(paths: list[str], three: list[str], tmp_path: Path) -> None:
    trained = train(paths, three)
    assert trained.pipeline.classes_.tolist() == ["a", "b"]
    assert (len(trained.rows), trained.y.tolist()) == (23, three[:-1])
    assert "fitted on 23 images, 2 classes" in str(trained)
    assert "1 class with a single sample" in " ".join(trained.notes)
    trained.save(tmp_path / "model.skops")
    card = read_model(tmp_path / "model.skops").card
    assert (card.n_images, card.classes, card.counts) == (23, ["a", "b"], {"a": 12, "b": 11})


@pytest.mark.parametrize("kept", [False, True])
def test_pipeline_uses_the_given_cache(
    kept: bool, paths: list[str], labels: list[str], counting: CountingBackbone, tmp_path: Path
) -> None:
    cache = tmp_path / "kept" if kept else None
    trained = train_images(paths, labels, backbone=FeatureExtractor("counting"), duplicate_threshold=1, cache=cache)
    n_images = counting.n_images
    trained.pipeline.predict(paths)
    assert counting.n_images == n_images + (0 if kept else len(paths))
    assert not (tmp_path / "auto-cache").exists()


def test_class_of_one_group_is_not_fitted(paths: list[str], counting: CountingBackbone) -> None:
    y = ["a", "b"] * 10 + ["c"] * 4
    trained = train(paths, y, groups=[*range(20), *[20] * 4])
    assert trained.pipeline.classes_.tolist() == ["a", "b"]
    assert trained.y.tolist() == y[:20]


@pytest.mark.parametrize("estimators", [["fine-tune"], {"mine": "fine-tune"}], ids=["named", "renamed"])
def test_fine_tuned_model_is_fitted_on_scored_images(
    estimators: Any, paths: list[str], three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class Fake(FineTunedClassifier):  # type: ignore[misc, unused-ignore]
        def fit(self, X: Any, y: Any, groups: Any = None) -> Any:
            given.update(X=list(X), y=list(y), groups=groups)
            self.classes_ = np.unique(y)
            return self

        def predict(self, X: Any) -> Any:
            return np.repeat(self.classes_[:1], len(X))

        def decision_function(self, X: Any) -> Any:
            return np.zeros(len(X), dtype=np.float32)

        def as_pipeline(self, path: Any = None) -> Any:
            return [FeatureExtractor("counting").fit([])]

    monkeypatch.setattr("featx.workflows.image_estimators.FineTunedClassifier", Fake)
    groups = [*(index // 2 for index in range(22)), 90, 91]
    trained = train(paths, three, select_from=estimators, tune=True, groups=groups, duplicate_threshold=1)
    assert trained.scores["estimator"] == next(iter(estimators))
    assert (given["X"], given["y"]) == (paths[:23], three[:23])
    assert given["groups"].tolist() == trained.comparison.groups[:23].tolist()
    assert trained.rows.shape == (23, 12)
    assert any(note.startswith("fine-tune is not tuned by tune=True (--tune)") for note in trained.notes)


def test_classes_without_test_images_are_noted(paths: list[str], counting: CountingBackbone) -> None:
    from featx.workflows.config import ComparisonConfig
    from featx.workflows.feature_sets import as_extraction_options
    from featx.workflows.labeled_images import as_image_table
    from featx.workflows.training.train import train_table

    y = ["a"] * 10 + ["b"] * 10 + ["c"] * 4
    table = as_image_table(paths, y, test_mask=[index in (1, 2, 11, 12) for index in range(24)])
    trained = train_table(
        table, as_extraction_options(FeatureExtractor("counting")), ComparisonConfig(duplicate_groups=False), cache=None
    )
    assert trained.pipeline.classes_.tolist() == ["a", "b", "c"]
    assert "1 class without test images, so not scored: 'c'." in trained.notes


@pytest.mark.parametrize(
    ("n_small", "options"),
    [(2, {"duplicate_groups": False}), (4, {"groups": [*range(20), 20, 20, 21, 21]})],
    ids=["two images", "two groups"],
)
def test_small_classes_cannot_be_calibrated(
    n_small: int, options: dict[str, Any], paths: list[str], counting: CountingBackbone
) -> None:
    y = (["a", "b"] * 12)[: 24 - n_small] + ["small"] * n_small
    with pytest.raises(
        ComparisonError, match=r"calibrate .* needs at least two .* of each class.*one of 'small'.*Add images"
    ):
        train(paths, y, estimator="svm", calibrate=True, **options)
    assert counting.n_images == 0


@pytest.mark.parametrize(("name", "n_notes"), [("centroid", 1), ("svm", 0)])
def test_calibration_of_centroid_is_noted(
    name: str, n_notes: int, paths: list[str], counting: CountingBackbone
) -> None:
    y = [Path(path).parent.name for path in paths]
    trained = train(paths, y, estimator=name, calibrate=True, duplicate_groups=False)
    assert sum("reduce the accuracy of centroid" in note for note in trained.notes) == n_notes


def test_three_images_of_a_class_can_be_calibrated(paths: list[str], counting: CountingBackbone) -> None:
    y = ["a", "b"] * 10 + ["small"] * 3 + ["single"]
    trained = train(paths, y, estimator="svm", calibrate=True, duplicate_groups=False)
    assert trained.pipeline.classes_.tolist() == ["a", "b", "small"]


def test_class_of_one_duplicate_group_cannot_be_calibrated(digits: Any) -> None:
    X, y = digits
    (svm,) = as_baselines(["svm"], "classification", 0)
    calibrated = Baseline("svm", svm.make, is_calibrated=True)
    with pytest.raises(ComparisonError, match="at least two groups of images of each class"):
        fit_on_all(
            calibrated, Dataset(X, y, "classification", np.where(y == 1, 99, np.arange(60))), tune=False, notes=[]
        )
    with pytest.raises(ComparisonError, match="at least two images of each class"):
        compare_baselines(X[:42], np.r_[y[:40], 9, 9], estimators=[calibrated])


@pytest.fixture
def digits() -> tuple[Array, Array]:
    y = np.arange(60) % 3
    X = np.random.default_rng(0).normal(size=(60, 5)) * 3 + y[:, None] * 3
    return X.astype(np.float32), y


@pytest.mark.parametrize("calibrate", [False, True])
def test_best_params_are_those_of_the_estimator(digits: Any, calibrate: bool) -> None:
    (svm,) = as_baselines(["svm"], "classification", 0)
    svm = Baseline("svm", svm.make, {"gamma": [3.0], "C": [10]}, kernel="rbf", is_builtin=True, is_calibrated=calibrate)
    X, y = digits
    fitted, chosen = fit_on_all(svm, Dataset(X, y, "classification"), tune=True, notes=[])
    own = fitted.estimator if calibrate else fitted
    assert chosen == {"gamma": own.gamma, "C": 10}
    assert chosen["gamma"] == pytest.approx(3 / (5 * X.astype(np.float64).var()))


def test_invalid_options_are_errors(paths: list[str], labels: list[str], counting: CountingBackbone) -> None:
    bad = str(Path(paths[0]).with_name("bad.jpg"))
    Path(bad).write_bytes(b"no image")
    with pytest.raises(UnreadableImageError, match="bad.jpg"):
        train([*paths, bad], [*labels, labels[0]], on_error="raise")
    assert len(train([*paths, bad], [*labels, labels[0]], duplicate_threshold=1).y) == 24
    with pytest.raises(OptionError, match="duplicate_threshold"):
        train(paths, labels, duplicate_threshold=2)
    with pytest.raises(OptionError, match="on_error .--on-error. must be 'skip' or 'raise', got 'nan'"):
        train(paths, labels, on_error="nan")
    with pytest.raises(
        OptionError, match=r"Cannot select a FineTunedClassifier object. Pass 'fine-tune'.*as_pipeline\(\)"
    ):
        train(paths, labels, estimator=FineTunedClassifier(epochs=2))


def test_estimator_and_select_from_cannot_be_combined(paths: list[str], labels: list[str]) -> None:
    with pytest.raises(OptionError, match=r"estimator \(--estimator\) and select_from \(--select-from\) cannot"):
        train(paths, labels, estimator="knn", select_from=["svm"])


def test_the_time_of_the_fit_to_all_images_is_announced(
    paths: list[str], labels: list[str], counting: CountingBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MIN_ANNOUNCED_SECONDS", 0.0)
    monkeypatch.setattr(training, "ScaleLimits", functools.partial(ScaleLimits, exact_rows=10))
    messages: list[str] = []
    trained = train(paths, labels, estimator="svm", progress=lambda report: messages.append(report.message))
    assert "svm, about 1 second" in messages
    (note,) = (note for note in trained.notes if "exact" in note)
    assert note.startswith("svm is exact in a model: its fit to 24 images took 1 second. Comparisons")


def test_the_time_of_a_fit_grows_with_the_samples(digits: Any) -> None:
    X, y = digits
    comparison = compare_baselines(X, y, estimators=["svm", "knn"], cv=2)
    svm, _ = as_baselines(["svm", "knn"], "classification", 0)
    row = comparison.table.set_index("estimator").loc["svm"]
    stored: Any = SimpleNamespace(backbones=[SimpleNamespace(comparison=comparison)], best_row=row)
    assert expected_fit_seconds(svm, stored, 120) == pytest.approx(16 * row["fit_seconds"])


def test_best_of_several_is_selected(paths: list[str], labels: list[str], counting: CountingBackbone) -> None:
    trained = train(paths, labels, select_from=["dummy", "knn"], duplicate_threshold=1)
    assert trained.scores["estimator"] == "knn"
    assert any(note.startswith("knn was selected from dummy, knn by its score") for note in trained.notes)
