from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from featx import KerasBackbone
from featx.errors import StoreWarning
from featx.extraction.engines import packaged
from featx.extraction.engines.compile import compiled_recipe, convert_network
from featx.extraction.engines.engine import has_native_bfloat16, stop_engines
from featx.extraction.engines.openvino import OpenVinoEngine
from featx.extraction.engines.packaged import GRAPHS_FOLDER, load_packaged
from featx.extraction.options import ExtractionOptions
from featx.store.compiled_graphs import Graph
from featx.system.array_types import AnyArray
from tests.extraction.engines.package_graphs import write_graphs

#: A user's work from images to predictions, in a process that cannot import the libraries of the network's origin.
_WORK = """
import sys
sys.modules.update({"tensorflow": None, "keras": None, "nncf": None})
from featx.cli.main import main
photos, folder, precision = sys.argv[1:]
cache = ["--cache", folder + "/cache", "--precision", precision, "--quiet"]
for command in (
    ["extract", photos, "--output", folder + "/rows.npy", *cache],
    ["compare", photos, "--estimator", "centroid", *cache],
    ["train", photos, "--estimator", "centroid", "--output", folder + "/model.skops", *cache],
    ["predict", folder + "/model.skops", photos, "--cache", folder + "/cache"],
):
    assert main(command) == 0, command
"""


def packaged_graph(precision: str, image_size: int = 224) -> tuple[KerasBackbone, Graph | None]:
    resolved = ExtractionOptions(precision=precision, image_size=image_size).resolve()
    assert isinstance(resolved.backbone, KerasBackbone)
    return resolved.backbone, load_packaged(resolved.backbone, compiled_recipe(resolved.backbone, resolved.recipe))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_work_without_tensorflow_and_nncf(precision: str, photo_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WORK, str(photo_folder), str(tmp_path), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "rows.npy").shape == (24, 1024)


def test_the_quantized_graph_serves_one_image_size() -> None:
    assert packaged_graph("int8")[1] is not None
    assert packaged_graph("int8", 160)[1] is None
    assert packaged_graph("float32", 160)[1] == packaged_graph("float32")[1]


def test_weights_of_another_origin_are_not_packaged() -> None:
    backbone, _ = packaged_graph("float32")
    recipe = dataclasses.replace(ExtractionOptions(precision="float32").resolve().recipe, weights="other")
    assert load_packaged(backbone, compiled_recipe(backbone, recipe)) is None


def test_corrupt_graph_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GRAPHS_FOLDER, tmp_path / "graphs")
    monkeypatch.setattr(packaged, "GRAPHS_FOLDER", tmp_path / "graphs")
    for path in (tmp_path / "graphs").glob("*.bin"):
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
    with pytest.warns(StoreWarning, match="is corrupt: the checksum does not match.*reinstall featx"):
        assert packaged_graph("float32")[1] is None


@pytest.mark.slow  # a conversion by tensorflow
@pytest.mark.parametrize("image_size", [pytest.param((224, 224), marks=pytest.mark.thorough), (161, 131)])
def test_rows_equal_those_of_a_conversion(image_size: tuple[int, int], pixels: AnyArray) -> None:
    resolved = ExtractionOptions(precision="float32", image_size=image_size).resolve()
    assert isinstance(resolved.backbone, KerasBackbone)
    recipe = compiled_recipe(resolved.backbone, resolved.recipe)
    graph = convert_network(resolved.backbone, recipe, resolved.weights_path)
    sized = np.ascontiguousarray(pixels[:, : image_size[0], : image_size[1]])
    for precision in ["float32", *(["bfloat16"] if has_native_bfloat16() else [])]:
        for layer in ("conv_pw_13_relu", "conv_dw_4_relu"):
            expected = OpenVinoEngine(graph, [layer], "avg", precision)(sized)
            options = ExtractionOptions(precision=precision, image_size=image_size, layer=layer)
            stop_engines()
            np.testing.assert_array_equal(options.resolve().start(None)(sized), expected)


@pytest.mark.thorough  # a conversion and a quantization
def test_command_writes_the_packaged_graphs(tmp_path: Path, pixels: AnyArray) -> None:
    pytest.importorskip("nncf")
    write_graphs(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(set(os.listdir(GRAPHS_FOLDER)) - {"README.md"})
    for path in sorted(tmp_path.glob("*.xml")):
        # Quantization on another CPU measures ranges that differ by rounding.
        rows = [
            OpenVinoEngine(
                Graph(each.read_bytes(), each.with_suffix(".bin").read_bytes()), ["conv_pw_13_relu"], "avg", "float32"
            )(pixels)
            for each in (path, GRAPHS_FOLDER / path.name)
        ]
        np.testing.assert_allclose(*rows, atol=0.05 * np.abs(rows[0]).max())


@pytest.mark.slow  # builds and installs the package
@pytest.mark.thorough
def test_work_in_an_environment_without_tensorflow(photo_folder: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", site]
    subprocess.run([*pip, "--no-deps", str(root)], check=True)
    needed = [line for line in _requirements() if not line.startswith("tensorflow")]
    subprocess.run([*pip, *needed], check=True)
    missing = subprocess.run([python, "-c", "import tensorflow"], capture_output=True, check=False)
    assert missing.returncode != 0
    work = _WORK.replace("sys.modules.update", "dict().update")
    command = [python, "-I", "-c", work, str(photo_folder), str(tmp_path), "auto"]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})


def _requirements() -> list[str]:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    return [str(line) for line in project["project"]["dependencies"]]
