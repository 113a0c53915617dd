"""Real images, a real tiny backbone that counts what it is shown, and a cache with a compiled MobileNet."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_image

import featx.backbones.registry
from featx import DirectBackbone, FeatureExtractor

# Processes of one user take turns at the cores, by files in the folder for temporary ones: tests that run side by side
# are to wait only for those that they start.
_temporary = Path(tempfile.gettempdir()) / f"featx-tests-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
_temporary.mkdir(exist_ok=True)
os.environ["TMPDIR"] = tempfile.tempdir = str(_temporary)

UCMERCED = Path(__file__).parents[2] / "shared" / "data" / "ucmerced"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is thorough is slow as well."""
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker("slow")


class CountingBackbone(DirectBackbone):
    """Mean colours of the image's quarters; counts the images it is shown."""

    name = "counting"
    version = 1
    image_size = 32
    min_image_size = 2

    def __init__(self) -> None:
        self.n_shown = 0

    def n_features(self, pooling: str) -> int:
        return 12

    def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.n_shown += len(pixels)
        n, height, width, _ = pixels.shape
        quarters = pixels[:, : height // 2 * 2, : width // 2 * 2].reshape(n, 2, height // 2, 2, width // 2, 3)
        return quarters.mean(axis=(2, 4), dtype=np.float32).reshape(n, 12)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> CountingBackbone:
    backbone = CountingBackbone()
    monkeypatch.setitem(featx.backbones.registry._registered, "counting", backbone)
    return backbone


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests that name no cache get one of their own."""
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "auto-cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture(scope="session")
def photo() -> PIL.Image.Image:
    """A real photograph, 640 × 427."""
    return PIL.Image.fromarray(load_sample_image("china.jpg"))


@pytest.fixture(scope="session")
def photos(photo: PIL.Image.Image) -> list[PIL.Image.Image]:
    """24 different real photographs: cuts of two larger ones, 160 × 120."""
    flower = PIL.Image.fromarray(load_sample_image("flower.jpg"))
    corners = [(x, y) for x in range(0, 480, 120) for y in range(0, 300, 100)]
    return [whole.crop((x, y, x + 160, y + 120)) for whole in (photo, flower) for x, y in corners]


@pytest.fixture
def photo_folder(tmp_path: Path, photos: list[PIL.Image.Image]) -> Path:
    """A folder of two class folders with 12 JPEG files each."""
    folder = tmp_path / "photos"
    for number, cut in enumerate(photos):
        path = folder / ("china" if number < 12 else "flower") / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cut.save(path, quality=90)
    make_old(folder)
    return folder


@pytest.fixture
def paths(photo_folder: Path) -> list[str]:
    return sorted(map(str, photo_folder.glob("*/*.jpg")))


@pytest.fixture
def labels(paths: list[str]) -> list[str]:
    return [Path(path).parent.name for path in paths]


def make_old(folder: Path) -> None:
    """Let the change times of a folder's files pass the racy window: they cannot be set back, so the clock is."""
    for path in folder.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the clock of reading an hour ahead, so that files just written are not racy."""
    import time
    import types

    monkeypatch.setattr("featx.images.prefetch.time", types.SimpleNamespace(time=lambda: time.time() + 3600))


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    def encode(image: PIL.Image.Image, format: str = "JPEG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format=format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def compiled_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which MobileNet is compiled already."""
    cache = tmp_path_factory.mktemp("compiled-cache")
    FeatureExtractor(cache=cache).transform([np.zeros((8, 8, 3), dtype=np.uint8)])
    return cache


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def ucmerced() -> list[str]:
    """Paths of 840 aerial photographs in 21 classes; skips where they are absent."""
    if not UCMERCED.is_dir():
        pytest.skip(f"{UCMERCED} is absent")
    return sorted(map(str, UCMERCED.glob("*/*.jpg")))


@pytest.fixture
def python() -> Callable[..., Any]:
    """Run Python code in a fresh process, warnings as errors, and return the finished process."""
    import subprocess

    def run(code: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=120, check=False, **options
        )

    return run
