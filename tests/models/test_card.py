"""The card of a model: what it is, its scores and notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx import load_pipeline, save_pipeline, train_images
from featx.errors import ComparisonError
from featx.models.model_file import read_model
from tests.models.model_samples import extractor

Array = np.ndarray[Any, Any]


def test_card_of_trained_model(model: Path, digits: list[Path], digit_labels: list[str]) -> None:
    card = read_model(model).card
    assert card.estimator == "logreg"
    assert card.classes == ["0", "1", "2", "3"]
    assert card.counts == {name: digit_labels.count(name) for name in card.classes}
    assert card.n_images == len(digits)
    assert card.recipe["backbone"] == "color_histogram"
    assert {"featx", "scikit-learn", "numpy", "python"} <= card.versions.keys()
    assert card.date.endswith("+00:00")
    assert card.scores["metric"] == "accuracy"
    assert 0 < card.scores["low"] < card.scores["mean"] < card.scores["high"] <= 1
    assert "5 stratified folds" in card.scores["split"]
    text = str(card)
    assert text.startswith("estimator  logreg (classification)\n4 classes  0 (")
    for words in (
        f"{len(digits)} images with 512 features",
        "accuracy 0.",
        "5 stratified folds",
        "color_histogram, 8×8",
    ):
        assert words in text


def test_custom_scores_and_notes(digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    pipeline = make_pipeline(extractor(cache=None), LogisticRegression()).fit(digits, digit_labels)
    save_pipeline(pipeline, tmp_path / "model.skops", scores={"mean": 0.9, "on": "Tuesday"}, notes=["Mind the light."])
    text = read_model(tmp_path / "model.skops").card.as_text()
    assert "score      mean 0.9, on Tuesday" in text
    assert text.endswith("\nMind the light.")
    assert "fitted on" not in text


def test_scores_of_numpy_types(model: Path, tmp_path: Path) -> None:
    scores = {"acc": np.float32(0.5), "folds": np.arange(2), "mean": 0.5, "std": None, "low": None, "high": None}
    scores |= {"metric": "own", "split": "by hand"}
    save_pipeline(load_pipeline(model), tmp_path / "m.skops", scores=scores, notes=[Path("photos")])
    card = read_model(tmp_path / "m.skops").card
    assert (card.scores["acc"], card.scores["folds"], card.notes) == (0.5, [0, 1], ["photos"])
    assert "own 0.500; by hand" in card.as_text()


def test_selection_is_noted(digits: list[Path], digit_labels: list[str]) -> None:
    trained = train_images(
        digits, digit_labels, backbone=extractor(), select_from=["dummy", "logreg", "centroid"], tune=True, cache=None
    )
    assert trained.scores["estimator"] == trained.comparison.best == "logreg"
    assert trained.scores["best_params"].keys() == {"logisticregression__C"}
    assert "was selected from dummy, logreg, centroid" in str(trained)


def test_calibration_respects_groups(digits: list[Path], digit_labels: list[str]) -> None:
    """With copies in other folds, the calibration would use training images and be overconfident."""
    many = digits[::3]
    trained = train_images(
        [*many] * 4, [*digit_labels[::3]] * 4, backbone=extractor(), estimator="svm", calibrate=True, cache=None
    )
    divided = train_images(
        [*many] * 4,
        [*digit_labels[::3]] * 4,
        backbone=extractor(),
        estimator="svm",
        calibrate=True,
        duplicate_groups=False,
        cache=None,
    )
    confidence = [result.pipeline.predict_proba(many).max(axis=1).mean() for result in (trained, divided)]
    assert confidence[0] < confidence[1] - 0.02


def test_too_few_images_of_a_class(digits: list[Path]) -> None:
    with pytest.raises(ComparisonError):
        train_images(digits[:4], ["a", "a", "a", "b"], backbone=extractor(), cache=None)
