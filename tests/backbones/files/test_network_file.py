"""Custom model files that Keras and ONNX wrote, from end to end."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, load_backbone
from featx.cli import main as cli
from featx.errors import EngineError, MissingDependencyError, OptionError, UnknownBackboneError
from featx.extraction.cache import find_recipes
from featx.extraction.cache_results import CacheSummary, describe_recipe
from featx.extraction.engines.engine import has_native_bfloat16
from featx.extraction.options import ExtractionOptions
from featx.store.info import CacheInfo, RecipeInfo
from featx.workflows.feature_sets import as_extraction_options, backbone_names
from tests.backbones.networks import SIZE, Array, ModelWithCode, rows, save_graph, save_onnx, save_small


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize("engine", ["openvino", pytest.param("keras", marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    "name",
    [
        "fixed.keras",
        "saved",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("fixed.h5", "any.keras")),
    ],
)
def test_rows_equal_those_of_keras(
    name: str, engine: str, folder: Path, pixels: Array, outputs: dict[str, Array]
) -> None:
    size = {"image_size": SIZE} if name == "any.keras" else {}
    if name == "saved" and engine == "keras":
        with pytest.raises(OptionError, match="engine='keras' cannot run"):
            rows(folder / name, pixels, engine=engine)
        return
    np.testing.assert_allclose(rows(folder / name, pixels, engine=engine, **size), outputs["head"], atol=1e-5)


@pytest.mark.slow  # Keras in child processes
def test_layers_are_selected_and_pooled(folder: Path, pixels: Array, outputs: dict[str, Array]) -> None:
    for layer, pooling, expected in (
        ("second", "max", outputs["second"].max(axis=(1, 2))),
        ("first+head", "avg", np.hstack([outputs["first"].mean(axis=(1, 2)), outputs["head"]])),
    ):
        actual = rows(folder / "fixed.keras", pixels, layer=layer, pooling=pooling)
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    names = FeatureExtractor(folder / "fixed.keras", preprocessing="tf", layer="second").get_feature_names_out()
    assert names[-1] == "fixed_second_15"
    assert ExtractionOptions(folder / "fixed.keras", preprocessing="tf", layer=1).layer_name == "first"


@pytest.mark.thorough  # Keras in child processes
def test_network_of_any_size_requires_image_size(folder: Path, pixels: Array) -> None:
    with pytest.raises(OptionError, match="accepts images of any size. Pass for example image_size"):
        rows(folder / "any.keras", pixels)
    assert rows(folder / "any.keras", pixels, image_size=(40, 60)).shape == (11, 5)
    wide = ExtractionOptions(
        folder / "any.keras", preprocessing="tf", image_size=(40, 60), layer="first", pooling="none"
    )
    assert wide.n_features == 19 * 29 * 8
    with pytest.raises(OptionError, match="must be .48, 48. for .*Omit it"):
        rows(folder / "fixed.keras", pixels, image_size=64)


@pytest.mark.thorough  # Keras in child processes
def test_recipe_depends_on_content_not_path(folder: Path, tmp_path: Path, pixels: Array) -> None:
    cache = tmp_path / "cache"
    for name in ("fixed.keras", "saved"):
        first = rows(folder / name, pixels, cache=cache)
        copy = shutil.copytree if name == "saved" else shutil.copy
        moved = Path(copy(folder / name, tmp_path / f"moved{Path(name).suffix}"))
        resolved = [ExtractionOptions(path, preprocessing="tf").resolve().recipe for path in (folder / name, moved)]
        assert resolved[0].fingerprint == resolved[1].fingerprint
        np.testing.assert_array_equal(rows(moved, pixels, cache=cache), first)
    other = ExtractionOptions(folder / "fixed.keras", preprocessing="none").resolve().recipe
    assert other.fingerprint != resolved[0].fingerprint
    (moved / "assets").mkdir(exist_ok=True)
    (moved / "assets" / "words.txt").write_text("more")
    assert ExtractionOptions(moved, preprocessing="tf").resolve().recipe.weights != resolved[1].weights


@pytest.mark.thorough  # Keras in child processes
def test_networks_with_different_wiring_differ(pixels: Array) -> None:
    import keras

    def build(second: int) -> Any:
        keras.utils.set_random_seed(0)
        image = keras.Input((SIZE, SIZE, 3), name="image")
        parts = [keras.layers.Conv2D(4, 3, name=f"b_{number}")(image) for number in (1, 2, 3)]
        joined = keras.layers.Add(name="joined")([parts[2], parts[second]])
        return keras.Model(image, keras.layers.GlobalAveragePooling2D(name="means")(joined), name="net")

    actual = [rows(build(second), pixels[:2]) for second in (0, 1)]
    expected = [build(second).predict(pixels[:2] / 127.5 - 1, verbose=0) for second in (0, 1)]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.slow  # Keras in child processes
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in [
                ("operation", None),
                ("nested", None),
                ("nested", SIZE),
                *itertools.product(["shared", "sequential"], [SIZE, None]),
            ]
        ),
    ],
)
def test_output_is_that_of_the_network(kind: str, size: int | None, tmp_path: Path, pixels: Array) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((size, size, 3))
    maps = layers.Conv2D(4, 3, name="first")(image)
    if kind == "operation":
        features = keras.ops.normalize(layers.GlobalAveragePooling2D()(maps), axis=-1)
    elif kind == "shared":
        relu = layers.ReLU(name="twice")
        features = layers.GlobalAveragePooling2D()(relu(layers.Conv2D(4, 3)(relu(maps))))
    elif kind == "nested":
        inner = keras.Input((size, size, 3))
        base = keras.Model(inner, layers.Conv2D(5, 3, strides=2)(inner), name="base")
        features = layers.GlobalAveragePooling2D()(base(image))
    network = (
        keras.Sequential([keras.Input((size, size, 3)), layers.Conv2D(4, 3, name="one"), layers.GlobalMaxPooling2D()])
        if kind == "sequential"
        else keras.Model(image, features)
    )
    network.save(tmp_path / "net.keras")
    expected = network.predict(pixels / 127.5 - 1, verbose=0)
    options = {"image_size": SIZE} if size is None else {}
    for engine in ("openvino", "keras"):
        np.testing.assert_allclose(rows(tmp_path / "net.keras", pixels, engine=engine, **options), expected, atol=1e-5)
    if kind == "nested":
        assert rows(tmp_path / "net.keras", pixels, layer="base", **options).shape == (11, 5)
    if kind == "sequential":
        assert rows(tmp_path / "net.keras", pixels, layer="one", **options).shape == (11, 4)


def test_works_without_home_folder(tmp_path: Path, pixels: Array, python: Any) -> None:
    save_onnx(tmp_path / "a.onnx")
    code = (
        "import os, pathlib, sys\n"
        "def nowhere(*args): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = nowhere\n"
        "os.path.expanduser = lambda path: path\n"
        "from featx import load_backbone\n"
        "print(load_backbone(sys.argv[1]).n_features('avg'), "
        "load_backbone('vgg16').has_local_weights)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "KERAS_HOME")}
    assert python(code, str(tmp_path / "a.onnx"), env=environment).stdout == "5 False\n"


def test_compare_file_with_named_backbone(
    tmp_path: Path, photo_folder: Path, counting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    save_onnx(tmp_path / "a.onnx")
    both = ["--backbone", "counting", "--backbone", str(tmp_path / "a.onnx"), "--preprocessing", "torch"]
    assert cli.main(["compare", str(photo_folder), *both, "--estimator", "centroid", "--quiet"]) == 0
    assert capsys.readouterr().out.count("centroid") >= 2
    assert cli.main(["benchmark", "--backbone", str(tmp_path / "a.onnx")]) == 2
    assert "must be from keras.applications" in capsys.readouterr().err


def test_preprocessing_is_for_files_only(tmp_path: Path, pixels: Array) -> None:
    save_onnx(tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="must be set for .*a.onnx'.*'torch' .timm"):
        rows(tmp_path / "a.onnx", pixels, preprocessing=None)
    with pytest.raises(OptionError, match="cannot be set for backbone 'mobilenet', which has its own"):
        rows("mobilenet", pixels)
    with pytest.raises(OptionError, match="the file holds its weights. Remove the option"):
        rows(tmp_path / "a.onnx", pixels, weights=tmp_path / "w.h5")


def test_command_line_accepts_file(
    tmp_path: Path, photo_folder: Path, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_onnx(tmp_path / "a.onnx")
    command = ["extract", str(photo_folder), "--backbone", str(tmp_path / "a.onnx"), "--quiet"]
    assert cli.main([*command, "--preprocessing", "torch", "--layer", "relu1"]) == 0
    assert np.load("features.npy").shape == (24, 8)
    assert cli.main(command) == 2
    assert "--preprocessing must be set" in capsys.readouterr().err
    assert cli.main(["backbones", str(tmp_path / "a.onnx"), "--layers"]) == 0
    assert "relu2" in capsys.readouterr().out
    assert cli.main(["cache", "info", "--backbone", str(tmp_path / "a.onnx"), "--json"]) == 0
    assert [recipe["rows"] for recipe in json.loads(capsys.readouterr().out)["recipes"]] == [24]
    save_onnx(tmp_path / "b.onnx", tokens=True)
    assert cli.main(["cache", "clear", "--backbone", str(tmp_path / "b.onnx")]) == 2
    assert "must be one with rows in the cache" in capsys.readouterr().err


def test_name_is_preferred_to_file(
    tmp_path: Path, photo_folder: Path, in_folder: Path, counting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnknownBackboneError, match="Run `featx backbones`"):
        load_backbone("a" * 300)
    Path("counting").mkdir()
    Path("counting", "saved_model.pb").write_bytes(b"")
    save_onnx(tmp_path / "a.onnx")
    both = ["--backbone", "counting", "--backbone", str(tmp_path / "a.onnx"), "--preprocessing", "torch"]
    assert cli.main(["compare", str(photo_folder), *both, "--estimator", "centroid", "--quiet"]) == 0
    assert cli.main(["cache", "info", "--backbone", "counting", "--json"]) == 0
    assert '"rows": 24' in capsys.readouterr().out


def test_missing_openvino_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_onnx(tmp_path / "a.onnx")

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    with pytest.raises(MissingDependencyError, match="requires the package openvino.*pip install openvino"):
        load_backbone(str(tmp_path / "a.onnx")).layers()


def test_bfloat16(tmp_path: Path, pixels: Array) -> None:
    if not has_native_bfloat16():
        pytest.skip("this CPU does not")
    save_onnx(tmp_path / "a.onnx")
    exact, rounded = (rows(tmp_path / "a.onnx", pixels, precision=precision) for precision in ("float32", "auto"))
    assert 0 < np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()
    np.testing.assert_array_equal(rows(tmp_path / "a.onnx", pixels[3:4], precision="auto"), rounded[3:4])


def test_keras_engine_refuses_onnx(tmp_path: Path, pixels: Array) -> None:
    save_small(tmp_path / "a.onnx")
    with pytest.raises(
        OptionError, match=r"only OpenVINO runs files of this format \(onnx\). Pass engine='auto' .*auto.\.$"
    ):
        FeatureExtractor(tmp_path / "a.onnx", preprocessing="tf", engine="keras", cache=None).transform(pixels[:1])


def test_nan_output_is_reported(tmp_path: Path, pixels: Array) -> None:
    save_graph(
        tmp_path / "a.onnx",
        [("ReduceMean", ["pixels"], "means", {"axes": [2, 3], "keepdims": 0}), ("Log", ["means"], "out", {})],
        {},
    )
    with pytest.raises(EngineError, match="'a' must return finite rows.*Check the weights.*a.onnx") as caught:
        rows(tmp_path / "a.onnx", pixels)
    assert "extract" not in str(caught.value)


def test_files_are_distinguished_in_cache_and_tables(
    tmp_path: Path, photo_folder: Path, counting: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / folder / "a.onnx" for folder in ("one", "two")]
    for number, file in enumerate(files):
        file.parent.mkdir()
        save_small(file, n_outputs=1 + number)
    resolved = [ExtractionOptions(str(file), preprocessing=(0, 255), layer="out0").resolve() for file in files]
    digests = [network.recipe.weights[:8] for network in resolved]
    both = backbone_names([*resolved, ExtractionOptions("counting").resolve()])
    assert both == [f"a {digests[0]}", f"a {digests[1]}", "counting"]
    assert backbone_names([resolved[0], ExtractionOptions("mobilenet").resolve()]) == ["a", "mobilenet"]
    info = RecipeInfo("f", resolved[0].recipe.as_dict(), 1, 3, 100, 1, 0, 0, 0)
    assert describe_recipe(info).endswith(f"weights {digests[0]}, preprocessing 0/255")
    cache = CacheInfo("cache", 0, [info, dataclasses.replace(info, rows=0, segments=0)], 0, 0, 0, 0, 0)
    assert CacheSummary(**vars(cache)).as_text().count("model file") == 1
    with pytest.raises(OptionError, match="must be one with rows in the cache .*model file.*pass its path"):
        find_recipes(cache, "mobilenet")
    assert cli.main(["backbones", str(files[0]), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["features"], row["megabytes"], row["weights"]) == (3, 0.0, "local")


def test_comparison_requires_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="keras.Model 'mine' as a backbone.*Wrap it: FeatureExtractor.model"):
        as_extraction_options(ModelWithCode())
    save_small(tmp_path / "a.onnx")
    with pytest.raises(OptionError, match="must be set for .*a.onnx'"):
        as_extraction_options(tmp_path / "a.onnx")
