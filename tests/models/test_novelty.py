"""Images that differ from the training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from featx import FeatureExtractor, predict_images, train_images
from featx.models.novelty import NoveltyDetector
from tests.models.model_samples import extractor

Array = np.ndarray[Any, Any]


def test_novel_images_are_noted(model: Path, digits: list[Path], photos: list[Any]) -> None:
    predictions = predict_images(
        model, [*map(str, digits[:20]), *[np.asarray(photo) for photo in photos[:8]]], cache=None
    )
    assert (predictions["novelty_score"][:20] < 1.01).all()
    assert (predictions["novelty_score"][20:] > 1).all()
    assert (predictions["note"][20:] == "differs from the training images").all()


def test_digits_are_novel_among_aerial_photos(ucmerced: list[str], digits: list[Path], compiled_cache: Path) -> None:
    photos = ucmerced[::4]
    rows = FeatureExtractor(cache=compiled_cache).fit_transform([*photos, *map(str, digits[:60])])
    known, new = rows[: len(photos) : 2], np.concatenate([rows[1 : len(photos) : 2], rows[len(photos) :]])
    novelty_detector = NoveltyDetector.fit(known)
    assert novelty_detector is not None
    is_digit = np.arange(len(new)) >= len(photos) // 2
    novelty_score = novelty_detector.novelty_score(new)
    assert roc_auc_score(is_digit, novelty_score) >= 0.99
    assert (novelty_score[is_digit] > 1).all()
    assert (novelty_score[~is_digit] > 1).mean() < 0.1


def test_sample_of_many_training_rows() -> None:
    rows = np.random.default_rng(0).random((7000, 8), dtype=np.float32)
    novelty_detector = NoveltyDetector.fit(rows)
    assert novelty_detector is not None
    assert novelty_detector.rows.shape == (5000, 8)
    assert NoveltyDetector.fit(rows[:2]) is None
    assert (novelty_detector.novelty_score(rows) <= 1).mean() > 0.98
    assert (novelty_detector.novelty_score(-rows) > 1).all()


def test_score_does_not_depend_on_other_images() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((400, 300), dtype=np.float32)
    rows[200:] = rows[:200] * (1 + 1e-4 * rng.random((200, 300), dtype=np.float32))  # near-duplicates
    detector = NoveltyDetector.fit(rows)
    assert detector is not None
    together = detector.novelty_score(rows)
    assert together.tolist() == [detector.novelty_score(rows[[index]])[0] for index in range(len(rows))]
    assert together.max() * detector.threshold < 1e-6  # rows are stored with 11 bits


def test_duplicates_do_not_lower_the_threshold(digits: list[Path], digit_labels: list[str], tmp_path: Path) -> None:
    twice = [*digits[::2]] * 2
    trained = train_images(twice, [*digit_labels[::2]] * 2, backbone=extractor(), cache=None)
    trained.save(tmp_path / "model.skops")
    predictions = predict_images(tmp_path / "model.skops", digits[1::2], cache=None)
    assert (predictions["novelty_score"] > 1).mean() < 0.2
