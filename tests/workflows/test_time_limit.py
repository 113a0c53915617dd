"""Time limits of comparisons: backbones share them, and diagnostics need what is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, compare_images
from featx.system.array_types import AnyArray
from featx.workflows import experiment


@pytest.fixture
def images() -> AnyArray:
    return np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time limits of the comparisons of single backbones."""
    limits: list[float] = []
    compare_baselines = experiment.compare_baselines

    def compare(*arguments: Any, **options: Any) -> Any:
        limits.append(options["time_limit"])
        return compare_baselines(*arguments, **options)

    monkeypatch.setattr(experiment, "compare_baselines", compare)
    return limits


def compare(images: AnyArray, time_limit: float) -> Any:
    backbones = [FeatureExtractor("color_histogram", image_size=size) for size in (8, 16)]
    return compare_images(
        images, list("ab") * 12, backbones=backbones, estimators=["dummy"], time_limit=time_limit, cache=None
    )


def test_backbones_share_the_time(images: AnyArray, minutes: list[float]) -> None:
    result = compare(images, 10.0)
    assert minutes[:2] == pytest.approx([5, 10], rel=0.1)  # half of the time, then all that is left
    assert not any("Diagnostics" in note for note in result.notes)


def test_diagnostics_get_what_is_left(images: AnyArray, minutes: list[float]) -> None:
    twice = np.concatenate([images, images])
    result = compare_images(
        twice, list("ab") * 24, backbones=["color_histogram"], estimators=["dummy"], time_limit=5, cache=None
    )
    assert len(result.duplicates) == 24
    assert len(minutes) == 3  # the comparison, scores without groups of duplicates, and label errors
    assert all(0 < limit <= 5 for limit in minutes)


def test_a_learning_curve_that_takes_too_long_is_a_note(images: AnyArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "expected_curve_seconds", lambda comparison: 3600.0)
    result = compare(images, 10.0)
    assert result.learning_curve is None
    note = next(note for note in result.notes if "learning curve" in note)
    assert note.startswith(
        "The learning curve was not computed: it could take 60 minutes, and 10 minutes of time_limit"
    )


def test_without_time_the_dummy_is_scored_and_diagnostics_are_skipped(images: AnyArray, minutes: list[float]) -> None:
    result = compare(images, 1e-9)
    assert minutes == [0.01, 0.01]
    assert result.table["estimator"].tolist() == ["dummy", "dummy"]
    assert result.learning_curve is None
    assert "Diagnostics were skipped: no time of time_limit (--time-limit) was left." in result.notes
