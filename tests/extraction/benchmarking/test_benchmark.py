from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.datasets.sample_images import write_sample_images
from featx.errors import OptionError, SourceError
from featx.extraction.benchmarking.benchmark import benchmark_images, measure_throughput
from featx.extraction.benchmarking.benchmark_results import BackboneBenchmark, Benchmark, NetworkRate
from featx.extraction.engines.engine import has_native_bfloat16
from featx.extraction.options import ExtractionOptions


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, compiled_cache: Path) -> Benchmark:
    folder = tmp_path_factory.mktemp("photos")
    paths = write_sample_images(folder, 40)
    (folder / "bad.jpg").write_bytes(b"")
    return measure_throughput([*paths, str(folder / "bad.jpg")], [ExtractionOptions()], cache=compiled_cache)


@pytest.mark.thorough
def test_every_engine_and_precision_is_measured(bench: Benchmark) -> None:
    (result,) = bench.results
    expected = [("openvino", "float32"), ("keras predict", "float32")]
    if has_native_bfloat16():
        expected.insert(0, ("openvino", "bfloat16"))
    expected.insert(0, ("openvino", "int8"))
    assert [(network.engine, network.precision) for network in result.networks] == expected
    assert all(network.images_per_second > 0 for network in result.networks)
    cosines = {(network.engine, network.precision): network.cosine for network in result.networks}
    assert cosines["openvino", "float32"] > 0.99999
    assert min(cosines.values()) > 0.98


@pytest.mark.thorough
def test_ratios_follow_from_the_rates(bench: Benchmark) -> None:
    (result,) = bench.results
    network = next(rate for rate in result.networks if rate.precision == result.precision)
    roof = 1 / (1 / result.decode + 1 / network.images_per_second)
    assert result.efficiency == pytest.approx(result.pipeline / roof, rel=0.01)
    assert result.ratio == pytest.approx(result.pipeline / result.keras, rel=0.01)


@pytest.mark.thorough
def test_benchmark_as_text_and_as_dict(bench: Benchmark) -> None:
    assert "featx is " in bench.as_text()
    assert "41 images" in bench.as_text()
    assert json.loads(json.dumps(bench.as_dict())) == dataclasses.asdict(bench)


@pytest.mark.thorough
def test_no_row_is_cached(tmp_path: Path) -> None:
    write_sample_images(tmp_path / "photos", 16)
    benchmark_images(tmp_path / "photos", cache=tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["compiled", "rates.json"]


@pytest.mark.usefixtures("counting", "in_folder")
def test_unsuitable_backbones_and_sources_are_rejected(
    paths: list[str], photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionError, match="must be from keras.applications"):
        measure_throughput(paths, [ExtractionOptions("counting")], cache=None)
    with pytest.raises(SourceError, match="contains no images"):
        measure_throughput([], [ExtractionOptions()], cache=None)
    assert cli.main(["benchmark", paths[0], "--quiet"]) == 1
    assert "needs at least 16 different images, got 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("int8", "bfloat16", "precision"),
    [
        ((900.0, 0.996), (500.0, 0.997), "int8"),
        ((900.0, 0.98), (500.0, 0.997), "bfloat16"),  # too different
        ((540.0, 0.996), (500.0, 0.997), "bfloat16"),  # hardly faster
        ((400.0, 0.996), (500.0, 0.997), "bfloat16"),
    ],
)
def test_the_fastest_close_precision_is_recommended(
    int8: tuple[float, float], bfloat16: tuple[float, float], precision: str
) -> None:
    networks = [
        NetworkRate("openvino", "int8", *int8),
        NetworkRate("openvino", "bfloat16", *bfloat16),
        NetworkRate("openvino", "float32", 300.0, 1.0),
        NetworkRate("keras predict", "float32", 200.0, 1.0),
    ]
    result = BackboneBenchmark("mobilenet", 1000.0, networks, "bfloat16", 400.0, 0.9, 150.0, 2.7, [])
    assert result.recommended_precision == precision
    line = next(line for line in result.as_text().splitlines() if "recommended" in line)
    if precision == "int8":
        assert line == "  recommended: --precision int8; the network is 1.8 times as fast as with bfloat16"
    else:
        assert line == "  recommended: the default, bfloat16"
