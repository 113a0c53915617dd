from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import find_similar, open_features
from featx.errors import FeaturesError, MissingDependencyError, OptionError
from featx.features.search.exact_index import ExactIndex
from tests.jobs.job_samples import make_job


def rows_by_sorting(rows: np.ndarray[Any, Any], queries: np.ndarray[Any, Any], top: int) -> np.ndarray[Any, Any]:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.argsort(-(queries @ unit.T), axis=1, kind="stable")[:, :top]


@pytest.fixture
def rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)


@pytest.mark.parametrize("block", [10**3, 10**4, 10**8])
@pytest.mark.parametrize("top", [1, 7, 299, 300, 1000])
def test_exact_search(rows: np.ndarray[Any, Any], block: int, top: int) -> None:
    queries = rows[::60] + 0.3
    similar = find_similar(rows, queries, top=top, index=ExactIndex(rows, block_bytes=block, batch_queries=3))
    np.testing.assert_array_equal(similar.rows, rows_by_sorting(rows, queries, top))
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosine = (unit[:, None] * rows[similar.rows]).sum(axis=2) / np.linalg.norm(rows[similar.rows], axis=2)
    np.testing.assert_allclose(similar.cosine, cosine, atol=1e-5)
    assert similar.index == "exact, every row compared"


def test_search_in_a_job(rows: np.ndarray[Any, Any], tmp_path: Path) -> None:
    features = open_features(make_job(tmp_path / "job", rows, shard_size=64))
    assert find_similar(features, features[7]).rows.tolist() == rows_by_sorting(rows, rows[7:8], 10).tolist()


def test_equal_rows() -> None:
    rows = np.ones((500, 4), dtype=np.float32)
    assert find_similar(rows, rows[0], top=5).rows.tolist() == [[0, 1, 2, 3, 4]]


def test_zeros_and_nan() -> None:
    rows = np.array([[np.nan, 1], [0, 0], [1, 0], [-1, 0.1]], dtype=np.float32)
    similar = find_similar(rows, [[1, 0]], top=4)
    assert similar.rows.tolist() == [[2, 1, 3, -1]]
    np.testing.assert_allclose(similar.cosine, [[1, 0, -0.995, np.nan]], atol=1e-3)


def test_invalid_arguments(rows: np.ndarray[Any, Any]) -> None:
    with pytest.raises(FeaturesError, match="Extract both with the same recipe"):
        find_similar(rows, rows[:, :5])
    with pytest.raises(FeaturesError, match="Remove the rows of unreadable images"):
        find_similar(rows, np.full(16, np.nan))
    for top in (0, -1, 1.5, True):
        with pytest.raises(OptionError, match="must be an integer of at least 1"):
            find_similar(rows, rows[0], top=top)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="Did you mean 'faiss'"):
        find_similar(rows, rows[0], index="fais")


def test_faiss(rows: np.ndarray[Any, Any]) -> None:
    pytest.importorskip("faiss")
    queries = rows[:5] + 0.3
    for index, words in (("faiss", "faiss, exact"), ("faiss-approximate", "faiss, exact")):  # few rows: exact as well
        similar = find_similar(rows, queries, index=index)
        np.testing.assert_array_equal(similar.rows, rows_by_sorting(rows, queries, 10))
        np.testing.assert_allclose(similar.cosine, find_similar(rows, queries).cosine, atol=1e-6)
        assert similar.index == words


def test_approximate_faiss() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(40, 32))[rng.integers(0, 40, 6000)] + 0.3 * rng.normal(size=(6000, 32))).astype(np.float32)
    queries = rows[:20]
    similar = find_similar(rows, queries, index="faiss-approximate")
    exact = find_similar(rows, queries)
    assert similar.index == "faiss, approximate: 32 of 309 cells searched"
    assert (similar.rows[:, 0] == np.arange(20)).all()
    shared = [
        len(set(rows) & set(exact_rows))
        for rows, exact_rows in zip(similar.rows.tolist(), exact.rows.tolist(), strict=True)
    ]
    assert np.mean(shared) > 9
    np.testing.assert_allclose(similar.cosine[:, 0], 1, atol=1e-5)


def test_faiss_not_installed(rows: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match="pip install 'featx\\[faiss\\]'"):
        find_similar(rows, rows[0], index="faiss")


@pytest.mark.parametrize("index", ["exact", "faiss", "faiss-approximate"])
@pytest.mark.parametrize("n_finite", [0, 3, 5900])
def test_rows_that_are_not_finite(index: str, n_finite: int) -> None:
    if index != "exact":
        pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(40, 32))[rng.integers(0, 40, 6000)] + 0.3 * rng.normal(size=(6000, 32))).astype(np.float32)
    is_finite = np.zeros(6000, dtype=bool)
    is_finite[rng.permutation(6000)[:n_finite]] = True
    rows[~is_finite, :3] = [np.nan, np.inf, -np.inf]
    queries = np.nan_to_num(rows[::1000], posinf=0, neginf=0)
    similar = find_similar(rows, queries, top=5, index=index)
    assert is_finite[similar.rows[similar.rows >= 0]].all()
    assert (similar.rows >= 0).sum() == 6 * min(5, n_finite)
    assert (np.isnan(similar.cosine) == (similar.rows < 0)).all()
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    for numbers, cosines, query in zip(similar.rows, similar.cosine, unit, strict=True):
        neighbors = rows[numbers[numbers >= 0]]
        np.testing.assert_allclose(
            cosines[numbers >= 0], neighbors @ query / np.linalg.norm(neighbors, axis=1), atol=1e-5
        )
