from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from featx.cli import main as cli
from featx.datasets.sample_images import write_sample_images
from featx.errors import OptionError, SourceError
from featx.extraction.benchmark import Bench, measure_throughput
from featx.extraction.engines import engine as engines
from featx.extraction.options import ExtractionOptions


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, compiled_cache: Path) -> Bench:
    folder = tmp_path_factory.mktemp("photos")
    paths = write_sample_images(folder, 40)
    (folder / "bad.jpg").write_bytes(b"")
    return measure_throughput([*paths, str(folder / "bad.jpg")], [ExtractionOptions()], cache=compiled_cache)


@pytest.mark.thorough
def test_every_engine_and_precision_of_this_machine_is_measured(bench: Bench) -> None:
    (result,) = bench.results
    expected = [("openvino", "float32"), ("keras predict", "float32")]
    if engines.has_native_bfloat16():
        expected.insert(0, ("openvino", "bfloat16"))
    assert [(network.engine, network.precision) for network in result.networks] == expected
    assert all(network.images_per_second > 0 for network in result.networks)
    cosines = {(network.engine, network.precision): network.cosine for network in result.networks}
    assert cosines["openvino", "float32"] > 0.99999
    assert min(cosines.values()) > 0.98


@pytest.mark.thorough
def test_ratios_are_those_of_the_rates(bench: Bench) -> None:
    (result,) = bench.results
    network = next(rate for rate in result.networks if rate.precision == result.precision)
    roof = 1 / (1 / result.decode + 1 / network.images_per_second)
    assert result.share_of_roof == pytest.approx(result.pipeline / roof, rel=0.01)
    assert result.ratio == pytest.approx(result.pipeline / result.usual, rel=0.01)


@pytest.mark.thorough
def test_a_bench_is_told_to_people_and_to_programs(bench: Bench) -> None:
    assert "featx is " in bench.as_text()
    assert "41 images" in bench.as_text()
    assert json.loads(json.dumps(bench.as_dict())) == dataclasses.asdict(bench)


@pytest.mark.thorough
def test_no_row_is_kept(tmp_path: Path) -> None:
    measure_throughput(write_sample_images(tmp_path, 16), [ExtractionOptions()], cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["compiled"]


@pytest.mark.usefixtures("counting", "in_folder")
def test_what_cannot_be_measured_is_refused_with_a_remedy(
    paths: list[str], photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionError, match="no network of Keras"):
        measure_throughput(paths, [ExtractionOptions("counting")], cache=None)
    with pytest.raises(SourceError, match="No images"):
        measure_throughput([], [ExtractionOptions()], cache=None)
    assert cli.main(["benchmark", paths[0], "--quiet"]) == 1
    assert "Only 1 different images can be read; a rate needs 16" in capsys.readouterr().err
