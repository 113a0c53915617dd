from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx.duplicates
from featx import FeatureExtractor, find_duplicates, many_duplicates, near_pairs, open_features
from featx.errors import ComparisonError
from tests.jobs import make_job


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_pairs, "_TALL", 60)
    monkeypatch.setattr(near_pairs, "_WIDE", 110)
    monkeypatch.setattr(many_duplicates, "_ROWS_AT_ONCE", 25)
    monkeypatch.setattr(many_duplicates, "_MOST_LINKS", 50)


def both_ways(rows: Any, monkeypatch: pytest.MonkeyPatch, threshold: float = 0.97) -> Any:
    """What is found among all pairs; the same must be found as of many rows."""
    whole = find_duplicates(np.asarray(rows), threshold=threshold)
    with monkeypatch.context() as patch:
        patch.setattr(featx.duplicates, "_MANY_ROWS", 0)
        many = find_duplicates(rows, threshold=threshold)
    assert [part.tolist() for part in many.clusters] == [part.tolist() for part in whole.clusters]
    assert len(np.unique(many.groups)) == len(np.unique(whole.groups))
    np.testing.assert_allclose(many.cosine, whole.cosine, atol=2e-6)
    assert many.centered == whole.centered
    return many


def scenes(seed: int, n: int = 400, n_features: int = 96) -> np.ndarray[Any, Any]:
    """Rows around some centres, at any distance from nearly none to far, some of them equal."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, n_features)) * (1 / np.arange(1, n_features + 1))
    spread = rng.uniform(0, rng.uniform(0.05, 0.5), (n, 1)) / np.arange(1, n_features + 1) ** 0.5
    rows = (centres[rng.integers(0, 12, n)] + spread * rng.normal(size=(n, n_features))).astype(np.float32)
    rows[300:310] = rows[:10]
    return rows


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("seed", range(8))
def test_the_groups_are_those_of_all_pairs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert both_ways(scenes(seed), monkeypatch).n_rows > 20


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("dimensions", [(1, 1), (8, 8), (2, 40), (96, 96)])
def test_however_many_dimensions_bound_pairs(dimensions: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_pairs, "_best_dimensions", lambda sample, basis, floor: dimensions)
    both_ways(scenes(2), monkeypatch)


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("threshold", [0.5, 0.85, 0.99, 1.0])
def test_any_threshold(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    both_ways(scenes(1), monkeypatch, threshold)


@pytest.mark.usefixtures("in_small_blocks")
def test_rows_that_have_much_in_common_are_centred(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = 20 + rng.normal(size=(300, 64)).astype(np.float32)
    rows[150] = rows[3] + 0.01 * rng.normal(size=64)
    found = both_ways(rows, monkeypatch)
    assert found.centered
    assert [cluster.tolist() for cluster in found.clusters] == [[3, 150]]


@pytest.mark.usefixtures("in_small_blocks")
def test_the_second_rule_decides_pairs_here() -> None:
    """Of what is compared above, some pairs are linked by standing out, and some stand out too little."""
    rows = many_duplicates.UnitRows(scenes(3), np.arange(300))
    bounds = near_pairs.Bounds(rows, 0.9, lambda shape: np.empty(shape, dtype=np.float32))
    nearest = many_duplicates.Nearest(300, 10)
    for _, (one, other, cosine) in near_pairs.near_pairs(rows, bounds, 0.9):
        nearest.add(np.r_[one, other], np.r_[other, one], np.r_[cosine, cosine])
    candidates = many_duplicates._mutual(nearest, 0.97)
    assert 0 < len(many_duplicates._standing_out(rows, bounds, nearest, 0.97, 2.0)[0]) < len(candidates[0])


def test_bounds_are_never_below_cosines() -> None:
    rng = np.random.default_rng(0)
    rows = near_pairs.UnitRows(np.maximum(rng.normal(size=(500, 200)), 0).astype(np.float32), np.arange(500))
    unit = rows.between(0, 500)
    for n_dimensions in (1, 20, 199):
        reduced = near_pairs._bounding(unit, near_pairs._directions(unit)[:, :n_dimensions], n_few=1)
        for bounding in (reduced[:, :2], reduced[:, 1:] if n_dimensions > 1 else reduced):
            assert (bounding @ bounding.T >= unit @ unit.T - near_pairs._ROUNDING).all()


@pytest.mark.usefixtures("in_small_blocks")
def test_a_job_is_read_as_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scenes(5)
    features = open_features(make_job(tmp_path / "job", rows, shard_size=70, failed=[7]))
    found = both_ways(features, monkeypatch)
    assert len(found.groups) == 399
    monkeypatch.setattr(featx.duplicates, "_MOST_BYTES", 0)  # what is worked out lies on disk
    both_ways(features, monkeypatch)


@pytest.mark.usefixtures("in_small_blocks")
def test_a_job_at_an_address_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    job = make_job(tmp_path / "job", scenes(6), shard_size=50)
    system = fsspec.filesystem("memory")
    system.put(str(job), "/job-of-duplicates", recursive=True)
    try:
        both_ways(open_features("memory://job-of-duplicates"), monkeypatch)
    finally:
        system.rm("/job-of-duplicates", recursive=True)


def test_rows_with_nan_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.duplicates, "_MANY_ROWS", 0)
    rows = scenes(0)
    rows[70, 3] = np.nan
    with pytest.raises(ComparisonError, match="NaN"):
        find_duplicates(rows)


@pytest.mark.slow  # 840 photos through the network
def test_aerial_photos_and_their_copies_are_told_the_same_way(
    ucmerced: list[str], compiled_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = FeatureExtractor(cache=compiled_cache).fit_transform(ucmerced)
    assert both_ways(rows, monkeypatch).n_rows > 50
