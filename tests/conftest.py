"""Fixtures for all tests: photographs, a counting backbone, and a cache with a compiled MobileNet."""

from __future__ import annotations

import gc
import http.server
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_image

from featx import Backbone, FeatureExtractor, register_backbone, write_digits
from featx.testing import CountingBackbone, registered

pytest.register_assert_rewrite("featx.testing.store_contract", "featx.testing.store_faults")

AnyBackbone = TypeVar("AnyBackbone", bound=Backbone)

# Processes of one user share locks in the folder of temporary files. Tests that run in parallel must not wait for each
# other.
_temporary = Path(tempfile.gettempdir()) / f"featx-tests-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
_temporary.mkdir(exist_ok=True)
os.environ["TMPDIR"] = tempfile.tempdir = str(_temporary)

gc.disable()  # while tests are collected, of which a fifth of the time was spent in searching for garbage

UCMERCED = Path(__file__).parents[2] / "shared" / "data" / "ucmerced"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark thorough tests as slow."""
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    gc.enable()


class Register(Protocol):
    """Register a backbone until the test ends, and return it."""

    def __call__(self, backbone: AnyBackbone, /) -> AnyBackbone: ...


@pytest.fixture
def register() -> Iterator[Register]:
    with registered():

        def register_one(backbone: AnyBackbone) -> AnyBackbone:
            register_backbone(backbone)
            return backbone

        yield register_one


@pytest.fixture
def counting(register: Register) -> CountingBackbone:
    return register(CountingBackbone())


@pytest.fixture(autouse=True)
def _private_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep tests away from the cache of the user."""
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "auto-cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture(scope="session")
def photo() -> PIL.Image.Image:
    """A real photograph, 640 × 427."""
    return PIL.Image.fromarray(load_sample_image("china.jpg"))


@pytest.fixture(scope="session")
def photos(photo: PIL.Image.Image) -> list[PIL.Image.Image]:
    """24 different photographs: parts of two larger ones, 160 × 120."""
    flower = PIL.Image.fromarray(load_sample_image("flower.jpg"))
    corners = [(x, y) for x in range(0, 480, 120) for y in range(0, 300, 100)]
    return [whole.crop((x, y, x + 160, y + 120)) for whole in (photo, flower) for x, y in corners]


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 1,797 handwritten digits in class folders; tests must not change them."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


@pytest.fixture
def photo_folder(tmp_path: Path, photos: list[PIL.Image.Image]) -> Path:
    """A folder of two class folders with 12 JPEG files each."""
    folder = tmp_path / "photos"
    for index, image in enumerate(photos):
        path = folder / ("china" if index < 12 else "flower") / f"{index:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
    make_old(folder)
    return folder


@pytest.fixture
def paths(photo_folder: Path) -> list[str]:
    return sorted(map(str, photo_folder.glob("*/*.jpg")))


@pytest.fixture
def labels(paths: list[str]) -> list[str]:
    return [Path(path).parent.name for path in paths]


def make_old(folder: Path) -> None:
    """Set the modification times of all files in a folder to a past year."""
    for path in folder.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock an hour ahead, so that files just written count as unchanged since long ago."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    def encode(image: PIL.Image.Image, format: str = "JPEG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format=format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def compiled_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the compiled graph of MobileNet."""
    cache = tmp_path_factory.mktemp("compiled-cache")
    FeatureExtractor(cache=cache).transform([np.zeros((8, 8, 3), dtype=np.uint8)])
    (cache / "compiled").mkdir(exist_ok=True)  # the graph of the default layer is in the package
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

    def run(code: str, *args: str, timeout: int = 120, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=timeout, check=False, **options
        )

    return run


@pytest.fixture
def photo_bytes(photos: list[PIL.Image.Image], encoded: Callable[..., bytes]) -> bytes:
    return encoded(photos[0])


@pytest.fixture
def server(photo_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a server that fails in the way that the requested name describes: 404, silent, drip, endless, …"""
    from featx.system.files import remote

    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(remote, "RETRY_PAUSES", (0.01, 0.01, 0.01))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").split(".")[0]
            if name in ("404", "500"):
                self.send_error(int(name))
                return
            if name in ("circle", "elsewhere"):
                self.send_response(302)
                self.send_header("Location", self.path if name == "circle" else "file:///etc/passwd")
                self.end_headers()
                return
            if name == "silent":
                time.sleep(1.5)
            self.send_response(200)
            length = {"longer": 10 * len(photo_bytes), "shorter": len(photo_bytes) // 2}.get(name, len(photo_bytes))
            if name not in ("endless", "drip"):
                self.send_header("Content-Length", str(length))
            self.end_headers()
            try:
                if name == "drip":
                    for index in range(len(photo_bytes)):
                        self.wfile.write(photo_bytes[index : index + 1])
                        time.sleep(0.1)
                elif name == "endless":
                    while True:
                        self.wfile.write(bytes(2**16))
                elif name == "breaks":
                    self.wfile.write(photo_bytes[:1000])
                    self.close_connection = True
                else:
                    self.wfile.write(photo_bytes)
            except OSError:
                pass  # the client disconnected

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
