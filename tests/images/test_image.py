from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from featx.datasets.image_table import ImageTable
from featx.errors import InputError, ResourceError, UnreadableImageError
from featx.images.image import DIGEST_SIZE, content_digest, read_image
from featx.images.image_lists import as_image_list

PATHS = ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "collection",
    [
        PATHS,
        tuple(PATHS),
        np.array(PATHS),
        np.array(PATHS, dtype=object),
        np.array(PATHS)[:, None],
        pd.Series(PATHS, index=[5, 3]),
        pd.Series(PATHS, dtype="string"),
        pd.DataFrame({"path": PATHS}),
        ImageTable(PATHS, [None, None]),
    ],
    ids=lambda collection: f"{type(collection).__name__}-{getattr(collection, 'dtype', '')}",
)
def test_collections_of_paths(collection: Any) -> None:
    assert list(as_image_list(collection)) == PATHS


def test_array_of_several_images() -> None:
    assert len(as_image_list(np.zeros((5, 8, 8, 3), dtype=np.uint8))) == 5
    for shape in ((5, 8, 8), (5, 8, 8, 1), (5, 3, 8, 9), (5, 8, 8, 4)):
        assert len(as_image_list(np.zeros(shape))) == 5


@pytest.mark.parametrize(
    ("mistake", "remedy"),
    [
        ("a.jpg", "Put it in a list"),
        (b"bytes", "Put it in a list"),
        (Path("a.jpg"), "Put it in a list"),
        (PIL.Image.new("RGB", (8, 8)), "Put it in a list"),
        (np.zeros((8, 8, 3), dtype=np.uint8), r"Pass a list, \[image\]"),
        (np.zeros((5, 3072), dtype=np.uint8), r"\.reshape\(-1, 3, 32, 32\)"),
        (np.zeros((5, 784)), r"\.reshape\(-1, 28, 28\)"),
        (pd.DataFrame(np.zeros((5, 64))).rename(columns=str), r"\.reshape\(-1, 8, 8\)"),
        (io.BytesIO(), "got a single file"),
        (pd.DataFrame({"path": PATHS, "width": [1, 2]}), r"X\[\['path'\]\]"),
        (np.array([PATHS, PATHS]), "Select one"),
        (7, "must be a list"),
        (set(PATHS), r"Pass list\(...\) of it"),
        ({"a.jpg": "cat"}, r"Pass list\(...\) of it"),
        ({"path": PATHS}, r"Pass featx\.find_images\(pandas\.DataFrame\(images\)\)"),
        ({"train": pd.DataFrame({"path": PATHS})}, r"Pass featx\.find_images\(images\)"),
        ("photos.zip", r"Find its images: featx\.find_images\('photos\.zip'\)"),
        ("f.npy", r"featx\.open_features\('f\.npy'\)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_collections_are_errors_with_a_remedy(mistake: Any, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy):
        as_image_list(mistake)


def test_digest_depends_on_content_not_path(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"same")
    digests = {content_digest(read_image(tmp_path / name)[0]) for name in ("a.jpg", "b.jpg")}
    assert digests == {content_digest(b"same")}
    assert len(content_digest(b"same")) == DIGEST_SIZE


def test_digest_of_pillow_image_is_that_of_its_pixels(photo: PIL.Image.Image) -> None:
    assert content_digest(read_image(photo)[0]) == content_digest(np.asarray(photo))


def test_digest_of_pixels_depends_on_shape() -> None:
    flat = np.zeros((2, 8, 3), dtype=np.uint8)
    assert content_digest(flat) != content_digest(flat.reshape(8, 2, 3))


def test_read_file_with_state(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    content, state = read_image(tmp_path / "a.jpg")
    assert content == b"content"
    assert state is not None
    assert state.st_size == 7


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("absent.jpg", "No such file"),
        ("folder", "the path is a folder"),
        ("a\0b.jpg", "null"),
        (None, "got a missing value"),
        (float("nan"), "got a missing value"),
        (pd.NA, "got a missing value"),
        (7, "got int"),
        (np.full((8, 8, 3), 255.0), "expected float64 pixels from 0 to 1, got 255 to 255"),
        (np.zeros((8, 8, 5), dtype=np.uint8), r"got shape \(8, 8, 5\)"),
        (np.full((8, 8), np.nan), "NaN"),
        (np.array([["a"]]), "expected an array of numbers"),
        (io.StringIO("text"), "opened in binary mode"),
        ({"bytes": None, "path": None}, "got a missing value"),
        (np.zeros((0, 8, 3), dtype=np.uint8), "no pixels"),
    ],
    ids=lambda value: str(value)[:20].replace("\0", "0"),
)
def test_unreadable_images(image: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(image)


class _ChangingFile:
    """Replaces os.fstat: the file is written between the first and the second look at it, some times over."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self._path, self._n_writes, self._n_looks, self._fstat = path, times, 0, os.fstat
        monkeypatch.setattr(os, "fstat", self)

    def __call__(self, descriptor: int) -> os.stat_result:
        state = self._fstat(descriptor)
        if not os.path.samestat(state, os.stat(self._path)):
            return state
        self._n_looks += 1
        if self._n_looks % 2 == 0 and self._n_writes:
            self._n_writes -= 1
            self._path.write_bytes(b"%-7d" % self._n_writes)
            os.utime(self._path, ns=(state.st_atime_ns, state.st_mtime_ns))  # only the change time differs
        return self._fstat(descriptor)


def test_file_that_changes_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    _ChangingFile(path, monkeypatch, times=2)
    content, state = read_image(path)
    assert content == b"0      "
    assert state == os.stat(path)


def test_file_that_keeps_changing_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    _ChangingFile(path, monkeypatch, times=100)
    with pytest.raises(
        UnreadableImageError, match="changed during each attempt to read it; try again when it is complete"
    ):
        read_image(path)


def test_system_limit_is_a_resource_error(tmp_path: Path) -> None:
    import resource

    (tmp_path / "a.jpg").write_bytes(b"content")
    read_image(tmp_path / "a.jpg")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(ResourceError, match="ulimit -n"):
            read_image(tmp_path / "a.jpg")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImageError, match="not a regular file"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="users of POSIX")
def test_locked_file_is_unreachable(python: Callable[..., Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        locked = Path(folder, "a.jpg")
        locked.write_bytes(b"content")
        os.chmod(locked, 0)
        code = (
            "import os, sys; from featx.errors import UnreadableImageError; from featx.images.image import read_image\n"
            "if os.geteuid() == 0: os.setuid(65534)  # root can read all files\n"
            "try: read_image(sys.argv[1])\n"
            "except UnreadableImageError as error: print(type(error).__name__, error.reason)"
        )
        assert python(code, str(locked)).stdout == "UnreachableImageError Permission denied\n"


def test_read_pillow_image_and_bytes(photo: PIL.Image.Image, encoded: Callable[..., bytes]) -> None:
    data = encoded(photo, "PNG")
    assert read_image(data) == (data, None)
    pixels, state = read_image(photo)
    np.testing.assert_array_equal(pixels, np.asarray(photo))
    assert state is None


def test_truncated_pillow_image_is_unreadable(photo: PIL.Image.Image, encoded: Callable[..., bytes]) -> None:
    data = encoded(photo)
    opened = PIL.Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(UnreadableImageError, match="truncated"):
        read_image(opened)


def test_iterators_are_lists_where_they_are_allowed() -> None:
    assert as_image_list(iter(PATHS)) == PATHS


def test_images_without_pixels_are_refused() -> None:
    pillow = PIL.Image.new("RGB", (8, 8)).crop((4, 4, 4, 8))
    for image in (pillow, np.zeros((4, 0, 3), dtype=np.uint8), np.zeros((0, 4), dtype=np.uint8)):
        with pytest.raises(UnreadableImageError, match="has no pixels"):
            read_image(image)


class Consumed:
    """An object of another library that cannot be read a second time."""

    shape = (3, 3)

    def read(self, n_bytes: int) -> bytes:
        raise RuntimeError("already consumed")


class Deleted:
    shape = (3, 3)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise KeyError("buffer")


@pytest.mark.parametrize(("image", "reason"), [(Consumed(), "consumed"), (Deleted(), "buffer")])
def test_error_of_an_object_of_another_library_costs_this_image(image: Any, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(image)
