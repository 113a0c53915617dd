"""Rows, order, cache hits and progress of an extraction."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import SmallSegmentsWarning
from featx.extraction.extract import extract_into
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone
from tests.extraction.helpers import extract, mean_colors


def test_rows_are_in_input_order(counting: CountingBackbone, photos: list[PIL.Image.Image], tmp_path: Path) -> None:
    rows, _ = extract(photos, tmp_path / "cache")
    np.testing.assert_allclose(rows, [mean_colors(photo) for photo in photos], atol=0.5)
    assert counting.n_images == 24


def test_second_run_computes_nothing(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    first, ledger = extract(paths, tmp_path / "cache")
    assert (ledger.n_computed, ledger.n_cached) == (24, 0)
    second, ledger = extract(paths, tmp_path / "cache")
    assert (ledger.n_computed, ledger.n_cached) == (0, 24)
    np.testing.assert_array_equal(first, second)
    assert counting.n_images == 24


def test_shuffled_renamed_and_copied_images_are_cached(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    first, _ = extract(paths, tmp_path / "cache")
    order = np.random.default_rng(0).permutation(24)
    shuffled, _ = extract([paths[index] for index in order], tmp_path / "cache")
    np.testing.assert_array_equal(shuffled, first[order])
    copies = tmp_path / "copies"
    copies.mkdir()
    for index in range(7):
        shutil.copy(paths[index], copies / f"other name {index}.bin")
    copied, _ = extract([copies / f"other name {index}.bin" for index in range(7)], tmp_path / "cache")
    np.testing.assert_array_equal(copied, first[:7])
    as_bytes, _ = extract([Path(path).read_bytes() for path in paths], tmp_path / "cache")
    np.testing.assert_array_equal(as_bytes, first)
    assert counting.n_images == 24


def test_recipes_have_rows_of_their_own(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    squashed, _ = extract(paths, tmp_path / "cache")
    cropped, _ = extract(paths, tmp_path / "cache", resize="crop")
    assert counting.n_images == 48
    assert not np.array_equal(squashed, cropped)
    np.testing.assert_array_equal(extract(paths, tmp_path / "cache")[0], squashed)


def test_equal_images_are_computed_once(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    for cache in (tmp_path / "cache", None):
        counting.n_images = 0
        rows, ledger = extract([*paths[:5], *paths[:5], paths[0]], cache)
        np.testing.assert_array_equal(rows[:5], rows[5:10])
        np.testing.assert_array_equal(rows[0], rows[10])
        assert counting.n_images == ledger.n_computed == 5
        assert ledger.n_cached == 6


def test_without_cache_nothing_is_written(
    counting: CountingBackbone, paths: list[str], in_folder: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    extract(paths, None)
    extract(paths, None)
    assert counting.n_images == 48
    assert set(tmp_path.rglob("*")) == before


def test_progress_counts_every_image(counting: CountingBackbone, paths: list[str]) -> None:
    done: list[int] = []
    resolved = ExtractionOptions(backbone="counting").resolve()
    rows = np.empty((26, 12), dtype=np.float32)
    images = [*paths, paths[0], b"bad"]
    extract_into(rows, images, resolved, cache=None, raise_on_error=False, progress=done.append)
    assert sum(done) == 26


def test_empty_input(counting: CountingBackbone, tmp_path: Path) -> None:
    rows, ledger = extract([], tmp_path / "cache")
    assert rows.shape == (0, 12)
    assert ledger.n_computed == counting.n_images == 0


@given(
    indices=st.lists(st.integers(0, 23), max_size=40),
    batch_size=st.integers(1, 40),
    known=st.sets(st.integers(0, 23)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_number_and_batch_size(
    indices: list[int],
    batch_size: int,
    known: set[int],
    counting: CountingBackbone,
    photos: list[PIL.Image.Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    reference, _ = extract(photos, None)
    extract([photos[index] for index in sorted(known)], cache)
    rows, ledger = extract([photos[index] for index in indices], cache, batch_size=batch_size)
    np.testing.assert_array_equal(rows, reference[indices])
    assert ledger.n_computed == len(set(indices) - known)


@pytest.mark.usefixtures("counting")
def test_bytes_arrays_and_pillow_images_give_the_same_row(
    photo: PIL.Image.Image, encoded: Callable[..., bytes]
) -> None:
    data = encoded(photo, "PNG")
    rows, _ = extract([photo, np.asarray(photo), data], None)
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


def test_new_backbone_version_shares_no_row(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    extract(paths, tmp_path / "cache")
    counting.version = 2
    extract(paths, tmp_path / "cache")
    assert counting.n_images == 48


def test_rows_are_committed_during_the_run(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.store.store.Store.segment_seconds", 0.0)
    extract(paths, tmp_path / "cache", batch_size=4)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 6


def test_single_calls_do_not_leave_a_segment_each(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.store.store.Store.max_tiny", 4)
    rows = [extract([path], tmp_path / "cache")[0] for path in paths[:20]]
    assert len(list((tmp_path / "cache").rglob("*.npy"))) <= 4
    assert counting.n_images == 20
    np.testing.assert_array_equal(extract(paths[:20], tmp_path / "cache")[0], np.concatenate(rows))
    assert counting.n_images == 20


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users of POSIX")
@pytest.mark.usefixtures("counting")
def test_segments_of_another_user_are_not_merged(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could not be removed in a folder with the sticky bit."""
    monkeypatch.setattr("featx.store.store.Store.max_tiny", 2)
    extract(paths[:1], tmp_path / "cache")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    for path in paths[1:6]:
        extract([path], tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 6


@pytest.mark.usefixtures("counting")
def test_many_small_segments_warn_now_and_then(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.store.store.Store.many_segments", 4)
    hints = []
    for number, path in enumerate(paths[:10], start=1):
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            extract([path], tmp_path / "cache")
        hints += [number] * len(given)
        assert all(f"featx cache compact --cache {tmp_path / 'cache'}" in str(warning.message) for warning in given)
        assert all(warning.category is SmallSegmentsWarning for warning in given)
    assert hints == [4, 8]
