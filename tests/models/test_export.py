"""Models as networks for other programs: the same numbers in Keras, ONNX Runtime and OpenVINO."""

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
from featx.errors import ExportError, OutputError
from featx.models.export import export as exporting
from featx.models.export.export import _move, _relative
from featx.models.export.worker import _applied
from featx.models.head.from_sklearn import as_head
from featx.models.model_file import read_model
from tests.models.test_head import baseline, digits

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
def test_every_head_is_the_same_in_keras_and_openvino(name: str, n_classes: int) -> None:
    import keras

    X, y, others = digits(n_classes)
    if name == "pca":
        estimator = make_pipeline(PCA(12, whiten=True), LogisticRegression(max_iter=2000))
    elif name == "calibrated svm":
        estimator = CalibratedClassifierCV(baseline("svm"), ensemble=False, cv=3)
    else:
        estimator = baseline(name)
    head = as_head(estimator.fit(X, y))
    scores, shares = head(others)
    expected = scores if shares is None else shares
    features = keras.Input((X.shape[1],))
    model = keras.Model(features, _applied(keras, features, head))
    atol = 1e-4 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(model.predict(others, verbose=0), expected, atol=atol)
    compiled = (
        import_openvino()
        .Core()
        .compile_model(import_openvino().convert_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    np.testing.assert_allclose(compiled([others])[0], expected, atol=atol)


def model_of(estimator: Any, path: Path, classes: str = "abc", **options: Any) -> Path:
    """A model fitted on numbers at random, of MobileNet if nothing else is said."""
    extractor = FeatureExtractor(**{"precision": "float32", **options}).fit([])
    rows = np.random.default_rng(0).random((30, extractor.n_features_out_), dtype=np.float32)
    estimator.fit(rows, list(classes) * (30 // len(classes)))
    save_pipeline(make_pipeline(extractor, estimator), path, features=rows)
    return path


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize("name", [pytest.param("model.keras", marks=pytest.mark.thorough), "model.onnx", "openvino"])
def test_an_exported_model_gives_the_pipelines_probabilities_of_real_photos(
    name: str, photos: list[PIL.Image.Image], tmp_path: Path, compiled_cache: Path
) -> None:
    images = [np.asarray(photo) for photo in photos[:24]]
    y = ["left" if at % 3 else "right" if at % 2 else "up" for at in range(24)]
    extractor = FeatureExtractor(precision="float32", cache=compiled_cache)
    pipeline = make_pipeline(extractor, make_baseline("logreg")).fit(images, y)
    save_pipeline(pipeline, tmp_path / "model.skops")
    exported = export_model(tmp_path / "model.skops", tmp_path / name, cache=compiled_cache)
    assert exported.output == "probabilities"
    assert exported.largest_difference < 1e-4
    pixels = np.stack([np.asarray(photo.resize((224, 224))) for photo in photos[:24]])
    expected = pipeline.predict_proba(pixels)
    if name == "model.keras":
        import keras

        found = keras.models.load_model(tmp_path / name).predict(pixels, verbose=0)
        with zipfile.ZipFile(tmp_path / name) as archive:
            card = json.loads(archive.read("featx.json"))
    elif name == "model.onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(tmp_path / name)
        (found,) = session.run(["probabilities"], {"pixels": pixels})
        card = json.loads(session.get_modelmeta().custom_metadata_map["featx"])
    else:
        core = import_openvino().Core()
        network = core.read_model(tmp_path / name / "model.xml")
        found = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([pixels])["probabilities"]
        card = json.loads(network.get_rt_info("featx").astype(str))
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["model.bin", "model.xml"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert card["labels"] == ["left", "right", "up"] == load_pipeline(tmp_path / "model.skops").classes_.tolist()


def test_of_a_model_that_is_not_of_float32_the_difference_to_itself_is_told(
    tmp_path: Path, compiled_cache: Path
) -> None:
    if FeatureExtractor().fit([]).recipe_["precision"] != "bfloat16":
        pytest.skip("this CPU has no bfloat16")
    model = read_model(model_of(make_baseline("logreg"), tmp_path / "m.skops", precision="bfloat16"))
    resolved = model.resolve()
    pixels = exporting._images_to_check(resolved.recipe.image_size)
    _, shares = model.predict_scores(resolved.start(compiled_cache / "compiled")(pixels))
    assert shares is not None
    outputs = shares + np.where(np.arange(shares.size).reshape(shares.shape) == 4, 0.07, 0)
    as_it_is = exporting._difference_as_it_is(model, pixels, outputs, compiled_cache / "compiled")
    assert as_it_is == pytest.approx(0.07, abs=1e-6)
    notes = exporting._notes("bfloat16", as_it_is)
    said = exporting.ExportedModel("m.onnx", "onnx", "probabilities", 7.6e-7, notes, as_it_is).as_text()
    assert "by 7.6e-07 at the most, both in float32" in said
    assert "computes in bfloat16" in said
    assert "differs from it by 7.0e-02" in said
    of_float32 = read_model(model_of(make_baseline("logreg"), tmp_path / "f.skops"))
    assert exporting._difference_as_it_is(of_float32, pixels, outputs, None) is None
    assert exporting._notes("float32", None) == []


@pytest.mark.thorough  # Keras in child processes
def test_an_onnx_network_of_ones_own_goes_to_openvino(tmp_path: Path) -> None:
    from tests.backbones.test_network_file import _save_onnx

    path = tmp_path / "own.onnx"
    _save_onnx(path)
    model = model_of(
        make_baseline("ridge"), tmp_path / "m.skops", backbone=str(path), preprocessing="tf", image_size=48
    )
    exported = export_model(model, tmp_path / "out", cache=None)
    assert exported.output == "scores"
    with pytest.raises(ExportError, match="for OpenVINO only. Name a folder"):
        export_model(model, tmp_path / "out.onnx", cache=None)


@pytest.mark.parametrize(
    ("estimator", "options", "name", "remedy"),
    [
        (GaussianNB(), {}, "m.keras", "GaussianNB cannot be written as steps.*Those that can: logreg"),
        (make_baseline("knn"), {}, "m.keras", "are not written as a network.*hold the features of all images.*Train"),
        (make_baseline("logreg"), {"backbone": "color_histogram"}, "m.keras", "is no network"),
        (make_baseline("logreg"), {"tta": "flip"}, "m.onnx", "several views.*Train one without views"),
        (make_baseline("logreg"), {}, "m.pb", "ends in .keras or .onnx"),
        (make_baseline("knn"), {}, "m.ONNX", "compare each new one with them. Train"),
    ],
    ids=["estimator", "neighbours", "histogram", "tta", "format", "case"],
)
def test_what_cannot_be_exported_is_refused_with_a_remedy(
    estimator: Any, options: dict[str, Any], name: str, remedy: str, tmp_path: Path
) -> None:
    model = model_of(estimator, tmp_path / "model.skops", **options)
    with pytest.raises(ExportError, match=remedy):
        export_model(model, tmp_path / name, cache=None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.skops"]


def test_nothing_of_others_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_a_difference_is_told_in_any_unit(unit: float) -> None:
    scores = np.array([[0.1], [0.5], [0.3]]) * unit
    assert _relative(scores * 1.001, scores) == pytest.approx(0.0005 / 0.4)
    assert _relative(scores.astype(np.float32) + 0, scores) < 1e-6
    assert _relative(scores * 0, scores * 0) == 0  # of a constant
    far = (scores + 1e4 * unit).astype(np.float32)
    assert _relative(far, far + 1e-4 * unit) < 1e-5  # where float32 has no more digits


def test_an_export_that_is_stopped_leaves_no_graph_of_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def written(of: str) -> Path:
        out = tmp_path / of / "out"
        out.mkdir(parents=True)
        (out / "model.bin").write_text(f"weights {of}")
        (out / "model.xml").write_text(f"graph {of}")
        return out.parent

    def found() -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((tmp_path / "m").iterdir())}

    _move(written("1"), tmp_path / "m", "openvino")
    assert found() == {"model.bin": "weights 1", "model.xml": "graph 1"}
    replace = os.replace

    def stop(source: Any, target: Any) -> None:
        if str(target).endswith(".xml"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        _move(written("2"), tmp_path / "m", "openvino")
    assert found() == {"model.bin": "weights 2"}
    monkeypatch.undo()
    _move(written("3"), tmp_path / "m", "openvino")
    assert found() == {"model.bin": "weights 3", "model.xml": "graph 3"}
