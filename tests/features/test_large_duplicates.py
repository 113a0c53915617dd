from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import featx.features.duplicates.find
from featx import FeatureExtractor, find_duplicates, open_features
from featx.cli import main as cli
from featx.errors import ComparisonError
from featx.features.duplicates import candidate_pairs as near_pairs
from featx.features.duplicates import cosine_bounds as pair_bounds
from featx.features.duplicates import large as many_duplicates
from tests.jobs.job_samples import make_job


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
        patch.setattr(featx.features.duplicates.find, "_MANY_ROWS", 0)
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


def alike() -> np.ndarray[Any, Any]:
    """Rows that have much in common, two of them nearly equal."""
    rng = np.random.default_rng(0)
    rows = 20 + rng.normal(size=(300, 64)).astype(np.float32)
    rows[150] = rows[3] + 0.01 * rng.normal(size=64)
    return rows


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("seed", range(8))
def test_the_groups_are_those_of_all_pairs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert both_ways(scenes(seed), monkeypatch).n_rows > 20


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("dimensions", [(1, 1), (8, 8), (2, 40), (96, 96)])
def test_however_many_dimensions_bound_pairs(dimensions: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_bounds, "_best_dimensions", lambda sample, basis, floor: dimensions)
    both_ways(scenes(2), monkeypatch)


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("threshold", [0.5, 0.85, 0.99, 1.0])
def test_any_threshold(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    both_ways(scenes(1), monkeypatch, threshold)


@pytest.mark.usefixtures("in_small_blocks")
def test_rows_that_have_much_in_common_are_centred(monkeypatch: pytest.MonkeyPatch) -> None:
    found = both_ways(alike(), monkeypatch)
    assert found.centered
    assert [cluster.tolist() for cluster in found.clusters] == [[3, 150]]


@pytest.mark.usefixtures("in_small_blocks")
def test_the_second_rule_decides_pairs_here() -> None:
    """Of what is compared above, some pairs are linked by standing out, and some stand out too little."""
    rows = pair_bounds.UnitRows(scenes(3), np.arange(300))
    bounds = pair_bounds.Bounds(rows, 0.9, lambda shape: np.empty(shape, dtype=np.float32))
    nearest = many_duplicates.Nearest(300, 10)
    for _, (one, other, cosine) in near_pairs.near_pairs(rows, bounds, 0.9):
        nearest.add(np.r_[one, other], np.r_[other, one], np.r_[cosine, cosine])
    candidates = many_duplicates._mutual(nearest, 0.97)
    assert 0 < len(many_duplicates._standing_out(rows, bounds, nearest, 0.97, 2.0)[0]) < len(candidates[0])


@pytest.mark.parametrize("n_sample", [500, 150, 3])
def test_bounds_are_never_below_cosines(n_sample: int) -> None:
    rng = np.random.default_rng(0)
    rows = pair_bounds.UnitRows(np.maximum(rng.normal(size=(500, 200)), 0).astype(np.float32), np.arange(500))
    unit = rows.between(0, 500)
    few = [0, 0, 1] if n_sample == 3 else slice(n_sample)  # of which two are equal
    basis = pair_bounds._orthonormal(pair_bounds._largest_of_few(unit[few]))
    if n_sample == 500:
        basis = pair_bounds._directions(unit)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-5)
    for n_dimensions in (1, min(20, basis.shape[1]), basis.shape[1] - 1):
        reduced = pair_bounds._bounding(unit, basis[:, :n_dimensions], n_few=1)
        for bounding in (reduced[:, :2], reduced[:, 1:] if n_dimensions > 1 else reduced):
            assert (bounding @ bounding.T >= unit @ unit.T - 5 * pair_bounds.rounding(200)).all()


def test_directions_of_few_rows_are_those_of_all_columns() -> None:
    sample = scenes(0)[:50]
    few, all_of_them = pair_bounds._orthonormal(pair_bounds._largest_of_few(sample)), pair_bounds._directions(sample)
    for n in (1, 5, 20):
        lengths = [np.square(sample @ basis[:, :n]).sum() for basis in (few, all_of_them)]
        np.testing.assert_allclose(*lengths, rtol=1e-4)


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("dimensions", [None, (1, 1), (2, 40), "exact"])
def test_wide_rows_are_told_the_same_way(dimensions: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limits for many columns set so low that these rows are wide."""
    monkeypatch.setattr(pair_bounds, "_WIDE", 50)
    monkeypatch.setattr(pair_bounds, "_BLOCK_BYTES", 4 * 96 * 37)
    monkeypatch.setattr(pair_bounds, "_SAMPLE_OF_WIDE", 150)
    if dimensions:
        best = lambda sample, basis, floor: (len(basis), len(basis)) if dimensions == "exact" else dimensions  # noqa: E731
        monkeypatch.setattr(pair_bounds, "_best_dimensions", best)
    assert both_ways(scenes(2), monkeypatch).n_rows > 20
    assert both_ways(alike(), monkeypatch).centered


def test_rows_of_many_bytes_are_told_as_many_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scenes(1)
    expected = find_duplicates(rows).clusters
    monkeypatch.setattr(featx.features.duplicates.find, "_MANY_BYTES", rows.nbytes - 1)
    monkeypatch.setattr(featx.features.duplicates.find, "_linked", lambda *args: pytest.fail("all rows were held"))
    assert [part.tolist() for part in find_duplicates(rows).clusters] == [part.tolist() for part in expected]


@pytest.mark.parametrize("many_rows", [0, 10**6])
def test_rows_that_are_equal_but_for_rounding_are_found_however_wide_they_are(
    many_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featx.features.duplicates.find, "_MANY_ROWS", many_rows)
    rng = np.random.default_rng(0)
    rows = np.maximum(rng.normal(size=(90, 50_176)), 0).astype(np.float32)
    rows[30:60] = rows[:30] * rng.uniform(0.5, 2, (30, 1)).astype(np.float32)
    rows[60:90] = rows[:30]
    rows[60:90][rows[60:90] == 0] = -0.0
    found = find_duplicates(rows, threshold=1)
    assert [cluster.tolist() for cluster in found.clusters] == [[at, at + 30, at + 60] for at in range(30)]


@pytest.mark.parametrize("n_kinds", [1, 5, 20, 21])
def test_of_many_rows_few_may_be_different(n_kinds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = np.random.default_rng(0).normal(size=(n_kinds, 8)).astype(np.float32)
    kinds[0] = 0
    both_ways(np.concatenate([kinds, kinds, kinds, -kinds[:1]] * 10), monkeypatch)


@pytest.mark.usefixtures("in_small_blocks")
def test_a_job_is_read_as_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scenes(5)
    features = open_features(make_job(tmp_path / "job", rows, shard_size=70, failed=[7]))
    found = both_ways(features, monkeypatch)
    assert len(found.groups) == 399
    monkeypatch.setattr(featx.features.duplicates.find, "_MOST_BYTES", 0)  # what is worked out lies on disk
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
    monkeypatch.setattr(featx.features.duplicates.find, "_MANY_ROWS", 0)
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


@pytest.mark.parametrize("command", [["duplicates", "f.npy"], ["similar", "f.npy", "photo.jpg"]])
def test_a_missing_table_is_told_before_the_search(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def search(*_: object) -> None:
        raise AssertionError("the search has begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("featx.features.duplicates.find.tell_duplicates", search)
    monkeypatch.setattr("featx.workflows.similar.find_similar", search)
    np.save("f.npy", np.ones((3, 1024), dtype=np.float32))
    PIL.Image.new("RGB", (64, 64)).save("photo.jpg")
    assert cli.main([*command, "--quiet"]) == 1
    assert "f.csv', the table of the rows, is not there" in capsys.readouterr().err
