"""int8: quantized networks, their rows, and what cannot be quantized."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import PIL.Image
import pytest

from featx import FeatureExtractor
from featx.errors import EngineError, MissingDependencyError, OptionError, RecipeMismatchError
from featx.extraction.engines import calibration
from featx.extraction.engines.calibration import CALIBRATION, CALIBRATION_FOLDER, calibration_digest, calibration_pixels
from featx.extraction.engines.engine import resolve_precision
from featx.extraction.engines.quality import check_quality
from featx.extraction.options import ExtractionOptions
from featx.extraction.recorded import resolve_with_recipe
from featx.features.search.cosine import mean_cosine
from featx.store.compiled_graphs import Graph
from featx.system.array_types import AnyArray
from tests.backbones.networks import SIZE, random_array, save_graph, save_onnx
from tests.extraction.engines.conftest import rows_of

_ROWS = """
import sys, numpy as np
from featx.extraction.options import ExtractionOptions
from featx.extraction.recorded import resolve_with_recipe
engine = ExtractionOptions(precision="int8").resolve().start(None)
np.save(sys.argv[2], engine(np.load(sys.argv[1])))
"""


def model_rows(path: Path, pixels: AnyArray, **options: Any) -> AnyArray:
    return FeatureExtractor(path, preprocessing="tf", cache=None, **options).fit_transform(pixels)


@pytest.fixture
def small_pixels() -> AnyArray:
    return calibration_pixels((SIZE, SIZE))[::40]


def test_rows_are_close_to_float32(pixels: AnyArray) -> None:
    rows = rows_of(pixels, None, precision="int8")
    assert mean_cosine(rows, rows_of(pixels, None, precision="float32")) >= 0.99
    assert rows.dtype == np.float32


def test_a_row_depends_on_its_own_image_alone(pixels: AnyArray) -> None:
    rows = rows_of(pixels, None, precision="int8")
    np.testing.assert_array_equal(rows_of(pixels[::-1], None, precision="int8")[::-1], rows)
    for size in (1, 2, 3, 8):
        np.testing.assert_array_equal(rows_of(pixels[4 : 4 + size], None, precision="int8"), rows[4 : 4 + size])


@pytest.mark.parametrize("instructions", ["AVX512_CORE_VNNI", "AVX512_CORE", "AVX2_VNNI", "AVX2", "SSE41"])
def test_rows_are_the_same_on_other_cpus(instructions: str, pixels: AnyArray, tmp_path: Path) -> None:
    """A trial: oneDNN does not use the newer instructions of this CPU."""
    np.save(tmp_path / "pixels.npy", pixels[:8])
    command = [sys.executable, "-c", _ROWS, str(tmp_path / "pixels.npy"), str(tmp_path / "rows.npy")]
    subprocess.run(command, check=True, env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions})
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows_of(pixels[:8], None, precision="int8"))


def test_recipe_names_the_calibration_images() -> None:
    recipe = FeatureExtractor(precision="int8").fit([]).recipe_
    assert (recipe["precision"], recipe["calibration"]) == ("int8", CALIBRATION)
    assert calibration_digest() == CALIBRATION
    assert "calibration" not in FeatureExtractor(precision="float32").fit([]).recipe_


def test_calibration_images_are_small_and_varied() -> None:
    assert sum(path.stat().st_size for path in CALIBRATION_FOLDER.iterdir()) <= 2_000_000
    pixels = calibration_pixels((32, 48))
    assert pixels.shape == (240, 32, 48, 3)
    assert pixels.dtype == np.uint8
    assert len({image.tobytes() for image in pixels}) == 240


def test_other_calibration_images_change_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "CALIBRATION_FOLDER", tmp_path)
    PIL.Image.new("RGB", (64, 64)).save(tmp_path / "aerial-black.jpg")
    assert calibration_digest() != CALIBRATION


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("keras", r"requires engine=.openvino., got 'keras', .*Pass precision="),
        ("direct", r"requires a network, got .*"),
    ],
)
def test_other_engines_refuse_int8(engine: str, message: str) -> None:
    with pytest.raises(OptionError, match=rf"--precision int8\) {message}") as caught:
        resolve_precision("int8", engine)
    assert ('engine="openvino"' in str(caught.value)) == (engine == "keras")  # the other has no choice of engines


def test_missing_nncf_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pixels: AnyArray) -> None:
    save_onnx(tmp_path / "a.onnx")
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nncf" else find_spec(name))
    with pytest.raises(MissingDependencyError, match=r"int8.*requires the package nncf.*pip install 'featx\[int8\]'"):
        model_rows(tmp_path / "a.onnx", small_pixels, precision="int8")


def test_cached_rows_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: AnyArray) -> None:
    extractor = FeatureExtractor(precision="int8", cache=tmp_path)
    rows = extractor.fit_transform(pixels[:2])
    monkeypatch.setattr("featx.extraction.options.start_engine", lambda *args: pytest.fail("started"))
    np.testing.assert_array_equal(extractor.transform(pixels[:2]), rows)


def test_custom_network(tmp_path: Path, small_pixels: AnyArray) -> None:
    pytest.importorskip("nncf")
    save_onnx(tmp_path / "a.onnx")
    rows = model_rows(tmp_path / "a.onnx", small_pixels, precision="int8")
    exact = model_rows(tmp_path / "a.onnx", small_pixels, precision="float32")
    assert not np.array_equal(rows, exact)
    assert mean_cosine(rows, exact) > 0.99
    np.testing.assert_array_equal(model_rows(tmp_path / "a.onnx", small_pixels[2:3], precision="int8"), rows[2:3])


def test_poor_network_is_refused(tmp_path: Path, small_pixels: AnyArray) -> None:
    pytest.importorskip("nncf")
    # The range of the first map is a million times that of the others, which vanish in eight bits.
    first, second = np.abs(random_array(8, 3, 3, 3)), random_array(16, 8, 1, 1)
    first[0] *= 1e6
    second[:, 0] = 0
    nodes = [
        ("Conv", ["pixels", "first"], "maps", {"strides": [2, 2]}),
        ("Relu", ["maps"], "relu", {}),
        ("Conv", ["relu", "second"], "output", {}),
    ]
    save_graph(tmp_path / "a.onnx", nodes, {"first": first, "second": second})
    message = r"'a.*precision=.int8.: the mean cosine.*is 0\.\d+.*--precision bfloat16.*float32"
    with pytest.raises(EngineError, match=message) as caught:
        model_rows(tmp_path / "a.onnx", small_pixels, precision="int8")
    assert "\n" not in str(caught.value)


def test_a_layer_that_was_not_measured_is_no_poor_layer() -> None:
    graph = Graph(b'<cosines value="{&quot;first&quot;: 0.999, &quot;poor&quot;: 0.9}" />', b"")
    check_quality(graph, ["first"], "'net'")
    with pytest.raises(EngineError, match=r"'net' .*quantized network has no layer 'other'"):
        check_quality(graph, ["first", "other"], "'net'")
    with pytest.raises(EngineError, match=r"layer 'poor' to float32 is 0\.900"):
        check_quality(graph, ["first", "poor"], "'net'")


def test_quantized_network_is_refused(tmp_path: Path, small_pixels: AnyArray) -> None:
    pytest.importorskip("nncf")
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            images = small_pixels.transpose(0, 3, 1, 2)[:, None].astype(np.float32) / 127.5 - 1
            self.batches = iter([{"pixels": image} for image in images])

        def get_next(self) -> dict[str, AnyArray] | None:
            return next(self.batches, None)

    save_onnx(tmp_path / "a.onnx")
    quantization.quantize_static(tmp_path / "a.onnx", tmp_path / "b.onnx", Reader())
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(tmp_path / "b.onnx").graph.node)
    with pytest.raises(EngineError, match=r"is quantized already.*Pass precision=.float32.") as caught:
        model_rows(tmp_path / "b.onnx", small_pixels, precision="int8")
    assert "\n" not in str(caught.value)
    rows = model_rows(tmp_path / "b.onnx", small_pixels, precision="float32")
    assert mean_cosine(rows, model_rows(tmp_path / "a.onnx", small_pixels, precision="float32")) > 0.98


def test_recorded_int8_is_used_again() -> None:
    recipe = ExtractionOptions(precision="int8").resolve().recipe
    assert resolve_with_recipe(ExtractionOptions(), recipe.as_dict()).recipe == recipe


def test_float32_in_place_of_recorded_int8() -> None:
    recipe = ExtractionOptions(precision="int8").resolve().recipe.as_dict()
    exact = resolve_with_recipe(ExtractionOptions(precision="float32"), recipe, ignore=("precision",)).recipe
    assert (exact.precision, exact.calibration) == ("float32", "")


def test_other_calibration_is_another_recipe() -> None:
    recipe = ExtractionOptions(precision="int8").resolve().recipe.as_dict()
    with pytest.raises(
        RecipeMismatchError, match=r"expected calibration '0000'.*quantizes networks in another way.*Refit"
    ):
        resolve_with_recipe(ExtractionOptions(), {**recipe, "calibration": "0000"})
