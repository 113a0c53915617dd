from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx import Duplicates, FeatureExtractor, find_duplicates, open_features
from featx.cli import main as cli
from featx.errors import ComparisonError
from featx.features.duplicates.candidate_pairs import near_pairs
from featx.features.duplicates.cosine_bounds import (
    Bounds,
    UnitRows,
    main_directions,
    main_directions_of_wide,
    orthonormal_basis,
    reduce_rows,
    rounding,
)
from featx.features.duplicates.find import find_duplicate_rows, find_equal_rows
from featx.features.duplicates.large import Neighbors, mutual_pairs, pairs_that_stand_out
from featx.features.duplicates.limits import DuplicateLimits
from tests.jobs.job_samples import make_job

SMALL = DuplicateLimits(dense_rows=0, left_rows=60, right_rows=110, neighbor_rows=25, max_pairs=50)


def assert_same_as_dense(rows: Any, *, threshold: float = 0.97, limits: DuplicateLimits = SMALL) -> Duplicates:
    """Check that the search in bounded memory finds what the comparison of all pairs finds; return the result."""
    dense = find_duplicates(np.asarray(rows), duplicate_threshold=threshold)
    large = find_duplicate_rows(rows, threshold, limits=limits)
    assert [cluster.tolist() for cluster in large.clusters] == [cluster.tolist() for cluster in dense.clusters]
    assert len(np.unique(large.groups)) == len(np.unique(dense.groups))
    np.testing.assert_allclose(large.cosine, dense.cosine, atol=2e-6)
    assert large.centered == dense.centered
    return large


def scenes(seed: int, n: int = 400, n_features: int = 96) -> np.ndarray[Any, Any]:
    """Rows around some centers, at small to large distances, some of them equal."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(12, n_features)) * (1 / np.arange(1, n_features + 1))
    spread = rng.uniform(0, rng.uniform(0.05, 0.5), (n, 1)) / np.arange(1, n_features + 1) ** 0.5
    rows = (centers[rng.integers(0, 12, n)] + spread * rng.normal(size=(n, n_features))).astype(np.float32)
    rows[300:310] = rows[:10]
    return rows


def alike() -> np.ndarray[Any, Any]:
    """Rows that have much in common, two of them nearly equal."""
    rng = np.random.default_rng(0)
    rows = 20 + rng.normal(size=(300, 64)).astype(np.float32)
    rows[150] = rows[3] + 0.01 * rng.normal(size=64)
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_result_equals_dense_search(seed: int) -> None:
    assert assert_same_as_dense(scenes(seed)).n_rows > 20


@pytest.mark.parametrize("dimensions", [(1, 1), (8, 8), (2, 40), (96, 96)])
def test_result_does_not_depend_on_dimensions(dimensions: tuple[int, int]) -> None:
    assert_same_as_dense(scenes(2), limits=dataclasses.replace(SMALL, dimensions=dimensions))


@pytest.mark.parametrize("threshold", [0.5, 0.85, 0.99, 1.0])
def test_thresholds(threshold: float) -> None:
    assert_same_as_dense(scenes(1), threshold=threshold)


def test_similar_rows_are_centered() -> None:
    duplicates = assert_same_as_dense(alike())
    assert duplicates.centered
    assert [cluster.tolist() for cluster in duplicates.clusters] == [[3, 150]]


def test_some_pairs_stand_out_and_others_do_not() -> None:
    """The comparisons above cover both outcomes of the second rule."""
    rows = UnitRows(scenes(3), np.arange(300), limits=SMALL)
    bounds = Bounds(rows, 0.9, lambda shape: np.empty(shape, dtype=np.float32))
    neighbors = Neighbors(300, 10)
    for _, (left, right, cosine) in near_pairs(rows, bounds, 0.9):
        neighbors.add(np.r_[left, right], np.r_[right, left], np.r_[cosine, cosine])
    candidates = mutual_pairs(neighbors, 0.97)
    assert 0 < len(pairs_that_stand_out(rows, bounds, neighbors, 0.97)[0]) < len(candidates[0])


@pytest.mark.parametrize("n_sample", [500, 150, 3])
def test_bounds_are_not_below_cosines(n_sample: int) -> None:
    rng = np.random.default_rng(0)
    rows = UnitRows(np.maximum(rng.normal(size=(500, 200)), 0).astype(np.float32), np.arange(500))
    unit = rows.between(0, 500)
    sample = [0, 0, 1] if n_sample == 3 else slice(n_sample)  # two of the three rows are equal
    basis = orthonormal_basis(main_directions_of_wide(unit[sample]))
    if n_sample == 500:
        basis = main_directions(unit)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-5)
    for n_dimensions in (1, min(20, basis.shape[1]), basis.shape[1] - 1):
        reduced = reduce_rows(unit, basis[:, :n_dimensions], n_first=1)
        for bound_rows in (reduced[:, :2], reduced[:, 1:] if n_dimensions > 1 else reduced):
            assert (bound_rows @ bound_rows.T >= unit @ unit.T - 5 * rounding(200)).all()


def test_directions_of_wide_sample_equal_main_directions() -> None:
    sample = scenes(0)[:50]
    wide, full = orthonormal_basis(main_directions_of_wide(sample)), main_directions(sample)
    for n in (1, 5, 20):
        lengths = [np.square(sample @ basis[:, :n]).sum() for basis in (wide, full)]
        np.testing.assert_allclose(*lengths, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [None, (1, 1), (2, 40), (96, 96)])
def test_wide_rows(dimensions: tuple[int, int] | None) -> None:
    """Limits are so low that 96 and 64 features are wide."""
    limits = dataclasses.replace(SMALL, wide_features=50, block_bytes=4 * 96 * 37, wide_sample_rows=150)
    limits = dataclasses.replace(limits, dimensions=dimensions)
    assert assert_same_as_dense(scenes(2), limits=limits).n_rows > 20
    if dimensions == (96, 96):
        limits = dataclasses.replace(limits, dimensions=(64, 64))
    assert assert_same_as_dense(alike(), limits=limits).centered


def test_rows_of_many_bytes_are_not_compared_densely(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scenes(1)
    expected = find_duplicates(rows).clusters
    monkeypatch.setattr(
        "featx.features.duplicates.find.link_all_pairs", lambda *args: pytest.fail("all pairs were compared")
    )
    found = find_duplicate_rows(rows, 0.97, limits=DuplicateLimits(dense_bytes=rows.nbytes - 1))
    assert [cluster.tolist() for cluster in found.clusters] == [cluster.tolist() for cluster in expected]


@pytest.mark.parametrize("dense_rows", [0, 10**6])
def test_threshold_1_of_wide_rows(dense_rows: int) -> None:
    """Rows that are equal up to rounding are found in 50,176 features."""
    rng = np.random.default_rng(0)
    rows = np.maximum(rng.normal(size=(90, 50_176)), 0).astype(np.float32)
    rows[30:60] = rows[:30] * rng.uniform(0.5, 2, (30, 1)).astype(np.float32)
    rows[60:90] = rows[:30]
    rows[60:90][rows[60:90] == 0] = -0.0
    duplicates = find_duplicate_rows(rows, 1.0, limits=DuplicateLimits(dense_rows=dense_rows))
    assert [cluster.tolist() for cluster in duplicates.clusters] == [[row, row + 30, row + 60] for row in range(30)]


@pytest.mark.parametrize("n_kinds", [1, 5, 20, 21])
def test_few_distinct_rows(n_kinds: int) -> None:
    kinds = np.random.default_rng(0).normal(size=(n_kinds, 8)).astype(np.float32)
    kinds[0] = 0
    assert_same_as_dense(np.concatenate([kinds, kinds, kinds, -kinds[:1]] * 10), limits=DuplicateLimits(dense_rows=0))


def test_job_is_read_in_blocks(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", scenes(5), shard_size=70, failed=[7])
    features = open_features(job)
    duplicates = assert_same_as_dense(features)
    assert len(duplicates.groups) == 399
    assert_same_as_dense(features, limits=dataclasses.replace(SMALL, memory_bytes=0))  # intermediate results on disk
    assert [cluster.tolist() for cluster in find_duplicates(job).clusters] == [c.tolist() for c in duplicates.clusters]


def test_remote_job_is_downloaded_once(tmp_path: Path) -> None:
    import fsspec

    job = make_job(tmp_path / "job", scenes(6), shard_size=50)
    system = fsspec.filesystem("memory")
    system.put(str(job), "/job-of-duplicates", recursive=True)
    try:
        assert_same_as_dense(open_features("memory://job-of-duplicates"))
    finally:
        system.rm("/job-of-duplicates", recursive=True)


def test_nan_is_refused() -> None:
    rows = scenes(0)
    rows[70, 3] = np.nan
    with pytest.raises(ComparisonError, match="NaN"):
        find_duplicate_rows(rows, 0.97, limits=SMALL)


@pytest.mark.slow  # 840 photos through the network
def test_aerial_photos(ucmerced: list[str], compiled_cache: Path) -> None:
    rows = FeatureExtractor(cache=compiled_cache).fit_transform(ucmerced)
    assert assert_same_as_dense(rows, limits=DuplicateLimits(dense_rows=0)).n_rows > 50


@pytest.mark.parametrize("command", [["duplicates", "f.npy"], ["similar", "f.npy", "photo.jpg"]])
def test_missing_table_is_reported_before_the_search(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def search(*_: object, **__: object) -> None:
        raise AssertionError("the search has begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("featx.features.duplicates.find.find_duplicates", search)
    monkeypatch.setattr("featx.workflows.search.image_search.find_similar", search)
    np.save("f.npy", np.ones((3, 1024), dtype=np.float32))
    PIL.Image.new("RGB", (64, 64)).save("photo.jpg")
    assert cli.main([*command, "--quiet"]) == 1
    assert "f.csv' does not exist" in capsys.readouterr().err


def test_equal_rows_are_found_in_one_pass():
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    duplicates = find_equal_rows(np.concatenate([rows, rows[[3, 7]], rows[[3]] * 1.0001]))
    assert [cluster.tolist() for cluster in duplicates.clusters] == [[3, 50], [7, 51]]
    assert duplicates.n_rows == 4
