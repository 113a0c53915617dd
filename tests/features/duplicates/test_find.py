from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx import FeatureExtractor, find_duplicates
from featx.errors import ComparisonError, FeaturesNotFoundError, OptionError
from featx.features.duplicates.find import find_duplicate_rows
from featx.features.duplicates.limits import DuplicateLimits


def _clusters_by_rule(rows: np.ndarray[Any, Any], threshold: float) -> list[list[int]]:
    """Apply the documented rule pair by pair."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    distinct = np.unique(rows, axis=0)
    distinct = distinct / np.maximum(np.linalg.norm(distinct, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    tenth = np.array([np.sort(np.delete(distinct @ row, np.argmax(distinct @ row)))[::-1][9] for row in unit])
    near = cosine >= threshold - 1e-6
    near |= (cosine >= 0.9) & (2 * (1 - cosine) <= 1 - np.maximum(tenth[:, None], tenth[None]))
    group = list(range(len(rows)))
    for left, right in zip(*np.nonzero(near), strict=True):
        old, new = group[left], group[right]
        group = [new if label == old else label for label in group]
    clusters: dict[int, list[int]] = {}
    for row, label in enumerate(group):
        clusters.setdefault(label, []).append(row)
    return sorted(rows for rows in clusters.values() if len(rows) > 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.floats(0.01, 0.6), block=st.sampled_from([400, 4000, 10**8]))
def test_groups_match_the_documented_rule(seed: int, spread: float, block: int) -> None:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(8, 12))
    rows = (centers[rng.integers(0, 8, 60)] + spread * rng.normal(size=(60, 12))).astype(np.float32)
    rows[50:55] = rows[:5]
    duplicates = find_duplicate_rows(rows, 0.97, limits=DuplicateLimits(dense_block_bytes=block, max_pairs=100))
    assert sorted(sorted(cluster.tolist()) for cluster in duplicates.clusters) == _clusters_by_rule(rows, 0.97)
    assert duplicates.n_rows == sum(map(len, duplicates.clusters))
    assert len(duplicates) == len(duplicates.clusters)


def test_equal_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 16)).astype(np.float32)
    many = np.concatenate([rows, np.repeat(rows[:1], 3000, axis=0), np.zeros((2, 16), dtype=np.float32)])
    duplicates = find_duplicates(many, duplicate_threshold=1)
    assert [len(cluster) for cluster in duplicates.clusters] == [3001, 2]
    assert duplicates.cosine[0] == 1
    assert np.isnan(duplicates.cosine[1])


def test_threshold_1_finds_equal_rows_only() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 16))
    rows[3] = rows[2] * 1.0001
    rows[5] = rows[4] + 0.01 * rng.normal(size=16)
    assert [cluster.tolist() for cluster in find_duplicates(rows, duplicate_threshold=1).clusters] == [[2, 3]]
    assert [cluster.tolist() for cluster in find_duplicates(rows).clusters] == [[2, 3], [4, 5]]


def test_altered_copies_of_aerial_photos(ucmerced: list[str], compiled_cache: Any) -> None:
    """Repeat the measurement of the docstring with fewer photos: copies of low quality, cropped, mirrored."""
    originals = ucmerced[::4]
    copies = []
    for path in originals[:40]:
        photo = PIL.Image.open(path).convert("RGB")
        margin = round(0.05 * photo.width)
        for altered, quality in (
            (photo, 50),
            (PIL.ImageOps.mirror(photo), 90),
            (photo.crop((margin, margin, photo.width - margin, photo.height - margin)), 90),
        ):
            buffer = io.BytesIO()
            altered.save(buffer, "JPEG", quality=quality)
            copies.append(buffer.getvalue())
    extractor = FeatureExtractor(cache=compiled_cache)
    rows, copied_rows = extractor.transform(originals), extractor.transform(copies)
    without_copies = find_duplicates(rows)
    assert max(map(len, without_copies.clusters), default=0) <= 6
    assert without_copies.n_rows < 0.1 * len(originals)
    for altered in range(3):
        duplicates = find_duplicates(np.concatenate([rows, copied_rows[altered::3]]))
        hit = np.mean(duplicates.groups[:40] == duplicates.groups[len(rows) :])
        assert hit > 0.9, altered


@pytest.mark.parametrize("threshold", [0, 1.1, -1, "0.9", None])
def test_invalid_threshold(threshold: Any) -> None:
    with pytest.raises(OptionError, match="must be a number above 0 and at most 1"):
        find_duplicates(np.eye(3), duplicate_threshold=threshold)


def test_invalid_features() -> None:
    with pytest.raises(ComparisonError, match="got shape \\(3,\\)"):
        find_duplicates(np.zeros(3))
    with pytest.raises(ComparisonError, match="with NaN"):
        find_duplicates(np.array([[np.nan, 1.0]]))


@pytest.mark.parametrize("n", [0, 1, 2, 20, 21])
def test_few_rows(n: int) -> None:
    rows = np.random.default_rng(0).normal(size=(n, 8))
    assert find_duplicates(rows).clusters == []


@pytest.mark.slow  # compiles two layers
@pytest.mark.thorough
def test_early_layers_are_centered(ucmerced: list[str], compiled_cache: Any) -> None:
    late = find_duplicates(FeatureExtractor(cache=compiled_cache).fit_transform(ucmerced))
    early = find_duplicates(FeatureExtractor(layer=0.9, cache=compiled_cache).fit_transform(ucmerced))
    assert not late.centered
    assert early.centered
    assert early.n_rows < 200
    pairs = [(left, right) for cluster in late.clusters for left in cluster for right in cluster if left < right]
    n_found = sum(early.groups[left] == early.groups[right] for left, right in pairs)
    assert n_found > 0.9 * len(pairs)


def test_similar_rows_are_centered() -> None:
    rng = np.random.default_rng(0)
    rows = 20 + rng.normal(size=(200, 64)).astype(np.float32)
    rows[150] = rows[3] + 0.01 * rng.normal(size=64)
    duplicates = find_duplicates(rows)
    assert duplicates.centered
    assert [cluster.tolist() for cluster in duplicates.clusters] == [[3, 150]]


def test_feature_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    rows[40] = rows[7]
    np.save(tmp_path / "features.npy", rows)
    assert [cluster.tolist() for cluster in find_duplicates(tmp_path / "features.npy").clusters] == [[7, 40]]
    with pytest.raises(FeaturesNotFoundError):
        find_duplicates(tmp_path / "absent.npy")
