from __future__ import annotations

import argparse
import dataclasses
import hashlib
import http.server
import json
import random
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import featx
import featx.cli.main
from featx.backbones import keras_application as keras_applications
from featx.backbones.registry import KerasBackbone
from featx.backbones.workers import survey as surveying
from featx.cli import console
from featx.errors import (
    EngineError,
    FeatxWarning,
    OptionError,
    UnknownBackboneError,
    WeightsError,
    WeightsNotFoundError,
)
from featx.extraction.options import ExtractionOptions
from featx.testing import CountingBackbone

MOBILENET = featx.load_backbone("mobilenet")
assert isinstance(MOBILENET, KerasBackbone)
BUNDLED = Path(keras_applications.__file__).parent / "data" / "weights" / MOBILENET.bundled


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
        served("http://127.0.0.1:9"), weights_hash=hashlib.md5(BUNDLED.read_bytes()).hexdigest()
    )
    path = keras_home / "models" / BUNDLED.name
    path.parent.mkdir(parents=True)
    shutil.copy(BUNDLED, path)
    assert backbone.find_weights("imagenet").path == path
    path.chmod(0o600)
    path.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="altered, damaged or another file.*Put the right file there, or delete it"):
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


NETWORKS = [one for name in featx.available_backbones() if isinstance(one := featx.load_backbone(name), KerasBackbone)]


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(one, id=one.name, marks=[pytest.mark.thorough] if one != MOBILENET else []) for one in NETWORKS],
)
def test_what_is_known_of_a_network_is_what_the_installed_keras_says(backbone: KerasBackbone) -> None:
    """Sizes, address and digest of the weights, layers."""
    module, function = backbone.application.split(".")
    fields, rows = surveying.survey(module, function, backbone.alpha)
    own = {name: value for name, value in dataclasses.asdict(backbone).items() if name in fields}
    for known in (own, fields):
        known.pop("layer")  # Keras numbers some names by what else was built in the process
    assert own == fields
    assert [row[1:] for row in rows] == [
        (layer.kind, list(layer.shape), layer.ends_block) for layer in backbone.layers()
    ]
    plain = [re.sub(r"_\d+$", "", row[0]) for row in rows]
    assert plain == [re.sub(r"_\d+$", "", layer.name) for layer in backbone.layers()]
    assert backbone.layers()[-1].name == backbone.layer


def test_a_backbone_of_somebody_s_own_never_takes_the_rows_of_another_that_had_its_name() -> None:
    names = [
        dataclasses.replace(MOBILENET, **changed).recipe_name
        for changed in (
            {},
            {"name": "mine"},
            {"name": "mine", "application": "vgg16.VGG16"},
            {"name": "mine", "application": "vgg19.VGG19"},
            {"name": "mine", "application": "vgg19.VGG19", "pools_before_norm": True},
            {"name": "mine", "alpha": 0.5},
        )
    ]
    assert names[0] == "mobilenet"
    assert len(set(names)) == len(names)


def test_every_network_that_keras_offers_is_there() -> None:
    names = {surveying.name_of(function, alpha) for _, function, alpha in surveying.registry()}
    assert names == {one.name for one in NETWORKS}
    assert len(names) == 50


@pytest.mark.parametrize("backbone", NETWORKS, ids=lambda one: one.name)
def test_a_size_below_a_network_s_least_is_refused_with_the_least(backbone: KerasBackbone) -> None:
    least = backbone.min_image_size
    with pytest.raises(OptionError, match=f"from {least} to 4096 for {re.escape(repr(backbone.name))}"):
        ExtractionOptions(backbone.name, image_size=(224, least - 1))
    assert ExtractionOptions(backbone.name, image_size=(least, 224)).n_features == backbone.n_features("avg")


@pytest.mark.thorough  # Keras in a child process
@pytest.mark.usefixtures("keras_home")
def test_weights_that_no_server_has_give_the_ways_to_get_them(server: tuple[str, list[str]]) -> None:
    address, _ = server
    with pytest.raises(WeightsNotFoundError, match="404.*check the address. Download http.*put it at") as caught:
        served(address, "absent.weights.h5").find_weights("imagenet")
    assert "use 'mobilenet'" not in str(caught.value)  # it is the network that was asked for


@pytest.mark.slow  # Keras in child processes
@pytest.mark.usefixtures("keras_home")
def test_a_server_out_of_reach_gives_the_ways_to_get_the_weights() -> None:
    with pytest.raises(WeightsNotFoundError, match="not on this machine, and fetching them failed"):
        served("http://127.0.0.1:9").find_weights("imagenet")


@pytest.mark.slow  # Keras in child processes
def test_weights_that_keras_knows_to_be_wrong_are_refused(keras_home: Path, server: tuple[str, list[str]]) -> None:
    wrong = dataclasses.replace(served(server[0]), weights_hash="0" * 32)
    with pytest.raises(WeightsError, match="server sent another file.*expected MD5 0000.*got .*not kept. Check"):
        wrong.find_weights("imagenet")
    assert list((keras_home / "models").iterdir()) == []


def test_a_weights_file_that_is_absent_is_named() -> None:
    with pytest.raises(WeightsNotFoundError, match="'absent.h5'.*No such file"):
        MOBILENET.find_weights("absent.h5")


@pytest.mark.slow  # Keras in child processes
def test_weights_at_an_address_are_fetched_once_and_held_to_their_digest(
    keras_home: Path, server: tuple[str, list[str]]
) -> None:
    address, asked = server
    assert isinstance(MOBILENET, KerasBackbone)
    url = f"{address}/{BUNDLED.name}#sha256={MOBILENET.bundled_digest}"
    for _ in range(2):
        found = MOBILENET.find_weights(url)
        assert found.digest == MOBILENET.bundled_digest
        assert found.path is not None
        assert found.path.parent == keras_home / "models"
    assert asked == [f"/{BUNDLED.name}"]
    found.path.chmod(0o600)
    found.path.write_bytes(b"altered")
    with pytest.raises(WeightsError, match="another file: expected SHA-256 9c4f.*got.*Put the right file there"):
        MOBILENET.find_weights(url)
    with pytest.raises(WeightsError, match="another file than the weights.*expected SHA-256 0000.*got 9c4f"):
        MOBILENET.find_weights(f"{address}/{BUNDLED.name}#sha256={'0' * 64}")
    assert list((keras_home / "models").iterdir()) == [found.path]


def test_weights_at_an_address_need_a_name_that_says_what_they_are() -> None:
    with pytest.raises(WeightsError, match=r"not called \.weights\.h5 or \.h5"):
        MOBILENET.find_weights(f"https://example.org/download#sha256={'0' * 64}")


@pytest.mark.parametrize("fragment", ["", "#sha256=", "#sha256=12", "#md5=" + "0" * 32])
def test_weights_at_an_address_need_their_digest(fragment: str) -> None:
    with pytest.raises(WeightsError, match="need their SHA-256.*#sha256=…"):
        MOBILENET.find_weights(f"https://example.org/w.h5{fragment}")


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize("answer", ["a web page", "a part", "a part of no length"])
def test_what_is_no_file_of_weights_is_not_kept(answer: str, keras_home: Path) -> None:
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
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        reason = "is no file of weights" if answer == "a web page" else "incomplete|got only|truncated"
        try:
            with pytest.raises(WeightsNotFoundError, match=reason):
                served(f"http://127.0.0.1:{running.server_port}").find_weights("imagenet")
        finally:
            running.shutdown()
            thread.join()
    assert list((keras_home / "models").iterdir()) == []


@pytest.mark.thorough  # Keras in a child process, as where no server is
@pytest.mark.usefixtures("keras_home")
def test_a_proxy_is_named_as_what_may_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(WeightsNotFoundError, match="went through the proxy that the environment names"):
        served("http://example.org").find_weights("imagenet")


def test_a_folder_of_keras_that_cannot_be_written_is_told_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(
        WeightsNotFoundError, match="cannot be written: Not a directory. Name another in the variable KERAS_HOME"
    ):
        served("http://127.0.0.1:9").find_weights("imagenet")


def test_random_weights_are_named_by_their_seed_and_keras() -> None:
    found = MOBILENET.find_weights("none")
    assert found.path is None
    assert found.digest.startswith("random, seed 0, keras 3.")


@pytest.mark.thorough
def test_random_weights_are_always_the_same_and_warned_of(photos: list[PIL.Image.Image], tmp_path: Path) -> None:
    rows = {}
    for engine in ("keras", "openvino"):
        extractor = featx.FeatureExtractor(
            "mobilenet_0.25", weights=None, image_size=96, engine=engine, precision="float32", cache=None
        )
        with pytest.warns(FeatxWarning, match="random: a control"):
            rows[engine] = extractor.fit_transform(photos[:3])
    scale = np.abs(rows["keras"]).max()
    assert scale > 0
    assert np.abs(rows["keras"] - rows["openvino"]).max() < 1e-5 * scale
    state = random.getstate()
    network = featx.load_backbone("mobilenet_0.25")
    assert isinstance(network, KerasBackbone)
    network.build_empty((32, 32))
    assert random.getstate() == state  # the user's own draws go on as if nothing had been


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


def test_a_folder_or_a_file_that_is_no_network_says_why(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"")
    with pytest.raises(UnknownBackboneError, match="is no SavedModel: it has no saved_model.pb"):
        featx.load_backbone(str(tmp_path))
    with pytest.raises(UnknownBackboneError, match=r"net.pt' is none of the kinds that are read: .keras, .*\.onnx"):
        featx.load_backbone(str(tmp_path / "net.pt"))


def test_what_plain_python_has_not_is_refused_or_left_out_of_its_recipe(
    counting: CountingBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = {ExtractionOptions("color_histogram", pooling=pooling).resolve().recipe for pooling in ("avg", "max")}
    assert len(recipes) == 1
    with pytest.raises(OptionError, match="weights=None of 'counting' cannot be used: it is plain Python and has none"):
        ExtractionOptions("counting", weights=None).resolve()
    beside = argparse.Namespace(backbone=["mobilenet", "counting"], weights=None)
    assert console.options_from(beside, "counting").weights == "imagenet"
    assert console.options_from(beside, "mobilenet").weights is None
    assert featx.cli.main.main(["backbones", "counting", "--layers"]) == 1
    assert "plain Python and has no layers" in capsys.readouterr().err
    assert featx.cli.main.main(["backbones", ""]) == 1
    assert "Unknown backbone ''" in capsys.readouterr().err


def test_the_list_of_backbones_says_their_smallest_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert featx.cli.main.main(["backbones", "xception", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["min_image_size"] == 71


def test_a_size_that_is_none_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert featx.cli.main.main(["extract", "photos", "--image-size", "224x"]) == 1
    said = capsys.readouterr().err
    assert "image_size='224x': expected a whole number of pixels or (height, width)" in said
    assert said.count("\n") == 1


def test_an_error_of_a_backbone_in_plain_python_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(CountingBackbone):
        name = "broken"

        def extract(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setitem(featx.backbones.registry._registered, "broken", Broken())
    extractor = featx.FeatureExtractor("broken", cache=None)
    with pytest.raises(
        EngineError, match="'broken' failed at 1 image .ZeroDivisionError: nothing to.*Mend its"
    ) as caught:
        extractor.transform(np.zeros((1, 8, 8, 3), np.uint8))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
