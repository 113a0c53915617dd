"""Models are saved, loaded, and predict the same on another machine."""

from __future__ import annotations

import errno
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from featx import (
    FeatureExtractor,
    Predictor,
    explain_images,
    export_model,
    load_pipeline,
    predict_images,
    save_pipeline,
    train_images,
)
from featx.baselines.estimators import make_baseline
from featx.errors import FeatxWarning, ModelFileError, OptionError, RecipeMismatchError, WeightsNotFoundError
from featx.models.model_file import read_model
from featx.store.view_store import write_buffers
from tests.models.model_samples import change_description, extractor, rewrite_model

Array = np.ndarray[Any, Any]


def test_loaded_model_is_plain_pipeline(model: Path, digits: list[Path], digit_labels: list[str]) -> None:
    pipeline = load_pipeline(model)
    assert type(pipeline) is Pipeline
    assert pipeline.score(digits, digit_labels) > 0.5
    by_hand = make_pipeline(extractor(cache=None), make_baseline("logreg")).fit(digits, digit_labels)
    np.testing.assert_allclose(pipeline.predict_proba(digits), by_hand.predict_proba(digits), atol=1e-5)
    assert skops.io.get_untrusted_types(file=model) == [
        "featx.FeatureExtractor",
        "featx.scale_to_unit_length",
    ]


def test_covariance_of_lda_is_not_saved(digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    """The covariance of 512 features would have 2 MB."""
    lda = make_baseline("lda")
    calibrated = CalibratedClassifierCV(make_pipeline(make_baseline("lda")), ensemble=False, cv=2)
    for estimator in (lda, calibrated):
        pipeline = make_pipeline(extractor(cache=None), estimator).fit(digits, digit_labels)
        save_pipeline(pipeline, tmp_path / "model.skops")
        assert (tmp_path / "model.skops").stat().st_size < 200_000
        loaded = load_pipeline(tmp_path / "model.skops")
        np.testing.assert_array_equal(loaded.predict_proba(digits), pipeline.predict_proba(digits))
    assert lda.covariance_.shape == (512, 512)  # the saved estimator is not modified


def test_other_recipe_is_reported(model: Path, tmp_path: Path, digits: list[Path]) -> None:
    def other_pixels(members: dict[str, bytes]) -> None:
        description = json.loads(members["featx.json"])
        description["card"]["recipe"]["pixels"] = 1
        members["featx.json"] = json.dumps(description).encode()

    other = rewrite_model(model, tmp_path / "other.skops", other_pixels)
    message = (
        r"other\.skops.*expected pixels '1', got .*by featx 0.*, this is featx 0.*another way.*Train the .*featx train"
    )
    with pytest.raises(RecipeMismatchError, match=message):
        load_pipeline(other)
    with pytest.raises(RecipeMismatchError, match=message):
        predict_images(other, digits[:1], cache=None)


def test_model_of_later_version(model: Path, tmp_path: Path) -> None:
    def later(members: dict[str, bytes], **options: Any) -> None:
        description = json.loads(members["featx.json"])
        description["card"]["mood"] = "sunny"
        description["card"]["options"] |= options
        members["featx.json"] = json.dumps(description).encode()

    assert load_pipeline(rewrite_model(model, tmp_path / "more.skops", later)).classes_.tolist() == ["0", "1", "2", "3"]
    with pytest.raises(ModelFileError, match=r"does not support its options zoom\. Install featx"):
        read_model(rewrite_model(model, tmp_path / "other.skops", lambda members: later(members, zoom=2)))


def test_missing_weights_are_reported(model: Path, tmp_path: Path) -> None:
    def gone(members: dict[str, bytes]) -> None:
        description = json.loads(members["featx.json"])
        description["card"]["options"] = {"backbone": "mobilenet", "weights": "/nowhere/w.weights.h5"}
        members["featx.json"] = json.dumps(description).encode()

    with pytest.raises(WeightsNotFoundError, match="needs its weights '/nowhere/w.weights.h5', .*Restore it, or use a"):
        load_pipeline(rewrite_model(model, tmp_path / "gone.skops", gone))


def test_remedies_are_those_of_a_model(model: Path, tmp_path: Path) -> None:
    """There is no parameter for weights, as an extractor has."""

    def other(members: dict[str, bytes]) -> None:
        description = json.loads(members["featx.json"])
        description["card"]["recipe"] |= {"weights": "0" * 64}
        members["featx.json"] = json.dumps(description).encode()

    with pytest.raises(RecipeMismatchError) as error:
        predict_images(rewrite_model(model, tmp_path / "other.skops", other), [], cache=None)
    assert "Restore the weights that it was trained with;" in str(error.value)
    assert "weights=" not in str(error.value)


def test_cache_folder_is_not_saved(digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    mine = make_pipeline(extractor(cache=tmp_path / "mine"), LogisticRegression()).fit(digits, digit_labels)
    save_pipeline(mine, tmp_path / "model.skops")
    assert load_pipeline(tmp_path / "model.skops").steps[0][1].cache == "auto"
    assert b"mine" not in (tmp_path / "model.skops").read_bytes()
    assert mine.steps[0][1].cache == tmp_path / "mine"


def test_loaded_model_uses_the_given_cache(
    model: Path, digits: list[Path], in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEATX_CACHE", raising=False)
    load_pipeline(model, cache=None, write_cache=True).predict(digits[:3])
    assert list(in_folder.iterdir()) == []
    load_pipeline(model, cache="mine", write_cache=True).predict(digits[:3])
    write_buffers()
    assert [path.name for path in in_folder.iterdir()] == ["mine"]
    load_pipeline(model, write_cache=True).predict(digits[:3])
    write_buffers()
    assert sorted(path.name for path in in_folder.iterdir()) == ["cache", "mine"]


def test_loading_imports_no_torch(model: Path, tmp_path: Path, python: Callable[..., Any]) -> None:
    """scikit-learn's adapters of other array libraries import them, when skops looks for all estimators."""
    for name in ("torch", "jax"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    code = """
import sys
sys.path.append(sys.argv[2])
from featx import load_pipeline
load_pipeline(sys.argv[1], cache=None)
print({"torch", "jax", "tensorflow"} & set(sys.modules))
"""
    assert python(code, str(model), str(tmp_path)).stdout == "set()\n"


def _refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_custom_model_file_is_part_of_model(
    digits: list[Path], digit_labels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.backbones.networks import save_onnx

    path = tmp_path / "own.onnx"
    save_onnx(path)
    mine = FeatureExtractor(path, preprocessing="tf", precision="float32", cache=tmp_path / "cache")
    pipeline = make_pipeline(mine, LogisticRegression()).fit(digits, digit_labels)
    save_pipeline(pipeline, tmp_path / "model.skops")
    expected = pipeline.predict_proba(digits)
    path.unlink()
    prediction = pickle.loads(pickle.dumps(Predictor(tmp_path / "model.skops", cache=None))).predict_one(digits[0])
    assert prediction.probabilities == pytest.approx(dict(zip(pipeline.classes_, expected[0], strict=True)), abs=1e-5)
    assert not list((tmp_path / "xdg").rglob("*.onnx"))  # the graph is enough
    with monkeypatch.context() as full:
        full.setattr("featx.backbones.files.model_cache.atomic_write", _refuse)
        with pytest.warns(FeatxWarning, match=r"Cannot cache network 'own\.onnx' .*: No space left on device\."):
            assert load_pipeline(tmp_path / "model.skops", cache=None).predict(digits[:1]).tolist() == ["0"]
        full.setattr("featx.system.files.temporary.temporary_path", lambda _: Path("/dev/full/folder"))
        full.setattr("featx.backbones.files.model_cache._temporary_folders", {})
        with pytest.warns(FeatxWarning, match="not available to other processes: .*TMPDIR"):
            assert load_pipeline(tmp_path / "model.skops", cache=None).predict(digits[:1]).tolist() == ["0"]
    loaded = load_pipeline(tmp_path / "model.skops")
    assert Path(loaded[0].backbone).is_file()
    np.testing.assert_allclose(loaded.predict_proba(digits), expected, atol=1e-6)
    predictions = predict_images(tmp_path / "model.skops", digits, cache=tmp_path / "cache")
    np.testing.assert_allclose(predictions["probability"], expected.max(axis=1), atol=1e-5)
    assert loaded.steps[0][1].recipe_ == pipeline.steps[0][1].recipe_
    save_pipeline(loaded, tmp_path / "again.skops")
    assert (
        load_pipeline(tmp_path / "again.skops").predict(digits[:2]).tolist()
        == pipeline.classes_[expected[:2].argmax(axis=1)].tolist()
    )


@pytest.mark.thorough  # trains a network three times
def test_fine_tuned_network_as_model(ucmerced: list[str], tmp_path: Path, compiled_cache: Path) -> None:
    some = [path for path in ucmerced if Path(path).parent.name in ("beach", "forest")][::2]
    y = [Path(path).parent.name for path in some]
    trained = train_images(some, y, estimator="fine-tune", cv=2, cache=compiled_cache)
    trained.save(tmp_path / "tuned.skops")
    predictions = predict_images(tmp_path / "tuned.skops", some, cache=compiled_cache)
    assert (predictions["label"] == y).mean() > 0.9
    assert predictions["label"].tolist() == load_pipeline(tmp_path / "tuned.skops").predict(some).tolist()
    (seen,) = explain_images(tmp_path / "tuned.skops", some[:1], cache=compiled_cache)
    assert seen.attribution is not None
    assert seen.attribution.method == "activation"
    exported = export_model(tmp_path / "tuned.skops", tmp_path / "tuned.keras", cache=compiled_cache)
    assert exported.max_difference < 1e-4


def test_reading_a_model_downloads_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("featx.backbones.weights.download_weights", lambda *args: pytest.fail("it is fetched"))
    with zipfile.ZipFile(model) as archive:
        card = json.loads(archive.read("featx.json"))["card"]
    weights = f"http://example.org/w.weights.h5#sha256={'0' * 64}"
    card["options"] = {"backbone": "mobilenet", "weights": weights}
    with pytest.raises(WeightsNotFoundError, match="reading a model downloads nothing"):
        load_pipeline(change_description(model, tmp_path / "far.skops", card=card))


def test_estimators_without_head(digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    trained = train_images(digits, digit_labels, backbone=extractor(), estimator=GaussianNB(), cache=None)
    trained.save(tmp_path / "model.skops")
    assert read_model(tmp_path / "model.skops").head is None
    predictions = predict_images(tmp_path / "model.skops", digits, cache=None)
    assert predictions["label"].tolist() == trained.pipeline.predict(digits).tolist()
    np.testing.assert_allclose(predictions["probability"], trained.pipeline.predict_proba(digits).max(axis=1))


@pytest.mark.filterwarnings("ignore:.*within_class_std_dev_")
@pytest.mark.parametrize(
    "estimator",
    [
        CalibratedClassifierCV(NearestCentroid(), ensemble=False, cv=3),
        SVC(decision_function_shape="ovo"),
        CalibratedClassifierCV(LogisticRegression(max_iter=2000), cv=3),
    ],
    ids=["calibrated centroid", "ovo", "ensemble"],
)
def test_estimators_whose_scores_do_not_decide(
    estimator: Any, digits: list[Path], digit_labels: list[str], tmp_path: Path
) -> None:
    pipeline = make_pipeline(extractor(cache=None), VarianceThreshold(), estimator).fit(digits, digit_labels)
    save_pipeline(pipeline, tmp_path / "model.skops")
    predictions = predict_images(tmp_path / "model.skops", digits, top=4, cache=None)
    assert predictions["label"].tolist() == pipeline.predict(digits).tolist()


def test_regression_model(digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    y = [float(label) + number / 1000 for number, label in enumerate(digit_labels)]
    trained = train_images(digits, y, backbone=extractor(), cache=None)
    trained.save(tmp_path / "model.skops")
    predictions = predict_images(tmp_path / "model.skops", digits[:5], cache=None)
    np.testing.assert_allclose(predictions["prediction"], trained.pipeline.predict(digits[:5]), rtol=1e-4)
    assert read_model(tmp_path / "model.skops").card.scores["metric"] == "r2"
    with pytest.raises(OptionError, match="requires classes or tags, got continuous targets"):
        train_images(digits, y, backbone=extractor(), calibrate=True, cache=None)
