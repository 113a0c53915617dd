from __future__ import annotations

import dataclasses
import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import featx
from featx.backbones import KerasBackbone, keras_applications
from featx.errors import OptionError, UnknownBackboneError, WeightsError, WeightsNotFoundError
from tests.conftest import CountingBackbone

MOBILENET = featx.load_backbone("mobilenet")
assert isinstance(MOBILENET, KerasBackbone)
BUNDLED = Path(keras_applications.__file__).parent / "weights" / MOBILENET.bundled


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for Keras's downloads."""
    home = tmp_path / "keras-home"
    monkeypatch.setenv("KERAS_HOME", str(home))
    return home


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A real HTTP server of a folder with genuine weights; its address and the paths it was asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(BUNDLED, folder)
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_request(self, *args: object) -> None:
            asked.append(self.path)

        def log_error(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def served(address: str, name: str = BUNDLED.name) -> KerasBackbone:
    """MobileNet as if its weights did not come with featx."""
    assert isinstance(MOBILENET, KerasBackbone)
    return dataclasses.replace(MOBILENET, bundled="", bundled_digest="", weights_url=f"{address}/{name}")


def test_the_bundled_weights_are_what_their_readme_and_the_registry_say() -> None:
    digest = hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    assert isinstance(MOBILENET, KerasBackbone)
    assert digest == MOBILENET.bundled_digest
    assert digest in (BUNDLED.parent / "README.md").read_text()


def test_bundled_weights_are_found_without_looking_elsewhere(keras_home: Path) -> None:
    assert MOBILENET.find_weights("imagenet").path == BUNDLED
    assert not keras_home.exists()


def test_weights_in_keras_own_folder_are_used(keras_home: Path) -> None:
    backbone = dataclasses.replace(
        served("http://127.0.0.1:9"), weights_md5=hashlib.md5(BUNDLED.read_bytes()).hexdigest()
    )
    path = keras_home / "models" / BUNDLED.name
    path.parent.mkdir(parents=True)
    shutil.copy(BUNDLED, path)
    assert backbone.find_weights("imagenet").path == path
    path.chmod(0o600)
    path.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="altered or damaged.*Delete the file"):
        backbone.find_weights("imagenet")


def test_weights_are_downloaded_once(keras_home: Path, server: tuple[str, list[str]]) -> None:
    address, asked = server
    backbone = served(address)
    for _ in range(2):
        found = backbone.find_weights("imagenet")
        assert found.path == keras_home / "models" / BUNDLED.name
        assert isinstance(MOBILENET, KerasBackbone)
        assert found.digest == MOBILENET.bundled_digest
    assert asked == [f"/{BUNDLED.name}"]


@pytest.mark.parametrize("name", featx.available_backbones())
def test_addresses_and_checksums_are_keras_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    asked: list[tuple[str, str, str]] = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **options: object) -> None:
        asked.append((fname, origin, file_hash or ""))
        raise InterruptedError

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    backbone = featx.load_backbone(name)
    assert isinstance(backbone, KerasBackbone)
    module, function = backbone.application.split(".")
    with pytest.raises(InterruptedError):
        getattr(getattr(keras.applications, module), function)(include_top=False, input_shape=(224, 224, 3))
    url = backbone.weights_url
    assert asked == [(url.rsplit("/", 1)[1], url, backbone.weights_md5)]


@pytest.mark.usefixtures("keras_home")
def test_weights_that_no_server_has_give_the_ways_to_get_them(server: tuple[str, list[str]]) -> None:
    address, _ = server
    with pytest.raises(WeightsNotFoundError, match="404.*Download http.*put it at.*use 'mobilenet'"):
        served(address, "absent.weights.h5").find_weights("imagenet")


@pytest.mark.usefixtures("keras_home")
def test_a_server_out_of_reach_gives_the_ways_to_get_the_weights() -> None:
    with pytest.raises(WeightsNotFoundError, match="not on this machine, and fetching them failed"):
        served("http://127.0.0.1:9").find_weights("imagenet")


def test_weights_that_keras_knows_to_be_wrong_are_refused(keras_home: Path, server: tuple[str, list[str]]) -> None:
    wrong = dataclasses.replace(served(server[0]), weights_md5="0" * 32)
    with pytest.raises(WeightsNotFoundError, match="fetching them failed"):
        wrong.find_weights("imagenet")
    assert list((keras_home / "models").iterdir()) == []


def test_a_weights_file_that_is_absent_is_named() -> None:
    with pytest.raises(WeightsNotFoundError, match="'absent.h5'.*No such file"):
        MOBILENET.find_weights("absent.h5")


def test_an_unknown_backbone_names_the_nearest_and_the_remedy() -> None:
    with pytest.raises(UnknownBackboneError, match="Did you mean 'mobilenet'.*featx backbones"):
        featx.load_backbone("mobilnet")


def test_one_name_is_one_backbone(counting: CountingBackbone) -> None:
    featx.register_backbone(counting)
    with pytest.raises(OptionError, match="exists already"):
        featx.register_backbone(CountingBackbone())


def test_a_backbone_that_could_not_work_is_refused() -> None:
    class Unversioned(CountingBackbone):
        name = "unversioned"

        def __getattribute__(self, name: str) -> object:
            if name == "version":
                raise AttributeError(name)
            return super().__getattribute__(name)

    class Derived(KerasBackbone):
        pass

    with pytest.raises(OptionError, match="has no version. Give it one"):
        featx.register_backbone(Unversioned())
    assert isinstance(MOBILENET, KerasBackbone)
    with pytest.raises(OptionError, match="subclass of KerasBackbone"):
        featx.register_backbone(Derived(**{**dataclasses.asdict(MOBILENET), "name": "derived"}))
