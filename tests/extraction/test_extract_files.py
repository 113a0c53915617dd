"""Files that change, move or vanish."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from featx.errors import StoreWarning
from featx.extraction.row_cache import DiskRowCache
from featx.images import image as image_reading
from featx.testing import CountingBackbone
from tests.extraction.helpers import REDUCED_DECODE_TOLERANCE, extract, mean_colors


@pytest.mark.usefixtures("later")
def test_changed_file_is_computed_again(
    counting: CountingBackbone, paths: list[str], photos: list[PIL.Image.Image], tmp_path: Path
) -> None:
    extract(paths, tmp_path / "cache")
    state = os.stat(paths[3])
    photos[3].rotate(180).save(paths[3], quality=90)
    os.utime(paths[3], ns=(state.st_atime_ns, state.st_mtime_ns))
    rows, ledger = extract(paths, tmp_path / "cache")
    assert (ledger.n_computed, ledger.n_cached) == (1, 23)
    np.testing.assert_allclose(rows[3], mean_colors(PIL.Image.open(paths[3])), atol=REDUCED_DECODE_TOLERANCE)


@pytest.mark.usefixtures("later")
def test_known_file_is_not_opened(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = extract(paths, tmp_path / "cache")
    monkeypatch.setattr("featx.images.image._read_file", lambda path, max_bytes: pytest.fail(f"{path} was opened"))
    second, _ = extract(paths, tmp_path / "cache")
    np.testing.assert_array_equal(first, second)


@pytest.mark.usefixtures("later")
def test_more_images_than_one_lookup(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    reference, _ = extract(paths, None)
    extract(paths[::2], tmp_path / "cache", lookup_size=5)
    copies = [Path(path).read_bytes() for path in paths]
    for images in (paths, copies, [*paths, *copies]):
        rows, _ = extract(images, tmp_path / "cache", lookup_size=5)
        np.testing.assert_array_equal(rows, reference[np.arange(len(images)) % 24])
    assert counting.n_images == 48


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("mtime_restored", [False, True])
def test_new_content_of_the_same_size(
    mtime_restored: bool, counting: CountingBackbone, paths: list[str], tmp_path: Path
) -> None:
    extract(paths[:1], tmp_path / "cache")
    old, new = Path(paths[0]).read_bytes(), Path(paths[1]).read_bytes()
    size = max(len(old), len(new))  # a JPEG file may have any bytes at its end
    Path(paths[0]).write_bytes(old.ljust(size, b"\0"))
    extract(paths[:1], tmp_path / "cache")
    state = os.stat(paths[0])
    Path(paths[0]).write_bytes(new.ljust(size, b"\0"))
    if mtime_restored:
        os.utime(paths[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    rows, _ = extract(paths[:1], tmp_path / "cache")
    np.testing.assert_array_equal(rows, extract(paths[1:2], None)[0])


def test_file_that_is_rewritten_immediately(counting: CountingBackbone, paths: list[str], tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    for path in [*paths[:6], paths[0]]:  # faster than the time stamps of many file systems change
        image.write_bytes(Path(path).read_bytes())
        rows, _ = extract([str(image)], tmp_path / "cache")
        np.testing.assert_array_equal(rows, extract([path], None)[0])


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.usefixtures("later", "counting")
def test_link_to_another_file(paths: list[str], tmp_path: Path) -> None:
    link = tmp_path / "link.jpg"
    for path in (paths[0], paths[1], paths[0]):
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        rows, _ = extract([str(link)], tmp_path / "cache")
        np.testing.assert_array_equal(rows, extract([path], None)[0])


@pytest.mark.usefixtures("later", "counting")
def test_file_replaced_while_it_is_read(paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    np.testing.assert_array_equal(rows, extract(paths[:1], None)[0])  # the row of the bytes that were read
    rows, _ = extract([str(image)], cache)
    np.testing.assert_array_equal(rows, extract(paths[1:2], None)[0])


@pytest.mark.usefixtures("later", "counting")
@pytest.mark.parametrize("known", [False, True])
def test_file_that_vanished(known: bool, paths: list[str], tmp_path: Path) -> None:
    if known:
        extract(paths, tmp_path / "cache")
    os.unlink(paths[3])
    rows, ledger = extract(paths, tmp_path / "cache", on_error="nan")
    assert [failure.position for failure in ledger.failures] == [3]
    assert ledger.failures[0].reason == "No such file or directory"
    assert np.isnan(rows).any(axis=1).tolist() == [index == 3 for index in range(24)]


def test_recently_written_file_is_read_again(
    counting: CountingBackbone, paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second write in the same clock tick does not change the time stamp."""
    monkeypatch.setattr("featx.store.file_index.FileIndex.racy_seconds", 1.0)
    image, cache = tmp_path / "a.jpg", tmp_path / "cache"
    image.write_bytes(Path(paths[0]).read_bytes())
    compute = CountingBackbone.extract

    def slowly(self: CountingBackbone, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        time.sleep(1.1 if self.n_images == 0 else 0)
        return compute(self, pixels)

    images = [paths[1], str(image)]  # the second is read immediately, and waits for the network
    with monkeypatch.context() as patch:
        patch.setattr(CountingBackbone, "extract", slowly)
        extract(images, cache, batch_size=1)
    opened = []
    read = image_reading._read_once
    monkeypatch.setattr(image_reading, "_read_once", lambda path, n: (opened.append(path), read(path, n))[1])
    extract(images, cache)
    assert str(image) in opened


@pytest.mark.usefixtures("later")
def test_equal_image_whose_counterpart_changes_during_the_run(
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

    monkeypatch.setattr("featx.extraction.prefetch.n_cores", lambda: 1)  # the first file is read first
    monkeypatch.setattr(DiskRowCache, "find_files", lambda *args: {})
    monkeypatch.setattr(DiskRowCache, "read_rows", replace_first)
    with pytest.warns(StoreWarning):
        rows, _ = extract([str(first), str(copy)], tmp_path / "cache")
    np.testing.assert_array_equal(rows, expected[[1, 0]])
