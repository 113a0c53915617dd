"""What extraction promises about any images, shown with a real backbone that counts what it is shown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import StoreError, StoreWarning, UnreadableImageError
from featx.extraction import Extraction
from featx.options import ExtractionOptions
from tests.conftest import CountingBackbone

#: At 32 pixels these JPEG files are decoded at half their size, which differs a little from the full decode.
SHRUNK = 2


def extract(images: Sequence[Any], cache: Path | None, **options: Any) -> tuple[np.ndarray[Any, Any], Extraction]:
    on_error = options.pop("on_error", "raise")
    resolved = ExtractionOptions(backbone="counting", **options).resolve()
    rows = np.empty((len(images), resolved.n_features), dtype=np.float32)
    extraction = Extraction(images, resolved, rows, cache=cache, raise_on_error=on_error == "raise")
    extraction.run()
    return rows, extraction


def mean_colours(image: PIL.Image.Image) -> np.ndarray[Any, Any]:
    """The counting backbone's row, written independently."""
    pixels = np.asarray(image.resize((32, 32), PIL.Image.Resampling.BILINEAR), dtype=np.float64)
    return np.concatenate([pixels[y : y + 16, x : x + 16].mean(axis=(0, 1)) for y in (0, 16) for x in (0, 16)])


def test_rows_are_in_the_order_of_the_images(
    counting: CountingBackbone, photos: list[PIL.Image.Image], tmp_path: Path
) -> None:
    rows, _ = extract(photos, tmp_path / "cache")
    np.testing.assert_allclose(rows, [mean_colours(photo) for photo in photos], atol=1e-3)
    assert counting.n_shown == 24


def test_a_second_run_shows_the_network_none(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    first, done = extract(paths, tmp_path / "cache")
    assert (done.n_computed, done.n_cached) == (24, 0)
    second, done = extract(paths, tmp_path / "cache")
    assert (done.n_computed, done.n_cached) == (0, 24)
    np.testing.assert_array_equal(first, second)
    assert counting.n_shown == 24


def test_shuffled_renamed_copied_and_fewer_images_are_known(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    first, _ = extract(paths, tmp_path / "cache")
    order = np.random.default_rng(0).permutation(24)
    shuffled, _ = extract([paths[at] for at in order], tmp_path / "cache")
    np.testing.assert_array_equal(shuffled, first[order])
    copies = tmp_path / "copies"
    copies.mkdir()
    for at in range(7):
        shutil.copy(paths[at], copies / f"other name {at}.bin")
    copied, _ = extract([copies / f"other name {at}.bin" for at in range(7)], tmp_path / "cache")
    np.testing.assert_array_equal(copied, first[:7])
    as_bytes, _ = extract([Path(path).read_bytes() for path in paths], tmp_path / "cache")
    np.testing.assert_array_equal(as_bytes, first)
    assert counting.n_shown == 24


@pytest.mark.usefixtures("later")
def test_changed_bytes_under_an_old_path_are_extracted_anew(
    counting: CountingBackbone, paths: list[str], photos: list[PIL.Image.Image], tmp_path: Path
) -> None:
    extract(paths, tmp_path / "cache")
    state = os.stat(paths[3])
    photos[3].rotate(180).save(paths[3], quality=90)
    os.utime(paths[3], ns=(state.st_atime_ns, state.st_mtime_ns))
    rows, done = extract(paths, tmp_path / "cache")
    assert (done.n_computed, done.n_cached) == (1, 23)
    np.testing.assert_allclose(rows[3], mean_colours(PIL.Image.open(paths[3])), atol=SHRUNK)


@pytest.mark.usefixtures("later")
def test_a_known_file_is_not_even_opened(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = extract(paths, tmp_path / "cache")
    monkeypatch.setattr("featx.images._read_file", lambda path: pytest.fail(f"{path} was opened"))
    second, _ = extract(paths, tmp_path / "cache")
    np.testing.assert_array_equal(first, second)


def test_recipes_never_mix(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    squashed, _ = extract(paths, tmp_path / "cache")
    cropped, _ = extract(paths, tmp_path / "cache", resize="crop")
    assert counting.n_shown == 48
    assert not np.array_equal(squashed, cropped)
    np.testing.assert_array_equal(extract(paths, tmp_path / "cache")[0], squashed)


def test_equal_images_of_one_call_are_computed_once(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    for cache in (tmp_path / "cache", None):
        counting.n_shown = 0
        rows, done = extract([*paths[:5], *paths[:5], paths[0]], cache)
        np.testing.assert_array_equal(rows[:5], rows[5:10])
        np.testing.assert_array_equal(rows[0], rows[10])
        assert counting.n_shown == done.n_computed == 5
        assert done.n_cached == 6


def test_without_a_cache_nothing_is_kept(
    counting: CountingBackbone, paths: list[str], in_folder: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    extract(paths, None)
    extract(paths, None)
    assert counting.n_shown == 48
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("at", [0, 11, 23])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_one_bad_image_costs_no_other(
    at: int, batch_size: int, counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    Path(paths[at]).write_bytes(Path(paths[at]).read_bytes()[:900])
    rows, done = extract(paths, tmp_path / "cache", on_error="nan", batch_size=batch_size)
    good = [position for position in range(24) if position != at]
    assert np.isnan(rows[at]).all()
    expected = [mean_colours(PIL.Image.open(paths[position])) for position in good]
    np.testing.assert_allclose(rows[good], expected, atol=SHRUNK)
    assert [(failure.position, failure.image) for failure in done.failures] == [(at, paths[at])]
    assert "truncated" in done.failures[0].reason


def test_a_batch_of_bad_images_only(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    for path in paths[8:16]:
        Path(path).write_bytes(b"no image")
    rows, done = extract(paths, tmp_path / "cache", on_error="nan", batch_size=4)
    assert np.isnan(rows).all(axis=1).nonzero()[0].tolist() == list(range(8, 16))
    # Equal bytes are read as one image: the reason is given for each all the same.
    assert [failure.position for failure in done.failures] == list(range(8, 16))
    assert done.n_computed == counting.n_shown == 16


def test_a_bad_image_is_named_and_what_was_computed_before_is_kept(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    Path(paths[20]).write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"20\.jpg' at position 20: it is empty"):
        extract(paths, tmp_path / "cache", batch_size=4)
    assert counting.n_shown == 20
    extract(paths[:20], tmp_path / "cache")
    assert counting.n_shown == 20


def test_an_interrupt_loses_no_computed_row_and_leaves_no_temporary_file(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_one = counting.extract

    def interrupted(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if counting.n_shown >= 12:
            raise KeyboardInterrupt
        return extract_one(pixels)

    monkeypatch.setattr(counting, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(paths, tmp_path / "cache", batch_size=4)
    monkeypatch.undo()
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    monkeypatch.setitem(__import__("featx").backbones._registered, "counting", counting)
    _, done = extract(paths, tmp_path / "cache")
    assert (done.n_computed, done.n_cached) == (12, 12)


def test_a_damaged_segment_is_warned_of_once_and_its_rows_are_extracted_anew(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    first, _ = extract(paths, tmp_path / "cache")
    (segment,) = (tmp_path / "cache").rglob("*.npy")
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with pytest.warns(StoreWarning, match="extracted anew") as warned:
        again, _ = extract(paths, tmp_path / "cache")
    assert len(warned) == 1
    np.testing.assert_array_equal(again, first)
    assert counting.n_shown == 48
    extract(paths, tmp_path / "cache")
    assert counting.n_shown == 48


@pytest.mark.usefixtures("counting")
def test_a_cache_that_cannot_be_written_is_an_error_before_the_network_starts(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr("featx.options.Resolved.start", lambda *args: pytest.fail("the network was started"))
    with pytest.raises(StoreError, match="cannot be written"):
        extract(paths, tmp_path / "cache")


def test_progress_tells_of_every_image(counting: CountingBackbone, paths: list[str]) -> None:
    done: list[int] = []
    resolved = ExtractionOptions(backbone="counting").resolve()
    rows = np.empty((26, 12), dtype=np.float32)
    images = [*paths, paths[0], b"bad"]
    Extraction(images, resolved, rows, cache=None, raise_on_error=False, progress=done.append).run()
    assert sum(done) == 26


def test_no_image_at_all_is_no_work(counting: CountingBackbone, tmp_path: Path) -> None:
    rows, done = extract([], tmp_path / "cache")
    assert rows.shape == (0, 12)
    assert done.n_computed == counting.n_shown == 0


@given(
    wanted=st.lists(st.integers(0, 23), max_size=40),
    batch_size=st.integers(1, 40),
    known=st.sets(st.integers(0, 23)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_images_in_any_order_number_and_batch_give_their_own_rows(
    wanted: list[int],
    batch_size: int,
    known: set[int],
    counting: CountingBackbone,
    photos: list[PIL.Image.Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    reference, _ = extract(photos, None)
    extract([photos[at] for at in sorted(known)], cache)
    rows, done = extract([photos[at] for at in wanted], cache, batch_size=batch_size)
    np.testing.assert_array_equal(rows, reference[wanted])
    assert done.n_computed == len(set(wanted) - known)


@pytest.mark.usefixtures("counting")
def test_every_kind_of_image_gives_the_same_row(photo: PIL.Image.Image, encoded: Callable[..., bytes]) -> None:
    data = encoded(photo, "PNG")
    rows, _ = extract([photo, np.asarray(photo), data], None)
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])
