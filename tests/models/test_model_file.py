"""Models: trained, written to one file that runs no code, read again, and used on new images."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from featx import (
    FeatureExtractor,
    FineTunedClassifier,
    explain_images,
    export_model,
    load_pipeline,
    predict_images,
    save_pipeline,
    train_images,
)
from featx.baselines.estimators import make_baseline
from featx.cli import main as cli
from featx.datasets.sample_images import write_digits
from featx.errors import (
    ComparisonError,
    ModelFileError,
    OptionError,
    OutputError,
    RecipeMismatchError,
    WeightsNotFoundError,
)
from featx.models.archive import checksum
from featx.models.model import Model
from featx.models.model_file import read_model
from featx.models.novelty import NoveltyDetector

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return sorted(folder.glob("[0-3]/*.png"))[::6]


@pytest.fixture(scope="module")
def labels(digits: list[Path]) -> list[str]:
    return [path.parent.name for path in digits]


def extractor(**options: Any) -> FeatureExtractor:
    return FeatureExtractor("color_histogram", image_size=8, **options)


@pytest.fixture(scope="module")
def model(digits: list[Path], labels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.skops"
    train_images(digits, labels, backbone=extractor(), cache=None).save(path)
    return path


def rewritten(model: Path, path: Path, change: Any, *, digests: bool = False) -> Path:
    """A copy of a model whose files `change` has had its hands on; with `digests`, of the new files."""
    import hashlib

    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    ours = json.loads(members["featx.json"])
    if "checksum" in ours and ours["checksum"] is not None:
        ours["checksum"] = checksum(ours)
        members["featx.json"] = json.dumps(ours).encode()
    if digests:
        ours["files"] = {
            name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != "featx.json"
        }
        ours["checksum"] = checksum(ours)
        members["featx.json"] = json.dumps(ours).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_model_is_a_plain_pipeline_again(model: Path, digits: list[Path], labels: list[str]) -> None:
    pipeline = load_pipeline(model)
    assert type(pipeline) is Pipeline
    assert pipeline.score(digits, labels) > 0.5
    by_hand = make_pipeline(extractor(cache=None), make_baseline("logreg")).fit(digits, labels)
    np.testing.assert_allclose(pipeline.predict_proba(digits), by_hand.predict_proba(digits), atol=1e-5)
    assert skops.io.get_untrusted_types(file=model) == [
        "featx.scale_to_unit_length",
        "featx.extraction.feature_extractor.FeatureExtractor",
    ]


def test_a_model_says_what_it_is(model: Path, digits: list[Path], labels: list[str]) -> None:
    card = read_model(model).card
    assert card.estimator == "logreg"
    assert card.classes == ["0", "1", "2", "3"]
    assert card.counts == {name: labels.count(name) for name in card.classes}
    assert card.n_images == len(digits)
    assert card.recipe["backbone"] == "color_histogram"
    assert {"featx", "scikit-learn", "numpy", "python"} <= card.versions.keys()
    assert card.date.endswith("+00:00")
    assert card.scores["metric"] == "accuracy"
    assert 0 < card.scores["low"] < card.scores["mean"] < card.scores["high"] <= 1
    assert "5 stratified folds" in card.scores["split"]
    text = str(card)
    assert text.startswith("estimator  logreg (classification)\n4 classes  0 (")
    for words in (f"{len(digits)} images, 512 features", "accuracy 0.", "5 stratified folds", "color_histogram, 8×8"):
        assert words in text


def test_scores_of_ones_own_are_kept_and_told(digits: list[Path], labels: list[str], tmp_path: Path) -> None:
    pipeline = make_pipeline(extractor(cache=None), LogisticRegression()).fit(digits, labels)
    save_pipeline(pipeline, tmp_path / "model.skops", scores={"mean": 0.9, "on": "Tuesday"}, notes=["Mind the light."])
    text = read_model(tmp_path / "model.skops").card.as_text()
    assert "scored     mean 0.9, on Tuesday" in text
    assert text.endswith("\nMind the light.")
    assert "fitted on" not in text


@pytest.mark.parametrize(
    ("name", "calibrate"),
    [
        *((name, False) for name in ("logreg", "svm", "linear-svm", "knn", "ridge", "lda", "centroid", "dummy")),
        *((name, True) for name in ("logreg", "svm", "ridge")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*within_class_std_dev_")
def test_predictions_are_those_of_the_pipeline(
    name: str, calibrate: bool, digits: list[Path], labels: list[str], tmp_path: Path
) -> None:
    trained = train_images(digits, labels, backbone=extractor(), estimators=[name], calibrate=calibrate, cache=None)
    trained.save(tmp_path / "model.skops")
    model = read_model(tmp_path / "model.skops")
    assert model.head is not None
    found = predict_images(model, digits, top=4, cache=None)
    assert found["label"].tolist() == trained.pipeline.predict(digits).tolist()
    if calibrate or name in ("logreg", "knn", "lda"):
        shares = trained.pipeline.predict_proba(digits)
        np.testing.assert_allclose(found["probability"], shares.max(axis=1), atol=1e-4)
        parts = found[["probability", "probability_2", "probability_3", "probability_4"]].to_numpy()
        np.testing.assert_allclose(parts.sum(axis=1), 1, atol=1e-4)
        assert (np.diff(parts, axis=1) <= 1e-9).all()


def test_estimators_that_are_no_steps_are_left_to_scikit_learn(
    digits: list[Path], labels: list[str], tmp_path: Path
) -> None:
    trained = train_images(digits, labels, backbone=extractor(), estimators=[GaussianNB()], cache=None)
    trained.save(tmp_path / "model.skops")
    assert read_model(tmp_path / "model.skops").head is None
    found = predict_images(tmp_path / "model.skops", digits, cache=None)
    assert found["label"].tolist() == trained.pipeline.predict(digits).tolist()
    np.testing.assert_allclose(found["probability"], trained.pipeline.predict_proba(digits).max(axis=1))


def test_estimators_that_would_not_be_trusted_are_refused_before_any_work(
    digits: list[Path], labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forest = RandomForestClassifier(2).fit([[0], [1]], [0, 1])
    if not skops.io.get_untrusted_types(data=skops.io.dumps(forest)):
        pytest.skip("this version of skops trusts trees")
    monkeypatch.delattr("featx.workflows.train.compare_tables")
    with pytest.raises(ModelFileError, match="sklearn.tree._tree.Tree would not be trusted"):
        train_images(digits, labels, backbone=extractor(), estimators=[RandomForestClassifier(2)], cache=None)


def test_quantities_are_predicted(digits: list[Path], labels: list[str], tmp_path: Path) -> None:
    y = [float(label) + number / 1000 for number, label in enumerate(labels)]
    trained = train_images(digits, y, backbone=extractor(), cache=None)
    trained.save(tmp_path / "model.skops")
    found = predict_images(tmp_path / "model.skops", digits[:5], cache=None)
    np.testing.assert_allclose(found["prediction"], trained.pipeline.predict(digits[:5]), rtol=1e-4)
    assert read_model(tmp_path / "model.skops").card.scores["metric"] == "r2"
    with pytest.raises(OptionError, match="quantities have no probabilities"):
        train_images(digits, y, backbone=extractor(), calibrate=True, cache=None)


def test_the_best_of_several_is_fitted_and_its_choice_told(digits: list[Path], labels: list[str]) -> None:
    trained = train_images(
        digits, labels, backbone=extractor(), estimators=["dummy", "logreg", "centroid"], tune=True, cache=None
    )
    assert trained.scores["estimator"] == trained.comparison.best == "logreg"
    assert trained.scores["best_params"].keys() == {"logisticregression__C"}
    assert "was chosen among dummy, logreg, centroid" in str(trained)


def test_groups_are_kept_whole_when_scores_are_calibrated(digits: list[Path], labels: list[str]) -> None:
    """Each image ten times: were they divided, the calibration would see its own training images."""
    many = digits[::3]
    trained = train_images(
        [*many] * 4, [*labels[::3]] * 4, backbone=extractor(), estimators=["svm"], calibrate=True, cache=None
    )
    divided = train_images(
        [*many] * 4,
        [*labels[::3]] * 4,
        backbone=extractor(),
        estimators=["svm"],
        calibrate=True,
        groups="none",
        cache=None,
    )
    sure = [one.pipeline.predict_proba(many).max(axis=1).mean() for one in (trained, divided)]
    assert sure[0] < sure[1] - 0.02


def test_images_unlike_the_training_images_are_told(model: Path, digits: list[Path], photos: list[Any]) -> None:
    found = predict_images(model, [*map(str, digits[:20]), *[np.asarray(photo) for photo in photos[:8]]], cache=None)
    assert (found["novelty_score"][:20] < 1.01).all()
    assert (found["novelty_score"][20:] > 1).all()
    assert (found["note"][20:] == "unlike the training images").all()


# Files that are not what they seem --------------------------------------------------------------------


def alter_weights(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("featx/scores"))
    members[name] = members[name][:-4] + b"\x00\x00\x80\x3f"


def add_code(members: dict[str, bytes]) -> None:
    members["schema.json"] = members["schema.json"].replace(b"scale_to_unit_length", b"_quietly_evil")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (alter_weights, "damaged, or was altered: a number that it decides by is not what was written"),
        (lambda members: members.pop("schema.json"), "a part of its scikit-learn pipeline is missing"),
        (lambda members: members.update({"evil.npy": b"x"}), "'evil.npy' was added to it"),
        (lambda members: members.update({"featx.json": b"{}"}), "cannot be understood"),
        (
            lambda members: members.update({"featx.json": b'{"format": 99, "files": {}}'}),
            "format 99.*Train the model again",
        ),
    ],
    ids=["a number", "a part less", "a part more", "no description", "of the future"],
)
def test_altered_models_are_refused(change: Any, reason: str, model: Path, tmp_path: Path) -> None:
    altered = rewritten(model, tmp_path / "altered.skops", change)
    with pytest.raises(ModelFileError, match=reason):
        load_pipeline(altered)


def test_code_is_refused_whatever_the_digests_say(model: Path, tmp_path: Path) -> None:
    altered = rewritten(model, tmp_path / "altered.skops", add_code, digests=True)
    with pytest.raises(ModelFileError, match=r"_quietly_evil.*could run anything.*refused"):
        load_pipeline(altered)


def test_foreign_files_are_refused_with_what_they_are(tmp_path: Path, model: Path) -> None:
    skops.io.dump(LogisticRegression(), tmp_path / "plain.skops")
    (tmp_path / "text.skops").write_text("words")
    (tmp_path / "cut.skops").write_bytes(model.read_bytes()[:-900])
    with zipfile.ZipFile(tmp_path / "packed.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("featx.json", "0" * 10_000)
    for name, reason in {
        "plain.skops": "has no featx.json",
        "text.skops": "is no model of featx",
        "cut.skops": "is no model of featx: it is no archive",
        "packed.skops": "compressed",
        "absent.skops": "cannot be read: No such file.*featx train",
    }.items():
        with pytest.raises(ModelFileError, match=reason):
            read_model(tmp_path / name)


def test_where_the_parts_lie_is_damaged_in_plain_words(model: Path, tmp_path: Path) -> None:
    data = bytearray(model.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    for at in (end + 12, end + 14, end + 16, end + 18):  # how long the list of parts is, and where it begins
        damaged = tmp_path / "damaged.skops"
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with pytest.raises(ModelFileError) as told:
            read_model(damaged)
        assert "damaged, or was altered: bytes of the archive have changed" in str(told.value)
        assert "seek" not in str(told.value)


def test_every_cut_and_many_damages_are_told(model: Path, tmp_path: Path) -> None:
    data = model.read_bytes()
    rng = np.random.default_rng(0)
    damaged = tmp_path / "damaged.skops"
    for at in rng.integers(0, len(data), 60):
        damaged.write_bytes(data[:at] if at % 2 else data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            pipeline = load_pipeline(damaged)
        except ModelFileError:
            continue
        assert isinstance(pipeline, Pipeline)  # bytes that zip does not look at


@pytest.mark.parametrize("name", ["logreg", "svm", "knn", "lda"])
def test_numbers_that_are_not_those_of_the_pipeline_are_told(
    name: str, digits: list[Path], labels: list[str], tmp_path: Path
) -> None:
    pipeline = make_pipeline(extractor(cache=None), make_baseline(name)).fit(digits, labels)
    save_pipeline(pipeline, tmp_path / "model.skops")
    assert load_pipeline(tmp_path / "model.skops").predict(digits).tolist() == pipeline.predict(digits).tolist()
    altered = rewritten(tmp_path / "model.skops", tmp_path / "altered.skops", alter_weights, digests=True)
    openers = (
        load_pipeline,
        lambda path: read_model(path).pipeline,
        lambda path: explain_images(path, [], cache=None),
        lambda path: export_model(path, tmp_path / "model.onnx", cache=None),
    )
    for opened in openers:
        with pytest.raises(ModelFileError, match="predicts by are not those of its scikit-learn pipeline"):
            opened(altered)


def test_what_no_prediction_needs_is_left_out(digits: list[Path], labels: list[str], tmp_path: Path) -> None:
    """Of 512 features, their covariance has 2 MB; of 1,024, 8."""
    lda = make_baseline("lda")
    calibrated = CalibratedClassifierCV(make_pipeline(make_baseline("lda")), ensemble=False, cv=2)
    for estimator in (lda, calibrated):
        pipeline = make_pipeline(extractor(cache=None), estimator).fit(digits, labels)
        save_pipeline(pipeline, tmp_path / "model.skops")
        assert (tmp_path / "model.skops").stat().st_size < 200_000
        loaded = load_pipeline(tmp_path / "model.skops")
        np.testing.assert_array_equal(loaded.predict_proba(digits), pipeline.predict_proba(digits))
    assert lda.covariance_.shape == (512, 512)  # of what was saved, nothing is taken


# Machines that cannot give the same features ----------------------------------------------------------


def test_a_recipe_that_cannot_be_had_here_is_told(model: Path, tmp_path: Path, digits: list[Path]) -> None:
    def other_pixels(members: dict[str, bytes]) -> None:
        ours = json.loads(members["featx.json"])
        ours["card"]["recipe"]["pixels"] = 1
        members["featx.json"] = json.dumps(ours).encode()

    other = rewritten(model, tmp_path / "other.skops", other_pixels)
    with pytest.raises(RecipeMismatchError, match="expected pixels '1'.*Install the featx version"):
        load_pipeline(other)
    with pytest.raises(RecipeMismatchError, match="pixels"):
        predict_images(other, digits[:1], cache=None)


def test_a_model_of_a_later_featx_is_read_as_far_as_it_can_be(model: Path, tmp_path: Path) -> None:
    def later(members: dict[str, bytes], **options: Any) -> None:
        ours = json.loads(members["featx.json"])
        ours["card"]["mood"] = "sunny"
        ours["card"]["options"] |= options
        members["featx.json"] = json.dumps(ours).encode()

    assert load_pipeline(rewritten(model, tmp_path / "more.skops", later)).classes_.tolist() == ["0", "1", "2", "3"]
    with pytest.raises(ModelFileError, match=r"does not know zoom\. Install that version"):
        read_model(rewritten(model, tmp_path / "other.skops", lambda members: later(members, zoom=2)))


def test_weights_that_are_gone_are_told(model: Path, tmp_path: Path) -> None:
    def gone(members: dict[str, bytes]) -> None:
        ours = json.loads(members["featx.json"])
        ours["card"]["options"] = {"backbone": "mobilenet", "weights": "/nowhere/w.weights.h5"}
        members["featx.json"] = json.dumps(ours).encode()

    with pytest.raises(WeightsNotFoundError, match="nowhere"):
        load_pipeline(rewritten(model, tmp_path / "gone.skops", gone))


# What cannot be saved ---------------------------------------------------------------------------------


def test_what_cannot_be_saved_is_told_before_anything_is_written(
    digits: list[Path], labels: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "model.skops"
    fitted = make_pipeline(extractor(cache=None), LogisticRegression()).fit(digits, labels)
    with pytest.raises(ModelFileError, match="not fitted"):
        save_pipeline(make_pipeline(extractor(), LogisticRegression()), path)
    with pytest.raises(ModelFileError, match="expected a Pipeline whose first step"):
        save_pipeline(fitted.steps[-1][1], path)
    strange = make_pipeline(extractor(cache=None), FunctionTransformer(extractor), Ridge())
    strange.steps[1] = ("f", FunctionTransformer(_identity))
    strange.fit(digits, [float(label) for label in labels])
    with pytest.raises(ModelFileError, match="_identity would not be trusted"):
        save_pipeline(strange, path)
    assert list(tmp_path.iterdir()) == []
    save_pipeline(fitted, path)
    assert load_pipeline(path).predict(digits[:3]).tolist() == fitted.predict(digits[:3]).tolist()
    assert read_model(path).novelty_detector is None
    path.write_text("mine")
    with pytest.raises(OutputError, match="was not written by featx"):
        save_pipeline(fitted, path)
    with pytest.raises(OutputError, match="it is a folder"):
        save_pipeline(fitted, tmp_path)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"features": np.zeros((40, 3))}, r"512 finite numbers each, got shape \(40, 3\).*pipeline\[0\].transform"),
        ({"features": np.zeros(512)}, r"got shape \(512,\)"),
        ({"features": np.zeros((0, 512))}, r"got shape \(0, 512\)"),
        ({"features": [["a"] * 512]}, "could not convert"),
        ({"features": np.full((40, 512), np.nan)}, "NaN or infinity. Leave images out"),
        ({"features": np.ones((40, 512)), "y": ["0"] * 39}, r"y: expected one label for each of 40 .*\(39,\)"),
        ({"y": [["0", "1"]] * 40}, r"y: expected one label for each image, got shape \(40, 2\)"),
        ({"scores": {"from": Path("a")}}, "scores: expected .* JSON.* among them"),
        ({"scores": 0.9}, "scores: expected a mapping"),
    ],
)
def test_material_that_cannot_be_its_own_is_refused(
    given: dict[str, Any], reason: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match=reason):
        save_pipeline(load_pipeline(model), tmp_path / "model.skops", **given)
    assert list(tmp_path.iterdir()) == []


def test_scores_and_notes_of_any_kind_of_number_are_kept(model: Path, tmp_path: Path) -> None:
    scores = {"acc": np.float32(0.5), "folds": np.arange(2), "mean": 0.5, "std": None, "low": None, "high": None}
    scores |= {"metric": "own", "split": "by hand"}
    save_pipeline(load_pipeline(model), tmp_path / "m.skops", scores=scores, notes=[Path("photos")])
    card = read_model(tmp_path / "m.skops").card
    assert (card.scores["acc"], card.scores["folds"], card.notes) == (0.5, [0, 1], ["photos"])
    assert "own 0.500; by hand" in card.as_text()


def test_a_network_that_was_not_tuned_is_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="FineTunedClassifier cannot be saved .* not fitted. Fit it"):
        save_pipeline(FineTunedClassifier(), tmp_path / "model.skops")


def _identity(X: Any) -> Any:
    return X


def test_the_cache_of_one_machine_is_no_part_of_a_model(digits: list[Path], labels: list[str], tmp_path: Path) -> None:
    mine = make_pipeline(extractor(cache=tmp_path / "mine"), LogisticRegression()).fit(digits, labels)
    save_pipeline(mine, tmp_path / "model.skops")
    assert load_pipeline(tmp_path / "model.skops").steps[0][1].cache == "auto"
    assert b"mine" not in (tmp_path / "model.skops").read_bytes()
    assert mine.steps[0][1].cache == tmp_path / "mine"


def test_too_few_images_of_a_class_are_told(digits: list[Path]) -> None:
    with pytest.raises(ComparisonError):
        train_images(digits[:4], ["a", "a", "a", "b"], backbone=extractor(), cache=None)


# The command line -------------------------------------------------------------------------------------


@pytest.fixture
def model_here(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.skops").write_bytes(model.read_bytes())
    return read_model(model)


def test_train_then_predict(
    digits: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(digits[0].parents[1])
    options = ["--backbone", "color_histogram", "--image-size", "8", "--quiet"]
    assert cli.main(["train", source, *options, "--best-of", "knn,logreg"]) == 0
    said = capsys.readouterr().out
    assert "fitted on 1,797 images, 10 classes" in said
    assert "accuracy 0." in said
    assert "model: model.skops, " in said
    assert cli.main(["train", source, *options, "--json", "--estimator", "centroid"]) == 0
    assert json.loads(capsys.readouterr().out)["estimator"] == "centroid"
    assert cli.main(["predict", "model.skops", str(digits[0]), "--top", "3", "--quiet"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["path"] == str(digits[0])
    assert list(row) == ["path", "label", "score", "label_2", "score_2", "label_3", "score_3", "novelty_score", "note"]


def test_unreadable_images_are_listed_and_cost_no_other(
    model_here: Model, digits: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "=bad.jpg").write_bytes(b"junk")
    names = [str(digits[0]), "=bad.jpg", str(digits[-1])]
    assert cli.main(["predict", "model.skops", *names, "-o", "predictions.csv"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 images predicted; 1 unreadable." in said.err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "predictions.csv").read_text())))
    assert [row["path"] for row in rows] == [str(digits[0]), "./=bad.jpg", str(digits[-1])]
    assert rows[1]["label"] == ""
    assert "no image" in rows[1]["note"]
    assert cli.main(["predict", "model.skops", *names, "--json", "--quiet"]) == 0
    parsed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["path"] for one in parsed] == names
    assert parsed[1]["error"]
    assert parsed[0]["top"][0]["label"] == parsed[0]["label"]


def test_unsure_labels_are_left_out(model_here: Model, digits: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "model.skops", *map(str, digits), "--threshold", "0.6", "--quiet"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    unsure = [row for row in rows if not row["label"]]
    assert 0 < len(unsure) < len(rows)
    assert all(float(row["probability"]) < 0.6 and row["note"].startswith("unsure, perhaps ") for row in unsure)
    assert all(float(row["probability"]) >= 0.6 for row in rows if row["label"])


@pytest.mark.parametrize("threshold", ["0.5", [0.5], 1.5, float("nan")])
def test_a_threshold_is_a_probability(threshold: Any, model: Path) -> None:
    with pytest.raises(OptionError, match=r"threshold=.*: expected a probability, from 0 to 1"):
        predict_images(model, [], threshold=threshold, cache=None)


def test_a_stream_of_paths_is_answered_as_it_comes(model_here: Model, digits: list[Path]) -> None:
    command = [sys.executable, "-m", "featx", "predict", "model.skops", "-", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline().startswith(b"path,label,probability")
        for path in digits[:3]:
            process.stdin.write(os.fsencode(path) + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(os.fsencode(path) + b",")
        process.stdin.write(os.fsencode(digits[3]))  # no line break at the end
        process.stdin.close()
        assert process.stdout.read().startswith(os.fsencode(digits[3]) + b",")
        assert process.wait() == 0


@pytest.mark.usefixtures("model_here")
@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["absent.skops", "a.png"], "`featx train PHOTOS -o absent.skops` writes one"),
        (["model.skops", "a.png"], "No such folder or file: 'a.png'"),
        (["model.skops", "-", "a.png"], "Give no other source beside it"),
        (["model.skops", "DIGIT", "--top", "0"], "1 or more"),
        (["model.skops", "DIGIT", "--threshold", "2"], "from 0 to 1"),
        (["model.skops", "DIGIT", "--path-column", "file"], "is no table"),
        (["model.skops", "DIGIT", "-o", "model.skops"], "was not written by featx"),
        (["model.skops", "DIGIT", "-o", "nowhere/p.csv"], "Cannot write"),
    ],
)
def test_wrong_usage_of_predict_is_one_line_with_a_remedy(
    arguments: list[str], remedy: str, digits: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(digits[0]) if one == "DIGIT" else one for one in arguments]
    assert cli.main(["predict", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert remedy in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--best-of", ","], "logreg,svm,knn"),
        (["--estimator", "logref"], "Did you mean 'logreg'"),
        (["-o", "nowhere/model.skops"], "Cannot write"),
        (["--estimator", "ridge", "--calibrate", "--task", "regression"], "no numbers|quantities"),
    ],
)
def test_wrong_usage_of_train_is_one_line_with_a_remedy(
    arguments: list[str],
    remedy: str,
    digits: list[Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    source = [str(digits[0].parents[1]), "--backbone", "color_histogram", "--image-size", "8", "--quiet"]
    assert cli.main(["train", *source, *arguments]) == 1
    said = capsys.readouterr()
    assert re.search(remedy, said.err), said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "model.skops").exists()


def test_a_prediction_loads_no_scikit_learn(model_here: Model, digits: list[Path]) -> None:
    code = (
        "import sys; from featx.cli import main as cli; code = cli.main(sys.argv[1:]); "
        "print(code, sorted({'sklearn', 'pandas', 'skops', 'tensorflow'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, "predict", "model.skops", str(digits[0]), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_network_of_ones_own_goes_along(digits: list[Path], labels: list[str], tmp_path: Path) -> None:
    from tests.backbones.test_network_file import _save_onnx

    path = tmp_path / "own.onnx"
    _save_onnx(path)
    mine = FeatureExtractor(path, preprocessing="tf", precision="float32", cache=tmp_path / "cache")
    pipeline = make_pipeline(mine, LogisticRegression()).fit(digits, labels)
    save_pipeline(pipeline, tmp_path / "model.skops")
    expected = pipeline.predict_proba(digits)
    path.unlink()
    loaded = load_pipeline(tmp_path / "model.skops")
    np.testing.assert_allclose(loaded.predict_proba(digits), expected, atol=1e-6)
    found = predict_images(tmp_path / "model.skops", digits, cache=tmp_path / "cache")
    np.testing.assert_allclose(found["probability"], expected.max(axis=1), atol=1e-5)
    assert loaded.steps[0][1].recipe_ == pipeline.steps[0][1].recipe_
    save_pipeline(loaded, tmp_path / "again.skops")
    assert (
        load_pipeline(tmp_path / "again.skops").predict(digits[:2]).tolist()
        == pipeline.classes_[expected[:2].argmax(axis=1)].tolist()
    )


@pytest.mark.thorough  # trains a network three times
def test_a_fine_tuned_network_is_a_model_like_any_other(
    ucmerced: list[str], tmp_path: Path, compiled_cache: Path
) -> None:
    some = [path for path in ucmerced if Path(path).parent.name in ("beach", "forest")][::2]
    y = [Path(path).parent.name for path in some]
    trained = train_images(some, y, estimators=["fine-tune"], cv=2, cache=compiled_cache)
    trained.save(tmp_path / "tuned.skops")
    found = predict_images(tmp_path / "tuned.skops", some, cache=compiled_cache)
    assert (found["label"] == y).mean() > 0.9
    assert found["label"].tolist() == load_pipeline(tmp_path / "tuned.skops").predict(some).tolist()
    (seen,) = explain_images(tmp_path / "tuned.skops", some[:1], cache=compiled_cache)
    assert seen.attribution is not None
    assert seen.attribution.method == "activation"
    exported = export_model(tmp_path / "tuned.skops", tmp_path / "tuned.keras", cache=compiled_cache)
    assert exported.largest_difference < 1e-4


def test_digits_are_told_from_aerial_photos(ucmerced: list[str], digits: list[Path], compiled_cache: Path) -> None:
    photos = ucmerced[::4]
    rows = FeatureExtractor(cache=compiled_cache).fit_transform([*photos, *map(str, digits[:60])])
    known, new = rows[: len(photos) : 2], np.concatenate([rows[1 : len(photos) : 2], rows[len(photos) :]])
    novelty_detector = NoveltyDetector.of(known)
    assert novelty_detector is not None
    is_digit = np.arange(len(new)) >= len(photos) // 2
    novelty_score = novelty_detector.novelty_score(new)
    assert roc_auc_score(is_digit, novelty_score) >= 0.99
    assert (novelty_score[is_digit] > 1).all()
    assert (novelty_score[~is_digit] > 1).mean() < 0.1


def test_many_training_images_are_stood_for_by_some() -> None:
    rows = np.random.default_rng(0).random((7000, 8), dtype=np.float32)
    novelty_detector = NoveltyDetector.of(rows)
    assert novelty_detector is not None
    assert novelty_detector.rows.shape == (5000, 8)
    assert NoveltyDetector.of(rows[:2]) is None
    assert (novelty_detector.novelty_score(rows) <= 1).mean() > 0.98
    assert (novelty_detector.novelty_score(-rows) > 1).all()


# What a file may hold that was made to mislead ---------------------------------------------------------


def described(model: Path, path: Path, **changed: Any) -> Path:
    """A copy of a model with another description, whose checksum is right."""

    def change(members: dict[str, bytes]) -> None:
        members["featx.json"] = json.dumps({**json.loads(members["featx.json"]), **changed}).encode()

    return rewritten(model, path, change)


def test_a_description_that_was_altered_is_refused(model: Path, tmp_path: Path) -> None:
    def swap(members: dict[str, bytes]) -> None:
        text = members["featx.json"].replace(b'["0", "1", "2", "3"]', b'["3", "2", "1", "0"]')
        assert text != members["featx.json"]
        members["featx.json"] = text

    with zipfile.ZipFile(model) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    swap(members)
    with zipfile.ZipFile(tmp_path / "swapped.skops", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ModelFileError, match="its description is not what was written"):
        read_model(tmp_path / "swapped.skops")
    with pytest.raises(ModelFileError, match="its description is that of another pipeline"):
        load_pipeline(rewritten(model, tmp_path / "again.skops", swap))


def cut_an_array(members: dict[str, bytes]) -> None:
    members["featx/training.npy"] = b""


def claim_memory(members: dict[str, bytes]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    members["featx/training.npy"] = header.getvalue()


def other_width(members: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(7, dtype=np.float32))
    members["featx/scores-0-bias.npy"] = buffer.getvalue()


def other_training(members: dict[str, bytes], rows: Any = ((1, 0, 0),) * 5) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows, dtype=np.float16))
    members["featx/training.npy"] = buffer.getvalue()


def no_numbers(members: dict[str, bytes]) -> None:
    other_training(members, np.full((5, 512), np.nan))


def escape(members: dict[str, bytes]) -> None:
    members["featx-network/.."] = b"x"


@pytest.mark.parametrize("change", [cut_an_array, claim_memory, other_width, other_training, no_numbers, escape])
def test_crafted_parts_are_refused(change: Any, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="damaged, or was altered"):
        read_model(rewritten(model, tmp_path / "crafted.skops", change, digests=True))


@pytest.mark.parametrize(
    "changed", [{"files": []}, {"files": 7}, {"card": {}}, {"head": {"scores": [{"step": "Evil"}]}}]
)
def test_crafted_descriptions_are_refused(changed: dict[str, Any], model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="damaged, or was altered"):
        read_model(described(model, tmp_path / "crafted.skops", **changed))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.skops")
    for path in (tmp_path / "pipe.skops", tmp_path, Path("/dev/zero")):
        with pytest.raises(ModelFileError, match="is no model|cannot be read"):
            read_model(path)


def test_reading_a_model_fetches_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("featx.backbones.weights.run_child", lambda *args: pytest.fail("it is fetched"))
    with zipfile.ZipFile(model) as archive:
        card = json.loads(archive.read("featx.json"))["card"]
    weights = f"http://example.org/w.weights.h5#sha256={'0' * 64}"
    card["options"] = {"backbone": "mobilenet", "weights": weights}
    with pytest.raises(WeightsNotFoundError, match="Reading a model fetches nothing"):
        load_pipeline(described(model, tmp_path / "far.skops", card=card))


# Heads that are not what they seem ----------------------------------------------------------------------


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
def test_what_decides_in_its_own_way_is_left_to_scikit_learn(
    estimator: Any, digits: list[Path], labels: list[str], tmp_path: Path
) -> None:
    pipeline = make_pipeline(extractor(cache=None), VarianceThreshold(), estimator).fit(digits, labels)
    save_pipeline(pipeline, tmp_path / "model.skops")
    found = predict_images(tmp_path / "model.skops", digits, top=4, cache=None)
    assert found["label"].tolist() == pipeline.predict(digits).tolist()


def test_duplicates_do_not_make_others_unlike(digits: list[Path], labels: list[str], tmp_path: Path) -> None:
    twice = [*digits[::2]] * 2
    trained = train_images(twice, [*labels[::2]] * 2, backbone=extractor(), cache=None)
    trained.save(tmp_path / "model.skops")
    found = predict_images(tmp_path / "model.skops", digits[1::2], cache=None)
    assert (found["novelty_score"] > 1).mean() < 0.2
