"""Attribution maps: exact ones that add up to the score, occlusion maps, and their image files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, explain_images, predict_images, save_pipeline
from featx.baselines.estimators import make_baseline
from featx.cli import main as cli
from featx.errors import OptionError, OutputError
from featx.models.explain.attribution import Attribution
from featx.models.explain.explainer import Explainer
from featx.models.explain.overlay import side_by_side
from featx.models.model_file import read_model

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def images(photos: list[PIL.Image.Image]) -> list[Array]:
    return [np.asarray(photo) for photo in photos[:12]]


def saved(estimator: Any, images: list[Any], y: list[Any], path: Path, **options: Any) -> Any:
    options = {"precision": "float32", **options}
    pipeline = make_pipeline(FeatureExtractor(**options), estimator).fit(images, y)
    save_pipeline(pipeline, path)
    return pipeline


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["logreg", "ridge", "calibrated"])
def test_activation_map_adds_up_to_the_score(
    n_classes: int, name: str, images: list[Array], tmp_path: Path, compiled_cache: Path
) -> None:
    y = [f"class {index % n_classes}" for index in range(len(images))]
    is_calibrated = name == "calibrated"
    estimator = CalibratedClassifierCV(make_baseline("ridge"), ensemble=False, cv=2)
    estimator = estimator if is_calibrated else make_baseline(name)
    pipeline = saved(estimator, images, y, tmp_path / "model.skops", cache=compiled_cache)
    if is_calibrated:  # the input of the sigmoids
        (part,) = pipeline[-1].calibrated_classifiers_
        values = part.estimator.decision_function(pipeline[0].transform(images)).reshape(len(images), -1)
        decisions = np.stack([-one.a_ * values[:, at] - one.b_ for at, one in enumerate(part.calibrators)], axis=1)
    else:
        decisions = pipeline.decision_function(images).reshape(len(images), -1)
    for at, found in enumerate(explain_images(tmp_path / "model.skops", images, cache=compiled_cache)):
        attribution = found.attribution
        assert attribution is not None
        assert attribution.method == "activation"
        assert attribution.map.shape == (7, 7)
        assert attribution.label == pipeline.predict([images[at]])[0]
        expected = decisions[at].max() if n_classes > 2 else abs(decisions[at, 0])
        assert attribution.score == pytest.approx(expected, abs=1e-4)
        assert attribution.map.mean() == pytest.approx(expected, abs=1e-4)
    (other,) = explain_images(tmp_path / "model.skops", images[:1], label="class 0", cache=compiled_cache)
    assert other.attribution is not None
    first = decisions[0, 0] if n_classes > 2 else -decisions[0, 0]
    assert other.attribution.map.mean() == pytest.approx(first, abs=1e-4)


@pytest.fixture(scope="module")
def digits(digits_folder: Path) -> list[Path]:
    return sorted(digits_folder.glob("[0-2]/*.png"))[::9]


@pytest.fixture(scope="module")
def model(digits: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a neural network, which is fast."""
    path = tmp_path_factory.mktemp("model") / "model.skops"
    labels = [path.parent.name for path in digits]
    saved(make_baseline("logreg"), list(digits), labels, path, backbone="color_histogram", image_size=24, cache=None)
    return path


def test_occlusion_without_effect_has_no_color(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The groups are so far apart that an occluded image has the same neighbors, at other distances.
    rng = np.random.default_rng(0)
    images = [rng.integers(low, low + 100, (24, 24, 3), dtype=np.uint8) for low in [0] * 9 + [150] * 9]
    labels = ["dark"] * 9 + ["light"] * 9
    saved(make_baseline("knn"), images, labels, tmp_path / "m", backbone="color_histogram", image_size=24, cache=None)
    shown = rng.integers(0, 100, (24, 24, 3), dtype=np.uint8)
    (explanation,) = explain_images(tmp_path / "m", [shown], cache=None)
    assert explanation.attribution is not None
    assert not explanation.attribution.map.any()
    assert explanation.note == "no occluded square changed the score"
    colors = np.asarray(side_by_side(explanation.attribution))[:, -100:]
    assert (colors.max(axis=2) == colors.min(axis=2)).all()
    PIL.Image.fromarray(shown).save(tmp_path / "shown.png")
    command = ["explain", str(tmp_path / "m"), str(tmp_path / "shown.png"), "-o", str(tmp_path / "seen"), "--quiet"]
    assert cli.main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["note"] == explanation.note


def test_occlusion_map(model: Path, digits: list[Path]) -> None:
    (explanation,) = explain_images(model, digits[:1], cache=None)
    attribution = explanation.attribution
    assert attribution is not None
    assert attribution.method == "occlusion"
    assert attribution.map.shape == (12, 12)
    # Computed directly for one square of two by two pixels.
    opened = read_model(model)
    covered = attribution.pixels.copy()
    covered[4:6, 10:12] = (124, 117, 104)
    engine = opened.resolve().start(None)
    scores, _ = opened.predict_scores(engine(np.stack([attribution.pixels, covered])))
    at = opened.card.classes.index(attribution.label)
    assert attribution.map[2, 5] == pytest.approx(scores[0, at] - scores[1, at], abs=1e-5)


def test_predicted_class_is_explained(digits: list[Path], tmp_path: Path) -> None:
    y = ["0" if path.parent.name == "0" else "other" for path in digits]
    strict = FixedThresholdClassifier(LogisticRegression(), threshold=0.999, response_method="predict_proba")
    saved(strict, list(digits), y, tmp_path / "m.skops", backbone="color_histogram", image_size=24, cache=None)
    model, some = read_model(tmp_path / "m.skops"), [digits[0], digits[-1]]
    assert model.head is None
    seen = [item.attribution.label for item in explain_images(model, some, cache=None) if item.attribution]
    assert seen == predict_images(model, some, cache=None)["label"].tolist() == ["0", "0"]


def test_regression_is_explained(digits: list[Path], tmp_path: Path) -> None:
    y = [float(one.parent.name) + number / 999 for number, one in enumerate(digits)]
    saved(Ridge(), list(digits), y, tmp_path / "m.skops", backbone="color_histogram", image_size=24, cache=None)
    (explanation,) = explain_images(tmp_path / "m.skops", digits[:1], cache=None)
    assert explanation.attribution is not None
    assert explanation.attribution.label is None
    with pytest.raises(OptionError, match="must be None for a regression model"):
        explain_images(tmp_path / "m.skops", digits[:1], label="1", cache=None)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backbone": "color_histogram", "image_size": 24}, "is not a neural network"),
        ({"pooling": "max"}, "not the averages of the feature maps of one layer"),
        ({"layer": (-1, -10)}, "not the averages of the feature maps of one layer"),
    ],
)
def test_features_without_activation_map(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    pipeline = make_pipeline(FeatureExtractor(precision="float32", **options).fit([]), LogisticRegression())
    n_features = pipeline[0].n_features_out_
    pipeline[1].fit(np.random.default_rng(0).random((9, n_features)), list("abc" * 3))
    save_pipeline(pipeline, tmp_path / "model.skops")
    with pytest.raises(OptionError, match=f"{reason}.*--method occlusion"):
        Explainer(read_model(tmp_path / "model.skops"), method="activation")
    assert Explainer(read_model(tmp_path / "model.skops")).method == "occlusion"


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (make_baseline("svm"), "SVC is not linear in the features"),
        (make_baseline("linear-svm"), "the scores of SVC are votes between pairs of classes"),
        (make_baseline("centroid"), "normalizes the features of each image to unit norm"),
        (GaussianNB(), "GaussianNB has no known weights of features"),
    ],
    ids=["svm", "linear-svm", "centroid", "naive Bayes"],
)
def test_estimators_without_activation_map(estimator: Any, reason: str, tmp_path: Path) -> None:
    pipeline = make_pipeline(FeatureExtractor(precision="float32").fit([]), estimator)
    pipeline[1].fit(np.random.default_rng(0).random((9, 1024)), list("abc" * 3))
    save_pipeline(pipeline, tmp_path / "model.skops")
    with pytest.raises(OptionError, match=f"{reason}.*--method occlusion"):
        Explainer(read_model(tmp_path / "model.skops"), method="activation")


def test_colors_of_overlay() -> None:
    values = np.zeros((7, 7), dtype=np.float32)
    values[1, 1], values[5, 5] = 4, -4
    attribution = Attribution("a", 1.0, values, np.full((224, 224, 3), 128, dtype=np.uint8), "activation")
    drawn = np.asarray(side_by_side(attribution)).astype(int)
    height, width = drawn.shape[:2]
    assert (height, width) == (336, 2 * 336 + 8)
    assert (drawn[:, :336] == 128).all()
    overlay_half = drawn[:, -336:]
    at = [round((1 + 0.5) / 7 * 336), round((5 + 0.5) / 7 * 336)]
    red, blue = overlay_half[at[0], at[0]], overlay_half[at[1], at[1]]
    assert red[0] > red[2] + 80
    assert blue[2] > blue[0] + 80
    nothing = dataclasses.replace(attribution, map=np.zeros_like(values))
    assert (np.asarray(side_by_side(nothing))[:, -336:] == 128).all()


def test_explain_command_skips_unreadable_images(
    model: Path, digits: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, twin = tmp_path / "bad.jpg", tmp_path / "other" / digits[0].name
    bad.write_bytes(b"junk")
    twin.parent.mkdir()
    twin.write_bytes(digits[0].read_bytes())
    out = tmp_path / "seen"
    sources = [str(digits[0]), str(bad), str(twin)]
    assert cli.main(["explain", str(model), *sources, "-o", str(out), "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in rows] == sources
    assert "not an image" in rows[1]["error"]
    written = sorted(path.name for path in out.iterdir())
    assert written == sorted(Path(row["file"]).name for row in rows if row["file"])
    assert len(written) == 2
    with PIL.Image.open(out / written[0]) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--label", "9"], r"must be a class of the model \(0, 1, 2\), got '9'"),
        (["--method", "magic"], "must be one of 'auto', 'activation', 'occlusion', got"),
        (["--method", "activation"], "--method occlusion"),
        (["-o", "FILE"], "Cannot write"),
        (["--no-cache", "--label", "9"], "must be a class of the model"),
    ],
)
def test_explain_command_errors(
    arguments: list[str],
    remedy: str,
    model: Path,
    digits: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    arguments = ["file/seen" if argument == "FILE" else argument for argument in arguments]
    assert cli.main(["explain", str(model), str(digits[0]), *arguments, "--quiet"]) == (1 if "-o" in arguments else 2)
    captured = capsys.readouterr()
    assert re.search(remedy, captured.err), captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "explained").exists()


def test_output_folder_cannot_be_created(model: Path, digits: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="Choose another folder"):
        explain_images(model, digits[:1], output=tmp_path / "file" / "seen", cache=None)


def test_other_files_are_not_replaced(digits: list[Path], tmp_path: Path) -> None:
    y = [float(one.parent.name) + number / 999 for number, one in enumerate(digits)]
    saved(Ridge(), list(digits), y, tmp_path / "m.skops", backbone="color_histogram", image_size=24, cache=None)
    photo = tmp_path / "photos" / "a.png"
    photo.parent.mkdir()
    photo.write_bytes(digits[0].read_bytes())
    for _ in range(2):  # files of featx may be replaced
        (explanation,) = explain_images(tmp_path / "m.skops", [photo], output=photo.parent, cache=None)
    assert photo.read_bytes() == digits[0].read_bytes()
    Path(explanation.file).write_bytes(digits[1].read_bytes())
    with pytest.raises(OutputError, match="was not written by featx"):
        explain_images(tmp_path / "m.skops", [photo], output=photo.parent, cache=None)


def test_maps_of_other_images_are_kept_in_later_runs(model: Path, digits: list[Path], tmp_path: Path) -> None:
    twin = tmp_path / "other" / digits[0].name
    twin.parent.mkdir()
    twin.write_bytes(digits[0].read_bytes())
    files = [explain_images(model, [path], output=tmp_path / "seen", cache=None)[0].file for path in (digits[0], twin)]
    again = [explain_images(model, [path], output=tmp_path / "seen", cache=None)[0].file for path in (digits[0], twin)]
    assert files[0] != files[1]
    assert again == files
    assert len(list((tmp_path / "seen").iterdir())) == 2


def test_truncated_photo_is_explained(photos: list[PIL.Image.Image], tmp_path: Path) -> None:
    paths = []
    for at, photo in enumerate(photos[:6]):
        paths.append(tmp_path / f"{at}.jpg")
        photo.save(paths[-1])
    options = {"backbone": "color_histogram", "image_size": 24, "on_truncated": "pad", "cache": None}
    saved(make_baseline("logreg"), paths, list("ab" * 3), tmp_path / "m.skops", **options)
    paths[0].write_bytes(paths[0].read_bytes()[: paths[0].stat().st_size // 2])
    (explanation,) = explain_images(tmp_path / "m.skops", paths[:1], cache=None)
    assert explanation.attribution is not None
