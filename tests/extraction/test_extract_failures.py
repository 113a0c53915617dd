"""Unreadable images, failing backbones and caches."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.errors import AuditError, EngineError, ImageTooLargeError, StoreError, StoreWarning, UnreadableImageError
from featx.extraction.extract import extract_into
from featx.extraction.ledger import Ledger
from featx.extraction.options import ExtractionOptions
from featx.extraction.prefetch import prefetch
from featx.testing import CountingBackbone
from tests.extraction.helpers import REDUCED_DECODE_TOLERANCE, extract, mean_colors
from tests.samples import encoded


@pytest.mark.parametrize("index", [0, 11, 23])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_unreadable_image_affects_no_other(
    index: int, batch_size: int, counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    Path(paths[index]).write_bytes(Path(paths[index]).read_bytes()[:900])
    rows, ledger = extract(paths, tmp_path / "cache", on_error="nan", batch_size=batch_size)
    good = [position for position in range(24) if position != index]
    assert np.isnan(rows[index]).all()
    expected = [mean_colors(PIL.Image.open(paths[position])) for position in good]
    np.testing.assert_allclose(rows[good], expected, atol=REDUCED_DECODE_TOLERANCE)
    assert [(failure.position, failure.image) for failure in ledger.failures] == [(index, paths[index])]
    assert "truncated" in ledger.failures[0].reason


def test_batch_of_unreadable_images(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    for path in paths[8:16]:
        Path(path).write_bytes(b"no image")
    rows, ledger = extract(paths, tmp_path / "cache", on_error="nan", batch_size=4)
    assert np.isnan(rows).all(axis=1).nonzero()[0].tolist() == list(range(8, 16))
    # Equal bytes are read as one image, and each of them gets the reason.
    assert [failure.position for failure in ledger.failures] == list(range(8, 16))
    assert ledger.n_computed == counting.n_images == 16


def test_error_names_the_image_and_computed_rows_are_cached(
    counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    Path(paths[20]).write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"20\.jpg' \(index 20\): "):
        extract(paths, tmp_path / "cache", batch_size=4)
    assert counting.n_images == 20
    extract(paths[:20], tmp_path / "cache")
    assert counting.n_images == 20


def test_interrupt_loses_no_computed_row(
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
    _, ledger = extract(paths, tmp_path / "cache")
    assert (ledger.n_computed, ledger.n_cached) == (12, 12)


def test_corrupt_segment_warns_once_and_is_computed_again(
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
def test_cache_that_is_not_writable_fails_before_the_network_starts(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setattr("featx.extraction.options.Resolved.start", lambda *args: pytest.fail("the network was started"))
    with pytest.raises(StoreError, match="Cannot write"):
        extract(paths, tmp_path / "cache")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda n: np.zeros(12), r"must return finite rows of shape \(24, 12\), got shape \(12,\)"),
        (lambda n: np.zeros((n, 1)), r"got shape \(24, 1\)"),
        (lambda n: np.full((n, 12), np.nan), "got NaN or infinite values"),
    ],
)
def test_invalid_rows_are_rejected_and_not_cached(
    wrong: Any,
    message: str,
    counting: CountingBackbone,
    paths: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "extract", lambda pixels: wrong(len(pixels)))
    with pytest.raises(EngineError, match=message):
        extract(paths, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_failures_are_in_input_order(counting: CountingBackbone) -> None:
    images = [b"bad", b"bad", b"worse", b"bad"]
    _, ledger = extract(images, None, on_error="nan")
    assert [failure.position for failure in ledger.failures] == [0, 1, 2, 3]
    with pytest.raises(UnreadableImageError, match="index 0"):
        extract(images, None)


def test_audit_detects_missing_and_repeated_rows(
    counting: CountingBackbone, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.extraction.extract.prefetch", lambda *args: list(prefetch(*args))[:-1])
    with pytest.raises(AuditError, match="1 images have no row"):
        extract(paths, None)
    monkeypatch.setattr("featx.extraction.extract.prefetch", lambda *args: list(prefetch(*args)) * 2)
    with pytest.raises(AuditError, match="a row twice"):
        extract(paths, None, batch_size=4)


def test_read_error_of_the_cache_is_not_corruption(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(paths, tmp_path / "cache")

    def refuse(*args: Any, **options: Any) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("featx.store.segments.open_regular_file", refuse)
        with pytest.raises(StoreError, match="Cannot read.*Too many open files. No file was changed"):
            extract(paths, tmp_path / "cache")
    _, ledger = extract(paths, tmp_path / "cache")
    assert ledger.n_cached == 24


def test_padded_image_has_a_row_of_its_own(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
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
    for _ in range(2):  # the second time, its row is cached
        padded = extract("pad")
        assert (padded.padded, padded.failures, counting.n_images) == ([3, 24], [], 1)
        assert np.isfinite(rows).all()
    assert extract("raise").failures == strict.failures
    assert counting.n_images == 1


def test_max_pixels(counting: CountingBackbone, paths: list[str]) -> None:
    resolved = ExtractionOptions("counting", max_pixels=160 * 120 - 1).resolve()
    rows = np.empty((24, 12), np.float32)
    ledger = extract_into(rows, paths, resolved, cache=None, raise_on_error=False)
    assert {failure.error for failure in ledger.failures} == {"ImageTooLargeError"}
    with pytest.raises(ImageTooLargeError, match="index 0"):
        extract_into(rows, paths, resolved, cache=None)


@pytest.mark.parametrize("bad", [[31, 32], list(range(64, 96)), [0, 4_999, 9_999]], ids=str)
def test_unreadable_images_among_10_000(bad: list[int], counting: CountingBackbone) -> None:
    colors = np.stack(np.unravel_index(np.arange(10_000), (22, 22, 22)), axis=1).astype(np.uint8) * 11
    images: list[Any] = [encoded(np.broadcast_to(color, (2, 2, 3)), "PPM") for color in colors]
    for index in bad:
        images[index] = images[index][:-3]
    rows = np.full((10_000, 12), -1, dtype=np.float32)
    resolved = ExtractionOptions("counting", image_size=2, batch_size=32).resolve()
    ledger = extract_into(rows, images, resolved, cache=None, raise_on_error=False)  # ends with an audit
    assert [(failure.position, failure.error) for failure in ledger.failures] == [
        (index, "TruncatedImageError") for index in bad
    ]
    good = np.setdiff1d(np.arange(10_000), bad)
    np.testing.assert_array_equal(rows[good], np.tile(colors[good], 4))
    assert np.isnan(rows[bad]).all()
    assert (ledger.n_computed, ledger.n_cached) == (10_000 - len(bad), 0)


def test_unreadable_images_hold_no_memory(counting: CountingBackbone, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    cut = encoded(noise, "PNG")[:-1000]
    images = [tmp_path / f"{number}.png" for number in range(40)]
    for number, path in enumerate(images):
        path.write_bytes(cut + bytes([number]))  # each has other content, of 1 MB
    tracemalloc.start()
    try:
        resolved = ExtractionOptions("counting").resolve()
        rows = np.empty((40, 12), np.float32)
        before = tracemalloc.get_traced_memory()[0]
        ledger = extract_into(rows, images, resolved, cache=None, raise_on_error=False)
        assert tracemalloc.get_traced_memory()[0] - before < 5_000_000  # errors with tracebacks would keep 40 MB
    finally:
        tracemalloc.stop()
    assert len(ledger.failures) == 40


def test_corrupt_row_of_a_padded_image_is_computed_again(
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
