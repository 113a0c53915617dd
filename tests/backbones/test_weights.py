from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import featx
from featx import Progress
from featx.backbones.keras.builder import build_empty
from featx.backbones.records import BUNDLED_WEIGHTS_FOLDER
from featx.backbones.registry import KerasBackbone
from featx.backbones.weights import keras_home as keras_home_folder
from featx.errors import FeatxWarning, WeightsError, WeightsNotFoundError
from featx.system.terminal.progress import reporting
from tests.progress import check_progress

_loaded = featx.load_backbone("mobilenet")
assert isinstance(_loaded, KerasBackbone)
MOBILENET = _loaded
BUNDLED = BUNDLED_WEIGHTS_FOLDER / MOBILENET.bundled_file


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folder for downloads of Keras."""
    home = tmp_path / "keras-home"
    monkeypatch.setenv("KERAS_HOME", str(home))
    return home


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """HTTP server of a folder with genuine weights: its address, and the paths that were requested."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(BUNDLED, folder)
    requested: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.path.startswith("/redirect/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/redirect"))
                self.end_headers()
            else:
                super().do_GET()

        def log_request(self, *args: object) -> None:
            requested.append(self.path)

        def log_error(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", requested
        running.shutdown()
        thread.join()


def served(address: str, name: str = BUNDLED.name) -> KerasBackbone:
    """MobileNet without bundled weights."""
    return dataclasses.replace(MOBILENET, bundled_file="", bundled_sha256="", weights_url=f"{address}/{name}")


def test_bundled_weights_match_record_and_readme() -> None:
    digest = hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    assert digest == MOBILENET.bundled_sha256
    assert digest in (BUNDLED.parent / "README.md").read_text()


def test_bundled_weights_are_preferred(keras_home: Path) -> None:
    assert MOBILENET.find_weights("imagenet").path == BUNDLED
    assert not keras_home.exists()


def test_weights_in_keras_folder_are_used(keras_home: Path) -> None:
    backbone = dataclasses.replace(
        served("http://127.0.0.1:9"), weights_hash=hashlib.md5(BUNDLED.read_bytes()).hexdigest()
    )
    path = keras_home / "models" / BUNDLED.name
    path.parent.mkdir(parents=True)
    shutil.copy(BUNDLED, path)
    assert backbone.find_weights("imagenet").path == path
    path.chmod(0o600)
    path.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="Checksum mismatch.*Delete the file to download it again"):
        backbone.find_weights("imagenet")


def test_weights_are_downloaded_once(keras_home: Path, server: tuple[str, list[str]]) -> None:
    address, requests = server
    backbone = served(address)
    for _ in range(2):
        weights = backbone.find_weights("imagenet")
        assert weights.path == keras_home / "models" / BUNDLED.name
        assert weights.digest == MOBILENET.bundled_sha256
    assert requests == [f"/{BUNDLED.name}"]


def test_download_is_announced_and_reported(
    keras_home: Path, server: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Progress] = []
    with reporting(progress=seen.append):
        weights = served(server[0]).find_weights("imagenet")
    check_progress(seen)
    assert weights.path is not None
    size = weights.path.stat().st_size
    assert (seen[-1].stage, seen[-1].done, seen[-1].unit) == ("download", size, "bytes")
    err = capsys.readouterr().err
    assert err.startswith("Downloading the ImageNet weights of backbone 'mobilenet'")
    assert err.endswith(f", once; the file is kept as {str(weights.path)!r}.\n")
    with reporting(verbose=True):
        served(server[0]).find_weights("imagenet")
    assert capsys.readouterr().err == ""


def test_stale_partial_files_are_deleted(keras_home: Path, server: tuple[str, list[str]]) -> None:
    folder = keras_home / "models"
    folder.mkdir(parents=True, exist_ok=True)
    names = ("old.h5.12-345.part", "running.h5.12-345.part", "mine.part")
    for name in names:
        (folder / name).write_bytes(b"abc")
    for name in ("old.h5.12-345.part", "mine.part"):
        os.utime(folder / name, (time.time() - 3600,) * 2)
    served(server[0]).find_weights("imagenet")
    assert sorted(path.name for path in folder.glob("*.part")) == ["mine.part", "running.h5.12-345.part"]


@pytest.mark.usefixtures("keras_home")
def test_missing_file_on_server(server: tuple[str, list[str]]) -> None:
    address, _ = server
    with pytest.raises(WeightsNotFoundError, match="404.*Check the address. Download http.*save it as") as caught:
        served(address, "absent.weights.h5").find_weights("imagenet")
    assert "use 'mobilenet'" not in str(caught.value)  # the remedy does not name the requested backbone


def test_redirect_is_followed(keras_home: Path, server: tuple[str, list[str]]) -> None:
    address, requests = server
    backbone = served(address, f"redirect/{BUNDLED.name}")
    assert backbone.find_weights("imagenet").digest == MOBILENET.bundled_sha256
    assert requests == [f"/redirect/{BUNDLED.name}", f"/{BUNDLED.name}"]


def test_threads_download_the_same_file(keras_home: Path, server: tuple[str, list[str]]) -> None:
    with ThreadPoolExecutor(4) as pool:
        weights = list(pool.map(served(server[0]).find_weights, ["imagenet"] * 4))
    assert {item.digest for item in weights} == {MOBILENET.bundled_sha256}
    assert [path.name for path in (keras_home / "models").iterdir()] == [BUNDLED.name]


@pytest.mark.usefixtures("keras_home")
def test_unreachable_server() -> None:
    with pytest.raises(WeightsNotFoundError, match="Cannot download the ImageNet weights"):
        served("http://127.0.0.1:9").find_weights("imagenet")


def test_download_with_wrong_hash_is_deleted(keras_home: Path, server: tuple[str, list[str]]) -> None:
    wrong = dataclasses.replace(served(server[0]), weights_hash="0" * 32)
    with pytest.raises(
        WeightsError, match="Checksum mismatch in the download.*expected MD5 0000.*got .*deleted. Check"
    ):
        wrong.find_weights("imagenet")
    assert list((keras_home / "models").iterdir()) == []


def test_missing_weights_file() -> None:
    with pytest.raises(WeightsNotFoundError, match="'absent.h5'.*No such file"):
        MOBILENET.find_weights("absent.h5")


def test_weights_from_url(keras_home: Path, server: tuple[str, list[str]]) -> None:
    address, requests = server
    url = f"{address}/{BUNDLED.name}#sha256={MOBILENET.bundled_sha256}"
    for _ in range(2):
        weights = MOBILENET.find_weights(url)
        assert weights.digest == MOBILENET.bundled_sha256
        assert weights.path is not None
        assert weights.path.parent == keras_home / "models"
    assert requests == [f"/{BUNDLED.name}"]
    weights.path.chmod(0o600)
    weights.path.write_bytes(b"altered")
    with pytest.raises(WeightsError, match="Checksum mismatch.*expected SHA-256 9c4f.*got.*Delete the file"):
        MOBILENET.find_weights(url)
    with pytest.raises(WeightsError, match="Checksum mismatch in the download.*expected SHA-256 0000.*got 9c4f"):
        MOBILENET.find_weights(f"{address}/{BUNDLED.name}#sha256={'0' * 64}")
    assert list((keras_home / "models").iterdir()) == [weights.path]


def test_url_requires_suffix() -> None:
    with pytest.raises(WeightsError, match=r"must end in \.weights\.h5 or \.h5"):
        MOBILENET.find_weights(f"https://example.org/download#sha256={'0' * 64}")


def test_secrets_in_the_address_of_weights_are_refused() -> None:
    url = f"https://example.org/{BUNDLED.name}?token=4f9c2d1e#sha256={MOBILENET.bundled_sha256}"
    with pytest.raises(WeightsError, match="Download the file and pass its path") as caught:
        MOBILENET.find_weights(url)
    assert "4f9c2d1e" not in str(caught.value)


@pytest.mark.parametrize("fragment", ["", "#sha256=", "#sha256=12", "#md5=" + "0" * 32])
def test_url_requires_digest(fragment: str) -> None:
    with pytest.raises(WeightsError, match="need their SHA-256.*'#sha256='"):
        MOBILENET.find_weights(f"https://example.org/w.h5{fragment}")


@pytest.mark.parametrize("answer", ["a web page", "a part", "a part of no length"])
def test_download_of_something_else_is_deleted(answer: str, keras_home: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>please log in</html>" if answer == "a web page" else BUNDLED.read_bytes()[:100_000]
            self.send_response(200)
            if answer != "a part of no length":
                self.send_header("Content-Length", str(len(body) if answer == "a web page" else 13_000_000))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        reason = "not send an HDF5 file" if answer == "a web page" else "IncompleteRead|truncated"
        try:
            with pytest.raises(WeightsNotFoundError, match=reason):
                served(f"http://127.0.0.1:{running.server_port}").find_weights("imagenet")
        finally:
            running.shutdown()
            thread.join()
    assert list((keras_home / "models").iterdir()) == []


@pytest.mark.usefixtures("keras_home")
def test_proxy_is_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        WeightsNotFoundError, match="mobilenet.: Failed to establish .*used the proxy of the environment"
    ):
        served("http://example.org").find_weights("imagenet")


def test_keras_folder_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(
        WeightsNotFoundError, match="cannot write to .*: Not a directory. Set the environment variable KERAS_HOME"
    ):
        served("http://127.0.0.1:9").find_weights("imagenet")


def test_random_weights_digest() -> None:
    weights = MOBILENET.find_weights("none")
    assert weights.path is None
    assert weights.digest.startswith("random, seed 0, keras 3.")


@pytest.mark.thorough
def test_random_weights_are_reproducible(photos: list[PIL.Image.Image], tmp_path: Path) -> None:
    rows = {}
    for engine in ("keras", "openvino"):
        extractor = featx.FeatureExtractor(
            "mobilenet_0.25", weights=None, image_size=96, engine=engine, precision="float32", cache=None
        )
        with pytest.warns(FeatxWarning, match="are random; use them only as a control"):
            rows[engine] = extractor.fit_transform(photos[:3])
    scale = np.abs(rows["keras"]).max()
    assert scale > 0
    assert np.abs(rows["keras"] - rows["openvino"]).max() < 1e-5 * scale
    state = random.getstate()
    network = featx.load_backbone("mobilenet_0.25")
    assert isinstance(network, KerasBackbone)
    build_empty(network, (32, 32))
    assert random.getstate() == state  # random numbers of the user are not affected


def test_folder_of_keras_without_home_and_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home(*_: object) -> Path:
        raise RuntimeError("no home")

    def no_temporary_folder() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("tempfile.gettempdir", no_temporary_folder)
    assert keras_home_folder().parent.is_dir()
