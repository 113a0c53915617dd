"""The compiled network in a model file: one file predicts without weights, tensorflow and cache."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, Predictor, explain_images, load_pipeline, read_model, save_pipeline
from featx.backbones.base import Weights
from featx.backbones.files.network_file import NetworkFile
from featx.cli import main as cli
from featx.errors import (
    FeatxWarning,
    ModelFileError,
    StoreWarning,
    UnknownBackboneError,
    WeightsError,
    WeightsNotFoundError,
)
from featx.extraction.engines.archived_graph import BIN_MEMBER, XML_MEMBER
from featx.extraction.engines.engine import stop_engines
from featx.store.compiled_graphs import Graph, save_graph
from featx.store.view_store import write_buffers
from tests.backbones.networks import save_onnx
from tests.cli.helpers import featx
from tests.models.model_samples import rewrite_model


@pytest.fixture(scope="module")
def fitted(digits: list[Path], digit_labels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A fitted pipeline of a network that is not part of featx."""
    folder = tmp_path_factory.mktemp("network")
    save_onnx(folder / "own.onnx")
    own = FeatureExtractor(folder / "own.onnx", preprocessing="tf", precision="float32", cache=folder / "cache")
    return make_pipeline(own, LogisticRegression()).fit(digits, digit_labels)


@pytest.fixture(scope="module")
def saved(fitted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.skops"
    save_pipeline(fitted, path)
    return path


@pytest.fixture(autouse=True)
def _no_started_engine() -> None:
    stop_engines()


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a child process is started to describe or convert a network."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a child process was started")

    monkeypatch.setattr("featx.system.child_process.subprocess.Popen", refuse)


@pytest.mark.usefixtures("no_children")
def test_predicts_without_conversion(saved: Path, fitted: Any, digits: list[Path], tmp_path: Path) -> None:
    expected = fitted.predict_proba(digits)
    loaded = load_pipeline(saved, cache=None)
    np.testing.assert_allclose(loaded.predict_proba(digits), expected, atol=1e-6)
    predictions = Predictor(saved, cache=tmp_path / "cache").predict(digits)
    np.testing.assert_allclose(predictions["probability"], expected.max(axis=1), atol=1e-6)
    (explanation,) = explain_images(saved, digits[:1], cache=None)
    assert explanation.attribution is not None
    save_pipeline(loaded, tmp_path / "again.skops")
    assert read_model(tmp_path / "again.skops").card.graph == read_model(saved).card.graph


def test_rows_of_its_graph_are_not_added_to_the_cache(saved: Path, digits: list[Path], tmp_path: Path) -> None:
    many = [path.read_bytes() + bytes(copy) for path in digits[:40] for copy in range(2)]
    Predictor(saved, cache=tmp_path / "cache").predict_each(many)
    load_pipeline(saved, cache=tmp_path / "cache").predict(many)
    assert not list((tmp_path / "cache").rglob("*.npy"))
    assert not list((tmp_path / "cache").rglob("*.xml"))


def test_loaded_pipeline_can_be_saved_with_skops(saved: Path, digits: list[Path]) -> None:
    """MLflow does so."""
    loaded = load_pipeline(saved, cache=None)
    data = skops.io.dumps(loaded)
    assert skops.io.get_untrusted_types(data=data) == ["featx.FeatureExtractor"]
    again = skops.io.loads(data, trusted=["featx.FeatureExtractor"])
    assert again.predict(digits[:3]).tolist() == loaded.predict(digits[:3]).tolist()


def test_card_shows_size_and_checksum(saved: Path) -> None:
    graph = read_model(saved).card.graph
    text = featx("model", saved).stdout
    assert f"SHA-256 {graph['sha256']}" in " ".join(text.split())
    shown = json.loads(featx("model", saved, "--json").stdout)["graph"]
    assert shown == graph
    assert 0 < graph["bytes"] < saved.stat().st_size


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_damaged_graph_is_an_error_after_the_card(
    options: tuple[str, ...], saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = rewrite_model(saved, tmp_path / "damaged.skops", damage_content)
    assert cli.main(["model", str(damaged), *options]) == 1
    shown = capsys.readouterr()
    assert read_model(saved).card.graph["sha256"] in " ".join(shown.out.split())
    assert "its graph is corrupt: the checksum does not match. Restore it from a copy" in " ".join(shown.err.split())
    assert shown.err.count("\n") == 1
    read_model(saved).check_graph()
    with pytest.raises(ModelFileError, match="damaged.skops': the file is corrupt or was modified: its graph is"):
        read_model(damaged).check_graph()


def test_model_without_its_graph(fitted: Any, saved: Path, tmp_path: Path, digits: list[Path]) -> None:
    save_pipeline(fitted, tmp_path / "small.skops", graph=False)
    assert read_model(tmp_path / "small.skops").card.graph == {}
    assert (tmp_path / "small.skops").stat().st_size < saved.stat().st_size - 10_000
    assert Predictor(tmp_path / "small.skops", cache=None).predict_one(digits[0]).label == "0"


def test_train_without_a_graph(fitted: Any, digits: list[Path], tmp_path: Path) -> None:
    """``--no-graph`` is ``graph=False``."""
    for path in digits:
        (tmp_path / "few" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "few" / path.parent.name)
    network = ["--backbone", fitted[0].backbone, "--preprocessing", "tf", "--precision", "float32"]
    options = [*map(str, network), "--cv", "2", "--quiet", "--cache", str(fitted[0].cache)]
    sizes = {}
    for name, extra in (("whole", []), ("small", ["--no-graph"])):
        model = tmp_path / f"{name}.skops"
        assert cli.main(["train", str(tmp_path / "few"), *options, *extra, "-o", str(model)]) == 0
        sizes[name] = model.stat().st_size
        assert bool(read_model(model).card.graph) is (not extra)
        assert Predictor(model, cache=None).predict_one(digits[0]).label == "0"
    assert sizes["small"] < sizes["whole"] - 10_000


def damage_content(members: dict[str, bytes]) -> None:
    members[BIN_MEMBER] = members[BIN_MEMBER][:-4] + b"\x00\x00\x80\x3f"


def damage_size(members: dict[str, bytes]) -> None:
    members[XML_MEMBER] = members[XML_MEMBER][:-100]


def remove_part(members: dict[str, bytes]) -> None:
    del members[BIN_MEMBER]


@pytest.mark.parametrize("damage", [damage_content, damage_size, remove_part])
def test_damaged_graph_is_converted_again(
    damage: Callable[[dict[str, bytes]], None], saved: Path, digits: list[Path], tmp_path: Path
) -> None:
    expected = Predictor(saved, cache=None).predict_one(digits[0])
    stop_engines()
    damaged = rewrite_model(saved, tmp_path / "damaged.skops", damage)
    predictor = Predictor(damaged, cache=None)
    with pytest.warns(StoreWarning, match=r"The graph in model .*damaged\.skops' is corrupt: .*converted again"):
        assert predictor.predict_one(digits[0]).label == expected.label


@pytest.mark.usefixtures("no_children")
def test_model_behind_a_link(saved: Path, digits: list[Path], tmp_path: Path) -> None:
    """Kubernetes mounts files as links, and a link may name the present version."""
    shutil.copy(saved, tmp_path / "v1.skops")
    (tmp_path / "model.skops").symlink_to("v1.skops")
    predictor = Predictor(tmp_path / "model.skops", cache=None)
    (tmp_path / "model.skops").unlink()
    (tmp_path / "model.skops").symlink_to("v2.skops")  # the next version is not that which was read
    assert predictor.predict_one(digits[0]).label == "0"


def test_file_that_is_gone(saved: Path, digits: list[Path], tmp_path: Path) -> None:
    shutil.copy(saved, tmp_path / "model.skops")
    predictor = Predictor(tmp_path / "model.skops", cache=None)
    (tmp_path / "model.skops").unlink()
    with pytest.raises(ModelFileError, match=r"model\.skops' cannot be read: No such file.*Restore the file"):
        predictor.predict_one(digits[0])


@pytest.mark.usefixtures("no_children")
def test_own_graph_comes_before_that_of_a_shared_cache(saved: Path, digits: list[Path], tmp_path: Path) -> None:
    expected = Predictor(saved, cache=None).predict_one(digits[0])
    archived = read_model(saved).archived
    assert archived is not None
    graph = archived.load()
    other = Graph(graph.xml, graph.bin[:-4] + bytes.fromhex("0000803f"))
    save_graph(other, tmp_path / "other" / "compiled", archived.fingerprint)
    save_graph(graph, tmp_path / "same" / "compiled", archived.fingerprint)
    n_rows = []
    for name in ("other", "same"):
        predictor = Predictor(saved, cache=tmp_path / name, write_cache=True)
        warns = pytest.warns(FeatxWarning, match="only the model file has its network")
        with warns if name == "other" else contextlib.nullcontext():
            assert predictor.predict_one(digits[0]).probabilities == expected.probabilities
        write_buffers()
        n_rows.append(len(list((tmp_path / name).rglob("*.npy"))))
    assert n_rows == [0, 1]  # only the graph of the cache is that of its rows


def test_flipped_byte_of_the_graph(saved: Path, digits: list[Path], tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[data.index(BIN_MEMBER.encode()) + 3_000] ^= 0x55
    (tmp_path / "damaged.skops").write_bytes(data)
    with pytest.warns(StoreWarning, match="is corrupt: .*converted again"):
        assert Predictor(tmp_path / "damaged.skops", cache=None).predict_one(digits[0]).label == "0"


@pytest.mark.parametrize("is_usable", [True, False])
def test_weights_at_a_url_are_not_downloaded(
    is_usable: bool, photos: list[Any], tmp_path: Path, encoded: Callable[..., bytes]
) -> None:
    def change(members: dict[str, bytes]) -> None:
        description = json.loads(members["featx.json"])
        description["card"]["options"]["weights"] = f"https://example.invalid/w.weights.h5#sha256={'0' * 64}"
        if not is_usable:
            description["card"]["graph"]["fingerprint"] = "0" * 16
        members["featx.json"] = json.dumps(description).encode()

    pipeline = make_pipeline(FeatureExtractor(precision="float32", cache=None), LogisticRegression())
    save_pipeline(pipeline.fit(photos[:6], list("aaabbb")), tmp_path / "model.skops")
    altered = rewrite_model(tmp_path / "model.skops", tmp_path / "url.skops", change)
    if is_usable:
        with pytest.warns(FeatxWarning, match=r"computed in int8, and model .* was trained in float32: some"):
            read_model(tmp_path / "model.skops").resolve(precision="int8")
        assert Predictor(altered, cache=None).predict_one(encoded(photos[0])).label == "a"
    else:
        with pytest.raises(WeightsNotFoundError, match="reading a model downloads nothing"):
            Predictor(altered, cache=None)


def test_repository_of_the_hub_is_not_downloaded(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")

    def change(members: dict[str, bytes]) -> None:
        description = json.loads(members["featx.json"])
        description["card"]["options"]["backbone"] = "hf://somebody/something/model.onnx"
        members["featx.json"] = json.dumps(description).encode()

    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    crafted = rewrite_model(model, tmp_path / "crafted.skops", change)
    with pytest.raises(WeightsNotFoundError, match="reading a model downloads nothing from the hub"):
        Predictor(crafted, cache=None)


@pytest.mark.filterwarnings("ignore:The graph in model")
def test_other_weights_are_not_saved_under_the_recorded_recipe(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_pipeline(rewrite_model(saved, tmp_path / "damaged.skops", damage_content), cache=None)
    monkeypatch.setattr(NetworkFile, "find_weights", lambda self, _: Weights("other", Path(self.source.path)))
    with pytest.warns(FeatxWarning, match="is saved without its graph: .*weights"):
        save_pipeline(loaded, tmp_path / "again.skops")
    assert read_model(tmp_path / "again.skops").card.graph == {}


@pytest.fixture
def described(fitted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model that describes its network, as those of other libraries are; the network itself is gone."""
    network = Path(fitted[0].backbone)
    with monkeypatch.context() as patched:
        patched.setattr("featx.models.graph.is_single_file", lambda path: False)
        save_pipeline(fitted, tmp_path / "described.skops")
    network.rename(network.with_suffix(".gone"))
    yield tmp_path / "described.skops"
    network.with_suffix(".gone").rename(network)


@pytest.mark.usefixtures("no_children")
def test_network_of_another_library_is_not_needed(
    described: Path, saved: Path, digits: list[Path], tmp_path: Path
) -> None:
    expected = load_pipeline(saved, cache=None).predict_proba(digits)
    predictor = pickle.loads(pickle.dumps(Predictor(described, cache=tmp_path / "cache")))
    np.testing.assert_allclose(predictor.predict(digits)["probability"], expected.max(axis=1), atol=1e-6)
    (explanation,) = explain_images(described, digits[:1], cache=None)
    assert explanation.attribution is not None
    loaded = load_pipeline(described, cache=None)
    np.testing.assert_allclose(loaded.predict_proba(digits), expected, atol=1e-6)
    assert loaded[0].get_feature_names_out()[-1] == "own_4"
    save_pipeline(loaded, tmp_path / "again.skops")
    models = [read_model(path).archived for path in (described, tmp_path / "again.skops")]
    assert len({model and model.network for model in models}) == 1
    assert load_pipeline(tmp_path / "again.skops", cache=None).predict(digits[:1]).tolist() == ["0"]


@pytest.mark.filterwarnings("error")
def test_network_that_is_needed_is_named(described: Path, digits: list[Path], tmp_path: Path) -> None:
    loaded = load_pipeline(described, cache=None).set_params(featureextractor__image_size=64)
    with pytest.raises(UnknownBackboneError, match=r"Cannot read network '.*own\.onnx': No such file"):
        loaded.predict(digits[:1])
    damaged = rewrite_model(described, tmp_path / "damaged.skops", damage_content)
    in_one_line = r"damaged\.skops' is corrupt: .*Restore the file.*Cannot read network '.*own\.onnx': No such file"
    with pytest.raises(ModelFileError, match=in_one_line):
        Predictor(damaged, cache=None).predict_one(digits[0])
    with pytest.raises(WeightsError, match=r"is one of float32, and int8 needs its weights\..*own\.onnx"):
        Predictor(described, cache=None, precision="int8")
    with pytest.raises(UnknownBackboneError):  # only the model knows it
        FeatureExtractor(loaded[0].backbone, preprocessing="tf").fit([])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"size": [48]}, "impossible size"),
        ({"size": [48, 0]}, "impossible size"),
        ({"min_image_size": 4096}, "impossible size"),
        ({"only_size": [9, 9]}, "impossible size"),
        ({"image_size": "48"}, "another type"),
        ({"layer": 3}, "another type"),
        ({"layer": "absent"}, "impossible layer"),
        ({"compiled_layers": []}, "impossible layer"),
        ({"sized_layers": [["a"]]}, "ValueError"),
        ({"sized_layers": [["a", "Conv", [4, -4, 8], True]]}, "impossible shape of a layer"),
        ({"native_pooling": "median"}, "impossible pooling"),
        ({"resize": "crop 7 lanczos"}, "impossible resize"),
        ({"preprocessing_text": "0,0,0/0,0,0"}, "impossible scaling of pixels"),
        ({"preprocessing_text": "1,1,1/1,1,1 rbg"}, "impossible scaling of pixels"),
        ({"unknown": 1}, "unexpected keyword"),
    ],
    ids=str,
)
def test_invalid_description_of_a_network(
    changed: dict[str, Any], reason: str, described: Path, tmp_path: Path
) -> None:
    def change(members: dict[str, bytes]) -> None:
        description = json.loads(members["featx.json"])
        network = {**json.loads(description["described"]), **changed}
        members["featx.json"] = json.dumps({**description, "described": json.dumps(network)}).encode()

    with pytest.raises(
        ModelFileError, match=f"corrupt or was modified: its description is invalid: .*{reason}"
    ) as error:
        read_model(rewrite_model(described, tmp_path / "crafted.skops", change))
    assert "\n" not in str(error.value)


@pytest.mark.slow  # converts a network
@pytest.mark.filterwarnings("ignore:The weights of 'mobilenet_v2' are random")
def test_one_file_predicts_without_tensorflow(photos: list[Any], tmp_path: Path) -> None:
    """Random weights of another version of Keras would differ: only the graph in the file can give these rows."""
    extractor = FeatureExtractor("mobilenet_v2", weights=None, image_size=96, cache=tmp_path / "cache")
    pipeline = make_pipeline(extractor, LogisticRegression()).fit(photos[:8], list("aaaabbbb"))
    save_pipeline(pipeline, tmp_path / "model.skops")
    expected = pipeline.predict_proba(photos[:1])
    shutil.rmtree(tmp_path / "cache")
    photos[0].save(tmp_path / "photo.png")
    code = """
import sys
for name in ("tensorflow", "keras", "h5py"):
    sys.modules[name] = None
from featx import Predictor
prediction = Predictor(sys.argv[1], cache=None, top=2).predict_one(sys.argv[2])
print(dict(prediction.top)["a"])
print(*sorted({"sklearn", "pandas", "torch"} & set(sys.modules)))
"""
    arguments = [sys.executable, "-c", code, str(tmp_path / "model.skops"), str(tmp_path / "photo.png")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=tmp_path)
    probability, heavy = done.stdout.split("\n")[:2]
    assert (float(probability), heavy) == (pytest.approx(expected[0, 0], abs=1e-5), ""), done.stderr
