"""Exported models give the same numbers in Keras, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, export_model, load_pipeline, save_pipeline
from featx.backbones.openvino_import import import_openvino
from featx.baselines.estimators import make_baseline
from featx.cli import main as cli
from featx.errors import ExportError, OptionError, OutputError
from featx.extraction.engines.engine import has_native_bfloat16
from featx.models.export.comparison import comparison_images, difference_in_training_precision, relative_difference
from featx.models.export.export import ExportedModel, _check_target, move_files, precision_notes
from featx.models.export.worker import apply_head
from featx.models.head.from_sklearn import as_head
from featx.models.model_file import read_model
from tests.models.model_samples import digit_features, make_estimator

Array = np.ndarray[Any, Any]


@pytest.mark.slow  # Keras in this process
@pytest.mark.filterwarnings("ignore:.*structure of")
@pytest.mark.parametrize(
    ("name", "n_classes"),
    [(name, 5) for name in ("logreg", "svm", "centroid")]
    + [pytest.param(name, 5, marks=pytest.mark.thorough) for name in ("linear-svm", "calibrated svm", "pca")]
    + [("calibrated svm", 2)]
    + [pytest.param(name, 2, marks=pytest.mark.thorough) for name in ("logreg", "svm", "dummy")],
)
def test_head_in_keras_and_openvino(name: str, n_classes: int) -> None:
    import keras

    X, y, others = digit_features(n_classes)
    if name == "pca":
        estimator = make_pipeline(PCA(12, whiten=True), LogisticRegression(max_iter=2000))
    elif name == "calibrated svm":
        estimator = CalibratedClassifierCV(make_estimator("svm"), ensemble=False, cv=3)
    else:
        estimator = make_estimator(name)
    head = as_head(estimator.fit(X, y))
    scores, probabilities = head(others)
    expected = scores if probabilities is None else probabilities
    features = keras.Input((X.shape[1],))
    model = keras.Model(features, apply_head(keras, features, head))
    atol = 1e-4 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(model.predict(others, verbose=0), expected, atol=atol)
    compiled = (
        import_openvino()
        .Core()
        .compile_model(import_openvino().convert_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    np.testing.assert_allclose(compiled([others])[0], expected, atol=atol)


def model_of(estimator: Any, path: Path, classes: str = "abc", **options: Any) -> Path:
    """A model fitted on random numbers, MobileNet by default."""
    extractor = FeatureExtractor(**{"precision": "float32", **options}).fit([])
    rows = np.random.default_rng(0).random((30, extractor.n_features_out_), dtype=np.float32)
    estimator.fit(rows, list(classes) * (30 // len(classes)))
    save_pipeline(make_pipeline(extractor, estimator), path, features=rows)
    return path


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize(
    "name",  # that of OpenVINO Model Server: repository, model, version
    [pytest.param("model.keras", marks=pytest.mark.thorough), "model.onnx", "repository/photos/1"],
)
def test_exported_probabilities_of_photos(
    name: str,
    photos: list[PIL.Image.Image],
    tmp_path: Path,
    compiled_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = [np.asarray(photo) for photo in photos[:24]]
    y = ["left" if index % 3 else "right" if index % 2 else "up" for index in range(24)]
    extractor = FeatureExtractor(precision="float32", cache=compiled_cache)
    pipeline = make_pipeline(extractor, make_baseline("logreg")).fit(images, y)
    save_pipeline(pipeline, tmp_path / "model.skops")
    model, cache = str(tmp_path / "model.skops"), str(compiled_cache)
    assert cli.main(["export", model, "-o", str(tmp_path / name), "--cache", cache, "--json", "--quiet"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["output"] == "probabilities"
    assert exported["max_difference"] < 1e-4
    pixels = np.stack([np.asarray(photo.resize((224, 224))) for photo in photos[:24]])
    expected = pipeline.predict_proba(pixels)
    if name == "model.keras":
        import keras

        predicted = keras.models.load_model(tmp_path / name).predict(pixels, verbose=0)
        with zipfile.ZipFile(tmp_path / name) as archive:
            card = json.loads(archive.read("featx.json"))
    elif name == "model.onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(tmp_path / name)
        (predicted,) = session.run(["probabilities"], {"pixels": pixels})
        card = json.loads(session.get_modelmeta().custom_metadata_map["featx"])
    else:
        core = import_openvino().Core()
        network = core.read_model(tmp_path / name / "model.xml")
        predicted = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([pixels])["probabilities"]
        card = json.loads(network.get_rt_info("featx").astype(str))
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["model.bin", "model.xml"]
    np.testing.assert_allclose(predicted, expected, atol=1e-4)
    assert card["labels"] == ["left", "right", "up"] == load_pipeline(tmp_path / "model.skops").classes_.tolist()


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_difference_in_training_precision(precision: str, tmp_path: Path, compiled_cache: Path) -> None:
    if precision == "bfloat16" and not has_native_bfloat16():
        pytest.skip("this CPU has no bfloat16")
    model = read_model(model_of(make_baseline("logreg"), tmp_path / "m.skops", precision=precision))
    resolved = model.resolve()
    pixels = comparison_images(resolved.recipe.image_size)
    _, probabilities = model.predict_scores(resolved.start(compiled_cache / "compiled")(pixels))
    assert probabilities is not None
    outputs = probabilities + np.where(np.arange(probabilities.size).reshape(probabilities.shape) == 4, 0.07, 0)
    difference = difference_in_training_precision(model, pixels, outputs, compiled_cache / "compiled")
    assert difference == pytest.approx(0.07, abs=1e-6)
    notes = precision_notes(precision, difference)
    captured = ExportedModel("m.onnx", "onnx", "probabilities", 7.6e-7, notes, difference).as_text()
    assert "maximum difference from the model 7.6e-07 (float32" in captured
    assert f"trained in {precision}" in captured
    assert "maximum difference 7.0e-02" in captured
    float32_model = read_model(model_of(make_baseline("logreg"), tmp_path / "f.skops"))
    assert difference_in_training_precision(float32_model, pixels, outputs, None) is None
    assert precision_notes("float32", None) == []


@pytest.mark.thorough  # Keras in child processes
def test_custom_onnx_file_is_exported_to_openvino(tmp_path: Path) -> None:
    from tests.backbones.networks import save_onnx

    path = tmp_path / "own.onnx"
    save_onnx(path)
    model = model_of(
        make_baseline("ridge"), tmp_path / "m.skops", backbone=str(path), preprocessing="tf", image_size=48
    )
    exported = export_model(model, tmp_path / "out", cache=None)
    assert exported.output == "scores"
    with pytest.raises(ExportError, match="Export it to OpenVINO: pass the name of a folder"):
        export_model(model, tmp_path / "out.onnx", cache=None)


@pytest.mark.parametrize(
    ("estimator", "options", "name", "remedy"),
    [
        (GaussianNB(), {}, "m.keras", "Cannot convert GaussianNB.*Use logreg"),
        (make_baseline("knn"), {}, "m.keras", "need the features of all training images. Train"),
        (make_baseline("logreg"), {"backbone": "color_histogram"}, "m.keras", "is not a neural network"),
        (make_baseline("logreg"), {"tta": "flip"}, "m.onnx", "test-time augmentation.*without tta"),
        (make_baseline("logreg"), {}, "m.pb", "must end in .keras or .onnx"),
        (make_baseline("knn"), {}, "m.ONNX", "nearest neighbors"),
    ],
    ids=["estimator", "neighbors", "histogram", "tta", "format", "case"],
)
def test_unsupported_models_are_refused(
    estimator: Any, options: dict[str, Any], name: str, remedy: str, tmp_path: Path
) -> None:
    model = model_of(estimator, tmp_path / "model.skops", **options)
    with pytest.raises((ExportError, OptionError), match=remedy):
        export_model(model, tmp_path / name, cache=None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.skops"]


def test_other_files_are_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of(make_baseline("logreg"), tmp_path / "model.skops")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="contains 'thesis.txt'"):
        export_model(model, mine, cache=None)
    (tmp_path / "dir.keras").mkdir()
    for name in ("thesis.onnx", "thesis.keras"):
        (tmp_path / name).write_text("years")
        with pytest.raises(OutputError, match="was not written by featx"):
            export_model(model, tmp_path / name, cache=None)
        assert (tmp_path / name).read_text() == "years"
    with pytest.raises(OutputError, match="it is a folder"):
        export_model(model, tmp_path / "dir.keras", cache=None)
    assert cli.main(["export", str(model), "-o", str(tmp_path / "no" / "m.onnx"), "--no-cache"]) == 1
    assert "Cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_difference_is_independent_of_units(unit: float) -> None:
    scores = np.array([[0.1], [0.5], [0.3]]) * unit
    assert relative_difference(scores * 1.001, scores) == pytest.approx(0.0005 / 0.4)
    assert relative_difference(scores.astype(np.float32) + 0, scores) < 1e-6
    assert relative_difference(scores * 0, scores * 0) == 0  # constant scores
    far = (scores + 1e4 * unit).astype(np.float32)
    assert relative_difference(far, far + 1e-4 * unit) < 1e-5  # beyond the digits of float32


def test_folders_above_a_version_are_created(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("model.xml", "model.bin"):
        (tmp_path / "out" / name).write_text(name)
    with pytest.raises(OutputError, match="there is no folder '.*repositry'. Create it, or choose another folder"):
        _check_target(tmp_path / "repositry" / "photos", "openvino")
    version = tmp_path / "repository" / "photos" / "1"
    _check_target(version, "openvino")
    move_files(tmp_path / "out", version, "openvino")
    assert sorted(path.name for path in version.iterdir()) == ["model.bin", "model.xml"]


def test_interrupted_export_leaves_no_graph_of_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def written(name: str) -> Path:
        out = tmp_path / name
        out.mkdir(parents=True)
        (out / "model.bin").write_text(f"weights {name}")
        (out / "model.xml").write_text(f"graph {name}")
        return out

    def contents() -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((tmp_path / "m").iterdir())}

    move_files(written("1"), tmp_path / "m", "openvino")
    assert contents() == {"model.bin": "weights 1", "model.xml": "graph 1"}
    replace = os.replace

    def stop(source: Any, target: Any) -> None:
        if str(target).endswith(".xml"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        move_files(written("2"), tmp_path / "m", "openvino")
    assert contents() == {"model.bin": "weights 2"}
    monkeypatch.undo()
    move_files(written("3"), tmp_path / "m", "openvino")
    assert contents() == {"model.bin": "weights 3", "model.xml": "graph 3"}
