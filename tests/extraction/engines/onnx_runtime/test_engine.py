"""Rows on a device. Machines without a GPU run the same engine on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from featx import FeatureExtractor
from featx.backbones.registry import NetworkBackbone
from featx.errors import EngineError, OptionError
from featx.extraction.engines.compile import load_or_compile
from featx.extraction.engines.engine import stop_engines
from featx.extraction.engines.onnx_runtime import device
from featx.extraction.engines.onnx_runtime.engine import OnnxRuntimeEngine
from featx.extraction.engines.onnx_runtime.translation import to_onnx
from featx.extraction.options import ExtractionOptions
from featx.features.search.cosine import mean_cosine
from featx.system.array_types import AnyArray
from tests.extraction.engines.conftest import rows_of
from tests.extraction.engines.onnx_runtime.test_translation import OPERATIONS, model_of

needs_no_gpu = pytest.mark.skipif(device.has_cuda(), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def compiled(compiled_cache: Path) -> Path:
    return compiled_cache / "compiled"


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_rows_are_those_of_openvino(precision: Any, pixels: AnyArray, compiled: Path) -> None:
    rows = rows_of(pixels, compiled, engine="onnxruntime", device="cpu", precision=precision)
    expected = rows_of(pixels, compiled, engine="openvino", precision="float32")
    assert mean_cosine(rows, expected) > 0.999
    assert np.array_equal(rows, expected) is False
    if precision == "float32":
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-4)


def test_row_depends_on_its_image_alone(pixels: AnyArray, compiled: Path) -> None:
    resolved = ExtractionOptions(precision="float32").resolve()
    backbone, recipe = resolved.backbone, resolved.recipe
    assert isinstance(backbone, NetworkBackbone)
    graph = load_or_compile(backbone, recipe, resolved.weights_path, compiled)
    arguments = (graph, recipe.layers, recipe.pooling, "float32", recipe.image_size)
    engine = OnnxRuntimeEngine(*arguments, device="cpu", batch_size=16)
    assert engine.session.get_inputs()[0].shape == [16, 224, 224, 3]
    together = engine(pixels)
    order = np.random.default_rng(0).permutation(len(pixels))
    np.testing.assert_array_equal(engine(pixels[order]), together[order])
    np.testing.assert_array_equal(engine(pixels[5:6]), together[5:6])
    eight = rows_of(pixels, compiled, engine="onnxruntime", device="cpu", precision="float32")
    np.testing.assert_allclose(together, eight, rtol=0, atol=1e-5)


def test_rows_share_the_cache_with_those_of_openvino(pixels: AnyArray, tmp_path: Path) -> None:
    images = list(pixels[:3])
    rows = FeatureExtractor(precision="float32", engine="onnxruntime", device="cpu", cache=tmp_path).transform(images)
    stop_engines()
    again = FeatureExtractor(precision="float32", engine="openvino", cache=tmp_path).transform(images)
    np.testing.assert_array_equal(rows, again)


@needs_no_gpu
def test_auto_is_the_cpu_without_a_gpu() -> None:
    resolved = ExtractionOptions().resolve()
    assert (resolved.device, resolved.engine, resolved.engine_and_device) == ("cpu", "openvino", "openvino")


def test_auto_is_a_gpu_in_its_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen where a GPU is found; nothing is started."""
    monkeypatch.setattr(device, "has_cuda", lambda: True)
    resolved = ExtractionOptions().resolve()
    assert (resolved.engine_and_device, resolved.recipe.precision) == ("onnxruntime on cuda", "float16")
    assert resolved.batch_size == 128
    assert (
        ExtractionOptions(precision="float32").resolve().recipe
        == ExtractionOptions(precision="float32", device="cpu").resolve().recipe
    )
    for options in ({"precision": "int8"}, {"engine": "keras"}, {"device": "cpu"}, {"backbone": "color_histogram"}):
        assert ExtractionOptions(**options).resolve().device == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cpu:1", "CUDA", 0, None])
def test_unknown_devices_are_refused(name: Any) -> None:
    with pytest.raises(OptionError, match=r"device \(--device\) must be one of 'auto', 'cpu', 'cuda'"):
        ExtractionOptions(device=name)


@pytest.mark.parametrize(
    ("name", "package"),
    [("cuda:1", "'featx[gpu]'"), ("tensorrt", "'featx[gpu]' tensorrt"), ("directml", "onnxruntime-directml")],
)
@needs_no_gpu
def test_device_that_is_not_here_is_one_line(name: str, package: str) -> None:
    with pytest.raises(EngineError) as caught:
        ExtractionOptions(device=name).resolve()
    message = str(caught.value)
    assert f"on device '{name}': ONNX Runtime" in message
    assert f"(its devices: cpu). Replace it (pip uninstall onnxruntime; pip install {package})" in message
    assert message.endswith('or pass device="cpu" (--device cpu).')
    assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "keras"}, "must be 'auto' or 'onnxruntime' for device 'cuda', got 'keras'"),
        ({"precision": "int8"}, 'precision="int8" .* requires device="cpu", got \'cuda\''),
        ({"backbone": "color_histogram"}, "must be 'auto' or 'cpu' for backbone 'color_histogram'"),
    ],
)
def test_options_that_a_device_lacks_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ExtractionOptions(device="cuda", **options).resolve()


@needs_no_gpu
@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize(
    ("provider", "reason"),
    [
        ("CUDAExecutionProvider", "could not start CUDAExecutionProvider"),
        ("AzureExecutionProvider", "has none of the operations, and ONNX Runtime would run them on device 'cpu'"),
    ],
)
def test_the_cpu_is_never_used_silently(provider: str, reason: str) -> None:
    """ONNX Runtime itself goes on with the CPU, whether it lacks the provider or the provider has no operation."""
    if provider.startswith("Azure") and provider not in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has no provider without operations")
    model = to_onnx(model_of(OPERATIONS["clamp"]))
    with pytest.raises(EngineError, match=reason) as caught:
        device.make_session(model, "cuda", half=False, provider=provider)
    assert "\n" not in str(caught.value)
