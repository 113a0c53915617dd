"""What extraction promises about any images, shown with a real backbone that counts what it is shown."""

from __future__ import annotations

import os
import shutil
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import (
    AuditError,
    EngineError,
    ImageTooLargeError,
    SmallSegmentsWarning,
    StoreError,
    StoreWarning,
    UnreadableImageError,
)
from featx.extraction.extract import extract_into
from featx.extraction.ledger import Ledger
from featx.extraction.options import ExtractionOptions
from featx.extraction.row_cache import DiskRowCache
from featx.images import image as image_reading
from featx.images.prefetch import Prefetcher
from featx.testing import CountingBackbone
from tests.extraction.helpers import extract
from tests.samples import encoded

#: At 32 pixels these JPEG files are decoded at half their size, which differs a little from the full decode.
SHRUNK = 2


def mean_colours(image: PIL.Image.Image) -> np.ndarray[Any, Any]:
    """The counting backbone's row, written independently."""
    pixels = np.asarray(image.resize((32, 32), PIL.Image.Resampling.BILINEAR), dtype=np.float64)
    return np.concatenate([pixels[y : y + 16, x : x + 16].mean(axis=(0, 1)) for y in (0, 16) for x in (0, 16)])


def test_rows_are_in_the_order_of_the_images(
    counting: CountingBackbone, photos: list[PIL.Image.Image], tmp_path: Path
) -> None:
    rows, _ = extract(photos, tmp_path / "cache")
    np.testing.assert_allclose(rows, [mean_colours(photo) for photo in photos], atol=1e-3)
    assert counting.n_images == 24


def test_a_second_run_shows_the_network_none(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    first, done = extract(paths, tmp_path / "cache")
    assert (done.n_computed, done.n_cached) == (24, 0)
    second, done = extract(paths, tmp_path / "cache")
    assert (done.n_computed, done.n_cached) == (0, 24)
    np.testing.assert_array_equal(first, second)
    assert counting.n_images == 24


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
    assert counting.n_images == 24


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
    monkeypatch.setattr("featx.images.image._read_file", lambda path, max_bytes: pytest.fail(f"{path} was opened"))
    second, _ = extract(paths, tmp_path / "cache")
    np.testing.assert_array_equal(first, second)


def test_recipes_never_mix(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    squashed, _ = extract(paths, tmp_path / "cache")
    cropped, _ = extract(paths, tmp_path / "cache", resize="crop")
    assert counting.n_images == 48
    assert not np.array_equal(squashed, cropped)
    np.testing.assert_array_equal(extract(paths, tmp_path / "cache")[0], squashed)


def test_equal_images_of_one_call_are_computed_once(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    for cache in (tmp_path / "cache", None):
        counting.n_images = 0
        rows, done = extract([*paths[:5], *paths[:5], paths[0]], cache)
        np.testing.assert_array_equal(rows[:5], rows[5:10])
        np.testing.assert_array_equal(rows[0], rows[10])
        assert counting.n_images == done.n_computed == 5
        assert done.n_cached == 6


def test_without_a_cache_nothing_is_kept(
    counting: CountingBackbone, paths: list[str], in_folder: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    extract(paths, None)
    extract(paths, None)
    assert counting.n_images == 48
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
    assert done.n_computed == counting.n_images == 16


def test_a_bad_image_is_named_and_what_was_computed_before_is_kept(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    Path(paths[20]).write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"20\.jpg' \(index 20\): "):
        extract(paths, tmp_path / "cache", batch_size=4)
    assert counting.n_images == 20
    extract(paths[:20], tmp_path / "cache")
    assert counting.n_images == 20


def test_an_interrupt_loses_no_computed_row_and_leaves_no_temporary_file(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_one = counting.extract

    def interrupted(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if counting.n_images >= 12:
            raise KeyboardInterrupt
        return extract_one(pixels)

    monkeypatch.setattr(counting, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(paths, tmp_path / "cache", batch_size=4)
    monkeypatch.undo()
    assert not list((tmp_path / "cache").rglob("*.tmp"))
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
    with pytest.warns(StoreWarning, match="extracted again") as warned:
        again, _ = extract(paths, tmp_path / "cache")
    assert len(warned) == 1
    np.testing.assert_array_equal(again, first)
    assert counting.n_images == 48
    extract(paths, tmp_path / "cache")
    assert counting.n_images == 48


@pytest.mark.usefixtures("counting")
def test_a_cache_that_cannot_be_written_is_an_error_before_the_network_starts(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr("featx.extraction.options.Resolved.start", lambda *args: pytest.fail("the network was started"))
    with pytest.raises(StoreError, match="Cannot write"):
        extract(paths, tmp_path / "cache")


def test_progress_tells_of_every_image(counting: CountingBackbone, paths: list[str]) -> None:
    done: list[int] = []
    resolved = ExtractionOptions(backbone="counting").resolve()
    rows = np.empty((26, 12), dtype=np.float32)
    images = [*paths, paths[0], b"bad"]
    extract_into(rows, images, resolved, cache=None, raise_on_error=False, progress=done.append)
    assert sum(done) == 26


def test_no_image_at_all_is_no_work(counting: CountingBackbone, tmp_path: Path) -> None:
    rows, done = extract([], tmp_path / "cache")
    assert rows.shape == (0, 12)
    assert done.n_computed == counting.n_images == 0


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


@pytest.mark.usefixtures("later")
def test_many_more_images_than_are_looked_up_at_once(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extract_into.__kwdefaults__, "lookup_size", 5)
    reference, _ = extract(paths, None)
    extract(paths[::2], tmp_path / "cache")
    copies = [Path(path).read_bytes() for path in paths]
    for images in (paths, copies, [*paths, *copies]):
        rows, _ = extract(images, tmp_path / "cache")
        np.testing.assert_array_equal(rows, reference[np.arange(len(images)) % 24])
    assert counting.n_images == 48


def test_a_new_version_of_a_plain_backbone_shares_no_row_with_the_old(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    extract(paths, tmp_path / "cache")
    counting.version = 2
    extract(paths, tmp_path / "cache")
    assert counting.n_images == 48


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda n: np.zeros(12), r"must return finite rows of shape \(24, 12\), got shape \(12,\)"),
        (lambda n: np.zeros((n, 1)), r"got shape \(24, 1\)"),
        (lambda n: np.full((n, 12), np.nan), "got NaN or infinite values"),
    ],
)
def test_rows_that_cannot_be_right_are_refused_and_not_kept(
    wrong: Any,
    found: str,
    counting: CountingBackbone,
    paths: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "extract", lambda pixels: wrong(len(pixels)))
    with pytest.raises(EngineError, match=found):
        extract(paths, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_failures_are_listed_in_order_and_the_first_of_equal_ones_is_named(counting: CountingBackbone) -> None:
    images = [b"bad", b"bad", b"worse", b"bad"]
    _, done = extract(images, None, on_error="nan")
    assert [failure.position for failure in done.failures] == [0, 1, 2, 3]
    with pytest.raises(UnreadableImageError, match="index 0"):
        extract(images, None)


def test_an_image_without_a_row_or_with_two_is_noticed(
    counting: CountingBackbone, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefetch = Prefetcher.prefetch
    monkeypatch.setattr(Prefetcher, "prefetch", lambda self, indices: list(prefetch(self, indices))[:-1])
    with pytest.raises(AuditError, match="1 images have no row"):
        extract(paths, None)
    monkeypatch.setattr(Prefetcher, "prefetch", lambda self, indices: list(prefetch(self, indices)) * 2)
    with pytest.raises(AuditError, match="a row twice"):
        extract(paths, None, batch_size=4)


def test_rows_are_committed_in_time_while_the_run_goes_on(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.store.store.Store.segment_seconds", 0.0)
    extract(paths, tmp_path / "cache", batch_size=4)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 6


def test_trouble_in_reading_the_store_is_an_error_and_no_damage(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(paths, tmp_path / "cache")

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("featx.store.segments.open_regular_file", refuse)
        with pytest.raises(StoreError, match="Cannot read.*Too many open files. No file was changed"):
            extract(paths, tmp_path / "cache")
    _, done = extract(paths, tmp_path / "cache")
    assert done.n_cached == 24


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("mtime_restored", [False, True])
def test_new_bytes_of_the_same_size_under_an_old_path_give_the_new_row(
    mtime_restored: bool, counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    extract(paths[:1], tmp_path / "cache")
    old, new = Path(paths[0]).read_bytes(), Path(paths[1]).read_bytes()
    size = max(len(old), len(new))  # a JPEG may be followed by anything
    Path(paths[0]).write_bytes(old.ljust(size, b"\0"))
    extract(paths[:1], tmp_path / "cache")
    state = os.stat(paths[0])
    Path(paths[0]).write_bytes(new.ljust(size, b"\0"))
    if mtime_restored:
        os.utime(paths[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    rows, _ = extract(paths[:1], tmp_path / "cache")
    np.testing.assert_array_equal(rows, extract(paths[1:2], None)[0])


def test_a_file_that_is_written_again_at_once_gives_the_new_row(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    image = tmp_path / "a.jpg"
    for path in [*paths[:6], paths[0]]:  # faster than many a file system's time stamps move
        image.write_bytes(Path(path).read_bytes())
        rows, _ = extract([str(image)], tmp_path / "cache")
        np.testing.assert_array_equal(rows, extract([path], None)[0])


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.usefixtures("later", "counting")
def test_a_link_that_leads_elsewhere_now_gives_the_row_of_where_it_leads(paths: list[str], tmp_path: Path) -> None:
    link = tmp_path / "link.jpg"
    for path in (paths[0], paths[1], paths[0]):
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        rows, _ = extract([str(link)], tmp_path / "cache")
        np.testing.assert_array_equal(rows, extract([path], None)[0])


@pytest.mark.usefixtures("later", "counting")
def test_a_file_that_is_replaced_while_it_is_read_gives_the_old_row_or_the_new_but_keeps_neither_wrongly(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, cache = tmp_path / "a.jpg", tmp_path / "cache"
    image.write_bytes(Path(paths[0]).read_bytes())
    read = image_reading._read_once

    def overtaken(path: str, max_bytes: int) -> Any:
        result = read(path, max_bytes)
        (tmp_path / "new").write_bytes(Path(paths[1]).read_bytes())
        if path == str(image):
            os.replace(tmp_path / "new", image)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(image_reading, "_read_once", overtaken)
        rows, _ = extract([str(image)], cache)
    np.testing.assert_array_equal(rows, extract(paths[:1], None)[0])  # of the bytes that were read
    rows, _ = extract([str(image)], cache)
    np.testing.assert_array_equal(rows, extract(paths[1:2], None)[0])


@pytest.mark.usefixtures("later", "counting")
@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_vanishes_after_it_was_listed_is_a_failure_of_its_own(
    known: bool, paths: list[str], tmp_path: Path
) -> None:
    if known:
        extract(paths, tmp_path / "cache")
    os.unlink(paths[3])
    rows, done = extract(paths, tmp_path / "cache", on_error="nan")
    assert [failure.position for failure in done.failures] == [3]
    assert done.failures[0].reason == "No such file or directory"
    assert np.isnan(rows).any(axis=1).tolist() == [at == 3 for at in range(24)]


@pytest.mark.usefixtures("counting")
def test_many_small_segments_are_hinted_at_now_and_then(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.store.store.Store.many_segments", 4)
    hints = []
    for number, path in enumerate(paths[:10], start=1):
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            extract([path], tmp_path / "cache")
        hints += [number] * len(given)
        assert all(f"featx cache compact --cache {tmp_path / 'cache'}" in str(one.message) for one in given)
        assert all(one.category is SmallSegmentsWarning for one in given)
    assert hints == [4, 8]


def test_a_file_that_was_just_written_when_it_was_read_is_read_again_however_long_the_network_took(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time stamp may not tell of a second writing in the same tick of the clock."""
    image, cache = tmp_path / "a.jpg", tmp_path / "cache"
    image.write_bytes(Path(paths[0]).read_bytes())
    compute = CountingBackbone.extract

    def slowly(self: CountingBackbone, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(2.1)
        return compute(self, pixels)

    images = [paths[1], str(image)]  # the second is read at once, and waits until the network has done the first
    with monkeypatch.context() as patch:
        patch.setattr(CountingBackbone, "extract", slowly)
        extract(images, cache, batch_size=1)
    opened = []
    read = image_reading._read_once
    monkeypatch.setattr(image_reading, "_read_once", lambda path, n: (opened.append(path), read(path, n))[1])
    extract(images, cache)
    assert str(image) in opened


def test_a_truncated_image_that_is_made_complete_never_passes_for_a_whole_one(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    cut = Path(paths[3])
    cut.write_bytes(cut.read_bytes()[:-400])
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(cut.read_bytes())
    rows = np.empty((25, 12), np.float32)

    def extract(on_truncated: str) -> Ledger:
        resolved = ExtractionOptions("counting", on_truncated=on_truncated).resolve()
        return extract_into(rows, [*paths, str(copy)], resolved, cache=tmp_path / "cache", raise_on_error=False)

    strict = extract("raise")
    truncated = [(3, "TruncatedImageError"), (24, "TruncatedImageError")]
    assert [(failure.position, failure.error) for failure in strict.failures] == truncated
    counting.n_images = 0
    for _ in range(2):  # the second time, its row is there
        padded = extract("pad")
        assert (padded.padded, padded.failures, counting.n_images) == ([3, 24], [], 1)
        assert np.isfinite(rows).all()
    assert extract("raise").failures == strict.failures
    assert counting.n_images == 1


def test_a_limit_of_pixels_is_the_caller_s(counting: CountingBackbone, paths: list[str]) -> None:
    resolved = ExtractionOptions("counting", max_pixels=160 * 120 - 1).resolve()
    rows = np.empty((24, 12), np.float32)
    ledger = extract_into(rows, paths, resolved, cache=None, raise_on_error=False)
    assert {failure.error for failure in ledger.failures} == {"ImageTooLargeError"}
    with pytest.raises(ImageTooLargeError, match="index 0"):
        extract_into(rows, paths, resolved, cache=None)


@pytest.mark.parametrize("bad", [[0], [9_999], [31, 32], list(range(64, 96)), [0, 4_999, 9_999]], ids=str)
def test_among_10_000_images_bad_ones_cost_no_other(bad: list[int], counting: CountingBackbone) -> None:
    colours = np.stack(np.unravel_index(np.arange(10_000), (22, 22, 22)), axis=1).astype(np.uint8) * 11
    images: list[Any] = [encoded(np.broadcast_to(colour, (2, 2, 3)), "PPM") for colour in colours]
    for at in bad:
        images[at] = images[at][:-3]
    rows = np.full((10_000, 12), -1, dtype=np.float32)
    resolved = ExtractionOptions("counting", image_size=2, batch_size=32).resolve()
    ledger = extract_into(rows, images, resolved, cache=None, raise_on_error=False)  # ends with an audit
    assert [(failure.position, failure.error) for failure in ledger.failures] == [
        (at, "TruncatedImageError") for at in bad
    ]
    good = np.setdiff1d(np.arange(10_000), bad)
    np.testing.assert_array_equal(rows[good], np.tile(colours[good], 4))
    assert np.isnan(rows[bad]).all()
    assert (ledger.n_computed, ledger.n_cached) == (10_000 - len(bad), 0)


def test_bad_images_hold_no_memory(counting: CountingBackbone, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    cut = encoded(noise, "PNG")[:-1000]
    images = [tmp_path / f"{number}.png" for number in range(40)]
    for number, path in enumerate(images):
        path.write_bytes(cut + bytes([number]))  # each another one, of 1 MB
    tracemalloc.start()
    try:
        resolved = ExtractionOptions("counting").resolve()
        rows = np.empty((40, 12), np.float32)
        before = tracemalloc.get_traced_memory()[0]
        ledger = extract_into(rows, images, resolved, cache=None, raise_on_error=False)
        assert tracemalloc.get_traced_memory()[0] - before < 5_000_000  # an error that knew its frames would keep 40
    finally:
        tracemalloc.stop()
    assert len(ledger.failures) == 40


def test_a_damaged_row_of_a_padded_image_is_made_again(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    Path(paths[3]).write_bytes(Path(paths[3]).read_bytes()[:-400])
    resolved = ExtractionOptions("counting", on_truncated="pad").resolve()
    rows = [np.empty((24, 12), np.float32) for _ in range(2)]
    extract_into(rows[0], paths, resolved, cache=tmp_path / "cache")
    (segment,) = (tmp_path / "cache" / "features").glob("*/*.npy")
    segment.write_bytes(segment.read_bytes()[:-3] + b"abc")
    with pytest.warns(StoreWarning):
        ledger = extract_into(rows[1], paths, resolved, cache=tmp_path / "cache")
    assert ledger.padded == [3]
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.usefixtures("later")
def test_an_equal_image_keeps_its_row_if_the_other_file_changes_during_the_run(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file has a corrupt cached row and is read again after its content was replaced."""
    first, copy = tmp_path / "first.jpg", tmp_path / "copy.jpg"
    first.write_bytes(Path(paths[0]).read_bytes())
    copy.write_bytes(first.read_bytes())
    expected, _ = extract([str(copy), paths[1]], tmp_path / "cache")
    (segment,) = (tmp_path / "cache" / "features").glob("*/*.npy")
    segment.write_bytes(segment.read_bytes()[:-3] + b"abc")
    read_rows = DiskRowCache.read_rows

    def replace_first(self: DiskRowCache, digests: Any) -> Any:
        if len(digests):
            first.write_bytes(Path(paths[1]).read_bytes())
        return read_rows(self, digests)

    monkeypatch.setattr(DiskRowCache, "find_files", lambda *args: {})
    monkeypatch.setattr(DiskRowCache, "read_rows", replace_first)
    with pytest.warns(StoreWarning):
        rows, _ = extract([str(first), str(copy)], tmp_path / "cache")
    np.testing.assert_array_equal(rows, expected[[1, 0]])
