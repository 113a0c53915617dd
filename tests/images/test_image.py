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

from featx.errors import InputError, ResourceError, UnreadableImageError
from featx.images import image as images
from featx.images.image import DIGEST_SIZE, as_image_list, content_digest, read_image

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
    ],
    ids=lambda collection: f"{type(collection).__name__}-{getattr(collection, 'dtype', '')}",
)
def test_paths_come_out_of_every_collection(collection: Any) -> None:
    assert list(as_image_list(collection)) == PATHS


def test_one_array_of_pixels_is_as_many_images() -> None:
    assert len(as_image_list(np.zeros((5, 8, 8, 3), dtype=np.uint8))) == 5
    assert len(as_image_list(np.zeros((5, 8, 8), dtype=np.uint8))) == 5


@pytest.mark.parametrize(
    ("mistake", "remedy"),
    [
        ("a.jpg", "Put it in a list"),
        (b"bytes", "Put it in a list"),
        (Path("a.jpg"), "Put it in a list"),
        (PIL.Image.new("RGB", (8, 8)), "Put it in a list"),
        (np.zeros((8, 8, 3), dtype=np.uint8), r"Pass a list, \[image\]"),
        (np.zeros((5, 8, 8, 3)), r"astype\('uint8'\)"),
        (pd.DataFrame({"path": PATHS, "width": [1, 2]}), r"X\[\['path'\]\]"),
        (np.array([PATHS, PATHS]), "Select one"),
        (7, "Pass a list"),
        (iter(PATHS), r"Pass list\(...\) of it"),
        (set(PATHS), r"Pass list\(...\) of it"),
        ({"a.jpg": "cat"}, r"Pass list\(...\) of it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_list_of_images_is_refused_with_a_remedy(mistake: Any, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy):
        as_image_list(mistake)


def test_a_digest_names_content_not_path(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"same")
    digests = {content_digest(read_image(tmp_path / name)[0]) for name in ("a.jpg", "b.jpg")}
    assert digests == {content_digest(b"same")}
    assert len(content_digest(b"same")) == DIGEST_SIZE


def test_a_pillow_image_has_the_digest_of_its_pixels(photo: PIL.Image.Image) -> None:
    assert content_digest(read_image(photo)[0]) == content_digest(np.asarray(photo))


def test_a_digest_of_pixels_depends_on_their_shape() -> None:
    flat = np.zeros((2, 8, 3), dtype=np.uint8)
    assert content_digest(flat) != content_digest(flat.reshape(8, 2, 3))


def test_a_file_is_read_with_its_state(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    content, state = read_image(tmp_path / "a.jpg")
    assert content == b"content"
    assert state is not None
    assert state.st_size == 7


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("absent.jpg", "No such file"),
        ("folder", "it is a folder"),
        ("a\0b.jpg", "null"),
        (None, "got a missing value"),
        (float("nan"), "got a missing value"),
        (pd.NA, "got a missing value"),
        (7, "got a int"),
        (np.zeros((8, 8, 3)), "got float64 of shape"),
        (np.zeros((8, 8, 4), dtype=np.uint8), r"got uint8 of shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), dtype=np.uint8), "no pixels"),
    ],
    ids=lambda value: str(value)[:20].replace("\0", "0"),
)
def test_what_cannot_be_read_gives_the_reason(
    image: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnreadableImageError, match=reason):
        read_image(image)


class _Written:
    """A file that somebody writes to just before it is read, some times over."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self._path, self._times, self._read = path, times, images._read_once
        monkeypatch.setattr("featx.images.image._read_once", self)

    def __call__(self, path: str) -> tuple[bytes, os.stat_result, os.stat_result]:
        data, before, after = self._read(path)
        if self._times:
            self._times -= 1
            state = os.stat(path)
            self._path.write_bytes(b"%-7d" % self._times)
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # only the change time tells
            after = os.stat(path)
        return data, before, after


def test_a_file_that_is_written_to_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    _Written(path, monkeypatch, times=2)
    content, state = read_image(path)
    assert content == b"0      "
    assert state == os.stat(path)


def test_a_file_that_never_stops_changing_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"content")
    _Written(path, monkeypatch, times=100)
    with pytest.raises(UnreadableImageError, match="written to whenever it was read; try again when it is complete"):
        read_image(path)


def test_a_limit_of_the_system_is_no_fault_of_the_image(tmp_path: Path) -> None:
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


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImageError, match="not a regular file"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="users of POSIX")
def test_a_locked_file_gives_the_reason(python: Callable[..., Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # which another user can enter
        os.chmod(folder, 0o755)
        locked = Path(folder, "a.jpg")
        locked.write_bytes(b"content")
        os.chmod(locked, 0)
        code = (
            "import os, sys; from featx.images import image as images\n"
            "if os.geteuid() == 0: os.setuid(65534)  # nothing is locked for root\n"
            "try: images.read_image(sys.argv[1])\n"
            "except images.UnreadableImageError as error: print(type(error).__name__, error.reason)"
        )
        assert python(code, str(locked)).stdout == "UnreachableImageError Permission denied\n"


def test_pillow_images_and_bytes_are_read_too(photo: PIL.Image.Image, encoded: Callable[..., bytes]) -> None:
    data = encoded(photo, "PNG")
    assert read_image(data) == (data, None)
    pixels, state = read_image(photo)
    np.testing.assert_array_equal(pixels, np.asarray(photo))
    assert state is None


def test_a_pillow_image_that_breaks_while_it_is_read_gives_the_reason(
    photo: PIL.Image.Image, encoded: Callable[..., bytes]
) -> None:
    data = encoded(photo)
    opened = PIL.Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(UnreadableImageError, match="truncated"):
        read_image(opened)
